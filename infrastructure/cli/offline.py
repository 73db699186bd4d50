"""Reading without a hub: an outbox's rows in a ledger of the command's own, on which the same code answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from nervous_system.errors import EnchantedError, SettingsError
from nervous_system.events import now_us, occurred_us
from nervous_system.inspection import EventRefusedError, inspect
from nervous_system.landing import Batch, LandedEvent, LandedMessage
from nervous_system.ledger.engines import EMBEDDED, open_engine
from nervous_system.ledger.ledger import TRANSACTION_BYTES, Ledger
from nervous_system.outbox.reading import OutboxReader, StoredRow
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

SINK = "offline"
_GROUP_ROWS = 1_000


@contextmanager
def outbox_ledger(path: Path, project: ProjectName) -> Iterator[Ledger]:
    """A ledger of what an outbox has of a project, removed at the end.

    Raises:
        NotFoundError: there is no outbox.
        SettingsError: it is another project's, or no outbox.
        EnchantedError: from the block, with a further sentence where the outbox no longer has all.
    """
    console = Console(stderr=True)
    with OutboxReader(path) as reader, tempfile.TemporaryDirectory(prefix="enchanted-outbox-") as folder:
        if reader.about.project != project:
            raise SettingsError(f"The outbox {path} is {reader.about.project}'s, not {project}'s.")
        ledger = Ledger(open_engine(f"{EMBEDDED}{folder}/ledger.sqlite"))
        try:
            with console.status("reading the outbox"):
                refused = _fill(ledger, reader)
            if refused:
                console.print(f"{refused:,} events of the outbox cannot be kept, and are left out.", highlight=False)
            missing = "" if reader.is_whole else _missing(path)
            if missing:
                console.print(f"Note: {missing}", highlight=False, soft_wrap=True)
            try:
                yield ledger
            except EnchantedError as error:
                if not missing:
                    raise
                raise EnchantedError(f"{error} {missing}") from error
        finally:
            ledger.close()


def _missing(path: Path) -> str:
    return (
        f"The outbox {path} no longer has all that was recorded: the hub has what is gone, contents that later changes "
        "build on among them. Leave --outbox out to ask the hub."
    )


def _fill(ledger: Ledger, reader: OutboxReader) -> int:
    """Lands all rows; gives how many events may not be kept."""
    about = reader.about
    stream = StreamIdentity(f"outbox-{about.id}", about.created_us)
    after = recorded_us = refused = 0
    for rows in _groups(reader.rows()):
        messages = []
        for row in rows:
            message = _message(row, about.project, recorded_us)
            recorded_us = message.recorded_us
            refused += row.kind == "event" and not message.events
            messages.append(message)
        refused += len(ledger.land(SINK, Batch(stream, 0, after, tuple(messages))).refusals)
        after = messages[-1].sequence
    return refused


def _message(row: StoredRow, project: ProjectName, recorded_us: int) -> LandedMessage:
    """A row as a message of its own; recorded when it occurred, for no hub has stamped it, but never before others."""
    events: tuple[LandedEvent, ...] = ()
    if row.kind == "event":
        try:
            event = inspect(row.data, project)
        except EventRefusedError:
            pass
        else:
            events = (LandedEvent(row.data, event, 0),)
            recorded_us = max(recorded_us, min(occurred_us(event), now_us()))
    part = row.data if row.kind == "part" else None
    return LandedMessage(row.number, recorded_us, project, events, part, len(row.data))


def _groups(rows: Iterable[StoredRow]) -> Iterator[list[StoredRow]]:
    group: list[StoredRow] = []
    size_bytes = 0
    for row in rows:
        if group and (len(group) >= _GROUP_ROWS or size_bytes + len(row.data) > TRANSACTION_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(row)
        size_bytes += len(row.data)
    if group:
        yield group
