"""Which of diff, whole content or parts carries a change."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.changes import deleted, written
from nervous_system.contract import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE, Operation, TargetType
from nervous_system.events import INLINE_LIMIT_BYTES, PART_LIMIT_BYTES, content_hash
from nervous_system.inspection import inspect
from nervous_system.textdiff import unified_diff
from replay import patches
from tests.samples import PROJECT, event

MODIFY = Operation.OPERATION_MODIFY


class Parts:
    """What was sent ahead."""

    def __init__(self) -> None:
        self.sent: dict[bytes, bytes] = {}

    def __call__(self, part: bytes) -> bytes:
        digest = hashlib.sha256(part).digest()
        self.sent[digest] = part
        return digest


def refused(_: bytes) -> bytes:
    raise AssertionError("no part may be sent")


texts = st.text(st.sampled_from("ab\n"), max_size=60).map(str.encode) | st.binary(max_size=60)


@given(texts, texts)
def test_whatever_carries_it_the_content_can_be_had_again(before: bytes, after: bytes) -> None:
    diff = unified_diff(before, after)
    change = written(
        "p", after, refused, mode=FILE_MODE, operation=MODIFY, previous_hash=content_hash(before), patch=diff
    )
    # Exactly one form, the smallest; and it may be kept.
    forms = [change.HasField("content"), bool(change.diff_patch), before == after]
    assert sum(forms) == 1
    assert not change.blob_hash
    if change.diff_patch:
        assert len(change.diff_patch.encode()) < len(after)
        assert patches.apply(change.diff_patch, before) == after
    elif before != after:
        assert change.content == after
    inspect(event(1, state_change=change).SerializeToString(), PROJECT)


def test_parts_begin_above_the_inline_limit() -> None:
    parts = Parts()
    whole = written("p", b"x" * INLINE_LIMIT_BYTES, refused, mode=FILE_MODE, operation=MODIFY)
    assert whole.HasField("content")
    content = bytes(range(256)) * (2 * PART_LIMIT_BYTES // 256) + b"tail"
    change = written("p", content, parts, mode=FILE_MODE, operation=MODIFY)
    assert not change.HasField("content")
    assert change.blob_hash == change.new_state_hash == content_hash(content)
    assert b"".join(parts.sent[digest] for digest in change.blob_parts) == content
    assert max(map(len, parts.sent.values())) == PART_LIMIT_BYTES
    inspect(event(1, state_change=change).SerializeToString(), PROJECT)


def test_a_small_diff_of_a_large_content_carries_it() -> None:
    before, after = b"line\n" * 100_000, b"line\n" * 100_000 + b"more\n"
    diff = "@@ -99998,3 +99998,4 @@\n line\n line\n line\n+more\n"
    change = written(
        "p", after, refused, mode=FILE_MODE, operation=MODIFY, previous_hash=content_hash(before), patch=diff
    )
    assert change.diff_patch == diff
    assert patches.apply(diff, before) == after


def test_a_diff_without_a_hash_to_apply_to_is_not_used() -> None:
    change = written("p", b"a\n" * 200, refused, mode=FILE_MODE, operation=MODIFY, patch="@@ -1 +1 @@\n-b\n+a\n")
    assert (change.diff_patch, change.content) == ("", b"a\n" * 200)


@pytest.mark.parametrize(
    ("mode", "target"),
    [
        (FILE_MODE, TargetType.TARGET_TYPE_FILE),
        (EXECUTABLE_MODE, TargetType.TARGET_TYPE_FILE),
        (SYMLINK_MODE, TargetType.TARGET_TYPE_SYMLINK),
        (SUBMODULE_MODE, TargetType.TARGET_TYPE_SUBMODULE),
    ],
)
def test_the_mode_says_what_it_is(mode: int, target: TargetType) -> None:
    assert written("p", b"x", refused, mode=mode, operation=MODIFY).target_type == target
    gone = deleted("p", mode=mode, previous_hash=content_hash(b"x"))
    assert (gone.target_type, gone.new_state_hash, gone.operation) == (target, "", Operation.OPERATION_DELETE)
    inspect(event(1, state_change=gone).SerializeToString(), PROJECT)
