"""What an agent says beside its work is recorded with it: in its order, linked to what it changed, never fatal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nervous_system.contract import AgentDecision, SwarmEvent
from tests.integration.captured import LIMIT_S, PROJECT, enchanted, environment, events, log_text, record

# An agent that speaks on the socket: a decision, then a change, in JSON; then the same in protobuf.
SPEAKER = """
import json, os, socket
from nervous_system.contract import AgentDecision, SwarmEvent

def say(stream, **line):
    stream.write(json.dumps(line).encode() + b"\\n"); stream.flush()
    return json.loads(stream.readline())

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(os.environ["ENCHANTED_SOCKET"])
    stream = connection.makefile("rwb")
    open("before", "w").write("x")
    first = say(stream, type="decision", rationale="first", id="1", durable=True)
    assert first["ok"] and first["id"] == "1" and first["durable"], first
    open("after", "w").write("x")
    open("apart", "w").write("x")
    assert say(stream, type="file_changed", path="apart", causation_id=os.environ["ENCHANTED_CAUSATION"])["ok"]
    for path in ("../outside", "a:b", ".git/config"):
        assert not say(stream, type="file_changed", path=path)["ok"]
    assert not say(stream, type="decision", rationale="x", causation_id=5)["ok"]
    second = say(stream, type="decision", rationale="second", causation_id=first["event_id"])
    assert second["ok"], second
    open("last", "w").write("x")

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(os.environ["ENCHANTED_SOCKET"])
    for rationale in ("third", "fourth" * 100):
        data = SwarmEvent(decision=AgentDecision(rationale=rationale)).SerializeToString()
        length = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
        connection.sendall(length + data)
    connection.sendall(b"\\x04\\xff\\xff\\xff\\xff")
"""
CHILD = """
from nervous_system.recorder import Recorder

with Recorder(agent="child") as recorder:
    recorder.decision("from a child")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def by_path(told: list[SwarmEvent]) -> dict[str, SwarmEvent]:
    return {event.state_change.target_resource: event for event in told if event.HasField("state_change")}


def test_what_is_said_on_the_socket_stands_between_what_was_changed(tree: Path) -> None:
    home = tree.parent / "home"
    done = record(tree, home, [sys.executable, "-c", SPEAKER])
    assert (done.returncode, done.stderr) == (0, b"")
    told = events(home)
    (started,) = [event for event in told if event.message.content.startswith("Started")]
    decisions = {event.decision.rationale[:6]: event for event in told if event.HasField("decision")}
    assert list(decisions) == ["first", "second", "third", "fourth"]
    changes = by_path(told)
    order = [event.event_id for event in told]
    steps = [changes["before"], decisions["first"], changes["after"], decisions["second"], changes["last"]]
    assert sorted(steps, key=lambda event: order.index(event.event_id)) == steps
    causes = {path: event.causation_id for path, event in changes.items()}
    assert causes["before"] == causes["apart"] == started.event_id
    assert causes["after"] == decisions["first"].event_id
    assert decisions["second"].causation_id == decisions["first"].event_id
    assert causes["last"] in {decisions[each].event_id for each in ("second", "third", "fourth")}
    assert log_text(home).count("A line was left out") == 5


def test_what_is_said_on_the_pipe_needs_nothing_but_a_shell(tree: Path) -> None:
    home = tree.parent / "home"
    said = '{"type":"decision","rationale":"by the shell","confidence":0.5}'
    script = f"test $ENCHANTED_FD = 3; echo 'no json' >&3; echo '{said}' >&3; printf '{said}' >&3; echo '{{' >&3"
    assert record(tree, home, ["bash", "-c", script]).returncode == 0
    assert [event.decision for event in events(home) if event.HasField("decision")] == [
        AgentDecision(rationale="by the shell", confidence_score=0.5)
    ]
    assert log_text(home).count("A line was left out: It is not JSON") == 2


def test_a_descriptor_that_is_taken_is_left_alone(tree: Path) -> None:
    home, (out, into) = tree.parent / "home", os.pipe()
    said = '{"type":"decision","rationale":"elsewhere"}'
    script = f"echo mine >&3; test $ENCHANTED_FD = 4; echo '{said}' >&$ENCHANTED_FD"
    line = enchanted("record", "--project", str(PROJECT), "--", "bash", "-euc", script)
    recorded = subprocess.run(
        ["bash", "-c", f'exec 3>&{into} {into}>&-; exec "$@"', "bash", *line],
        cwd=tree,
        env=environment(home),
        pass_fds=[into],
        timeout=LIMIT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    os.close(into)
    assert (recorded.returncode, os.read(out, 100)) == (0, b"mine\n")
    os.close(out)
    assert [event.decision.rationale for event in events(home) if event.HasField("decision")] == ["elsewhere"]


def test_a_child_agent_knows_for_whom_it_works(tree: Path) -> None:
    home = tree.parent / "home"
    inner = enchanted("record", "--agent", "inner", "--", sys.executable, "-c", CHILD)
    assert record(tree, home, inner).returncode == 0
    told = events(home)
    (decision,) = [event for event in told if event.HasField("decision")]
    started = {event.agent_id: event for event in told if event.message.content.startswith("Started")}
    assert decision.agent_id == "child"
    assert decision.causation_id == started["inner"].event_id
    assert started["inner"].causation_id == started["ada"].event_id
    assert len({event.session_id for event in told}) == 1


def test_a_socket_that_nobody_else_may_use_is_gone_at_the_end(tree: Path) -> None:
    script = 'stat -c %a "$(dirname "$ENCHANTED_SOCKET")"; echo "$ENCHANTED_SOCKET"'
    mode, path = record(tree, tree.parent / "home", ["bash", "-c", script]).stdout.decode().split()
    assert mode == "700"
    assert not Path(path).parent.exists()
