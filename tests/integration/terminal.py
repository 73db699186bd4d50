"""A command on a terminal of its own, typed into and read as a person does, for tests."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 90.0
ROWS, COLUMNS = 40, 160
_CONTROLS = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])|\r|\x07")


@dataclass
class Terminal:
    """The end of a terminal at which a person sits.

    Args:
        process: what runs at the other end.
        descriptor: of this end.
        shown: all that was ever shown, without colours and moves of the cursor.
    """

    process: subprocess.Popen[bytes]
    descriptor: int
    shown: str = ""

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def expect(self, words: str) -> str:
        """Waits until ``words`` are shown, and forgets everything up to them; returns what is forgotten."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.shown:
            assert time.monotonic() < deadline, f"{words!r} never came after {self.shown!r}"
            if select.select([self.descriptor], [], [], 1)[0]:
                self.shown += _CONTROLS.sub("", os.read(self.descriptor, 65_536).decode(errors="replace"))
        before, _, self.shown = self.shown.partition(words)
        return before

    def ends(self) -> int:
        """Waits for the command's end; returns its exit code."""
        return self.process.wait(PATIENCE_S)


@contextmanager
def terminal(home: Path, *arguments: str) -> Iterator[Terminal]:
    """``enchanted`` with these arguments on a terminal, killed at the end where it has not left by itself."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "infrastructure.cli.main", *arguments],
        # There is nobody here who would answer where the cursor is.
        env={**clean, "ENCHANTED_HOME": str(home), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
