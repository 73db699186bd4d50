"""What a check found, and what it is asked with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from nervous_system.events import now_us
from nervous_system.settings import Settings


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer.

    Args:
        check: what was looked at, such as ``log: clock``.
        level: how bad it is.
        sentence: what was found, and where something is wrong, what to do.
    """

    check: str
    level: Level
    sentence: str

    def as_json(self) -> dict[str, str]:
        """The same as JSON has it."""
        return {"check": self.check, "level": self.level.value, "sentence": self.sentence}


def ok(check: str, sentence: str) -> Finding:
    return Finding(check, Level.OK, sentence)


def warning(check: str, sentence: str) -> Finding:
    return Finding(check, Level.WARNING, sentence)


def failure(check: str, sentence: str) -> Finding:
    return Finding(check, Level.FAILURE, sentence)


# What each of those whose credentials these may be has to be allowed.
ROLES = {
    "operator": frozenset({"publish", "look", "insert", "write"}),
    "ingestor": frozenset({"look", "insert", "write"}),
    "agent": frozenset({"publish"}),
    "analyst": frozenset[str](),
}


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined.

    Args:
        settings: where everything is, and by whose credentials.
        monitor_url: of the NATS server, such as ``http://nats:8222``; empty where it is not known.
        timeout_s: how long each area may take.
        clock: this machine's, microseconds since 1970.
        role: one of ROLES.
    """

    settings: Settings
    monitor_url: str = ""
    timeout_s: float = 10.0
    clock: Callable[[], int] = field(default=now_us)
    role: str = "operator"

    def refused(self, permission: str, check: str, sentence: str) -> Finding:
        """What to tell of a permission that is not there: nothing is wrong where the role needs none."""
        if permission in ROLES[self.role]:
            return failure(check, sentence)
        return ok(check, f"Refused, and not needed by an {self.role}.")
