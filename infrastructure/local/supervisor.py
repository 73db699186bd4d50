"""The process that starts the stack in order, keeps it alive, and stops it in reverse order."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from infrastructure.local.board import Board
from infrastructure.local.cleanup import claim
from infrastructure.local.components import Component, choose, stack_variables
from infrastructure.local.credentials import load_secrets
from infrastructure.local.errors import StackError
from infrastructure.local.home import Home, write_private
from infrastructure.local.keeper import Keeper
from infrastructure.local.logs import rotate
from infrastructure.local.ports import assign
from infrastructure.local.processes import Identity
from infrastructure.local.site import Site
from infrastructure.local.state import ChildState, Phase, StackState, read_object
from nervous_system.errors import EnchantedError

log = logging.getLogger(__name__)

HOUSEKEEPING_INTERVAL_S = 5.0
MAX_EARLY_DEATHS = 3
MAX_MOVES = 10


class Supervisor:
    """One run of the stack, in a process's main thread. Made only while no other runs in ``home``.

    Raises:
        EnchantedError: a process of an earlier run cannot be stopped, or the folder cannot be written.
    """

    def __init__(
        self, home: Home, components: tuple[Component, ...], pinned: Mapping[str, int], timeout_s: float
    ) -> None:
        # Before anything is written: neither data nor logs are for others.
        os.umask(0o077)
        self._home = home
        self._components = components
        self._pinned = pinned
        self._timeout_s = timeout_s
        self._stopping = threading.Event()
        lock = claim(home)
        # Before others can learn of this process.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stopping.set())
        children = tuple(ChildState(component.name, reason="not started yet") for component in components)
        self._board = Board(home, StackState(Identity.of(os.getpid()), children=children))
        self._keepers = [Keeper(component, self._board, self._stopping, lock) for component in components]

    def run(self) -> None:
        """Works until SIGTERM, SIGINT or SIGHUP. Raises EnchantedError where the stack could not be started."""
        try:
            self._start()
            self._attend()
        finally:
            self._stop()

    def _start(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        self._secrets = load_secrets(self._home)
        remembered = {name: port for name, port in read_object(self._home.ports_file).items() if isinstance(port, int)}
        wishes = [wish for component in self._components for wish in component.ports]
        ports = assign(wishes, pinned=self._pinned, remembered=remembered)
        # Ports of components that are left out this time stay remembered.
        self._settle({**remembered, **ports})
        # Servers do not wait for each other, but workers wait for all servers.
        for is_worker in (False, True):
            wave = [keeper for keeper in self._keepers if keeper.component.is_worker is is_worker]
            for keeper in wave:
                keeper.launch(self._site)
            for keeper in wave:
                self._bring_up(keeper, deadline)
        for keeper in self._keepers:
            keeper.watch()
        if not self._stopping.is_set():
            self._board.change(phase=Phase.RUNNING)
            log.info("The stack is running.")

    def _settle(self, ports: dict[str, int]) -> None:
        """Takes these ports, and writes them down for the next start and for clients."""
        site = Site(self._home, ports, self._secrets)
        variables = stack_variables(self._components, site)
        self._site = Site(self._home, ports, self._secrets, variables)
        write_private(self._home.ports_file, json.dumps(ports, indent=2) + "\n")
        write_private(self._home.settings_file, "".join(f"{name}={value}\n" for name, value in variables.items()))

    def _bring_up(self, keeper: Keeper, deadline: float) -> None:
        """Waits for a component that was launched, and launches it again where it dies of a lost port or by chance."""
        deaths = moves = 0
        while not keeper.await_ready(deadline):
            if self._stopping.is_set():
                return
            moved = moves < MAX_MOVES and self._move(keeper.component)
            moves, deaths = (moves + 1, deaths) if moved else (moves, deaths + 1)
            if deaths == MAX_EARLY_DEATHS:
                raise StackError(f"{keeper.component.name} does not start: {keeper.why_it_ended()}.{keeper.log_end()}")
            keeper.launch(self._site)
        log.info("%s is running", keeper.component.name)

    def _move(self, component: Component) -> bool:
        """Gives a component that died other ports for those taken meanwhile; whether there were any.

        Only while the stack starts: later, its clients know the old ones.
        """
        own = {wish.name for wish in component.ports}
        reserved = [port for name, port in self._site.ports.items() if name not in own]
        current = {name: self._site.ports[name] for name in own}
        fresh = assign(component.ports, pinned=self._pinned, remembered=current, reserved=reserved)
        if fresh == current:
            return False
        log.warning("%s gets other ports, since some were taken: %s", component.name, fresh)
        self._settle({**self._site.ports, **fresh})
        return True

    def _attend(self) -> None:
        while not self._stopping.wait(HOUSEKEEPING_INTERVAL_S):
            if not self._home.lock_file.exists():
                log.error("%s was removed.", self._home.lock_file)
                return
            self._board.retry()
            for name in ("supervisor", *(component.name for component in self._components)):
                try:
                    rotate(self._home.log_file(name))
                except OSError as error:
                    log.warning("The log of %s cannot be rotated: %s", name, error.strerror)

    def _stop(self) -> None:
        self._stopping.set()
        self._board.change(phase=Phase.STOPPED)
        log.info("Stopping.")
        for keeper in reversed(self._keepers):
            keeper.stop()
        log.info("Stopped.")


def configure_logging() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)


def main() -> int:
    """The detached supervisor: logs to stderr, and tells its parent on stdout why it could not start.

    Its parent holds the lock of ``up`` until it is ready.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--plan", type=json.loads, required=True)
    arguments = parser.parse_args()
    configure_logging()
    plan = arguments.plan
    try:
        Supervisor(Home.at(arguments.home), choose(plan["names"]), plan["pinned"], plan["timeout_s"]).run()
    except EnchantedError as error:
        log.error("%s", error)
        # Not through a file: it may be a full disk that is the matter.
        sys.stdout.write(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
