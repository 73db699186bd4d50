"""Secrets from the recorder to a restore: none in the outbox, and the exact bytes back for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infrastructure.cli.restoring import restore
from nervous_system.errors import NotFoundError
from nervous_system.events import INLINE_LIMIT_BYTES, content_hash
from nervous_system.inspection import inspect
from nervous_system.recorder import Recorder
from nervous_system.redaction.placeholders import PLACEHOLDER
from nervous_system.settings import Settings
from tests.outboxes import PROJECT, events_in, path_in

SECRET = "hunter2-zQ7x9"
TOKEN = "ghp_" + "a1B2" * 9
FIRST = f"# settings\nHOST=db\nDB_PASSWORD={SECRET}\n" + "".join(f"LINE_{n}=x\n" for n in range(50))
SECOND = FIRST.replace("LINE_30=x", f"LINE_30=y\nGITHUB_TOKEN={TOKEN}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("ENCHANTED_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ENCHANTED_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def record(home: Path) -> dict[str, bytes]:
    """Records a few files with secrets, and gives what the folder holds in the end."""
    large = os.urandom(2 * INLINE_LIMIT_BYTES) + TOKEN.encode() + b"\0" * 1000
    with Recorder(str(PROJECT), agent="ada", settings=Settings(home=home)) as recorder:
        recorder.file_changed(".env", FIRST.encode())
        recorder.file_changed(".env", SECOND.encode(), previous=FIRST.encode())
        recorder.file_changed("plain.txt", b"nothing\n")
        recorder.file_changed("data.bin", large)
        recorder.file_changed("old/.env", FIRST.encode())
        recorder.file_changed(
            "new/.env", FIRST.encode(), previous_hash=content_hash(FIRST.encode()), renamed_from="old/.env"
        )
        recorder.tool_call("bash", arguments=f"curl -H 'Authorization: Bearer {TOKEN}' x", result=f"password={SECRET}")
    return {".env": SECOND.encode(), "plain.txt": b"nothing\n", "data.bin": large, "new/.env": FIRST.encode()}


def run(*words: str) -> Result:
    return CliRunner().invoke(restore, [*words, "--outbox", str(path_in(Settings.load().home))], catch_exceptions=False)


def holdings(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_secret_is_on_disk_outside_the_vault(home: Path) -> None:
    record(home)
    for path in home.rglob("*"):
        if path.is_file() and path.name != "vault.db":
            data = path.read_bytes()
            assert SECRET.encode() not in data, path
            assert TOKEN.encode() not in data, path
    events = events_in(home)
    for event in events:
        inspect(event.SerializeToString(), PROJECT)
    changes = [event.state_change for event in events if event.HasField("state_change")]
    # The states follow one another, and what differs in a redacted file is a small diff.
    assert changes[1].previous_state_hash == changes[0].new_state_hash
    assert 0 < len(changes[1].diff_patch) < 200
    assert changes[5].previous_state_hash == changes[4].new_state_hash == changes[5].new_state_hash
    marks = [[(mark.rule, mark.field) for mark in event.redactions] for event in events]
    assert marks[0] == [("key-name", "state_change.content")]
    assert len(marks[1]) == 2
    assert marks[2] == []
    assert marks[3] == [("github", "state_change.content")]
    assert [field for _, field in marks[-1]] == ["tool_call.arguments", "tool_call.result"]


def test_its_owner_gets_the_exact_bytes_back_and_others_are_told(home: Path, tmp_path: Path) -> None:
    held = record(home)
    told = run(str(PROJECT), str(tmp_path / "whole"), "--with-secrets")
    assert told.exit_code == 0, told.output
    assert holdings(tmp_path / "whole") == held
    assert "placeholder" not in told.output
    told = run(str(PROJECT), str(tmp_path / "without"))
    assert "3 files hold placeholders" in told.output
    without = holdings(tmp_path / "without")
    assert SECRET.encode() not in b"".join(without.values())
    assert len(PLACEHOLDER.findall(without[".env"].decode())) == 2


def test_a_folder_with_its_secrets_is_known_to_be_recorded(home: Path, tmp_path: Path) -> None:
    record(home)
    folder = tmp_path / "work"
    run(str(PROJECT), str(folder), "--with-secrets")
    (folder / ".env").write_bytes(FIRST.encode())
    told = run(str(PROJECT), str(folder), "--with-secrets")
    assert told.exit_code == 0, told.output
    assert "1 replaced" in told.output
    assert (folder / ".env").read_bytes() == SECOND.encode()


def test_without_the_vault_secrets_cannot_be_put_back(home: Path, tmp_path: Path) -> None:
    record(home)
    (home / "vault.db").unlink()
    with pytest.raises(NotFoundError, match="only on the machine"):
        run(str(PROJECT), str(tmp_path / "x"), "--with-secrets")
    assert not (tmp_path / "x").exists()
    assert path_in(home).exists()
