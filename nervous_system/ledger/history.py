"""Reading one project's history.

A committed prefix never changes, so a long reading is continued over many short transactions: each page is read in one
of its own, and what lies behind the version at which the reader began is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nervous_system.contract import SwarmEvent
from nervous_system.errors import NotFoundError
from nervous_system.events import decode, occurred_us
from nervous_system.ledger import keys, records
from nervous_system.ledger.append import Place, path_changes
from nervous_system.ledger.cold import ColdStore
from nervous_system.ledger.records import ContentSource, EventRecord, Head, IdRecord, PathChange
from nervous_system.ledger.snapshots import Manifest, Snapshot, read_manifest
from nervous_system.ledger.thawing import Located, Thawing
from nervous_system.ledger.transaction import Engine, KeyValue, Transaction, Watch
from nervous_system.ledger.values import read_whole
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName

PAGE_ROWS = 1_000
# Contents are read for so many events at a time: a page of large ones would not fit one transaction.
ASSEMBLED_EVENTS = 64


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the ledger has it; ``recorded_us`` is when the log took it, microseconds since 1970."""

    version: Version
    recorded_us: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Outline:
    """An event without its bytes: of a content that is stored apart, ``event`` has zeros in its place."""

    version: Version
    recorded_us: int
    event: SwarmEvent

    @property
    def changes(self) -> list[tuple[str, PathChange]]:
        """What it did to paths."""
        if self.event.WhichOneof("payload") != "state_change":
            return []
        return path_changes(self.event.state_change, occurred_us(self.event), self.recorded_us)


@dataclass(frozen=True, slots=True)
class NamedMoment:
    """A checkpoint.

    Args:
        name: as it was given.
        version: of the event that gave it.
        through_event_id: the last event that the name stands for; empty: the one that gave it.
    """

    name: str
    version: Version
    through_event_id: str


