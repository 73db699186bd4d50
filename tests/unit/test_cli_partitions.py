"""The command line's own parts: spans of partitions, and commands whose libraries are not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.cli.ingest import parse_partitions
from infrastructure.cli.main import COMMANDS, EXTRAS

REPOSITORY = Path(__file__).parents[2]
BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from infrastructure.cli.main import main
main()
"""
spans = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)


@given(st.lists(spans, min_size=1, max_size=5))
def test_spans_are_read_as_written(chosen: list[list[int]]) -> None:
    text = ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in chosen)
    expected = {number for first, last in chosen for number in range(first, last + 1)}
    assert parse_partitions(text, 10) == sorted(expected)


def test_all_of_them_where_none_is_given() -> None:
    assert parse_partitions(None, 3) == [0, 1, 2]


@pytest.mark.parametrize("text", ["", ",", "4", "0-4", "3-1", "-1", "1-", "a", "0,,1", "0-1-2", "1.5"])
def test_what_names_no_partition_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="0 to 3"):
        parse_partitions(text, 4)


def run_without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = BLOCKED.format(modules=set(EXTRAS))
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)


def test_help_needs_no_extra() -> None:
    done = run_without_extras("--help")
    assert done.returncode == 0, done.stderr
    # ``hook`` is what agents call, and no person.
    assert [name for name in COMMANDS if f"\n  {name} " not in done.stdout] == ["hook"]


@pytest.mark.parametrize("name", ["log", "show"])
def test_reading_needs_no_extra(name: str) -> None:
    done = run_without_extras(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage:" in done.stdout


def test_a_command_that_needs_one_says_which() -> None:
    done = run_without_extras("sql", "SELECT 1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'enchanted-swarm[sql]'" in done.stderr
    assert "Traceback" not in done.stderr
