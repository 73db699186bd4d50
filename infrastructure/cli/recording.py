"""``enchanted record`` and ``enchanted watch``: a work tree as it changes, whoever changes it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from infrastructure.cli.options import PROJECT
from infrastructure.local.logs import rotate
from nervous_system.capture.channels.endpoints import Endpoints, free_number
from nervous_system.capture.launching import Spoken, end_as, exit_code
from nervous_system.capture.session import Session
from nervous_system.capture.terminal import Terminal, prepare
from nervous_system.capture.worktree.shadow import Shadow, ShadowBusyError
from nervous_system.capture.worktree.tracker import MAX_FILE_BYTES
from nervous_system.capture.worktree.watcher import TreeOptions, Watcher
from nervous_system.errors import EnchantedError
from nervous_system.outbox.opening import outbox_path
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings

logger = logging.getLogger("nervous_system.capture")

BASELINE = {"enchanted.capture": "baseline"}


@dataclass(frozen=True, slots=True)
class Who:
    """Whose work is recorded, where.

    Args:
        project: that it belongs to.
        agent: the agent's id.
        role: a name of AgentRole.
    """

    project: ProjectName
    agent: str
    role: str


def _tree_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that both commands take."""
    for option in reversed(
        (
            click.option("--project", type=PROJECT, required=True, envvar="ENCHANTED_PROJECT", help="tenant/project."),
            click.option("--agent", envvar="ENCHANTED_AGENT", help="Who it is that changes it."),
            click.option(
                "--role", default="CODER", envvar="ENCHANTED_ROLE", show_default=True, help="The agent's role."
            ),
            click.option(
                "--also-ignored", is_flag=True, help="Record what .gitignore leaves out; .enchantedignore still holds."
            ),
            click.option(
                "--max-file-bytes",
                type=click.IntRange(1),
                default=MAX_FILE_BYTES,
                show_default=True,
                help="Leave larger files out.",
            ),
            click.option(
                "--scan", is_flag=True, help="Find changes by scanning: for network folders that others write to."
            ),
        )
    ):
        command = option(command)
    return command


@click.command(context_settings={"ignore_unknown_options": True})
@_tree_options
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="The work tree; the current folder where absent.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def record(
    project: ProjectName, agent: str | None, role: str, root: Path, command: tuple[str, ...], **tree: Any
) -> None:
    """Runs COMMAND and records every change of the work tree meanwhile.

    The terminal is the command's own, and its exit status becomes this one's. Write -- before COMMAND.
    """
    who = Who(project, agent or Path(command[0]).name, role)
    settings = Settings.load()
    number = free_number()
    with _log_file(settings, project):
        endpoints = Endpoints(logger.warning)
        # Before any thread is made.
        terminal = prepare(command, Spoken(endpoints.spoken, number))
        try:
            recording = Recording.begin(who, settings, _options(settings, root, tree), endpoints)
        except BaseException:
            terminal.give_up()
            raise
        status = recording.run(terminal, command, {"ENCHANTED_FD": str(number)})
    if os.WIFSIGNALED(status):
        sys.stdout.flush()
        end_as(status)
    click.get_current_context().exit(exit_code(status))


@click.command()
@_tree_options
@click.argument("root", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
def watch(project: ProjectName, agent: str | None, role: str, root: Path, **tree: Any) -> None:
    """Records every change of the folder DIR, the current one where absent, until it is stopped with Ctrl-C."""
    who = Who(project, agent or "watch", role)
    settings = Settings.load()
    stopped = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda *_: stopped.set())
    with _log_file(settings, project):
        endpoints = Endpoints(logger.warning)
        endpoints.close_spoken()
        recording = Recording.begin(who, settings, _options(settings, root, tree), endpoints, must_watch=True)
        recording.start("")
        click.echo(
            f"Watching {root.resolve()} for {project}; Ctrl-C ends it. ENCHANTED_SOCKET={endpoints.path}", err=True
        )
        stopped.wait()
        recording.stop()


