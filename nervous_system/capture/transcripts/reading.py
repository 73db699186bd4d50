"""Reading transcripts: one line or one element at a time, times, and what goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nervous_system.capture.findings import Finding, Payload, found_id, limited
from nervous_system.contract import ToolCall
from nervous_system.errors import EnchantedError, NotFoundError

Json = dict[str, Any]
Tell = Callable[[str], None]
"""Told one sentence about what could not be taken over."""

# A line above this is not read: no tool writes such, and it would not fit into memory twice.
LINE_LIMIT_BYTES = 256 * 1024 * 1024


class TranscriptError(EnchantedError):
    """The file is no transcript of the kind that it was given as."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is told: a file and a line, or an element's number, in it."""

    path: Path
    number: int

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


def json_lines(path: Path, tell: Tell) -> Iterator[tuple[Place, Json]]:
    """The objects of a JSON Lines file; a line that is none is told with its number, and passed over."""
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(LINE_LIMIT_BYTES):
            number += 1
            place = Place(path, number)
            if not raw.strip():
                continue
            try:
                value = json.loads(raw)
            except (ValueError, RecursionError) as error:
                # The last line of a session that goes on may be half written.
                tell(f"{place}: left out, for it is not JSON ({error}).")
                continue
            if isinstance(value, dict):
                yield place, value
            else:
                tell(f"{place}: left out, for it is not a JSON object.")


def json_document(path: Path) -> Any:
    """A whole JSON file; raises TranscriptError where it is none."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise TranscriptError(f"{path} is not JSON ({error}): give the file that the tool wrote.") from error


def files_of(path: Path, *patterns: str) -> list[Path]:
    """The file itself, or the files below a folder that fit one of the patterns, in the order of their names.

    Raises:
        NotFoundError: there is none.
    """
    if path.is_file():
        return [path]
    found = sorted({file for pattern in patterns for file in path.rglob(pattern) if file.is_file()})
    if not found:
        raise NotFoundError(f"{path} has no {' or '.join(patterns)}: name a transcript, or the folder of some.")
    return found


def time_us(value: Any) -> int | None:
    """A time as transcripts write it, microseconds since 1970; None where it is none.

    ISO 8601, which without a zone is taken for UTC, or a number: of seconds, or above 10^11 of milliseconds.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return round(value * (1_000 if abs(value) > 1e11 else 1_000_000))
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def text_of(content: Any) -> str:
    """What is readable of a message's content: a text, or parts of which some are texts; images by their size alone."""
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "\n".join(part for part in map(text_of, content) if part)
        case dict():
            return _text_of_part(content)
    return json.dumps(content)


def _text_of_part(part: Json) -> str:
    for name in ("text", "output_text", "content", "thinking"):
        if isinstance(part.get(name), str | list):
            return text_of(part[name])
    whole = json.dumps(part, ensure_ascii=False)
    if part.get("type") in ("image", "input_image", "image_url", "document"):
        return f"[{part['type']}, {len(whole):,} bytes]"
    return whole


def as_json(value: Any) -> str:
    """A tool's arguments as text: as they stand where they are text, else JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Pending:
    """A call of a tool whose result is yet to come.

    Args:
        place: where it is told.
        key: its place in the session.
        occurred_us: when it began, microseconds since 1970.
        name: the tool's.
        arguments: what it was given.
        cause: the event that led to it.
        task: the event that gave the task.
        agent: who called.
        folder: where the agent stood.
    """

    place: Place
    key: str
    occurred_us: int
    name: str
    arguments: Any
    cause: str
    task: str
    agent: str
    folder: str = ""

    def call(self, result: str = "") -> ToolCall:
        """The call, with what came of it."""
        return ToolCall(
            name=limited(self.name, 1_000), arguments=limited(as_json(self.arguments)), result=limited(result)
        )


@dataclass(slots=True)
class Scribe:
    """Makes the findings of one session.

    Args:
        kind: of transcript, such as ``claude-code``.
        session: the session's id.
        agent: who acts where a finding does not say otherwise.
        commit: that the session began at, hex.
    """

    kind: str
    session: str
    agent: str
    commit: str = ""

    def finding(  # noqa: PLR0917
        self, key: str, occurred_us: int, payload: Payload, cause: str = "", agent: str = "", task: str = ""
    ) -> Finding:
        """A finding; ``key`` is its place in the session, the same whenever the transcript is read."""
        return Finding(
            event_id=found_id(occurred_us, self.kind, self.session, key),
            occurred_us=occurred_us,
            payload=payload,
            agent=agent or self.agent,
            session=self.session,
            causation_id=cause,
            correlation_id=task,
            commit=self.commit,
        )

    def id_of(self, pending: Pending) -> str:
        """The id that the call's event will have."""
        return found_id(pending.occurred_us, self.kind, self.session, pending.key)

    def answered(self, pending: Pending, call: ToolCall, key: str = "") -> Finding:
        """The finding of a call, made to its beginning."""
        key = key or pending.key
        return self.finding(key, pending.occurred_us, call, pending.cause, pending.agent, pending.task)

    def unanswered(self, waiting: Iterable[Pending]) -> Iterator[Finding]:
        """Calls without a result. It may still come: then it is another event, told whole."""
        for pending in waiting:
            yield self.answered(pending, pending.call(), f"{pending.key}:unanswered")
