"""``enchanted restore`` as a user types it, on a ledger without servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infrastructure.cli import main
from nervous_system.contract import FILE_MODE, Operation, StateChange
from nervous_system.events import content_hash
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from tests import samples
from tests.integration.restoring import names, photograph

SHOP = str(samples.PROJECT)
TOLD = "acme/shop as of checkpoint"


class Typed:
    """The command as it is typed, run in this process, to spare the start of one for each time."""

    def __init__(
        self, variables: dict[str, str], patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.variables = variables
        self._patch = patch
        self._capture = capture
        for name, value in variables.items():
            patch.setenv(name, value)

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Exit code, output, complaints."""
        self._patch.setattr(sys, "argv", ["enchanted", *map(str, arguments)])
        code = main.run()
        return code, *self._capture.readouterr()

    def succeed(self, *arguments: str | Path) -> str:
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        return out

    def refuse(self, *arguments: str | Path) -> str:
        code, _, err = self.run(*arguments)
        assert code == 2
        return err


def removed(resource: str, content: bytes) -> StateChange:
    return StateChange(
        target_resource=resource,
        operation=Operation.OPERATION_DELETE,
        previous_state_hash=content_hash(content),
    )


@pytest.fixture
def enchanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """The command on a ledger in which a small project has lived: checkpoints ``first`` and ``second``."""
    address = f"embedded://{tmp_path / 'ledger.sqlite'}"
    ledger = Ledger.open(Settings(home=tmp_path / "home", ledger=address))
    changes: list[dict[str, Any]] = [
        {"state_change": samples.write("README", b"one\n")},
        {"state_change": samples.write("src/app.py", b"print(1)\n")},
        {"state_change": samples.write("src/old.py", b"print(0)\n")},
        {"checkpoint": {"name": "first"}},
        {"state_change": samples.write("README", b"two\n", b"one\n")},
        {"state_change": removed("src/old.py", b"print(0)\n")},
        {"state_change": samples.write("docs/new.md", b"new\n")},
        {"checkpoint": {"name": "second"}},
    ]
    events = [samples.event(number, **fields) for number, fields in enumerate(changes, start=1)]
    ledger.land("ledger", samples.batch(samples.message(1, events)))
    ledger.close()
    assert all(each.state_change.mode in (0, FILE_MODE) for each in events)
    return Typed({"ENCHANTED_HOME": str(tmp_path / "home"), "ENCHANTED_LEDGER": address}, monkeypatch, capsys)


@pytest.fixture
def folder(enchanted: Typed, tmp_path: Path) -> Path:
    """The project as of ``first``, in use."""
    folder = tmp_path / "folder"
    enchanted.succeed("restore", SHOP, folder, "--at", "first")
    (folder / "mine").write_text("mine")
    return folder


def test_there_and_back(enchanted: Typed, folder: Path) -> None:
    before = photograph(folder)
    told = enchanted.succeed("restore", SHOP, folder, "--at", "second")
    assert told == (
        f"{TOLD} 'second': 1 written, 1 replaced, 1 removed, 1 left as they were in {folder}; "
        f"`enchanted restore --undo {folder}` takes it back\n"
    )
    assert (folder / "README").read_bytes() == b"two\n"
    assert names(folder / "src") == ["app.py"]
    again = enchanted.succeed("restore", SHOP, folder)
    assert again == f"acme/shop as of now: 0 written, 0 replaced, 0 removed, 3 left as they were in {folder}\n"
    undone = enchanted.succeed("restore", "--undo", folder)
    assert undone == f"Undid the restore of {TOLD} 'second' in {folder}: 2 paths put back, 2 paths taken away\n"
    assert photograph(folder) == before
    assert "There is nothing to undo" in enchanted.refuse("restore", "--undo", folder)


def test_the_plan_is_shown_first(enchanted: Typed, folder: Path) -> None:
    before = photograph(folder)
    (folder / "README").write_text("mine")
    shown = enchanted.succeed("restore", SHOP, folder, "--dry-run").splitlines()
    assert shown == [
        "replace     100644  README  (never recorded)",
        "write       100644  docs/new.md",
        "remove              src/old.py",
        "1 to write, 1 to replace, 1 to remove, 1 to leave",
        "1 never recorded: only --force replaces or removes them",
    ]
    facts = json.loads(enchanted.succeed("restore", SHOP, folder, "--dry-run", "--json"))
    assert (facts["drift"], facts["in_place"], facts["counts"]["remove"]) == (["README"], True, 1)
    assert facts["steps"][0]["found"] == {"mode": "100644", "hash": content_hash(b"mine")}
    assert facts["steps"][0]["drift"] is True
    assert set(photograph(folder)) == set(before)
    assert ".enchanted" not in names(folder)


