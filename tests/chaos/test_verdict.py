"""The checker itself: it must see every kind of damage, or a run under kills proves nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.chaos.journal import Journal, Told, name_of, read
from tests.chaos.verdict import Verdict, judge, judge_bad

# The addresses of the servers.
SHARED = "nervous_system.settings"
OURS = ("nervous_system", "ingestors", "syncer", "replay", "infrastructure")

TOLD = Told(("a", "b", "c", "d"), frozenset({"x"}))


@pytest.mark.parametrize("held", ["abcd", "abxcd", "xabcd"])
def test_what_was_acknowledged_once_and_in_order_is_good(held: str) -> None:
    assert judge(TOLD, held).good


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        ("abd", Verdict(lost=1, doubled=0, invented=0, misplaced=0)),
        ("abbcd", Verdict(lost=0, doubled=1, invented=0, misplaced=0)),
        ("abcdxx", Verdict(lost=0, doubled=1, invented=0, misplaced=0)),
        ("abcdz", Verdict(lost=0, doubled=0, invented=1, misplaced=0)),
        ("acbd", Verdict(lost=0, doubled=0, invented=0, misplaced=1)),
        ("", Verdict(lost=4, doubled=0, invented=0, misplaced=0)),
    ],
)
def test_every_kind_of_damage_is_seen(held: str, verdict: Verdict) -> None:
    assert judge(TOLD, held) == verdict
    assert not verdict.good


def test_a_journal_tells_what_was_acknowledged_from_what_is_unknown(tmp_path: Path) -> None:
    first, second = tmp_path / "0", tmp_path / "1"
    journal = Journal(first)
    journal.put([b"a", b"b"])
    journal.acknowledged()
    journal.put([b"refused"])
    journal.put([b"in flight"])
    journal = Journal(second)
    journal.put([b"c"])
    journal.acknowledged()
    with second.open("ab") as file:
        file.write(b"put 0123")
    kept = tuple(name_of(event) for event in (b"a", b"b", b"c"))
    assert read([first, second]) == Told(kept, frozenset({name_of(b"refused"), name_of(b"in flight")}))


@pytest.mark.parametrize(
    ("buried", "faults"),
    [
        ("b", []),
        ("bu", []),
        ("", ["refused but not buried: 1"]),
        ("bz", ["buried though good: 1"]),
    ],
)
def test_dead_letters_are_what_was_to_be_refused(buried: str, faults: list[str]) -> None:
    told = Told(("a",), frozenset(), bad=frozenset("b"), unknown_bad=frozenset("u"))
    assert judge_bad([told], frozenset(buried)) == faults


@pytest.mark.parametrize("module", ["verdict", "journal", "holdings", "ledgerfile", "deadletters"])
def test_the_checker_shares_no_code_with_what_it_checks(module: str) -> None:
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {name for name in imported if name.startswith(OURS)} <= {SHARED}
