"""OpenHands' events: one JSON file an event below ``events/``, or a whole trajectory as one JSON array.

Reads both generations: that of ``action`` and ``observation`` (to 1.x of the application), and that of the software
agent SDK, whose events name their ``kind``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from nervous_system.capture.findings import Finding, Payload, limited, limited_attributes
from nervous_system.capture.transcripts.files import Files, UnknownContentError
from nervous_system.capture.transcripts.reading import (
    Json,
    Pending,
    Place,
    Scribe,
    Tell,
    TranscriptError,
    files_of,
    json_document,
    text_of,
    time_us,
)
from nervous_system.capture.transcripts.replacing import encoded
from nervous_system.contract import AgentDecision, AgentMessage, MessageKind, ToolCall
from nervous_system.errors import ContractError

KIND = "openhands"
USER = "user"
DEFAULT_ROOT = "/workspace"
_EVENT_FILE = re.compile(r"(?:event-)?(\d+)(?:-.*)?\.json")
# Actions that say something and do nothing.
_SAYING = frozenset(("message", "finish", "reject", "think", "system"))
_SILENT = frozenset(("change_agent_state", "recall", "null", "condensation", "condensation_request", "loop_recovery"))


def read(path: Path, *, root: str, tell: Tell) -> Iterator[Finding]:
    """What the conversations at ``path`` tell; see ``claude_code.read``. The root is /workspace where it is empty."""
    for folder, files in groupby(files_of(path, "*.json"), key=lambda file: file.parent):
        each = list(files)
        numbered = [file for file in each if _EVENT_FILE.fullmatch(file.name)]
        if numbered:
            name = folder.parent.name if folder.name == "events" else folder.name
            yield from Session(name, root, tell).findings(_events_of_files(numbered, tell))
        for file in each:
            if file not in numbered and (file == path or not numbered):
                yield from _trajectory(file, root, tell)


def _trajectory(file: Path, root: str, tell: Tell) -> Iterator[Finding]:
    document = json_document(file)
    if isinstance(document, dict):
        document = next((document[name] for name in ("trajectory", "history", "events") if name in document), None)
    if not isinstance(document, list):
        tell(f"{file}: left out, for it is no list of OpenHands' events.")
        return
    events = ((Place(file, number), event) for number, event in enumerate(document, 1))
    yield from Session(file.stem, root, tell).findings(events)


def _events_of_files(files: list[Path], tell: Tell) -> Iterator[tuple[Place, Any]]:
    for file in sorted(files, key=_number):
        try:
            yield Place(file, 1), json_document(file)
        except TranscriptError as error:
            tell(f"{file}: left out: {error}")


def _number(file: Path) -> int:
    match = _EVENT_FILE.fullmatch(file.name)
    return int(match[1]) if match else 0


class Session:
    """One conversation on its way to findings; see ``claude_code.Session``."""

    def __init__(self, name: str, root: str, tell: Tell) -> None:
        self._scribe = Scribe(KIND, name, KIND)
        self._files = Files(root or DEFAULT_ROOT, KIND)
        self._tell = tell
        self._last_us = 0
        self._task = self._cause = ""
        self._pending: dict[str, Pending] = {}
        self._answers: set[str] = set()
        self._cost_usd = 0.0

    def findings(self, events: Iterable[tuple[Place, Any]]) -> Iterator[Finding]:
        """What the events tell, in their order."""
        for place, event in events:
            try:
                self._last_us = time_us(event.get("timestamp")) or self._last_us
                key = f"event:{event.get('id', place.number)}"
                yield from self._modern(place, key, event) if "kind" in event else self._classic(place, key, event)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._tell(f"{place}: left out, for it is not as OpenHands writes it ({error!r}).")
        yield from self._scribe.unanswered(self._pending.values())

    def _classic(self, place: Place, key: str, event: Json) -> Iterator[Finding]:
        if "observation" in event:
            extras = event.get("extras") or {}
            code = extras.get("exit_code", (extras.get("metadata") or {}).get("exit_code"))
            failed = event["observation"] == "error" or event.get("success") is False
            yield from self._result(
                str(event.get("cause")), event.get("content"), extras, 1 if failed and code is None else code
            )
            return
        action, arguments = str(event.get("action")), dict(event.get("args") or {})
        if action in _SILENT:
            return
        yield from self._model(key, event)
        thought = arguments.get("thought")
        if isinstance(thought, dict):
            thought = "\n\n".join(text for text in (thought.get("reasoning_content"), thought.get("text")) if text)
        agent = KIND if event.get("source") != "user" else USER
        if action in _SAYING:
            text = arguments.get("content") or arguments.get("final_thought") or thought or event.get("message")
            yield from self._said(key, str(text or ""), agent, action)
            return
        if thought:
            yield self._finding(f"{key}:thought", AgentDecision(rationale=limited(str(thought))), agent)
        facts = event.get("tool_call_metadata") or {}
        self._wait(
            str(event.get("id")),
            Pending(
                place,
                key,
                self._last_us,
                str(facts.get("function_name") or action),
                {name: value for name, value in arguments.items() if name != "thought"},
                self._cause,
                self._task,
                agent,
            ),
        )

    def _modern(self, place: Place, key: str, event: Json) -> Iterator[Finding]:
        match event["kind"]:
            case "MessageEvent":
                message = event.get("llm_message") or {}
                agent = USER if event.get("source") == "user" else KIND
                yield from self._said(key, text_of(message.get("content")), agent, "message")
            case "ActionEvent":
                yield from self._action(place, key, event)
            case "ObservationEvent":
                observation = event.get("observation") or {}
                code = observation.get("exit_code", (observation.get("metadata") or {}).get("exit_code"))
                failed = observation.get("is_error") or observation.get("error")
                result = observation.get("content") or observation.get("output") or observation.get("error")
                yield from self._result(
                    str(event.get("action_id")), result, observation, 1 if failed and code is None else code
                )
            case "AgentErrorEvent" | "UserRejectObservation":
                waiting = str(event.get("action_id") or self._action_of(str(event.get("tool_call_id"))))
                text = event.get("error") or event.get("rejection_reason")
                yield from self._result(waiting, text, {}, 1)

    def _action(self, place: Place, key: str, event: Json) -> Iterator[Finding]:
        parts = (event.get("reasoning_content"), text_of(event.get("thought")))
        thought = "\n\n".join(text for text in parts if text)
        if thought:
            yield self._finding(f"{key}:thought", AgentDecision(rationale=limited(thought)))
        arguments = dict(event.get("action") or {})
        arguments["tool_call_id"] = event.get("tool_call_id")
        name = str(event.get("tool_name") or arguments.get("kind"))
        pending = Pending(place, key, self._last_us, name, arguments, self._cause, self._task, KIND)
        self._wait(str(event.get("id")), pending)

    def _action_of(self, tool_call_id: str) -> str:
        waiting = self._pending.items()
        return next((key for key, each in waiting if str(each.arguments.get("tool_call_id")) == tool_call_id), "")

    def _wait(self, event_id: str, pending: Pending) -> None:
        self._pending[event_id] = pending
        self._cause = self._scribe.id_of(pending)

    def _finding(self, key: str, payload: Payload, agent: str = KIND) -> Finding:
        found = self._scribe.finding(key, self._last_us, payload, self._cause, agent, self._task)
        self._cause = found.event_id
        return found

    def _said(self, key: str, text: str, agent: str, action: str) -> Iterator[Finding]:
        if not text.strip():
            return
        if action == "think":
            yield self._finding(key, AgentDecision(rationale=limited(text)), agent)
            return
        ordered = agent == USER
        kind = MessageKind.MESSAGE_KIND_ORDER if ordered else MessageKind.MESSAGE_KIND_INFORMATION
        to = KIND if ordered or action == "system" else USER
        found = self._finding(key, AgentMessage(kind=kind, to_agent_id=to, content=limited(text)), agent)
        if ordered:
            self._task = found.event_id
        yield found

    def _result(self, waiting: str, content: Any, extras: Json, code: Any) -> Iterator[Finding]:
        pending = self._pending.pop(waiting, None)
        if pending is None:
            return
        failed = code not in (None, 0)
        call = pending.call(text_of(content))
        if isinstance(code, int):
            call.exit_code = code
        call.duration_ms = max(self._last_us - pending.occurred_us, 0) / 1_000
        found = self._scribe.answered(pending, call)
        yield found
        self._cause = found.event_id
        path = str(extras.get("path") or pending.arguments.get("path") or "")
        if failed or not path or not _edits(pending, extras):
            return
        try:
            states = list(self._states(path, pending.arguments, extras))
        except ContractError as error:
            self._tell(f"{pending.place}: the change of {path} is kept as a tool call alone: {error}")
            return
        for index, state in enumerate(states):
            key = f"{pending.key}:file:{index}"
            yield self._scribe.finding(key, self._last_us, state, found.event_id, pending.agent, pending.task)

    def _states(self, path: str, arguments: Json, extras: Json) -> Iterator[Any]:
        resource = self._files.resource(path)
        old, new = extras.get("old_content"), extras.get("new_content")
        if new is None and arguments.get("command") == "create":
            new = arguments.get("file_text")
        if new is None and (arguments.get("start", 0), arguments.get("end", -1)) == (0, -1):
            new = arguments.get("content") or None
        if not isinstance(new, str):
            raise UnknownContentError("the transcript does not tell what the file then held")
        existed = extras.get("prev_exist", old is not None)
        yield from self._files.written(
            resource, encoded(new), encoded(old) if isinstance(old, str) and existed else None
        )

    def _model(self, key: str, event: Json) -> Iterator[Finding]:
        """The model's call behind an action, once for all the actions that it asked for."""
        facts: Json = (event.get("tool_call_metadata") or {}).get("model_response") or {}
        usage: Json = facts.get("usage") or {}
        spent_usd = float((event.get("llm_metrics") or {}).get("accumulated_cost") or self._cost_usd)
        cost_usd, self._cost_usd = max(spent_usd - self._cost_usd, 0.0), max(spent_usd, self._cost_usd)
        if (not usage and not cost_usd) or (facts.get("id") and str(facts["id"]) in self._answers):
            return
        self._answers.add(str(facts.get("id")))
        call = ToolCall(
            name=f"chat {facts.get('model') or ''}".strip(),
            input_tokens=int(usage.get("prompt_tokens") or 0),
            output_tokens=int(usage.get("completion_tokens") or 0),
            cost_usd=cost_usd,
            attributes=limited_attributes({"message_id": str(facts["id"])} if facts.get("id") else {}),
        )
        yield self._scribe.finding(f"{key}:model", self._last_us, call, self._cause, task=self._task)


def _edits(pending: Pending, extras: Json) -> bool:
    if "new_content" in extras and extras["new_content"] is not None:
        return True
    command = pending.arguments.get("command")
    if pending.name in ("write", "edit"):
        return bool(command != "view")
    return pending.name in ("str_replace_editor", "file_editor") and command in (
        "create",
        "str_replace",
        "insert",
        "undo_edit",
    )
