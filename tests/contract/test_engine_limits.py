"""What is refused, with which code, and where: at the operation or at commit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nervous_system.ledger.transaction import LedgerError
from tests.contract.conftest import END, GOLDEN, Relative, Space

TOO_OLD = 1007
AGE_LIMIT_S = 30.0


def long_key(size: int) -> Callable[[Relative], object]:
    return lambda tr: tr.set(b"k" * (size - len(tr.prefix)), b"")


def long_value(size: int) -> Callable[[Relative], object]:
    return lambda tr: tr.set(b"v", bytes(size))


def read_long_key(size: int) -> Callable[[Relative], object]:
    def act(tr: Relative) -> None:
        assert tr.get(b"k" * (size - len(tr.prefix))) is None

    return act


def megabytes(count: int) -> Callable[[Relative], object]:
    def act(tr: Relative) -> None:
        for number in range(count * 10):
            tr.set(b"%d" % number, bytes(100_000))

    return act


def nothing_between(begin: bytes, end: bytes) -> Callable[[Relative], object]:
    def act(tr: Relative) -> None:
        assert tr.get_range(begin, end) == []

    return act


def read_own_stamped_key(tr: Relative) -> object:
    tr.set_stamped_key(b"k", b"", b"")
    return tr.get_range(b"", END)


def read_own_stamped_value(tr: Relative) -> object:
    tr.set_stamped_value(b"v", b"", b"")
    return tr.get(b"v")


def set_after_commit(tr: Relative) -> None:
    tr.set(b"a", b"")
    tr.commit()
    tr.set(b"b", b"")


def stamp_of_read_only(tr: Relative) -> object:
    future = tr.get_versionstamp()
    tr.commit()
    return future.wait()


CASES: dict[str, Callable[[Relative], object]] = {
    "set_key_9999": long_key(9_999),
    "set_key_10000": long_key(10_000),
    "set_key_10001": long_key(10_001),
    "set_value_99999": long_value(99_999),
    "set_value_100000": long_value(100_000),
    "set_value_100001": long_value(100_001),
    "get_key_10001": read_long_key(10_001),
    "get_key_20000": read_long_key(20_000),
    "transaction_9MB": megabytes(9),
    "transaction_10MB": megabytes(10),
    "transaction_11MB": megabytes(11),
    "inverted_range": nothing_between(b"b", b"a"),
    "empty_range": nothing_between(b"a", b"a"),
    "inverted_clear": lambda tr: tr.clear_range(b"b", b"a"),
    "empty_key": lambda tr: tr.set(b"", b""),
    "system_key": lambda tr: tr.inner.set(b"\xff/x", b""),
    "read_system_key": lambda tr: tr.inner.get(b"\xff/x"),
    "range_to_ff": lambda tr: tr.inner.get_range(tr.prefix, b"\xff", limit=1),
    "range_past_ff": lambda tr: tr.inner.get_range(tr.prefix, b"\xff\xff", limit=1),
    "vs_key_short": lambda tr: tr.inner.set_versionstamped_key(b"abc", b""),
    "vs_key_offset_past_end": lambda tr: tr.inner.set_versionstamped_key(bytes(12) + b"\x03\0\0\0", b""),
    "vs_value_offset_past_end": lambda tr: tr.inner.set_versionstamped_value(tr.prefix, bytes(12) + b"\x03\0\0\0"),
    "read_own_vs_key": read_own_stamped_key,
    "read_own_vs_value": read_own_stamped_value,
    "add_to_missing": lambda tr: tr.add(b"n", bytes(8)),
    "add_other_width": lambda tr: tr.add(b"n", bytes(4)),
    "set_after_commit": set_after_commit,
    "versionstamp_of_read_only": stamp_of_read_only,
}
SLOW_CASES = {"read_after_7s", "commit_after_7s"}

Outcome = tuple[str | None, int | None, str | None]


def recorded() -> dict[str, Outcome]:
    cases = json.loads((GOLDEN / "limits.json").read_text(encoding="utf-8"))["cases"]
    return {case["case"]: (case["fails_at"], case["error"], case["error_text"]) for case in cases}


def outcome(act: Callable[[], object], commit: Callable[[], object]) -> Outcome:
    """Where it fails, and how."""
    for place, step in (("operation", act), ("commit", commit)):
        try:
            step()
        except LedgerError as error:
            return place, error.code, error.text
    return None, None, None


def commit_unless_done(name: str, tr: Relative) -> Callable[[], object]:
    """The commit that follows; in one case it is a second one, and in one there is none."""
    return (lambda: None) if name == "versionstamp_of_read_only" else tr.commit


def test_every_recorded_case_is_here(golden: Path) -> None:
    assert recorded().keys() == CASES.keys() | SLOW_CASES


@pytest.mark.parametrize("name", CASES)
def test_refuses_what_foundationdb_refuses(space: Space, golden: Path, name: str) -> None:
    tr = space.begin()
    assert outcome(lambda: CASES[name](tr), commit_unless_done(name, tr)) == recorded()[name]


def test_a_refused_transaction_changes_nothing(space: Space) -> None:
    tr = space.begin()
    tr.set(b"a", b"1")
    tr.set(b"b", bytes(100_001))
    tr.set(b"c", b"1")
    with pytest.raises(LedgerError, match="2103"):
        tr.get(b"a")
    with pytest.raises(LedgerError, match="2103"):
        tr.commit()
    assert space.everything() == []


def test_an_addition_takes_the_width_of_its_operand(space: Space) -> None:
    for operand in (b"\x05" + bytes(7), b"\x07" + bytes(3)):
        tr = space.begin()
        tr.add(b"n", operand)
        tr.commit()
    assert space.read(b"n") == b"\x0c\0\0\0"


def test_after_five_seconds_a_transaction_is_too_old(space: Space, golden: Path) -> None:
    space.put(a=b"1")
    older, younger, blind = space.begin(), space.begin(), space.begin()
    older.get(b"a")
    older.set(b"b", b"1")
    blind.set(b"c", b"1")
    younger.get(b"a")
    deadline = time.monotonic() + AGE_LIMIT_S

    def read_until_refused() -> None:
        key = 0
        while time.monotonic() < deadline:
            # Another key each time: what was read once is remembered by FoundationDB's client.
            younger.get(b"%d" % key)
            key += 1
            time.sleep(0.02)

    assert outcome(read_until_refused, younger.commit) == recorded()["read_after_7s"]
    assert outcome(lambda: None, older.commit) == recorded()["commit_after_7s"]
    blind.commit()
    assert [key for key, _ in space.everything()] == [b"a", b"c"]
