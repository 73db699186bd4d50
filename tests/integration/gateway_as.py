"""The ClickHouse gateway with one deployed user's rights: ``… gateway_as FOLDER USERS_XML USER OPTIONS…``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from infrastructure.local.gateway import __main__ as gateway
from infrastructure.local.gateway import engine
from tests.integration import chdb_as
from tests.integration.gateway_process import GatewayProcess


@dataclass
class GatewayAs(GatewayProcess):
    """A gateway whose every query is asked by ``user``, whose name there is ``default``."""

    users: Path = Path()
    user: str = chdb_as.EVERYTHING

    def command(self, *more: str) -> list[str]:
        python, dash_m, _, *options = GatewayProcess.command(self, *more)
        return [
            python,
            dash_m,
            "tests.integration.gateway_as",
            str(self.data.parent),
            str(self.users),
            self.user,
            *options,
        ]


def main() -> int:
    folder, users, user = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    setattr(engine, "_CONFIG", chdb_as.configured(folder, users, user))  # noqa: B010 - not exported by it
    return gateway.main(sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
