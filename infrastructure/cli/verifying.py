"""``enchanted verify``: whether a ledger is what was landed."""

from __future__ import annotations

import json

import click

from infrastructure.cli.options import PROJECT, opened_ledger
from nervous_system.projects import ProjectName
from replay.verification import Fault, Verification, first

SHOWN = 20


@click.command()
@click.argument("project", type=PROJECT, required=False)
@click.option("--archive", "with_archive", is_flag=True, help="The archive, and whether the stores hold what it holds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(context: click.Context, *, project: ProjectName | None, with_archive: bool, as_json: bool) -> None:
    """Recompute PROJECT's chain, indexes and contents, and name the first event at fault.

    With --archive and no project: check every manifest, signature, object and event of the archive, and that ledger and
    ClickHouse hold the same events, byte for byte and in the same order, as far as the archive has come.

    Exits with 0 where all is as it was landed, and 1 where it is not.
    """
    if with_archive == (project is not None):
        raise click.UsageError("Name a project, or say --archive.")
    if project is None:
        # Loaded where it is needed: Parquet and S3 come with an extra.
        from infrastructure.cli.agreeing import verify_archive

        context.exit(0 if verify_archive(as_json) else 1)
    with opened_ledger() as ledger:
        verification = Verification(ledger.history(project), ledger.audit(project))
        faults = list(verification.faults())
    if as_json:
        facts = {"project": str(project), "events": verification.tally.events, "faults": [_facts(f) for f in faults]}
        click.echo(json.dumps(facts, indent=2))
    elif not faults:
        click.echo(f"{project}: {verification.tally.events:,} events are as they were landed.")
    else:
        worst = first(faults)
        click.echo(f"{project}: {len(faults):,} faults in {verification.tally.events:,} events. The first:")
        for fault in [worst, *(each for each in faults if each is not worst)][:SHOWN]:
            click.echo(f"  version {fault.version or '?'}, event {fault.event_id or '?'}: {fault.reason}")
    context.exit(1 if faults else 0)


def _facts(fault: Fault) -> dict[str, str | None]:
    return {
        "version": str(fault.version) if fault.version else None,
        "event_id": fault.event_id,
        "reason": fault.reason,
    }
