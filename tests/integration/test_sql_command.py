"""``enchanted sql``: the formats of its answers, and its prompt on a real terminal."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path

import pytest

from ingestors import schema
from ingestors.clickhouse import connect
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.terminal import Terminal, terminal

TWO_ROWS = "SELECT number AS n, concat('a', toString(number)) AS word FROM numbers(2) ORDER BY n"
TAB, UP, END_OF_INPUT, INTERRUPT = "\t", "\x1b[A", "\x04", "\x03"


@pytest.fixture(scope="module")
def command(servers: Settings) -> Enchanted:
    with connect(servers) as client:
        schema.migrate(client)
    return Enchanted(servers.home)


def test_rows_are_written_in_the_format_asked_for(command: Enchanted) -> None:
    def asked(name: str) -> str:
        return command.succeed("sql", TWO_ROWS, "--format", name)

    rows = [{"n": 0, "word": "a0"}, {"n": 1, "word": "a1"}]
    assert json.loads(asked("json")) == rows
    assert [json.loads(line) for line in asked("jsonl").splitlines()] == rows
    assert list(csv.reader(io.StringIO(asked("csv")))) == [["n", "word"], ["0", "a0"], ["1", "a1"]]
    assert asked("TSV").splitlines() == ["n\tword", "0\ta0", "1\ta1"]
    table = asked("table").splitlines()
    assert table[0].startswith("┌─n─┬─word─┐")
    assert table[1:3] == ["│ 0 │ a0   │", "│ 1 │ a1   │"]
    assert "Row 2:" in asked("vertical")
    assert asked("markdown").splitlines()[0] == "| n | word |"
    assert asked("CSV") == asked("csv")
    assert asked("JSONCompactEachRow").splitlines()[1] == '[1, "a1"]'


def test_a_format_that_there_is_not_is_refused(command: Enchanted) -> None:
    assert "UNKNOWN_FORMAT" in command.refuse("sql", "SELECT 1", "--format", "papyrus")
    assert "exclude each other" in command.refuse("sql", "SELECT 1", "--format", "csv", "--json")


def leave(typed: Terminal) -> None:
    typed.type("exit\r")
    assert typed.ends() == 0


def test_a_prompt_asks_completes_and_remembers(command: Enchanted) -> None:
    history = command.home / "sql_history"
    with terminal(command.home, "sql") as typed:
        typed.expect("sql>")
        typed.type("SELECT 40 +\r2 AS answer;\r")
        typed.expect("...>")
        typed.expect("│     42 │")
        typed.expect("sql>")
        typed.type("SELECT count() AS all_of_them FROM swarm_e" + TAB)
        typed.expect("vents")
        typed.type(" WHERE project_id = 'nowhere' AND rejected_al" + TAB)
        typed.expect("ternatives")
        typed.type(r" = ['x'] \G" + "\r")
        typed.expect("all_of_them: 0")
        typed.expect("sql>")
        leave(typed)
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    with terminal(command.home, "sql", "--format", "csv") as again:
        again.expect("sql>")
        again.type(UP + UP)
        again.expect("40 +")
        again.type("\r")
        again.expect('"answer"')
        again.expect("42")
        again.expect("sql>")
        again.type(END_OF_INPUT)
        assert again.ends() == 0


def test_a_prompt_outlives_what_goes_wrong(command: Enchanted) -> None:
    with terminal(command.home, "sql") as typed:
        typed.expect("sql>")
        typed.type("SELECT nothing_of_that_name;\r")
        typed.expect("UNKNOWN_IDENTIFIER")
        typed.expect("sql>")
        typed.type("SELECT half" + INTERRUPT)
        typed.expect("sql>")
        typed.type("\\format vertical\r")
        typed.expect("sql>")
        typed.type("SELECT sum(number) AS n FROM numbers(4);\r")
        typed.expect("n: 6")
        typed.expect("sql>")
        leave(typed)


def test_a_question_may_come_through_a_pipe(command: Enchanted, tmp_path: Path) -> None:
    """What is no terminal gets no prompt, with - or without."""
    assert "empty" in command.refuse("sql")
    assert "empty" in command.refuse("sql", "-")
    assert command.succeed("sql", "SELECT 1 AS one;\n") == "one\n1\n"
