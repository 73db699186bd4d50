"""Which lines of one text are which of another, the way Git sees it: as few others as can be, and those late.

After "An O(ND) Difference Algorithm and Its Variations" (Myers, Algorithmica 1986), with two steps of Git's own: lines
that the other text does not have at all are left out first, and a change is moved down as far as the lines are alike.
Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

# The time grows with the square of how many lines differ; beyond this another algorithm, whose grows less, has to do.
DIFFERENCE_LIMIT_LINES = 1_000


def aligned(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of lines that are alike, in order and counted from 0: what stands in both texts."""
    head = _alike(before, after)
    tail = _alike(before[: head - len(before) - 1 : -1], after[: head - len(after) - 1 : -1])
    ends = len(before) - tail, len(after) - tail
    middle = _middle(before[head : ends[0]], after[head : ends[1]])
    pairs = [(head + old, head + new) for old, new in middle]
    kept = [*zip(range(head), range(head), strict=True), *pairs]
    kept += zip(range(ends[0], len(before)), range(ends[1], len(after)), strict=True)
    old_kept, new_kept = _settled(before, {old for old, _ in kept}), _settled(after, {new for _, new in kept})
    return list(zip(old_kept, new_kept, strict=True))


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _middle(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    in_before, in_after = set(before), set(after)
    old = [index for index, line in enumerate(before) if line in in_after]
    new = [index for index, line in enumerate(after) if line in in_before]
    old_lines, new_lines = [before[index] for index in old], [after[index] for index in new]
    pairs = _shortest(old_lines, new_lines)
    if pairs is None:
        blocks = difflib.SequenceMatcher(None, old_lines, new_lines).get_matching_blocks()
        pairs = [(block.a + step, block.b + step) for block in blocks for step in range(block.size)]
    return [(old[x], new[y]) for x, y in pairs]


def _shortest(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]] | None:
    """The pairs of a shortest edit script; None where that is too long to be looked for."""
    furthest = {1: 0}
    rounds: list[dict[int, int]] = []
    for distance in range(min(len(before) + len(after), DIFFERENCE_LIMIT_LINES) + 1):
        rounds.append({k: furthest[k] for k in range(-distance - 1, distance + 2) if k in furthest})
        for k in range(-distance, distance + 1, 2):
            x = _enter(furthest, k, distance)
            while x < len(before) and x - k < len(after) and before[x] == after[x - k]:
                x += 1
            furthest[k] = x
            if x >= len(before) and x - k >= len(after):
                return _traced_back(rounds, len(before), len(after))
    return None


def _enter(furthest: dict[int, int], k: int, distance: int) -> int:
    """Where the furthest path of one difference less comes onto diagonal ``k``: by an insertion or a deletion."""
    is_insertion = k == -distance or (k != distance and furthest[k - 1] < furthest[k + 1])
    return furthest[k + 1] if is_insertion else furthest[k - 1] + 1


def _traced_back(rounds: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    pairs = []
    for distance in range(len(rounds) - 1, -1, -1):
        k = x - y
        start = _enter(rounds[distance], k, distance)
        while x > start:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        # The step before it came from the neighbouring diagonal: down where the line was inserted, else from the left.
        is_insertion = k == -distance or (k != distance and rounds[distance][k - 1] < rounds[distance][k + 1])
        x, y = (x, y - 1) if is_insertion else (x - 1, y)
    return pairs[::-1]


def _settled(lines: Sequence[str], kept: set[int]) -> list[int]:
    """The lines that are kept, where each run of others has joined those it can reach and stands as late as it can."""
    is_other = [index not in kept for index in range(len(lines))]
    start = 0
    while start < len(lines):
        if is_other[start]:
            _, start = _moved_down(lines, is_other, *_moved_up(lines, is_other, start))
        else:
            start += 1
    return [index for index, other in enumerate(is_other) if not other]


def _moved_up(lines: Sequence[str], is_other: list[bool], start: int) -> tuple[int, int]:
    """The run that begins at ``start``, as far up as the lines before it are those at its end: start and end."""
    end = _run_end(is_other, start)
    while start > 0 and lines[start - 1] == lines[end - 1]:
        start, end = start - 1, end - 1
        is_other[start], is_other[end] = True, False
        while start > 0 and is_other[start - 1]:
            start -= 1
    return start, end


def _moved_down(lines: Sequence[str], is_other: list[bool], start: int, end: int) -> tuple[int, int]:
    """The same run as far down as the lines behind it are those at its start."""
    while end < len(lines) and lines[start] == lines[end]:
        is_other[start], is_other[end] = False, True
        start, end = start + 1, _run_end(is_other, end)
    return start, end


def _run_end(is_other: list[bool], start: int) -> int:
    return next((index for index in range(start, len(is_other)) if not is_other[index]), len(is_other))
