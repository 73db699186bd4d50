"""Puts placeholders where rules find secrets, until they find no more: what comes out stays as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from nervous_system.redaction.placeholders import PLACEHOLDER
from nervous_system.redaction.rules import MASK, Kind, RuleSet, Span, Text

logger = logging.getLogger(__name__)

# Stands in for a text that could not be judged.
FAILED = "failed"
# What was taken out changes what stands beside it, so that it is looked through again, at most so often.
_PASSES = 5

# The placeholder for what the named rule found.
Seal = Callable[[str, str], str]
# A place in what is left: its offset, and the rule.
Place = tuple[int, str]


def redact(text: str, kind: Kind, rules: RuleSet, seal: Seal) -> tuple[str, list[Place]]:
    """The text without its secrets, and where in it placeholders were put.

    Where a rule fails, or they come to no end, the whole text is taken out: what cannot be judged is not let through.
    """
    left = text
    try:
        for _ in range(_PASSES):
            spans = _spans(left, kind, rules)
            if not spans:
                return left, _new_places(text, left)
            left = _replaced(left, spans, seal)
        logger.warning("A text of %d characters is taken out whole: its secrets come to no end.", len(text))
    except Exception as error:
        # Whatever it is: the text has not been judged. The error's own text may hold some of it.
        logger.warning(
            "A text of %d characters is taken out whole: a rule failed (%s).", len(text), type(error).__name__
        )
    return _whole(text, seal)


def _whole(text: str, seal: Seal) -> tuple[str, list[Place]]:
    if not PLACEHOLDER.sub("", text):
        return text, []
    return seal(FAILED, text), [(0, FAILED)]


def _spans(text: str, kind: Kind, rules: RuleSet) -> list[Span]:
    """What is to be taken out: not overlapping, in order, and nothing of what stands there for something already."""
    done = [match.span() for match in PLACEHOLDER.finditer(text)] if "[redacted:" in text else []
    masked = _masked(text, done) if done else text
    looked_at = Text.of(masked, kind)
    found = [span for rule in rules.possible(looked_at) for span in rule.find(looked_at)]
    return [piece for span in _united(found) for piece in _outside(span, done)] if found else []


def _masked(text: str, done: list[tuple[int, int]]) -> str:
    """The text with MASK in place of placeholders, whose letters must not be taken for anything."""
    parts, at = [], 0
    for start, end in done:
        parts += [text[at:start], MASK * (end - start)]
        at = end
    return "".join((*parts, text[at:]))


def _united(spans: list[Span]) -> list[Span]:
    united: list[Span] = []
    for start, end, rule in sorted(spans, key=lambda span: span[:2]):
        if united and start < united[-1][1]:
            first, last, name = united[-1]
            united[-1] = (first, max(last, end), name)
        elif start < end:
            united.append((start, end, rule))
    return united


def _outside(span: Span, done: list[tuple[int, int]]) -> Iterator[Span]:
    """The parts of a span that no placeholder covers."""
    at, end, rule = span
    for first, last in done:
        if last <= at or first >= end:
            continue
        if at < first:
            yield at, first, rule
        at = last
    if at < end:
        yield at, end, rule


def _replaced(text: str, spans: list[Span], seal: Seal) -> str:
    parts, at = [], 0
    for start, end, rule in spans:
        parts += [text[at:start], seal(rule, text[start:end])]
        at = end
    return "".join((*parts, text[at:]))


def _new_places(before: str, after: str) -> list[Place]:
    """Where placeholders stand that were not there before, with their rules."""
    if before is after:
        return []
    known = [match.group() for match in PLACEHOLDER.finditer(before)]
    places = []
    for match in PLACEHOLDER.finditer(after):
        # Those that were there come in the same order.
        if known and match.group() == known[0]:
            known.pop(0)
        else:
            places.append((match.start(), match.group().split(":")[1]))
    return places
