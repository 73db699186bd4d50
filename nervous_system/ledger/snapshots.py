"""Snapshots of a project's tree: where a fold may start. Made from the events, they can be made from them again.

A snapshot is two values: what is said of it, by which a reader chooses, and its manifest, which lists the tree. The
manifest is written first, so that what is said of a snapshot is there only where the snapshot is whole.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nervous_system.ledger import keys, records
from nervous_system.ledger.append import Place
from nervous_system.ledger.records import ContentForm, ContentSource, DamagedError
from nervous_system.ledger.transaction import Engine, KeyValue, Transaction
from nervous_system.ledger.versions import STAMP_BYTES, Version

# Chunks written in one transaction: half a megabyte at most.
GROUP_CHUNKS = 5

_HEADER = struct.Struct(">BQQqqq32sIB12s")
_FORM = 1
_COUNTS = struct.Struct(">II")
# A mode of git, and how many diffs lead to the content.
_ENTRY = struct.Struct(">IB32s")


@dataclass(frozen=True, slots=True)
class Held:
    """What a snapshot holds at one path.

    Args:
        mode: as in git.
        digest: SHA-256 of the content.
        diffs: how many diffs lead from a whole content to it.
    """

    mode: int
    digest: bytes
    diffs: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A project's tree, as far as it is beyond doubt.

    Args:
        entries: what stands, by path.
        unsettled: paths of which only their own life tells what stands: it depends on the moment that is asked for, or
            on how conflicts are decided.
    """

    entries: Mapping[str, Held]
    unsettled: frozenset[str]

    def encode(self) -> bytes:
        """The manifest as bytes."""
        paths = sorted(self.entries)
        names = "\0".join([*paths, *sorted(self.unsettled)]).encode()
        rows = b"".join(
            _ENTRY.pack(held.mode, held.diffs, held.digest) for held in map(self.entries.__getitem__, paths)
        )
        return _COUNTS.pack(len(paths), len(self.unsettled)) + rows + zlib.compress(names)

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Reads what ``encode`` wrote."""
        count, unsettled = _COUNTS.unpack_from(data)
        end = _COUNTS.size + count * _ENTRY.size
        names = zlib.decompress(data[end:]).decode().split("\0") if count + unsettled else []
        rows = _ENTRY.iter_unpack(data[_COUNTS.size : end])
        held = (Held(mode, digest, diffs) for mode, diffs, digest in rows)
        return cls(dict(zip(names[:count], held, strict=True)), frozenset(names[count:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is said of a snapshot.

    Args:
        version: everything up to it is in the snapshot.
        after: the version behind which its own stretch of the history begins; None: the beginning.
        events: how many events the project has up to it, what a fork shares apart.
        entries: how many paths it holds.
        latest_us: no change that it holds occurred later, microseconds since 1970; those of unsettled paths apart.
        earliest_us: no change of its stretch occurred earlier.
        recorded_us: when the log took the last event of its stretch.
        digest: SHA-256 of the manifest.
        chunks: in how many values the manifest is.
    """

    version: Version
    after: Version | None
    events: int
    entries: int
    latest_us: int
    earliest_us: int
    recorded_us: int
    digest: bytes = b""
    chunks: int = 0

    def encode(self) -> bytes:
        """The value of ``("snapshot", version)``."""
        after = self.after or Version(0, bytes(STAMP_BYTES))
        times = (self.latest_us, self.earliest_us, self.recorded_us)
        sizes = (self.events, self.entries)
        return _HEADER.pack(_FORM, *sizes, *times, self.digest, self.chunks, after.incarnation, after.stamp)

    @classmethod
    def decode(cls, version: Version, data: bytes) -> Snapshot:
        """Reads what ``encode`` wrote."""
        _, events, entries, latest_us, earliest_us, recorded_us, digest, chunks, incarnation, stamp = _HEADER.unpack(
            data
        )
        return cls(
            version=version,
            after=Version(incarnation, stamp) if incarnation else None,
            events=events,
            entries=entries,
            latest_us=latest_us,
            earliest_us=earliest_us,
            recorded_us=recorded_us,
            digest=digest,
            chunks=chunks,
        )


