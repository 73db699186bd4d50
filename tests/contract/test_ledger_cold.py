"""Old events' bytes are in the archive: every question is answered as before, from there where it must be."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ingestors.janitor.bounds import Bounds
from ingestors.janitor.ledger import LedgerStore
from ingestors.janitor.notes import Notes
from ingestors.janitor.policy import DAY_US, Policy
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.contract import AgentDecision, Checkpoint, Origin, ToolCall
from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.events import PART_LIMIT_BYTES, content_hash
from nervous_system.ledger.cold import ColdStore, Offloaded
from nervous_system.ledger.ledger import TRANSACTION_BYTES, Ledger
from nervous_system.ledger.records import CHUNK_BYTES
from nervous_system.ledger.snapshots import Whole
from nervous_system.ledger.transaction import Engine
from nervous_system.projects import ProjectName
from replay.contents import Contents
from replay.forking import opening
from replay.keeping import Keeper
from replay.merging import tree_at
from replay.moments import Moment, resolve
from replay.verification import Verification
from replay.why import explain
from tests.contract.cold import ColdFile
from tests.contract.hub import ForgetfulEngine, Hub, WeighedEngine, opened_hub
from tests.contract.swarm import BASE, Swarm, lines
from tests.samples import BEGAN_US, PROJECT, event, in_parts, write

FORK = ProjectName(PROJECT.tenant, "fork")
NEIGHBOUR = ProjectName(PROJECT.tenant, "neighbour")
LARGE = os.urandom(3 * CHUNK_BYTES)
HALVES = (LARGE[:150_000], LARGE[150_000:])
EVER_US = 2**62


@pytest.fixture
def archive() -> Iterator[ColdFile]:
    with tempfile.TemporaryFile() as file:
        yield ColdFile(file)


@pytest.fixture
def hub(engine: Engine, address: str, archive: ColdFile) -> Iterator[Hub]:
    with opened_hub(engine, address, archive) as opened:
        yield opened


@pytest.fixture
def swarm(hub: Hub) -> Swarm:
    """A project in which there is an event of every kind that is kept in a way of its own, and a fork of it."""
    swarm = Swarm(hub)
    swarm.write("ada", "a", BASE)
    swarm.write("bob", "a", lines(two="2"), BASE)
    swarm.write("ada", "small", b"a few bytes")
    swarm.write("ada", "a", lines(two="2", six="6"), lines(two="2"))
    hub.land(*(hub.part(half) for half in HALVES), hub.message(event(700, state_change=in_parts("large", *HALVES))))
    hub.put(event(701, tool_call=ToolCall(name="t", result=os.urandom(CHUNK_BYTES).hex())))
    hub.put(event(702, decision=AgentDecision(rationale="r")), event(703, state_change=write("bin", LARGE[:200_000])))
    hub.put(event(704))
    history = hub.history()
    opened = opening(history, resolve(history, "now"))
    hub.land(hub.message(event(705, FORK, checkpoint=opened), project=FORK))
    hub.land(hub.message(event(706, FORK, state_change=write("a", b"other\n", lines(two="2", six="6"))), project=FORK))
    swarm.write("bob", "a", lines(one="1"), lines(two="2", six="6"))
    swarm.write("bob", "small", b"", b"a few bytes")
    return swarm


def offload(hub: Hub, project: ProjectName = PROJECT, keep: Any = ()) -> Offloaded:
    assert hub.archive is not None
    return hub.ledger.offload(project, hub.archive.rows(project), keep)


def answers(hub: Hub, project: ProjectName) -> list[Any]:
    """What is told of a project: its events, each moment's tree with all contents, and whose each line is."""
    history = hub.history(project)
    stored = list(history.events())
    given: list[Any] = [
        stored,
        list(history.events(reverse=True)),
        list(history.events_at([e.version for e in stored])),
    ]
    given.append([(outline.version, outline.changes) for outline in history.outlines()])
    for each in stored:
        contents = Contents(history)
        tree = tree_at(history, Moment(each.version, None, None), contents)
        given.append({path: (entry.mode, contents(entry.content_hash)) for path, entry in tree.items()})
    explanation = explain(history, "a", resolve(history, "now"))
    given.append([(line.text, line.origin) for line in explanation.lines])
    verification = Verification(history, hub.ledger.audit(project))
    assert list(verification.faults()) == []
    return [*given, verification.tally]


