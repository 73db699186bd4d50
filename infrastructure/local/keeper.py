"""One component kept alive: started, watched, and started again when it dies or stays unhealthy."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time

from infrastructure.local import processes
from infrastructure.local.backoff import Backoff
from infrastructure.local.board import Board
from infrastructure.local.components import Component
from infrastructure.local.errors import StackError, explained
from infrastructure.local.health import Health, unhealthy
from infrastructure.local.logs import tail
from infrastructure.local.ports import is_free
from infrastructure.local.processes import Identity
from infrastructure.local.site import Site
from infrastructure.local.state import Phase
from nervous_system.errors import EnchantedError

log = logging.getLogger(__name__)

LIVENESS_INTERVAL_S = 0.25
PROBE_INTERVAL_S = 5.0
SICK_PROBE_INTERVAL_S = 1.0
SICK_LIMIT_S = 120.0


class Keeper:
    """Keeps ``component`` alive until ``stopping`` is set; its children inherit ``lock``, a descriptor."""

    def __init__(self, component: Component, board: Board, stopping: threading.Event, lock: int) -> None:
        self.component = component
        self._board = board
        self._stopping = stopping
        self._lock = lock
        self._backoff = Backoff()
        self._child: subprocess.Popen[bytes] | None = None
        self._identity: Identity | None = None
        self._site: Site | None = None
        self._refusal = ""
        self._thread: threading.Thread | None = None

    def launch(self, site: Site) -> None:
        """Starts the process. Raises EnchantedError where it cannot be started."""
        self._site = site
        launch = self.component.launch(site)
        path = site.home.log_file(self.component.name)
        with explained(path, "written"):
            output = path.open("ab")
        with output, explained(launch.folder, f"used to start {launch.command[0]}"):
            self._child = subprocess.Popen(
                launch.command,
                cwd=launch.folder,
                env=dict(launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own, so that Ctrl-C in a terminal reaches the supervisor only, which stops it in order.
                start_new_session=True,
                pass_fds=(self._lock,),
            )
        self._identity = Identity.of(self._child.pid)
        self._board.change_child(self.component.name, phase=Phase.STARTING, reason="", process=self._identity)
        log.info("%s started, process %d", self.component.name, self._child.pid)

    def await_ready(self, deadline: float) -> bool:
        """Waits until the component is healthy; False where its process ended first, or the stack is to stop.

        Raises StackError once ``time.monotonic()`` passes ``deadline``.
        """
        while not self._stopping.wait(0.1):
            if self._exit_code() is not None:
                return False
            health = self._examine()
            if health.phase is Phase.RUNNING:
                return True
            if time.monotonic() > deadline:
                raise StackError(f"{self.component.name} was not ready in time: {health.reason}.{self.log_end()}")
        return False

    def watch(self) -> None:
        """Keeps the process alive from now on, in a thread."""
        self._thread = threading.Thread(target=self._watch, name=f"keep {self.component.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops the process. To be called once ``stopping`` is set."""
        if self._thread:
            self._thread.join()
        self._end_child()
        self._board.change_child(self.component.name, phase=Phase.STOPPED, reason="", process=None)
        log.info("%s stopped", self.component.name)

    def why_it_ended(self) -> str:
        """What can be told of the process's end."""
        if self._child is None:
            return self._refusal
        code = self._exit_code()
        if code is not None and code < 0:
            return f"it was killed by {signal.Signals(-code).name}"
        ports = self._site.ports if self._site else {}
        taken = [ports[wish.name] for wish in self.component.ports if not is_free(ports[wish.name])]
        return f"port {taken[0]} is taken by another process" if taken else f"it ended with exit code {code}"

    def log_end(self) -> str:
        """The end of its log as an addition to a sentence."""
        if self._site is None:
            return ""
        path = self._site.home.log_file(self.component.name)
        lines = tail(path).replace("\n", "\n  ")
        return f" The end of its log, {path}:\n  {lines}" if lines else f" Its log, {path}, is empty."

    def _watch(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                reason = self._attend()
            except Exception:
                # A fault in a probe of ours must not leave the component unwatched.
                log.exception("%s could not be examined", self.component.name)
                self._stopping.wait(SICK_PROBE_INTERVAL_S)
                continue
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began > self._backoff.reset_after_s else failures + 1
            self._end_child()
            self._start_again(reason, self._backoff.delay_s(failures))

    def _attend(self) -> str:
        """Returns why the process must be started again, once it must; or anything once the stack is to stop."""
        probe_at = 0.0
        # Set once it has been healthy: a server may take long to read its data, and is not cut short in that.
        healthy_at: float | None = None
        while not self._stopping.wait(LIVENESS_INTERVAL_S):
            if self._exit_code() is not None:
                return self.why_it_ended()
            now = time.monotonic()
            if now < probe_at:
                continue
            health = self._examine()
            healthy = health.phase is Phase.RUNNING
            probe_at = now + (PROBE_INTERVAL_S if healthy else SICK_PROBE_INTERVAL_S)
            healthy_at = now if healthy else healthy_at
            if self.component.revived and healthy_at and now - healthy_at > SICK_LIMIT_S:
                return f"it was unhealthy for {SICK_LIMIT_S:g} s: {health.reason}"
        return ""

    def _start_again(self, reason: str, delay_s: float) -> None:
        log.warning("%s is started again in %g s: %s", self.component.name, delay_s, reason)
        state = self._board.change_child(self.component.name, phase=Phase.RESTARTING, reason=reason, process=None)
        if self._stopping.wait(delay_s) or self._site is None:
            return
        self._board.change_child(self.component.name, restarts=state.restarts + 1)
        try:
            self.launch(self._site)
        except EnchantedError as error:
            self._refusal = str(error)

    def _examine(self) -> Health:
        """How the component is; written down unless its process ended while it was asked."""
        if self._site is None or self._identity is None:
            return unhealthy("it was not started")
        health = self.component.probe(self._site)
        first = next((self._site.ports[wish.name] for wish in self.component.ports), None)
        # Another program may have taken the port a moment before, and answer in its place.
        if health.phase is Phase.RUNNING and first and not processes.listens(self._identity, first):
            health = Health(Phase.STARTING, f"it does not listen at port {first} yet")
        if self._exit_code() is None:
            # What a healthy component says changes with every event: it is not worth a write.
            reason = "" if health.phase is Phase.RUNNING else health.reason
            self._board.change_child(self.component.name, phase=health.phase, reason=reason)
        return health

    def _exit_code(self) -> int | None:
        """None while the process lives. Negative: the number of the signal that killed it."""
        return 0 if self._child is None else self._child.poll()

    def _end_child(self) -> None:
        if self._identity and self._child and self._child.poll() is None:
            processes.stop(self._identity, self.component.grace_s, group=True)
            self._child.wait()
        self._child = None
