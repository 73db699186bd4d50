"""All or nothing over several projects, on condition that nobody wrote meanwhile, whatever happens on the way."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js import JetStreamContext, api

from infrastructure.local.stack import running_stack
from nervous_system import bus, subjects, submission
from nervous_system.errors import AccessError, ContractError, UnavailableError
from nervous_system.events import BATCH_LIMIT_BYTES, BATCH_LIMIT_EVENTS, EVENT_LIMIT_BYTES, cut_batch
from nervous_system.landed import last_sequence, wait_until_landed
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from nervous_system.subjects import StoredSubject
from nervous_system.submission import MovedError, Submission, packed, submit
from tests.integration.command import Enchanted
from tests.integration.stores import in_ledger
from tests.integration.submitting import events_of, made, new_project, on_log, stored


def partition(settings: Settings, project: ProjectName) -> int:
    return StoredSubject.parse(str(stored(settings, project)[-1].subject)).partition


@pytest.fixture
def pair(servers: Settings) -> tuple[ProjectName, ProjectName]:
    """Two projects in different partitions, each with one event."""
    one, other = new_project(), new_project()
    submit(servers, [Submission(one, made(one)), Submission(other, made(other))])
    while partition(servers, one) == partition(servers, other):
        other = new_project()
        submit(servers, [Submission(other, made(other))])
    return one, other


def test_projects_of_several_partitions_are_written_together(
    servers: Settings, pair: tuple[ProjectName, ProjectName]
) -> None:
    before = [events_of(servers, project) for project in pair]
    new = [made(pair[0], 2_500), made(pair[1], 3, BATCH_LIMIT_BYTES // 2)]
    last = submit(
        servers,
        [
            Submission(project, events, expected_sequence=last_sequence(servers, project))
            for project, events in zip(pair, new, strict=True)
        ],
    )
    assert [events_of(servers, project) for project in pair] == [a + b for a, b in zip(before, new, strict=True)]
    sequences = [message.seq for project in pair for message in stored(servers, project)[1:]]
    assert sequences == list(range(last - len(sequences) + 1, last + 1))
    assert [len(stored(servers, project)) for project in pair] == [1 + 3, 1 + 3]


@pytest.mark.parametrize("counts", [(1, 1), (2_500, 1)], ids=["one message each", "several messages"])
def test_one_project_that_moved_leaves_all_unwritten(
    servers: Settings, pair: tuple[ProjectName, ProjectName], counts: tuple[int, int]
) -> None:
    expected = [last_sequence(servers, project) for project in pair]
    submit(servers, [Submission(pair[1], made(pair[1]))])
    before = [events_of(servers, project) for project in pair]
    news = [made(project, count) for project, count in zip(pair, counts, strict=True)]
    parcels = zip(pair, news, expected, strict=True)
    with pytest.raises(MovedError, match=f"^{pair[1]} was changed meanwhile; nothing was written"):
        submit(servers, [Submission(project, events, expected_sequence=seen) for project, events, seen in parcels])
    assert [events_of(servers, project) for project in pair] == before


def test_a_project_without_a_past_may_be_expected(servers: Settings) -> None:
    one, other = new_project(), new_project()
    first = submit(servers, [Submission(one, made(one), expected_sequence=0)])
    assert first == last_sequence(servers, one)
    both = [Submission(project, made(project, 1_001), expected_sequence=0) for project in (other, one)]
    with pytest.raises(MovedError, match=str(one)):
        submit(servers, both)
    assert stored(servers, other) == []
    with pytest.raises(MovedError, match=str(one)):
        submit(servers, [Submission(one, made(one), expected_sequence=first - 1)])
    assert submit(servers, [both[0], replace(both[1], expected_sequence=first)]) == last_sequence(servers, one)
    assert events_of(servers, one)[1:] == both[1].events


def test_who_expects_nothing_is_not_held_up(servers: Settings, pair: tuple[ProjectName, ProjectName]) -> None:
    one, other = pair
    submit(servers, [Submission(one, made(one))])
    submit(servers, [Submission(one, made(one)), Submission(other, made(other))])
    assert len(events_of(servers, one)) == 3


def test_parts_go_ahead_once(servers: Settings) -> None:
    project, parts = new_project(), (b"one", b"two", b"one")
    submit(servers, [Submission(project, made(project), parts)])
    sent = stored(servers, project, subjects.BLOBS)
    assert [message.data for message in sent] == [b"one", b"two"]
    assert [(message.headers or {})[subjects.PART_HASH_HEADER] for message in sent] == [
        hashlib.sha256(part).hexdigest() for part in (b"one", b"two")
    ]
    assert (sent[-1].seq or 0) < last_sequence(servers, project)


def test_what_was_submitted_lands_as_ever(servers: Settings, pair: tuple[ProjectName, ProjectName]) -> None:
    worker = Enchanted(servers.home, {"ENCHANTED_BATCH_MAX_AGE_S": "0.05"}).start("ingest", "ledger")
    try:
        submit(servers, [Submission(project, made(project, 2_100)) for project in pair])
        for project in pair:
            wait_until_landed(servers, ["ledger"], last_sequence(servers, project))
            assert tuple(in_ledger(servers, project)) == events_of(servers, project)
    finally:
        worker.terminate()
        worker.communicate(timeout=30)


def test_of_those_who_write_at_once_each_follows_what_it_saw(servers: Settings) -> None:
    """Two who submit and a recorder: what was written follows what was seen, and what was refused is nowhere."""
    shared, mine = new_project(), {number: new_project() for number in range(2)}
    outcomes: list[tuple[int, tuple[bytes, ...], int]] = []
    refused: list[tuple[bytes, ...]] = []

    def write(number: int) -> None:
        for _ in range(15):
            seen = last_sequence(servers, shared)
            events = made(shared, 1_500)
            own = Submission(mine[number], made(mine[number]))
            try:
                last = submit(servers, [Submission(shared, events, expected_sequence=seen), own])
                outcomes.append((seen, events, last))
            except MovedError:
                refused.append(events)

    def record() -> None:
        with Recorder(str(shared), agent="ada", settings=servers, direct=True) as recorder:
            for _ in range(40):
                recorder.signal()
                recorder.flush()

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(write, number) for number in mine] + [pool.submit(record)]:
            done.result()
    messages = stored(servers, shared)
    batches = [tuple(cut_batch(message.data or b"")) for message in messages]
    sequences = [0, *(message.seq for message in messages)]
    for seen, events, last in outcomes:
        place = sequences.index(seen)
        assert batches[place] + batches[place + 1] == events
        assert sequences[place + 2] == last - 1
    written = set(itertools.chain.from_iterable(batches))
    assert written.isdisjoint(itertools.chain.from_iterable(refused))
    assert len(written) == 1_500 * len(outcomes) + 40
    assert sum(len(events_of(servers, project)) for project in mine.values()) == len(outcomes)


def test_a_recorder_meanwhile_is_not_overwritten(servers: Settings) -> None:
    project, other = new_project(), new_project()
    with Recorder(str(project), agent="ada", settings=servers, direct=True) as recorder:
        recorder.signal()
        recorder.flush()
        seen = last_sequence(servers, project)
        recorder.signal()
        recorder.flush()
        with pytest.raises(MovedError, match=str(project)):
            submit(servers, [Submission(other, made(other)), Submission(project, made(project), (), seen)])
        recorder.signal()
    assert len(events_of(servers, project)) == 3
    assert events_of(servers, other) == ()


def test_more_than_the_hub_takes_at_once_is_refused(servers: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    project = new_project()
    with pytest.raises(ContractError, match="1,001 messages"):
        submit(servers, [Submission(project, made(project, 1_001, BATCH_LIMIT_BYTES * 2 // 3))])
    # The server's own limit is what ours says.
    monkeypatch.setattr(submission, "SUBMISSION_LIMIT_MESSAGES", 1_001)
    monkeypatch.setattr(submission, "BATCH_LIMIT_EVENTS", 1)
    events = made(project, 1_001)
    with pytest.raises(UnavailableError, match="10199"):
        submit(servers, [Submission(project, events)])
    assert submit(servers, [Submission(project, events[:1_000])]) == last_sequence(servers, project)
    assert events_of(servers, project) == events[:1_000]


def test_what_cannot_be_submitted_is_told() -> None:
    settings, project = Settings(home=Path("/nowhere")), new_project()
    for useless in ([], [Submission(project, ())], [Submission(project, made(project)), Submission(project, ())]):
        with pytest.raises(ContractError, match="nothing to submit"):
            submit(settings, useless)
    with pytest.raises(ContractError, match=f"{project} is submitted twice"):
        submit(settings, [Submission(project, made(project)), Submission(project, made(project))])
    with pytest.raises(ContractError, match="above the 900,000 allowed"):
        submit(settings, [Submission(project, made(project, 1, EVENT_LIMIT_BYTES))])


def test_a_hub_that_is_not_there_or_refuses_the_token(servers: Settings) -> None:
    project = new_project()
    parcel = [Submission(project, made(project))]
    with pytest.raises(UnavailableError, match="not running"):
        submit(replace(servers, nats_url="nats://127.0.0.1:1"), parcel)
    with pytest.raises(AccessError):
        submit(replace(servers, nats_token="wrong"), parcel)


@given(st.lists(st.integers(0, EVENT_LIMIT_BYTES), max_size=12))
def test_packing_keeps_order_and_limits(sizes: list[int]) -> None:
    events = [bytes(size) for size in sizes]
    batches = list(packed(events))
    assert [event for batch in batches for event in batch] == events
    assert all(len(batch) == 1 or sum(map(len, batch)) <= BATCH_LIMIT_BYTES for batch in batches)
    assert [len(batch) for batch in packed([b""] * (BATCH_LIMIT_EVENTS + 1))] == [BATCH_LIMIT_EVENTS, 1]


def stream(version: str, *, atomic: bool = True, replicas: int = 1) -> api.StreamInfo:
    metadata = {"_nats.ver": version} if version else None
    config = api.StreamConfig(name="SWARM", num_replicas=replicas, allow_atomic=atomic, metadata=metadata)
    return api.StreamInfo(
        config=config, state=api.StreamState(messages=0, bytes=0, first_seq=0, last_seq=0, consumer_count=0)
    )


@pytest.mark.parametrize(
    ("info", "capable"),
    [
        (stream("2.15.1"), "several one"),
        (stream("2.15.0-dev", replicas=3), "several one"),
        (stream("2.12.8"), "several one"),
        (stream("2.15.1", atomic=False, replicas=3), "one"),
        (stream("2.12.7"), "one"),
        (stream("2.12.7", replicas=3), ""),
        (stream("", atomic=False), "one"),
        (stream("", atomic=False, replicas=3), ""),
    ],
)
def test_what_a_server_can_do(info: api.StreamInfo, capable: str) -> None:
    project = new_project()
    for name, count in (("one", 1), ("several", 1_001)):
        parcels = [Submission(project, made(project, count), expected_sequence=0)]
        if name in capable:
            submission._check_server(info, parcels, submission._messages(parcels))
        else:
            with pytest.raises(UnavailableError, match=r"needs nats-server 2\.12\.8 or later"):
                submission._check_server(info, parcels, submission._messages(parcels))
    plain = [Submission(project, made(project))]
    submission._check_server(info, plain, submission._messages(plain))


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Settings]:
    """A NATS of the test's own, without a stream."""
    with running_stack(tmp_path / "home", ["nats"]) as settings:
        yield settings


