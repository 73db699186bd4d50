"""What the supervisor writes down as it works, so that others can follow it and clean up after it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from infrastructure.local.errors import explained
from infrastructure.local.home import Home, write_private
from infrastructure.local.processes import Identity
from nervous_system.errors import SettingsError


class Phase(StrEnum):
    """How a component, or the whole stack, is."""

    STARTING = "starting"
    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildState:
    """One component: how it is and why, its process, and how often it was started again."""

    name: str
    phase: Phase = Phase.STOPPED
    reason: str = ""
    process: Identity | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class StackState:
    """The stack of one supervisor, its components in start order; STOPPED as soon as it begins to stop."""

    supervisor: Identity
    phase: Phase = Phase.STARTING
    children: tuple[ChildState, ...] = ()

    def child(self, name: str) -> ChildState:
        return next((child for child in self.children if child.name == name), ChildState(name))


def write_state(home: Home, state: StackState) -> None:
    """Raises SettingsError."""
    write_private(home.state_file, json.dumps(asdict(state), indent=2) + "\n")


def read_state(home: Home) -> StackState | None:
    """What the last supervisor wrote; None where none has. Raises SettingsError."""
    document = read_object(home.state_file)
    if not document:
        return None
    try:
        return StackState(
            supervisor=Identity(**document["supervisor"]),
            phase=Phase(document["phase"]),
            children=tuple(_child(entry) for entry in document["children"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(home.state_file) from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; empty where there is no file. Raises SettingsError."""
    with explained(path, "read"):
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise _damaged(path) from error
    if not isinstance(document, dict):
        raise _damaged(path)
    return document


def _child(entry: dict[str, Any]) -> ChildState:
    process = entry.pop("process")
    return ChildState(**entry | {"phase": Phase(entry["phase"])}, process=Identity(**process) if process else None)


def _damaged(path: Path) -> SettingsError:
    return SettingsError(f"{path} is damaged: remove it, it is written anew.")
