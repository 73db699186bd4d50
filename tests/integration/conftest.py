"""Real servers for the tests of this folder, started once and stopped by process id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.local.stack import running_stack
from nervous_system.settings import Settings
from tests.integration.command import Enchanted


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """NATS, ClickHouse and S3 without ingestors: tests run those themselves."""
    home = tmp_path_factory.mktemp("servers") / "home"
    with running_stack(home, ["nats", "clickhouse", "s3"]) as settings:
        yield settings


@pytest.fixture(scope="session")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enchanted]:
    """Everything that ``enchanted up`` starts, and the command that reaches it."""
    home = tmp_path_factory.mktemp("stack") / "home"
    with pytest.MonkeyPatch.context() as patch:
        # The archive's files are rolled by age; a short one keeps the tests short.
        patch.setenv("ENCHANTED_SIPHON_ROLL_AGE_S", "1")
        with running_stack(home):
            yield Enchanted(home)


@pytest.fixture
def sandbox(tmp_path: Path) -> Enchanted:
    """The command on a home where nothing runs."""
    return Enchanted(tmp_path / "home")
