"""Processes, told apart from later ones that got the same id."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CLOCK_TOLERANCE_S = 1.0
KILL_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its id and when it was created, in seconds since 1970."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of the living process ``pid``; one that is gone already gets a time that matches nothing."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return cls(pid, 0.0)

    def process(self) -> psutil.Process | None:
        """The process, if it is still this one and alive."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < CLOCK_TOLERANCE_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def stop(identity: Identity, grace_s: float, *, group: bool) -> bool:
    """Asks a process to end and kills it after ``grace_s`` seconds; with ``group``, the group that it leads.

    Returns whether there was anything to stop. Raises PermissionError for a process of another user.
    """
    if identity.process() is None:
        return False
    _signal(identity, signal.SIGTERM, group=group)
    if not _ends(identity, grace_s):
        _signal(identity, signal.SIGKILL, group=group)
        _ends(identity, KILL_TIMEOUT_S)
    return True


def listens(identity: Identity, port: int) -> bool:
    """Whether the process, or one that it started, accepts connections at TCP ``port``."""
    process = identity.process()
    try:
        family = [process, *process.children(recursive=True)] if process else []
    except psutil.Error:
        return False
    return any(port in _listening_ports(member) for member in family)


def holders(path: Path) -> list[psutil.Process]:
    """The processes, among those that may be looked into, that hold ``path`` open."""
    real = path.resolve()
    return [process for process in psutil.process_iter() if real in _open_paths(process)]


def _ends(identity: Identity, timeout_s: float) -> bool:
    # Not psutil's wait: for it a process lives until its parent has noticed the end, which some parents never do.
    deadline = time.monotonic() + timeout_s
    while identity.process() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def _signal(identity: Identity, number: signal.Signals, *, group: bool) -> None:
    if identity.process() is None:
        return
    try:
        if group and os.getpgid(identity.pid) == identity.pid:
            os.killpg(identity.pid, number)
        else:
            os.kill(identity.pid, number)
    except ProcessLookupError:
        return


def _listening_ports(process: psutil.Process) -> Iterator[int]:
    try:
        connections = process.net_connections("tcp")
    except psutil.Error:
        return
    yield from (entry.laddr.port for entry in connections if entry.status == psutil.CONN_LISTEN)


def _open_paths(process: psutil.Process) -> Iterator[Path]:
    try:
        yield from (Path(file.path) for file in process.open_files())
    except (psutil.Error, OSError):
        return
