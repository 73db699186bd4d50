"""Two agents change one file at once: everybody who looks is told, and nobody's change is lost."""

from __future__ import annotations

import json
import time

import pytest

from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.integration.command import Enchanted

PROJECT = "conflicts/story"
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def told(whole_stack: Enchanted) -> Enchanted:
    settings = Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})
    with Recorder(PROJECT, agent="ada", settings=settings, direct=True) as recorder:
        recorder.file_changed("story.txt", b"once\n")
        recorder.file_changed("story.txt", b"twice\n", previous=b"once\n")
        recorder.file_changed("other.txt", b"quiet\n")
    with Recorder(PROJECT, agent="bob", settings=settings, direct=True) as recorder:
        recorder.file_changed("story.txt", b"thrice\n", previous=b"once\n")
    return whole_stack


def conflicts(told: Enchanted, *arguments: str) -> list[dict[str, str]]:
    """What the timeline says of conflicts, once it says anything."""
    give_up_at = time.monotonic() + DEADLINE_S
    while True:
        rows = [json.loads(line) for line in told.succeed("timeline", PROJECT, "--json", *arguments).splitlines()]
        found = [row for row in rows if row.get("message", {}).get("kind") == "MESSAGE_KIND_CONFLICT"]
        if found or time.monotonic() > give_up_at:
            return found


def test_the_timeline_tells_of_it_once(told: Enchanted) -> None:
    (conflict,) = conflicts(told, "--path", "story.txt")
    assert conflict["agent_id"] == "enchanted"
    assert "bob" in conflict["message"]["content"]  # type: ignore[index]
    told.succeed("snapshots", "--once")
    assert len(conflicts(told)) == 1
    rows = told.succeed("timeline", PROJECT, "--json", "--path", "other.txt").splitlines()
    assert len(rows) == 1


def test_sql_tells_of_it(told: Enchanted) -> None:
    question = "SELECT count() AS n FROM swarm_events WHERE project_id = 'story' AND message_kind = 'CONFLICT'"
    give_up_at = time.monotonic() + DEADLINE_S
    while (answer := told.succeed("sql", question).split()[-1]) == "0" and time.monotonic() < give_up_at:
        pass
    assert answer == "1"


def test_nothing_is_restored_until_somebody_says_what_shall_stand(told: Enchanted) -> None:
    assert "--on-conflict" in told.refuse("cat", PROJECT, "story.txt")
    settings = Settings.load({"ENCHANTED_HOME": str(told.home)})
    with Recorder(PROJECT, agent="ada", settings=settings, direct=True) as recorder:
        recorder.file_changed("story.txt", b"settled\n")
    give_up_at = time.monotonic() + DEADLINE_S
    while (outcome := told.run("cat", PROJECT, "story.txt")).returncode and time.monotonic() < give_up_at:
        pass
    assert outcome.stdout == "settled\n"
