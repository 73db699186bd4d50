"""Three-way merge of text by lines: what each side changed of a common base, put together where the two do not meet.

After "A Formal Investigation of Diff3" (Khanna, Kunal, Pierce, FSTTCS 2007). Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from nervous_system.textdiff import as_text, split_lines

Change = tuple[int, int, int, int]
"""A range of the base's lines and the range of a side's lines that took its place."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of a merge.

    Args:
        content: the merged bytes; where sides met, both stand between markers.
        conflicts: how often they met.
    """

    content: bytes
    conflicts: int


def merge(base: bytes, ours: bytes, theirs: bytes, names: tuple[str, str] = ("ours", "theirs")) -> Merged | None:
    """Merges two contents that go back to one.

    Args:
        base: what both sides began with.
        ours: what stands there.
        theirs: what was made elsewhere.
        names: what the markers call the two sides.

    Returns:
        None where a side is not text: bytes cannot be merged by lines.
    """
    if theirs in (ours, base):
        return Merged(ours, 0)
    if base == ours:
        return Merged(theirs, 0)
    texts = [as_text(content) for content in (base, ours, theirs)]
    if None in texts:
        return None
    base_lines, our_lines, their_lines = (split_lines(text or "") for text in texts)
    pieces: list[str] = []
    conflicts = 0
    for region in _regions(base_lines, our_lines, their_lines):
        pieces += region.lines(names)
        conflicts += region.is_conflict
    return Merged("".join(pieces).encode(), conflicts)


class Side(Enum):
    """Where a line of a merged content comes from."""

    OURS = 1
    THEIRS = 2
    MARKER = 3


Stretch = tuple[Side, slice]
"""Lines of one side that stand in a merged content, counted from 0 in that side; a marker's slice is its line alone."""


def stretches(base: bytes, ours: bytes, theirs: bytes) -> list[Stretch] | None:
    """What ``merge`` makes its content of, in order; lines that both sides have are taken for ours.

    Returns:
        None where a side is not text.
    """
    texts = [as_text(content) for content in (base, ours, theirs)]
    if None in texts:
        return None
    found: list[Stretch] = []
    our_end = their_end = 0
    for region in _regions(*(split_lines(text or "") for text in texts)):
        our_lines = slice(our_end, our_end := our_end + len(region.ours))
        their_lines = slice(their_end, their_end := their_end + len(region.theirs))
        found += region.stretches(our_lines, their_lines)
    return found


@dataclass(frozen=True, slots=True)
class _Region:
    """A stretch of the base, and what each side has in its place."""

    base: Sequence[str]
    ours: Sequence[str]
    theirs: Sequence[str]

    @property
    def is_conflict(self) -> bool:
        return self.ours != self.theirs and self.base not in (self.ours, self.theirs)

    def lines(self, names: tuple[str, str]) -> list[str]:
        if not self.is_conflict:
            return list(self.theirs if self.ours == self.base else self.ours)
        return [
            f"<<<<<<< {names[0]}\n",
            *_ended(self.ours),
            "=======\n",
            *_ended(self.theirs),
            f">>>>>>> {names[1]}\n",
        ]

    def stretches(self, our_lines: slice, their_lines: slice) -> list[Stretch]:
        """Where ``lines`` come from, given where the region's lines are in either side."""
        ours, theirs, marker = (Side.OURS, our_lines), (Side.THEIRS, their_lines), (Side.MARKER, slice(0, 1))
        if self.is_conflict:
            return [marker, ours, marker, theirs, marker]
        return [theirs if self.ours == self.base != self.theirs else ours]


def _ended(lines: Sequence[str]) -> list[str]:
    """The lines, the last one with a line feed, so that a marker begins its own line."""
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]


def _regions(base: Sequence[str], ours: Sequence[str], theirs: Sequence[str]) -> Iterator[_Region]:
    """The base from end to end, cut where neither side's change crosses."""
    left, right = _changes(base, ours), _changes(base, theirs)
    position = our_shift = their_shift = 0
    while left or right:
        start = min(changes[0][0] for changes in (left, right) if changes)
        end = start
        taken: tuple[list[Change], list[Change]] = ([], [])
        # A change that touches the stretch joins it, and may make it longer, so that the other side's touches it too.
        while grown := [side for side, changes in enumerate((left, right)) if changes and changes[0][0] <= end]:
            for side in grown:
                change = (left, right)[side].pop(0)
                taken[side].append(change)
                end = max(end, change[1])
        if start > position:
            kept = base[position:start]
            yield _Region(kept, kept, kept)
        our_growth, their_growth = (
            sum(new_end - new - (old_end - old) for old, old_end, new, new_end in side) for side in taken
        )
        yield _Region(
            base[start:end],
            ours[start + our_shift : end + our_shift + our_growth],
            theirs[start + their_shift : end + their_shift + their_growth],
        )
        our_shift, their_shift, position = our_shift + our_growth, their_shift + their_growth, end
    if position < len(base):
        kept = base[position:]
        yield _Region(kept, kept, kept)


def _changes(base: Sequence[str], side: Sequence[str]) -> list[Change]:
    matcher = difflib.SequenceMatcher(None, base, side, False)
    return [(old, old_end, new, new_end) for tag, old, old_end, new, new_end in matcher.get_opcodes() if tag != "equal"]
