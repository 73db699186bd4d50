"""Why lines are there: whichever way a file came to be, each line is told to be of the event that wrote it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from nervous_system.contract import AgentDecision, Operation, StateChange, SwarmEvent
from nervous_system.errors import NotFoundError
from nervous_system.ledger.transaction import Engine
from nervous_system.projects import ProjectName
from nervous_system.textdiff import unified_diff
from replay.contents import Contents
from replay.forking import opening
from replay.merging import Policy, tree_at
from replay.moments import resolve
from replay.state import ConflictError
from replay.why import Reason, explain
from tests.contract.hub import Hub, opened_hub
from tests.samples import PROJECT, delete, event, event_id, patch, write

BASE = b"one\ntwo\nthree\nfour\nfive\n"


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


def diffed(before: bytes, after: bytes, resource: str = "f") -> StateChange:
    return patch(resource, before, after, unified_diff(before, after) or "")


def renamed(old: str, new: str, before: bytes, after: bytes) -> StateChange:
    change = diffed(before, after, new)
    change.operation, change.renamed_from = Operation.OPERATION_RENAME, old
    return change


def origins(hub: Hub, resource: str = "f", policy: Policy = Policy.FAIL, at: str = "now") -> list[tuple[str, int]]:
    """Each line, and the number of the event that wrote it."""
    history = hub.history()
    explanation = explain(history, resource, resolve(history, at), policy)
    numbers = {event_id(number): number for number in range(200)}
    return [(line.text, numbers[explanation.reasons[line.origin].event.event_id]) for line in explanation.lines]


def put(hub: Hub, *changes: StateChange) -> None:
    """Lands events 1, 2, 3 … of these changes."""
    hub.put(*(event(number, state_change=change) for number, change in enumerate(changes, start=1)))


def test_each_line_is_of_the_change_that_wrote_it(hub: Hub) -> None:
    second = b"zero\none\nTWO\nthree\nfive\n"
    third = second + b"six"
    put(hub, write("f", BASE), diffed(BASE, second), diffed(second, third))
    assert origins(hub) == [("zero", 2), ("one", 1), ("TWO", 2), ("three", 1), ("five", 1), ("six", 3)]
    assert origins(hub, at=event_id(2))[-1] == ("five", 1)


@pytest.mark.parametrize("is_diff", [True, False])
def test_lines_are_followed_through_names(hub: Hub, is_diff: bool) -> None:
    second, third = BASE.replace(b"two", b"TWO"), BASE.replace(b"two", b"TWO").replace(b"five", b"FIVE")
    rename = renamed("f", "g", BASE, second)
    if not is_diff:
        rename.diff_patch, rename.content = "", second
    put(hub, write("f", BASE), rename, renamed("g", "f", second, second), diffed(second, third))
    assert origins(hub, "f") == [("one", 1), ("TWO", 2), ("three", 1), ("four", 1), ("FIVE", 4)]
    assert origins(hub, "g", at=event_id(2)) == [("one", 1), ("TWO", 2), ("three", 1), ("four", 1), ("five", 1)]


def test_what_was_deleted_begins_anew_and_what_was_undone_is_of_who_undid_it(hub: Hub) -> None:
    second = BASE.replace(b"three\n", b"")
    put(hub, write("f", BASE), diffed(BASE, second), diffed(second, BASE), delete("f", BASE), write("f", BASE))
    assert origins(hub, at=event_id(3)) == [("one", 1), ("two", 1), ("three", 3), ("four", 1), ("five", 1)]
    assert {number for _, number in origins(hub)} == {5}
    with pytest.raises(NotFoundError, match=f"event {event_id(4)}.*--at before:{event_id(4)}"):
        origins(hub, at=event_id(4))


def test_a_mode_changes_no_line(hub: Hub) -> None:
    change = diffed(BASE, BASE)
    change.mode = 0o100755
    put(hub, write("f", BASE), change)
    assert {number for _, number in origins(hub)} == {1}


TOP = BASE.replace(b"one", b"ONE")
BOTTOM = BASE.replace(b"five", b"FIVE")
OTHER_TOP = BASE.replace(b"one", b"uno")


def test_of_a_merge_each_line_is_of_the_side_that_wrote_it(hub: Hub) -> None:
    longer = BOTTOM + b"six\n"
    merged = b"ONE\ntwo\nthree\nfour\nFIVE\nsix\n"
    put(
        hub,
        write("f", BASE),
        diffed(BASE, TOP),
        diffed(BASE, BOTTOM),
        diffed(BOTTOM, longer),
        # Somebody who has what stands there goes on, with a content that was never recorded as its base.
        diffed(merged, merged.replace(b"three", b"THREE")),
    )
    assert origins(hub) == [("ONE", 2), ("two", 1), ("THREE", 5), ("four", 1), ("FIVE", 3), ("six", 4)]


def test_what_both_sides_wrote_is_of_the_first(hub: Hub) -> None:
    put(hub, write("f", BASE), diffed(BASE, TOP), diffed(BASE, TOP.replace(b"five", b"FIVE")))
    assert origins(hub) == [("ONE", 2), ("two", 1), ("three", 1), ("four", 1), ("FIVE", 3)]


def test_where_changes_meet_the_policy_says_whose_lines_stand(hub: Hub) -> None:
    put(hub, write("f", BASE), diffed(BASE, TOP), diffed(BASE, OTHER_TOP))
    with pytest.raises(ConflictError, match="--on-conflict"):
        origins(hub)
    rest = [("two", 1), ("three", 1), ("four", 1), ("five", 1)]
    assert origins(hub, policy=Policy.OURS) == [("ONE", 2), *rest]
    assert origins(hub, policy=Policy.THEIRS) == [("uno", 3), *rest]
    marked = [("<<<<<<< ours", 3), ("ONE", 2), ("=======", 3), ("uno", 3), (">>>>>>> theirs", 3)]
    assert origins(hub, policy=Policy.MARK) == [*marked, *rest]


def test_a_line_that_two_sides_kept_stands_twice_and_has_one_origin(hub: Hub) -> None:
    """Both sides change what is around it, so that all of it meets."""
    put(hub, write("f", b"a\nb\nc\n"), diffed(b"a\nb\nc\n", b"A\nb\nC\n"), diffed(b"a\nb\nc\n", b"1\n2\n3\nb\n"))
    marked = origins(hub, policy=Policy.MARK)
    assert [number for text, number in marked if text == "b"] == [1] * sum(text == "b" for text, _ in marked)


@pytest.mark.parametrize("deleted_first", [True, False])
def test_of_a_change_and_a_deletion(hub: Hub, deleted_first: bool) -> None:
    changes = [delete("f", BASE), diffed(BASE, TOP)]
    put(hub, write("f", BASE), *(changes if deleted_first else reversed(changes)))
    with pytest.raises(ConflictError):
        origins(hub)
    kept = [("ONE", 3 if deleted_first else 2), ("two", 1), ("three", 1), ("four", 1), ("five", 1)]
    assert origins(hub, policy=Policy.MARK) == kept
    assert origins(hub, policy=Policy.THEIRS if deleted_first else Policy.OURS) == kept


@dataclass
class Agents:
    """Agents that write lines of which each names its event, from contents that stand or that they have from before."""

    hub: Hub
    policy: Policy
    chance: random.Random
    known: dict[str, list[bytes]] = field(default_factory=dict)
    count: int = 0

    def standing(self) -> dict[str, bytes]:
        history = self.hub.history()
        contents = Contents(history)
        tree = tree_at(history, resolve(history, "now"), contents, self.policy)
        return {path: contents(entry.content_hash) for path, entry in tree.items()}

    def act(self) -> None:
        """One more change, of a file or of its name."""
        self.count += 1
        tree = self.standing() if self.count > 1 else {}
        if not tree or self.chance.random() < 0.1:
            path = f"file{self.count}"
            self._land(path, b"", write(path, content := self._edited(b"")), content)
            return
        path = self.chance.choice(sorted(tree))
        before = self.chance.choice(self.known[path]) if self.chance.random() < 0.5 else tree[path]
        if self.chance.random() < 0.08:
            self.hub.put(event(self.count, state_change=delete(path, before)))
            return
        after = self._edited(before)
        target = f"file{self.count}" if self.chance.random() < 0.15 else path
        change = renamed(path, target, before, after) if target != path else diffed(before, after, path)
        if self.chance.random() < 0.3:
            change.diff_patch, change.content = "", after
        self._land(target, before, change, after)

    def _land(self, path: str, before: bytes, change: StateChange, after: bytes) -> None:
        self.known.setdefault(path, []).append(after)
        self.hub.put(event(self.count, state_change=change))

    def _edited(self, before: bytes) -> bytes:
        lines = before.splitlines(keepends=True)
        for place in range(self.chance.randint(1, 3)):
            start = self.chance.randint(0, len(lines))
            added = [f"{self.count} {place} {number}\n".encode() for number in range(self.chance.randint(0, 3))]
            lines[start : start + self.chance.randint(0, 2)] = added
        return b"".join(lines) or f"{self.count} only\n".encode()


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("seed", range(6))
def test_whatever_agents_do_a_line_is_of_the_event_that_it_names(hub: Hub, policy: Policy, seed: int) -> None:
    agents = Agents(hub, policy, random.Random(f"{seed} {policy}"))
    explained = 0
    for _ in range(20):
        agents.act()
        try:
            tree = agents.standing()
        except ConflictError:
            break
        for path, content in tree.items():
            found = origins(hub, path, policy)
            assert "".join(f"{text}\n" for text, _ in found).encode() == content
            named = [(text, number) for text, number in found if text[0].isdigit()]
            assert [number for _, number in named] == [int(text.split()[0]) for text, _ in named]
            assert len(named) == len(found) or policy is Policy.MARK
            explained += len(found)
    assert explained


def reasons(hub: Hub, at: str = "now", known_at: str | None = None) -> Iterator[Reason]:
    history = hub.history()
    yield from explain(history, "f", resolve(history, at, known_at=known_at)).reasons.values()


def decision(number: int, rationale: str, **fields: Any) -> SwarmEvent:
    return event(number, decision=AgentDecision(rationale=rationale), **fields)


def test_the_decision_is_the_cause_or_the_last_of_the_agent_in_the_session(hub: Hub) -> None:
    hub.put(
        decision(1, "named", session_id="other"),
        event(2, causation_id=event_id(1)),
        decision(3, "last", session_id="s"),
        decision(4, "of another session", session_id="other"),
        event(5, state_change=write("f", BASE), session_id="s"),
        event(6, state_change=diffed(BASE, TOP), session_id="s", causation_id=event_id(2)),
        event(7, state_change=diffed(TOP, TOP + b"six\n"), session_id="nobody's"),
        decision(8, "too late", session_id="s"),
    )
    found = {each.event.event_id: each.decision for each in reasons(hub)}
    told = {key: value.decision.rationale if value else None for key, value in found.items()}
    assert told == {event_id(5): "last", event_id(6): "named", event_id(7): None}


def test_a_decision_that_was_not_known_then_is_not_told(hub: Hub) -> None:
    hub.put(decision(1, "first", session_id="s"), recorded_us=1_800_000_000_000_000)
    hub.put(decision(2, "second", session_id="s"), recorded_us=1_900_000_000_000_000)
    hub.put(event(3, state_change=write("f", BASE), session_id="s"), recorded_us=1_900_000_000_000_000)
    (told,) = reasons(hub)
    assert told.decision is not None
    assert told.decision.decision.rationale == "second"


def test_a_fork_has_the_reasons_of_the_past_that_it_shares(hub: Hub) -> None:
    hub.put(decision(1, "shared"), event(2, state_change=write("f", BASE), causation_id=event_id(1)))
    shared, fork = hub.history(), ProjectName(PROJECT.tenant, "fork")
    hub.land(hub.message(event(3, fork, checkpoint=opening(shared, resolve(shared, "now"))), project=fork))
    hub.land(
        hub.message(
            event(4, fork, decision=AgentDecision(rationale="own")),
            event(5, fork, state_change=diffed(BASE, TOP), causation_id=event_id(4)),
            project=fork,
        )
    )
    history = hub.history(fork)
    explanation = explain(history, "f", resolve(history, "now"))
    decisions = [explanation.reasons[line.origin].decision for line in explanation.lines]
    assert [each.decision.rationale for each in decisions if each] == ["own", *["shared"] * 4]


def test_only_the_lines_that_are_asked_about(hub: Hub) -> None:
    put(hub, write("f", BASE), diffed(BASE, TOP))
    history = hub.history()
    now = resolve(history, "now")
    explanation = explain(history, "f", now, asked=(2, 3))
    assert [(line.number, line.text) for line in explanation.lines] == [(2, "two"), (3, "three")]
    assert len(explanation.reasons) == 1
    for asked in ((6, 6), (5, 6), (0, 1), (3, 2)):
        with pytest.raises(NotFoundError, match=r"5 lines then: there is no line"):
            explain(history, "f", now, asked=asked)


def test_what_has_no_lines_is_said(hub: Hub) -> None:
    put(
        hub,
        write("empty", b""),
        write("bytes", b"\0"),
        write("folder/f", b"x\n"),
        renamed("folder/f", "g", b"x\n", b"y\n"),
    )
    assert origins(hub, "empty") == []
    for path, sentence in (
        ("bytes", f"not text.*event {event_id(2)}"),
        ("folder", "a folder is or was called so"),
        ("nowhere", "There is no 'nowhere' in acme/shop as of now"),
        ("folder/f", "renamed to 'g'"),
    ):
        with pytest.raises(NotFoundError, match=sentence):
            origins(hub, path)


def test_a_file_of_more_changes_than_are_read_together(hub: Hub) -> None:
    contents = [b"".join(f"{max(change, number)}\n".encode() for number in range(150)) for change in range(150)]
    changes = [write("f", contents[0])]
    for before, after in pairwise(contents):
        changes.append(diffed(before, after) if len(changes) % 7 else write("f", after, before))
    put(hub, *changes)
    found = origins(hub)
    assert [text for text, _ in found] == ["149"] * 150
