"""The log's present: all that was acknowledged is before it, and no batch of all or nothing is parted by it."""

from __future__ import annotations

import itertools
import threading
from functools import partial
from pathlib import Path

from infrastructure.local.stack import running_stack
from nervous_system.events import BATCH_LIMIT_EVENTS
from nervous_system.instant import last_together, present
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.submission import Submission, submit
from tests.integration.submitting import made, new_project, on_log, stored

INSTANTS = 15


def taken(settings: Settings, project: ProjectName, by_us: int) -> int:
    """How many of the project's messages the log had by then."""
    times = [message.time for message in stored(settings, project)]
    return sum(time is not None and round(time.timestamp() * 1_000_000) <= by_us for time in times)


def test_a_submission_is_before_it_or_behind_it(servers: Settings) -> None:
    pair = new_project(), new_project()
    submit(servers, [Submission(project, made(project)) for project in pair])
    acknowledged, stopping = itertools.count(2), threading.Event()
    written = [1]

    def write() -> None:
        while not stopping.is_set():
            submit(servers, [Submission(project, made(project)) for project in pair])
            written.append(next(acknowledged))

    writer = threading.Thread(target=write)
    writer.start()
    instants: list[tuple[int, int]] = []
    try:
        while len(instants) < INSTANTS:
            least = written[-1]
            by_us = present(servers)
            assert by_us is not None
            instants.append((least, by_us))
    finally:
        stopping.set()
        writer.join()
    for least, by_us in instants:
        one, other = (taken(servers, project, by_us) for project in pair)
        assert one == other >= least
    assert len({least for least, _ in instants}) > 1, "it was written to meanwhile"


def test_from_any_of_its_messages_a_batch_is_taken_whole(servers: Settings) -> None:
    pair = new_project(), new_project()
    last = submit(servers, [Submission(project, made(project, BATCH_LIMIT_EVENTS + 1)) for project in pair])
    behind = new_project()
    submit(servers, [Submission(behind, made(behind))])
    messages = [message for project in pair for message in stored(servers, project)]
    assert [message.seq for message in messages] == list(range(last - 3, last + 1))
    for message in messages:
        found = on_log(servers, partial(last_together, stream=servers.stream, message=message))
        assert found.seq == last


def test_an_empty_log_has_no_present(tmp_path: Path) -> None:
    with running_stack(tmp_path / "home", ["nats"]) as settings:
        assert present(settings) is None