def test_every_answer_is_the_same(swarm: Swarm) -> None:
    hub = swarm.hub
    assert hub.archive is not None
    before = [answers(hub, project) for project in (PROJECT, FORK)]
    assert hub.archive.asked == []
    offloaded = [offload(hub, project) for project in (PROJECT, FORK)]
    assert [each.events for each in offloaded] == [len(hub.archive.rows(project)) for project in (PROJECT, FORK)]
    assert all(each.bytes_freed > 0 and (each.kept, each.differences) == (0, ()) for each in offloaded)
    assert [answers(hub, project) for project in (PROJECT, FORK)] == before
    assert hub.archive.asked


def test_done_again_it_changes_nothing(swarm: Swarm) -> None:
    first = offload(swarm.hub)
    before = answers(swarm.hub, PROJECT)
    assert offload(swarm.hub) == replace(first, bytes_freed=0)
    assert answers(swarm.hub, PROJECT) == before


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_unknown_outcome_is_no_matter(swarm: Swarm, engine: Engine, is_committed: bool) -> None:
    hub = swarm.hub
    assert hub.archive is not None
    before, rows = answers(hub, PROJECT), hub.archive.rows(PROJECT)
    forgetful = Ledger(ForgetfulEngine(engine, is_committed=is_committed), hub.root)
    assert forgetful.offload(PROJECT, rows).events == len(rows)
    assert answers(hub, PROJECT) == before


