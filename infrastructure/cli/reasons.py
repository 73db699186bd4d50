"""``enchanted why``: the reason for every line."""

from __future__ import annotations

import json
import re
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from infrastructure.cli.options import PROJECT, opened_ledger
from infrastructure.cli.trees import at_option
from nervous_system.errors import NotFoundError
from nervous_system.events import occurred_us, utc
from nervous_system.projects import ProjectName
from replay import moments
from replay.why import Explanation, Line, Reason, explain

_WITH_LINE = re.compile(r"(.+):(\d{1,9})")
RATIONALE_SHOWN = 48


@click.command()
@click.argument("project", type=PROJECT)
@click.argument("where", metavar="PATH[:LINE]")
@at_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(*, project: ProjectName, where: str, moment_text: str, as_json: bool) -> None:
    """Show why each line of PATH is there: the event that wrote it and the decision that it followed.

    With :LINE, the whole reason for that line.
    """
    match = _WITH_LINE.fullmatch(where)
    path, wanted = (match[1], int(match[2])) if match else (where, None)
    with opened_ledger() as ledger:
        history = ledger.history(project)
        explanation = explain(history, path, moments.resolve(history, moment_text))
    lines = explanation.lines
    if wanted is not None:
        if not 1 <= wanted <= len(lines):
            raise NotFoundError(f"{path!r} has {len(lines)} lines then: there is no line {wanted}.")
        lines = [lines[wanted - 1]]
    if as_json:
        rows = [{"line": line.number, "text": line.text, **_facts(explanation.reasons[line.origin])} for line in lines]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif wanted is not None:
        _print_whole(lines[0], explanation.reasons[lines[0].origin])
    else:
        _print(explanation)


def _facts(reason: Reason) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "event_id": reason.event.event_id,
        "version": str(reason.version),
        "agent_id": reason.event.agent_id,
        "occurred": utc(occurred_us(reason.event)).isoformat(),
        "commit": reason.event.related_commit_hash,
        "trace_id": reason.event.trace_id,
    }
    if reason.decision is not None:
        decision = reason.decision.decision
        facts["decision"] = {
            "event_id": reason.decision.event_id,
            "agent_id": reason.decision.agent_id,
            "rationale": decision.rationale,
            "rejected_alternatives": list(decision.rejected_alternatives),
            "confidence": decision.confidence_score if decision.HasField("confidence_score") else None,
        }
    return facts


def _print(explanation: Explanation) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in explanation.lines:
        reason = explanation.reasons[line.origin]
        when = utc(occurred_us(reason.event)).strftime("%Y-%m-%d")
        rationale = reason.decision.decision.rationale.partition("\n")[0] if reason.decision else ""
        margin = f"{when} {reason.event.agent_id[:16]:<16} {rationale[:RATIONALE_SHOWN]:<{RATIONALE_SHOWN}} "
        console.print(Text(margin, style="cyan"), Text(f"{line.number:>5}  ", style="dim"), Text(line.text), sep="")


def _print_whole(line: Line, reason: Reason) -> None:
    click.echo(line.text)
    facts = _facts(reason)
    decision = facts.pop("decision", None)
    for name, value in facts.items():
        if value:
            click.echo(f"{name + ':':<12}{value}")
    if decision is None:
        click.echo("No decision is known that it followed.")
        return
    click.echo(f"\nDecided by {decision['agent_id']} (event {decision['event_id']}):\n{decision['rationale'].strip()}")
    for alternative in decision["rejected_alternatives"]:
        click.echo(f"rejected: {alternative}")
    if decision["confidence"] is not None:
        click.echo(f"confidence: {decision['confidence']:g}")
