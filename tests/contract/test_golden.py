"""What a real FoundationDB answered, step by step, against what our engines answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nervous_system.ledger.transaction import KeyValue, LedgerError, VersionstampFuture
from tests.contract.conftest import END, Relative, Space

# A cluster answers hundreds of scenarios over a network; the embedded engine needs seconds.
pytestmark = pytest.mark.timeout(900)

Step = dict[str, Any]
CONFLICT = 1020
READ_ONLY = 2021
FALSE_CONFLICTS_ALLOWED = 0
VERSIONS_HIDDEN = 5  # in either file


class FalseConflictError(Exception):
    """Our engine refused a commit that FoundationDB accepted: safe, but the rest cannot be compared."""


@dataclass
class Scenario:
    """One recorded scenario under way."""

    space: Space
    commits: dict[bytes, int] = field(default_factory=dict)
    open: dict[str, tuple[Relative, VersionstampFuture]] = field(default_factory=dict)
    written: dict[str, set[str]] = field(default_factory=dict)
    versions_hidden: bool = False

    def play(self, recorded: dict[str, Any]) -> None:
        for step in recorded["steps"]:
            self.written.setdefault(step.get("key", ""), set()).add(step["op"])
        for number, step in enumerate(recorded["steps"]):
            self.check(step, f"seed {recorded['seed']}, step {number}: {step}")
        self.compare("", self.pairs(self.space.everything()), recorded["final"], f"seed {recorded['seed']}: final")

    def check(self, step: Step, where: str) -> None:
        refused: LedgerError | None = None
        result = None
        try:
            result = self.act(step)
        except LedgerError as error:
            refused = error
        if refused is not None and refused.code == CONFLICT and "error" not in step:
            raise FalseConflictError(where) from refused
        outcome = (refused.code, refused.text) if refused else (None, None)
        assert outcome == (step.get("error"), step.get("error_text")), where
        if refused:
            del self.open[step["tr"]]
        else:
            self.compare(step.get("key", ""), result, step.get("result"), where)

    def act(self, step: Step) -> Any:  # noqa: PLR0911, PLR0912 - one answer an operation
        name = step["tr"]
        if step["op"] == "begin":
            return self.begin(name)
        transaction, stamp = self.open[name]
        match step:
            case {"op": "get", "key": key}:
                return self.maybe_text(transaction.get(raw(key)))
            case {"op": "sget", "key": key}:
                return self.maybe_text(transaction.get(raw(key), snapshot=True))
            case {"op": "get_range", "begin": begin, "end": end, "limit": limit, "reverse": reverse}:
                return self.pairs(transaction.get_range(raw(begin), raw(end), limit=limit, reverse=reverse))
            case {"op": "get_range"}:
                # Which range was refused is not recorded; the widest one holds it.
                return transaction.get_range(b"", END)
            case {"op": "set", "key": key, "value": value}:
                return transaction.set(raw(key), raw(value))
            case {"op": "clear", "key": key}:
                return transaction.clear(raw(key))
            case {"op": "clear_range", "begin": begin, "end": end}:
                return transaction.clear_range(raw(begin), raw(end))
            case {"op": "add", "key": key, "operand": operand}:
                return transaction.add(raw(key), raw(operand))
            case {"op": "vkey", "prefix": prefix, "user_version": user_version, "value": value}:
                return transaction.set_stamped_key(raw(prefix), user_version.to_bytes(2, "big"), raw(value))
            case {"op": "vvalue", "key": key, "value_prefix": prefix, "user_version": user_version}:
                return transaction.set_stamped_value(raw(key), raw(prefix), user_version.to_bytes(2, "big"))
            case {"op": "rcr", "begin": begin, "end": end}:
                return transaction.add_read_conflict_range(raw(begin), raw(end))
            case {"op": "commit"}:
                return self.commit(name, transaction, stamp)
            case {"op": "cancel"}:
                del self.open[name]
                return transaction.cancel()
        raise AssertionError(f"unknown step {step}")

    def begin(self, name: str) -> None:
        transaction = self.space.begin()
        transaction.read_version()
        self.open[name] = (transaction, transaction.inner.get_versionstamp())

    def commit(self, name: str, transaction: Relative, stamp: VersionstampFuture) -> dict[str, Any]:
        transaction.commit()
        del self.open[name]
        try:
            version = stamp.wait()
        except LedgerError as error:
            return {"committed": {READ_ONLY: "read-only"}.get(error.code, str(error))}
        self.commits[version] = len(self.commits) + 1
        return {"committed": self.commits[version]}

    def text(self, data: bytes) -> str:
        """Hex, with versions replaced as the recording has them."""
        for version, number in self.commits.items():
            data = data.replace(version, b"VS" + number.to_bytes(8, "big"))
        return data.hex()

    def maybe_text(self, data: bytes | None) -> str | None:
        return None if data is None else self.text(data)

    def pairs(self, pairs: list[KeyValue]) -> list[list[str]]:
        return [[self.text(key), self.text(value)] for key, value in pairs]

    def compare(self, key: str, result: Any, expected: Any, where: str) -> None:
        if result != expected:
            self.versions_hidden = True
            assert self.hidden(key, result) == self.hidden(key, expected), where

    def hidden(self, key: str, result: Any) -> Any:
        """The result without the bytes of a commit version that an addition has cut, which no two runs share.

        Of these eight bytes only the first is not of the version.
        """
        if isinstance(result, list):
            return [[key, self.hidden(key, value)] for key, value in result]
        is_sum = isinstance(result, str) and len(result) == 16 and {"vvalue", "add"} <= self.written.get(key, set())
        return result[:2] + "…" if is_sum else result


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def scenarios(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@dataclass
class Replay:
    """How the scenarios of one file came out."""

    count: int = 0
    versions_hidden: int = 0
    false_conflicts: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.count - len(self.false_conflicts)} of {self.count} scenarios compared to the end; in "
            f"{self.versions_hidden} an addition to a versionstamp shows a version that cannot be compared"
        )


def replay(path: Path, space: Space) -> Replay:
    replay = Replay()
    for recorded in scenarios(path):
        scenario = Scenario(space)
        try:
            scenario.play(recorded)
        except FalseConflictError as error:
            replay.false_conflicts.append(str(error))
        space.clear()
        replay.count += 1
        replay.versions_hidden += scenario.versions_hidden
    print(f"{path.name}: {replay}")
    return replay


def test_one_transaction_at_a_time(space: Space, golden: Path) -> None:
    result = replay(golden / "serial.jsonl", space)
    assert result.count == 300
    assert not result.false_conflicts
    assert result.versions_hidden <= VERSIONS_HIDDEN


def test_up_to_three_transactions_at_a_time(space: Space, golden: Path) -> None:
    result = replay(golden / "interleaved.jsonl", space)
    assert result.count == 300
    assert len(result.false_conflicts) <= FALSE_CONFLICTS_ALLOWED, result.false_conflicts
    assert result.versions_hidden <= VERSIONS_HIDDEN
