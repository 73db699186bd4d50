"""Times as a person writes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.ledger.versions import Version
from replay.moments import Moment, MomentError, parse_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone(timedelta(hours=5, minutes=30)))
zones = st.timezones() | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
# A day from the ends of time, where zones lead out of it.
naive = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - naive is what is tested


def microseconds(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // MICROSECOND


@given(naive, zones)
def test_a_time_with_a_zone_is_that_instant(moment: datetime, zone: timezone) -> None:
    # ISO 8601 has offsets of whole seconds.
    offset = moment.replace(tzinfo=zone).utcoffset()
    assert offset is not None
    fixed = moment.replace(tzinfo=timezone(timedelta(seconds=offset // timedelta(seconds=1))))
    assert parse_time(fixed.isoformat(), NOW) == parse_time(f" {fixed.isoformat()}\n") == microseconds(fixed)


@given(naive, zones)
def test_a_time_without_one_is_in_the_users(moment: datetime, zone: timezone) -> None:
    now = NOW.astimezone(zone)
    assert parse_time(moment.isoformat(), now) == microseconds(moment.replace(tzinfo=zone))


def test_the_forms_of_iso_8601() -> None:
    noon = microseconds(datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
    for text in (
        "2026-11-21T12:00Z",
        "2026-11-21 12:00:00Z",
        "20261121T120000Z",
        "2026-11-21T17:30",
        "2026-11-21T13:00+01:00",
    ):
        assert parse_time(text, NOW) == noon
    assert parse_time("2026-11-21", NOW) == noon - (17 * 60 + 30) * 60 * 1_000_000


@given(st.integers(0, 10_000), st.sampled_from(["second", "minute", "hour", "day", "week"]), st.booleans())
def test_relative_times_count_from_now(count: int, unit: str, is_plural: bool) -> None:
    text = f" {count}  {unit}{'s' if is_plural else ''} AGO "
    assert parse_time(text, NOW) == microseconds(NOW - count * timedelta(**{f"{unit}s": 1}))


def test_now_is_the_machines_where_none_is_given() -> None:
    before = time.time_ns() // 1_000
    found = parse_time("0 seconds ago")
    assert found is not None
    assert before <= found <= time.time_ns() // 1_000


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield ZoneInfo("America/New_York")
    monkeypatch.undo()
    time.tzset()


def test_the_machines_zone_has_the_offset_of_that_day(in_new_york: ZoneInfo) -> None:
    """Summer's times are summer's when they are asked for in winter, and the other way round."""
    for month in range(1, 13):
        moment = datetime(2026, month, 1, 12, 0)  # noqa: DTZ001
        assert parse_time(moment.isoformat()) == microseconds(moment.replace(tzinfo=in_new_york))


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{4}-?[0-9]{2}.{0,20}", fullmatch=True))
def test_nonsense_is_no_time(text: str) -> None:
    try:
        found = parse_time(text, NOW)
        assert found == parse_time(text, NOW)
    except MomentError:
        return
    # What is one can be told to the person who asked.
    assert found is None or EPOCH + found * MICROSECOND


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1999",
        "2026-13-01",
        "2026-02-30",
        "2026-11-21T25:00",
        "2 fortnights ago",
        "-1 days ago",
        "2 days",
        "2026-W01-1",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-12:00",
        "2026-11-21T12:00Zulu",
        "²0 days ago",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text, NOW) is None
    assert parse_time(text) is None


def test_before_all_time() -> None:
    with pytest.raises(MomentError, match="before all time"):
        parse_time("999999999 weeks ago", NOW)


times = st.integers(-10, 10)


@given(times, times, st.none() | times, st.none() | times)
def test_a_moment_takes_what_both_clocks_had(
    occurred: int, recorded: int, at: int | None, known_at: int | None
) -> None:
    takes = Moment(Version(1, bytes(12)), at, known_at).takes(occurred, recorded)
    assert takes == (occurred <= (10 if at is None else at) and recorded <= (10 if known_at is None else known_at))
