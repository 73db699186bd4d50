"""What a regular expression cannot do without, and how long it may take, read off its parsed form.

Python's engine goes back and tries again, which some expressions make it do for ever, and it cannot be interrupted.
So that a user's rule cannot hold an agent up, its ways to match are counted before it is taken: a bounded number of
them at each place of a line of bounded length is a bounded time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

# A line of a user's rule is looked at in pieces of this many characters.
WINDOW_CHARS = 2_048
MAX_WAYS = 5_000


class UnboundedError(ValueError):
    """An expression may take too long; the text says why."""


def required_literals(pattern: str, flags: int = 0) -> tuple[str, ...]:
    """Texts of which at least one is in whatever matches; in small letters where the expression ignores case.

    Empty where there are none.
    """
    found = _best(parser.parse(pattern, flags))
    return tuple(sorted({each.lower() for each in found})) if flags & re.IGNORECASE else found


def check_bounded(pattern: str) -> None:
    """Raises UnboundedError for an expression that may take too long, re.error for one that is none."""
    ways = _ways(parser.parse(pattern))
    if ways > MAX_WAYS:
        raise UnboundedError(
            f"it may try {ways:,} ways to match at one place, above the {MAX_WAYS:,} allowed: use fewer repeats, and "
            "give them an end, such as {1,64} instead of +"
        )


def _best(items: Iterable[Any]) -> tuple[str, ...]:
    found: list[tuple[str, ...]] = []
    run = ""
    for code, value in items:
        if code is op.LITERAL:
            run += chr(value)
            continue
        found.append((run,))
        run = ""
        if code is op.SUBPATTERN:
            found.append(_best(value[-1]))
        elif code is op.BRANCH:
            found.append(_of_all(value[1]))
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT) and value[0] > 0:
            found.append(_best(value[2]))
    found.append((run,))
    best = max(found, key=lambda each: min(map(len, each), default=0))
    return tuple(sorted(set(best))) if all(best) else ()


def _of_all(branches: Iterable[Any]) -> tuple[str, ...]:
    each = [_best(branch) for branch in branches]
    return tuple(literal for found in each for literal in found) if all(each) else ()


def _ways(items: Iterable[Any]) -> int:
    """In how many ways a sequence may match at one place, at most."""
    ways = 1
    for code, value in items:
        if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            ways *= _repeat_ways(*value)
        elif code is op.SUBPATTERN:
            ways *= _ways(value[-1])
        elif code is op.BRANCH:
            ways *= sum(_ways(branch) for branch in value[1])
        elif code in (op.ASSERT, op.ASSERT_NOT):
            ways *= _ways(value[1])
        elif code in (op.GROUPREF, op.GROUPREF_EXISTS, op.ATOMIC_GROUP):
            raise UnboundedError("it has a backreference, a condition or an atomic group, which are not allowed")
    return ways


def _repeat_ways(least: int, most: Any, body: Any) -> int:
    most = WINDOW_CHARS if most is op.MAXREPEAT else int(most)
    inner = _ways(body)
    if most <= 1:
        return inner + 1 - least if most else 1
    if inner > 1:
        raise UnboundedError(
            "it repeats what may itself match in several ways: repeat single characters or fixed texts"
        )
    longest: int = min(most, WINDOW_CHARS)
    return longest - least + 1
