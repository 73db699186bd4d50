"""``enchanted log`` and ``enchanted show``: what happened, and one event whole."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import click
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infrastructure.cli.options import PROJECT, opened_ledger, outbox_option
from nervous_system.contract import Operation, SwarmEvent
from nervous_system.errors import NotFoundError
from nervous_system.events import decode, enum_name, event_type, occurred_us, utc
from nervous_system.ledger.history import History, StoredEvent
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName
from replay import moments

TYPES = [field.name.upper() for field in SwarmEvent.DESCRIPTOR.oneofs_by_name["payload"].fields]
_VERSION = re.compile(r"\d{1,5}-[0-9a-f]{20}-[0-9a-f]{4}")


@click.command()
@click.argument("project", type=PROJECT)
@click.option("--at", "moment_text", default="now", metavar="MOMENT", help=f"Up to this moment: {moments.HELP}.")
@click.option("--known-at", metavar="TIME", help="Only what the log had by then.")
@outbox_option
@click.option("-n", "--limit", type=click.IntRange(1), default=30, show_default=True, help="How many events.")
@click.option("--oldest-first", is_flag=True, help="From the beginning instead of from the end.")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    type=click.Choice(TYPES, case_sensitive=False),
    help="Only this type, such as DECISION; repeatable.",
)
@click.option("--json", "json_lines", is_flag=True, help="One JSON object a line.")
def log(
    *,
    project: ProjectName,
    moment_text: str,
    known_at: str | None,
    limit: int,
    oldest_first: bool,
    types: tuple[str, ...],
    json_lines: bool,
) -> None:
    """List what happened in PROJECT, newest first."""
    with opened_ledger(project) as ledger:
        history = ledger.history(project)
        moment = moments.resolve(history, moment_text, known_at=known_at)
        found = (
            (stored, event)
            for stored in history.events(through=moment.through, reverse=not oldest_first)
            if moment.takes(occurred_us(event := decode(stored.data)), stored.recorded_us)
            and (not types or event_type(event) in types)
        )
        rows = list(itertools.islice(found, limit))
    if json_lines:
        for stored, event in rows:
            click.echo(json.dumps(as_json(stored, event), ensure_ascii=False))
    else:
        _print(rows)


@click.command()
@click.argument("event")
@click.option("--project", type=PROJECT, help="Where to look; every project where not given.")
@click.option("--json", "json_lines", is_flag=True, help="Print JSON.")
def show(event: str, project: ProjectName | None, json_lines: bool) -> None:
    """Show one EVENT whole, by its id or version."""
    with opened_ledger() as ledger:
        stored = _find(ledger, event.strip(), project)
    decoded = decode(stored.data)
    if json_lines:
        click.echo(json.dumps(as_json(stored, decoded), ensure_ascii=False, indent=2))
    else:
        _print_whole(stored, decoded)


def summary(event: SwarmEvent) -> str:
    """An event's payload in one line."""
    match event.WhichOneof("payload"):
        case "decision":
            return _first_line(event.decision.rationale)
        case "state_change":
            change = event.state_change
            operation = enum_name(Operation, change.operation).removeprefix("OPERATION_").lower()
            origin = f"{change.renamed_from} → " if change.renamed_from else ""
            return f"{operation} {origin}{change.target_resource}"
        case "message":
            return f"to {event.message.to_agent_id or 'all'}: {_first_line(event.message.content)}"
        case "tool_call":
            return f"{event.tool_call.name} {_first_line(event.tool_call.arguments)}"
        case "checkpoint":
            return event.checkpoint.name
        case _:
            return event.system_signal.detail


def _find(ledger: Ledger, text: str, project: ProjectName | None) -> StoredEvent:
    for name in [project] if project else ledger.projects():
        history = ledger.history(name)
        version = _version(history, text)
        if version is not None:
            return history.event(version)
    where = f"in project {project}" if project else "in any project"
    raise NotFoundError(f"There is no event {text} {where}: take an id from `enchanted log PROJECT`.")


