"""Applying a unified diff, exactly: every line where the hunk says, or not at all.

The form is that of GNU diff and Git ("Detailed Description of Unified Format", GNU diffutils manual), hunks only: no
file headers, and a backslash line after a last line that has no line feed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from nervous_system.errors import EnchantedError

_HEADER = re.compile(rb"@@ -([0-9]{1,18})(?:,([0-9]{1,18}))? \+([0-9]{1,18})(?:,([0-9]{1,18}))? @@(?: .*)?", re.DOTALL)


class PatchError(EnchantedError):
    """A patch that is malformed, or that was made from another content."""


@dataclass(frozen=True, slots=True)
class _Hunk:
    """Lines without their line feeds; ``*_open`` says that the last of them has none in the file either."""

    old_start: int
    new_start: int
    old: list[bytes]
    new: list[bytes]
    old_open: bool
    new_open: bool


def apply(patch: str, before: bytes) -> bytes:
    """The content that ``patch`` makes of ``before``.

    Args:
        patch: the hunks of a unified diff, in order; an empty patch changes nothing.
        before: the content that the patch was made from.

    Raises:
        PatchError: the patch cannot be read, or its lines are not in ``before`` at the very places it names.
    """
    # What follows the last line feed is a piece too: empty exactly where the content ends in a line feed.
    pieces = before.split(b"\n")
    result: list[bytes] = []
    position = 0
    for hunk in _hunks(patch.encode("utf-8", "surrogatepass")):
        if hunk.old_start < position or hunk.old_start >= len(pieces):
            raise PatchError(f"The patch's hunk at line {hunk.old_start + 1} is out of order or beyond the content.")
        result += pieces[position : hunk.old_start]
        position = hunk.old_start + len(hunk.old)
        _check_place(hunk, pieces, len(result))
        result += hunk.new
        if hunk.new_open:
            if pieces[position:] not in ([], [b""]):
                raise PatchError("The patch leaves a line without a line feed in the middle of the content.")
            position = len(pieces)
        elif position == len(pieces):
            result.append(b"")
    return b"\n".join(result + pieces[position:])


class Replacement(NamedTuple):
    """Lines of the content before, the lines of the content after that took their place, and those lines themselves.

    Lines are counted from 0; each has its line feed, but for a last one that the content has without.
    """

    old: slice
    new: slice
    lines: list[str]


def replaced_lines(patch: str) -> Iterator[Replacement]:
    """What a patch replaces, in order: lines that no replacement names stand in both contents.

    Raises PatchError where the patch cannot be read. Whether it fits the content before is not asked.
    """
    before = after = old_start = new_start = 0
    added: list[str] = []
    last = ""
    for line in [*patch.split("\n")[:-1], " "]:
        kind = line[:1]
        if kind == "+":
            after += 1
            added.append(f"{line[1:]}\n")
        elif kind == "-":
            before += 1
        elif kind == "\\":
            if last == "+":
                added[-1] = added[-1][:-1]
        else:
            if before > old_start or added:
                yield Replacement(slice(old_start, before), slice(new_start, after), added)
                added = []
            if kind == " ":
                before, after = before + 1, after + 1
            elif header := _HEADER.fullmatch(line.encode("utf-8", "surrogatepass")):
                # A side without lines names the line before it, others name their first line; counted from 1.
                before, after = (int(header[at]) - (header[at + 1] != b"0") for at in (1, 3))
            else:
                raise PatchError(f"{line[:40]!r} is no line of a patch.")
            old_start, new_start = before, after
        last = kind


def _check_place(hunk: _Hunk, pieces: list[bytes], new_start: int) -> None:
    """Raises PatchError where the hunk's old lines are not in the content where it says."""
    end = hunk.old_start + len(hunk.old)
    if pieces[hunk.old_start : end] != hunk.old or hunk.new_start != new_start:
        raise PatchError(f"The patch's lines at line {hunk.old_start + 1} are not those of the content.")
    if hunk.old and hunk.old_open != (end == len(pieces)):
        raise PatchError("The patch and the content differ in the line feed at their end.")


def _hunks(patch: bytes) -> Iterator[_Hunk]:
    lines = patch.split(b"\n")
    if lines.pop():
        raise PatchError("The patch ends within a line.")
    number = 0
    while number < len(lines):
        header = _HEADER.fullmatch(lines[number])
        if header is None:
            raise PatchError(f"Line {number + 1} of the patch is not a hunk's header.")
        hunk, number = _read_hunk(lines, number + 1, header)
        yield hunk


def _read_hunk(lines: list[bytes], number: int, header: re.Match[bytes]) -> tuple[_Hunk, int]:
    """The hunk whose first line is ``lines[number]``, and the number of the line after it."""
    old_count, new_count = (1 if header[group] is None else int(header[group]) for group in (2, 4))
    old: list[bytes] = []
    new: list[bytes] = []
    old_open = new_open = False
    while len(old) < old_count or len(new) < new_count or (number < len(lines) and lines[number][:1] == b"\\"):
        line = lines[number] if number < len(lines) else b""
        kind = line[:1]
        # Only the last line of a side can be without its line feed; one after it means that the patch is broken.
        if kind == b"\\" and lines[number - 1][:1] in (b" ", b"-", b"+"):
            old_open = old_open or lines[number - 1][:1] != b"+"
            new_open = new_open or lines[number - 1][:1] != b"-"
        elif kind in (b" ", b"-", b"+"):
            if (kind != b"+" and old_open) or (kind != b"-" and new_open):
                raise PatchError(f"Line {number + 1} of the patch stands after the content's end.")
            if kind != b"+":
                old.append(line[1:])
            if kind != b"-":
                new.append(line[1:])
        else:
            raise PatchError(f"Line {number + 1} of the patch is not part of its hunk.")
        number += 1
    if len(old) != old_count or len(new) != new_count:
        raise PatchError(f"The hunk that ends at line {number} of the patch has other lines than its header says.")
    if (old_open and not old[-1]) or (new_open and not new[-1]):
        raise PatchError("The patch has an empty line without a line feed, which is no line at all.")
    # A side without lines names the line before it, others name their first line; counted from 1.
    starts = int(header[1]) - (old_count > 0), int(header[3]) - (new_count > 0)
    return _Hunk(*starts, old, new, old_open, new_open), number
