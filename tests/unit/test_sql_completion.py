"""What the prompt of ``enchanted sql`` suggests, and when Enter sends."""

from __future__ import annotations

import pytest

from infrastructure.cli.completion import Names, suggestions, word_at_end
from infrastructure.cli.prompt import is_whole

NAMES = Names(
    {"events": ("event_id", "recorded"), "swarm_events": ("event_id", "rationale", "event_type")},
    ("countIf", "count", "exp"),
)


def words(before: str, after: str = "") -> list[str]:
    return [each.word for each in suggestions(NAMES, before, after)]


def test_only_tables_follow_from_and_join() -> None:
    assert words("SELECT 1 FROM ") == ["events", "swarm_events"]
    assert words("select 1 from sw") == ["swarm_events"]
    assert words("SELECT 1 FROM events JOIN Sw") == ["swarm_events"]


def test_columns_are_of_the_tables_in_the_question_wherever_they_stand() -> None:
    assert words("SELECT ra", " FROM swarm_events") == ["rationale"]
    assert words("SELECT 1 FROM events WHERE ra") == []
    assert words("SELECT 1 FROM events WHERE rec")[0] == "recorded"
    assert words("SELECT event_", " FROM events JOIN swarm_events USING (event_id)") == ["event_id", "event_type"]


def test_a_dot_asks_for_the_columns_of_what_stands_before_it() -> None:
    assert words("SELECT e.", " FROM swarm_events AS e") == ["event_id", "rationale", "event_type"]
    assert words("SELECT E.r", " FROM swarm_events FINAL e") == ["rationale"]
    assert words("SELECT events.r") == ["recorded"]
    assert words("SELECT unknown.") == []


def test_keywords_and_functions_come_with_their_kind() -> None:
    assert words("SELECT * FROM events GROU") == ["GROUP"]
    assert [(each.word, each.kind) for each in suggestions(NAMES, "SELECT cou")] == [
        ("countIf", "function"),
        ("count", "function"),
    ]
    assert "count" not in words("SELECT ")


def test_the_unfinished_word_is_what_stands_before_the_cursor() -> None:
    assert word_at_end("SELECT swarm_ev") == "swarm_ev"
    assert word_at_end("SELECT ") == ""
    assert word_at_end("e.ra") == "ra"


@pytest.mark.parametrize(
    "text", ["SELECT 1;", "SELECT 1 ;\n", "SELECT 1 \\G", "exit", "QUIT", "help", "\\format csv", ""]
)
def test_enter_sends_what_is_whole(text: str) -> None:
    assert is_whole(text)


@pytest.mark.parametrize("text", ["SELECT 1", "SELECT ';' AS", "exit_code"])
def test_enter_begins_a_line_after_what_is_not(text: str) -> None:
    assert not is_whole(text)