def test_no_transaction_reads_much_more_than_a_landing_writes(hub: Hub, engine: Engine) -> None:
    assert hub.archive is not None
    parts = [os.urandom(PART_LIMIT_BYTES) for _ in range(6)]
    for number in range(6):
        hub.put(event(number, state_change=write(f"large{number}", os.urandom(TRANSACTION_BYTES // 2 - 10_000))))
    for part in parts:
        hub.land(hub.part(part))
    hub.put(event(10, state_change=in_parts("in parts", *parts)), event(11))
    weighed = WeighedEngine(engine)
    offloaded = Ledger(weighed, hub.root).offload(PROJECT, hub.archive.rows(PROJECT))
    assert (offloaded.events, offloaded.kept, offloaded.differences) == (8, 0, ())
    assert offloaded.bytes_freed > sum(map(len, parts)) + 6 * TRANSACTION_BYTES // 3
    assert max(weighed.read_bytes) < 1.2 * TRANSACTION_BYTES
    assert hub.history().blobs([hashlib.sha256(part).digest() for part in parts]) == parts
    assert len(hub.archive.asked) == len(parts)


def test_what_stands_now_stays_at_hand(swarm: Swarm) -> None:
    hub = swarm.hub
    assert hub.archive is not None
    keep = hub.ledger.standing_contents(PROJECT, EVER_US) | hub.ledger.standing_contents(FORK, EVER_US)
    offloaded = [offload(hub, project, keep) for project in (PROJECT, FORK)]
    assert all(each.kept and each.events for each in offloaded)
    for project in (PROJECT, FORK):
        history = hub.history(project)
        contents = Contents(history)
        # As where snapshots are: no outline is read to know what stands.
        tree = tree_at(history, resolve(history, "now"), contents)
        assert {path: content_hash(contents(entry.content_hash)) for path, entry in tree.items()} == {
            path: entry.content_hash for path, entry in tree.items()
        }
    assert hub.archive.asked == []
    assert offload(hub, PROJECT).events == len(hub.archive.rows(PROJECT))


def test_only_what_is_asked_for_is_read(swarm: Swarm) -> None:
    hub = swarm.hub
    assert hub.archive is not None
    offload(hub)
    rows = {row.event_id: row.position for row in hub.archive.rows(PROJECT)}
    history = hub.history()
    version = history.version_of_event(event(703).event_id)
    assert version is not None
    assert history.has(version)
    assert history.last_recorded(EVER_US) == history.head().version
    assert list(history.path_changes())
    assert hub.archive.asked == []
    assert Contents(history)(content_hash(LARGE[:200_000])) == LARGE[:200_000]
    assert hub.archive.asked == [rows[event(703).event_id]]


def test_what_does_not_match_is_left_alone(swarm: Swarm) -> None:
    hub = swarm.hub
    assert hub.archive is not None
    before = answers(hub, PROJECT)
    rows = hub.archive.rows(PROJECT)
    altered = [replace(rows[0], digest=bytes(32)), replace(rows[1], event_id=event(999).event_id)]
    offloaded = hub.ledger.offload(PROJECT, altered)
    assert offloaded == Offloaded(differences=(rows[0].event_id, event(999).event_id))
    assert answers(hub, PROJECT) == before
    assert hub.archive.asked == []


def test_without_an_archive_it_says_what_to_set(swarm: Swarm, engine: Engine) -> None:
    offload(swarm.hub)
    history = Ledger(engine, swarm.hub.root).history(PROJECT)
    with pytest.raises(SettingsError, match=r"acme/shop .* archive .*ENCHANTED_S3_ENDPOINT"):
        list(history.events())
    assert list(history.path_changes())


def test_an_archive_that_does_not_answer_is_said_to_be_needed(swarm: Swarm, engine: Engine) -> None:
    def away() -> ColdStore:
        raise UnavailableError("S3 does not answer.")

    offload(swarm.hub)
    history = Ledger(engine, swarm.hub.root, away).history(PROJECT)
    with pytest.raises(UnavailableError, match=r"acme/shop .* archive only, .* S3 does not answer"):
        history.event(history.head().version)


def test_other_bytes_in_the_archive_are_not_believed(swarm: Swarm) -> None:
    hub = swarm.hub
    assert hub.archive is not None
    offload(hub)
    rows = {row.event_id: row for row in hub.archive.rows(PROJECT)}
    hub.archive.overwrite(PROJECT, rows[event(704).event_id].position, event(702).SerializeToString())
    with pytest.raises(ArchiveDamagedError, match="not what was landed"):
        list(hub.history().events())
    hub.archive.overwrite(PROJECT, rows[event(703).event_id].position, b"\xff")
    with pytest.raises(ArchiveDamagedError, match="another hash"):
        Contents(hub.history())(content_hash(LARGE[:200_000]))


def test_a_content_that_comes_again_is_at_hand_again(swarm: Swarm) -> None:
    hub = swarm.hub
    assert hub.archive is not None
    large = LARGE[:200_000]
    offload(hub)
    hub.land(hub.message(event(800, NEIGHBOUR, state_change=write("bin", large)), project=NEIGHBOUR))
    assert Contents(hub.history(NEIGHBOUR))(content_hash(large)) == large
    hub.put(event(801, state_change=write("small", b"a few bytes")), event(802, state_change=write("again", BASE)))
    for content in (large, b"a few bytes", BASE):
        assert Contents(hub.history())(content_hash(content)) == content
    hub.land(*map(hub.part, HALVES), hub.message(event(803, state_change=in_parts("large", *HALVES))))
    assert hub.history().blobs([bytes.fromhex(content_hash(half)) for half in HALVES]) == list(HALVES)
    assert hub.archive.asked == []


def test_a_snapshot_may_keep_whole_what_the_archive_has(swarm: Swarm) -> None:
    hub = swarm.hub
    contents = [BASE, LARGE[:200_000]]
    offload(hub)
    wholes = [Whole(bytes.fromhex(content_hash(each)), each, hub.history().head().version) for each in contents]
    hub.land(hub.message(event(800, NEIGHBOUR), project=NEIGHBOUR))
    hub.ledger.snapshots(NEIGHBOUR).keep_whole(wholes)
    hub.ledger.snapshots(PROJECT).keep_whole(wholes)
    for project in (PROJECT, NEIGHBOUR):
        assert [Contents(hub.history(project))(content_hash(each)) for each in contents] == contents


def test_snapshots_can_be_made_anew_from_the_archive(swarm: Swarm) -> None:
    hub = swarm.hub
    offload(hub)
    before = answers(hub, PROJECT)
    Keeper(hub.history(), hub.ledger.snapshots(PROJECT), least_events=2).advance()
    assert hub.history().snapshots()
    assert answers(hub, PROJECT) == before


def test_what_lies_behind_the_last_snapshot_stays_at_hand(swarm: Swarm) -> None:
    hub = swarm.hub
    assert hub.archive is not None
    Keeper(hub.history(), hub.ledger.snapshots(PROJECT), least_events=4).advance()
    swarm.write("ada", "later", b"later")
    assert offload(hub, keep=hub.ledger.standing_contents(PROJECT, EVER_US)).kept
    history = hub.history()
    tree = tree_at(history, resolve(history, "now"), Contents(history))
    assert tree["later"].content_hash == content_hash(b"later")
    assert hub.archive.asked == []


def test_contents_of_a_stretch_of_time(hub: Hub) -> None:
    contents = [b"%d" % number * 300 for number in range(5)]
    for number, content in enumerate(contents):
        hub.put(event(number, state_change=write("a", content)), recorded_us=BEGAN_US + number)
    hub.put(event(9, state_change=write("b", b"b")), recorded_us=BEGAN_US + 9)
    standing = hub.ledger.standing_contents(PROJECT, BEGAN_US + 3)
    expected = {bytes.fromhex(content_hash(each)) for each in (*contents[2:], b"b")}
    assert standing == expected


def removed(hub: Hub, *projects: ProjectName) -> Offloaded:
    """What a round of the janitor does to projects of a tenant that are all old."""
    assert hub.archive is not None
    bounds = Bounds(Policy(1), EVER_US + 2 * DAY_US, {})
    store = LedgerStore(hub.ledger, "fdb:", Notes(), lambda *_: True)
    gone = [store._offload_some(bounds, project, hub.archive.rows(project)) for project in projects]
    return sum(gone, Offloaded())


def test_what_stands_in_a_fork_stays_at_hand(hub: Hub) -> None:
    assert hub.archive is not None
    for path in ("kept", "gone"):
        hub.put(event(1 if path == "kept" else 2, state_change=write(path, path.encode() * 100)))
    history = hub.history()
    opened = opening(history, resolve(history, event(1).event_id))
    hub.land(hub.message(event(3, FORK, checkpoint=opened), project=FORK))
    for number, path in enumerate(("kept", "gone"), 4):
        hub.put(event(number, state_change=write(path, b"later")))
    assert removed(hub, PROJECT).kept
    history = hub.history(FORK)
    contents = Contents(history)
    tree = tree_at(history, resolve(history, "now"), contents)
    assert [contents(entry.content_hash) for entry in tree.values()] == [b"kept" * 100]
    assert hub.archive.asked == []


def test_two_that_are_each_others_past_keep_nobody_from_going(swarm: Swarm) -> None:
    hub, pair = swarm.hub, [ProjectName(PROJECT.tenant, name) for name in ("left", "right")]
    for number, (project, other) in enumerate((pair, pair[::-1]), 900):
        origin = Origin(project_id=other.project, through_event_id=event(1).event_id, chain=bytes(32), incarnation=5)
        hub.land(hub.message(event(number, project, checkpoint=Checkpoint(name="o", origin=origin)), project=project))
    assert removed(hub, *pair, PROJECT).events
