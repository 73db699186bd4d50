"""How dead letters are shown: as facts for programs, as lines and tables for people."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infrastructure.cli.history import printable
from ingestors.buried import DeadLetter
from ingestors.redelivery import Outcome
from nervous_system.contract import SwarmEvent
from nervous_system.errors import ContractError
from nervous_system.events import cut_batch, utc
from nervous_system.projects import ProjectName

HEADINGS = ("ID", "BURIED (UTC)", "CODE", "PROJECT", "MESSAGE", "BYTES", "REASON")
LINE_BYTES = 16
# A longer text of an event is cut where people read it; --json and --raw have it whole.
SHOWN_CHARACTERS = 300


def counted(count: int) -> str:
    """So many dead letters, in words."""
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


def told(outcome: Outcome) -> str:
    """What came of a retry, in a line."""
    letter = outcome.letter
    if outcome.sequence is None:
        return f"{letter.id}  stays, {letter.code}: {outcome.reason}"
    return f"{letter.id}  published to {letter.project}, message {outcome.sequence} of the log"


def outcome_facts(outcome: Outcome) -> dict[str, Any]:
    """What came of a retry, for programs."""
    facts = {"id": outcome.letter.id, "code": outcome.letter.code, "project": _name(outcome.letter.project)}
    if outcome.sequence is None:
        return facts | {"retried": False, "reason": outcome.reason}
    return facts | {"retried": True, "sequence": outcome.sequence}


def _name(project: ProjectName | None) -> str | None:
    return None if project is None else str(project)


def letter_facts(letter: DeadLetter) -> dict[str, Any]:
    """All that is known of a dead letter but its bytes, for programs."""
    return {
        "id": letter.id,
        "buried_at": utc(letter.buried_us).isoformat(),
        "code": letter.code,
        "reason": letter.reason,
        "project": _name(letter.project),
        "subject": letter.subject,
        "stream": str(letter.stream),
        "sequence": letter.sequence,
        "index": None if letter.is_message else letter.index,
        "size_bytes": letter.size_bytes,
        "sinks": list(letter.sinks),
    }


def _place(letter: DeadLetter) -> str:
    """Which message of the log, and which event of it counted from 0, where it was one."""
    return str(letter.sequence) if letter.is_message else f"{letter.sequence}/{letter.index}"


def print_counts(letters: list[DeadLetter], *, as_json: bool) -> None:
    """How many there are of each code, the most first."""
    counts = dict(Counter(letter.code for letter in letters).most_common())
    if as_json:
        click.echo(json.dumps(counts, indent=2))
        return
    for code, count in counts.items():
        click.echo(f"{count:>8,}  {printable(code, line=True)}")
    click.echo(f"{len(letters):>8,}  in all")


def print_list(letters: list[DeadLetter]) -> None:
    """One row each: a table on a terminal, tabs elsewhere."""
    cells = [
        (
            str(letter.id),
            utc(letter.buried_us).strftime("%Y-%m-%d %H:%M:%S"),
            printable(letter.code, line=True),
            str(letter.project or "-"),
            _place(letter),
            f"{letter.size_bytes:,}",
            printable(letter.reason, line=True),
        )
        for letter in letters
    ]
    console = Console()
    if not console.is_terminal:
        # For other programs: one line each, nothing cut off.
        for row in (HEADINGS, *cells):
            click.echo("\t".join(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in HEADINGS:
        whole = heading not in ("PROJECT", "REASON")
        table.add_column(heading, no_wrap=whole, overflow="fold", justify="right" if heading == "BYTES" else "left")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def print_letter(letter: DeadLetter, decoded: dict[str, Any] | None, shown: bytes) -> None:
    """One whole, with as many of its bytes as are to be shown."""
    event = "" if letter.is_message else f", event {letter.index} of it counted from 0"
    facts = {
        "dead letter": str(letter.id),
        "code": letter.code,
        "reason": letter.reason,
        "project": str(letter.project or "-"),
        "subject": letter.subject or "-",
        "message": f"{letter.sequence} of {letter.stream}{event}",
        "buried": utc(letter.buried_us).isoformat(),
        "buried by": ", ".join(letter.sinks),
        "size": f"{letter.size_bytes:,} bytes",
    }
    for name, value in facts.items():
        click.echo(f"{name + ':':<13}{printable(value, line=True)}")
    if decoded is not None:
        text = json.dumps(_cut(decoded), ensure_ascii=False, indent=2)
        click.echo(f"\nAs far as it decodes:\n{printable(text)}")
    click.echo("\nBytes:")
    for line in hex_dump(shown):
        click.echo(line)
    if len(shown) < letter.size_bytes:
        click.echo(f"… {letter.size_bytes - len(shown):,} more bytes: see --all, or --raw.")


def hex_dump(data: bytes) -> Iterable[str]:
    """Lines of an offset, bytes in hex and what of them is ASCII."""
    for start in range(0, len(data), LINE_BYTES):
        piece = data[start : start + LINE_BYTES]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)
        yield f"{start:08x}  {piece.hex(' '):<{3 * LINE_BYTES - 1}}  {text}"


def as_far_as_it_decodes(letter: DeadLetter, data: bytes) -> dict[str, Any] | None:
    """What was refused as JSON has it: an event up to where it breaks, of a batch how many it has; None for others."""
    if letter.is_message:
        try:
            return {"events": len(cut_batch(data))}
        except ContractError:
            return None
    event = SwarmEvent()
    # What stands before a fault is in the event.
    with contextlib.suppress(DecodeError):
        event.ParseFromString(data)
    return _event_as_json(event)


def _event_as_json(event: SwarmEvent) -> dict[str, Any]:
    """An event as JSON has it, even one with a timestamp that no calendar has."""
    try:
        return _as_json(event)
    except (json_format.Error, ValueError):
        timestamp = {"seconds": event.timestamp.seconds, "nanos": event.timestamp.nanos}
        event.ClearField("timestamp")
        return {"timestamp": timestamp, **_as_json(event)}


def _as_json(event: SwarmEvent) -> dict[str, Any]:
    return dict(json_format.MessageToDict(event, preserving_proto_field_name=True))


def _cut(value: Any) -> Any:
    match value:
        case dict():
            return {name: _cut(each) for name, each in value.items()}
        case list():
            return [_cut(each) for each in value]
        case str() if len(value) > SHOWN_CHARACTERS:
            return f"{value[:SHOWN_CHARACTERS]}… ({len(value):,} characters)"
        case _:
            return value
