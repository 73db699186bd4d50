"""Checkpoints in the ledger: what they cover, whether they hold, and what leads back to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nervous_system.contract import Checkpoint, StateChange
from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.events import content_hash, cut_batch, decode, encode_batch, utc
from nervous_system.ledger import keys
from nervous_system.ledger.keys import ProjectKeys
from nervous_system.ledger.transaction import Engine, Transaction
from nervous_system.projects import ProjectName
from nervous_system.submission import Submission
from nervous_system.textdiff import unified_diff
from replay.checkpoints import CheckpointError, Member, listed, member_at, members_of, submissions
from replay.contents import Contents
from replay.forking import opening
from replay.merging import Policy, tree_at
from replay.moments import Moment, resolve
from replay.rollback import Prepared, RollbackError, prepare, targets
from replay.soundness import Sound, fault_of, sound
from replay.state import ConflictError
from replay.tree import EXECUTABLE, SUBMODULE, SYMLINK, tree_digest
from replay.verification import Verification, first
from tests.contract.hub import Hub, opened_hub
from tests.samples import BEGAN_US, PROJECT, delete, event, patch, write

SECOND_US = 1_000_000
OTHER = ProjectName(PROJECT.tenant, "stock")
FORK = ProjectName(PROJECT.tenant, "fork")
LONG = b"a line that is long enough to be stored apart from its event\n" * 8


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


class Numbers:
    """Gives each sample event a number of its own."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> int:
        self.last += 1
        return self.last


@pytest.fixture
def number() -> Numbers:
    return Numbers()


def change(hub: Hub, number: Numbers, *changes: StateChange, project: ProjectName = PROJECT) -> None:
    hub.land(hub.message(*(event(number(), project, state_change=each) for each in changes), project=project))


def land(hub: Hub, submission: Submission) -> None:
    """What the log makes of a submission, one message for its events."""
    for part in submission.parts:
        hub.land(hub.part(part, submission.project))
    hub.land(hub.message(*cut_batch(encode_batch(list(submission.events))), project=submission.project))


def name_moment(hub: Hub, name: str, *projects: ProjectName) -> None:
    found = [member_at(hub.history(project), resolve(hub.history(project), "now")) for project in projects]
    for each in submissions(name, found):
        land(hub, each)


def files(hub: Hub, at: str = "now", project: ProjectName = PROJECT) -> dict[str, tuple[int, bytes]]:
    history = hub.history(project)
    contents = Contents(history)
    tree = tree_at(history, resolve(history, at), contents)
    return {path: (entry.mode, contents(entry.content_hash)) for path, entry in tree.items()}


def way_back(hub: Hub, name: str, policy: Policy = Policy.FAIL, project: ProjectName = PROJECT) -> Prepared:
    states = targets(hub.ledger, {project: members_of(hub.ledger, project, name)[project]}, policy)
    (prepared,) = prepare(hub.ledger, states, {project: 0})
    return prepared


def go_back(hub: Hub, name: str, policy: Policy = Policy.FAIL, project: ProjectName = PROJECT) -> Prepared:
    prepared = way_back(hub, name, policy, project)
    assert prepared.submission is not None
    land(hub, prepared.submission)
    history = hub.history(project)
    assert tree_digest(tree_at(history, resolve(history, "now"), Contents(history))) == prepared.target.digest
    assert not list(Verification(history, hub.ledger.audit(project)).faults())
    return prepared


def moded(resource: str, content: bytes, mode: int) -> StateChange:
    made = write(resource, content)
    made.mode = mode
    return made