class History:
    """What the ledger knows of one project. Every method reads; each may raise LedgerError.

    What gives bytes of events and contents reads those with a stub from the archive, and may raise as ``ColdStore``.
    """

    def __init__(self, engine: Engine, name: ProjectName, place: Place, cold: ColdStore) -> None:
        self.name = name
        self._place = place
        self._engine = engine
        self._thawing = Thawing(engine, name, place, cold)
        self._keys = place.keys
        self._tenant_prefix = place.tenant_prefix

    def owns(self, version: Version) -> bool:
        """Whether a version of this history is the project's own, and no other's that it shares."""
        return True

    def head(self) -> Head:
        """The end of the history; raises NotFoundError where no event has landed yet."""
        stored = self._engine.run(lambda transaction: transaction.get(self._keys.head))
        if stored is None:
            raise NotFoundError(f"Project {self.name} has no events yet.")
        return Head.decode(stored)

    def wait_past(self, version: Version, timeout_s: float) -> bool:
        """Whether there are events behind ``version``, waiting up to ``timeout_s`` seconds for the first of them."""

        def ask(transaction: Transaction) -> Watch | None:
            stored = transaction.get(self._keys.head)
            if stored is not None and Head.decode(stored).version > version:
                return None
            # Set in the transaction that looked, so that no event can come between the look and the wait.
            return transaction.watch(self._keys.head)

        watch = self._engine.run(ask)
        if watch is None:
            return True
        try:
            return watch.wait(timeout_s)
        finally:
            watch.cancel()

    def events(
        self, *, after: Version | None = None, through: Version | None = None, reverse: bool = False
    ) -> Iterator[StoredEvent]:
        """Events in commit order, newest first where ``reverse``, with ``after`` < version <= ``through``."""
        for found in self._located(after, through, reverse):
            for start in range(0, len(found), ASSEMBLED_EVENTS):
                yield from self._assemble(found[start : start + ASSEMBLED_EVENTS])

    def outlines(self, *, after: Version | None = None, through: Version | None = None) -> Iterator[Outline]:
        """Events in commit order without the contents stored apart, with ``after`` < version <= ``through``."""
        for found in self._located(after, through, reverse=False):
            yield from map(_outline, self._thawing.events(found))

    def outlines_here(self, versions: Sequence[Version]) -> list[Outline]:
        """Outlines of the events at ``versions``, less those whose bytes are in the archive only."""
        groups = (versions[start : start + ASSEMBLED_EVENTS] for start in range(0, len(versions), ASSEMBLED_EVENTS))
        found = itertools.chain.from_iterable(map(self._at, groups))
        return [_outline(each) for each in found if each.record.archived_at is None]

    def _located(self, after: Version | None, through: Version | None, reverse: bool) -> Iterator[list[Located]]:
        """Pages of events' values."""
        begin, end = keys.within(self._keys.events)
        begin = begin if after is None else keys.after(self._keys.event(after))
        end = end if through is None else keys.after(self._keys.event(through))
        while True:
            rows = self._page(begin, end, reverse=reverse)
            groups = [(version, list(group)) for version, group in itertools.groupby(rows, key=self._version_of)]
            if len(rows) == PAGE_ROWS and len(groups) > 1:
                # The page may have cut its last event's chunks apart: that event is read with the next page.
                groups.pop()
            yield [_located(version, b"".join(value for _, value in sorted(group))) for version, group in groups]
            if len(rows) < PAGE_ROWS:
                return
            edge = self._keys.event(groups[-1][0])
            begin, end = (begin, edge) if reverse else (keys.after(edge), end)

    def event(self, version: Version) -> StoredEvent:
        """The event at ``version``; raises NotFoundError where there is none."""
        return next(self.events_at([version]))

    def events_at(self, versions: Sequence[Version]) -> Iterator[StoredEvent]:
        """The events at ``versions``, in their order; raises NotFoundError where one is not there."""
        for start in range(0, len(versions), ASSEMBLED_EVENTS):
            yield from self._assemble(self._at(versions[start : start + ASSEMBLED_EVENTS]))

    def has(self, version: Version) -> bool:
        """Whether there is an event at ``version``."""
        return self._engine.run(lambda transaction: transaction.get(self._keys.event(version))) is not None

    def version_of_event(self, event_id: str) -> Version | None:
        """Where the event called ``event_id`` stands; None where there is none."""
        stored = self._engine.run(lambda transaction: transaction.get(self._keys.id(event_id)))
        return None if stored is None else IdRecord.decode(stored).version

    def versions_of_events(self, event_ids: Sequence[str]) -> list[Version | None]:
        """Where the events with these ids stand, in their order; None for those that are not there."""
        wanted = [self._keys.id(event_id) for event_id in event_ids]
        stored = self._engine.run(lambda transaction: transaction.get_many(wanted, snapshot=True))
        return [None if value is None else IdRecord.decode(value).version for value in stored]

    def commits(self, abbreviation: str, *, through: Version | None = None) -> dict[str, Version]:
        """Commits whose hash begins with ``abbreviation``: for each, the last event up to ``through`` that carries it.

        At most two commits are looked up: enough to see that an abbreviation is ambiguous.
        """
        found: dict[str, Version] = {}
        begin, end = self._keys.commits_beginning(abbreviation)
        while len(found) < 2:
            rows = self._page(begin, end, limit=1)
            if not rows:
                break
            commit_hash = self._commit_hash_of(rows[0][0])
            last = self._last_version(self._keys.commit(commit_hash), through)
            if last is not None:
                found[commit_hash] = last
            begin = keys.after(self._keys.commit(commit_hash))
        return found

    def commit_versions(self, commit_hash: str) -> tuple[Version, Version]:
        """The first and the last event that carry the commit; raises NotFoundError where none does."""
        begin, end = keys.within(self._keys.commit(commit_hash))
        first = self._page(begin, end, limit=1)
        if not first:
            raise NotFoundError(f"Project {self.name} has no event of commit {commit_hash}.")
        last = self._last_version(self._keys.commit(commit_hash))
        assert last is not None
        return keys.version_at_end(first[0][0]), last

    def checkpoints(self) -> Iterator[NamedMoment]:
        """Every name that was given to a moment, by name and, of one name, in commit order."""
        for key, value in self._rows(*keys.within(self._keys.checkpoint())):
            name = keys.text_before_version(key, self._keys.checkpoint())
            yield NamedMoment(name, keys.version_at_end(key), value.decode())

    def named(self, name: str) -> NamedMoment | None:
        """The last moment called ``name``; None where there is none."""
        begin, end = keys.within(self._keys.checkpoint(name))
        rows = self._page(begin, end, reverse=True, limit=1)
        return NamedMoment(name, keys.version_at_end(rows[0][0]), rows[0][1].decode()) if rows else None

    def last_decision(self, agent_id: str, session_id: str, *, before: Version) -> Version | None:
        """The last decision of an agent in a session before a version; None where there is none."""
        decisions = self._keys.decisions(agent_id, session_id)
        begin, _ = keys.within(decisions)
        rows = self._page(begin, decisions + keys.encode_version(before), reverse=True, limit=1)
        return keys.version_at_end(rows[0][0]) if rows else None

    def last_recorded(self, recorded_us: int) -> Version | None:
        """The last event that the log had by a time, microseconds since 1970; None where it had none."""
        begin, _ = keys.within(self._keys.recorded())
        rows = self._page(begin, self._keys.recorded(recorded_us + 1), reverse=True, limit=1)
        return keys.version_at_end(rows[0][0]) if rows else None

    def chain(self, event_id: str) -> bytes:
        """The project's chain once the event was added: SHA-256, 32 bytes; raises NotFoundError for a foreign id."""
        stored = self._engine.run(lambda transaction: transaction.get(self._keys.id(event_id)))
        if stored is None:
            raise NotFoundError(f"Project {self.name} has no event {event_id}.")
        return IdRecord.decode(stored).chain

    def has_path(self, resource: str) -> bool:
        """Whether the project has ever known a path."""
        return bool(self._page(*keys.within(self._keys.path(resource)), limit=1))

    def has_paths_below(self, folder: str) -> bool:
        """Whether the project has ever known a path below a folder."""
        return bool(self._page(*self._keys.paths_below(folder), limit=1))

    def path_changes(self, *, through: Version | None = None) -> Iterator[tuple[str, Version, PathChange]]:
        """Every path's life: changes with version <= ``through``, by path and, within a path, in commit order."""
        for key, value in self._rows(*keys.within(self._keys.paths)):
            version = keys.version_at_end(key)
            if through is None or version <= through:
                yield self._resource_of(key), version, PathChange.decode(value)

    def path_life(self, resource: str, *, through: Version) -> Iterator[tuple[Version, PathChange]]:
        """One path's changes with version <= ``through``, newest first."""
        begin, _ = keys.within(self._keys.path(resource))
        end = keys.after(self._keys.path(resource) + keys.encode_version(through))
        for key, value in self._rows(begin, end, reverse=True):
            yield keys.version_at_end(key), PathChange.decode(value)

    def snapshots(self) -> list[Snapshot]:
        """Where a fold may start, in the project's order."""
        rows = self._rows(*keys.within(self._keys.snapshots))
        return [Snapshot.decode(keys.version_at_end(key), value) for key, value in rows]

    def manifest(self, snapshot: Snapshot) -> Manifest:
        """What a snapshot holds; raises DamagedError where it is not what was written."""
        return read_manifest(self._engine, self._place, snapshot)

    def content_sources(self, digests: Sequence[bytes]) -> list[ContentSource | None]:
        """Where contents are to be had, by their SHA-256; None for those never recorded whole or as a diff."""
        wanted = [self._keys.content(digest) for digest in digests]
        stored = self._engine.run(lambda transaction: transaction.get_many(wanted, snapshot=True))
        return [None if value is None else ContentSource.decode(value) for value in stored]

    def blobs(self, digests: Sequence[bytes]) -> list[bytes]:
        """Contents stored in the project's tenant, by their SHA-256; raises DamagedError where one is missing."""
        wanted = [keys.blob(self._tenant_prefix, digest) for digest in digests]
        stored = self._engine.run(lambda transaction: read_whole(transaction, wanted))
        if None in stored:
            raise records.DamagedError("a stored content is missing")
        values = dict(zip(digests, [value or b"" for value in stored], strict=True))
        stubs = [(digest, stub) for digest, value in values.items() if (stub := records.content_stub(value))]
        thawed = self._thawing.contents(stubs) if stubs else {}
        return [thawed[digest] if digest in thawed else records.decompress(values[digest]) for digest in digests]

    def _page(self, begin: bytes, end: bytes, *, reverse: bool = False, limit: int = PAGE_ROWS) -> list[KeyValue]:
        return self._engine.run(
            lambda transaction: transaction.get_range(begin, end, limit=limit, reverse=reverse, snapshot=True)
        )

    def _rows(self, begin: bytes, end: bytes, *, reverse: bool = False) -> Iterator[KeyValue]:
        """All pairs of a range, page by page."""
        while True:
            rows = self._page(begin, end, reverse=reverse)
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
            begin, end = (begin, rows[-1][0]) if reverse else (keys.after(rows[-1][0]), end)

    def _at(self, versions: Sequence[Version]) -> list[Located]:
        """The events' values at ``versions``."""
        wanted = [self._keys.event(version) for version in versions]
        stored = self._engine.run(lambda transaction: read_whole(transaction, wanted))
        found = []
        for version, value in zip(versions, stored, strict=True):
            if value is None:
                raise NotFoundError(f"Project {self.name} has no event at version {version}.")
            found.append(_located(version, value))
        return found

    def _assemble(self, found: Sequence[Located]) -> Iterator[StoredEvent]:
        whole = list(self._thawing.events(found))
        lifted = sorted({record.digest for _, record in whole if record.digest})
        contents = dict(zip(lifted, self.blobs(lifted), strict=True)) if lifted else {}
        for version, record in whole:
            data = record.whole(contents[record.digest]) if record.digest else record.rest
            yield StoredEvent(version, record.recorded_us, data)

    def _version_of(self, row: KeyValue) -> Version:
        # A chunk's key goes on behind the version, so it is found from the front.
        start = len(self._keys.events)
        return keys.version_at_end(row[0][: start + keys.VERSION_BYTES])

    def _last_version(self, head: bytes, through: Version | None = None) -> Version | None:
        begin, end = keys.within(head)
        end = end if through is None else keys.after(head + keys.encode_version(through))
        rows = self._page(begin, end, reverse=True, limit=1)
        return keys.version_at_end(rows[0][0]) if rows else None

    def _commit_hash_of(self, key: bytes) -> str:
        return keys.text_before_version(key, self._keys.commit())

    def _resource_of(self, key: bytes) -> str:
        return keys.text_before_version(key, self._keys.paths)


def _located(version: Version, value: bytes) -> Located:
    return Located(version, EventRecord.decode(value))


def _outline(located: Located) -> Outline:
    return Outline(located.version, located.record.recorded_us, decode(located.record.hollow()))
