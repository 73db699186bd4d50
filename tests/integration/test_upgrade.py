"""A home that version 0.1.0 left goes on under this one: `fixtures/home-0.1.0.tar.xz`, written by its commands.

It holds what ``enchanted up`` keeps, less what is made anew at each start: ``demo/old``, six commits imported, and
``demo/shop``, twenty decisions with their changes and calls, a large file, a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.local.stack import running_stack
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.stack_process import wait_until
from tests.integration.stores import in_archive, in_clickhouse, in_ledger

FIXTURE = Path(__file__).parents[1] / "fixtures" / "home-0.1.0.tar.xz"
SHOP, OLD = ProjectName("demo", "shop"), ProjectName("demo", "old")
EVENTS = {SHOP: 62, OLD: 24}
# What version 0.1.0 said: SHA-256 over the ids of the events, and over the restored files.
IDS = {
    SHOP: "74730bd2945cad716f0148f673c02274c66dd5d704bfab26d3b5e02219ce98b6",
    OLD: "777e5a70175c2d59278632bb025dd03ca6f032c7245e5b98d353f6a9813343ee",
}
FILES = {
    SHOP: "582526df1da0831a8d917f3562240e66f87e738e8c182cac281e842215148eab",
    OLD: "7be76c6438cfb5fe1c36260e052d3135305f69a7023d6c89435d6b9164d98104",
}


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enchanted]:
    """The old home, and this version's stack upon it."""
    home = tmp_path_factory.mktemp("old") / "home"
    with tarfile.open(FIXTURE) as packed:
        packed.extractall(home, filter="data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCHANTED_SIPHON_ROLL_AGE_S", "0.5")
        with running_stack(home):
            yield Enchanted(home)


@pytest.mark.parametrize("project", [SHOP, OLD], ids=str)
def test_what_was_recorded_is_there(upgraded: Enchanted, project: ProjectName, tmp_path: Path) -> None:
    lines = upgraded.succeed("log", str(project), "--limit", "1000", "--json").splitlines()
    ids = [json.loads(line)["event_id"] for line in lines]
    assert len(ids) == EVENTS[project]
    assert hashlib.sha256("\n".join(ids).encode()).hexdigest() == IDS[project]
    upgraded.succeed("restore", str(project), tmp_path / "tree")
    assert digest(tmp_path / "tree") == FILES[project]
    upgraded.succeed("verify", str(project))


def test_it_goes_on_from_there(upgraded: Enchanted) -> None:
    settings = Settings.load({"ENCHANTED_HOME": str(upgraded.home)})
    before = in_ledger(settings, SHOP)
    with Recorder("demo/shop", agent="coder-8", settings=settings) as recorder:
        recorder.decision("Upgraded: goes on where it was.")
    for stored in (in_ledger, in_clickhouse, in_archive):
        wait_until(lambda stored=stored: len(stored(settings, SHOP)) > EVENTS[SHOP], f"the new event {stored.__name__}")  # type: ignore[misc]
    after = in_ledger(settings, SHOP)
    assert after[:-1] == before
    # The archive of that version had no manifests: all of it was archived again, from the log.
    assert in_archive(settings, SHOP) == in_clickhouse(settings, SHOP) == after
    assert in_archive(settings, OLD) == in_ledger(settings, OLD)


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
