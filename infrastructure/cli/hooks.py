"""``enchanted install``, ``uninstall`` and ``hook``: recording by the hooks that agents call.

An agent waits for each call of a hook, so that this module loads nothing that the call does not need.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
import time
from pathlib import Path

import click

from nervous_system.capture.hooks.agents import AGENTS, MARK, hooked_agent
from nervous_system.errors import NotFoundError
from nervous_system.projects import ProjectName

# An agent waits this long at most for what it did to be on disk.
PATIENCE_S = 5.0
LOG_FILE = "hooks.log"
LOG_LIMIT_BYTES = 1_000_000

_AGENT = click.argument("agent", type=click.Choice(list(AGENTS)))
_FOLDER = click.option(
    "--project-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The project's folder; this one where absent.",
)


@click.command()
@_AGENT
@click.option("--project", envvar="ENCHANTED_PROJECT", required=True, help="Where to: tenant/project.")
@_FOLDER
def install(agent: str, *, project: str, project_dir: Path) -> None:
    """Have an agent's hooks record what it does in a folder.

    The agent's other settings stay as they are; what stood in the file is kept beside it until `uninstall`.
    """
    from nervous_system.capture.hooks import installing

    hooked, folder = hooked_agent(agent), project_dir.resolve()
    done = installing.install(folder, hooked, _command(agent, ProjectName.parse(project), folder))
    if not done.changed:
        click.echo(f"{done.path} has the hooks already.")
        return
    click.echo(f"{agent} records into {project} from its next session on: see {done.path}.")
    if hooked.note:
        click.echo(hooked.note, err=True)


@click.command()
@_AGENT
@_FOLDER
def uninstall(agent: str, *, project_dir: Path) -> None:
    """Take the hooks out of an agent's settings again."""
    from nervous_system.capture.hooks import installing

    done = installing.uninstall(project_dir.resolve(), hooked_agent(agent))
    if not done.changed:
        click.echo(f"{done.path} has no hooks of ours.")
    elif done.removed:
        click.echo(f"Removed {done.path}, which held nothing else.")
    else:
        click.echo(f"Took the hooks out of {done.path}.")


def _command(agent: str, project: ProjectName, folder: Path) -> str:
    # Hooks run without the user's environment, and an agent takes exit status 2 for a refusal.
    ours = Path(sys.argv[0])
    name = str(ours.absolute()) if ours.name == "enchanted" and ours.exists() else shutil.which("enchanted")
    words = [name] if name else [sys.executable, "-m", "infrastructure.cli.main"]
    words += ["hook", agent, "--project", str(project), "--root", str(folder)]
    return f"{shlex.join(words)} || true {MARK}"


@click.command(hidden=True)
@click.argument("agent")
@click.option("--project", required=True)
@click.option("--root", required=True, type=click.Path(path_type=Path))
def hook(agent: str, *, project: str, root: Path) -> None:
    """Called by an agent: records what it tells on standard input. Never fails, and prints only what it must."""
    told = sys.stdin.buffer.read()
    # The agent goes on whatever happens here, and is not kept waiting by a disk that hangs or an outbox that is full.
    work = threading.Thread(target=_record, args=(agent, project, root, told), daemon=True)
    work.start()
    work.join(PATIENCE_S)
    if work.is_alive():
        _note(f"{agent} was not kept waiting any longer; {len(told):,} bytes that it told may be lost")
    if agent in AGENTS and AGENTS[agent].answer:
        click.echo(AGENTS[agent].answer)
    sys.stdout.flush()
    if work.is_alive():
        os._exit(0)


def _record(agent: str, project: str, root: Path, told: bytes) -> None:
    try:
        _take(agent, project, root, told)
    except BaseException as error:
        _note(f"{agent}: {type(error).__name__}: {error}")


def _take(agent: str, project: str, root: Path, told: bytes) -> None:
    import json

    from nervous_system.capture.hooks.calls import HookCall
    from nervous_system.capture.keeping import Keeper
    from nervous_system.events import now_us
    from nervous_system.settings import Settings

    if agent not in AGENTS:
        raise NotFoundError(f"{agent!r} is no agent with hooks that are known here.")
    settings = Settings.load()
    # Under `enchanted record` the work tree is watched already.
    with_files = "ENCHANTED_SOCKET" not in os.environ
    call = HookCall(agent, json.loads(told), root, settings.home, now_us(), with_files)
    findings = call.findings()
    if findings:
        with Keeper(settings, ProjectName.parse(project)) as keeper:
            for finding in findings:
                keeper.keep(finding)
            keeper.flush()


def _note(sentence: str) -> None:
    """Keeps what went wrong for whoever looks for it; the agent's terminal is not ours."""
    try:
        home = Path(os.environ.get("ENCHANTED_HOME") or Path.home() / ".enchanted").expanduser()
        home.mkdir(parents=True, exist_ok=True)
        path = home / LOG_FILE
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {sentence}\n")
    except OSError:
        return
