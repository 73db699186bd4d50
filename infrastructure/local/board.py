"""The stack's state, shared by those who keep its parts and written down at every change."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

from infrastructure.local.home import Home
from infrastructure.local.state import ChildState, StackState, write_state
from nervous_system.errors import SettingsError

log = logging.getLogger(__name__)


class Board:
    """Safe to use from several threads."""

    def __init__(self, home: Home, state: StackState) -> None:
        self._home = home
        self._state = state
        self._lock = threading.Lock()
        self._unwritten = False
        write_state(home, state)

    @property
    def state(self) -> StackState:
        return self._state

    def change(self, **changes: Any) -> None:
        """Sets fields of the stack's state."""
        with self._lock:
            self._keep(replace(self._state, **changes))

    def change_child(self, name: str, **changes: Any) -> ChildState:
        """Sets fields of one component's state; returns it."""
        with self._lock:
            changed = replace(self._state.child(name), **changes)
            children = tuple(changed if child.name == name else child for child in self._state.children)
            self._keep(replace(self._state, children=children))
            return changed

    def retry(self) -> None:
        """Writes what could not be written before."""
        with self._lock:
            if self._unwritten:
                self._write()

    def _keep(self, state: StackState) -> None:
        if state != self._state:
            self._state = state
            self._write()

    def _write(self) -> None:
        # A full disk is no reason to give up processes that work; it is written once there is room.
        try:
            write_state(self._home, self._state)
            self._unwritten = False
        except SettingsError as error:
            self._unwritten = True
            log.warning("%s", error)