def test_every_kind_of_change_is_led_back(hub: Hub, number: Numbers) -> None:
    large = os.urandom(1_300_000)
    parts = [large[:500_000], large[500_000:1_000_000], large[1_000_000:]]
    hub.land(*(hub.part(part) for part in parts))
    in_parts = write("large", b"")
    in_parts.ClearField("content")
    in_parts.new_state_hash = in_parts.blob_hash = content_hash(large)
    in_parts.blob_parts.extend(bytes.fromhex(content_hash(part)) for part in parts)
    change(
        hub,
        number,
        write("kept", b"kept\n"),
        write("edited", LONG),
        write("deleted", b"deleted\n"),
        write("moved/here", b"moved\n"),
        write("mode", b"#!/bin/sh\n"),
        write("binary", b"\0\xff"),
        write("folder-now", b"a file\n"),
        write("file-now/inside", b"below\n"),
        moded("link", b"kept", SYMLINK),
        moded("vendor", b"a" * 40, SUBMODULE),
        in_parts,
    )
    name_moment(hub, "good", PROJECT)
    before = files(hub)
    mode = write("mode", b"", b"#!/bin/sh\n")
    mode.ClearField("content")
    mode.new_state_hash, mode.mode = content_hash(b"#!/bin/sh\n"), EXECUTABLE
    moved = write("moved/there", b"moved\n", b"moved\n", renamed_from="moved/here")
    moved.ClearField("content")
    change(
        hub,
        number,
        write("edited", LONG + b"more\n", LONG),
        delete("deleted", b"deleted\n"),
        moved,
        mode,
        write("binary", b"\0\xfe", b"\0\xff"),
        delete("folder-now", b"a file\n"),
        write("folder-now/inside", b"below\n"),
        delete("file-now/inside", b"below\n"),
        write("file-now", b"a file\n"),
        moded("link", b"edited", SYMLINK),
        moded("vendor", b"b" * 40, SUBMODULE),
        delete("large"),
        write("added", b"added\n"),
    )
    name_moment(hub, "bad", PROJECT)
    bad, count = files(hub), hub.history().head().count
    prepared = go_back(hub, "good")
    assert files(hub) == before
    assert hub.history().head().count > count, "nothing is taken out of a history"
    kinds = {each.resource: each.kind for each in prepared.differences}
    assert (kinds["moved/here"], kinds["mode"]) == ("renamed", "mode")
    assert prepared.submission is not None
    events = [decode(data) for data in prepared.submission.events]
    assert {each.causation_id for each in events[1:]} == {events[0].event_id}
    assert len({each.correlation_id for each in events}) == 1
    edited = next(each.state_change for each in events if each.state_change.target_resource == "edited")
    assert edited.diff_patch, "what was edited goes back as a diff"
    assert way_back(hub, "good").submission is None, "who is there already gets no events"
    go_back(hub, "bad")
    assert files(hub) == bad


def test_conflicts_are_settled_and_merges_undone(hub: Hub, number: Numbers) -> None:
    base = b"one\ntwo\nthree\nfour\nfive\n"
    change(hub, number, write("merged", base), write("met", base), write("same", base), write("gone", base))
    name_moment(hub, "good", PROJECT)
    before = files(hub)
    tops, bottoms = (b"ONE\n", b"uno\n"), (b"FIVE\n", b"five!\n")
    for path in ("merged", "met", "same", "gone"):
        sides = [base.replace(b"one\n", tops[0]), base.replace(b"five\n", bottoms[0])]
        if path != "merged":
            sides[1] = base.replace(b"one\n", tops[1])
        change(hub, number, *(patch(path, base, side, unified_diff(base, side) or "") for side in sides))
    # Left as it was at the checkpoint by its last change, and still in conflict.
    change(hub, number, write("same", base, base.replace(b"one\n", tops[1])))
    change(hub, number, delete("gone", base.replace(b"one\n", tops[1])))
    with pytest.raises(ConflictError):
        files(hub)
    go_back(hub, "good")
    assert files(hub) == before


def test_a_merge_alone_is_led_back_whatever_was_recorded_of_it(hub: Hub, number: Numbers) -> None:
    base = b"one\ntwo\nthree\nfour\nfive\n"
    sides = base.replace(b"one", b"ONE"), base.replace(b"five", b"FIVE")
    change(hub, number, write("f", base))
    name_moment(hub, "base", PROJECT)
    change(hub, number, *(patch("f", base, side, unified_diff(base, side) or "") for side in sides))
    name_moment(hub, "merged", PROJECT)
    merged = files(hub)
    go_back(hub, "base")
    assert files(hub)["f"][1] == base
    # The merge's outcome was never recorded by anybody: it travels now.
    go_back(hub, "merged")
    assert files(hub) == merged


TEXTS = [b"one\ntwo\nthree\nfour\n", b"ONE\ntwo\nthree\nfour\n", b"one\ntwo\nthree\nFOUR\n", b"uno\ntwo\n", b"\0"]
paths = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(TEXTS)
bases = st.none() | texts
steps = st.one_of(
    st.builds(write, paths, texts, bases),
    st.builds(delete, paths, bases),
    st.builds(
        lambda source, target, text: write(target, text, text, renamed_from=source if source != target else ""),
        paths,
        paths,
        texts,
    ),
    st.builds(lambda path, text: moded(path, text, EXECUTABLE), paths, texts),
)


