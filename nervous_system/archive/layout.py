"""Where things are in the archive: the names of its objects.

``events/v2/date=2026-11-21/bucket=07/{first}-{last}.{digest}.parquet`` holds events that the log took on that UTC day,
of the tenants of that bucket; ``manifests/v1/{number}.json`` says which of these count; ``blobs/v1/{tenant}/{sha256}``
holds one part of a content that is too large for its event. Each name has one content for ever, but for
``manifests/v1/newest``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date

from nervous_system.events import utc

EVENTS = "events/v2/"
MANIFESTS = "manifests/v1/"
BLOBS = "blobs/v1/"
NEWEST = f"{MANIFESTS}newest"
BUCKETS = 16
NAMED_DIGEST_CHARACTERS = 16

_EVENTS_NAME = re.compile(
    r"events/v2/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/bucket=([0-9]{2})/([0-9]{20})-([0-9]{20})\.([0-9a-f]{16})\.parquet"
)
_MANIFEST_NAME = re.compile(r"manifests/v1/([0-9]{20})\.json")
_BLOB_NAME = re.compile(r"blobs/v1/([^/]+)/([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class EventsObject:
    """An object of events, and the same as its name.

    Args:
        day: the UTC day on which the log took its events.
        bucket: of its tenants, see ``bucket_of``.
        first_sequence, last_sequence: the lowest and highest stream sequence in it, for people to read.
        digest: how the file's own SHA-256 starts, hex.
    """

    day: date
    bucket: int
    first_sequence: int
    last_sequence: int
    digest: str

    @property
    def key(self) -> str:
        """The object's name."""
        span = f"{self.first_sequence:020d}-{self.last_sequence:020d}"
        return f"{bucket_folder(self.day, self.bucket)}{span}.{self.digest}.parquet"

    @classmethod
    def of(cls, day: date, tenant: str, span: tuple[int, int], sha256: bytes) -> EventsObject:
        """The object for a file with this SHA-256, of events in ``span`` of sequences of tenants like ``tenant``."""
        return cls(day, bucket_of(tenant), *span, sha256.hex()[:NAMED_DIGEST_CHARACTERS])

    @classmethod
    def parse(cls, key: str) -> EventsObject | None:
        """Reads an object's name; None where it is not one of ours."""
        match = _EVENTS_NAME.fullmatch(key)
        if match is None or int(match[2]) >= BUCKETS:
            return None
        try:
            day = date.fromisoformat(match[1])
        except ValueError:
            return None
        return cls(day, int(match[2]), int(match[3]), int(match[4]), match[5])


def bucket_of(tenant: str) -> int:
    """Which of the buckets a tenant's events are in; fixed for v2."""
    return hashlib.sha256(tenant.encode()).digest()[0] % BUCKETS


def day_of(moment_us: int) -> date:
    """The UTC day of a moment, microseconds since 1970."""
    return utc(moment_us).date()


def day_folder(day: date) -> str:
    """The prefix of all objects of a day."""
    return f"{EVENTS}date={day.isoformat()}/"


def bucket_folder(day: date, bucket: int) -> str:
    """The prefix of one bucket's objects of a day."""
    return f"{day_folder(day)}bucket={bucket:02d}/"


def manifest_key(number: int) -> str:
    """The object of a manifest: 1, 2, 3 …"""
    return f"{MANIFESTS}{number:020d}.json"


def parse_manifest_key(key: str) -> int | None:
    """A manifest's number; None where the name is of something else."""
    match = _MANIFEST_NAME.fullmatch(key)
    return int(match[1]) if match else None


def blob_key(tenant: str, digest: bytes) -> str:
    """The object of one part of a content, by its SHA-256, within its tenant."""
    return f"{BLOBS}{tenant}/{digest.hex()}"


def parse_blob_key(key: str) -> tuple[str, bytes] | None:
    """The tenant and SHA-256 of a part; None where the name is of something else."""
    match = _BLOB_NAME.fullmatch(key)
    return (match[1], bytes.fromhex(match[2])) if match else None
