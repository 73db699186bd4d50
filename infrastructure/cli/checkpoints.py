"""``enchanted checkpoint``: names for moments, whether they hold, and the way back to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from infrastructure.cli.history import printable
from infrastructure.cli.options import PROJECT, conflict_option, opened_ledger
from nervous_system.events import utc
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from replay import checkpoints, moments, rollback
from replay.checkpoints import CheckpointError, Listed, Member
from replay.difference import Difference
from replay.merging import Policy
from replay.moments import Moment
from replay.publication import settled
from replay.rollback import Prepared
from replay.soundness import Sound, fault_of

_projects_option = click.option(
    "--project", "projects", type=PROJECT, multiple=True, required=True, help="A project; repeatable."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def checkpoint() -> None:
    """Name moments of projects, check that they hold, and go back to them."""


@checkpoint.command()
@click.argument("name")
@_projects_option
@click.option("--description", default="", metavar="TEXT", help="What the moment is about.")
@click.option("--at", "moment_text", metavar="MOMENT", help=f"Of one project, not now but then: {moments.HELP}.")
@click.option("--replace", is_flag=True, help="Take the name from an earlier checkpoint.")
def create(
    *, name: str, projects: tuple[ProjectName, ...], description: str, moment_text: str | None, replace: bool
) -> None:
    """Give NAME to how the projects stand at one instant, now, all of one tenant.

    No project's part has an effect without the cause that another project's part has.
    """
    wanted = list(dict.fromkeys(projects))
    if moment_text is not None and len(wanted) > 1:
        raise click.UsageError("--at names a moment of one project: give one --project.")
    settings = Settings.load()
    with opened_ledger() as ledger:
        if moment_text is None:
            members = checkpoints.cut(settings, ledger, wanted)
        else:
            members = [_member_at(settings, ledger, wanted[0], moment_text)]
        checkpoints.create(settings, ledger, name, members, description=description, replace=replace)
    for member in members:
        click.echo(f"{name}: {member.project} up to version {member.through}, event {member.event_id}")


@checkpoint.command("list")
@click.argument("project", type=PROJECT)
@_json_option
def list_(*, project: ProjectName, as_json: bool) -> None:
    """List the checkpoints of PROJECT, in the order in which they were given."""
    with opened_ledger() as ledger:
        rows = [_listed_facts(each) for each in checkpoints.listed(ledger.history(project))]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        together = f" of {', '.join(row['projects'])}" if len(row["projects"]) > 1 else ""
        replaced = ", replaced by a later one" if row["replaced"] else ""
        text = f"{row['name']}  {row['given'][:19]}Z  through {row['through_version'] or '?'}{together}{replaced}"
        click.echo(printable(text, line=True))
        if row["description"]:
            click.echo(f"    {printable(row['description'], line=True)}")


@checkpoint.command()
@click.argument("name")
@click.option("--project", type=PROJECT, required=True, help="A project that has the checkpoint.")
@conflict_option
@_json_option
@click.pass_context
def validate(context: click.Context, *, name: str, project: ProjectName, on_conflict: str, as_json: bool) -> None:
    """Check that every project of checkpoint NAME can be restored there, with every hash right.

    Exits with 0 where all can, and 1 where one cannot.
    """
    with opened_ledger() as ledger:
        members = checkpoints.members_of(ledger, project, name)
        found = {each: fault_of(ledger, each, moment, Policy(on_conflict)) for each, moment in members.items()}
    if as_json:
        rows = [_validated_facts(each, members[each], result) for each, result in found.items()]
        click.echo(json.dumps({"checkpoint": name, "projects": rows}, ensure_ascii=False, indent=2))
    else:
        for each, result in found.items():
            said = f"ok, {len(result.tree):,} files, digest {result.digest}" if isinstance(result, Sound) else result
            click.echo(f"{each}: {said}")
    context.exit(0 if all(isinstance(result, Sound) for result in found.values()) else 1)


@checkpoint.command("rollback")
@click.argument("name")
@_projects_option
@click.option("--only", is_flag=True, help="Just the projects named, not all that the checkpoint is of.")
@conflict_option
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with the decision.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and stop.")
@_json_option
def rollback_(
    *,
    name: str,
    projects: tuple[ProjectName, ...],
    only: bool,
    on_conflict: str,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take every project of checkpoint NAME back there, all or none, by events that lead back.

    Nothing is taken out of a history: a rollback can be rolled back. Files that are in conflict now are in none
    afterwards.
    """
    settings = Settings.load()
    with opened_ledger() as ledger:
        settled(settings, projects)
        members = _chosen(checkpoints.members_of(ledger, projects[0], name), projects, name, only=only)
        states = rollback.targets(ledger, members, Policy(on_conflict))
        if dry_run:
            done = rollback.prepare(ledger, states, settled(settings, members), reason)
        else:
            done = rollback.roll_back(settings, ledger, states, reason)
    if as_json:
        facts = {"checkpoint": name, "dry_run": dry_run, "projects": [_prepared_facts(each) for each in done]}
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for each in done:
        _print_prepared(each, dry_run=dry_run)