def test_a_stream_made_without_batches_is_changed_and_stays_the_same(own_hub: Settings) -> None:
    async def make(context: JetStreamContext) -> api.StreamInfo:
        return await context.add_stream(
            api.StreamConfig(
                name=own_hub.stream,
                description="ours",
                subjects=[subjects.PUBLISHED],
                subject_transform=api.SubjectTransform(
                    src=subjects.PUBLISHED, dest=subjects.partitioning(own_hub.partitions)
                ),
                storage=api.StorageType.FILE,
                discard=api.DiscardPolicy.NEW,
                duplicate_window=77.5,
                max_msgs_per_subject=99_999,
                max_age=3_600.25,
                compression=api.StoreCompression.S2,
                metadata={"owner": "us"},
                republish=api.RePublish(src=">", dest="copy.>"),
            )
        )

    async def ensure(context: JetStreamContext) -> tuple[StreamIdentity, api.StreamInfo]:
        return await bus.ensure_stream(context, own_hub), await context.stream_info(own_hub.stream)

    old = on_log(own_hub, make)
    project = new_project()
    with Recorder(str(project), agent="ada", settings=replace(own_hub), direct=True) as recorder:
        recorder.signal()
    assert old.config.allow_atomic is None
    for _ in range(2):
        identity, new = on_log(own_hub, ensure)
        assert identity == bus.identity(old)
        assert new.config.allow_atomic
        level = {name: (new.config.metadata or {})[name] for name in ("_nats.req.level",)}
        metadata = {**(old.config.metadata or {}), **level}
        assert new.config.evolve(allow_atomic=None, metadata=None) == old.config.evolve(metadata=None)
        assert new.config.metadata == metadata
    submit(own_hub, [Submission(project, made(project, 1_500), expected_sequence=1)])
    assert len(events_of(own_hub, project)) == 1_501
