"""Recorders in processes of their own: killed, forked, many at once, on a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from nervous_system.contract import SwarmEvent
from nervous_system.errors import UnavailableError
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.outboxes import PROJECT, events_in

PATIENCE_S = 90


def start(home: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**environment, "ENCHANTED_HOME": str(home), "ENCHANTED_PROJECT": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out


def numbers(events: list[SwarmEvent]) -> dict[tuple[str, str], list[int]]:
    """The numbers of each recorder, in the order in which they stand in the outbox."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        found[event.agent_id, event.session_id].append(event.agent_sequence)
    return dict(found)


def assert_no_gaps(events: list[SwarmEvent]) -> None:
    for each in numbers(events).values():
        assert each == list(range(1, len(each) + 1))


KILLED = """
import os, sys, threading
from nervous_system.recorder import Recorder
made = Recorder(agent=sys.argv[1])
def work():
    while True:
        made.signal()
        made.file_changed("large", os.urandom(300_000))
        os.write(1, (made.decision("said", durable=True) + "\\n").encode())
for _ in range(3):
    threading.Thread(target=work).start()
"""


def test_killed_at_any_time_all_that_was_said_durable_is_there(tmp_path: Path) -> None:
    said: list[str] = []
    for round_ in range(4):
        killed = start(tmp_path, KILLED, f"agent{round_}")
        assert killed.stdout is not None
        # Somewhere in the work, at another point each time.
        said += [killed.stdout.readline().strip() for _ in range(5 + 7 * round_)]
        killed.send_signal(signal.SIGKILL)
        said += [line.strip() for line in killed.communicate(timeout=PATIENCE_S)[0].splitlines() if len(line) >= 36]
    events = events_in(tmp_path)
    assert set(said) <= {event.event_id for event in events}
    assert len(numbers(events)) == 4
    assert_no_gaps(events)


MANY = """
import sys
from nervous_system.recorder import Recorder
with Recorder(agent=sys.argv[1]) as made:
    for number in range(300):
        made.decision(str(number), durable=number % 10 == 0)
"""


def test_several_processes_write_to_one_outbox(tmp_path: Path) -> None:
    processes = [start(tmp_path, MANY, f"agent{number}") for number in range(4)]
    for process in processes:
        finish(process)
    events = events_in(tmp_path)
    assert {len(each) for each in numbers(events).values()} == {300}
    assert_no_gaps(events)


FORKING = """
import multiprocessing, os, sys, threading, time
from nervous_system.recorder import Recorder
made = Recorder(agent="parent")
going = True
def work():
    while going:
        made.signal()
        time.sleep(0.0001)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
with made.decision("forks") as cause:
    for number in range(5):
        children.append(os.fork())
        if not children[-1]:
            for _ in range(50):
                made.decision("child")
            made.flush()
            os._exit(0)
def other():
    for _ in range(50):
        made.decision("other")
child = multiprocessing.get_context("fork").Process(target=other)
child.start()
child.join()
codes = [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in children]
going = False
for thread in threads:
    thread.join()
print(cause, codes, child.exitcode)
"""


def test_a_fork_loses_nothing_of_parent_or_child(tmp_path: Path) -> None:
    # Nothing is flushed or closed at the end: a process that ends writes what waits.
    cause, told = finish(start(tmp_path, FORKING)).split(maxsplit=1)
    assert told.strip() == "[0, 0, 0, 0, 0] 0"
    events = events_in(tmp_path)
    assert_no_gaps(events)
    by_recorder = numbers(events)
    sessions = sorted((session for _, session in by_recorder), key=len)
    assert len(sessions) == 7
    assert all(session.startswith(f"{sessions[0]}.") for session in sessions[1:])
    assert [len(by_recorder["parent", session]) for session in sessions[1:]] == [50] * 6
    children = [event for event in events if event.decision.rationale == "child"]
    assert {event.causation_id for event in children} == {cause}
    assert len({event.event_id for event in events}) == len(events)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_told_and_what_waits_is_written_once_there_is_room(small_disk: Path) -> None:
    filling = small_disk / "filling"
    made = Recorder(str(PROJECT), agent="ada", settings=Settings(home=small_disk))
    filling.write_bytes(bytes(7_000_000))
    made.decision("fits", durable=True)
    for _ in range(20):
        made.decision("x" * 100_000)
    with pytest.raises(UnavailableError, match="full: free space"):
        made.decision("much", durable=True)
    # What was refused durability waits, and more may be recorded.
    made.decision("later")
    filling.unlink()
    made.flush()
    made.close()
    events = events_in(small_disk)
    assert_no_gaps(events)
    assert [event.decision.rationale[:5] for event in (events[0], events[-1])] == ["fits", "later"]
