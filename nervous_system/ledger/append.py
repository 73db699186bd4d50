"""Landing a batch: one short transaction that writes events, indexes, chain and cursor together, or nothing.

Everything that can be done before the transaction (hashing, cutting, compressing) is; the transaction reads what is
there, decides which events are new, and writes. Running it again after an unknown outcome finds the cursor moved and
writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nervous_system.contract import Operation, StateChange, SwarmEvent
from nervous_system.errors import EnchantedError
from nervous_system.events import MAX_INDEXED_NAME_BYTES, occurred_us
from nervous_system.landing import Batch, Cursor, LandedEvent, LandedMessage, Refusal
from nervous_system.ledger import keys, records
from nervous_system.ledger.keys import ProjectKeys
from nervous_system.ledger.records import ContentForm, EventRecord, Head, IdRecord, PathChange
from nervous_system.ledger.transaction import Transaction
from nervous_system.projects import ProjectName


class CursorMovedError(EnchantedError):
    """The cursor is not where the batch continues from: another worker landed meanwhile. Ask it again."""


@dataclass(slots=True)
class Landed:
    """What came of a batch: events landed, events that were there already, events refused."""

    events: int = 0
    duplicates: int = 0
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project's keys are.

    Args:
        keys: of the project.
        tenant_prefix: under which its tenant's contents are stored.
    """

    keys: ProjectKeys
    tenant_prefix: bytes


@dataclass(frozen=True, slots=True)
class _Entry:
    """An event made ready to be written."""

    message: LandedMessage
    landed: LandedEvent
    digest: bytes
    value_chunks: list[bytes]
    content_digest: bytes
    content_form: ContentForm
    blob_chunks: list[bytes]
    paths: list[tuple[str, bytes]]


class Landing:
    """One batch on its way into the ledger.

    Args:
        batch: small enough for one transaction.
        places: of every project in it.
        cursor_key: where this sink's cursor for the partition is kept.
    """

    def __init__(self, batch: Batch, places: dict[ProjectName, Place], cursor_key: bytes) -> None:
        self._batch = batch
        self._places = places
        self._cursor_key = cursor_key
        self._parts = [(message, _blob_chunks(message.part)) for message in batch.messages if message.part is not None]
        self._entries: dict[ProjectName, list[_Entry]] = {}
        for message in batch.messages:
            for landed in message.events:
                assert message.project is not None
                self._entries.setdefault(message.project, []).append(_prepare(message, landed))

    def write(self, transaction: Transaction) -> Landed:
        """The transaction's body; raises CursorMovedError where the batch does not continue what is there."""
        result = Landed()
        standing = read_cursor(transaction, self._cursor_key)
        if standing == self._batch.cursor:
            # As after an unknown outcome: nothing is written, but what was refused must still be reported.
            for project, entries in self._entries.items():
                _ProjectWriter(transaction, self._places[project], 0, result).write(entries)
            return result
        if standing.sequence != self._batch.after:
            raise CursorMovedError(
                f"The ledger's cursor for partition {self._batch.partition} is at {standing.sequence}, "
                f"not at {self._batch.after}: another worker landed there. This one starts again from the cursor."
            )
        for message, blob_chunks in self._parts:
            self._write_part(transaction, message, blob_chunks)
        place = 0
        for project, entries in self._entries.items():
            place = _ProjectWriter(transaction, self._places[project], place, result).write(entries)
        transaction.set(self._cursor_key, records.encode_cursor(*_pair(self._batch.cursor)))
        return result

    def _write_part(self, transaction: Transaction, message: LandedMessage, blob_chunks: list[bytes]) -> None:
        assert message.part is not None
        assert message.project is not None
        key = keys.blob(self._places[message.project].tenant_prefix, hashlib.sha256(message.part).digest())
        if transaction.get(key) is None:
            _write_chunks(transaction, key, blob_chunks)


