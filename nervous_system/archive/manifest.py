"""Manifests: the numbered, chained objects that say what the archive holds. Values, and their bytes.

A manifest is two or three lines: the header, canonical JSON; the body, base64 of zlib-deflated canonical JSON; and
where a key is set ``ed25519 {key id} {base64 of the signature of the header's line}``. Its hash is SHA-256 of the
header's line.
Canonical JSON is RFC 8785 for what occurs here: keys sorted, no blanks, whole numbers, UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.landing import Cursor
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity

VERSION = 1
# Each so many manifests one lists everything, so that a reader needs no more than these.
FULL_EVERY = 64
GENESIS = bytes(32)

Place = tuple[StreamIdentity, int]
"""A stream and a partition of it: what a cursor is kept for."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Which sequences of a partition a file has events of: from ``first`` to ``last``."""

    stream: str
    partition: int
    first: int
    last: int

    @property
    def place(self) -> Place:
        return StreamIdentity.parse(self.stream), self.partition


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A Parquet file of events.

    Args:
        key: the object's name.
        size_bytes: of the object.
        sha256: of the object, 32 bytes.
        rows: how many events it has.
        events_root: Merkle root over the SHA-256 of each row's event bytes, in row order, 32 bytes.
        spans: the sequences in it, for each stream and partition.
        recorded_us: lowest and highest recorded time, microseconds since 1970.
        tenants: first and last tenant, as sorted.
    """

    key: str
    size_bytes: int
    sha256: bytes
    rows: int
    events_root: bytes
    spans: tuple[Span, ...]
    recorded_us: tuple[int, int]
    tenants: tuple[str, str]

    def document(self) -> dict[str, Any]:
        """As it stands in a manifest's body."""
        return {
            "key": self.key,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256.hex(),
            "rows": self.rows,
            "events_root": self.events_root.hex(),
            "spans": [[span.stream, span.partition, span.first, span.last] for span in self.spans],
            "recorded_us": list(self.recorded_us),
            "tenants": list(self.tenants),
        }

    def canonical(self) -> bytes:
        """Its canonical JSON: the leaf that stands for it in the manifest's root."""
        return canonical(self.document())

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> FileEntry:
        """Reads what ``document`` gave."""
        return cls(
            str(document["key"]),
            int(document["size_bytes"]),
            bytes.fromhex(document["sha256"]),
            int(document["rows"]),
            bytes.fromhex(document["events_root"]),
            tuple(Span(*span) for span in document["spans"]),
            (document["recorded_us"][0], document["recorded_us"][1]),
            (document["tenants"][0], document["tenants"][1]),
        )


@dataclass(frozen=True, slots=True)
class ProjectHead:
    """How many events of a project are archived, and SHA-256 chained over their bytes in log order, 32 bytes."""

    events: int = 0
    chain: bytes = GENESIS

    def extended(self, event: bytes) -> ProjectHead:
        """The head once ``event`` is added."""
        return ProjectHead(self.events + 1, hashlib.sha256(self.chain + event).digest())


