"""The terminal is the command's own: what it is, shows, is sent and ends with is as without a recorder."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.captured import LIMIT_S, PROJECT, enchanted, environment, events, record

RECORD = ["record", "--project", str(PROJECT), "--agent", "ada", "--"]


class Screen:
    """A terminal with a person at it, and a process that it belongs to."""

    def __init__(self, command: list[str], tree: Path, home: Path, *, stderr: int | None = None) -> None:
        self.master, slave = pty.openpty()
        self.resize(24, 80)

        # The leader of a session that has no terminal gets the one that it opens.
        opened = ["sh", "-c", f'exec 0<>{os.ttyname(slave)}; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            opened,
            cwd=tree,
            env=environment(home, PS1="$ ", TERM="xterm", HISTFILE="/dev/null"),
            stdin=slave,
            stdout=slave,
            stderr=slave if stderr is None else stderr,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def expect(self, pattern: str) -> re.Match[bytes]:
        """Waits until this is shown; what was shown before it is passed over from then on."""
        deadline_s = time.monotonic() + LIMIT_S
        while (match := re.search(pattern.encode(), self.shown)) is None:
            if not select.select([self.master], [], [], max(0, deadline_s - time.monotonic()))[0]:
                raise AssertionError(f"{pattern!r} was not shown, but {self.shown!r}")
            try:
                self.shown += os.read(self.master, 4096)
            except OSError as error:
                raise AssertionError(f"The terminal was left before {pattern!r}: {self.shown!r}") from error
        self.shown = self.shown[match.end() :]
        return match

    def end(self) -> int:
        """The status that the process ends with."""
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self.master, 4096)
                except OSError:
                    break
        return self.process.wait(LIMIT_S)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@contextmanager
def screen(tree: Path, *command: str, raw: list[str] | None = None, stderr: int | None = None) -> Iterator[Screen]:
    shown = Screen(raw or enchanted(*RECORD, *command), tree, tree.parent / "home", stderr=stderr)
    try:
        yield shown
    finally:
        if shown.process.poll() is None:
            os.killpg(shown.process.pid, signal.SIGKILL)
            shown.process.wait(LIMIT_S)
        os.close(shown.master)


def test_a_terminal_is_one_of_the_right_size_and_grows(tree: Path) -> None:
    script = (
        "test -t 0 -a -t 1 -a -t 2 && echo IS-TTY; stty size; trap 'stty size; exit 4' WINCH; echo READY; "
        "while :; do sleep 0.05; done"
    )
    with screen(tree, "bash", "-c", script) as shown:
        shown.expect(r"IS-TTY\r\n24 80\r\nREADY")
        shown.resize(50, 132)
        shown.expect("50 132")
        assert shown.end() == 4


def test_what_is_typed_reaches_the_command_as_keys(tree: Path) -> None:
    with screen(
        tree, "bash", "-c", "trap 'echo caught; exit 5' INT; read -r line; echo \"<$line>\"; read -r x"
    ) as shown:
        shown.type("hello\n")
        shown.expect("<hello>")
        shown.type("\x03")
        shown.expect("caught")
        assert shown.end() == 5
        # The terminal is as it was: it echoes again.
        assert termios.tcgetattr(shown.master)[3] & termios.ECHO


def test_job_control_is_the_shells(tree: Path) -> None:
    with screen(tree, raw=["bash", "--norc", "--noprofile", "-i"]) as shown:
        line = " ".join(enchanted(*RECORD, "bash", "-c", "'echo UP; read -r x; echo GOT:$x; exit 6'"))
        shown.type(f"{line}\n")
        shown.expect(r"UP\r\n")
        shown.type("\x1a")
        shown.expect("Stopped")
        shown.type("echo in-$((40+2))\n")
        shown.expect("in-42")
        shown.type("fg\n")
        # The shell shows which job it resumes; what is typed from then on is the job's.
        shown.expect(r"read -r x")
        shown.type("word\n")
        shown.expect(r"GOT:word[^$]*\$ ")
        shown.type("echo status-$?\n")
        shown.expect("status-6")
        shown.type("exit\n")
        shown.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL])
def test_a_death_by_signal_is_passed_on(tree: Path, number: signal.Signals) -> None:
    with screen(tree, "bash", "-c", f"kill -{number.value} $$") as shown:
        assert shown.end() == -number
    assert record(tree, tree.parent / "home", ["bash", "-c", f"kill -{number.value} $$"]).returncode == -number
    calls = [event.tool_call for event in events(tree.parent / "home") if event.HasField("tool_call")]
    assert [call.exit_code for call in calls] == [128 + number] * 2


def test_what_is_no_terminal_is_left_alone(tree: Path) -> None:
    out, into = os.pipe()
    with screen(tree, "bash", "-c", "echo out; echo err >&2; test -t 2 || echo plain", stderr=into) as shown:
        shown.expect(r"out\r\nplain\r\n")
        assert shown.end() == 0
        os.close(into)
        assert os.read(out, 100) == b"err\n"
        os.close(out)


def test_what_the_command_leaves_running_goes_on(tree: Path) -> None:
    script = "(sleep 0.5; echo later > late) > /dev/null 2>&1 < /dev/null & echo done"
    with screen(tree, "bash", "-c", script) as shown:
        shown.expect("done")
        assert shown.end() == 0
    deadline_s = time.monotonic() + LIMIT_S
    while not (tree / "late").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_without_a_terminal_everything_is_inherited(tree: Path) -> None:
    home, data = tree.parent / "home", os.urandom(200_000)
    line = enchanted(*RECORD, "bash", "-c", "cat; test -t 0 || exit 9")
    done = subprocess.run(
        line, cwd=tree, env=environment(home), input=data, capture_output=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (9, data, b"")


def test_a_signal_to_the_recorder_is_the_commands(tree: Path) -> None:
    script = "trap 'echo asked; exit 7' TERM; trap 'echo int' INT; echo UP; while :; do sleep 0.05; done"
    line = enchanted(*RECORD, "bash", "-c", script)
    process = subprocess.Popen(
        line, cwd=tree, env=environment(tree.parent / "home"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"UP\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"int\n"
    process.terminate()
    assert process.communicate(timeout=LIMIT_S)[0] == b"asked\n"
    assert process.returncode == 7


def test_a_command_that_cannot_run_is_told_as_a_shell_would(tree: Path) -> None:
    home = tree.parent / "home"
    (tree / "text").write_text("no program")
    done = record(tree, home, ["no-such-command"])
    assert (done.returncode, done.stderr.count(b"\n")) == (127, 1)
    assert b"'no-such-command' was not found" in done.stderr
    assert record(tree, home, ["./text"]).returncode == 126
    with screen(tree, "no-such-command") as shown:
        shown.expect("was not found")
        assert shown.end() == 127


def test_a_project_that_cannot_be_leaves_nothing_running(tree: Path) -> None:
    line = enchanted("record", "--project", str(PROJECT), "--role", "NO-ROLE", "--", "touch", "ran")
    done = subprocess.run(line, cwd=tree, env=environment(tree.parent / "home"), capture_output=True, check=False)
    assert done.returncode == 2
    assert b"NO-ROLE" in done.stderr
    assert not (tree / "ran").exists()


def test_watching_without_a_command_ends_with_a_signal(tree: Path) -> None:
    home = tree.parent / "home"
    line = enchanted("watch", "--project", str(PROJECT), str(tree))
    process = subprocess.Popen(line, env=environment(home), stderr=subprocess.PIPE, cwd=Path(sys.prefix))
    assert process.stderr is not None
    assert b"Watching" in process.stderr.readline()
    (tree / "made").write_text("while watched")
    deadline_s = time.monotonic() + LIMIT_S
    while not any(event.state_change.target_resource == "made" for event in events(home)):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    second = subprocess.run(line, env=environment(home), capture_output=True, timeout=LIMIT_S, check=False)
    assert (second.returncode, second.stderr.count(b"\n")) == (2, 1)
    assert b"Another process records this work tree" in second.stderr
    (tree / "last").write_text("just before")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 0
    process.stderr.close()
    changed = [event.state_change.target_resource for event in events(home) if event.HasField("state_change")]
    assert changed == ["made", "last"]
