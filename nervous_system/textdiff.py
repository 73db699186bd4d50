"""Unified diffs of text, exact to the byte: what a StateChange carries instead of the whole content."""

from __future__ import annotations

import difflib

NO_NEWLINE = "\\ No newline at end of file"
CONTEXT_LINES = 3

# difflib's time grows with the square of what differs; above these sizes the whole content travels instead.
DIFF_LIMIT_BYTES = 200_000
DIFF_LIMIT_LINES = 5_000


def as_text(content: bytes) -> str | None:
    """The content as text; None where it is binary (a NUL byte, or not UTF-8)."""
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def split_lines(text: str) -> list[str]:
    """Lines with their line feeds; only a line feed ends a line, so that no other byte is touched."""
    lines = text.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])


def unified_diff(before: bytes, after: bytes) -> str | None:
    """The hunks that lead from ``before`` to ``after``; None where a diff is no use (binary, or too large)."""
    if max(len(before), len(after)) > DIFF_LIMIT_BYTES:
        return None
    old_text, new_text = as_text(before), as_text(after)
    if old_text is None or new_text is None:
        return None
    old, new = split_lines(old_text), split_lines(new_text)
    if max(len(old), len(new)) > DIFF_LIMIT_LINES:
        return None
    lines = difflib.unified_diff(old, new, n=CONTEXT_LINES, lineterm="\n")
    hunks = list(lines)[2:]
    return "".join(line if line.endswith("\n") else f"{line}\n{NO_NEWLINE}\n" for line in hunks)
