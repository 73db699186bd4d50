"""``enchanted import`` of transcripts: what agents did before, by the files that their tools wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from infrastructure.cli.options import PROJECT
from nervous_system.capture.findings import Finding
from nervous_system.capture.keeping import Keeper, ids_in_outbox
from nervous_system.capture.transcripts import claude_code, codex, openhands, swe_agent
from nervous_system.errors import ContractError, EnchantedError, NotFoundError
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

GROUP_EVENTS = 500
_NAMES = {
    "decision": "decision",
    "state_change": "change",
    "message": "message",
    "tool_call": "tool call",
}


def _importing(command: F) -> F:
    """The options that every kind of transcript takes."""
    options = (
        click.argument("path", type=click.Path(exists=True, path_type=Path)),
        click.option("--project", type=PROJECT, required=True, help="Where to: tenant/project."),
        click.option("--root", default="", metavar="FOLDER", help="The project's root where the agent ran."),
        click.option("--direct", is_flag=True, help="Send events straight to the log, not into this machine's outbox."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("claude-code")
@_importing
def claude_code_(path: Path, *, project: ProjectName, root: str, direct: bool) -> None:
    """Import Claude Code's sessions: a .jsonl file, or a folder of some.

    They are under ~/.claude/projects. The root is the folder that each session began in, unless it is given.
    """
    _take(claude_code.read(path, root=root, tell=_tell), project, direct)


@click.command("codex")
@_importing
def codex_(path: Path, *, project: ProjectName, root: str, direct: bool) -> None:
    """Import Codex CLI's sessions: a rollout-….jsonl file, or a folder of some.

    They are under ~/.codex/sessions. The root is the folder that each session began in, unless it is given.
    """
    _take(codex.read(path, root=root, tell=_tell), project, direct)


@click.command("openhands")
@_importing
def openhands_(path: Path, *, project: ProjectName, root: str, direct: bool) -> None:
    """Import OpenHands' conversations: a folder of event files, or a trajectory as one JSON file.

    The root is /workspace, unless it is given.
    """
    _take(openhands.read(path, root=root, tell=_tell), project, direct)


@click.command("swe-agent")
@_importing
@click.option(
    "--began",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"]),
    help="When the run began; UTC, unless it has a zone.",
)
def swe_agent_(path: Path, *, project: ProjectName, root: str, direct: bool, began: datetime | None) -> None:
    """Import SWE-agent's runs: a .traj file, or a folder of some.

    Trajectories tell no times. Without --began, a run is taken to have ended when its file was written: copy it with
    its time (cp -p), or its events are others. The root is the folder of the first step, unless it is given.
    """
    began_us = None
    if began is not None:
        began_us = round((began if began.tzinfo else began.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    _take(swe_agent.read(path, root=root, tell=_tell, began_us=began_us), project, direct)


COMMANDS = (claude_code_, codex_, openhands_, swe_agent_)


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)


def _take(findings: Iterator[Finding], project: ProjectName, direct: bool) -> None:
    settings = Settings.load()
    counts: Counter[str] = Counter()
    console = Console(stderr=True)
    with (
        Keeper(settings, project, direct=direct) as keeper,
        _landed(settings, project) as landed,
        console.status("Reading …") as status,
    ):
        if not direct:
            keeper.passes_over(ids_in_outbox(settings, project))
        while group := list(islice(findings, GROUP_EVENTS)):
            keeper.passes_over(landed([finding.event_id for finding in group]))
            for finding in group:
                _keep(keeper, finding, counts)
            status.update(f"Reading … {keeper.kept_count:,} events")
        keeper.flush()
    _report(keeper, counts, project, direct)


def _keep(keeper: Keeper, finding: Finding, counts: Counter[str]) -> None:
    try:
        event = keeper.keep(finding)
    except ContractError as error:
        _tell(f"Left out: {error}")
        return
    if event is not None:
        counts[str(event.WhichOneof("payload"))] += 1


@contextmanager
def _landed(settings: Settings, project: ProjectName) -> Iterator[Callable[[list[str]], list[str]]]:
    """Which of some events the ledger has already; none of them, where no ledger can be asked from here.

    It would drop them itself: asking saves sending them, and tells the user.
    """
    try:
        ledger = Ledger.open(settings, create=False)
    except EnchantedError:
        yield lambda _: []
        return
    try:
        try:
            history = ledger.history(project)
        except NotFoundError:
            yield lambda _: []
            return
        yield lambda ids: [
            each for each, at in zip(ids, history.versions_of_events(ids), strict=True) if at is not None
        ]
    finally:
        ledger.close()


def _report(keeper: Keeper, counts: Counter[str], project: ProjectName, direct: bool) -> None:
    if not keeper.kept_count:
        click.echo(f"Nothing new for {project}: {_count(keeper.known_count, 'event')} known already.")
        return
    kinds = ", ".join(_count(counts[kind], name) for kind, name in _NAMES.items() if counts[kind])
    known = f" ({keeper.known_count:,} more were known already)" if keeper.known_count else ""
    where = "" if direct else " They are in this machine's outbox; `enchanted sync` sends them."
    click.echo(f"Imported {_count(keeper.kept_count, 'event')} into {project}: {kinds}{known}.{where}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
