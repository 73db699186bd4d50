"""``enchanted import`` of transcripts: into the outbox, and into a running stack, from where they are restored."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.command import Enchanted
from tests.integration.quick_command import Quick

FIXTURES = Path(__file__).parent.parent / "transcripts"
DEADLINE_S = 60.0
IMPORTS = {
    "claude-code": (["claude-code.jsonl"], {"price.py", "tests/test_price.py"}),
    "codex": (["codex.jsonl"], {"src/areas.py"}),
    "openhands": (["openhands"], {"greet.py", "new.txt"}),
    "swe-agent": (["swe-agent.traj", "--began", "2026-01-01T00:00:00Z"], {"three.py"}),
}


@pytest.mark.parametrize("kind", IMPORTS)
def test_an_import_lands_once_and_is_restored(kind: str, whole_stack: Enchanted, tmp_path: Path) -> None:
    enchanted = Quick(whole_stack.home)
    (name, *options), files = IMPORTS[kind]
    command: list[str | Path] = [
        "import",
        kind,
        FIXTURES / name,
        "--project",
        f"transcripts/{kind}",
        *options,
        "--direct",
    ]
    assert "Imported" in enchanted.succeed(*command)
    deadline_s = time.monotonic() + DEADLINE_S
    while "Nothing new" not in enchanted.succeed(*command):
        assert time.monotonic() < deadline_s
    target = tmp_path / "restored"
    enchanted.succeed("restore", f"transcripts/{kind}", target)
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == files


def test_offline_an_import_waits_in_the_outbox_and_again_adds_nothing(sandbox: Enchanted) -> None:
    enchanted = Quick(sandbox.home)
    command: list[str | Path] = ["import", "claude-code", FIXTURES / "claude-code.jsonl", "--project", "acme/shop"]
    first = enchanted.succeed(*command)
    assert "Imported 25 events" in first
    assert "claude-code.jsonl:10: left out" in first
    assert "Nothing new for acme/shop: 25 events known already." in enchanted.succeed(*command)


def test_what_is_no_transcript_is_refused(sandbox: Enchanted, tmp_path: Path) -> None:
    enchanted = Quick(sandbox.home)
    (tmp_path / "x.traj").write_text("{}")
    assert "no trajectory" in enchanted.refuse("import", "swe-agent", tmp_path / "x.traj", "--project", "a/b")
    assert "no *.jsonl" in enchanted.refuse("import", "codex", tmp_path, "--project", "a/b")
