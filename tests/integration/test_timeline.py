"""The timeline: who, what, when and why, and on as it happens."""

from __future__ import annotations

import json
import signal
import threading

import pytest

from nervous_system.landed import wait_until_landed
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.integration.command import Enchanted

PROJECT = "timeline/poem"


@pytest.fixture(scope="module")
def told(whole_stack: Enchanted) -> Enchanted:
    settings = Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})
    with Recorder(PROJECT, agent="poet", settings=settings, direct=True) as recorder:
        decision = recorder.decision("Begin with the sea\n\nIt is near.")
        first = recorder.file_changed("poem/one.txt", b"sea\n", causation_id=decision)
        recorder.file_changed("notes.txt", b"rhymes\n", causation_id=first)
        recorder.flush()
        wait_until_landed(settings, ["ledger"], recorder.last_sequence)
    return whole_stack


def lines(told: Enchanted, *arguments: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in told.succeed("timeline", PROJECT, "--json", *arguments).splitlines()]


def test_each_event_says_why(told: Enchanted) -> None:
    rows = lines(told)
    assert [row["type"] for row in rows[:3]] == ["DECISION", "STATE_CHANGE", "STATE_CHANGE"]
    assert [row["why"].partition("\n")[0] for row in rows[:3]] == ["", "Begin with the sea", "Begin with the sea"]
    text = told.succeed("timeline", PROJECT)
    assert "poet  state_change  create poem/one.txt\n    because: Begin with the sea\n" in text


def test_a_path_and_a_moment_narrow_it(told: Enchanted) -> None:
    (row,) = lines(told, "--path", "poem")
    assert row["state_change"]["target_resource"] == "poem/one.txt"  # type: ignore[index]
    assert not lines(told, "--path", "poe")
    assert next(each["event_id"] for each in lines(told, "--since", row["event_id"])) == lines(told)[2]["event_id"]
    assert len(lines(told, "--since", "1999-01-01T00:00:00Z", "--at", row["version"])) == 2


def test_following_tells_what_lands_later(told: Enchanted) -> None:
    settings = Settings.load({"ENCHANTED_HOME": str(told.home)})
    process = told.start("timeline", PROJECT, "--json", "--follow", "--path", "later.txt", PYTHONUNBUFFERED="1")
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        with Recorder(PROJECT, agent="poet", settings=settings, direct=True) as recorder:
            recorder.file_changed("later.txt", b"dusk\n")
        assert process.stdout is not None
        row = json.loads(process.stdout.readline())
        assert row["state_change"]["target_resource"] == "later.txt"
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_following_a_past_moment_is_refused(told: Enchanted) -> None:
    assert "--follow" in told.refuse("timeline", PROJECT, "--follow", "--at", "2 hours ago")
