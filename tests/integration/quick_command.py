"""The command ``enchanted`` in this process: for tests that call it often."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from infrastructure.cli.main import cli
from nervous_system.errors import EnchantedError


@dataclass(frozen=True, slots=True)
class Quick:
    """The command on one home; each call gives what it printed."""

    home: Path

    def succeed(self, *arguments: str | Path) -> str:
        code, said = self.run(*arguments)
        assert code == 0, (arguments, said)
        return said

    def refuse(self, *arguments: str | Path) -> str:
        code, said = self.run(*arguments)
        assert code == 2, (arguments, code, said)
        return said

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        done = CliRunner(env={"ENCHANTED_HOME": str(self.home)}).invoke(cli, list(map(str, arguments)))
        if isinstance(done.exception, EnchantedError):
            return done.exception.exit_code, str(done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output