def _version(history: History, text: str) -> Version | None:
    if not _VERSION.fullmatch(text):
        return history.version_of_event(text.lower())
    try:
        return moments.point(history, text)
    except NotFoundError:
        return None


def as_json(stored: StoredEvent, event: SwarmEvent) -> dict[str, Any]:
    """An event as JSON has it: the contract's names, and where and when it was recorded."""
    return {
        "version": str(stored.version),
        "recorded_at": utc(stored.recorded_us).isoformat(),
        "type": event_type(event),
        **MessageToDict(event, preserving_proto_field_name=True),
    }


HEADINGS = ("OCCURRED (UTC)", "TYPE", "AGENT", "WHAT", "EVENT")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# What a column needs to be of use, in characters; a terminal too narrow for a table gets two lines an event.
LEAST_WIDTHS = (19, 12, 12, 24, 36)
TABLE_LEAST_WIDTH = sum(LEAST_WIDTHS) + 2 * len(LEAST_WIDTHS)


def _print(rows: list[tuple[StoredEvent, SwarmEvent]]) -> None:
    cells = [
        (
            utc(occurred_us(event)).strftime("%Y-%m-%d %H:%M:%S"),
            event_type(event),
            printable(event.agent_id, line=True),
            printable(summary(event), line=True),
            event.event_id,
        )
        for _, event in rows
    ]
    console = Console()
    if not console.is_terminal:
        # For other programs: one line an event, nothing cut off.
        for row in (HEADINGS, *cells):
            click.echo("\t".join(row))
        return
    if console.width < TABLE_LEAST_WIDTH:
        for occurred, kind, agent, what, event_id in cells:
            console.print(Text.assemble((event_id, "dim"), "  ", occurred, "  ", kind), soft_wrap=True)
            console.print(Text.assemble("    ", (agent, "cyan"), "  ", what), soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, least in zip(HEADINGS, LEAST_WIDTHS, strict=True):
        # Only agent and what may be cut; each on its one line.
        whole = heading not in ("AGENT", "WHAT")
        table.add_column(heading, no_wrap=whole, min_width=least if whole else None)
    for occurred, kind, agent, what, event_id in cells:
        cut = [Text(text, style, no_wrap=True, overflow="ellipsis") for text, style in ((agent, "cyan"), (what, ""))]
        table.add_row(occurred, kind, *cut, Text(event_id, style="dim"))
    console.print(table)


def _print_whole(stored: StoredEvent, event: SwarmEvent) -> None:
    facts = {
        "event": event.event_id,
        "version": str(stored.version),
        "type": event_type(event),
        "project": f"{event.tenant_id}/{event.project_id}",
        "agent": event.agent_id,
        "occurred": utc(occurred_us(event)).isoformat(),
        "recorded": utc(stored.recorded_us).isoformat(),
        "session": event.session_id,
        "caused by": event.causation_id,
        "serves": event.correlation_id,
        "commit": event.related_commit_hash,
        "trace": event.trace_id,
    }
    for name, value in facts.items():
        if value:
            click.echo(f"{name + ':':<11}{printable(value, line=True)}")
    payload = event.WhichOneof("payload")
    assert payload is not None
    for name, value in MessageToDict(getattr(event, payload), preserving_proto_field_name=True).items():
        text = printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        click.echo(f"\n{name}:\n{text}" if "\n" in text else f"{name + ':':<24}{text}")


def printable(text: str, *, line: bool = False) -> str:
    """What an agent wrote, with control characters shown as escapes: none acts on a terminal.

    Args:
        text: from an event.
        line: whether line feeds and tabs, which a longer text keeps, are escaped too.
    """
    return (_CONTROL if line else _CONTROL_IN_TEXT).sub(lambda match: repr(match[0])[1:-1], text)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
