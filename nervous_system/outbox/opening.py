"""Where a project's outbox is, and connections to it."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw

from nervous_system.errors import NotFoundError, SettingsError
from nervous_system.events import now_us
from nervous_system.outbox.sentences import sentences
from nervous_system.outbox.transactions import transaction
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

FORMAT = 1
APPLICATION_ID = 0x454E4F42  # "ENOB"
BUSY_LIMIT_S = 30.0
CHECKPOINT_PAGES = 4_000  # 16 MB of WAL
WAL_LIMIT_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class About:
    """What a file says of itself.

    Args:
        id: a UUID, made with the file.
        project: whose events it holds.
        created_us: microseconds since 1970.
    """

    id: str
    project: ProjectName
    created_us: int


def outbox_path(settings: Settings, project: ProjectName) -> Path:
    """The file of a project's outbox on this machine, whether it is there or not."""
    return settings.outbox_folder / project.tenant / f"{project.project}.db"


def outbox_paths(settings: Settings) -> list[Path]:
    """The files of all projects' outboxes on this machine."""
    return sorted(settings.outbox_folder.glob("*/*.db"))


def create(path: Path, project: ProjectName) -> apsw.Connection:
    """A connection to the outbox at ``path``, which is made where it is missing; several processes may do so at once.

    Raises:
        SettingsError: the file cannot be made, or is another's.
        UnavailableError: the disk is full or fails.
    """
    with sentences(path):
        _make_folder(path.parent)
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(round(BUSY_LIMIT_S * 1000))
        _prepare(connection, path, project)
        _configure(connection)
    held = about(connection, path).project
    if held != project:
        connection.close()
        raise SettingsError(f"The outbox {path} belongs to the project {held}, not to {project}: name another file.")
    return connection


def connect(path: Path) -> apsw.Connection:
    """A connection to an outbox that is there; raises NotFoundError where it is not, SettingsError for another's."""
    if not path.exists():
        raise NotFoundError(f"There is no outbox {path}: nothing was recorded for this project on this machine.")
    with sentences(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(round(BUSY_LIMIT_S * 1000))
        if _number(connection, "PRAGMA application_id") != APPLICATION_ID:
            raise SettingsError(f"{path} is an SQLite database, but not an outbox: name another file.")
        _configure(connection)
    return connection


def about(connection: apsw.Connection, path: Path) -> About:
    """What the file says of itself; raises SettingsError where a later version wrote it."""
    with sentences(path):
        facts: dict[str, Any] = dict(connection.execute("SELECT key, value FROM about"))
    if facts.get("format") != FORMAT:
        raise SettingsError(
            f"The outbox {path} has the format {facts.get('format')}, this version knows {FORMAT}: use the version of "
            "enchanted that wrote it."
        )
    return About(facts["outbox"], ProjectName.parse(facts["project"]), facts["created_us"])


def _configure(connection: apsw.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    # The file never lies on what another process may have written since.
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")


def _prepare(connection: apsw.Connection, path: Path, project: ProjectName) -> None:
    deadline_s = time.monotonic() + BUSY_LIMIT_S
    while _number(connection, "PRAGMA application_id") != APPLICATION_ID:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            with transaction(connection):
                _make_tables(connection, path, project)
        except apsw.BusyError:
            # SQLite does not wait by itself where two connections change the journal's mode.
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)


def _make_tables(connection: apsw.Connection, path: Path, project: ProjectName) -> None:
    if _number(connection, "PRAGMA application_id") == APPLICATION_ID:
        return
    if _number(connection, "SELECT count(*) FROM sqlite_schema"):
        raise SettingsError(f"{path} is an SQLite database, but not an outbox: name another file.")
    connection.execute(files("nervous_system.outbox").joinpath("schema.sql").read_text(encoding="utf-8"))
    facts = [
        ("format", FORMAT),
        ("outbox", str(uuid.uuid4())),
        ("project", str(project)),
        ("created_us", now_us()),
        ("held_rows", 0),
        ("held_bytes", 0),
        ("dropped_signals", 0),
        ("deleted_rows", 0),
    ]
    connection.executemany("INSERT INTO about VALUES (?, ?)", facts)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _number(connection: apsw.Connection, question: str) -> int:
    row: Any = connection.execute(question).fetchone()
    return int(row[0])


def _make_folder(folder: Path) -> None:
    """Makes a folder that only its owner reads, and its parents' entries durable."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(each.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
