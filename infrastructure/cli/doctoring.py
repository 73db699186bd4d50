"""``enchanted doctor``: what is wrong, and what to do."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence

import click

from infrastructure.doctor import archive, ledger, log, machine, questions, stack
from infrastructure.doctor.examination import Area, examine
from infrastructure.doctor.findings import ROLES, Finding, Level, Patient
from nervous_system.settings import Settings

AREAS: dict[str, Area] = {
    "machine": machine.look,
    "stack": stack.look,
    "log": log.look,
    "ledger": ledger.look,
    "clickhouse": questions.look,
    "archive": archive.look,
}
_COLORS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--nats-monitor", metavar="URL", help="NATS's monitor, such as http://nats:8222; the embedded one is known."
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(1), default=10.0, show_default=True, help="Seconds for each area."
)
@click.option(
    "--role",
    type=click.Choice(list(ROLES)),
    default="operator",
    show_default=True,
    help="Whose credentials the settings give: only what that role needs must be allowed.",
)
@click.pass_context
def doctor(context: click.Context, *, as_json: bool, nats_monitor: str | None, timeout_s: float, role: str) -> None:
    """Examine this machine and every server of the settings, and say what to do about what is wrong.

    Nothing is changed or left behind. Exits with 0 where there is no failure, and 1 where there is one.
    """
    # It would say on stderr what the findings say better.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    settings = Settings.load()
    patient = Patient(settings, nats_monitor or stack.monitor_url(settings), timeout_s, role=role)
    findings = examine(patient, AREAS)
    counts = Counter(finding.level for finding in findings)
    if as_json:
        summary = {level.value: counts[level] for level in Level}
        click.echo(json.dumps({**summary, "findings": [finding.as_json() for finding in findings]}, indent=2))
    else:
        _show(findings)
        words = {Level.OK: "ok", Level.WARNING: "with a warning", Level.FAILURE: "failed"}
        click.echo(", ".join(f"{counts[level]} {said}" for level, said in words.items()) + ".")
    context.exit(1 if counts[Level.FAILURE] else 0)


def _show(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        level = click.style(f"{finding.level.value:<8}", fg=_COLORS[finding.level])
        click.echo(f"{level} {finding.check:<{width}}  {finding.sentence}")