@dataclass(frozen=True, slots=True)
class Whole:
    """A content to be stored whole.

    Args:
        digest: SHA-256 of the content, which the caller has checked.
        content: the bytes.
        version: of an event that leaves it.
    """

    digest: bytes
    content: bytes
    version: Version


class SnapshotStore:
    """One project's own snapshots. Every method may raise LedgerError."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self._engine = engine
        self._keys = place.keys
        self._tenant_prefix = place.tenant_prefix

    def save(self, snapshot: Snapshot, manifest: Manifest) -> None:
        """Writes a snapshot; its digest and number of chunks are filled in."""
        data = manifest.encode()
        pieces = records.chunks(data)
        first = self._keys.manifest(snapshot.version)
        self._write([(keys.chunk(first, number), piece) for number, piece in enumerate(pieces)])
        sealed = replace(snapshot, digest=hashlib.sha256(data).digest(), chunks=len(pieces))
        value = sealed.encode()
        self._engine.run(lambda transaction: transaction.set(self._keys.snapshot(snapshot.version), value))

    def clear(self) -> None:
        """Removes all of the project's own snapshots."""

        def work(transaction: Transaction) -> None:
            transaction.clear_range(*keys.within(self._keys.snapshots))
            transaction.clear_range(*keys.within(self._keys.manifests))

        self._engine.run(work)

    def keep_whole(self, contents: Sequence[Whole]) -> None:
        """Stores contents that diffs lead to, so that these need not be followed from there on."""
        ready: list[tuple[bytes, bytes, bytes, bytes]] = []
        for whole in contents:
            blob, source = keys.blob(self._tenant_prefix, whole.digest), self._keys.content(whole.digest)
            first, *more = records.chunks(records.compress(whole.content))
            # A blob is taken to be whole where its first chunk is there, which therefore comes last. Where it is there
            # already, nothing is written behind it: it may have become a stub meanwhile, and lost what was.
            if more and self._engine.run(partial(_get, wanted=[blob]))[0] is None:
                self._write([(keys.chunk(blob, number), piece) for number, piece in enumerate(more, start=1)])
            suffix = records.content_suffix(ContentForm.BLOB, whole.version.incarnation)
            ready.append((source, whole.version.stamp + suffix, blob, first))
        for start in range(0, len(ready), GROUP_CHUNKS):
            self._engine.run(partial(_set_sources, ready=ready[start : start + GROUP_CHUNKS]))

    def _write(self, pairs: Sequence[KeyValue]) -> None:
        """Writes pairs that need not be there together, in transactions of a good size."""
        for start in range(0, len(pairs), GROUP_CHUNKS):
            self._engine.run(partial(_set, pairs=pairs[start : start + GROUP_CHUNKS]))


def read_manifest(engine: Engine, place: Place, snapshot: Snapshot) -> Manifest:
    """What a snapshot holds; raises DamagedError where it is not what was written."""
    first = place.keys.manifest(snapshot.version)
    pieces: list[bytes] = []
    for start in range(0, snapshot.chunks, GROUP_CHUNKS):
        wanted = [keys.chunk(first, number) for number in range(start, min(start + GROUP_CHUNKS, snapshot.chunks))]
        pieces += [piece or b"" for piece in engine.run(partial(_get, wanted=wanted))]
    data = b"".join(pieces)
    if hashlib.sha256(data).digest() != snapshot.digest:
        raise DamagedError(f"the snapshot at version {snapshot.version} is not what was written")
    return Manifest.decode(data)


def _set(transaction: Transaction, pairs: Sequence[KeyValue]) -> None:
    for key, value in pairs:
        transaction.set(key, value)


def _set_sources(transaction: Transaction, ready: Sequence[tuple[bytes, bytes, bytes, bytes]]) -> None:
    sources = transaction.get_many([source for source, *_ in ready])
    blobs = transaction.get_many([blob for *_, blob, _ in ready])
    for (source, value, blob, first), present, standing in zip(ready, sources, blobs, strict=True):
        # What is stored whole already stays as it is.
        if present is None or ContentSource.decode(present).form == ContentForm.EVENT:
            if standing is None or (len(first) < records.CHUNK_BYTES and records.content_stub(standing) is not None):
                transaction.set(blob, first)
            transaction.set(source, value)


def _get(transaction: Transaction, wanted: Sequence[bytes]) -> list[bytes | None]:
    return transaction.get_many(wanted, snapshot=True)
