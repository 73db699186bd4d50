"""Diffs: exact to the byte, by our own reading and by the system's patch and git."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nervous_system.textdiff import DIFF_LIMIT_BYTES, DIFF_LIMIT_LINES, as_text, split_lines, unified_diff
from replay import patches

# Few letters, so that much is in common; every character that some reader takes for the end of a line.
texts = st.text(st.sampled_from("abc\n\n\r\x0b\x0c\x1c\x85\u2028+-@ \\é"), max_size=80)
plain = st.text(st.sampled_from("ab\n\n+-@ \\é"), max_size=60)


@given(texts)
def test_lines_put_together_are_the_text(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines[:-1])


@given(texts, texts)
@example("", "a")
@example("a", "")
@example("a\n", "a")
@example("a", "a\n")
@example("--- a\n+++ b\n", "-- a\n")
@example("a\r\n", "a\n")
def test_our_own_reading_gives_the_very_bytes(before: str, after: str) -> None:
    old, new = before.encode(), after.encode()
    diff = unified_diff(old, new)
    assert diff is not None
    assert patches.apply(diff, old) == new
    assert (diff == "") == (old == new)
    assert old == new or patches.apply(unified_diff(new, old) or "", new) == old


@pytest.mark.parametrize("tool", ["git", "patch"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(before=plain, after=plain)
@example(before="a\nb", after="a\nb\n")
@example(before="", after="\n")
@example(before="x\n" * 30, after="y\n" + "x\n" * 29 + "z")
def test_others_read_the_same(tool: str, tmp_path: Path, before: str, after: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    diff = unified_diff(before.encode(), after.encode())
    # Neither takes an empty file's creation or removal from hunks under the headers of a change.
    if not diff or not before or not after:
        return
    file = tmp_path / "f"
    file.write_bytes(before.encode())
    whole = f"--- a/f\n+++ b/f\n{diff}".encode()
    command = {"git": ["git", "apply", "-"], "patch": ["patch", "-p1", "--binary", "-s"]}[tool]
    done = subprocess.run(command, input=whole, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, (done.stderr, diff)
    assert file.read_bytes() == after.encode()


def test_binary_and_large_contents_have_no_diff() -> None:
    assert as_text(b"a\0b") is None
    assert as_text(b"\xff") is None
    assert as_text("é".encode()) == "é"
    assert unified_diff(b"a\0", b"b") is None
    assert unified_diff(b"a", b"\xff") is None
    assert unified_diff(b"", b"x" * (DIFF_LIMIT_BYTES + 1)) is None
    assert unified_diff(b"\n" * (DIFF_LIMIT_LINES + 1), b"") is None
    assert unified_diff(b"", b"x\n" * DIFF_LIMIT_LINES) is not None