def test_whatever_was_written_since_is_led_back(engine: Engine, address: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(steps, min_size=1, max_size=8), st.lists(steps, max_size=8))
    def check(before: list[StateChange], after: list[StateChange]) -> None:
        with opened_hub(engine, address) as hub:
            number = Numbers()
            change(hub, number, *before)
            name_moment(hub, "good", PROJECT)
            if after:
                change(hub, number, *after)
            prepared = way_back(hub, "good", Policy.THEIRS)
            if prepared.submission is not None:
                land(hub, prepared.submission)
            history = hub.history()
            for policy in Policy:
                tree = tree_at(history, resolve(history, "now"), Contents(history), policy)
                assert tree_digest(tree) == prepared.target.digest
            assert not list(Verification(history, hub.ledger.audit(PROJECT)).faults())
            assert way_back(hub, "good", Policy.THEIRS).submission is None

    check()


def test_a_checkpoint_that_is_in_conflict_needs_a_policy(hub: Hub, number: Numbers) -> None:
    change(hub, number, write("f", b"base\n"), write("f", b"a\n", b"base\n"), write("f", b"b\n", b"base\n"))
    name_moment(hub, "mixed", PROJECT)
    change(hub, number, write("f", b"anew\n"))
    with pytest.raises(RollbackError, match="nothing was written"):
        way_back(hub, "mixed")
    go_back(hub, "mixed", Policy.THEIRS)
    assert files(hub)["f"][1] == b"b\n"


def test_a_checkpoint_of_several_projects_is_found_from_each(hub: Hub, number: Numbers) -> None:
    change(hub, number, write("f", b"1"))
    change(hub, number, write("g", b"1"), project=OTHER)
    name_moment(hub, "both", PROJECT, OTHER)
    expected = members_of(hub.ledger, PROJECT, "both")
    assert set(expected) == {PROJECT, OTHER}
    assert members_of(hub.ledger, OTHER, "both") == expected
    # Given anew to one of them, it is two names now.
    change(hub, number, write("g", b"2"), project=OTHER)
    name_moment(hub, "both", OTHER)
    assert members_of(hub.ledger, PROJECT, "both") == expected
    assert set(members_of(hub.ledger, OTHER, "both")) == {OTHER}
    assert [each.is_replaced for each in listed(hub.history(OTHER))] == [True, False]
    with pytest.raises(NotFoundError, match="checkpoint list"):
        members_of(hub.ledger, PROJECT, "neither")


def test_in_a_fork_a_shared_checkpoint_stands_for_the_fork(hub: Hub, number: Numbers) -> None:
    change(hub, number, write("f", b"1"))
    change(hub, number, write("g", b"1"), project=OTHER)
    name_moment(hub, "both", PROJECT, OTHER)
    history = hub.history()
    hub.land(hub.message(event(900, FORK, checkpoint=opening(history, resolve(history, "now"))), project=FORK))
    change(hub, number, write("f", b"forked", b"1"), project=FORK)
    assert set(members_of(hub.ledger, FORK, "both")) == {FORK}
    go_back(hub, "both", project=FORK)
    assert files(hub, project=FORK)["f"][1] == b"1"
    assert hub.history().head() == history.head()


def test_a_time_is_a_point_only_where_nothing_came_late(hub: Hub) -> None:
    for seconds in (1, 2, 3):
        hub.put(event(seconds, state_change=write("f", bytes([seconds]))))
    history = hub.history()

    def at(seconds: int) -> Member:
        return member_at(history, resolve(history, utc(BEGAN_US + seconds * SECOND_US).isoformat()))

    assert at(2).event_id == event(2).event_id
    hub.put(event(4, occurred_us=BEGAN_US + SECOND_US))
    assert at(3).event_id == event(4).event_id
    with pytest.raises(CheckpointError, match="recorded late"):
        at(2)


def project_keys(hub: Hub, engine: Engine, project: ProjectName) -> ProjectKeys:
    prefix = engine.directory((hub.root, project.tenant, project.project))
    assert prefix is not None
    return ProjectKeys(prefix)


def tamper(hub: Hub, engine: Engine, project: ProjectName, act: Callable[[Transaction, ProjectKeys], None]) -> None:
    found = project_keys(hub, engine, project)
    engine.run(lambda transaction: act(transaction, found))


def fault(hub: Hub, name: str, project: ProjectName = PROJECT) -> str:
    """What is wrong with a checkpoint; empty where nothing is."""
    result = fault_of(hub.ledger, project, members_of(hub.ledger, project, name)[project], Policy.FAIL)
    return "" if isinstance(result, Sound) else result


