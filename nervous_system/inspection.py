"""Whether an event may be kept. Pure, and asked by every store's worker, so that all stores keep the same events."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

from nervous_system.contract import MODES, SYMLINK_MODE, Checkpoint, Operation, StateChange, SwarmEvent
from nervous_system.errors import ContractError
from nervous_system.events import decode
from nervous_system.ledger.versions import MAX_INCARNATION
from nervous_system.paths import check_link_target, check_resource
from nervous_system.projects import ProjectName
from nervous_system.wire import canonical_events, check_form

# What every store can hold: 1900-01-01 to the end of 2299 (ClickHouse's DateTime64).
FIRST_SECOND, LAST_SECOND = -2_208_988_800, 10_413_791_999
# In text form; with what stands around it, it must fit a key of the ledger (10,000 bytes).
RESOURCE_LIMIT_BYTES = 8_192

_HASH = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PART_HASH_BYTES = 32
# An enum's own look-ups cost more than all other checks of an event together.
_OPERATIONS = frozenset(Operation.values())
_DELETE = Operation.Value("OPERATION_DELETE")
# Paths come again and again; only short ones are remembered, so that their memory stays small.
_REMEMBERED_PATHS, _REMEMBERED_CHARACTERS = 4_096, 256


class EventRefusedError(ContractError):
    """An event breaks the contract; ``code`` is the reason's short stable name."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Inspector:
    """What of one message may be kept: its events, each decoded once where the message's form allows.

    Args:
        data: the message's bytes, a SwarmEventBatch.
        cut: the verbatim bytes of its events.
        project: on whose subject it came.
    """

    def __init__(self, data: bytes, cut: Sequence[bytes], project: ProjectName) -> None:
        self._cut = cut
        self._project = project
        self._canonical = canonical_events(data)

    def inspect(self, index: int) -> SwarmEvent:
        """The event at a place, decoded; raises EventRefusedError where it may not be kept."""
        if self._canonical is None:
            return inspect(self._cut[index], self._project)
        event = self._canonical[index]
        _check(event, self._project)
        return event


def inspect(data: bytes, project: ProjectName) -> SwarmEvent:
    """Decodes an event that came on ``project``'s subject; raises EventRefusedError where it may not be kept."""
    try:
        event = decode(data)
    except ContractError as error:
        raise EventRefusedError("undecodable", str(error)) from error
    try:
        check_form(data, event)
    except ContractError as error:
        raise EventRefusedError("bad_form", f"Event {event.event_id!r} can be read in several ways. {error}") from error
    _check(event, project)
    return event


def _check(event: SwarmEvent, project: ProjectName) -> None:
    """Whether an event may be kept whose form is beyond doubt. Reads no field twice: each reading makes an object."""
    event_id, moment = event.event_id, event.timestamp
    if not _ID.fullmatch(event_id):
        raise EventRefusedError("bad_id", f"{event_id!r} is not an event id: use a lower-case UUID.")
    seconds, nanos = moment.seconds, moment.nanos
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < 1_000_000_000):
        raise EventRefusedError(
            "bad_time", f"Event {event_id} has the timestamp {seconds} s, {nanos} ns: it must lie in 1900 to 2299."
        )
    tenant_id, project_id = event.tenant_id, event.project_id
    if tenant_id != project.tenant or project_id != project.project:
        raise EventRefusedError(
            "wrong_project",
            f"Event {event_id} says {tenant_id}/{project_id} but came on the subject of {project}.",
        )
    payload = event.WhichOneof("payload")
    if payload is None:
        raise EventRefusedError("unknown_payload", f"Event {event_id} has no payload that this version knows.")
    if payload == "state_change":
        _check_change(event_id, event.state_change)
    elif payload == "checkpoint":
        _check_checkpoint(event, event.checkpoint)


