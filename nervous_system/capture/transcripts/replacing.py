"""Edits by replacement, as Claude Code's tools and the str_replace_editor of Anthropic's kind make them. Pure.

Sources: what Claude Code writes beside each edit (``toolUseResult``: the file before, and a patch for display, in which
leading tabs may be shown as spaces); SWE-agent, tools/edit_anthropic/bin/str_replace_editor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nervous_system.capture.transcripts.files import UnknownContentError

Hunk = Mapping[str, Any]


def replaced(before: str, old: str, new: str, every: bool, hunks: Sequence[Hunk] = ()) -> str:
    """The text after one replacement.

    Args:
        before: the text.
        old: what is replaced; where it is empty, there must be nothing before.
        new: what stands for it.
        every: whether each occurrence is replaced, and not the first alone.
        hunks: the patch that the tool showed; what does not agree with it did not happen.

    Raises:
        UnknownContentError: what came of it cannot be told.
    """
    for after in _outcomes(before, old, new, every):
        if agrees(after, hunks):
            return after
    raise UnknownContentError("its replacement does not lead to the patch that the tool showed")


def _outcomes(before: str, old: str, new: str, every: bool) -> Iterator[str]:
    count = -1 if every else 1
    if not old:
        if before:
            raise UnknownContentError("it replaces nothing in a file that is not empty")
        yield new
        return
    if old not in before:
        raise UnknownContentError("the text that it replaces is not in the file as far as it is known")
    # To remove whole lines takes their line feed along.
    if not new and not old.endswith("\n") and f"{old}\n" in before:
        yield before.replace(f"{old}\n", new, count)
    yield before.replace(old, new, count)


def agrees(after: str, hunks: Sequence[Hunk]) -> bool:
    """Whether a text can be what a patch leads to; indentation aside, which the patch may show otherwise."""
    lines = after.split("\n")
    for hunk in hunks:
        shown = [line[1:].strip() for line in hunk.get("lines", ()) if line[:1] in (" ", "+")]
        start = int(hunk.get("newStart", 1)) - 1
        if [line.strip() for line in lines[max(start, 0) : max(start, 0) + len(shown)]] != shown:
            return False
    return True


def patched(before: str, hunks: Sequence[Hunk]) -> str:
    """The text after a patch whose context is in it to the letter; raises UnknownContentError for any other."""
    lines = before.split("\n")
    for hunk in sorted(hunks, key=lambda hunk: -int(hunk["oldStart"])):
        told = [line for line in hunk["lines"] if line[:1] in (" ", "+", "-")]
        old = [line[1:] for line in told if line[0] != "+"]
        start = int(hunk["oldStart"]) - 1
        if len(told) != len(hunk["lines"]) or lines[start : start + len(old)] != old:
            raise UnknownContentError("the patch that the tool showed does not fit the file to the letter")
        lines[start : start + len(old)] = [line[1:] for line in told if line[0] != "-"]
    return "\n".join(lines)


def inserted(before: str, after_line: int, text: str) -> str:
    """The text with lines put in after the line of that number (0: at the start)."""
    lines = before.split("\n")
    if not 0 <= after_line <= len(lines):
        raise UnknownContentError(f"it inserts after line {after_line} of {len(lines)}")
    return "\n".join([*lines[:after_line], *text.split("\n"), *lines[after_line:]])


def decoded(content: bytes) -> str:
    """A file's content as text; raises UnknownContentError where it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UnknownContentError("the file is not UTF-8") from None


def encoded(text: str) -> bytes:
    """A text as a file's content; raises UnknownContentError where it cannot be written as UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UnknownContentError("its text has half of a surrogate pair, which no file of text holds") from None