@dataclass(frozen=True, slots=True)
class Change:
    """What one manifest changes: files that count from now on and no longer, cursors and heads that moved.

    Args:
        added: new files.
        removed: names of files that no longer count.
        cursors: where partitions stand now, of those that moved.
        heads: where projects stand now, of those that grew.
    """

    added: tuple[FileEntry, ...] = ()
    removed: tuple[str, ...] = ()
    cursors: Mapping[Place, Cursor] = field(default_factory=dict)
    heads: Mapping[ProjectName, ProjectHead] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As it stands in a manifest's body; sorted, so that equal changes have equal bytes."""
        return {
            "added": [entry.document() for entry in sorted(self.added, key=lambda entry: entry.key)],
            "removed": sorted(self.removed),
            "cursors": sorted(
                [str(stream), partition, cursor.sequence, cursor.recorded_us]
                for (stream, partition), cursor in self.cursors.items()
            ),
            "heads": sorted(
                [project.tenant, project.project, head.events, head.chain.hex()] for project, head in self.heads.items()
            ),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Change:
        """Reads what ``document`` gave."""
        return cls(
            tuple(map(FileEntry.of, document["added"])),
            tuple(map(str, document["removed"])),
            {
                (StreamIdentity.parse(stream), int(partition)): Cursor(int(sequence), int(recorded_us))
                for stream, partition, sequence, recorded_us in document["cursors"]
            },
            {
                ProjectName(tenant, project): ProjectHead(int(events), bytes.fromhex(chain))
                for tenant, project, events, chain in document["heads"]
            },
        )


@dataclass(frozen=True, slots=True)
class Body:
    """What a manifest changes, and in a full one also all that stands after it, as a change from nothing."""

    change: Change
    state: Change | None = None

    def document(self) -> dict[str, Any]:
        """As it is written."""
        if self.state is None:
            return self.change.document()
        state = self.state.document()
        del state["removed"]
        return {**self.change.document(), "state": {**state, "files": state.pop("added")}}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Body:
        """Reads what ``document`` gave."""
        state = document.get("state")
        whole = None if state is None else Change.of({**state, "added": state["files"], "removed": []})
        return cls(Change.of(document), whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A manifest's first line.

    Args:
        number: 1, 2, 3 …
        previous: hash of the manifest before; 32 zero bytes for the first.
        created_us: by its writer's clock, microseconds since 1970.
        nonce: random, so that two writers never make the same header.
        root: Merkle root over the canonical JSON of all files that count after it, by name.
        files: how many these are.
        body_sha256: of the second line as it stands.
        full: number of the last manifest, this one included, whose body lists everything.
    """

    number: int
    previous: bytes
    created_us: int
    nonce: str
    root: bytes
    files: int
    body_sha256: bytes
    full: int

    def line(self) -> bytes:
        """The first line, without its end."""
        return canonical(
            {
                "version": VERSION,
                "number": self.number,
                "previous": self.previous.hex(),
                "created_us": self.created_us,
                "nonce": self.nonce,
                "root": self.root.hex(),
                "files": self.files,
                "body_sha256": self.body_sha256.hex(),
                "full": self.full,
            }
        )

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Header:
        """Reads the first line's JSON."""
        return cls(
            number=int(document["number"]),
            previous=bytes.fromhex(document["previous"]),
            created_us=int(document["created_us"]),
            nonce=str(document["nonce"]),
            root=bytes.fromhex(document["root"]),
            files=int(document["files"]),
            body_sha256=bytes.fromhex(document["body_sha256"]),
            full=int(document["full"]),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest: what it says, and its lines as they stand.

    Args:
        header: the first line, read.
        body: the second line, read.
        lines: header, body, and the signature where there is one; without their ends.
    """

    header: Header
    body: Body
    lines: tuple[bytes, ...]

    @property
    def number(self) -> int:
        return self.header.number

    @property
    def change(self) -> Change:
        """What it changes."""
        return self.body.change

    @property
    def is_full(self) -> bool:
        """Whether it lists everything."""
        return self.header.full == self.header.number

    @property
    def hash(self) -> bytes:
        """SHA-256 of its first line, 32 bytes."""
        return hashlib.sha256(self.lines[0]).digest()

    @property
    def signature(self) -> bytes | None:
        """Its third line; None where it is not signed."""
        return self.lines[2] if len(self.lines) > 2 else None

    def encode(self) -> bytes:
        """Its bytes."""
        return b"".join(line + b"\n" for line in self.lines)

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Reads what ``encode`` wrote.

        Raises:
            ArchiveDamagedError: it is something else, or the body is not the one that the header names.
        """
        lines = tuple(data.split(b"\n")[:-1])
        if not data.endswith(b"\n") or len(lines) not in (2, 3):
            raise ArchiveDamagedError("a manifest does not have two or three lines")
        try:
            header = read_header(lines[0])
            if hashlib.sha256(lines[1]).digest() != header.body_sha256:
                raise ArchiveDamagedError(f"the body of manifest {header.number} is not the one that its header names")
            body = Body.of(json.loads(zlib.decompress(base64.b64decode(lines[1], validate=True))))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, binascii.Error, zlib.error) as error:
            raise ArchiveDamagedError(f"a manifest cannot be read ({error})") from error
        if (header.full == header.number) != (body.state is not None):
            raise ArchiveDamagedError(f"manifest {header.number} does not list what its header says it does")
        return cls(header, body, lines)


def read_header(line: bytes) -> Header:
    """A header from its line.

    Raises:
        ArchiveDamagedError: it is not canonical, or of a version that is not known here.
        ValueError, KeyError, TypeError: it is no header.
    """
    document = json.loads(line)
    if document["version"] != VERSION:
        raise ArchiveDamagedError(
            f"a manifest is of version {document['version']}, and this program knows version {VERSION} only: update it"
        )
    header = Header.of(document)
    if header.line() != line:
        raise ArchiveDamagedError(f"the header of manifest {header.number} is not written as headers are")
    return header


def encode_body(body: Body) -> bytes:
    """The second line, without its end."""
    return base64.b64encode(zlib.compress(canonical(body.document()), 6))


def canonical(document: Any) -> bytes:
    """Canonical JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
