"""Which change wrote each line of a file: from the newest change back, each line carried until it meets its origin.

After ``git blame``: a line that stands in what a change was made to is handed on to that, any other is the change's.
What came of a merge hands each line on to the side that it comes from. Nothing is read beyond the last line's origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from itertools import zip_longest

from nervous_system.ledger.versions import Version
from nervous_system.textdiff import as_text, split_lines
from replay.alignment import aligned
from replay.contents import ContentError
from replay.lives import Content
from replay.merge import Side, Stretch, stretches
from replay.patches import Replacement, replaced_lines

DIFFS_KEPT = 4_096

Carried = list[int]
"""For each line of a content the number of the final line that it became, from 0; NO_LINE where none is looked for.

Past its end there are no lines that are looked for.
"""

NO_LINE = -1

ContentOf = Callable[[str], bytes]


class Texts:
    """Contents as lines.

    Args:
        content_of: gives the bytes of a hash.
    """

    def __init__(self, content_of: ContentOf) -> None:
        self.content_of = content_of
        self._parsed = lru_cache(maxsize=DIFFS_KEPT)(_parsed)

    def lines(self, content: Content) -> list[str] | None:
        """The lines with their line feeds; None where the content is not text. Raises ContentError."""
        diffs = []
        start = content
        while (earlier := _earlier(start)) is not None:
            start, diff = earlier
            diffs.append(self._parsed(diff))
        lines = self._read(start)
        if not diffs or (lines is not None and _leads_to(content.digest, lines, reversed(diffs))):
            return lines
        # Whoever puts it together content by content can say which of them is at fault.
        return self._read(content)

    def replacements(self, content: Content, base: Content) -> Sequence[Replacement]:
        """Which lines of ``base`` the change replaced: by its own diff, else by comparing the two."""
        diff = content.diff_from(base)
        if diff is not None:
            return self._parsed(diff)
        return compared(self.lines(base) or [], self.lines(content) or [])

    def stretches(self, merged: Content, ours: Content, theirs: Content) -> list[Stretch] | None:
        """Which lines of which side a merge was made of; None where it could not be made."""
        try:
            base = self.content_of(merged.step.base)
        except ContentError:
            return None
        return stretches(base, self.content_of(ours.digest), self.content_of(theirs.digest))

    def _read(self, content: Content) -> list[str] | None:
        text = as_text(self.content_of(content.digest))
        return None if text is None else split_lines(text)


class Tracing:
    """One passage over a file's past.

    Args:
        texts: of its contents.
        wanted: the numbers of the final lines whose origin is looked for, from 0.
    """

    def __init__(self, texts: Texts, wanted: Collection[int]) -> None:
        self.origins: dict[int, Version] = {}
        self._texts = texts
        self._wanted = wanted
        self._pending: dict[Content, list[Carried]] = {}

    def trace(self, final: Content, line_count: int) -> dict[int, Version]:
        """The version that wrote each wanted line of ``final``. Raises ConflictError and ContentError."""
        self._hand_on(final, [number if number in self._wanted else NO_LINE for number in range(line_count)])
        while len(self.origins) < len(self._wanted):
            # What came of a merge is looked at before the change's own side, and both before what came before.
            newest = max(self._pending, key=lambda content: (content.step.version, not content.is_claimed))
            for carried in self._pending.pop(newest):
                self._divide(newest, carried)
        return self.origins

    def _divide(self, content: Content, carried: Carried) -> None:
        if content.is_merged:
            self._divide_merged(content, carried)
            return
        base = content.base()
        if base is None:
            self._settle(content, carried)
            return
        # From the last line on, so that the places of those before stay as they are.
        for old, new, _ in reversed(self._texts.replacements(content, base)):
            self._settle(content, carried[new])
            carried[new] = [NO_LINE] * (old.stop - old.start)
        self._hand_on(base, carried)

    def _divide_merged(self, content: Content, carried: Carried) -> None:
        ours, theirs = content.stood_before(), content.claimed()
        handed: dict[Side, Carried] = {side: [] for side in Side}
        position = 0
        for side, lines in self._parts(content, ours, theirs, len(carried)):
            begin, position = position, position + lines.stop - lines.start
            handed[side] += [NO_LINE] * (lines.start - len(handed[side])) + carried[begin:position]
        self._settle(content, handed[Side.MARKER])
        for side, parent in ((Side.OURS, ours), (Side.THEIRS, theirs)):
            if parent is not None and max(handed[side], default=NO_LINE) != NO_LINE:
                self._hand_on(parent, handed[side])

    def _parts(self, content: Content, ours: Content | None, theirs: Content | None, line_count: int) -> list[Stretch]:
        whole = slice(0, line_count)
        if ours is not None and (theirs is None or content.digest == ours.digest):
            return [(Side.OURS, whole)]
        parts = self._texts.stretches(content, ours, theirs) if ours is not None and theirs is not None else None
        if parts is None or (theirs is not None and content.digest == theirs.digest and _has_markers(parts)):
            return [(Side.THEIRS, whole)]
        return parts

    def _settle(self, content: Content, carried: Iterable[int]) -> None:
        self.origins.update((number, content.step.version) for number in carried if number != NO_LINE)

    def _hand_on(self, content: Content, carried: Carried) -> None:
        waiting = self._pending.setdefault(content, [])
        for other in waiting:
            # Where two sides go back to one content, most lines have come by one of them only.
            pairs = list(zip_longest(other, carried, fillvalue=NO_LINE))
            if all(NO_LINE in pair for pair in pairs):
                other[:] = map(max, pairs)
                return
        waiting.append(carried)


def _has_markers(parts: Iterable[Stretch]) -> bool:
    return any(side is Side.MARKER for side, _ in parts)


def compared(before: Sequence[str], after: Sequence[str]) -> list[Replacement]:
    """Which lines of ``before`` became which of ``after``, found by comparing them."""
    found = []
    old = new = 0
    for kept_old, kept_new in [*aligned(before, after), (len(before), len(after))]:
        if (old, new) != (kept_old, kept_new):
            found.append(Replacement(slice(old, kept_old), slice(new, kept_new), list(after[new:kept_new])))
        old, new = kept_old + 1, kept_new + 1
    return found


def _leads_to(digest: str, lines: list[str], diffs: Iterable[Sequence[Replacement]]) -> bool:
    """Makes the diffs' replacements in ``lines``; whether what comes of it has the hash."""
    for diff in diffs:
        for replacement in reversed(diff):
            lines[replacement.old] = replacement.lines
    return hashlib.sha256("".join(lines).encode()).hexdigest() == digest


def _earlier(content: Content) -> tuple[Content, str] | None:
    """A content from which a diff leads to this one, and the diff; None where the change has none."""
    if content.is_merged:
        claimed = content.claimed()
        return (claimed, "") if claimed is not None and claimed.digest == content.digest else None
    base = content.base()
    diff = None if base is None else content.diff_from(base)
    return None if base is None or diff is None else (base, diff)


def _parsed(patch: str) -> list[Replacement]:
    return list(replaced_lines(patch))
