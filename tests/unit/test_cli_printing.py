"""What agents wrote cannot act on a reader's terminal, nor pose as further lines of the list."""

from __future__ import annotations

import pytest

from infrastructure.cli import history
from nervous_system.contract import AgentMessage
from nervous_system.ledger.history import StoredEvent
from nervous_system.ledger.versions import Version
from tests.samples import event

HOSTILE = "\x1b[2J\x9b31mred\r\nforged\tline\x07"


@pytest.mark.parametrize("terminal", ["", "1"])
def test_an_event_is_one_line_without_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    made = event(1, session_id=HOSTILE, message=AgentMessage(to_agent_id=HOSTILE, content=HOSTILE))
    stored = StoredEvent(Version(1, bytes(12)), 0, made.SerializeToString())
    history._print([(stored, made)])
    listed = capsys.readouterr().out
    history._print_whole(stored, made)
    whole = capsys.readouterr().out
    for hostile in ("\x1b[2J", "\x9b", "\r", "\x07"):
        assert hostile not in listed
        assert hostile not in whole
    assert not any(line.startswith("forged") for line in listed.splitlines())
    assert r"\x1b[2J" in whole
