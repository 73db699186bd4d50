"""``enchanted install``, and what ``enchanted hook`` records as an agent calls it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from nervous_system.contract import EXECUTABLE_MODE, AgentStatus, Operation, SwarmEvent

PROJECT = "acme/shop"
DEADLINE_S = 60


class Agent:
    """Calls hooks as an agent would: each through the shell, with JSON on standard input."""

    def __init__(self, name: str, root: Path, home: Path, **variables: str) -> None:
        self.name, self.root = name, root
        self._environment = {**os.environ, "ENCHANTED_HOME": str(home), **variables}
        self._home = home
        self._command = shlex.join(
            [sys.executable, "-m", "infrastructure.cli.main", "hook", name, "--project", PROJECT, "--root", str(root)]
        )

    def calls(self, event: str, *, by: str = "", **told: Any) -> str:
        """Calls a hook; gives what it printed."""
        given = {"session_id": "s1", "cwd": str(self.root), "hook_event_name": event, **told}
        done = subprocess.run(
            ["sh", "-c", by or self._command],
            input=json.dumps(given),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def uses(self, tool: str, given: dict[str, Any], work: Any = None, answer: Any = "") -> None:
        """Uses a tool, with the hooks before and after it."""
        key = f"toolu_{tool}_{len(self.events())}"
        self.calls("PreToolUse", tool_name=tool, tool_input=given, tool_use_id=key)
        if work is not None:
            work()
        self.calls("PostToolUse", tool_name=tool, tool_input=given, tool_response=answer, tool_use_id=key)

    def events(self) -> list[SwarmEvent]:
        """What the outbox holds, in order."""
        path = self._home / "outbox" / "acme" / "shop.db"
        if not path.exists():
            return []
        connection = apsw.Connection(str(path))
        try:
            rows = connection.execute("SELECT data FROM rows WHERE kind = 'event' ORDER BY number")
            return [SwarmEvent.FromString(row[0]) for row in rows]
        finally:
            connection.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "my shop"
    folder.mkdir()
    return folder


def test_claude_codes_session_is_recorded(root: Path, tmp_path: Path) -> None:
    agent = Agent("claude-code", root, tmp_path / "home")
    path = root / "price.sh"
    path.write_bytes(b"echo 1\r\n")
    path.chmod(0o755)
    transcript = tmp_path / "t.jsonl"
    said = {"id": "m1", "role": "assistant", "model": "c", "content": [{"type": "text", "text": "It was one too few."}]}
    line = {"type": "assistant", "uuid": "u1", "timestamp": "2026-01-01T00:00:00Z", "sessionId": "s1", "message": said}
    transcript.write_text(json.dumps(line) + "\n")

    agent.calls("SessionStart", source="startup")
    agent.calls("UserPromptSubmit", prompt="Raise the price.")
    agent.uses("Edit", {"file_path": str(path)}, lambda: path.write_bytes(b"echo 2\r\n"), {"success": True})
    agent.uses("Edit", {"file_path": str(path)}, lambda: path.write_bytes(b"echo 3\r\n"), {"success": True})
    agent.calls("PreToolUse", tool_name="Bash", tool_input={"command": "rm -rf /"}, tool_use_id="denied")
    for _ in range(2):
        agent.calls("Stop", transcript_path=str(transcript), stop_hook_active=False)
    agent.calls("SessionEnd", reason="exit")

    events = agent.events()
    assert {(event.session_id, event.project_id) for event in events} == {("s1", "shop")}
    kinds = [event.WhichOneof("payload") for event in events]
    assert kinds == [
        *("system_signal", "message", "tool_call", "state_change", "state_change", "tool_call", "state_change"),
        *("tool_call", "decision", "system_signal"),
    ]
    order, changes = events[1], [event.state_change for event in events if event.HasField("state_change")]
    assert (order.message.content, order.agent_id) == ("Raise the price.", "user")
    assert [change.operation for change in changes] == [Operation.OPERATION_CREATE, *[Operation.OPERATION_MODIFY] * 2]
    assert {change.mode for change in changes} == {EXECUTABLE_MODE}
    assert [change.new_state_hash for change in changes[:2]] == [change.previous_state_hash for change in changes[1:]]
    assert events[3].causation_id == events[4].causation_id == events[2].event_id
    assert {event.correlation_id for event in events[2:7]} == {order.event_id}
    denied = events[7].tool_call
    assert (denied.name, denied.attributes["enchanted.unanswered"]) == ("Bash", "true")
    assert events[8].decision.rationale == "It was one too few."
    assert [events[0].system_signal.status, events[-1].system_signal.status] == [
        AgentStatus.AGENT_STATUS_BUSY,
        AgentStatus.AGENT_STATUS_STOPPED,
    ]
    assert not list((tmp_path / "home" / "hooks").iterdir())


def test_cursor_and_gemini_are_answered_as_they_wait_for_it(root: Path, tmp_path: Path) -> None:
    cursor = Agent("cursor", root, tmp_path / "home")
    (root / "a.ts").write_text("2")
    told: dict[str, Any] = {"conversation_id": "c1", "session_id": None}
    assert json.loads(cursor.calls("beforeSubmitPrompt", prompt="Count.", **told)) == {"continue": True}
    edits = [{"old_string": "1", "new_string": "2"}]
    cursor.calls("afterFileEdit", file_path=str(root / "a.ts"), edits=edits, **told)
    cursor.calls("afterShellExecution", command="ls", output="a.ts\n", duration=150, **told)
    cursor.calls("afterAgentThought", text="Two is right.", **told)
    events = cursor.events()
    assert [event.WhichOneof("payload") for event in events] == [
        *("message", "tool_call", "state_change", "tool_call", "decision")
    ]
    assert events[2].state_change.content == b"2"
    assert (events[3].tool_call.name, events[3].tool_call.duration_ms) == ("shell", 150)
    gemini = Agent("gemini", root, tmp_path / "home")
    assert json.loads(gemini.calls("AfterAgent", prompt="x", prompt_response="Done.")) == {}
    assert gemini.events()[-1].message.content == "Done."


def test_files_are_left_to_whoever_watches_the_work_tree(root: Path, tmp_path: Path) -> None:
    agent = Agent("claude-code", root, tmp_path / "home", ENCHANTED_SOCKET="/somewhere")
    path = root / "a.txt"
    agent.uses("Write", {"file_path": str(path), "content": "x"}, lambda: path.write_text("x"), {"success": True})
    assert [event.WhichOneof("payload") for event in agent.events()] == ["tool_call"]


def test_an_agent_is_never_failed(root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    agent = Agent("claude-code", root, home)
    (home / "outbox" / "acme").mkdir(parents=True)
    (home / "outbox" / "acme" / "shop.db").write_bytes(b"this is no database" * 99)
    assert agent.calls("UserPromptSubmit", prompt="x") == ""
    assert "claude-code" in (home / "hooks.log").read_text()


def test_what_install_writes_is_what_records(root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "ENCHANTED_HOME": str(home)}
    command = [sys.executable, "-m", "infrastructure.cli.main"]
    facts = ["claude-code", "--project-dir", str(root)]
    subprocess.run([*command, "install", *facts, "--project", PROJECT], env=environment, check=True, timeout=DEADLINE_S)
    settings = root / ".claude" / "settings.local.json"
    hooks = json.loads(settings.read_text())["hooks"]
    agent = Agent("claude-code", root, home)
    agent.calls("UserPromptSubmit", prompt="Hi", by=hooks["UserPromptSubmit"][0]["hooks"][0]["command"])
    assert [event.message.content for event in agent.events()] == ["Hi"]
    # Exit status 2 would have the agent stop: not even wrong use of the command may give it.
    wrong = hooks["Stop"][0]["hooks"][0]["command"].replace("--root", "--no-such-option")
    done = subprocess.run(["sh", "-c", wrong], env=environment, capture_output=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 0
    subprocess.run([*command, "uninstall", *facts], env=environment, check=True, timeout=DEADLINE_S)
    assert not settings.exists()
