"""A file's change as a StateChange: which of diff, whole content or parts carries it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from nervous_system.contract import SUBMODULE_MODE, SYMLINK_MODE, Operation, StateChange, TargetType
from nervous_system.events import INLINE_LIMIT_BYTES, PART_LIMIT_BYTES

PutPart = Callable[[bytes], bytes]
"""Sends one part of a large content ahead of its event and returns its SHA-256, 32 bytes."""

_TARGETS = {SYMLINK_MODE: TargetType.TARGET_TYPE_SYMLINK, SUBMODULE_MODE: TargetType.TARGET_TYPE_SUBMODULE}


def written(
    resource: str,
    content: bytes,
    put_part: PutPart,
    *,
    mode: int,
    operation: Operation,
    previous_hash: str = "",
    patch: str | None = None,
    renamed_from: str = "",
) -> StateChange:
    """A change that leaves ``content`` at ``resource``.

    Args:
        resource: the path's text form.
        content: what is there afterwards: a file's bytes, a symlink's target, a submodule's commit id.
        put_part: called for each part of a content above the inline limit, before this returns.
        mode: as in git.
        operation: create, modify or rename.
        previous_hash: SHA-256 of the content before, hex; empty where there was none or it is not known.
        patch: unified diff from the content before, where there is one; used only if it is the smaller form.
        renamed_from: the path before a rename.
    """
    change = StateChange(
        target_type=_TARGETS.get(mode, TargetType.TARGET_TYPE_FILE),
        target_resource=resource,
        previous_state_hash=previous_hash,
        new_state_hash=hashlib.sha256(content).hexdigest(),
        is_reversible=True,
        operation=operation,
        mode=mode,
        renamed_from=renamed_from,
    )
    if change.new_state_hash == previous_hash:
        return change
    diff_bytes = len(patch.encode()) if patch else len(content) + 1
    if previous_hash and patch and diff_bytes < len(content) and diff_bytes <= INLINE_LIMIT_BYTES:
        change.diff_patch = patch
    elif len(content) <= INLINE_LIMIT_BYTES:
        change.content = content
    else:
        change.blob_hash = change.new_state_hash
        parts = (content[start : start + PART_LIMIT_BYTES] for start in range(0, len(content), PART_LIMIT_BYTES))
        change.blob_parts.extend(put_part(part) for part in parts)
    return change


def deleted(resource: str, *, mode: int, previous_hash: str) -> StateChange:
    """A change that leaves nothing at ``resource``; ``mode`` is what it had."""
    return StateChange(
        target_type=_TARGETS.get(mode, TargetType.TARGET_TYPE_FILE),
        target_resource=resource,
        previous_state_hash=previous_hash,
        is_reversible=True,
        operation=Operation.OPERATION_DELETE,
        mode=mode,
    )
