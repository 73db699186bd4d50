"""A producer as a process: sends one project's events to the log until it is told to stop, and keeps a journal.

``python -m tests.chaos.producer TENANT/PROJECT JOURNAL STOP SEED``: once the file STOP exists, it ends after an
acknowledged batch.
"""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from nervous_system import changes
from nervous_system.contract import FILE_MODE, AgentDecision, Operation, SwarmEvent, SystemSignal, ToolCall
from nervous_system.errors import EnchantedError
from nervous_system.events import now_us, set_occurred, uuid7
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from tests.chaos.journal import Journal

MAX_BATCH_EVENTS = 40
MAX_TEXT_CHARACTERS = 600
MAX_FILE_BYTES = 5_000
# Above the limit to which a content travels in its event, and up to more than two parts.
LARGE_BYTES = (270_000, 1_100_000)
LARGE_SHARE = 1 / 100
BAD_SHARE = 1 / 40
RATE_EVENTS_PER_S = 200
RETRY_S = 0.2


@dataclass(slots=True)
class Load:
    """What is sent at once: events, the parts of contents that they name, and what of the events is to be refused."""

    events: list[bytes] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)

    def put_part(self, part: bytes) -> bytes:
        self.parts.append(part)
        return sha256(part).digest()


def main(arguments: Sequence[str]) -> None:
    """Sends until told to stop; after a refusal, goes on with a connection of its own."""
    name, journal, stop, seed = arguments
    project, settings, chance = ProjectName.parse(name), Settings.load(), random.Random(seed)
    written = Journal(Path(journal))
    while True:
        try:
            publisher = Publisher(settings, project)
            send(publisher, project, written, Path(stop), chance)
            return
        except EnchantedError as error:
            print(f"{project}: {error}", file=sys.stderr, flush=True)
            time.sleep(RETRY_S)


def send(publisher: Publisher, project: ProjectName, journal: Journal, stop: Path, chance: random.Random) -> None:
    """Batches of every size, each acknowledged before the next; the last one is sent after the word to stop."""
    stopping = False
    while not stopping:
        stopping = stop.exists()
        batch = load(project, chance)
        journal.put(batch.events, batch.parts, batch.bad)
        for part in batch.parts:
            publisher.put_part(part)
        for each in (*batch.events, *batch.bad):
            publisher.put(each)
        publisher.flush()
        journal.acknowledged()
        # Leaves some of the machine to those who land and restart.
        time.sleep(len(batch.events) / RATE_EVENTS_PER_S)
    publisher.close()


def load(project: ProjectName, chance: random.Random) -> Load:
    """Events of several kinds and sizes, now and then one with a large content and one that no store may keep."""
    made = Load()
    made.events = [event(project, chance) for _ in range(chance.randint(1, MAX_BATCH_EVENTS))]
    if chance.random() < LARGE_SHARE:
        made.events.append(file_event(project, chance.randbytes(chance.randint(*LARGE_BYTES)), made))
    if chance.random() < BAD_SHARE:
        made.bad.append(event(ProjectName(project.tenant, "nobody"), chance))
    return made


def event(project: ProjectName, chance: random.Random) -> bytes:
    """An event of one of several kinds and any size."""
    text = "x" * chance.randint(0, MAX_TEXT_CHARACTERS)
    match chance.randrange(8):
        case 0:
            return file_event(project, chance.randbytes(chance.randint(0, MAX_FILE_BYTES)), Load())
        case 1 | 2:
            made = SwarmEvent(decision=AgentDecision(rationale=text, confidence_score=chance.random()))
        case 3 | 4 | 5:
            made = SwarmEvent(tool_call=ToolCall(name="pytest", result=text, exit_code=0))
        case _:
            made = SwarmEvent(system_signal=SystemSignal(detail=text))
    return finished(made, project)


def file_event(project: ProjectName, content: bytes, batch: Load) -> bytes:
    """A new file; each has a path of its own, so that none is in conflict with another."""
    change = changes.written(
        f"files/{uuid.uuid4().hex}", content, batch.put_part, mode=FILE_MODE, operation=Operation.OPERATION_CREATE
    )
    return finished(SwarmEvent(state_change=change), project)


def finished(made: SwarmEvent, project: ProjectName) -> bytes:
    """The event's bytes, with an id, a time and its project."""
    made.event_id = uuid7(now_us() // 1_000)
    made.agent_id, made.tenant_id, made.project_id = "chaos", project.tenant, project.project
    set_occurred(made, now_us())
    return made.SerializeToString()


if __name__ == "__main__":
    main(sys.argv[1:])
