"""A point in a project's own order."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nervous_system.errors import ContractError

STAMP_BYTES = 12
MAX_INCARNATION = 255
_TEXT = re.compile(r"([0-9]{1,5})-([0-9a-f]{20})-([0-9a-f]{4})")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Where an event stands: compares as the events are ordered.

    Args:
        incarnation: 1, 2, … raised when a project moves into another cluster, where stamps may start lower.
        stamp: FoundationDB's 10 bytes and the event's place in its transaction, 2 bytes.
    """

    incarnation: int
    stamp: bytes

    def next(self) -> Version:
        """The first version behind this one."""
        return Version(self.incarnation, (int.from_bytes(self.stamp, "big") + 1).to_bytes(STAMP_BYTES, "big"))

    def __str__(self) -> str:
        return f"{self.incarnation}-{self.stamp[:10].hex()}-{self.stamp[10:].hex()}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """Reads what ``str`` wrote; raises ContractError for anything else."""
        match = _TEXT.fullmatch(text)
        if match is None or int(match[1]) > MAX_INCARNATION:
            raise ContractError(f"{text!r} is not a version.")
        return cls(int(match[1]), bytes.fromhex(match[2] + match[3]))
