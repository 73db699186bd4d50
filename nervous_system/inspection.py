"""Whether an event may be kept. Pure, and asked by every store's worker, so that all stores keep the same events."""

from __future__ import annotations

import hashlib
import re
import uuid

from nervous_system.contract import MODES, SYMLINK_MODE, Checkpoint, Operation, StateChange, SwarmEvent
from nervous_system.errors import ContractError
from nervous_system.events import decode
from nervous_system.ledger.versions import MAX_INCARNATION
from nervous_system.paths import check_link_target, check_resource
from nervous_system.projects import ProjectName
from nervous_system.wire import check_form

# What every store can hold: 1900-01-01 to the end of 2299 (ClickHouse's DateTime64).
FIRST_SECOND, LAST_SECOND = -2_208_988_800, 10_413_791_999
# In text form; with what stands around it, it must fit a key of the ledger (10,000 bytes).
RESOURCE_LIMIT_BYTES = 8_192

_HASH = re.compile(r"[0-9a-f]{64}")
_PART_HASH_BYTES = 32


class EventRefusedError(ContractError):
    """An event breaks the contract; ``code`` is the reason's short stable name."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


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
    _check_id(event)
    _check_time(event)
    if (event.tenant_id, event.project_id) != (project.tenant, project.project):
        raise EventRefusedError(
            "wrong_project",
            f"Event {event.event_id} says {event.tenant_id}/{event.project_id} but came on the subject of {project}.",
        )
    payload = event.WhichOneof("payload")
    if payload is None:
        raise EventRefusedError("unknown_payload", f"Event {event.event_id} has no payload that this version knows.")
    if payload == "state_change":
        _check_change(event.event_id, event.state_change)
    elif payload == "checkpoint":
        _check_checkpoint(event, event.checkpoint)
    return event


def _check_id(event: SwarmEvent) -> None:
    if not _is_id(event.event_id):
        raise EventRefusedError("bad_id", f"{event.event_id!r} is not an event id: use a lower-case UUID.")


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _check_time(event: SwarmEvent) -> None:
    seconds, nanos = event.timestamp.seconds, event.timestamp.nanos
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < 1_000_000_000):
        raise EventRefusedError(
            "bad_time",
            f"Event {event.event_id} has the timestamp {seconds} s, {nanos} ns: it must lie in 1900 to 2299.",
        )


def _check_change(event_id: str, change: StateChange) -> None:
    try:
        check_resource(change.target_resource)
        if change.renamed_from:
            check_resource(change.renamed_from)
    except ContractError as error:
        raise EventRefusedError("bad_path", f"Event {event_id}: {error}") from error
    if max(len(change.target_resource.encode()), len(change.renamed_from.encode())) > RESOURCE_LIMIT_BYTES:
        raise EventRefusedError("bad_path", f"Event {event_id}: its path is longer than {RESOURCE_LIMIT_BYTES} bytes.")
    if change.operation not in Operation.values():
        raise EventRefusedError(
            "unknown_operation", f"Event {event_id}: this version knows no operation {change.operation}."
        )
    for name, value in (("previous_state_hash", change.previous_state_hash), ("new_state_hash", change.new_state_hash)):
        if value and not _HASH.fullmatch(value):
            raise EventRefusedError("bad_hash", f"Event {event_id}: {name} {value!r} is not a SHA-256 in hex.")
    deleting = change.operation == Operation.OPERATION_DELETE
    if deleting == bool(change.new_state_hash):
        raise EventRefusedError(
            "bad_hash", f"Event {event_id}: new_state_hash must be set, except where the target is deleted."
        )
    if not deleting:
        _check_mode(event_id, change)
        _check_content(event_id, change)


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


def _check_mode(event_id: str, change: StateChange) -> None:
    if change.mode not in MODES:
        raise EventRefusedError("bad_mode", f"Event {event_id}: {change.mode:o} is not a mode that git knows.")
    if change.mode == SYMLINK_MODE and change.HasField("content"):
        try:
            check_link_target(change.target_resource, change.content)
        except ContractError as error:
            raise EventRefusedError("bad_path", f"Event {event_id}: {error}") from error


def _check_content(event_id: str, change: StateChange) -> None:
    if change.HasField("content"):
        if hashlib.sha256(change.content).hexdigest() != change.new_state_hash:
            raise EventRefusedError("bad_hash", f"Event {event_id}: its content does not have its new_state_hash.")
    elif change.blob_hash:
        parts_fit = change.blob_parts and all(len(part) == _PART_HASH_BYTES for part in change.blob_parts)
        if change.blob_hash != change.new_state_hash or not parts_fit:
            raise EventRefusedError("bad_hash", f"Event {event_id}: its blob_hash or blob_parts are not usable.")
    elif change.diff_patch:
        if not change.previous_state_hash:
            raise EventRefusedError("bad_hash", f"Event {event_id}: its diff names no previous_state_hash to apply to.")
    elif change.new_state_hash != change.previous_state_hash:
        raise EventRefusedError("bad_hash", f"Event {event_id}: it carries no content for its new_state_hash.")
