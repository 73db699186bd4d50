"""Moments: what a person writes for a point in a project's history, and what it means.

A *time* takes every event that both clocks had by then; a *point* takes everything up to it in the ledger's own order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.events import utc
from nervous_system.ledger.history import History, NamedMoment
from nervous_system.ledger.versions import Version

HELP = (
    "write a time (2026-11-21T15:00Z, '2 hours ago'), commit:SHA, an event id, before:EVENT, a version, "
    "a checkpoint's name, or now"
)

_UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_RELATIVE = re.compile(r"(\d{1,9}) +(second|minute|hour|day|week)s? +ago")
_EVENT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VERSION = re.compile(r"\d{1,5}-[0-9a-f]{20}-[0-9a-f]{4}")
_COMMIT = re.compile(r"[0-9a-f]{4,64}")
_STARTS_LIKE_A_TIME = re.compile(r"\d{4}-?\d{2}")


class MomentError(EnchantedError):
    """A moment cannot be read, or names nothing."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in a project's history.

    Args:
        through: the last version taken.
        at_us: of those, only events that occurred by then, microseconds since 1970; None: all.
        known_at_us: of those, only events that the log had by then; None: all.
        meaning: what was understood, for the person who asked.
    """

    through: Version
    at_us: int | None = None
    known_at_us: int | None = None
    meaning: str = ""

    def takes(self, occurred_us: int, recorded_us: int) -> bool:
        """Whether an event with these times, at or before ``through``, belongs to the moment."""
        return (self.at_us is None or occurred_us <= self.at_us) and (
            self.known_at_us is None or recorded_us <= self.known_at_us
        )


def parse_time(text: str, now: datetime | None = None) -> int | None:
    """A time in microseconds since 1970; None where the text is not a time.

    Args:
        text: ISO 8601, in the user's own zone where it names none, or "N minutes ago" and the like.
        now: the user's present, aware, in their zone; the machine's where absent.
    """
    text = text.strip()
    relative = _RELATIVE.fullmatch(text.lower())
    if relative is not None:
        try:
            moment = (now or datetime.now(UTC)) - timedelta(seconds=int(relative[1]) * _UNITS[relative[2]])
        except OverflowError as error:
            raise MomentError(f"{text!r} is before all time.") from error
        return _microseconds(moment)
    if not _STARTS_LIKE_A_TIME.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None and now is not None:
            moment = moment.replace(tzinfo=now.tzinfo)
        # What names no zone is in the machine's, with the offset of that day, not of today.
        return _microseconds(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def resolve(history: History, text: str, *, known_at: str | None = None, now: datetime | None = None) -> Moment:
    """What ``text`` means in this project.

    Args:
        history: the project.
        text: see HELP.
        known_at: a time: only what the log had by then.
        now: the user's present; the machine's where absent.

    Raises:
        MomentError: the text cannot be read, is ambiguous, or lies before the first event.
        NotFoundError: it names an event, commit or checkpoint that is not there.
    """
    moment = _resolve(history, text.strip(), now)
    if known_at is None:
        return moment
    known_at_us = parse_time(known_at, now)
    if known_at_us is None:
        raise MomentError(f"{known_at!r} is not a time: known-at takes a time such as 2026-11-21T15:00Z.")
    return replace(moment, known_at_us=known_at_us, meaning=f"{moment.meaning}, as known at {_in_utc(known_at_us)}")


def _resolve(history: History, text: str, now: datetime | None) -> Moment:
    if text in ("now", "head", "latest"):
        return Moment(history.head().version, meaning="now")
    if text.startswith("commit:"):
        return _commit(history, text.removeprefix("commit:"))
    if text.startswith("before:"):
        return _before(history, text.removeprefix("before:"))
    if _EVENT_ID.fullmatch(text.lower()) or _VERSION.fullmatch(text):
        return Moment(point(history, text), meaning=f"event {text}")
    at_us = parse_time(text, now)
    if at_us is not None:
        return _time(history, at_us)
    named = history.named(text)
    if named is not None:
        return Moment(through(history, named), meaning=f"checkpoint {text!r}")
    raise MomentError(f"{text!r} is not a moment: {HELP}. No checkpoint of {history.name} is called so.")


def point(history: History, text: str) -> Version:
    """The version of an event, given by its id or as a version; raises NotFoundError where it is not there."""
    if _VERSION.fullmatch(text):
        return history.event(Version.parse(text)).version
    version = history.version_of_event(text.lower())
    if version is None:
        raise NotFoundError(f"Project {history.name} has no event {text}.")
    return version


def through(history: History, named: NamedMoment) -> Version:
    """The last version that a checkpoint's name stands for; raises NotFoundError where that event is not there."""
    return point(history, named.through_event_id) if named.through_event_id else named.version


def _time(history: History, at_us: int) -> Moment:
    head = history.head()
    if at_us < head.first_occurred_us:
        raise MomentError(
            f"{_in_utc(at_us)} is before the first event of {history.name}, which occurred at "
            f"{_in_utc(head.first_occurred_us)}: ask for a later moment."
        )
    return Moment(head.version, at_us=at_us, meaning=_in_utc(at_us))


def _commit(history: History, abbreviation: str) -> Moment:
    if not _COMMIT.fullmatch(abbreviation.lower()):
        raise MomentError(f"{abbreviation!r} is not a commit: give at least 4 hexadecimal digits of its hash.")
    found = history.commits(abbreviation.lower())
    if not found:
        raise NotFoundError(f"No event of {history.name} carries a commit {abbreviation}.")
    # A whole hash is never ambiguous, whatever longer text an event carries.
    found = {abbreviation.lower(): exact} if (exact := found.get(abbreviation.lower())) else found
    if len(found) > 1:
        raise MomentError(f"commit:{abbreviation} is ambiguous in {history.name}: give more digits.")
    commit, version = next(iter(found.items()))
    return Moment(version, meaning=f"commit {commit}")


def _before(history: History, text: str) -> Moment:
    version = point(history, text)
    for event in history.events(through=version, reverse=True):
        if event.version < version:
            return Moment(event.version, meaning=f"just before event {text}")
    raise MomentError(f"Event {text} is the first of {history.name}: there is nothing before it.")


def _in_utc(moment_us: int) -> str:
    return utc(moment_us).isoformat(timespec="auto").replace("+00:00", "Z")