def _check_change(event_id: str, change: StateChange) -> None:
    resource, renamed_from = change.target_resource, change.renamed_from
    fault = _path_fault(resource) or (renamed_from and _path_fault(renamed_from))
    if fault:
        raise EventRefusedError("bad_path", f"Event {event_id}: {fault}")
    operation = change.operation
    if operation not in _OPERATIONS:
        raise EventRefusedError("unknown_operation", f"Event {event_id}: this version knows no operation {operation}.")
    previous_hash, new_hash = change.previous_state_hash, change.new_state_hash
    for name, value in (("previous_state_hash", previous_hash), ("new_state_hash", new_hash)):
        if value and not _HASH.fullmatch(value):
            raise EventRefusedError("bad_hash", f"Event {event_id}: {name} {value!r} is not a SHA-256 in hex.")
    deleting = operation == _DELETE
    if deleting == bool(new_hash):
        raise EventRefusedError(
            "bad_hash", f"Event {event_id}: new_state_hash must be set, except where the target is deleted."
        )
    if not deleting:
        content = change.content if change.HasField("content") else None
        _check_mode(event_id, change.mode, resource, content)
        if content is None:
            _check_content_elsewhere(event_id, change, previous_hash, new_hash)
        elif hashlib.sha256(content).hexdigest() != new_hash:
            raise EventRefusedError("bad_hash", f"Event {event_id}: its content does not have its new_state_hash.")


def _path_fault(resource: str) -> str:
    """What is wrong with a path, a sentence; empty where nothing is."""
    return (_short_path_fault if len(resource) <= _REMEMBERED_CHARACTERS else _long_path_fault)(resource)


def _long_path_fault(resource: str) -> str:
    try:
        check_resource(resource)
    except ContractError as error:
        return str(error)
    too_long = len(resource.encode()) > RESOURCE_LIMIT_BYTES
    return f"its path is longer than {RESOURCE_LIMIT_BYTES} bytes." if too_long else ""


_short_path_fault = lru_cache(_REMEMBERED_PATHS)(_long_path_fault)


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def _check_checkpoint(event: SwarmEvent, checkpoint: Checkpoint) -> None:
    def refusal(fault: str) -> EventRefusedError:
        return EventRefusedError("bad_checkpoint", f"Event {event.event_id}: {fault}")

    if checkpoint.through_event_id and not _is_id(checkpoint.through_event_id):
        raise refusal(f"its through_event_id {checkpoint.through_event_id!r} is not an event id.")
    if not checkpoint.HasField("origin"):
        return
    origin = checkpoint.origin
    try:
        ProjectName.parse(f"{event.tenant_id}/{origin.project_id}")
    except ContractError as error:
        raise refusal(f"its origin names no project: {error}") from error
    if origin.project_id == event.project_id:
        raise refusal("a project cannot be a fork of itself.")
    if not _is_id(origin.through_event_id) or len(origin.chain) != hashlib.sha256().digest_size:
        raise refusal("its origin names no event and its chain.")
    if not 2 <= origin.incarnation <= MAX_INCARNATION:
        raise refusal(f"its incarnation {origin.incarnation} is not one of 2 to {MAX_INCARNATION}.")


def _check_mode(event_id: str, mode: int, resource: str, content: bytes | None) -> None:
    if mode not in MODES:
        raise EventRefusedError("bad_mode", f"Event {event_id}: {mode:o} is not a mode that git knows.")
    if mode == SYMLINK_MODE and content is not None:
        try:
            check_link_target(resource, content)
        except ContractError as error:
            raise EventRefusedError("bad_path", f"Event {event_id}: {error}") from error


def _check_content_elsewhere(event_id: str, change: StateChange, previous_hash: str, new_hash: str) -> None:
    """Whether a change that does not carry its content says where it is."""
    blob_hash = change.blob_hash
    if blob_hash:
        parts_fit = change.blob_parts and all(len(part) == _PART_HASH_BYTES for part in change.blob_parts)
        if blob_hash != new_hash or not parts_fit:
            raise EventRefusedError("bad_hash", f"Event {event_id}: its blob_hash or blob_parts are not usable.")
    elif change.diff_patch:
        if not previous_hash:
            raise EventRefusedError("bad_hash", f"Event {event_id}: its diff names no previous_state_hash to apply to.")
    elif new_hash != previous_hash:
        raise EventRefusedError("bad_hash", f"Event {event_id}: it carries no content for its new_state_hash.")