def _member_at(settings: Settings, ledger: Ledger, project: ProjectName, moment_text: str) -> Member:
    settled(settings, [project])
    history = ledger.history(project)
    return checkpoints.member_at(history, moments.resolve(history, moment_text))


def _chosen(
    members: Mapping[ProjectName, Moment], projects: Sequence[ProjectName], name: str, *, only: bool
) -> Mapping[ProjectName, Moment]:
    strangers = [project for project in projects if project not in members]
    if strangers:
        known = ", ".join(map(str, members))
        raise CheckpointError(f"Checkpoint {name!r} of {projects[0]} does not cover {strangers[0]}: it is of {known}.")
    return {project: moment for project, moment in members.items() if project in projects} if only else members


def _listed_facts(each: Listed) -> dict[str, Any]:
    return {
        "name": each.named.name,
        "given": utc(each.given_us).isoformat(),
        "version": str(each.named.version),
        "through_version": str(each.through) if each.through else None,
        "through_event_id": each.named.through_event_id,
        "projects": list(each.checkpoint.project_ids),
        "description": each.checkpoint.description,
        "replaced": each.is_replaced,
    }


def _validated_facts(project: ProjectName, moment: Moment, result: Sound | str) -> dict[str, Any]:
    facts: dict[str, Any] = {"project": str(project), "through_version": str(moment.through)}
    if isinstance(result, Sound):
        return facts | {"ok": True, "digest": result.digest, "files": len(result.tree)}
    return facts | {"ok": False, "fault": result}


def _prepared_facts(each: Prepared) -> dict[str, Any]:
    return {
        "project": str(each.target.project),
        "through_version": str(each.target.moment.through),
        "digest": each.target.digest,
        "last_event_id": each.last_event_id,
        "changes": [_change_facts(difference) for difference in each.differences],
    }


def _change_facts(difference: Difference) -> dict[str, str]:
    facts = {"path": difference.resource, "kind": _kind(difference)}
    return facts | {"renamed_from": difference.renamed_from} if difference.renamed_from else facts


def _kind(difference: Difference) -> str:
    is_same = difference.before == difference.after and not difference.renamed_from
    return "settled" if is_same else difference.kind


def _print_prepared(each: Prepared, *, dry_run: bool) -> None:
    for difference in each.differences if dry_run else ():
        origin = f"{difference.renamed_from} → " if difference.renamed_from else ""
        click.echo(f"{_kind(difference):<9}{each.target.project}  {origin}{difference.resource}")
    count = len(each.differences)
    if not count:
        click.echo(f"{each.target.project} stands as at {each.target.moment.meaning} already")
        return
    changed = f"{count:,} file{'' if count == 1 else 's'}"
    said = f"{changed} to change" if dry_run else f"{changed} changed, digest {each.target.digest}"
    click.echo(f"{each.target.project} back to {each.target.moment.meaning}: {said}")
