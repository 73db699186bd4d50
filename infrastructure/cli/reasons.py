"""``enchanted why``: the reason for every line."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from infrastructure.cli.options import (
    PROJECT,
    at_option,
    conflict_option,
    known_at_option,
    opened_ledger,
    outbox_option,
)
from nervous_system.contract import SwarmEvent
from nervous_system.errors import NotFoundError
from nervous_system.events import occurred_us, utc
from nervous_system.ledger.history import History
from nervous_system.projects import ProjectName
from replay import moments
from replay.merging import Policy
from replay.why import Explanation, Line, Reason, explain

_WITH_LINES = re.compile(r"(.+):(\d{1,9})(?:-(\d{1,9}))?", re.DOTALL)
AGENT_SHOWN = 16
RATIONALE_SHOWN = 48


@click.command()
@click.argument("project", type=PROJECT)
@click.argument("where", metavar="PATH[:LINE[-LINE]]")
@at_option
@known_at_option
@conflict_option
@outbox_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(
    *, project: ProjectName, where: str, moment_text: str, known_at: str | None, on_conflict: str, as_json: bool
) -> None:
    """Show why each line of PATH is there: the event that wrote it and the decision that it followed.

    With :LINE, the whole reason for that line; with :10-20, only those lines.
    """
    with opened_ledger(project) as ledger:
        history = ledger.history(project)
        path, asked = _place(history, where)
        moment = moments.resolve(history, moment_text, known_at=known_at)
        explanation = explain(history, path, moment, Policy(on_conflict), asked)
    if as_json:
        click.echo(_as_json(explanation))
    elif not explanation.lines:
        click.echo(f"{path!r} is empty as of {moment.meaning}: it has no lines to explain.")
    elif asked is not None and asked[0] == asked[1]:
        _print_whole(explanation.lines[0], explanation.reasons[explanation.lines[0].origin])
    else:
        _print(explanation)


def _place(history: History, where: str) -> tuple[str, tuple[int, int] | None]:
    """The path, and the first and last line that are asked about; a name that holds a colon is a name first."""
    match = _WITH_LINES.fullmatch(where)
    if match is None or history.has_path(where):
        return where, None
    first, last = int(match[2]), int(match[3] or match[2])
    if not 1 <= first <= last:
        raise NotFoundError(f"{where!r} names no lines: they are counted from 1, as in {match[1]}:10-20.")
    return match[1], (first, last)


def _as_json(explanation: Explanation) -> str:
    """A list of lines, each with what is known of it, one to a row."""
    facts = {origin: _facts(reason) for origin, reason in explanation.reasons.items()}
    rows = ({"line": line.number, "text": line.text, **facts[line.origin]} for line in explanation.lines)
    return "[" + ",\n ".join(json.dumps(row, ensure_ascii=False) for row in rows) + "]"


def _facts(reason: Reason) -> dict[str, Any]:
    return {
        "event_id": reason.event.event_id,
        "version": str(reason.version),
        "agent_id": reason.event.agent_id,
        "occurred": utc(occurred_us(reason.event)).isoformat(),
        "commit": reason.event.related_commit_hash,
        "trace_id": reason.event.trace_id,
        "decision": None if reason.decision is None else _decided(reason.decision),
    }


def _decided(event: SwarmEvent) -> dict[str, Any]:
    decision = event.decision
    return {
        "event_id": event.event_id,
        "agent_id": event.agent_id,
        "occurred": utc(occurred_us(event)).isoformat(),
        "trace_id": event.trace_id,
        "input_trigger": decision.input_trigger,
        "rationale": decision.rationale,
        "rejected_alternatives": list(decision.rejected_alternatives),
        "confidence": decision.confidence_score if decision.HasField("confidence_score") else None,
    }


def _print(explanation: Explanation) -> None:
    # Loaded only where they are needed: that takes longer than an answer in JSON.
    from rich.console import Console
    from rich.text import Text

    from infrastructure.cli.history import printable

    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in explanation.lines:
        reason = explanation.reasons[line.origin]
        when, agent = utc(occurred_us(reason.event)).strftime("%Y-%m-%d"), printable(reason.event.agent_id, line=True)
        rationale = reason.decision.decision.rationale.partition("\n")[0] if reason.decision else ""
        shown = printable(rationale, line=True)[:RATIONALE_SHOWN]
        margin = f"{when} {agent[:AGENT_SHOWN]:<{AGENT_SHOWN}} {shown:<{RATIONALE_SHOWN}} "
        text = Text(printable(line.text))
        console.print(Text(margin, style="cyan"), Text(f"{line.number:>5}  ", style="dim"), text, sep="")


def _print_whole(line: Line, reason: Reason) -> None:
    from infrastructure.cli.history import printable

    facts = _facts(reason)
    decision = facts.pop("decision")
    told = [line.text, *_listed(facts)]
    if decision is None:
        told.append("No decision is known that it followed.")
    else:
        told += ["", f"Decided by {decision['agent_id']}:", decision["rationale"].strip()]
        told += [f"{'rejected:':<12}{alternative}" for alternative in decision["rejected_alternatives"]]
        told += _listed({name: decision[name] for name in ("confidence", "event_id", "occurred", "trace_id")})
    for each in told:
        click.echo(printable(each))


def _listed(facts: dict[str, Any]) -> list[str]:
    return [f"{name + ':':<12}{value}" for name, value in facts.items() if value not in ("", None)]
