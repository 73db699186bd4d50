"""``enchanted timeline``: who did what, when and why, oldest first, and on as it happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain

import click
from rich.console import Console
from rich.text import Text

from infrastructure.cli.history import as_json, summary
from infrastructure.cli.options import PROJECT, chosen_outbox, known_at_option, opened_ledger, outbox_option
from nervous_system.contract import MessageKind, SwarmEvent
from nervous_system.events import decode, event_type, occurred_us, utc
from nervous_system.ledger.history import History, StoredEvent
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName
from replay import moments
from replay.moments import Moment
from replay.why import cause

WAIT_S = 5.0
REASONS_KEPT = 4_096

Told = tuple[StoredEvent, SwarmEvent]


@click.command()
@click.argument("project", type=PROJECT)
@click.option("--path", help="Only changes of this path, or of what is below this folder.")
@click.option("--at", "moment_text", default="now", metavar="MOMENT", help=f"Up to this moment: {moments.HELP}.")
@known_at_option
@outbox_option
@click.option("--since", metavar="MOMENT", help="Only what came after this moment.")
@click.option("--follow", is_flag=True, help="Go on as events land, until Ctrl-C.")
@click.option("--json", "json_lines", is_flag=True, help="One JSON object a line.")
def timeline(
    *,
    project: ProjectName,
    path: str | None,
    moment_text: str,
    known_at: str | None,
    since: str | None,
    follow: bool,
    json_lines: bool,
) -> None:
    """Tell who did what in PROJECT, when, and why, oldest first."""
    if follow and (moment_text != "now" or known_at):
        raise click.UsageError("--follow goes on from now: leave --at and --known-at out.")
    if follow and chosen_outbox() is not None:
        raise click.UsageError("--follow waits for the hub: leave --outbox out.")
    with opened_ledger(project) as ledger:
        history = ledger.history(project)
        moment = moments.resolve(history, moment_text, known_at=known_at)
        since_us = moments.parse_time(since) if since else None
        after = moments.resolve(history, since).through if since and since_us is None else None
        told = _from_the_past(history, moment, after, since_us)
        events = chain(told, _from_now_on(history, moment.through)) if follow else told
        console = Console(soft_wrap=True, highlight=False, markup=False)
        why = _reasons(history)
        for stored, event in events:
            if path is not None and not _touches(_changing(history, event), path):
                continue
            rationale = why(event.causation_id)
            if json_lines:
                click.echo(json.dumps({**as_json(stored, event), "why": rationale}, ensure_ascii=False))
            else:
                _print(console, event, rationale)


def _from_the_past(history: History, moment: Moment, after: Version | None, since_us: int | None) -> Iterator[Told]:
    for stored in history.events(after=after, through=moment.through):
        event = decode(stored.data)
        moment_us = occurred_us(event)
        if moment.takes(moment_us, stored.recorded_us) and (since_us is None or moment_us > since_us):
            yield stored, event


def _from_now_on(history: History, last: Version) -> Iterator[Told]:
    while True:
        if history.wait_past(last, WAIT_S):
            for stored in history.events(after=last):
                last = stored.version
                yield stored, decode(stored.data)


def _reasons(history: History) -> Callable[[str], str]:
    """Gives the rationale behind an event's cause; the last ones are remembered, as many events share one."""

    @lru_cache(maxsize=REASONS_KEPT)
    def rationale(causation_id: str) -> str:
        decision = cause(history, causation_id)
        return decision.decision.rationale if decision is not None else ""

    return rationale


def _changing(history: History, event: SwarmEvent) -> SwarmEvent:
    """The event itself; of what tells of a conflict, the change that it tells of."""
    if event.message.kind != MessageKind.MESSAGE_KIND_CONFLICT:
        return event
    version = history.version_of_event(event.causation_id)
    return event if version is None else decode(history.event(version).data)


def _touches(event: SwarmEvent, path: str) -> bool:
    change = event.state_change
    folder = path.rstrip("/") + "/"
    return any(
        name == path or name.startswith(folder) for name in (change.target_resource, change.renamed_from) if name
    )


def _print(console: Console, event: SwarmEvent, rationale: str) -> None:
    when = utc(occurred_us(event)).strftime("%Y-%m-%d %H:%M:%S")
    line = Text.assemble((when, "dim"), "  ", (event.agent_id, "cyan"), "  ", (event_type(event).lower(), "bold"), "  ")
    console.print(line.append(summary(event)))
    if rationale:
        console.print(Text(f"    because: {rationale.strip().partition(chr(10))[0]}", style="italic"))
