"""``enchanted undo``: one agent's or one event's changes taken back, everyone else's kept."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from typing import Any

import click

from infrastructure.cli.history import printable
from infrastructure.cli.options import PROJECT, opened_ledger
from nervous_system.authoring import Author
from nervous_system.contract import AgentRole
from nervous_system.events import now_us, uuid7
from nervous_system.ledger.history import History
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from replay import moments
from replay.checkpoints import AGENT
from replay.difference import Difference
from replay.tree import Entry
from replay.undo import UndoPlan
from replay.undoing.courses import Held
from replay.undoing.reversal import Conflict
from replay.undoing.selection import ByAgent, ByEvent, Selection, since
from replay.undoing.telling import summary
from replay.undoing.writing import Undone, plan_settled, take_back

MARKED_LINES_SHOWN = 40


@click.command()
@click.argument("project", type=PROJECT)
@click.option("--agent", metavar="AGENT", help="Take back what this agent changed.")
@click.option("--since", "since_text", metavar="MOMENT", help="Of that, only what came after this moment.")
@click.option(
    "--until", "until_text", metavar="MOMENT", help=f"Of that, only what came by this moment: {moments.HELP}."
)
@click.option("--event", metavar="EVENT", help="Take back a change, or all changes that a decision led to.")
@click.option("--allow-conflicts", is_flag=True, help="Write what merges, and text in conflict with both sides in it.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with the decision.")
@click.option("--as", "agent_id", default=AGENT, show_default=True, metavar="AGENT", help="Who takes back.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def undo(
    context: click.Context,
    *,
    project: ProjectName,
    agent: str | None,
    since_text: str | None,
    until_text: str | None,
    event: str | None,
    allow_conflicts: bool,
    reason: str,
    agent_id: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take back what one agent, or one event, changed in PROJECT, and keep what everyone else did.

    Nothing is taken out of the history: new events lead back, and can be undone in their turn. Where a change has been
    built upon since, both sides are shown, and nothing is written. Exits with 1 where that is so.
    """
    if (agent is None) == (event is None):
        raise click.UsageError("Say whose changes: --agent AGENT, or --event EVENT.")
    if event is not None and (since_text is not None or until_text is not None):
        raise click.UsageError("--since and --until go with --agent: an event is one moment.")

    def select(history: History) -> Selection:
        if event is not None:
            return ByEvent(event)
        assert agent is not None
        begin = None if since_text is None else since(history, since_text)
        return ByAgent(agent, begin, None if until_text is None else moments.resolve(history, until_text))

    settings = Settings.load()
    session = uuid7(now_us() // 1_000)
    with opened_ledger() as ledger:
        if dry_run:
            done = Undone(plan_settled(settings, ledger, project, select))
        else:
            done = take_back(
                settings,
                ledger,
                project,
                select,
                lambda: Author(project, agent_id, AgentRole.ROLE_OPERATOR, session, _user()),
                reason=reason,
                allow_conflicts=allow_conflicts,
            )
    if as_json:
        facts = {"project": str(project), "dry_run": dry_run, "decision_id": done.decision_id or None}
        click.echo(json.dumps({**facts, **_facts(done.plan)}, ensure_ascii=False, indent=2))
    else:
        for line in _told(project, done, dry_run=dry_run):
            click.echo(printable(line, line=True))
    context.exit(1 if done.plan.conflicts and not allow_conflicts else 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Where the machine has no name for this user, as in some containers.
        return ""


def _told(project: ProjectName, done: Undone, *, dry_run: bool) -> Iterator[str]:
    plan = done.plan
    if dry_run:
        yield from map(_change_line, plan.changes)
        yield from (f"{'left':<10}{resource}: nothing is left to take back" for resource in plan.left)
    for conflict in plan.conflicts:
        yield from _conflict_lines(conflict)
    if done.decision_id:
        again = f"enchanted undo {project} --event {done.decision_id}"
        yield f"Took back {summary(plan)} (event {done.decision_id}; undo it with: {again})"
        if plan.conflicts:
            yield f"{len(plan.conflicts):,} in conflict: see above."
    elif plan.conflicts and not dry_run:
        yield (
            f"Nothing was written: {len(plan.conflicts):,} of the paths are in conflict. With --allow-conflicts what "
            "merges is written, and text with both sides between markers."
        )
    elif dry_run and plan.changes:
        yield f"Would take back {summary(plan)}"
    else:
        yield f"Nothing is left to take back of {plan.chosen.name}: nothing was written."


def _change_line(change: Difference) -> str:
    origin = f"{change.renamed_from} → " if change.renamed_from else ""
    return f"{change.kind:<10}{origin}{change.resource}"


def _conflict_lines(conflict: Conflict) -> Iterator[str]:
    yield f"{'conflict':<10}{conflict.resource}: {conflict.reason}"
    if conflict.marked is None:
        yield f"    now:      {_shown(conflict.ours)}"
        yield f"    without:  {_shown(conflict.theirs)}"
        return
    shown = _between_markers(conflict.marked.decode())
    yield from (f"    {line}" for line in shown[:MARKED_LINES_SHOWN])
    if len(shown) > MARKED_LINES_SHOWN:
        yield f"    … and {len(shown) - MARKED_LINES_SHOWN:,} more lines"


def _between_markers(text: str) -> list[str]:
    """The lines that conflict, with their markers."""
    lines, is_within = [], False
    for line in text.split("\n"):
        is_within = is_within or line.startswith("<<<<<<< ")
        if is_within:
            lines.append(line)
        is_within = is_within and not line.startswith(">>>>>>> ")
    return lines


def _shown(held: Held) -> str:
    return "nothing" if held is None else f"{held.entry.mode:06o} {held.entry.content_hash[:12]} {held.resource}"


def _facts(plan: UndoPlan) -> dict[str, Any]:
    return {
        **plan.chosen.facts,
        "events": list(plan.taken),
        "changes": [_change_facts(change) for change in plan.changes],
        "conflicts": [_conflict_facts(conflict) for conflict in plan.conflicts],
        "left": list(plan.left),
    }


def _change_facts(change: Difference) -> dict[str, Any]:
    facts = {"path": change.resource, "kind": change.kind}
    facts |= {"renamed_from": change.renamed_from} if change.renamed_from else {}
    return {**facts, "before": _entry_facts(change.before), "after": _entry_facts(change.after)}


def _conflict_facts(conflict: Conflict) -> dict[str, Any]:
    sides = {"base": conflict.base, "now": conflict.ours, "without": conflict.theirs}
    return {
        "path": conflict.resource,
        "reason": conflict.reason,
        **{
            name: None if held is None else {"path": held.resource, **_entry(held.entry)}
            for name, held in sides.items()
        },
        "marked": None if conflict.marked is None else conflict.marked.decode(),
    }


def _entry_facts(entry: Entry | None) -> dict[str, str] | None:
    return None if entry is None else _entry(entry)


def _entry(entry: Entry) -> dict[str, str]:
    return {"mode": f"{entry.mode:06o}", "hash": entry.content_hash}
