"""Where things are in the archive: object names, which are also the siphon's cursor.

``events/v1/date=2026-11-21/partition=003/{stream}.{first}-{last}.parquet`` holds a partition's messages from stream
sequence ``first`` to ``last``, taken by the log on that UTC day. ``blobs/v1/{tenant}/{sha256}`` holds one part of a
content that is too large for its event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from nervous_system.events import utc
from nervous_system.streams import StreamIdentity

EVENTS = "events/v1/"
BLOBS = "blobs/v1/"
RECORDED_METADATA = "recorded-us"

_NAME = re.compile(
    r"events/v1/date=(\d{4}-\d{2}-\d{2})/partition=(\d{3,})/(?P<stream>[^/]+)\.(\d{20})-(\d{20})\.parquet"
)


@dataclass(frozen=True, slots=True)
class EventsObject:
    """An object of events, and the same as its name."""

    day: date
    partition: int
    stream: StreamIdentity
    first_sequence: int
    last_sequence: int

    @property
    def key(self) -> str:
        """The object's name."""
        span = f"{self.first_sequence:020d}-{self.last_sequence:020d}"
        return f"{partition_folder(self.day, self.partition)}{self.stream}.{span}.parquet"

    @classmethod
    def parse(cls, key: str) -> EventsObject | None:
        """Reads an object's name; None where it is not one of ours."""
        match = _NAME.fullmatch(key)
        if match is None:
            return None
        try:
            found = cls(
                date.fromisoformat(match[1]),
                int(match[2]),
                StreamIdentity.parse(match["stream"]),
                int(match[4]),
                int(match[5]),
            )
        except ValueError:
            return None
        # A name has one spelling: another one of the same object is none of ours.
        return found if found.key == key else None


def day_of(moment_us: int) -> date:
    """The UTC day of a moment, microseconds since 1970."""
    return utc(moment_us).date()


def day_folder(day: date) -> str:
    """The prefix of all objects of a day."""
    return f"{EVENTS}date={day.isoformat()}/"


def partition_folder(day: date, partition: int) -> str:
    """The prefix of one partition's objects of a day."""
    return f"{day_folder(day)}partition={partition:03d}/"


def parse_day_folder(prefix: str) -> date | None:
    """Reads what ``day_folder`` wrote; None where it is something else."""
    try:
        day = datetime.strptime(prefix, f"{EVENTS}date=%Y-%m-%d/").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return day if day_folder(day) == prefix else None


def blob_key(tenant: str, digest: bytes) -> str:
    """The object of one part of a content, by its SHA-256, within its tenant."""
    return f"{BLOBS}{tenant}/{digest.hex()}"
