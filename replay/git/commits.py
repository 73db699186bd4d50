"""A commit as Git stores it, read into a value (gitdatamodel(7), git-commit-tree(1))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

# The last second of the year 9999: what Timestamp, and Python, can still say.
_LAST_S = 253_402_300_799
_SIGNATURE = re.compile(rb"(.*?) ?<(.*)>[^>]*?(?: (-?[0-9]{1,20}))?(?: ([+-][0-9]{4}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signature:
    """Who, and when.

    Args:
        name: without the address.
        email: without the angle brackets.
        time_s: seconds since 1970; clamped to the years 1970 to 9999.
        offset_minutes: what the clock on their wall was ahead of UTC.
    """

    name: str
    email: str
    time_s: int
    offset_minutes: int

    @property
    def identity(self) -> str:
        """``Name <email>``."""
        return f"{self.name} <{self.email}>".lstrip()

    @property
    def date(self) -> str:
        """ISO 8601, with the offset."""
        moment = datetime.fromtimestamp(self.time_s, UTC)
        try:
            return moment.astimezone(timezone(timedelta(minutes=self.offset_minutes))).isoformat()
        except (ValueError, OverflowError):
            # Offsets of a day and more exist in the wild; the moment is right without them.
            return moment.isoformat()


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. Texts are decoded from the encoding the commit names, undecodable bytes replaced."""

    sha: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str

    @classmethod
    def parse(cls, sha: str, raw: bytes) -> Commit:
        """Reads the object ``sha``; what a broken commit lacks stays empty."""
        head, _, message = raw.partition(b"\n\n")
        headers: dict[bytes, list[bytes]] = {}
        for line in head.split(b"\n"):
            # A header's further lines begin with a space: an empty name, which nobody asks for.
            name, _, value = line.partition(b" ")
            headers.setdefault(name, []).append(value)
        encoding = headers.get(b"encoding", [b"utf-8"])[0].decode("ascii", "replace")
        return cls(
            sha=sha,
            parents=tuple(parent.decode("ascii", "replace") for parent in headers.get(b"parent", [])),
            author=_signature(headers.get(b"author", [b""])[0], encoding),
            committer=_signature(headers.get(b"committer", [b""])[0], encoding),
            message=decoded(message, encoding).rstrip("\n"),
        )


def decoded(raw: bytes, encoding: str) -> str:
    """``raw`` as text that protobuf can carry; UTF-8 with replacements where the encoding is unknown."""
    try:
        text = raw.decode(encoding, "replace")
    except (LookupError, ValueError):
        text = raw.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode("utf-8")


def _signature(raw: bytes, encoding: str) -> Signature:
    match = _SIGNATURE.fullmatch(raw)
    if match is None:
        return Signature(decoded(raw, encoding), "", 0, 0)
    time_s = min(max(int(match[3] or 0), 0), _LAST_S)
    offset = int(match[4] or 0)
    minutes = (abs(offset) // 100 * 60 + abs(offset) % 100) * (1 if offset >= 0 else -1)
    return Signature(decoded(match[1], encoding), decoded(match[2], encoding), time_s, minutes)
