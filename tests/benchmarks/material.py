"""What is measured with: events as agents make them, as bytes, as messages of the log, as batches ready to land."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from ingestors.reading import LogMessage, read
from nervous_system import subjects
from nervous_system.contract import FILE_MODE, AgentDecision, Operation, StateChange, SwarmEvent, ToolCall
from nervous_system.events import content_hash, encode_batch, now_us, set_occurred, uuid7
from nervous_system.landing import Batch
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

PROJECT = ProjectName("bench", "swarm")
PARTITION = 0
WORDS = ["keep", "prices", "in", "cents", "because", "floats", "lose", "pennies", "when", "sums", "are", "long"]


def events(count: int, project: ProjectName = PROJECT, seed: int = 1) -> list[bytes]:
    """A third decisions, a third tool calls, a third small changes of files; about 350 bytes each."""
    chance = random.Random(seed)
    return [_event(number, project, chance) for number in range(count)]


def file_event(path: str, content: bytes, project: ProjectName = PROJECT) -> bytes:
    """A file that was made."""
    change = StateChange(
        target_resource=path,
        operation=Operation.OPERATION_CREATE,
        mode=FILE_MODE,
        content=content,
        new_state_hash=content_hash(content),
    )
    return finished(SwarmEvent(state_change=change), project)


def log_messages(data: Sequence[bytes], size: int, project: ProjectName = PROJECT) -> list[LogMessage]:
    """The log's messages of ``size`` events each, as the log delivers them."""
    subject = subjects.stored(project, subjects.EVENTS, PARTITION)
    return [
        LogMessage(subject, sequence, now_us(), {}, encode_batch(list(data[start : start + size])))
        for sequence, start in enumerate(range(0, len(data), size), start=1)
    ]


def batches(messages: Sequence[LogMessage], size: int, stream: StreamIdentity) -> Iterator[Batch]:
    """Batches of ``size`` messages each, read and inspected as the pump does it."""
    after = recorded_us = 0
    for start in range(0, len(messages), size):
        landed = []
        for message in messages[start : start + size]:
            each, refusals = read(message, recorded_us)
            assert not refusals, refusals[0].reason
            landed.append(each)
            recorded_us = each.recorded_us
        yield Batch(stream, PARTITION, after, tuple(landed))
        after = landed[-1].sequence


def _event(number: int, project: ProjectName, chance: random.Random) -> bytes:
    text = " ".join(chance.choices(WORDS, k=30))
    match number % 3:
        case 0:
            event = SwarmEvent(decision=AgentDecision(rationale=text, confidence_score=chance.random()))
        case 1:
            event = SwarmEvent(tool_call=ToolCall(name="pytest", arguments="-q", result=text, exit_code=0))
        case _:
            return file_event(f"src/module_{number}.py", text.encode(), project)
    return finished(event, project)


def finished(event: SwarmEvent, project: ProjectName = PROJECT) -> bytes:
    """The bytes of an event once it has an id, a time and an agent."""
    event.event_id = uuid7(now_us() // 1_000)
    event.agent_id, event.tenant_id, event.project_id = "coder-7", project.tenant, project.project
    set_occurred(event, now_us())
    return event.SerializeToString()