class _ProjectWriter:
    """Writes one project's share of a batch."""

    def __init__(self, transaction: Transaction, place: Place, first_place: int, result: Landed) -> None:
        self._transaction = transaction
        self._keys = place.keys
        self._tenant_prefix = place.tenant_prefix
        self._place = first_place
        self._result = result
        stored_incarnation, stored_head = transaction.get_many([self._keys.incarnation, self._keys.head])
        self._incarnation = int.from_bytes(stored_incarnation or b"\x01", "big")
        self._head = None if stored_head is None else Head.decode(stored_head)
        self._chain = self._head.chain if self._head else records.GENESIS_CHAIN

    def write(self, entries: Sequence[_Entry]) -> int:
        """Writes what is new among ``entries``; returns the next free place in the transaction."""
        fresh = self._fresh(entries)
        if not fresh:
            return self._place
        if self._head is None:
            self._write_origin(fresh[0].landed.event)
        known = self._known_contents(fresh)
        for entry in fresh:
            self._write_event(entry)
            self._write_content(entry, known)
            self._place += 1
        self._write_head(fresh)
        self._result.events += len(fresh)
        return self._place

    def _fresh(self, entries: Sequence[_Entry]) -> list[_Entry]:
        stored = self._transaction.get_many([self._keys.id(entry.landed.event.event_id) for entry in entries])
        seen: dict[str, bytes] = {}
        fresh = []
        for entry, value in zip(entries, stored, strict=True):
            event_id = entry.landed.event.event_id
            earlier = seen.get(event_id) if value is None else IdRecord.decode(value).digest
            if earlier is None:
                seen[event_id] = entry.digest
                fresh.append(entry)
            elif earlier == entry.digest:
                self._result.duplicates += 1
            else:
                self._result.refusals.append(_same_id_refusal(entry))
        return fresh

    def _write_origin(self, first: SwarmEvent) -> None:
        """A project is a fork where its first event says so; said later, it would change the past."""
        if not first.checkpoint.HasField("origin"):
            return
        origin = first.checkpoint.origin
        self._incarnation = max(self._incarnation, origin.incarnation)
        self._transaction.set(self._keys.incarnation, self._incarnation.to_bytes(1, "big"))
        self._transaction.set(self._keys.origin, origin.SerializeToString())

    def _known_contents(self, entries: Iterable[_Entry]) -> dict[bytes, ContentForm]:
        digests = sorted({entry.content_digest for entry in entries if entry.content_digest})
        stored = self._transaction.get_many([self._keys.content(digest) for digest in digests])
        return {
            digest: records.ContentSource.decode(value).form
            for digest, value in zip(digests, stored, strict=True)
            if value is not None
        }

    def _write_event(self, entry: _Entry) -> None:
        event, at_commit = entry.landed.event, self._at_commit
        first, *more = entry.value_chunks
        at_commit(self._keys.events, first)
        for number, piece in enumerate(more, start=1):
            tail = keys.chunk(b"", number)
            self._transaction.set_versionstamped_key(
                keys.committed(self._keys.events, self._incarnation, self._place, tail), piece
            )
        self._chain = records.extend_chain(self._chain, entry.landed.data)
        suffix = records.id_suffix(self._incarnation, entry.digest, self._chain)
        self._stamped_value(self._keys.id(event.event_id), suffix, self._place)
        at_commit(self._keys.occurred(occurred_us(event)))
        at_commit(self._keys.recorded(entry.message.recorded_us))
        for resource, value in entry.paths:
            at_commit(self._keys.path(resource), value)
        if 0 < len(event.related_commit_hash.encode()) <= MAX_INDEXED_NAME_BYTES:
            at_commit(self._keys.commit(event.related_commit_hash))
        match event.WhichOneof("payload"):
            case "checkpoint" if len(event.checkpoint.name.encode()) <= MAX_INDEXED_NAME_BYTES:
                at_commit(self._keys.checkpoint(event.checkpoint.name), event.checkpoint.through_event_id.encode())
            case "decision":
                at_commit(self._keys.decisions(event.agent_id, event.session_id))

    def _write_content(self, entry: _Entry, known: dict[bytes, ContentForm]) -> None:
        if not entry.content_digest:
            return
        form = entry.content_form
        # A whole content takes the place of what claims to lead to it, never the other way round.
        if known.get(entry.content_digest) in (form, ContentForm.BLOB, ContentForm.WHOLE):
            return
        known[entry.content_digest] = form
        if entry.blob_chunks:
            _write_chunks(self._transaction, keys.blob(self._tenant_prefix, entry.content_digest), entry.blob_chunks)
        suffix = records.content_suffix(form, self._incarnation)
        self._stamped_value(self._keys.content(entry.content_digest), suffix, self._place)

    def _write_head(self, entries: Sequence[_Entry]) -> None:
        head = self._head
        first_us = min(occurred_us(entry.landed.event) for entry in entries)
        suffix = records.head_suffix(
            self._incarnation,
            len(entries) + (head.count if head else 0),
            self._chain,
            min(first_us, head.first_occurred_us) if head else first_us,
            entries[-1].message.recorded_us,
        )
        self._stamped_value(self._keys.head, suffix, self._place - 1)

    def _at_commit(self, head: bytes, value: bytes = b"") -> None:
        self._transaction.set_versionstamped_key(keys.committed(head, self._incarnation, self._place), value)

    def _stamped_value(self, key: bytes, suffix: bytes, place: int) -> None:
        value = bytes(10) + place.to_bytes(2, "big") + suffix + bytes(4)
        self._transaction.set_versionstamped_value(key, value)


