"""What a model was told and what it answered, from each of the forms in which spans carry it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nervous_system.capture.otlp.conventions import Reading
from nervous_system.capture.otlp.spans import Moment, as_text

_INDEXED = re.compile(r"(\d+)\.(.+)")
_REASONING = ("reasoning", "thinking")
_TOLD, _ANSWERED = ("gen_ai.input.messages",), ("gen_ai.output.messages",)


@dataclass(frozen=True, slots=True)
class Said:
    """One message.

    Args:
        role: system, user, assistant or tool; empty where it is not said.
        text: what it says.
        reasoning: what the model thought before.
        content: the whole message, for keeping.
    """

    role: str
    text: str
    reasoning: str
    content: Any


@dataclass(frozen=True, slots=True)
class Exchange:
    """What went into a model and what came out."""

    told: tuple[Said, ...]
    answered: tuple[Said, ...]

    @property
    def trigger(self) -> str:
        """What set the answer off: the last thing that was told by a user or a tool, or else the last of all."""
        asked = [said.text for said in self.told if said.role in ("user", "human", "tool") and said.text]
        return asked[-1] if asked else self.told[-1].text if self.told else ""

    @property
    def rationale(self) -> str:
        """What was thought and then said; empty where the answer is nothing but calls of tools."""
        parts = [part for said in self.answered for part in (said.reasoning, said.text) if part]
        return "\n\n".join(parts)


def kept(messages: Sequence[Said]) -> str:
    """Messages as one text: JSON, or the plain text of a single one that has no role."""
    if not messages:
        return ""
    if len(messages) == 1 and isinstance(messages[0].content, str) and not messages[0].role:
        return messages[0].content
    return as_text([said.content for said in messages])


def exchange(reading: Reading, moments: Sequence[Moment]) -> tuple[Exchange, list[Moment]]:
    """Takes what was said out of the attributes and the moments; returns it and the moments that are left."""
    told, answered = list(_of_attributes(reading, True)), list(_of_attributes(reading, False))
    left: list[Moment] = []
    for moment in moments:
        found_told, found_answered = _of_moment(moment)
        told += found_told
        answered += found_answered
        if not found_told and not found_answered:
            left.append(moment)
    told = told or list(_plain(reading, ("input.value", "gen_ai.prompt", "traceloop.entity.input")))
    answered = answered or list(_plain(reading, ("output.value", "gen_ai.completion", "traceloop.entity.output")))
    return Exchange(tuple(told), tuple(answered)), left


def _of_attributes(reading: Reading, told: bool) -> Iterator[Said]:
    if told and (instructions := reading.take(("gen_ai.system_instructions",))) is not None:
        yield from _messages(instructions, "system")
    yield from _messages(reading.take(_TOLD if told else _ANSWERED), "" if told else "assistant")
    flat = ("llm.input_messages.", "gen_ai.prompt.") if told else ("llm.output_messages.", "gen_ai.completion.")
    for prefix in flat:
        for message in _nested(reading.take_below(prefix)):
            yield _said(message.get("message", message), "")


def _of_moment(moment: Moment) -> tuple[list[Said], list[Said]]:
    attributes = moment.attributes
    match moment.name:
        case "gen_ai.content.prompt":
            return list(_messages(attributes.get("gen_ai.prompt"), "user")), []
        case "gen_ai.content.completion":
            return [], list(_messages(attributes.get("gen_ai.completion"), "assistant"))
        case "gen_ai.choice":
            return [], list(_messages([_parsed(attributes.get("message", attributes))], "assistant"))
        case "gen_ai.client.inference.operation.details":
            reading = Reading(attributes)
            return list(_of_attributes(reading, True)), list(_of_attributes(reading, False))
    if moment.name.startswith("gen_ai.") and moment.name.endswith(".message"):
        role = moment.name.removeprefix("gen_ai.").removesuffix(".message")
        return list(_messages([attributes], role)), []
    return [], []


def _plain(reading: Reading, names: Sequence[str]) -> Iterator[Said]:
    value = reading.take(names)
    if value is not None:
        yield Said("", as_text(value), "", value)


def _messages(value: Any, role: str) -> Iterator[Said]:
    value = _parsed(value)
    if value is None or value == "":
        return
    for message in value if isinstance(value, list) else [value]:
        if isinstance(message, dict) and "type" in message and "role" not in message:
            # System instructions are parts that stand alone.
            message = {"role": role, "parts": [message]}  # noqa: PLW2901
        yield _said(message, role)


def _said(message: Any, role: str) -> Said:
    if not isinstance(message, dict):
        return Said(role, as_text(message), "", message)
    parts = message.get("parts", message.get("contents", message.get("content")))
    texts: list[str] = []
    thoughts: list[str] = []
    for part in parts if isinstance(parts, list) else [parts]:
        kind, text = _part(part)
        if text:
            (thoughts if kind in _REASONING else texts).append(text)
    own = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(own, str):
        thoughts.append(own)
    return Said(str(message.get("role") or role), "\n".join(texts), "\n".join(thoughts), message)


def _part(part: Any) -> tuple[str, str]:
    if not isinstance(part, dict):
        return "text", "" if part is None else as_text(part)
    part = part.get("message_content", part)
    kind = str(part.get("type", "text"))
    if kind in ("tool_call_response", "tool_result"):
        return kind, as_text(part.get("response", part.get("result", part.get("content", ""))))
    text = part.get("content", part.get("text", part.get("thinking", part.get("reasoning"))))
    return kind, text if isinstance(text, str) else ""


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed if isinstance(parsed, list | dict) else value


def _nested(flat: dict[str, Any]) -> list[dict[str, Any]]:
    """What ``0.message.role`` and the like stand for, in the order of their numbers."""
    groups: dict[int, dict[str, Any]] = {}
    for name, value in flat.items():
        if match := _INDEXED.fullmatch(name):
            groups.setdefault(int(match[1]), {})[match[2]] = value
    return [_tree(groups[number]) for number in sorted(groups)]


def _tree(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        head, dot, rest = name.partition(".")
        if dot:
            below.setdefault(head, {})[rest] = value
        else:
            tree[head] = value
    for head, inner in below.items():
        numbered = all(_INDEXED.fullmatch(name) for name in inner)
        tree.setdefault(head, _nested(inner) if numbered else _tree(inner))
    return tree
