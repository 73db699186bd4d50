"""Runs a command whose terminal is its own: what it writes, is sent, and ends with is passed through untouched.

Where standard input is a terminal the command has a pseudo-terminal of the same size and settings, in a session of its
own; a small process between leads that session, so that the command can be stopped and resumed as in a shell (a process
whose parent is in another session is never stopped by the keyboard). Elsewhere it inherits what is there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import select
import signal
import termios
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from nervous_system.capture.launching import CommandError, Process, Report, Spoken, execute, fork, report

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
_READ_BYTES = 64 * 1024
_SIZE_BYTES = 8
# What is still on its way when the command has ended is waited for this long.
_DRAIN_S = 0.05


class Terminal(Protocol):
    """Where a command runs."""

    def begin(self, environment: Mapping[str, str]) -> None:
        """Lets it run."""

    def wait(self) -> int:
        """Passes everything through until the command ends; gives its status, as wait(2) does. Raises CommandError."""

    def give_up(self) -> None:
        """Ends it before it has begun."""


def prepare(command: Sequence[str], spoken: Spoken) -> Terminal:
    """A process that will be the command, waiting; to be called before any thread is made."""
    return OwnTerminal(command, spoken) if _is_in_front(0) else SharedTerminal(command, spoken)


class SharedTerminal:
    """The command has this process's input and output."""

    def __init__(self, command: Sequence[str], spoken: Spoken) -> None:
        def run(environment: Mapping[str, str], reports: int) -> None:
            spoken.hand_over()
            execute(command, environment, reports)

        self._name = command[0]
        self._process = fork(run)
        os.close(spoken.descriptor)

    def begin(self, environment: Mapping[str, str]) -> None:
        self._process.begin(environment)

    def give_up(self) -> None:
        self._process.give_up()

    def wait(self) -> int:
        with _handling(_FORWARDED, self._pass_on), _handling(_KEYBOARD, self._pass_on_unless_typed):
            _, status = os.waitpid(self._process.pid, 0)
        told = self._process.next_report()
        os.close(self._process.reports)
        if told is not None and told[0] is Report.FAILURE:
            raise CommandError(self._name, told[1])
        return status

    def _pass_on(self, number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def _pass_on_unless_typed(self, number: int, frame: object) -> None:
        """What is typed at a terminal in front reaches the command without us."""
        with contextlib.suppress(OSError):
            terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                if os.tcgetpgrp(terminal) == os.getpgrp():
                    return
            finally:
                os.close(terminal)
        self._pass_on(number, frame)


class OwnTerminal:
    """The command has a pseudo-terminal for those of its input and outputs that are a terminal."""

    def __init__(self, command: Sequence[str], spoken: Spoken) -> None:
        self._name = command[0]
        self._settings = termios.tcgetattr(0)
        self._output = next(each for each in (1, 2, 0) if os.isatty(each))
        self._master, slave = pty.openpty()
        termios.tcsetattr(slave, termios.TCSANOW, self._settings)
        self._copy_size()
        replaced = [each for each in (0, 1, 2) if os.isatty(each)]

        def run(environment: Mapping[str, str], reports: int) -> None:
            os.close(self._master)
            _lead_session(slave, replaced)
            _keep_running(command, environment, reports, spoken)

        self._process: Process = fork(run)
        os.close(slave)
        os.close(spoken.descriptor)
        self._command_pid = 0
        self._typed = b""
        self._is_raw = False

    def begin(self, environment: Mapping[str, str]) -> None:
        self._process.begin(environment)

    def give_up(self) -> None:
        os.close(self._master)
        self._process.give_up()

    def wait(self) -> int:
        woken, wake = os.pipe()
        for each in (woken, wake):
            os.set_blocking(each, False)
        before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        handled = (*_FORWARDED, *_KEYBOARD, signal.SIGTSTP)
        os.set_blocking(self._master, False)
        try:
            with (
                _handling(handled, self._pass_on),
                _handling((signal.SIGWINCH,), lambda *_: self._copy_size()),
                _handling((signal.SIGCONT,), lambda *_: self._take_keyboard()),
            ):
                self._take_keyboard()
                return self._pass_through(woken)
        finally:
            self._give_keyboard_back()
            signal.set_wakeup_fd(before)
            for each in (woken, wake, self._master, self._process.reports):
                os.close(each)
            os.waitpid(self._process.pid, 0)

    def _pass_through(self, woken: int) -> int:
        while True:
            reading = [self._master, self._process.reports, woken, *([0] if self._is_raw else [])]
            ready, writable, _ = select.select(reading, [self._master] if self._typed else [], [])
            if woken in ready:
                os.read(woken, _READ_BYTES)
            if 0 in ready:
                self._read_keyboard()
            if writable:
                self._write_typed()
            if self._master in ready:
                self._show()
            if self._process.reports in ready:
                status = self._heed_report()
                if status is not None:
                    while self._show(_DRAIN_S):
                        pass
                    return status

    def _heed_report(self) -> int | None:
        """What became of the command; None while it goes on."""
        told = self._process.next_report()
        if told is None:
            return int(signal.SIGKILL)  # as the status of one that was killed
        kind, value = told
        if kind is Report.FAILURE:
            raise CommandError(self._name, value)
        if kind is Report.PROCESS:
            self._command_pid = value
        elif os.WIFSTOPPED(value):
            self._stop_with_command()
        else:
            return value
        return None

    def _stop_with_command(self) -> None:
        """Stops all that the shell takes for one job, as the key that stops it does; returns once it is resumed."""
        while self._show(_DRAIN_S):
            pass
        self._give_keyboard_back()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        self._copy_size()
        self._take_keyboard()
        self._signal(signal.SIGCONT)

    def _read_keyboard(self) -> None:
        try:
            typed = os.read(0, _READ_BYTES)
        except OSError:
            typed = b""
        if typed:
            self._typed += typed
            self._write_typed()
        else:
            # The terminal is gone.
            self._is_raw = False
            self._signal(signal.SIGHUP)

    def _write_typed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._typed = self._typed[os.write(self._master, self._typed) :]

    def _show(self, within_s: float = 0.0) -> bool:
        """Shows what the command wrote; says whether there was anything."""
        if within_s and not select.select([self._master], [], [], within_s)[0]:
            return False
        try:
            data = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # Nobody has the other end open.
            return False
        _write_all(self._output, data)
        return bool(data)

    def _take_keyboard(self) -> None:
        """Every key goes to the command's terminal, which knows what it means; while the job is in front."""
        if _is_in_front(0):
            tty.setraw(0, termios.TCSADRAIN)
            self._is_raw = True

    def _give_keyboard_back(self) -> None:
        if self._is_raw:
            self._is_raw = False
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._settings)

    def _copy_size(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(_SIZE_BYTES)))

    def _pass_on(self, number: int, _: object) -> None:
        self._signal(number)

    def _signal(self, number: int) -> None:
        if self._command_pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._command_pid, number)


def _lead_session(slave: int, replaced: Sequence[int]) -> None:
    """Begins a session on the terminal, with it for those of input and outputs that are to have it."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for each in replaced:
        os.dup2(slave, each)
    for number in (signal.SIGTTOU, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _keep_running(command: Sequence[str], environment: Mapping[str, str], reports: int, spoken: Spoken) -> None:
    """Runs the command as the job in front, and tells of each time that it stops, and of its end."""
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        for number in (signal.SIGTTOU, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        spoken.hand_over()
        execute(command, environment, reports)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    os.close(spoken.descriptor)
    report(reports, Report.PROCESS, pid)
    status = 0x7F
    while os.WIFSTOPPED(status):
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            # With this session, its job in front ends: that shall not be what the command left running.
            os.tcsetpgrp(0, os.getpgrp())
        report(reports, Report.STATUS, status)
    os._exit(0)


def _is_in_front(descriptor: int) -> bool:
    """Whether this process is the job that the terminal at a descriptor listens to."""
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


@contextlib.contextmanager
def _handling(numbers: Sequence[int], handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handles signals, except those that this process was told to ignore."""
    before = {number: signal.getsignal(number) for number in numbers}
    for number, known in before.items():
        if known is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)
