"""What happens to one path of a folder that is restored into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from replay.tree import Entry


class Action(StrEnum):
    """What happens to one path of the target."""

    WRITE = "write"
    REPLACE = "replace"
    CHANGE_MODE = "change_mode"
    REMOVE = "remove"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Step:
    """One path and what happens to it.

    Args:
        action: what happens.
        resource: the path.
        entry: what stands there afterwards; None where it is removed.
        size_bytes: the size of what is written, where it is known.
        found: what stands there before; None where nothing does.
        is_drift: whether what is replaced or removed was never recorded.
    """

    action: Action
    resource: str
    entry: Entry | None
    size_bytes: int | None = None
    found: Entry | None = None
    is_drift: bool = False

    def as_json(self) -> dict[str, Any]:
        """The step in words that JSON has."""
        facts: dict[str, Any] = {"action": self.action.value, "resource": self.resource}
        if self.entry is not None:
            facts |= {"mode": f"{self.entry.mode:06o}", "hash": self.entry.content_hash}
        if self.size_bytes is not None:
            facts["bytes"] = self.size_bytes
        if self.found is not None:
            found = {"mode": f"{self.found.mode:06o}", "hash": self.found.content_hash or None}
            facts |= {"found": found, "drift": self.is_drift}
        return facts
