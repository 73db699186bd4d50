"""Agents that write to a project of a ledger of its own, and somebody who takes back what they did."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from nervous_system.authoring import Author
from nervous_system.contract import AgentRole, Operation, StateChange, SwarmEvent
from nervous_system.projects import ProjectName
from nervous_system.textdiff import unified_diff
from replay.contents import Contents
from replay.merging import tree_at
from replay.moments import resolve
from replay.tree import FILE, SYMLINK, Tree
from replay.undo import UndoPlan, plan_undo
from replay.undoing.selection import Selection
from replay.undoing.writing import told_of
from replay.verification import Verification
from tests.contract.hub import Hub
from tests.samples import PROJECT, event

WORDS = ("one", "two", "three", "four", "five", "six", "seven")
# Long enough that a diff is the shorter form.
BASE = "".join(f"{word}\n{f'between {word}{chr(10)}' * 9}" for word in WORDS).encode()


def lines(**replaced: str) -> bytes:
    """BASE with lines replaced."""
    return "".join(f"{replaced.get(line, line)}\n" for line in BASE.decode().splitlines()).encode()


@dataclass
class Swarm:
    """A project in which agents write, and what stands there."""

    hub: Hub
    project: ProjectName = PROJECT
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def tell(self, agent: str, payload: SwarmEvent, number: int | None = None) -> str:
        """Lands an event of an agent; returns its id."""
        made = event(next(self.numbers) if number is None else number, self.project)
        made.ClearField("checkpoint")
        made.MergeFrom(payload)
        made.agent_id = agent
        self.hub.land(self.hub.message(made, project=self.project))
        return made.event_id

    def write(
        self, agent: str, path: str, after: bytes, before: bytes | None = None, *, mode: int = FILE, cause: str = ""
    ) -> str:
        """A file written: as a diff where the content before is given and it is text."""
        change = StateChange(target_resource=path, mode=mode, new_state_hash=hashlib.sha256(after).hexdigest())
        change.operation = Operation.OPERATION_CREATE if before is None else Operation.OPERATION_MODIFY
        change.previous_state_hash = "" if before is None else hashlib.sha256(before).hexdigest()
        diff = None if before is None or mode == SYMLINK else unified_diff(before, after)
        if diff:
            change.diff_patch = diff
        else:
            change.content = after
        return self.tell(agent, SwarmEvent(state_change=change, causation_id=cause))

    def delete(self, agent: str, path: str, before: bytes) -> str:
        change = StateChange(target_resource=path, operation=Operation.OPERATION_DELETE)
        change.previous_state_hash = hashlib.sha256(before).hexdigest()
        return self.tell(agent, SwarmEvent(state_change=change))

    def rename(
        self, agent: str, source: str, target: str, before: bytes, after: bytes | None = None, *, mode: int = FILE
    ) -> str:
        content = before if after is None else after
        change = StateChange(target_resource=target, renamed_from=source, mode=mode, content=content)
        change.operation = Operation.OPERATION_RENAME
        change.previous_state_hash = hashlib.sha256(before).hexdigest()
        change.new_state_hash = hashlib.sha256(content).hexdigest()
        return self.tell(agent, SwarmEvent(state_change=change))

    def tree(self) -> Tree:
        history = self.hub.history(self.project)
        return tree_at(history, resolve(history, "now"), Contents(history))

    def files(self) -> dict[str, bytes]:
        """What stands: content by path."""
        history = self.hub.history(self.project)
        contents = Contents(history)
        tree = tree_at(history, resolve(history, "now"), contents)
        return {path: contents(entry.content_hash) for path, entry in tree.items()}

    def plan(self, selection: Selection) -> UndoPlan:
        history = self.hub.history(self.project)
        return plan_undo(history, Contents(history), selection)

    def undo(self, selection: Selection, reason: str = "") -> tuple[UndoPlan, str]:
        """Takes back and lands what tells of it; returns the plan and the id of the decision."""
        history = self.hub.history(self.project)
        contents = Contents(history)
        plan = plan_undo(history, contents, selection)
        author = Author(self.project, "enchanted", AgentRole.ROLE_OPERATOR, "s", "user")
        told, parts = told_of(plan, history, contents, author, reason)
        for part in parts:
            self.hub.land(self.hub.part(part, self.project))
        self.hub.land(self.hub.message(*told, project=self.project))
        return plan, told[0].event_id

    def is_sound(self) -> bool:
        return not list(Verification(self.hub.history(self.project), self.hub.ledger.audit(self.project)).faults())