class Recording:
    """A recorder, the watch over a tree, and the channels, from the baseline to the last state."""

    def __init__(self, who: Who, recorder: Recorder, watcher: Watcher | None, endpoints: Endpoints) -> None:
        self._who, self._recorder, self._watcher, self._endpoints = who, recorder, watcher, endpoints
        self._session = Session(recorder, watcher)
        self._session.listen(endpoints)

    @classmethod
    def begin(
        cls, who: Who, settings: Settings, options: TreeOptions, endpoints: Endpoints, *, must_watch: bool = False
    ) -> Recording:
        """Records the baseline. Raises ShadowBusyError where another process watches the tree and ``must_watch``."""
        shadow_path = _shadow_path(settings, who.project, options.root)
        if not outbox_path(settings, who.project).exists():
            # Whoever removed what was recorded wants it recorded anew.
            shadow_path.unlink(missing_ok=True)
        recorder = Recorder(str(who.project), agent=who.agent, role=who.role, settings=settings)
        try:
            watcher = Watcher(options, Shadow(shadow_path), recorder)
        except ShadowBusyError as error:
            if must_watch:
                raise
            _tell(f"{error} Its changes are recorded there, and what the command says is recorded here.")
            return cls(who, recorder, None, endpoints)
        found = recorder.message(f"The work tree {options.root} as it was found.", attributes=BASELINE)
        watcher.follow(found)
        watcher.baseline()
        if not watcher.has_notices and options.notices:
            _tell("The kernel gives no more notices of changes: the work tree is scanned instead. The log says why.")
        return cls(who, recorder, watcher, endpoints)

    def start(self, causation_id: str) -> None:
        """What changes from now on follows an event."""
        self._session.start(causation_id)

    def run(self, terminal: Terminal, command: tuple[str, ...], told: Mapping[str, str]) -> int:
        """Runs the command; gives its status, as wait(2) does."""
        began_s = time.monotonic()
        started = self._recorder.message(f"Started: {shlex.join(command)}")
        self.start(started)
        try:
            terminal.begin({**os.environ, **self._environment(started), **told})
            status = terminal.wait()
        except EnchantedError as error:
            self._end(command, started, error.exit_code, began_s)
            raise
        self._end(command, started, exit_code(status), began_s)
        return status

    def stop(self) -> None:
        """Records the last state; what fails is told, and ends nobody."""
        try:
            self._session.stop()
        except Exception as error:
            _tell(f"The recording is not complete: {error}")
        try:
            self._recorder.close()
        except EnchantedError as error:
            _tell(str(error))
        if self._watcher is not None and sys.stderr.isatty():
            click.echo(self._summary(self._watcher), err=True)

    def _end(self, command: tuple[str, ...], started: str, code: int, began_s: float) -> None:
        def finished() -> None:
            self._recorder.tool_call(
                command[0],
                arguments=json.dumps(command),
                exit_code=code,
                duration_ms=(ended_s - began_s) * 1_000,
                causation_id=started,
            )

        ended_s = time.monotonic()
        self._session.at_end(finished)
        self.stop()

    def _environment(self, started: str) -> dict[str, str]:
        return {
            "ENCHANTED_PROJECT": str(self._who.project),
            "ENCHANTED_AGENT": self._who.agent,
            "ENCHANTED_ROLE": self._who.role,
            "ENCHANTED_SESSION": self._recorder.session,
            "ENCHANTED_SOCKET": str(self._endpoints.path),
            "ENCHANTED_CAUSATION": started,
        }

    def _summary(self, watcher: Watcher) -> str:
        counts = watcher.counts
        left_out = f"; {len(counts.left_out):,} left out, see the log" if counts.left_out else ""
        return f"enchanted: recorded {counts.written:,} written and {counts.deleted:,} deleted files{left_out}."


def _options(settings: Settings, root: Path, tree: Mapping[str, Any]) -> TreeOptions:
    return TreeOptions(
        root.resolve(),
        also_ignored=tree["also_ignored"],
        max_file_bytes=tree["max_file_bytes"],
        notices=not tree["scan"],
        own=(settings.home.resolve(), settings.outbox_folder.resolve()),
    )


def _shadow_path(settings: Settings, project: ProjectName, root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return outbox_path(settings, project).parent / f"{project.project}.trees" / f"{name}.db"


@contextmanager
def _log_file(settings: Settings, project: ProjectName) -> Iterator[None]:
    """The recorder's own log: the terminal is the command's."""
    path = settings.home / "logs" / f"record-{project.tenant}-{project.project}.log"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    rotate(path)
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [%(process)d] %(message)s"))
    ours = logging.getLogger("nervous_system")
    ours.addHandler(handler)
    # What is written to the log must not be shown on the terminal as well.
    before, ours.propagate = ours.propagate, False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.propagate = before
        handler.close()


def _tell(sentence: str) -> None:
    logger.warning("%s", sentence)
    click.echo(f"enchanted: {sentence}", err=True)
