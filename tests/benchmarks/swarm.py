"""A swarm at work, for what depends on how real events look: what repeats, how words are spread."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from nervous_system.contract import (
    FILE_MODE,
    AgentDecision,
    AgentMessage,
    AgentRole,
    AgentStatus,
    MessageKind,
    Operation,
    StateChange,
    SwarmEvent,
    SystemSignal,
    ToolCall,
)
from nervous_system.events import set_occurred, uuid7
from nervous_system.landing import Batch, LandedEvent, LandedMessage
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

BEGAN_US = 1_760_000_000_000_000
PROJECTS = [ProjectName(f"tenant-{number % 4}", f"project-{number}") for number in range(16)]
AGENTS, FILES, VOCABULARY = 8, 300, 4_000
MISSION_EVENTS, SESSION_EVENTS = 200, 2_000
MESSAGE_EVENTS, BATCH_EVENTS = 100, 10_000
GAP_US = 60_000
# One message of so many is landed twice, with another place in the log.
TWICE_EVERY = 100
TOOLS = ("pytest", "grep", "edit", "read", "bash", "search", "mypy", "git")
SYLLABLES = "re ta ne lo pa si mu ke do vi ran tor cal ben fus dex"


class Swarm:
    """Events of many agents in many projects, one after the other; the same seed makes the same."""

    def __init__(self, seed: int = 1) -> None:
        self._chance = random.Random(seed)
        self._number = 0
        self._last_ids = dict.fromkeys(PROJECTS, "")
        self._sequences: dict[str, int] = {}

    def event(self, project: ProjectName) -> SwarmEvent:
        """What happens next in the project."""
        chance = self._chance
        self._number += 1
        occurred_us = BEGAN_US + self._number * GAP_US + chance.randrange(GAP_US)
        place = self._number // len(PROJECTS)
        agent = f"{project.project}-agent-{min(int(chance.expovariate(0.5)), AGENTS - 1)}"
        self._sequences[agent] = self._sequences.get(agent, 0) + 1
        event = SwarmEvent(
            event_id=uuid7(occurred_us // 1_000, chance.randbytes(32)),
            agent_id=agent,
            agent_role=AgentRole.ROLE_CODER,
            tenant_id=project.tenant,
            project_id=project.project,
            session_id=f"{project.project}-session-{place // SESSION_EVENTS}",
            correlation_id=f"{project.project}-mission-{place // MISSION_EVENTS}",
            causation_id=self._last_ids[project],
            agent_sequence=self._sequences[agent],
            trace_id=f"{place // MISSION_EVENTS * 16 + PROJECTS.index(project):032x}",
        )
        set_occurred(event, occurred_us)
        self._give_payload(event)
        self._last_ids[project] = event.event_id
        return event

    def batches(self, count: int, stream: StreamIdentity) -> Iterator[Batch]:
        """At least ``count`` events as batches that are ready to land, some of them landed twice."""
        sequence = 0
        for _ in range(0, count, BATCH_EVENTS):
            after = sequence
            messages = []
            for _ in range(BATCH_EVENTS // MESSAGE_EVENTS):
                project = self._chance.choice(PROJECTS)
                events = tuple(_landed(self.event(project), index) for index in range(MESSAGE_EVENTS))
                for _ in range(1 if self._chance.randrange(TWICE_EVERY) else 2):
                    sequence += 1
                    recorded_us = BEGAN_US + self._number * GAP_US + 20_000
                    messages.append(LandedMessage(sequence, recorded_us, project, events, None, 0))
            yield Batch(stream, 0, after, tuple(messages))

    def _give_payload(self, event: SwarmEvent) -> None:
        kind = self._chance.random()
        if kind < 0.2:
            event.decision.CopyFrom(self._decision())
        elif kind < 0.45:
            event.state_change.CopyFrom(self._change())
        elif kind < 0.85:
            event.tool_call.CopyFrom(self._call())
        elif kind < 0.95:
            kinds = (MessageKind.MESSAGE_KIND_ORDER, MessageKind.MESSAGE_KIND_INFORMATION)
            to = self._chance.choice(("", f"{event.project_id}-agent-0"))
            event.message.CopyFrom(
                AgentMessage(kind=self._chance.choice(kinds), to_agent_id=to, content=self._words(12))
            )
        else:
            cpu = round(self._chance.uniform(0, 100), 1)
            event.system_signal.CopyFrom(SystemSignal(status=AgentStatus.AGENT_STATUS_BUSY, cpu_load_percent=cpu))

    def _decision(self) -> AgentDecision:
        return AgentDecision(
            rationale=f"{self._words(self._chance.randint(8, 50)).capitalize()}.",
            confidence_score=round(self._chance.betavariate(5, 2), 2),
            input_trigger=self._words(4),
            rejected_alternatives=[self._words(6) for _ in range(self._chance.randrange(3))],
        )

    def _change(self) -> StateChange:
        removed, added = self._chance.randrange(4), self._chance.randint(1, 6)
        lines = [f"-    {self._words(5)}" for _ in range(removed)] + [f"+    {self._words(5)}" for _ in range(added)]
        start = self._chance.randint(1, 400)
        return StateChange(
            target_resource=f"src/part_{self._file() % 20}/module_{self._file()}.py",
            operation=Operation.OPERATION_MODIFY,
            mode=FILE_MODE,
            previous_state_hash=self._chance.randbytes(32).hex(),
            new_state_hash=self._chance.randbytes(32).hex(),
            diff_patch="\n".join([f"@@ -{start},{removed} +{start},{added} @@", *lines, ""]),
        )

    def _call(self) -> ToolCall:
        has_failed = self._chance.random() < 0.1
        output = "\n".join(f"{self._words(6)} ok" for _ in range(self._chance.randrange(8)))
        return ToolCall(
            name=self._chance.choice(TOOLS),
            arguments=f'{{"path": "src/module_{self._file()}.py", "query": "{self._words(2)}"}}',
            result=output,
            exit_code=1 if has_failed else 0,
            duration_ms=round(self._chance.lognormvariate(5, 1.5), 1),
            input_tokens=int(self._chance.lognormvariate(7, 1)),
            output_tokens=int(self._chance.lognormvariate(5, 1)),
            cost_usd=round(self._chance.lognormvariate(-5, 1), 4),
        )

    def _file(self) -> int:
        return min(int(self._chance.paretovariate(0.7)), FILES)

    def _words(self, count: int) -> str:
        # As in any language, few words make most of a text.
        words = _vocabulary()
        return " ".join([words[min(int(self._chance.paretovariate(0.6)), VOCABULARY) - 1] for _ in range(count)])


@cache
def _vocabulary() -> list[str]:
    chance = random.Random(0)
    return ["".join(chance.choices(SYLLABLES.split(), k=chance.randint(1, 4))) for _ in range(VOCABULARY)]


def _landed(event: SwarmEvent, index: int) -> LandedEvent:
    return LandedEvent(event.SerializeToString(), event, index)
