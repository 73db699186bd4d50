"""A small swarm of which everything is known, for questions whose answers a test can state."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nervous_system.contract import (
    AgentDecision,
    AgentMessage,
    AgentStatus,
    Checkpoint,
    MessageKind,
    Operation,
    Origin,
    SwarmEvent,
    SystemSignal,
    ToolCall,
)
from nervous_system.landing import LandedMessage
from nervous_system.projects import ProjectName
from tests.samples import BEGAN_US, PROJECT, delete, event, message, patch, write

FORK = ProjectName("acme", "shop-2")
EMPTY, LOOP = b"queue = []\nsend()\n", b"queue = []\nwhile True: send()\n"
TO_LOOP, TO_EMPTY = "@@ -2 +2 @@\n-send()\n+while True: send()\n", "@@ -2 +2 @@\n-while True: send()\n+send()\n"
# Of each agent, the numbers that were lost.
LOST = {"bob": {3, 4}}

# What ingestors wrote lately, and a day ago: 1 to 100 ms as two halves, so that percentiles have to be added up.
KNOWN_HOPS = """
INSERT INTO sink_progress (at, sink, partition, hop, log_stream, messages, events, samples_ms) VALUES
(now() - 120, 'clickhouse', 0, 'published_recorded', 's', 50, 50, range(1, 51)),
(now() - 60, 'clickhouse', 1, 'published_recorded', 's', 50, 50, range(51, 101)),
(now() - 120, 'clickhouse', 0, 'recorded_landed', 's', 3, 3, [20, 20, 20]),
(now() - 60, 'ledger', 0, 'recorded_landed', 's', 1, 1, [7]),
(now() - 86400, 'ledger', 0, 'recorded_landed', 's', 1, 1, [9000])
"""


class Story:
    """Events in the order in which they happened; each is one message of the log, with its place as sequence."""

    def __init__(self) -> None:
        self.messages: list[LandedMessage] = []
        self._numbers: Counter[tuple[ProjectName, str, str]] = Counter()

    def add(self, at_s: int, agent: str, *, delay_ms: int = 100, project: ProjectName = PROJECT, **fields: Any) -> str:
        """Adds what an agent did ``at_s`` seconds after the beginning; returns the event's id."""
        fields = {"agent_id": agent, "session_id": "s1", **fields}
        # A recorder counts from 1, and each session has one of its own.
        recorder = (project, agent, fields["session_id"])
        self._numbers[recorder] += 1
        while self._numbers[recorder] in LOST.get(agent, ()):
            self._numbers[recorder] += 1
        number = len(self.messages) + 1
        occurred_us = BEGAN_US + at_s * 1_000_000
        made: SwarmEvent = event(number, project, occurred_us=occurred_us)
        made.ClearField("checkpoint")
        made.MergeFrom(SwarmEvent(agent_sequence=self._numbers[recorder], **fields))
        self.messages.append(message(number, [made], project, recorded_us=occurred_us + delay_ms * 1_000))
        return made.event_id


def known_swarm() -> list[LandedMessage]:
    """Ada leads, bob codes, eve reviews; the clock begins at 2023-11-14 22:13:20 UTC."""
    story = Story()
    plan = story.add(
        0, "ada", decision=_decision("Build a queue between shop and bank.", 0.9, "Call the bank."), **_m(1)
    )
    order = story.add(
        10, "ada", message=_said(MessageKind.MESSAGE_KIND_ORDER, "bob", "Build it."), causation_id=plan, **_m(1)
    )
    story.add(20, "bob", tool_call=_call("pytest", 0, 1200, (1000, 200), 0.01), causation_id=order, **_m(1))
    loop = story.add(30, "bob", decision=_decision("Retry in a loop.", 0.3), causation_id=order, **_m(1))
    create = Operation.OPERATION_CREATE
    by_loop: dict[str, Any] = {"causation_id": loop, **_m(1)}
    story.add(
        31, "bob", state_change=write("queue.py", EMPTY, operation=create), related_commit_hash="c0ffee01", **by_loop
    )
    story.add(32, "bob", state_change=write("notes.md", b"Loop?", operation=create), **by_loop)
    story.add(40, "bob", state_change=patch("queue.py", EMPTY, LOOP, TO_LOOP), delay_ms=900, **by_loop)
    story.add(50, "ada", state_change=patch("queue.py", LOOP, EMPTY, TO_EMPTY), **_m(1))
    story.add(60, "bob", state_change=patch("queue.py", EMPTY, LOOP, TO_LOOP), **_m(1))
    second = story.add(70, "ada", state_change=patch("queue.py", LOOP, EMPTY, TO_EMPTY), **_m(1))
    story.add(71, "ledger", message=_said(MessageKind.MESSAGE_KIND_CONFLICT, "", "queue.py:2"), causation_id=second)
    failed = story.add(80, "eve", tool_call=_call("pytest", 1, 5000, (300, 100), 0.02), **_m(1))
    story.add(90, "eve", message=_said(MessageKind.MESSAGE_KIND_WARNING, "bob", "It never ends."), causation_id=failed)
    undo = AgentDecision(rationale="Undo event.", attributes={"undone_event": loop, "undone_changes": "3"})
    undone = story.add(100, "enchanted", decision=undo, **_m(1))
    story.add(101, "enchanted", state_change=delete("notes.md", b"Loop?"), causation_id=undone, **_m(1))
    named = Checkpoint(name="before-release", through_event_id=undone, project_ids=["bank", "shop"])
    story.add(110, "enchanted", checkpoint=named)
    story.add(120, "bob", decision=_decision("Load the whole queue into memory.", 0.4, "Stream it.", "Page it."))
    story.add(130, "bob", system_signal=SystemSignal(status=AgentStatus.AGENT_STATUS_ERROR, detail="Out of memory"))
    origin = Origin(project_id="shop", through_event_id=undone, chain=bytes(32), incarnation=2)
    story.add(140, "enchanted", project=FORK, checkpoint=Checkpoint(through_event_id=undone, origin=origin))
    late: dict[str, Any] = {"session_id": "s2", "delay_ms": 300, **_m(2)}
    story.add(3700, "ada", tool_call=_call("grep", None, 100, (50, 5), 0.001), **late)
    story.add(3710, "ada", system_signal=SystemSignal(status=AgentStatus.AGENT_STATUS_IDLE), **late)
    return story.messages


def _m(number: int) -> dict[str, Any]:
    return {"correlation_id": f"mission-{number}"}


def _decision(rationale: str, confidence: float, *rejected: str) -> AgentDecision:
    return AgentDecision(rationale=rationale, confidence_score=confidence, rejected_alternatives=rejected)


def _said(kind: MessageKind, to: str, content: str) -> AgentMessage:
    return AgentMessage(kind=kind, to_agent_id=to, content=content)


def _call(name: str, exit_code: int | None, ms: float, tokens: tuple[int, int], cost: float) -> ToolCall:
    made = ToolCall(name=name, duration_ms=ms, input_tokens=tokens[0], output_tokens=tokens[1], cost_usd=cost)
    if exit_code is not None:
        made.exit_code = exit_code
    return made
