"""Reading through stubs: the bytes that the archive holds, checked against what the ledger kept of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple

from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.errors import AccessError, EnchantedError, NotFoundError, SettingsError, UnavailableError
from nervous_system.events import decode
from nervous_system.ledger.append import Place
from nervous_system.ledger.cold import ColdStore, ContentStub, Position
from nervous_system.ledger.records import EventRecord, IdRecord
from nervous_system.ledger.transaction import Engine
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName

FETCHED_EVENTS = 64


class Located(NamedTuple):
    """An event's value, and the version that it stands at."""

    version: Version
    record: EventRecord


class LazyColdStore:
    """A cold store that is opened when the first stub is met, and says what is amiss in terms of the question.

    Args:
        opener: opens it; None where there is none.
    """

    def __init__(self, opener: Callable[[], ColdStore] | None) -> None:
        self._opener = opener
        self._store: ColdStore | None = None
        self._lock = Lock()

    def events(self, project: ProjectName, positions: Sequence[Position]) -> list[bytes]:
        with _explained(f"What was asked for of {project}"):
            return self._opened().events(project, positions)

    def part(self, tenant: str, digest: bytes) -> bytes:
        with _explained(f"A content of tenant {tenant}"):
            return self._opened().part(tenant, digest)

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
            self._store = None

    def _opened(self) -> ColdStore:
        with self._lock:
            if self._store is None:
                if self._opener is None:
                    raise SettingsError("No archive is set: set ENCHANTED_S3_ENDPOINT and ENCHANTED_S3_BUCKET.")
                self._store = self._opener()
            return self._store


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Says first that it is the archive that is needed."""
    beginning = f"{what} lies before the hot window, in the archive only"
    try:
        yield
    except (SettingsError, AccessError, UnavailableError) as error:
        raise type(error)(f"{beginning}, which cannot be read. {error}") from error
    except NotFoundError as error:
        raise ArchiveDamagedError(f"it lacks what the ledger says it has ({error})") from error


class Thawing:
    """What a project's stubs stand for.

    Args:
        engine, name, place: of the project.
        cold: where the bytes are.
    """

    def __init__(self, engine: Engine, name: ProjectName, place: Place, cold: ColdStore) -> None:
        self.cold = cold
        self._engine = engine
        self._name = name
        self._keys = place.keys

    def events(self, found: Sequence[Located]) -> Iterator[Located]:
        """The same, each with its bytes; those in the archive are fetched many at a time.

        Raises:
            ArchiveDamagedError: what the archive has is not what was landed.
            SettingsError, AccessError, UnavailableError: the archive cannot be read.
        """
        for start in range(0, len(found), FETCHED_EVENTS):
            group = found[start : start + FETCHED_EVENTS]
            positions = [each.record.archived_at for each in group if each.record.archived_at is not None]
            fetched = iter(self._fetched(group, positions) if positions else [])
            for version, record in group:
                bytes_here = record if record.archived_at is None else EventRecord(record.recorded_us, next(fetched))
                yield Located(version, bytes_here)

    def _fetched(self, group: Sequence[Located], positions: Sequence[Position]) -> list[bytes]:
        events = self.cold.events(self._name, positions)
        versions = [each.version for each in group if each.record.archived_at is not None]
        wanted = [self._keys.id(_id_of(data)) for data in events]
        known = self._engine.run(lambda transaction: transaction.get_many(wanted, snapshot=True))
        for version, data, stored in zip(versions, events, known, strict=True):
            record = None if stored is None else IdRecord.decode(stored)
            if record is None or (record.version, record.digest) != (version, hashlib.sha256(data).digest()):
                raise ArchiveDamagedError(f"the event of {self._name} at version {version} is not what was landed")
        return events

    def contents(self, stubs: Sequence[tuple[bytes, ContentStub]]) -> dict[bytes, bytes]:
        """The contents that stubs stand for, by their SHA-256; raises as ``events`` does."""
        found = {digest: self.cold.part(self._name.tenant, digest) for digest, stub in stubs if stub.position is None}
        carried = sorted(((stub.project, digest, stub.position) for digest, stub in stubs if stub.position is not None))
        for name, group in itertools.groupby(carried, key=lambda each: each[0]):
            rows = list(group)
            events = self.cold.events(ProjectName(self._name.tenant, name), [position for *_, position in rows])
            found |= {digest: _content_of(data) for (_, digest, _), data in zip(rows, events, strict=True)}
        for digest, content in found.items():
            if hashlib.sha256(content).digest() != digest:
                raise ArchiveDamagedError(f"what it has for content {digest.hex()} has another hash")
        return found


def _id_of(data: bytes) -> str:
    try:
        return decode(data).event_id
    except EnchantedError:
        # No id at all is found nowhere, and reported there.
        return ""


def _content_of(data: bytes) -> bytes:
    try:
        return decode(data).state_change.content
    except EnchantedError:
        return b""
