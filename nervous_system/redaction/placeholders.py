"""What stands where a secret was: ``[redacted:RULE:XXXXXXXX]``."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

RULE_NAME = r"[a-z0-9][a-z0-9-]{0,39}"
PLACEHOLDER = re.compile(rf"\[redacted:{RULE_NAME}:[0-9a-f]{{8}}\]")
# Where each rule of one field is told apart up to this many places; beyond, one mark stands for all of a rule.
MARKED_PLACES = 200


@dataclass(frozen=True, slots=True)
class Mark:
    """A place where something was taken out.

    Args:
        rule: that found it.
        offset_bytes: where its placeholder begins, in what is left, as UTF-8 (of a file: in its bytes).
        count: how many were taken out; above 1 where this is the first of too many to be told one by one.
    """

    rule: str
    offset_bytes: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class Redacted:
    """A file's content without its secrets.

    Args:
        content: the same object where nothing was taken out.
        marks: what was taken out, and where.
    """

    content: bytes
    marks: tuple[Mark, ...] = ()


def placeholder(rule: str, secret: bytes, key: bytes, attempt: int = 0) -> str:
    """What stands for a secret: eight digits of an HMAC-SHA-256 (RFC 2104), the same for the same secret and key.

    Args:
        rule: that found it.
        secret: what is taken out.
        key: never leaves this machine, so that no secret can be guessed from its digits.
        attempt: 1, 2 … where the digits before stand for another secret.
    """
    digits = hmac.new(key, b"%d\0" % attempt + secret if attempt else secret, hashlib.sha256).hexdigest()[:8]
    return f"[redacted:{rule}:{digits}]"


def in_few(marks: list[Mark]) -> tuple[Mark, ...]:
    """The marks, or one a rule where they are too many."""
    if len(marks) <= MARKED_PLACES:
        return tuple(marks)
    first: dict[str, Mark] = {}
    for mark in marks:
        known = first.get(mark.rule)
        first[mark.rule] = mark if known is None else Mark(known.rule, known.offset_bytes, known.count + mark.count)
    return tuple(first.values())
