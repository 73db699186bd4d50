"""The stack's commands run as a user runs them, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infrastructure.local.home import Home
from infrastructure.local.state import StackState, read_state

PATIENCE_S = 60.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for ``condition``, at most PATIENCE_S seconds."""
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        pause.wait(0.05)


@dataclass(frozen=True, slots=True)
class StackCommands:
    """``enchanted up``, ``status`` and ``down`` on one home."""

    home: Path

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
        return subprocess.Popen(
            [sys.executable, "-m", "infrastructure.cli.stack", *arguments],
            env={**clean, "ENCHANTED_HOME": str(self.home), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def up(self, *components: str) -> None:
        done = self.run("up", *(word for name in components for word in ("--only", name)))
        assert done.returncode == 0, done.stderr

    def status(self) -> dict[str, Any]:
        document = json.loads(self.run("status", "--json").stdout)
        assert isinstance(document, dict)
        return document

    def component(self, name: str) -> dict[str, Any]:
        entry = next(entry for entry in self.status()["components"] if entry["component"] == name)
        assert isinstance(entry, dict)
        return entry

    def state(self) -> StackState:
        state = read_state(Home.at(self.home))
        assert state is not None
        return state

    def pid(self, name: str) -> int:
        process = self.state().child(name).process
        assert process is not None
        return process.pid

    def ports(self) -> dict[str, int]:
        ports = json.loads((self.home / "ports.json").read_text())
        assert isinstance(ports, dict)
        return ports

    def survivors(self) -> list[psutil.Process]:
        """Processes that still hold this stack's lock: the supervisor and all that it ever started."""
        lock = str(self.home / "stack.lock")
        return [process for process in psutil.process_iter() if lock in open_paths(process)]


def open_paths(process: psutil.Process) -> set[str]:
    try:
        return {file.path for file in process.open_files()}
    except psutil.Error:
        return set()
