"""The command ``enchanted`` run as a user runs it, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Enchanted:
    """The command on one home; ``variables`` stand above the home's own settings."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
        return subprocess.Popen(
            [sys.executable, "-m", "infrastructure.cli.main", *map(str, arguments)],
            env={**clean, "ENCHANTED_HOME": str(self.home), **self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **variables)
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(list(map(str, arguments)), process.returncode, out, err)

    def succeed(self, *arguments: str | Path, **variables: str) -> str:
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def refuse(self, *arguments: str | Path, **variables: str) -> str:
        """Runs what must be refused: exit 2 and one sentence, which is returned."""
        done = self.run(*arguments, **variables)
        assert done.returncode == 2, f"{arguments}: exit {done.returncode}, {done.stdout} {done.stderr}"
        return done.stderr
