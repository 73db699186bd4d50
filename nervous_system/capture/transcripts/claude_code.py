"""Claude Code's sessions: JSON Lines under ``~/.claude/projects``, one file a session or sub-agent.

The format is nowhere promised; this reads what versions 1.0 to 2.1 write, and passes over what it does not know.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nervous_system.capture.findings import Finding, limited, limited_attributes
from nervous_system.capture.transcripts import claude_edits
from nervous_system.capture.transcripts.files import Files
from nervous_system.capture.transcripts.reading import (
    Json,
    Pending,
    Place,
    Scribe,
    Tell,
    files_of,
    json_lines,
    text_of,
    time_us,
)
from nervous_system.contract import AgentDecision, AgentMessage, MessageKind, ToolCall
from nervous_system.errors import ContractError

KIND = "claude-code"
USER = "user"
# How far back a line may name the one that it follows.
REMEMBERED_LINES = 10_000
_EXIT_CODE = re.compile(r"(?:Error: )?Exit code (\d+)")


def read(path: Path, *, root: str, tell: Tell) -> Iterator[Finding]:
    """What the sessions at ``path`` tell, a file after the other.

    Args:
        path: a transcript, or a folder of some.
        root: the project's root on the agent's machine; where it is empty, the folder that each session began in.
        tell: told what could not be taken over.
    """
    for file in files_of(path, "*.jsonl"):
        yield from Session(file.stem, root, tell).findings(json_lines(file, tell))


@dataclass(slots=True)
class _Answering:
    """A model's answer, which is written a part at a time, each with the tokens so far."""

    message_id: str
    occurred_us: int
    message: Json
    cause: str
    task: str
    agent: str
    cost_usd: float = 0.0
    duration_ms: float = 0.0


