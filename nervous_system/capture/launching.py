"""Starts a command so that everything it meets is as if nobody stood between: it waits at a gate until it may begin.

The process is forked before any thread is made, which is when forking is safe, and told its environment once the
recorder stands.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from nervous_system.errors import EnchantedError

NOT_FOUND_EXIT_CODE, NOT_EXECUTABLE_EXIT_CODE = 127, 126
# Python ignores these, and what is ignored stays so across exec.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
_HIGH = 64
_REPORT = struct.Struct("<ii")


class Report(IntEnum):
    """What the started process tells: its id, a status as of wait(2), or the errno that kept it from starting."""

    PROCESS = 0
    STATUS = 1
    FAILURE = 2


class CommandError(EnchantedError):
    """The command could not be started; ``exit_code`` is what a shell would give."""

    def __init__(self, name: str, number: int) -> None:
        if number == errno.ENOENT:
            super().__init__(f"The command {name!r} was not found: check its name and PATH.")
        else:
            super().__init__(f"The command {name!r} cannot be run: {os.strerror(number)}.")
        self.exit_code = NOT_FOUND_EXIT_CODE if number == errno.ENOENT else NOT_EXECUTABLE_EXIT_CODE


@dataclass(frozen=True, slots=True)
class Spoken:
    """The pipe by which the command speaks to its recorder.

    Args:
        descriptor: its writing end.
        number: the descriptor that it becomes in the command.
    """

    descriptor: int
    number: int

    def hand_over(self) -> None:
        """Puts the pipe where the command looks for it."""
        if self.descriptor == self.number:
            os.set_inheritable(self.number, True)
        else:
            os.dup2(self.descriptor, self.number)


@dataclass(frozen=True, slots=True)
class Process:
    """A forked process that waits at its gate, or has begun.

    Args:
        pid: of the process.
        gate: the writing end of the pipe that it waits on.
        reports: the reading end of the pipe that it tells by.
    """

    pid: int
    gate: int
    reports: int

    def begin(self, environment: Mapping[str, str]) -> None:
        """Lets it run the command."""
        with os.fdopen(self.gate, "wb") as gate:
            gate.write(json.dumps(dict(environment)).encode())

    def give_up(self) -> None:
        """Ends it before it has begun."""
        os.close(self.gate)
        os.close(self.reports)
        os.waitpid(self.pid, 0)

    def next_report(self) -> tuple[Report, int] | None:
        """What it tells next; None where it ended without a word more."""
        data = os.read(self.reports, _REPORT.size)
        if len(data) < _REPORT.size:
            return None
        kind, value = _REPORT.unpack(data)
        return Report(kind), value


def fork(run: Callable[[Mapping[str, str], int], None]) -> Process:
    """Forks a process that calls ``run`` with the environment and its end of the pipe for reports, once it may."""
    gate_out, gate_in = os.pipe()
    reports_out, low = os.pipe()
    # Out of the way of the descriptors that the command is given.
    reports_in = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(low)
    pid = os.fork()
    if pid:
        os.close(gate_out)
        os.close(reports_in)
        return Process(pid, gate_in, reports_out)
    try:
        os.close(gate_in)
        os.close(reports_out)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with os.fdopen(gate_out, "rb") as gate:
            told = gate.read()
        if told:
            run(json.loads(told), reports_in)
    finally:
        os._exit(NOT_FOUND_EXIT_CODE)


def report(pipe: int, kind: Report, value: int) -> None:
    """Tells whoever forked this process."""
    os.write(pipe, _REPORT.pack(kind, value))


def execute(command: Sequence[str], environment: Mapping[str, str], reports: int) -> NoReturn:
    """Becomes the command; where that fails, tells why and ends."""
    for number in _RESTORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], list(command), dict(environment))
    except OSError as error:
        report(reports, Report.FAILURE, error.errno or errno.ENOEXEC)
    os._exit(NOT_FOUND_EXIT_CODE)


def end_as(status: int) -> NoReturn:
    """Ends this process as another one ended, by the same signal if it was one."""
    if os.WIFSIGNALED(status):
        import resource

        # The other one has left a core, if any; this one's would only be in its way.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    os._exit(exit_code(status))


def exit_code(status: int) -> int:
    """A status as of wait(2) as shells number it: 128 and the signal where it was one."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
