"""Moments on every engine: each form a person may write, and the borders of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from nervous_system.contract import Checkpoint
from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.events import decode, occurred_us, utc
from nervous_system.ledger.history import History
from nervous_system.ledger.transaction import Engine
from nervous_system.ledger.versions import MAX_INCARNATION, Version
from replay.moments import Moment, MomentError, resolve
from tests.contract.hub import opened_hub
from tests.samples import BEGAN_US, event, event_id

COMMIT = "abcd" * 10
SECOND_US = 1_000_000
# Event n: when it occurred and when it was recorded, seconds after BEGAN_US. 1 and 3 came late, 2 from a slow clock.
TIMES_S = {0: (10, 11), 1: (12, 20), 2: (5, 21), 3: (13, 30), 4: (40, 41)}


def written(second: float) -> str:
    return utc(BEGAN_US + int(second * SECOND_US)).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Told:
    """A history, and what a moment takes of it."""

    history: History

    def taken(self, text: str, known_at: str | None = None, now: datetime | None = None) -> list[int]:
        return self.numbers(resolve(self.history, text, known_at=known_at, now=now))

    def numbers(self, moment: Moment) -> list[int]:
        found = [
            decode(each.data)
            for each in self.history.events(through=moment.through)
            if moment.takes(occurred_us(decode(each.data)), each.recorded_us)
        ]
        return [int(each.agent_sequence) for each in found]

    def version(self, number: int) -> Version:
        version = self.history.version_of_event(event_id(number))
        assert version is not None
        return version


@pytest.fixture
def told(engine: Engine, address: str) -> Iterator[Told]:
    extras: dict[int, dict[str, Any]] = {
        1: {"related_commit_hash": COMMIT},
        2: {"related_commit_hash": "abce" + "0" * 36},
        3: {"related_commit_hash": COMMIT, "checkpoint": Checkpoint(name="release 1")},
    }
    with opened_hub(engine, address) as hub:
        for number, (occurred_s, recorded_s) in TIMES_S.items():
            extra = extras.get(number, {})
            made = event(number, occurred_us=BEGAN_US + occurred_s * SECOND_US, agent_sequence=number, **extra)
            hub.put(made, recorded_us=BEGAN_US + recorded_s * SECOND_US)
        yield Told(hub.history())


def test_a_time_takes_what_had_occurred(told: Told) -> None:
    assert told.taken(written(10)) == [0, 2]
    assert told.taken(written(9.999999)) == [2]
    assert told.taken(written(5)) == [2]
    assert told.taken(written(12.5)) == [0, 1, 2]
    assert told.taken(written(4_000)) == [0, 1, 2, 3, 4]
    with pytest.raises(MomentError, match=r"before the first event.*2023-11-14T22:13:25Z"):
        told.taken(written(4.999999))


def test_known_at_takes_what_had_been_recorded(told: Told) -> None:
    assert told.taken(written(12.5), known_at=written(20)) == [0, 1]
    assert told.taken(written(12.5), known_at=written(19.999999)) == [0]
    assert told.taken("now", known_at=written(21)) == [0, 1, 2]
    assert told.taken("now", known_at=f" {written(30)} ") == [0, 1, 2, 3]
    assert told.taken(f"before:{event_id(3)}", known_at=written(11)) == [0]
    assert told.taken("release 1", known_at=written(0)) == []
    for nonsense in ("yesterday-ish", event_id(1), "now", ""):
        with pytest.raises(MomentError, match="not a time"):
            told.taken("now", known_at=nonsense)


def test_the_same_question_has_the_same_answer_later(engine: Engine, address: str) -> None:
    with opened_hub(engine, address) as hub:
        hub.put(event(1, agent_sequence=1), recorded_us=BEGAN_US + SECOND_US)
        told = Told(hub.history())
        questions = [(written(5), written(3)), ("now", written(3)), (str(told.version(1)), None)]
        before = [told.taken(text, known_at) for text, known_at in questions]
        hub.put(event(2, agent_sequence=2, occurred_us=BEGAN_US), recorded_us=BEGAN_US + 4 * SECOND_US)
        assert [told.taken(text, known_at) for text, known_at in questions] == before == [[1]] * 3
        assert told.taken(written(5)) == [1, 2]


def test_relative_times_and_the_users_zone(told: Told) -> None:
    now = datetime.fromtimestamp(BEGAN_US // SECOND_US + 40, timezone(timedelta(hours=-7)))
    assert told.taken("28 seconds ago", now=now) == [0, 1, 2]
    assert told.taken("1 SECOND AGO", now=now) == [0, 1, 2, 3]
    local = (now - timedelta(seconds=28)).replace(tzinfo=None).isoformat()
    moment = resolve(told.history, local, now=now)
    assert (told.numbers(moment), moment.meaning) == ([0, 1, 2], written(12))
    with pytest.raises(MomentError, match="before the first event"):
        told.taken(local, now=now.astimezone(UTC))
    with pytest.raises(MomentError, match="before the first event"):
        told.taken("1 week ago", now=now)


def test_points_take_everything_up_to_them(told: Told) -> None:
    for number in range(5):
        everything = list(range(number + 1))
        assert told.taken(event_id(number)) == everything
        assert told.taken(f" {event_id(number).upper()} ") == everything
        assert told.taken(str(told.version(number))) == everything
    assert told.taken("now") == told.taken("head") == told.taken("latest") == [0, 1, 2, 3, 4]
    assert told.taken("release 1") == [0, 1, 2, 3]


def test_before_an_event(told: Told) -> None:
    for number in range(1, 5):
        assert told.taken(f"before:{event_id(number)}") == list(range(number))
        assert told.taken(f"before:{told.version(number)}") == list(range(number))
    for first in (event_id(0), str(told.version(0))):
        with pytest.raises(MomentError, match="nothing before it"):
            told.taken(f"before:{first}")
    with pytest.raises(NotFoundError, match="no event"):
        told.taken(f"before:{event_id(9)}")


def test_after_a_commit(told: Told) -> None:
    for text in (COMMIT, COMMIT[:8], COMMIT[:4], COMMIT.upper()):
        assert told.taken(f"commit:{text}") == [0, 1, 2, 3]
    assert told.taken("commit:abce") == [0, 1, 2]
    for few in ("", "abc", "abcz", "abcd" * 20):
        with pytest.raises(MomentError, match="not a commit"):
            told.taken(f"commit:{few}")
    with pytest.raises(NotFoundError, match="carries a commit"):
        told.taken("commit:beef")


def test_an_ambiguous_commit(engine: Engine, address: str) -> None:
    with opened_hub(engine, address) as hub:
        commits = ["abcd0" + "0" * 35, "abcd1" + "0" * 35, "abcd0" + "0" * 35 + "00"]
        hub.put(*(event(n, agent_sequence=n, related_commit_hash=commit) for n, commit in enumerate(commits)))
        told = Told(hub.history())
        with pytest.raises(MomentError, match="ambiguous"):
            told.taken("commit:abcd")
        assert told.taken("commit:abcd1") == [0, 1]
        # A whole hash means itself, even where some event carries a longer text that begins so.
        assert told.taken(f"commit:{commits[0]}") == [0]


def test_what_is_nothing(told: Told) -> None:
    for nothing in ("", "tomorrow", "release", "2026-02-30", "2 fortnights ago", f"{MAX_INCARNATION}-0"):
        with pytest.raises(MomentError, match="is not a moment"):
            told.taken(nothing)
    with pytest.raises(NotFoundError):
        told.taken(event_id(9))
    for version in (f"1-{'0' * 20}-0000", f"99999-{'0' * 20}-0000", f"0-{'0' * 20}-0000"):
        with pytest.raises(EnchantedError, match=version):
            told.taken(version)
    with pytest.raises(MomentError, match="before all time"):
        told.taken("999999999 weeks ago")


def test_a_project_without_events_has_no_moments(engine: Engine, address: str) -> None:
    with opened_hub(engine, address) as hub:
        hub.land(hub.part(b"part"))
        with pytest.raises(NotFoundError, match="no events yet"):
            resolve(hub.history(), "now")