def test_drift_is_refused_and_forced(enchanted: Typed, folder: Path) -> None:
    (folder / "README").write_text("mine")
    before = photograph(folder)
    assert "'README' was never recorded" in enchanted.refuse("restore", SHOP, folder)
    assert photograph(folder) == before
    enchanted.succeed("restore", SHOP, folder, "--force")
    (folder / "docs/new.md").write_text("edited")
    shown = enchanted.succeed("restore", "--undo", folder, "--dry-run").splitlines()
    assert shown[-1] == "take away   docs/new.md  (changed since)"
    assert "'docs/new.md' changed since it was restored" in enchanted.refuse("restore", "--undo", folder)
    facts = json.loads(enchanted.succeed("restore", "--undo", folder, "--force", "--json"))
    assert facts["changed"] == ["docs/new.md"]
    assert (folder / facts["kept"]["docs/new.md"]).read_text() == "edited"
    assert photograph(folder) == before


@pytest.mark.parametrize("typed", ["src", "src/", "./src"])
def test_only_some_paths(enchanted: Typed, folder: Path, tmp_path: Path, typed: str) -> None:
    enchanted.succeed("restore", SHOP, folder, "--path", typed)
    assert (names(folder), names(folder / "src")) == ([".enchanted", "README", "mine", "src"], ["app.py"])
    assert (folder / "README").read_bytes() == b"one\n"
    enchanted.succeed("restore", SHOP, tmp_path / "new", "--path", typed, "--path", "README")
    assert names(tmp_path / "new") == ["README", "src"]
    refused = enchanted.refuse("restore", SHOP, tmp_path / "other", "--path", "nowhere")
    assert "'nowhere' names nothing" in refused
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--undo"], "--undo takes a folder"),
        (["--undo", SHOP, "folder"], "--undo takes a folder"),
        (["--undo", "folder", "--at", "first"], "--undo takes a folder"),
        (["--undo", "nowhere"], "There is no folder nowhere"),
        ([SHOP], "Name a project and a folder"),
        ([SHOP, "a", "b"], "Name a project and a folder"),
        ([SHOP, "folder", "--path", "../x"], "part '..'"),
    ],
)
def test_wrong_words(enchanted: Typed, folder: Path, arguments: list[str], sentence: str) -> None:
    typed = [os.fspath(folder) if argument == "folder" else argument for argument in arguments]
    assert sentence in enchanted.refuse("restore", *typed)


KILLED = """
import os, signal, sys
from infrastructure.cli.main import main
from replay.restoring.moves import Mover

make = Mover.make

def killed(self, number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    make(self, number)

Mover.make = killed
sys.argv[1:] = ["restore", *sys.argv[1:]]
main()
"""


def test_a_restore_that_was_killed_is_rolled_back_by_the_next(enchanted: Typed, folder: Path) -> None:
    before = photograph(folder)
    kill_half_way(enchanted, folder)
    assert photograph(folder) != before
    refused = enchanted.refuse("restore", SHOP, folder, "--dry-run")
    assert "was cut off" in refused
    code, out, err = enchanted.run("restore", SHOP, folder, "--json")
    assert code == 0
    assert f"Rolled back what was cut off of the restore of {TOLD} 'second'" in err
    assert json.loads(out)["counts"]["replace"] == 1
    assert names(folder / "docs") == ["new.md"]
    enchanted.succeed("restore", "--undo", folder)
    assert photograph(folder) == before
    kill_half_way(enchanted, folder)
    assert "Rolled back what was cut off" in enchanted.succeed("restore", "--undo", folder)
    assert photograph(folder) == before


def kill_half_way(enchanted: Typed, folder: Path) -> None:
    command = [sys.executable, "-c", KILLED, SHOP, os.fspath(folder), "--at", "second"]
    done = subprocess.run(
        command, env={**os.environ, **enchanted.variables}, check=False, capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
