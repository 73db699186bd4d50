"""Landing a batch: one short transaction that writes events, indexes, chain and cursor together, or nothing.

Everything that can be done before the transaction (hashing, cutting, compressing) is; the transaction reads what is
there, decides which events are new, and writes. Running it again after an unknown outcome finds the cursor moved and
writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nervous_system.contract import Operation, StateChange, SwarmEvent
from nervous_system.errors import EnchantedError
from nervous_system.events import MAX_INDEXED_NAME_BYTES, occurred_us
from nervous_system.landing import Batch, Cursor, LandedEvent, LandedMessage, Refusal
from nervous_system.ledger import keys, records
from nervous_system.ledger.gate import GateError
from nervous_system.ledger.keys import ProjectKeys
from nervous_system.ledger.records import ContentForm, ContentSource, EventRecord, Head, IdRecord, PathChange
from nervous_system.ledger.transaction import KeyValue, Transaction
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName

Stored = dict[bytes, bytes | None]
# Stands for the version that a transaction will have.
_WITHIN = Version(0, b"")
DELETE = Operation.OPERATION_DELETE


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


class _Entry(NamedTuple):
    """An event made ready to be written.

    Args:
        id_key, content_key: where its id and the content that it brings are found; the latter empty without a content.
        rows: what is written under its version: the heads of the keys that end in the version, and the values.
        more_chunks: of its value, beyond the first, which is among the rows.
    """

    message: LandedMessage
    landed: LandedEvent
    occurred_us: int
    digest: bytes
    id_key: bytes
    rows: list[KeyValue]
    more_chunks: list[bytes]
    content_key: bytes
    content_digest: bytes
    content_form: ContentForm
    blob_chunks: list[bytes]


class Landing:
    """One batch on its way into the ledger.

    Args:
        batch: small enough for one transaction.
        places: of every project in it.
        cursor_key: where this sink's cursor for the partition is kept.
        gate_key: where a mark keeps this batch from landing; empty for one that may pass it.
    """

    def __init__(
        self, batch: Batch, places: dict[ProjectName, Place], cursor_key: bytes, gate_key: bytes = b""
    ) -> None:
        self._batch = batch
        self._gate_key = gate_key
        self._places = places
        self._cursor_key = cursor_key
        self._parts: dict[bytes, list[bytes]] = {}
        self._entries: dict[ProjectName, list[_Entry]] = {}
        for message in batch.messages:
            if message.project is not None and (message.events or message.part is not None):
                self._add(message, message.project, places[message.project])
        wanted = {cursor_key: None, **dict.fromkeys(self._parts)}
        wanted |= dict.fromkeys([gate_key] if gate_key else [])
        for project, entries in self._entries.items():
            wanted |= dict.fromkeys([places[project].keys.incarnation, places[project].keys.head])
            wanted |= dict.fromkeys([entry.id_key for entry in entries])
            wanted |= dict.fromkeys([entry.content_key for entry in entries if entry.content_key])
        self._wanted = list(wanted)

    def _add(self, message: LandedMessage, project: ProjectName, place: Place) -> None:
        if message.part is not None:
            key = keys.blob(place.tenant_prefix, hashlib.sha256(message.part).digest())
            self._parts[key] = _blob_chunks(message.part)
        if message.events:
            recorded = place.keys.recorded(message.recorded_us)
            entries = self._entries.setdefault(project, [])
            entries += [_prepare(message, landed, place.keys, recorded) for landed in message.events]

    def write(self, transaction: Transaction) -> Landed:
        """The transaction's body.

        Raises:
            CursorMovedError: the batch does not continue what is there.
            GateError: the gate is shut.
        """
        stored = dict(zip(self._wanted, transaction.get_many(self._wanted), strict=True))
        shut = stored[self._gate_key] if self._gate_key else None
        if shut is not None:
            raise GateError(shut)
        standing = _cursor(stored[self._cursor_key])
        if standing != self._batch.cursor and standing.sequence != self._batch.after:
            raise CursorMovedError(
                f"The ledger's cursor for partition {self._batch.partition} is at {standing.sequence}, "
                f"not at {self._batch.after}: another worker landed there. This one starts again from the cursor."
            )
        result = Landed()
        place = 0
        # As after an unknown outcome, all may be there: nothing is written, but what was refused is still reported.
        for project, entries in self._entries.items():
            place = _ProjectWriter(transaction, self._places[project], stored, place, result).write(entries)
        # Also where the cursor stays: what is built from the archive has parts without a place of their own in the log.
        for key, blob_chunks in self._parts.items():
            present = stored[key]
            if present is None or records.content_stub(present) is not None:
                _write_chunks(transaction, key, blob_chunks)
        if standing != self._batch.cursor:
            transaction.set(self._cursor_key, records.encode_cursor(*_pair(self._batch.cursor)))
        return result


class _ProjectWriter:
    """Writes one project's share of a batch.

    Args:
        stored: what is in the ledger at each key that the share may have to know.
        first_place: the transaction's first place that is free.
    """

    def __init__(
        self, transaction: Transaction, place: Place, stored: Stored, first_place: int, result: Landed
    ) -> None:
        self._transaction = transaction
        self._keys = place.keys
        self._tenant_prefix = place.tenant_prefix
        self._stored = stored
        self._place = first_place
        self._result = result
        self._rows: list[KeyValue] = []
        self._values: list[KeyValue] = []
        self._incarnation = int.from_bytes(stored[self._keys.incarnation] or b"\x01", "big")
        stored_head = stored[self._keys.head]
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
            self._add_event(entry)
            self._add_content(entry, known)
            self._place += 1
        self._add_head(fresh)
        self._transaction.set_versionstamped_keys(self._rows)
        self._transaction.set_versionstamped_values(self._values)
        self._result.events += len(fresh)
        return self._place

    def _fresh(self, entries: Sequence[_Entry]) -> list[_Entry]:
        seen: dict[bytes, bytes] = {}
        fresh = []
        for entry in entries:
            value = self._stored[entry.id_key]
            earlier = seen.get(entry.id_key) if value is None else IdRecord.decode(value).digest
            if earlier is None:
                seen[entry.id_key] = entry.digest
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

    def _known_contents(self, entries: Iterable[_Entry]) -> dict[bytes, ContentSource]:
        stored = ((entry.content_key, self._stored[entry.content_key]) for entry in entries if entry.content_key)
        return {key: ContentSource.decode(value) for key, value in stored if value is not None}

    def _add_event(self, entry: _Entry) -> None:
        self._rows += keys.all_committed(entry.rows, self._incarnation, self._place)
        for number, piece in enumerate(entry.more_chunks, start=1):
            tail = keys.chunk(b"", number)
            self._rows.append((keys.committed(self._keys.events, self._incarnation, self._place, tail), piece))
        self._chain = records.extend_chain(self._chain, entry.landed.data)
        self._add_value(entry.id_key, records.id_suffix(self._incarnation, entry.digest, self._chain), self._place)

    def _add_content(self, entry: _Entry, known: dict[bytes, ContentSource]) -> None:
        if not entry.content_key:
            return
        form = entry.content_form
        source = known.get(entry.content_key)
        # A whole content takes the place of what claims to lead to it, and of what the archive has; never the other way
        # round.
        is_whole = form != ContentForm.EVENT
        if source is not None and (not is_whole or (source.form != ContentForm.EVENT and not source.is_cold)):
            return
        known[entry.content_key] = ContentSource(form, _WITHIN)
        if entry.blob_chunks:
            _write_chunks(self._transaction, keys.blob(self._tenant_prefix, entry.content_digest), entry.blob_chunks)
        self._add_value(entry.content_key, records.content_suffix(form, self._incarnation), self._place)

    def _add_head(self, entries: Sequence[_Entry]) -> None:
        head = self._head
        first_us = min([entry.occurred_us for entry in entries])
        suffix = records.head_suffix(
            self._incarnation,
            len(entries) + (head.count if head else 0),
            self._chain,
            min(first_us, head.first_occurred_us) if head else first_us,
            entries[-1].message.recorded_us,
        )
        self._add_value(self._keys.head, suffix, self._place - 1)

    def _add_value(self, key: bytes, suffix: bytes, place: int) -> None:
        self._values.append((key, bytes(10) + place.to_bytes(2, "big") + suffix + bytes(4)))


def read_cursor(transaction: Transaction, cursor_key: bytes) -> Cursor:
    """Where a sink stands; the beginning where it has landed nothing."""
    return _cursor(transaction.get(cursor_key))


def _cursor(stored: bytes | None) -> Cursor:
    return Cursor() if stored is None else Cursor(*records.decode_cursor(stored))


def _pair(cursor: Cursor) -> tuple[int, int]:
    return cursor.sequence, cursor.recorded_us


def _prepare(message: LandedMessage, landed: LandedEvent, place: ProjectKeys, recorded: bytes) -> _Entry:
    event = landed.event
    moment_us = occurred_us(event)
    payload = event.WhichOneof("payload")
    change = event.state_change if payload == "state_change" else None
    whole = change.content if change is not None else b""
    content_digest = carried_digest(change) if change is not None else b""
    record = EventRecord.cut(landed.data, message.recorded_us, whole, content_digest)
    apart = ContentForm.WHOLE if change is not None and change.HasField("content") else ContentForm.EVENT
    first, *more = records.chunks(record.encode())
    rows = [(place.events, first), (place.occurred(moment_us), b""), (recorded, b"")]
    if change is not None:
        rows += [(place.path(path), row) for path, row in path_rows(change, moment_us, message.recorded_us)]
    return _Entry(
        message=message,
        landed=landed,
        occurred_us=moment_us,
        digest=hashlib.sha256(landed.data).digest(),
        id_key=place.id(event.event_id),
        rows=rows + _rows_by_name(event, payload, place),
        more_chunks=more,
        content_key=place.content(content_digest) if content_digest else b"",
        content_digest=content_digest,
        content_form=ContentForm.BLOB if record.digest else apart,
        blob_chunks=_blob_chunks(whole) if record.digest else [],
    )


def _rows_by_name(event: SwarmEvent, payload: str | None, place: ProjectKeys) -> list[KeyValue]:
    rows = []
    commit_hash = event.related_commit_hash
    if commit_hash and len(commit_hash.encode()) <= MAX_INDEXED_NAME_BYTES:
        rows.append((place.commit(commit_hash), b""))
    if payload == "decision":
        rows.append((place.decisions(event.agent_id, event.session_id), b""))
    elif payload == "checkpoint" and len(event.checkpoint.name.encode()) <= MAX_INDEXED_NAME_BYTES:
        rows.append((place.checkpoint(event.checkpoint.name), event.checkpoint.through_event_id.encode()))
    return rows


def carried_digest(change: StateChange) -> bytes:
    """The hash of the content that a change brings; empty where it brings none."""
    if not change.new_state_hash:
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

    if change.operation == DELETE:
        return [(change.target_resource, row(change.operation, 0, "", change.previous_state_hash))]
    if not change.renamed_from:
        after = row(change.operation, change.mode, change.new_state_hash, change.previous_state_hash)
        return [(change.target_resource, after)]
    # A rename is two paths' affair: what it claims of the content before is said of the path that it leaves.
    return [
        (change.renamed_from, row(DELETE, 0, "", change.previous_state_hash)),
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