def read_cursor(transaction: Transaction, cursor_key: bytes) -> Cursor:
    """Where a sink stands; the beginning where it has landed nothing."""
    stored = transaction.get(cursor_key)
    return Cursor() if stored is None else Cursor(*records.decode_cursor(stored))


def _pair(cursor: Cursor) -> tuple[int, int]:
    return cursor.sequence, cursor.recorded_us


def _prepare(message: LandedMessage, landed: LandedEvent) -> _Entry:
    event = landed.event
    change = event.state_change if event.WhichOneof("payload") == "state_change" else None
    whole = change.content if change is not None and change.HasField("content") else b""
    content_digest = _carried_digest(change)
    record = EventRecord.cut(landed.data, message.recorded_us, whole, content_digest)
    apart = ContentForm.WHOLE if change is not None and change.HasField("content") else ContentForm.EVENT
    return _Entry(
        message=message,
        landed=landed,
        digest=hashlib.sha256(landed.data).digest(),
        value_chunks=records.chunks(record.encode()),
        content_digest=content_digest,
        content_form=ContentForm.BLOB if record.digest else apart,
        blob_chunks=_blob_chunks(whole) if record.digest else [],
        paths=[] if change is None else path_rows(change, occurred_us(event), message.recorded_us),
    )


def _carried_digest(change: StateChange | None) -> bytes:
    """The hash of the content that a change brings; empty where it brings none."""
    if change is None or not change.new_state_hash:
        return b""
    carries = change.HasField("content") or change.blob_hash or change.diff_patch
    return bytes.fromhex(change.new_state_hash) if carries else b""


def path_rows(change: StateChange, moment_us: int, recorded_us: int) -> list[tuple[str, bytes]]:
    """What a change writes to the path index: for each resource its row's value."""
    return [(resource, row.encode()) for resource, row in path_changes(change, moment_us, recorded_us)]


def path_changes(change: StateChange, moment_us: int, recorded_us: int) -> list[tuple[str, PathChange]]:
    """What a change does to paths: one or, where it renames, two."""

    def row(operation: int, mode: int, digest: str, previous: str) -> PathChange:
        return PathChange(operation, mode, moment_us, recorded_us, bytes.fromhex(digest), bytes.fromhex(previous))

    if change.operation == Operation.OPERATION_DELETE:
        return [(change.target_resource, row(change.operation, 0, "", change.previous_state_hash))]
    if not change.renamed_from:
        after = row(change.operation, change.mode, change.new_state_hash, change.previous_state_hash)
        return [(change.target_resource, after)]
    # A rename is two paths' affair: what it claims of the content before is said of the path that it leaves.
    return [
        (change.renamed_from, row(Operation.OPERATION_DELETE, 0, "", change.previous_state_hash)),
        (change.target_resource, row(change.operation, change.mode, change.new_state_hash, "")),
    ]


def _blob_chunks(content: bytes) -> list[bytes]:
    return records.chunks(records.compress(content))


def _write_chunks(transaction: Transaction, key: bytes, pieces: Sequence[bytes]) -> None:
    transaction.set(key, pieces[0])
    for number, piece in enumerate(pieces[1:], start=1):
        transaction.set(keys.chunk(key, number), piece)


def _same_id_refusal(entry: _Entry) -> Refusal:
    return Refusal(
        code="same_id_other_bytes",
        reason=f"Event {entry.landed.event.event_id} is in the ledger already, with other bytes.",
        data=entry.landed.data,
        sequence=entry.message.sequence,
        index=entry.landed.index,
    )