class Session:
    """One transcript on its way to findings.

    Args:
        name: the session's, where its lines do not say.
        root: as for ``read``.
        tell: told what could not be taken over.
    """

    def __init__(self, name: str, root: str, tell: Tell) -> None:
        self._scribe = Scribe(KIND, name, KIND)
        self._files = Files(root, KIND)
        self._tell = tell
        self._named = False
        self._last_us = 0
        self._task = ""
        self._pending: dict[str, Pending] = {}
        self._answering: _Answering | None = None
        self._events: OrderedDict[str, str] = OrderedDict()

    def findings(self, lines: Iterable[tuple[Place, Json]]) -> Iterator[Finding]:
        """What the lines tell, in their order."""
        for place, line in lines:
            try:
                yield from self._line(place, line)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._tell(f"{place}: left out, for it is not as Claude Code writes it ({error!r}).")
        yield from self._answered()
        yield from self._scribe.unanswered(self._pending.values())

    def _line(self, place: Place, line: Json) -> Iterator[Finding]:
        if line.get("type") not in ("user", "assistant") or not isinstance(line.get("message"), dict):
            return
        self._last_us = time_us(line.get("timestamp")) or self._last_us
        if not self._named and line.get("sessionId"):
            self._scribe.session, self._named = str(line["sessionId"]), True
        self._files.root = self._files.root or str(line.get("cwd") or "")
        key = str(line.get("uuid") or f"line:{place.number}")
        found = self._said(place, key, line) if line["type"] == "assistant" else self._told(place, key, line)
        last = self._events.get(str(line.get("parentUuid")), "")
        for finding in found:
            yield finding
            last = finding.event_id if not isinstance(finding.payload, ToolCall) else last
        self._remember(key, last)

    def _remember(self, key: str, event_id: str) -> None:
        self._events.setdefault(key, event_id)
        if len(self._events) > REMEMBERED_LINES:
            self._events.popitem(last=False)

    def _agent(self, line: Json) -> str:
        if not line.get("isSidechain"):
            return KIND
        return f"{KIND}/{line.get('agentId') or 'sub-agent'}"

    def _told(self, place: Place, key: str, line: Json) -> Iterator[Finding]:
        yield from self._answered()
        content = line["message"].get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": str(content or "")}]
        cause, agent = self._events.get(str(line.get("parentUuid")), ""), self._agent(line)
        for part in parts:
            if isinstance(part, dict) and part.get("type") == "tool_result":
                yield from self._result(key, part, line.get("toolUseResult"))
        text = "\n".join(text_of(part) for part in parts if not _is(part, "tool_result")).strip()
        if not text:
            return
        own = bool(line.get("isMeta") or line.get("isCompactSummary"))
        kind = MessageKind.MESSAGE_KIND_INFORMATION if own else MessageKind.MESSAGE_KIND_ORDER
        message = AgentMessage(kind=kind, to_agent_id=agent, content=limited(text))
        sender = KIND if own or line.get("isSidechain") else USER
        finding = self._scribe.finding(key, self._last_us, message, cause, sender, self._task)
        if not own and not line.get("isSidechain"):
            self._task = finding.event_id
        yield finding

    def _said(self, place: Place, key: str, line: Json) -> Iterator[Finding]:
        message: Json = line["message"]
        message_id = str(message.get("id") or key)
        if self._answering and self._answering.message_id != message_id:
            yield from self._answered()
        cause, agent = self._events.get(str(line.get("parentUuid")), ""), self._agent(line)
        if not self._answering:
            self._answering = _Answering(message_id, self._last_us, message, cause, self._task, agent)
        self._answering.message = message
        self._answering.cost_usd = float(line.get("costUSD") or self._answering.cost_usd)
        self._answering.duration_ms = float(line.get("durationMs") or self._answering.duration_ms)
        content = message.get("content")
        for index, part in enumerate(content if isinstance(content, list) else [{"type": "text", "text": content}]):
            part_key = f"{key}:{index}"
            if _is(part, "tool_use"):
                pending = Pending(
                    place,
                    part_key,
                    self._last_us,
                    str(part["name"]),
                    part.get("input") or {},
                    cause,
                    self._task,
                    agent,
                    str(line.get("cwd") or ""),
                )
                self._pending[str(part["id"])] = pending
                cause = self._scribe.id_of(pending)
            elif text := text_of(part).strip():
                final = _is(part, "text") and message.get("stop_reason") == "end_turn"
                finding = self._scribe.finding(
                    part_key, self._last_us, _statement(text, final, message), cause, agent, self._task
                )
                cause = finding.event_id
                yield finding
        self._remember(key, cause)

    def _result(self, key: str, part: Json, answer: Any) -> Iterator[Finding]:
        pending = self._pending.pop(str(part.get("tool_use_id")), None)
        if pending is None:
            return
        call = pending.call(text_of(part.get("content")))
        failed = bool(part.get("is_error"))
        code = _EXIT_CODE.match(call.result) if failed else None
        call.exit_code = int(code[1]) % 2**31 if code else int(failed)
        told = answer.get("durationMs") if isinstance(answer, dict) else None
        call.duration_ms = float(told or max(self._last_us - pending.occurred_us, 0) / 1_000)
        finding = self._scribe.answered(pending, call)
        yield finding
        self._remember(key, finding.event_id)
        if failed or pending.name not in claude_edits.TOOLS:
            return
        try:
            states = list(claude_edits.edits(pending.name, pending.arguments, answer, self._files, pending.folder))
        except ContractError as error:
            path = claude_edits.edited_path(pending.arguments, answer)
            self._tell(f"{pending.place}: {pending.name} of {path} is kept as a tool call alone: {error}")
            return
        for index, state in enumerate(states):
            yield self._scribe.finding(
                f"{pending.key}:file:{index}", self._last_us, state, finding.event_id, pending.agent, pending.task
            )

    def _answered(self) -> Iterator[Finding]:
        """The model's call itself, once its answer is whole: tokens and cost."""
        answering, self._answering = self._answering, None
        if answering is None or not isinstance(answering.message.get("usage"), dict):
            return
        usage: Json = answering.message["usage"]
        counts = {name: int(value) for name, value in usage.items() if isinstance(value, int)}
        inputs = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        model = str(answering.message.get("model") or "")
        call = ToolCall(
            name=f"chat {model}".strip(),
            input_tokens=sum(max(counts.get(name, 0), 0) for name in inputs),
            output_tokens=max(counts.get("output_tokens", 0), 0),
            cost_usd=answering.cost_usd,
            duration_ms=answering.duration_ms,
            attributes=limited_attributes(
                {
                    "message_id": answering.message_id,
                    **{name: str(count) for name, count in sorted(counts.items())},
                    **(
                        {"stop_reason": str(answering.message["stop_reason"])}
                        if answering.message.get("stop_reason")
                        else {}
                    ),
                }
            ),
        )
        # An answer that was read while it was written has other tokens later, and is another event then.
        key = f"model:{answering.message_id}:{call.output_tokens}"
        yield self._scribe.finding(key, answering.occurred_us, call, answering.cause, answering.agent, answering.task)


def _statement(text: str, final: bool, message: Json) -> AgentDecision | AgentMessage:
    if final:
        return AgentMessage(kind=MessageKind.MESSAGE_KIND_INFORMATION, to_agent_id=USER, content=limited(text))
    return AgentDecision(rationale=limited(text), attributes={"model": str(message.get("model") or "")})


def _is(part: Any, kind: str) -> bool:
    return isinstance(part, dict) and part.get("type") == kind
