"""The ledger's keys, in tuple encoding: the design's table as code.

A version in a key is two elements, the incarnation and the versionstamp, always 15 bytes, so that it can be cut off a
key's end without decoding the rest. Keys of events about to be written are FoundationDB's versionstamped keys: they
end in the 4-byte little-endian offset of the 10 bytes that the commit fills in.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from functools import lru_cache

from nervous_system.ledger import tuples
from nervous_system.ledger.versions import STAMP_BYTES, Version

Range = tuple[bytes, bytes]

_INTEGER_OF_ONE_BYTE = 0x15
_VERSIONSTAMP = 0x33
VERSION_BYTES = 3 + STAMP_BYTES
_BEFORE_STAMP_BYTES = 3
_UNSET = b"\xff" * 10
_OFFSET = struct.Struct("<I")


def encode_version(version: Version) -> bytes:
    """The 15 bytes of a version in a key."""
    return bytes((_INTEGER_OF_ONE_BYTE, version.incarnation, _VERSIONSTAMP)) + version.stamp


def version_at_end(key: bytes) -> Version:
    """The version that ``key`` ends in."""
    return Version(key[-VERSION_BYTES + 1], key[-STAMP_BYTES:])


def text_before_version(key: bytes, head: bytes) -> str:
    """The text element that stands in ``key`` between ``head`` and the version at its end."""
    # Packed text is its code, its bytes and a zero; a zero byte within it is escaped.
    return key[len(head) + 1 : -VERSION_BYTES - 1].replace(b"\x00\xff", b"\x00").decode("utf-8")


def committed(head: bytes, incarnation: int, place: int, tail: bytes = b"") -> bytes:
    """A versionstamped key: ``head``, the version of this transaction's event number ``place``, ``tail``."""
    return head + _version_to_come(incarnation, place) + tail + _OFFSET.pack(len(head) + _BEFORE_STAMP_BYTES)


def all_committed(rows: Iterable[tuple[bytes, bytes]], incarnation: int, place: int) -> list[tuple[bytes, bytes]]:
    """The same of every row's head, with its value."""
    version = _version_to_come(incarnation, place)
    return [(head + version + _OFFSET.pack(len(head) + _BEFORE_STAMP_BYTES), value) for head, value in rows]


def _version_to_come(incarnation: int, place: int) -> bytes:
    return bytes((_INTEGER_OF_ONE_BYTE, incarnation, _VERSIONSTAMP)) + _UNSET + place.to_bytes(2, "big")


def within(head: bytes) -> Range:
    """All keys that continue ``head`` with at least one element."""
    return head + b"\x00", head + b"\xff"


def after(key: bytes) -> bytes:
    """The first key behind ``key`` and everything that continues it."""
    return key + b"\xff"


class ProjectKeys:
    """The keys of one project, under its directory's prefix."""

    def __init__(self, prefix: bytes) -> None:
        self.head = tuples.pack(("head",), prefix)
        self.incarnation = tuples.pack(("incarnation",), prefix)
        self.origin = tuples.pack(("origin",), prefix)
        self.events = tuples.pack(("event",), prefix)
        self.paths = tuples.pack(("path",), prefix)
        self.snapshots = tuples.pack(("snapshot",), prefix)
        self.manifests = tuples.pack(("manifest",), prefix)
        self._prefix = prefix
        self._occurred = tuples.pack(("occurred",), prefix)
        self._recorded = tuples.pack(("recorded",), prefix)
        self._contents = tuples.pack(("content",), prefix)
        self._decisions = tuples.pack(("decision",), prefix)
        self.ids = tuples.pack(("id",), prefix)

    def id(self, event_id: str) -> bytes:
        """Where the version of an event is found by its id."""
        return tuples.pack_one(event_id, self.ids)

    def event(self, version: Version) -> bytes:
        """Where an event's value begins."""
        return self.events + encode_version(version)

    def occurred(self, occurred_us: int | None = None) -> bytes:
        """The index by the agents' clock, whole or at one moment; a version follows the moment."""
        return self._occurred if occurred_us is None else tuples.pack_one(occurred_us, self._occurred)

    def recorded(self, recorded_us: int | None = None) -> bytes:
        """The index by the log's clock, whole or at one moment; a version follows the moment."""
        return self._recorded if recorded_us is None else tuples.pack_one(recorded_us, self._recorded)

    def path(self, resource: str) -> bytes:
        """One file's life; a version follows."""
        return tuples.pack_one(resource, self.paths)

    def paths_below(self, folder: str) -> Range:
        """The lives of all files below a folder."""
        # A packed string ends in a zero byte; without it, it is the beginning of all longer ones.
        opening = self.path(f"{folder}/")[:-1]
        return opening, opening + b"\xff"

    def commit(self, commit_hash: str | None = None) -> bytes:
        """Events that carry a commit, by its hash; a version follows the hash."""
        return self._index("commit", commit_hash)

    def commits_beginning(self, abbreviation: str) -> Range:
        """All commits whose hash begins with ``abbreviation``."""
        # A packed string ends in a zero byte; without it, it is the beginning of all longer ones.
        opening = self.commit(abbreviation)[:-1]
        return opening, opening + b"\xff"

    def checkpoint(self, name: str | None = None) -> bytes:
        """Checkpoints by name; a version follows the name."""
        return self._index("checkpoint", name)

    def decisions(self, agent_id: str, session_id: str) -> bytes:
        """Decisions of an agent in a session; a version follows. Names of any length make a key of one length."""
        return tuples.pack_one(_session_digest(agent_id, session_id), self._decisions)

    def snapshot(self, version: Version) -> bytes:
        """What is said of the snapshot that holds everything up to a version."""
        return self.snapshots + encode_version(version)

    def manifest(self, version: Version) -> bytes:
        """Where that snapshot's manifest begins; the number of a chunk follows."""
        return self.manifests + encode_version(version)

    def content(self, digest: bytes) -> bytes:
        """Where a content is to be had, by its SHA-256."""
        return tuples.pack_one(digest, self._contents)

    def _index(self, name: str, element: str | None) -> bytes:
        return tuples.pack((name,) if element is None else (name, element), self._prefix)


@lru_cache(maxsize=1024)
def _session_digest(agent_id: str, session_id: str) -> bytes:
    agent, session = agent_id.encode(), session_id.encode()
    return hashlib.sha256(len(agent).to_bytes(8, "big") + agent + session).digest()


def chunk(first: bytes, number: int) -> bytes:
    """Where chunk ``number`` (1, 2, …) of the value that begins at key ``first`` continues."""
    return first + tuples.pack((number,))


def blob(tenant_prefix: bytes, digest: bytes) -> bytes:
    """Where a tenant's stored content begins, by its SHA-256."""
    return tuples.pack_one(digest, _blobs(tenant_prefix))


@lru_cache(maxsize=1_024)
def _blobs(tenant_prefix: bytes) -> bytes:
    return tuples.pack(("blob",), tenant_prefix)


def cursor(system_prefix: bytes, sink: str, stream: str, partition: int) -> bytes:
    """How far ``sink`` has landed ``partition`` of the stream."""
    return tuples.pack(("cursor", sink, stream, partition), system_prefix)
