"""Why each line is there: the event that wrote it, and the decision that the event followed.

A file's changes are passed through once, oldest first, carrying along which change wrote which line. A diff itself says
which lines it replaced, so that its length counts and not the file's; a whole content is compared with the one before.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nervous_system.contract import Operation, StateChange, SwarmEvent
from nervous_system.errors import NotFoundError
from nervous_system.events import decode
from nervous_system.ledger.history import History, StoredEvent
from nervous_system.ledger.versions import Version
from nervous_system.textdiff import as_text, split_lines
from replay.contents import Contents
from replay.moments import Moment
from replay.patches import replaced_lines

Replacement = tuple[slice, slice]

# How far back a decision is looked for where the event names no cause.
DECISION_REACH_EVENTS = 2_000
CAUSE_REACH_EVENTS = 32


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file.

    Args:
        number: from 1.
        text: without its line feed.
        origin: the event that wrote it.
    """

    number: int
    text: str
    origin: Version


@dataclass(frozen=True, slots=True)
class Reason:
    """An event that wrote lines, and the decision behind it where one is known."""

    version: Version
    event: SwarmEvent
    decision: SwarmEvent | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A file's lines at a moment, and a reason for each origin among them."""

    lines: list[Line]
    reasons: dict[Version, Reason]


def explain(history: History, resource: str, moment: Moment) -> Explanation:
    """Why each line of ``resource`` is as it is at ``moment``.

    Raises:
        NotFoundError: there is no such file then, or it is not text.
        ContentError: its content cannot be put together.
    """
    life = list(_life(history, resource, moment))
    if not life:
        raise NotFoundError(f"There is no {resource!r} in {history.name} as of {moment.meaning}.")
    life.reverse()
    contents = Contents(history)
    origins: list[Version] = []
    for index, (version, change) in enumerate(life):
        before = life[index - 1][1].new_state_hash if index else ""
        origins = list(_carried(origins, _replacements(change, before, contents), version))
    text = as_text(contents(life[-1][1].new_state_hash))
    if text is None:
        raise NotFoundError(f"{resource!r} is not text: it has no lines to explain.")
    pairs = zip(split_lines(text), origins, strict=True)
    lines = [Line(number, line.rstrip("\n"), origin) for number, (line, origin) in enumerate(pairs, start=1)]
    return Explanation(lines, {origin: reason(history, origin) for origin in dict.fromkeys(origins)})


def reason(history: History, version: Version) -> Reason:
    """The event at ``version`` and the decision it followed: by causation, else the agent's last one in its session."""
    event = decode(history.event(version).data)
    return Reason(version, event, cause(history, event.causation_id) or _nearest_decision(history, version, event))


def _life(history: History, resource: str, moment: Moment) -> Iterator[tuple[Version, StateChange]]:
    """The changes that led to what stands at ``resource``, newest first, through its earlier names."""
    left_at: Version | None = None
    while resource:
        earlier_name = ""
        for version, row in history.path_life(resource, through=left_at or moment.through):
            # At a rename's version the name that was left has a row too: that of its leaving.
            if version == left_at or not moment.takes(row.occurred_us, row.recorded_us):
                continue
            if row.operation == Operation.OPERATION_DELETE:
                return
            change = decode(history.event(version).data).state_change
            yield version, change
            if change.operation == Operation.OPERATION_CREATE:
                return
            if change.renamed_from:
                earlier_name, left_at = change.renamed_from, version
                break
        resource = earlier_name


def _carried(origins: Sequence[Version], replaced: Iterator[Replacement], version: Version) -> Iterator[Version]:
    """The origin of each line after a change."""
    position = 0
    for old, new in replaced:
        yield from origins[position : old.start]
        yield from [version] * (new.stop - new.start)
        position = old.stop
    yield from origins[position:]


def _replacements(change: StateChange, before: str, contents: Contents) -> Iterator[Replacement]:
    """Which lines of the content before became which of the content after."""
    if change.new_state_hash == before:
        return
    if change.diff_patch and change.previous_state_hash == before:
        yield from replaced_lines(change.diff_patch)
        return
    old = _lines(contents(before)) if before else []
    new = _lines(contents(change.new_state_hash))
    for tag, old_start, old_end, new_start, new_end in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        if tag != "equal":
            yield slice(old_start, old_end), slice(new_start, new_end)


def _lines(content: bytes) -> list[str]:
    text = as_text(content)
    return [] if text is None else split_lines(text)


def cause(history: History, causation_id: str) -> SwarmEvent | None:
    """The decision that an event followed, from event to event by their causes; None where they lead to none."""
    for _ in range(CAUSE_REACH_EVENTS):
        version = history.version_of_event(causation_id) if causation_id else None
        if version is None:
            return None
        event = decode(history.event(version).data)
        if event.WhichOneof("payload") == "decision":
            return event
        causation_id = event.causation_id
    return None


def _nearest_decision(history: History, version: Version, event: SwarmEvent) -> SwarmEvent | None:
    earlier: Iterator[StoredEvent] = history.events(through=version, reverse=True)
    for _, stored in zip(range(DECISION_REACH_EVENTS), earlier, strict=False):
        candidate = decode(stored.data)
        same = (candidate.agent_id, candidate.session_id) == (event.agent_id, event.session_id)
        if same and candidate.WhichOneof("payload") == "decision":
            return candidate
    return None
