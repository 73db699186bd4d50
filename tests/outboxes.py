"""What an outbox holds, for tests."""

from __future__ import annotations

from pathlib import Path

from nervous_system.contract import SwarmEvent
from nervous_system.events import decode
from nervous_system.outbox.opening import outbox_path
from nervous_system.outbox.reading import OutboxReader
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

PROJECT = ProjectName("acme", "shop")


def path_in(home: Path) -> Path:
    """The outbox of PROJECT."""
    return outbox_path(Settings(home=home), PROJECT)


def events_in(home: Path) -> list[SwarmEvent]:
    """All events of PROJECT's outbox, in order."""
    with OutboxReader(path_in(home)) as reader:
        return [decode(row.data) for row in reader.rows() if row.kind == "event"]
