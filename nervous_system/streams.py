"""What a sequence counts in. Apart from the log's client, so that who only reads a ledger need not load that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """Which stream a sequence counts in: one that was made anew under the same name starts at 1 again."""

    name: str
    created_us: int

    def __str__(self) -> str:
        return f"{self.name}@{self.created_us}"

    @classmethod
    def parse(cls, text: str) -> StreamIdentity:
        """Reads what ``str`` wrote."""
        name, _, created_us = text.rpartition("@")
        return cls(name, int(created_us))
