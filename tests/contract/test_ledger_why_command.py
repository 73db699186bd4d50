"""``enchanted why`` on a ledger file: which lines it is asked about, and all that it tells of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infrastructure.cli.main import cli
from nervous_system.contract import AgentDecision
from nervous_system.errors import EnchantedError
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.ledger import ROOT, Ledger
from nervous_system.textdiff import unified_diff
from tests.contract.hub import Hub
from tests.samples import event, event_id, patch, write

BASE = b"one\ntwo\nthree\n"
AFTER = b"one\nTWO\x1b[2J\nthree\n"
OTHER = b"one\n2\nthree\n"
TRACE = "ab" * 16
HOSTILE = "Because\x1b[2J\nof this"

Why = Callable[..., Result]


@pytest.fixture
def why(tmp_path: Path) -> Why:
    address = f"embedded://{tmp_path}/ledger.sqlite"
    hub = Hub(Ledger(open_engine(address)), ROOT)
    decision = AgentDecision(rationale=HOSTILE, rejected_alternatives=["that"], confidence_score=0.75)
    change = patch("f", BASE, AFTER, unified_diff(BASE, AFTER) or "")
    hub.put(
        event(1, state_change=write("f", BASE), related_commit_hash="c0ffee00"),
        event(2, decision=decision),
        event(3, state_change=change, causation_id=event_id(2), trace_id=TRACE),
        event(4, state_change=write("empty", b"")),
    )
    hub.put(event(5, state_change=patch("f", BASE, OTHER, unified_diff(BASE, OTHER) or "")))
    hub.ledger.close()
    return lambda *arguments: CliRunner(env={"ENCHANTED_HOME": str(tmp_path), "ENCHANTED_LEDGER": address}).invoke(
        cli, ["why", "acme/shop", *arguments]
    )


def told(result: Result) -> str:
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_json_tells_all_of_each_line(why: Why) -> None:
    rows = json.loads(told(why("f:2", "--json", "--at", event_id(3))))
    version = rows[0].pop("version")
    assert version.startswith("1-")
    assert rows == [
        {
            "line": 2,
            "text": "TWO\x1b[2J",
            "event_id": event_id(3),
            "agent_id": "ada",
            "occurred": "2023-11-14T22:13:23+00:00",
            "commit": "",
            "trace_id": TRACE,
            "decision": {
                "event_id": event_id(2),
                "agent_id": "ada",
                "occurred": "2023-11-14T22:13:22+00:00",
                "trace_id": "",
                "input_trigger": "",
                "rationale": HOSTILE,
                "rejected_alternatives": ["that"],
                "confidence": 0.75,
            },
        }
    ]


def test_one_line_is_told_whole_and_acts_on_no_terminal(why: Why) -> None:
    shown = told(why("f:2", "--at", event_id(3)))
    assert "\x1b" not in shown
    for expected in (event_id(3), event_id(2), TRACE, "Because", "of this", "rejected:   that", "confidence: 0.75"):
        assert expected in shown
    assert "No decision is known" in told(why("f:1", "--at", event_id(1)))


def test_a_table_shows_the_lines_that_are_asked_about(why: Why) -> None:
    lines = told(why("f:1-2", "--at", event_id(3))).splitlines()
    assert [line.split()[-1] for line in lines] == ["one", r"TWO\x1b[2J"]
    assert "\x1b" not in "".join(lines)
    assert len(told(why("f", "--at", event_id(3))).splitlines()) == 3


def test_what_the_log_knew(why: Why) -> None:
    rows = json.loads(told(why("f", "--known-at", "2023-11-14T22:13:21Z", "--json")))
    assert [row["event_id"] for row in rows] == [event_id(1), event_id(3), event_id(1)]


def test_where_changes_meet_a_policy_decides(why: Why) -> None:
    refused = why("f")
    assert isinstance(refused.exception, EnchantedError)
    assert "--on-conflict" in str(refused.exception)
    rows = json.loads(told(why("f", "--on-conflict", "theirs", "--json")))
    assert [row["event_id"] for row in rows] == [event_id(1), event_id(5), event_id(1)]


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("f:4", "3 lines then: there is no line 4"),
        ("f:2-9", "there is no line 9"),
        ("f:0", "counted from 1"),
        ("f:3-2", "counted from 1"),
        ("empty:1", "0 lines then: there is no line 1"),
        ("nowhere:1", "There is no 'nowhere'"),
    ],
)
def test_lines_that_are_not_there(why: Why, where: str, sentence: str) -> None:
    refused = why(where, "--at", event_id(4))
    assert isinstance(refused.exception, EnchantedError)
    assert sentence in str(refused.exception)


def test_an_empty_file_has_nothing_to_explain(why: Why) -> None:
    assert "is empty" in told(why("empty"))
    assert json.loads(told(why("empty", "--json"))) == []
