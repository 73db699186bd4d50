"""What agents of the state machine do to their own copies, as events and as what the model makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nervous_system.contract import AgentDecision, Operation, StateChange, SwarmEvent
from nervous_system.projects import ProjectName
from nervous_system.textdiff import unified_diff
from tests import samples
from tests.contract.machine_model import (
    EXECUTABLE,
    FILE,
    FILES,
    SYMLINK,
    Change,
    Files,
    Held,
    Told,
    edited,
    fresh,
    sha,
)

PATHS = ("a", "b/c", "b/d", "ü")
LINKS = ("l", "m/l")
"""Where links stand, and never files."""

KINDS = ("edit", "edit", "edit", "edit", "create", "rename", "delete", "mode", "empty", "binary", "link", "decision")
FORMS = ("whole", "diff", "diff", "unclaimed")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an agent does; what does not fit its copy is another thing, or nothing."""

    kind: str
    path: int
    other: int
    bits: int
    form: str


@dataclass(slots=True)
class Agent:
    """An agent at work on its own copy.

    Args:
        name: the agent.
        project: the project.
        copy: what it sees; changed as it works.
        recorded: hashes of contents that some event carries; added to as it works. What came of a merge is not among
            them, and an agent that goes on from it sends the whole content.
        number: gives each event a number of its own.
    """

    name: str
    project: ProjectName
    copy: Files
    recorded: set[str]
    number: Callable[[], int]

    def do(self, step: Step, occurred_us: int, recorded_us: int) -> Told | None:
        """What comes of a step; None where it cannot be done."""
        number = self.number()
        if step.kind == "decision":
            return self._told(number, SwarmEvent(decision=AgentDecision(rationale="r")), occurred_us, recorded_us)
        made = self._change(step, number)
        if made is None:
            return None
        change, rows = made
        told = self._told(number, SwarmEvent(state_change=change), occurred_us, recorded_us)
        told.changes = rows
        for row in rows:
            self._take(row)
        if change.HasField("content") or change.diff_patch:
            told.carried = rows[-1].after
            self.recorded.add(sha(told.carried))
        told.moved = (change.renamed_from, change.target_resource) if change.renamed_from else None
        return told

    def _told(self, number: int, payload: SwarmEvent, occurred_us: int, recorded_us: int) -> Told:
        event = samples.event(number, self.project, occurred_us=occurred_us)
        event.ClearField("checkpoint")
        event.MergeFrom(payload)
        event.agent_id = self.name
        return Told(event.event_id, self.name, occurred_us, recorded_us, event.SerializeToString())

    def _take(self, row: Change) -> None:
        if row.after is None:
            self.copy.pop(row.path, None)
        else:
            mode = self.copy[row.path][0] if row.mode is None else row.mode
            self.copy[row.path] = mode, row.after

    def _change(self, step: Step, number: int) -> tuple[StateChange, tuple[Change, ...]] | None:
        if step.kind == "link":
            target = LINKS[step.path % len(LINKS)]
            return self._written(target, (SYMLINK, b"to-%d" % number), self.copy.get(target), step.form)
        path = PATHS[step.path % len(PATHS)]
        held = self.copy.get(path)
        if held is None:
            there = sorted(self.copy)
            if step.kind == "create" or not there:
                return self._written(path, (FILE, fresh(self.name, number, step.bits)), None, step.form)
            path = there[step.path % len(there)]
            held = self.copy[path]
        match step.kind:
            case "delete":
                return self._deleted(path, held, step.form)
            case "rename":
                return self._renamed(path, held, step, number)
            case "mode":
                mode = {FILE: EXECUTABLE, EXECUTABLE: FILE}.get(held[0], held[0])
                return self._written(path, (mode, held[1]), held, step.form)
            case _:
                return self._written(path, self._new(step, held, number), held, step.form)

    def _new(self, step: Step, held: Held, number: int) -> Held:
        match step.kind:
            case _ if held[0] == SYMLINK:
                return SYMLINK, b"to-%d" % number
            case "empty":
                return held[0], b""
            case "binary":
                return held[0], b"\0%d" % number
            case _:
                return held[0], edited(held[1], self.name, number, step.bits)

    def _written(
        self, path: str, new: Held, before: Held | None, form: str, renamed_from: str = ""
    ) -> tuple[StateChange, tuple[Change, ...]]:
        claimed = "" if before is None or form == "unclaimed" else sha(before[1])
        change = StateChange(
            target_resource=path,
            operation=Operation.OPERATION_CREATE if before is None else Operation.OPERATION_MODIFY,
            mode=new[0],
            previous_state_hash=claimed,
            new_state_hash=sha(new[1]),
        )
        if form == "diff" and before is not None and (diff := self._diff(before, new)):
            change.diff_patch = diff
        elif claimed != change.new_state_hash or form == "whole" or claimed not in self.recorded:
            change.content = new[1]
        return change, (Change(path, claimed, new[1], new[0]),)

    def _diff(self, before: Held, new: Held) -> str | None:
        """The hunks from one to the other, where there can be any."""
        if before[0] not in FILES or new[0] not in FILES or sha(before[1]) not in self.recorded:
            return None
        return unified_diff(before[1], new[1])

    def _deleted(self, path: str, held: Held, form: str) -> tuple[StateChange, tuple[Change, ...]]:
        claimed = "" if form == "unclaimed" else sha(held[1])
        change = StateChange(target_resource=path, operation=Operation.OPERATION_DELETE, previous_state_hash=claimed)
        return change, (Change(path, claimed, None, None),)

    def _renamed(self, path: str, held: Held, step: Step, number: int) -> tuple[StateChange, tuple[Change, ...]] | None:
        targets = LINKS if held[0] == SYMLINK else PATHS
        target = targets[step.other % len(targets)]
        if target == path:
            return None
        new = held if step.bits & 1 or held[0] == SYMLINK else self._new(step, held, number)
        form = "whole" if step.form == "unclaimed" else step.form
        change, _ = self._written(target, new, held, form)
        change.renamed_from, change.operation = path, Operation.OPERATION_RENAME
        return change, (Change(path, sha(held[1]), None, None), Change(target, "", new[1], new[0]))


def read_change(
    event: SwarmEvent, contents: Callable[[str], bytes]
) -> tuple[tuple[Change, ...], tuple[str, str] | None, bytes | None]:
    """What an event of somebody else does to paths, the names it moves between, and the content it carries."""
    change = event.state_change
    if event.WhichOneof("payload") != "state_change":
        return (), None, None
    path, claimed = change.target_resource, change.previous_state_hash
    if not change.new_state_hash:
        return (Change(path, claimed, None, None),), None, None
    content = contents(change.new_state_hash)
    carried = content if change.HasField("content") or change.diff_patch else None
    if not change.renamed_from:
        return (Change(path, claimed, content, change.mode),), None, carried
    rows = Change(change.renamed_from, claimed, None, None), Change(path, "", content, change.mode)
    return rows, (change.renamed_from, path), carried
