"""Real servers for the tests of this folder, started once and stopped by process id."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.local.stack import running_stack
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.restoring import MODEL, Store


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


@pytest.fixture
def store() -> Store:
    """A tree with an entry of every kind, and its contents."""
    return Store(MODEL)


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory where there is one: putting it on the disk costs nothing, and it is done often."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()
