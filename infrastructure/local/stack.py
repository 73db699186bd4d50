"""The embedded stack from outside: start it, stop it, or have one for the length of a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infrastructure.local.cleanup import claim, running_supervisor, staying_supervisor, stop_orphans, stop_supervisor
from infrastructure.local.components import Component, choose
from infrastructure.local.errors import StackError, explained
from infrastructure.local.home import Home
from infrastructure.local.logs import tail
from infrastructure.local.ports import assign
from infrastructure.local.processes import Identity
from infrastructure.local.state import Phase, StackState, read_state
from infrastructure.local.supervisor import Supervisor, configure_logging
from nervous_system.settings import Settings

READY_TIMEOUT_S = 120.0
# The supervisor names the component that was late; it is given the time to do so and to stop the others.
PATIENCE_S = 60.0
POLL_INTERVAL_S = 0.1

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: the components in start order, ports the user insists on, and how long starting may take."""

    components: tuple[Component, ...]
    pinned: Mapping[str, int]
    timeout_s: float

    def as_json(self) -> str:
        names = [component.name for component in self.components]
        return json.dumps({"names": names, "pinned": dict(self.pinned), "timeout_s": self.timeout_s})


def start(
    home: Path,
    only: Iterable[str] | None = None,
    *,
    pinned: Mapping[str, int] | None = None,
    timeout_s: float = READY_TIMEOUT_S,
    progress: Progress = lambda _: None,
) -> bool:
    """Starts the stack in the background and waits until every component is healthy.

    Args:
        home: the folder of the stack.
        only: names of components; None for all.
        pinned: ports by name (``nats``, ``nats_monitor``, ``clickhouse``, ``s3``) that must be these.
        timeout_s: how long all of it may take, in seconds.
        progress: told each component's name once it is healthy.

    Returns:
        False where a stack runs in ``home`` already (it is waited for, and left as it is).

    Raises:
        EnchantedError: it could not be started; nothing that it started is left.
    """
    place, plan = Home.at(home), Plan(choose(only), dict(pinned or {}), timeout_s)
    place.make()
    with place.exclusively():
        if running := staying_supervisor(place):
            _await_ready(place, running.pid, plan.timeout_s, progress)
            return False
        _refuse_taken_ports(plan)
        child = _spawn(place, plan)
        try:
            _await_ready(place, child.pid, plan.timeout_s, progress, child)
        except BaseException:
            stop_supervisor(Identity.of(child.pid))
            child.wait()
            _stop_all(place)
            raise
        return True


def run(
    home: Path,
    only: Iterable[str] | None = None,
    *,
    pinned: Mapping[str, int] | None = None,
    timeout_s: float = READY_TIMEOUT_S,
) -> bool:
    """Runs the stack in this process until SIGTERM or SIGINT, logging to stderr; else as ``start``."""
    place, plan = Home.at(home), Plan(choose(only), dict(pinned or {}), timeout_s)
    place.make()
    with place.exclusively():
        if staying_supervisor(place):
            return False
        configure_logging()
        supervisor = Supervisor(place, plan.components, plan.pinned, plan.timeout_s)
    supervisor.run()
    return True


def stop(home: Path) -> bool:
    """Stops the stack, and whatever a killed supervisor left; whether there was anything. Raises EnchantedError."""
    place = Home.at(home)
    if not place.exists() or not place.state_file.exists():
        return False
    with place.exclusively():
        return _stop_all(place)


def missing(home: Path, only: Iterable[str] | None = None) -> tuple[str, ...]:
    """Which of the components called ``only`` are none of the stack that runs in ``home``; None for all."""
    state = read_state(Home.at(home))
    running = {child.name for child in state.children} if state else set()
    return tuple(component.name for component in choose(only) if component.name not in running)


@contextmanager
def running_stack(
    home: Path, components: Iterable[str] | None = None, *, pinned: Mapping[str, int] | None = None
) -> Iterator[Settings]:
    """A stack for the length of a ``with`` block; gives the settings that reach it, free of the environment's."""
    start(home, components, pinned=pinned)
    try:
        yield Settings.load({"ENCHANTED_HOME": str(Home.at(home).root)})
    finally:
        stop(home)


def _refuse_taken_ports(plan: Plan) -> None:
    wishes = [wish for component in plan.components for wish in component.ports if wish.name in plan.pinned]
    assign(wishes, pinned=plan.pinned, remembered={})


def _spawn(home: Home, plan: Plan) -> subprocess.Popen[bytes]:
    log_file = home.log_file("supervisor")
    with explained(log_file, "written"):
        descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    command = [sys.executable, "-m", "infrastructure.local.supervisor", "--home", str(home.root)]
    with os.fdopen(descriptor, "ab") as output:
        return subprocess.Popen(
            [*command, "--plan", plan.as_json()],
            cwd=home.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )


def _await_ready(
    home: Home, supervisor: int, timeout_s: float, progress: Progress, child: subprocess.Popen[bytes] | None = None
) -> None:
    """Follows what the supervisor writes down until all is running; raises StackError where that does not come."""
    deadline = time.monotonic() + timeout_s + PATIENCE_S
    told: set[str] = set()
    while time.monotonic() < deadline:
        ended = child.poll() is not None if child else running_supervisor(home) is None
        state = _state_of(home, supervisor)
        for name in _running(state) - told:
            progress(name)
            told.add(name)
        if state and state.phase is Phase.RUNNING and not ended:
            return
        if ended:
            raise StackError(_last_words(child) or _ending(home))
        time.sleep(POLL_INTERVAL_S)
    raise StackError(f"The stack is not ready after {timeout_s:g} s. See {home.log_file('supervisor')}.")


def _state_of(home: Home, supervisor: int) -> StackState | None:
    state = read_state(home)
    return state if state and state.supervisor.pid == supervisor else None


def _running(state: StackState | None) -> set[str]:
    return {child.name for child in state.children if child.phase is Phase.RUNNING} if state else set()


def _last_words(child: subprocess.Popen[bytes] | None) -> str:
    return child.stdout.read().decode(errors="replace") if child and child.stdout else ""


def _ending(home: Home) -> str:
    path = home.log_file("supervisor")
    return f"The supervisor ended. The end of its log, {path}:\n{tail(path)}"


def _stop_all(home: Home) -> bool:
    state = read_state(home)
    if state is None:
        return False
    stopped = stop_supervisor(state.supervisor)
    # Children that started while the supervisor was being killed are in what it wrote last.
    orphans = stop_orphans(read_state(home) or state)
    # Whoever holds the lock now was never written down: say so rather than leave it unseen.
    os.close(claim(home))
    return stopped or orphans
