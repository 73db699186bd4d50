"""A producer as a process: sends one project's events to the log until it is told to stop, and keeps a journal.

``python -m tests.chaos.producer TENANT/PROJECT JOURNAL STOP SEED``: once the file STOP exists, it ends after an
acknowledged batch.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nervous_system.contract import AgentDecision, SwarmEvent, SystemSignal, ToolCall
from nervous_system.errors import EnchantedError
from nervous_system.events import now_us, set_occurred, uuid7
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from tests.chaos.journal import Journal

MAX_BATCH_EVENTS = 40
MAX_TEXT_CHARACTERS = 600
RATE_EVENTS_PER_S = 400
RETRY_S = 0.2


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
        events = [event(project, chance) for _ in range(chance.randint(1, MAX_BATCH_EVENTS))]
        journal.put(events)
        for each in events:
            publisher.put(each)
        publisher.flush()
        journal.acknowledged()
        # Leaves some of the machine to those who land and restart.
        time.sleep(len(events) / RATE_EVENTS_PER_S)
    publisher.close()


def event(project: ProjectName, chance: random.Random) -> bytes:
    """An event of one of several kinds and any size."""
    text = "x" * chance.randint(0, MAX_TEXT_CHARACTERS)
    made = SwarmEvent(
        event_id=uuid7(now_us() // 1_000), agent_id="chaos", tenant_id=project.tenant, project_id=project.project
    )
    set_occurred(made, now_us())
    match chance.randrange(3):
        case 0:
            made.decision.CopyFrom(AgentDecision(rationale=text, confidence_score=chance.random()))
        case 1:
            made.tool_call.CopyFrom(ToolCall(name="pytest", result=text, exit_code=0))
        case _:
            made.system_signal.CopyFrom(SystemSignal(detail=text))
    return made.SerializeToString()


if __name__ == "__main__":
    main(sys.argv[1:])
