"""What a commit says: who, when and why, from events of agents that nobody should trust. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from nervous_system.contract import SwarmEvent
from replay.export.grouping import Group
from replay.git.commits import Signature
from replay.git.events import SESSION_PREFIX

# A domain that never exists (RFC 2606).
EMAIL = "agent@enchanted.invalid"
NO_NAME = "unknown"

_NOT_IN_LINES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_IN_NAMES = re.compile("[<>\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# All control characters but tab, line feed and carriage return: Git keeps no NUL, and a terminal obeys the others.
_NOT_IN_MESSAGES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit without its tree.

    Args:
        author, committer: fit to be written.
        message: UTF-8, without NUL.
    """

    author: Signature
    committer: Signature
    message: bytes


def commit_of(group: Group, decision: SwarmEvent | None, *, after_s: int, trailers: bool) -> Commit:
    """The commit of a group.

    A commit that was imported from Git has the author and committer it had. Any other is the agent's, at the time of
    its last event.

    Args:
        group: the events.
        decision: the one behind them, where it is known.
        after_s: the committer's time of the commit before, seconds since 1970; an agent's commit is never earlier.
        trailers: whether the message ends in lines that lead back to the events.
    """
    lines = "\n".join(_trailers(group, decision)) if trailers else ""
    imported = _imported(decision)
    if imported is None:
        time_s = max(group.occurred_us // 1_000_000, 0)
        author = Signature(clean_name(group.agent_id) or NO_NAME, EMAIL, time_s, 0)
        committer = Signature(author.name, author.email, max(time_s, after_s), 0)
        return Commit(author, committer, _message(_reason(group, decision), lines))
    assert decision is not None
    return Commit(*imported, _message(decision.decision.rationale, lines))


def clean_name(text: str) -> str:
    """A name or an address as it may stand in a signature: one line, no angle brackets."""
    return _NOT_IN_NAMES.sub(" ", text).strip()


def clean_message(text: str) -> bytes:
    """A text as it may stand in a message; characters that may not are replaced."""
    return _NOT_IN_MESSAGES.sub("\N{REPLACEMENT CHARACTER}", text).encode()


def _imported(decision: SwarmEvent | None) -> tuple[Signature, Signature] | None:
    """Author and committer as an import recorded them; None where the decision is no imported commit."""
    if decision is None or not decision.session_id.startswith(SESSION_PREFIX):
        return None
    author, committer = (_recorded(decision.decision.attributes, who) for who in ("author", "committer"))
    return None if author is None or committer is None else (author, committer)


def _recorded(attributes: Mapping[str, str], who: str) -> Signature | None:
    try:
        date = datetime.fromisoformat(attributes.get(f"{who}_date", ""))
        offset = date.utcoffset()
        if offset is None:
            return None
        time_s = max(int(date.timestamp()), 0)
    except (ValueError, OverflowError):
        return None
    name, email = (clean_name(attributes.get(f"{who}_{what}", "")) for what in ("name", "email"))
    return Signature(name, email, time_s, int(offset.total_seconds() / 60))


def _reason(group: Group, decision: SwarmEvent | None) -> str:
    """The rationale, what was rejected, or at least what was done."""
    others = f" and {group.changes - 1:,} more" if group.changes > 1 else ""
    text = f"Change {group.resource}{others}"
    if decision is None:
        return text
    text = decision.decision.rationale.strip() or text
    rejected = "\n".join(_listed(each) for each in decision.decision.rejected_alternatives if each.strip())
    return f"{text}\n\nRejected:\n{rejected}" if rejected else text


def _listed(alternative: str) -> str:
    return "- " + alternative.strip().replace("\n", "\n  ")


def _message(reason: str, trailers: str) -> bytes:
    text = f"{reason}\n\n{trailers}" if trailers else reason
    return clean_message(f"{text}\n" if text else "")


def _trailers(group: Group, decision: SwarmEvent | None) -> Iterator[str]:
    for name, value in _facts(group, decision):
        line = _NOT_IN_LINES.sub(" ", value).strip()
        if line:
            yield f"Enchanted-{name}: {line}"


def _facts(group: Group, decision: SwarmEvent | None) -> Iterator[tuple[str, str]]:
    if group.changes:
        yield "Event", group.first_id
    if group.changes > 1:
        yield "Event", group.last_id
        yield "Events", str(group.changes)
    yield "Decision", group.decision_id
    yield "Agent", group.agent_id
    yield "Session", group.session_id
    if decision is not None and decision.decision.HasField("confidence_score"):
        yield "Confidence", f"{decision.decision.confidence_score:g}"
    yield "Commit", group.commit_hash
    yield "Trace", group.trace_id or (decision.trace_id if decision else "")