def test_only_what_leads_to_a_checkpoint_counts_for_it(hub: Hub, engine: Engine, number: Numbers) -> None:
    change(hub, number, write("f", b"1"))
    name_moment(hub, "early", PROJECT)
    change(hub, number, write("g", LONG))
    name_moment(hub, "late", PROJECT)
    version = hub.history().version_of_event(event(2).event_id)
    assert version is not None

    def alter(transaction: Transaction, at: ProjectKeys) -> None:
        value = transaction.get(at.event(version))
        assert value is not None
        transaction.set(at.event(version), value.replace(b"ada", b"eve"))

    tamper(hub, engine, PROJECT, alter)
    assert not fault(hub, "early")
    assert event(2).event_id in fault(hub, "late")
    assert "not those that were landed" in fault(hub, "late")
    with pytest.raises(RollbackError, match="nothing was written"):
        way_back(hub, "late")


def test_a_missing_content_is_found(hub: Hub, engine: Engine, number: Numbers) -> None:
    change(hub, number, write("f", LONG))
    name_moment(hub, "good", PROJECT)
    change(hub, number, write("f", b"short", LONG))
    assert not fault(hub, "good")
    tenant_prefix = engine.directory((hub.root, PROJECT.tenant))
    assert tenant_prefix is not None
    blob = keys.blob(tenant_prefix, bytes.fromhex(content_hash(LONG)))
    engine.run(lambda transaction: transaction.clear_range(*keys.within(blob)))
    engine.run(lambda transaction: transaction.clear(blob))
    assert "content is missing" in fault(hub, "good")
    with pytest.raises(EnchantedError, match="nothing was written"):
        way_back(hub, "good")


@pytest.fixture
def forked(hub: Hub, number: Numbers) -> Hub:
    """A project of three events, a fork that shares two of them and goes on."""
    for content in (b"one", b"two", b"three"):
        change(hub, number, write("f", content))
    history = hub.history()
    hub.land(
        hub.message(event(900, FORK, checkpoint=opening(history, resolve(history, event(2).event_id))), project=FORK)
    )
    hub.land(hub.message(event(901, FORK, state_change=write("f", b"own", b"two")), project=FORK))
    return hub


def verified(hub: Hub, project: ProjectName) -> Verification:
    return Verification(hub.history(project), hub.ledger.audit(project))


def test_a_fork_is_verified_by_its_own_events_and_its_origin(forked: Hub) -> None:
    verification = verified(forked, FORK)
    assert list(verification.faults()) == []
    assert verification.tally.events == 2
    assert list(verified(forked, PROJECT).faults()) == []
    head = forked.history(FORK).head().version
    assert sound(forked.ledger, FORK, Moment(head)).tree.keys() == {"f"}


def test_another_past_than_the_fork_was_made_with_is_named(forked: Hub, engine: Engine) -> None:
    def alter(transaction: Transaction, at: ProjectKeys) -> None:
        key = at.id(event(2).event_id)
        value = transaction.get(key)
        assert value is not None
        transaction.set(key, value[:-1] + bytes([value[-1] ^ 1]))

    tamper(forked, engine, PROJECT, alter)
    found = first(list(verified(forked, FORK).faults()))
    assert found.event_id == event(2).event_id
    assert str(PROJECT) in found.reason


def test_an_origin_that_was_altered_is_named(forked: Hub, engine: Engine) -> None:
    def alter(transaction: Transaction, at: ProjectKeys) -> None:
        origin = opening(forked.history(), resolve(forked.history(), event(1).event_id)).origin
        transaction.set(at.origin, origin.SerializeToString())

    tamper(forked, engine, FORK, alter)
    (found,) = verified(forked, FORK).faults()
    assert "first event says" in found.reason
    tamper(forked, engine, FORK, lambda transaction, at: transaction.clear(at.origin))
    assert "first event says" in first(list(verified(forked, FORK).faults())).reason


def test_the_shared_past_of_a_fork_counts_for_its_checkpoints(forked: Hub, engine: Engine) -> None:
    named = event(902, FORK, checkpoint=Checkpoint(name="mine"))
    forked.land(forked.message(named, project=FORK))
    assert not fault(forked, "mine", FORK)
    version = forked.history().version_of_event(event(1).event_id)
    assert version is not None
    tamper(forked, engine, PROJECT, lambda transaction, at: transaction.clear(at.event(version)))
    assert event(1).event_id in fault(forked, "mine", FORK)
