"""Codex CLI's sessions: JSON Lines under ``~/.codex/sessions``, one "rollout" a session.

Reads what versions since 2025-05 write: at first bare items without times, then each in an envelope of timestamp, type
and payload (codex-rs/protocol, RolloutLine).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from nervous_system.capture.findings import FileState, Finding, limited, limited_attributes
from nervous_system.capture.transcripts import apply_patch
from nervous_system.capture.transcripts.apply_patch import FilePatch
from nervous_system.capture.transcripts.files import Files, UnknownContentError
from nervous_system.capture.transcripts.reading import (
    Json,
    Pending,
    Place,
    Scribe,
    Tell,
    as_json,
    files_of,
    json_lines,
    text_of,
    time_us,
)
from nervous_system.capture.transcripts.replacing import decoded, encoded
from nervous_system.contract import AgentDecision, AgentMessage, MessageKind, ToolCall
from nervous_system.errors import ContractError

KIND = "codex"
USER = "user"
# What the program itself puts before the user's words.
_OWN_WORDS = (
    "<environment_context>",
    "<user_instructions>",
    "<permissions",
    "# AGENTS.md instructions",
    "<INSTRUCTIONS>",
)
_EXIT_CODE = re.compile(r"(?:^Exit code: |Process exited with code )(-?\d+)", re.MULTILINE)
_WALL_TIME = re.compile(r"^Wall time: ([\d.]+) seconds", re.MULTILINE)
_SUCCESS = "Success. Updated the following files"


def read(path: Path, *, root: str, tell: Tell) -> Iterator[Finding]:
    """What the sessions at ``path`` tell; see ``claude_code.read``."""
    for file in files_of(path, "*.jsonl"):
        yield from Session(file.stem, root, tell).findings(json_lines(file, tell))


class Session:
    """One rollout on its way to findings; see ``claude_code.Session``."""

    def __init__(self, name: str, root: str, tell: Tell) -> None:
        self._scribe = Scribe(KIND, name, KIND)
        self._files = Files(root, KIND)
        self._tell = tell
        self._last_us = 0
        self._model = ""
        self._folder = ""
        self._task = self._cause = ""
        self._pending: dict[str, Pending] = {}
        self._takers: dict[str, Callable[[Place, Json], Iterable[Finding]]] = {
            "session_meta": self._began,
            "turn_context": self._context,
            "response_item": self._item,
            "event_msg": self._event,
        }

    def findings(self, lines: Iterable[tuple[Place, Json]]) -> Iterator[Finding]:
        """What the lines tell, in their order."""
        for place, line in lines:
            try:
                self._last_us = time_us(line.get("timestamp")) or self._last_us
                kind, payload = _opened(line)
                if kind in self._takers:
                    yield from self._takers[kind](place, payload)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._tell(f"{place}: left out, for it is not as Codex writes it ({error!r}).")
        yield from self._scribe.unanswered(self._pending.values())

    def _finding(
        self, key: str, payload: AgentDecision | AgentMessage | ToolCall | FileState, agent: str = ""
    ) -> Finding:
        found = self._scribe.finding(key, self._last_us, payload, self._cause, agent, self._task)
        self._cause = found.event_id
        return found

    def _began(self, _: Place, payload: Json) -> Iterable[Finding]:
        self._scribe.session = str(payload.get("id") or self._scribe.session)
        self._scribe.commit = str((payload.get("git") or {}).get("commit_hash") or "")
        self._folder = str(payload.get("cwd") or "")
        self._files.root = self._files.root or self._folder
        return ()

    def _context(self, _: Place, payload: Json) -> Iterable[Finding]:
        self._model = str(payload.get("model") or self._model)
        self._folder = str(payload.get("cwd") or self._folder)
        self._files.root = self._files.root or self._folder
        return ()

    def _event(self, place: Place, payload: Json) -> Iterator[Finding]:
        # Messages and reasoning come a second time as events; the items are what the model was given.
        usage = ((payload.get("info") or {}).get("last_token_usage")) if payload.get("type") == "token_count" else None
        if not usage:
            return
        counts = {name: int(value) for name, value in usage.items() if isinstance(value, int) and value >= 0}
        call = ToolCall(
            name=f"chat {self._model}".strip(),
            input_tokens=counts.get("input_tokens", 0),
            output_tokens=counts.get("output_tokens", 0),
            attributes=limited_attributes({name: str(count) for name, count in sorted(counts.items())}),
        )
        yield self._scribe.finding(f"line:{place.number}", self._last_us, call, self._cause, task=self._task)

    def _item(self, place: Place, item: Json) -> Iterator[Finding]:
        kind, key = str(item.get("type")), f"line:{place.number}"
        if kind == "message":
            yield from self._message(key, item)
        elif kind == "reasoning":
            if text := text_of([*(item.get("summary") or ()), *(item.get("content") or ())]).strip():
                yield self._decision(key, text)
        elif kind.endswith("_call_output"):
            yield from self._output(item)
        elif kind.endswith("_call"):
            yield from self._call(place, key, kind, item)

    def _message(self, key: str, item: Json) -> Iterator[Finding]:
        text = text_of(item.get("content")).strip()
        if not text:
            return
        if item.get("role") == "assistant":
            final = item.get("phase") in (None, "final_answer")
            yield self._answer(key, text) if final else self._decision(key, text)
            return
        own = item.get("role") != "user" or text.startswith(_OWN_WORDS)
        kind = MessageKind.MESSAGE_KIND_INFORMATION if own else MessageKind.MESSAGE_KIND_ORDER
        message = AgentMessage(kind=kind, to_agent_id=KIND, content=limited(text))
        found = self._finding(key, message, KIND if own else USER)
        if not own:
            self._task = found.event_id
        yield found

    def _answer(self, key: str, text: str) -> Finding:
        information = MessageKind.MESSAGE_KIND_INFORMATION
        return self._finding(key, AgentMessage(kind=information, to_agent_id=USER, content=limited(text)))

    def _decision(self, key: str, text: str) -> Finding:
        attributes = {"model": self._model} if self._model else {}
        return self._finding(key, AgentDecision(rationale=limited(text), attributes=attributes))

    def _call(self, place: Place, key: str, kind: str, item: Json) -> Iterator[Finding]:
        name = str(item.get("name") or kind.removesuffix("_call"))
        given = item.get("arguments", item.get("input", item.get("action")))
        arguments = "" if given is None else as_json(given)
        pending = Pending(place, key, self._last_us, name, arguments, self._cause, self._task, KIND, self._folder)
        call_id = item.get("call_id") or (item.get("id") if kind == "local_shell_call" else None)
        if call_id:
            self._pending[str(call_id)] = pending
            self._cause = self._scribe.id_of(pending)
        else:
            # A search of the web: the program that serves the model ran it, and gives no answer here.
            yield self._finding(key, ToolCall(name=limited(name, 1_000), arguments=limited(arguments)))

    def _output(self, item: Json) -> Iterator[Finding]:
        pending = self._pending.pop(str(item.get("call_id")), None)
        if pending is None:
            return
        result, code, duration_ms = _outcome(item.get("output"))
        call = pending.call(result)
        if code is not None:
            call.exit_code = code
        elapsed_ms = max(self._last_us - pending.occurred_us, 0) / 1_000
        call.duration_ms = elapsed_ms if duration_ms is None else duration_ms
        found = self._scribe.answered(pending, call)
        yield found
        self._cause = found.event_id
        patch, folder = _patch(pending)
        if patch and (code == 0 or _SUCCESS in result):
            yield from self._patched(pending, patch, folder, found.event_id)

    def _patched(self, pending: Pending, patch: str, folder: str, cause: str) -> Iterator[Finding]:
        try:
            files = apply_patch.parse(patch)
        except UnknownContentError as error:
            self._tell(f"{pending.place}: the patch is kept as a tool call alone: {error}")
            return
        count = 0
        for file in files:
            try:
                states = list(self._states(file, folder))
            except ContractError as error:
                self._tell(f"{pending.place}: the change of {file.path} is kept as a tool call alone: {error}")
                continue
            for state in states:
                key = f"{pending.key}:file:{count}"
                count += 1
                yield self._scribe.finding(key, self._last_us, state, cause, task=pending.task)

    def _states(self, file: FilePatch, folder: str) -> Iterator[FileState]:
        resource = self._files.resource(file.path, folder)
        if file.operation == "add":
            yield from self._files.written(resource, encoded(file.content))
        elif file.operation == "delete":
            yield from self._files.deleted(resource)
        else:
            moved_to = self._files.resource(file.moved_to, folder) if file.moved_to else ""
            after = encoded(apply_patch.updated(decoded(self._files.content(resource)), file.chunks))
            if moved_to:
                yield from self._files.moved(resource, moved_to, after)
            else:
                yield from self._files.written(resource, after)


def _opened(line: Json) -> tuple[str, Json]:
    """A line's type and payload; the first versions wrote them without an envelope."""
    if isinstance(line.get("payload"), dict):
        return str(line.get("type")), line["payload"]
    if "type" not in line and "id" in line:
        return "session_meta", line
    return ("response_item" if "type" in line else ""), line


def _outcome(output: Any) -> tuple[str, int | None, float | None]:
    """A result's text, the exit code and the milliseconds that it took, where it tells them."""
    if isinstance(output, dict):
        success = output.get("success")
        return text_of(output.get("content")), None if success is None else int(not success), None
    text = text_of(output)
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and isinstance(told.get("metadata"), dict):
        facts = told["metadata"]
        seconds = facts.get("duration_seconds")
        return text_of(told.get("output")), facts.get("exit_code"), None if seconds is None else float(seconds) * 1_000
    code, wall = _EXIT_CODE.search(text[:2_000]), _WALL_TIME.search(text[:2_000])
    return text, int(code[1]) if code else None, float(wall[1]) * 1_000 if wall else None


def _patch(pending: Pending) -> tuple[str, str]:
    """The patch that a call applies, and the folder that it is relative to; nothing where it applies none."""
    try:
        given = json.loads(pending.arguments)
    except (ValueError, RecursionError):
        given = pending.arguments
    if pending.name == "apply_patch":
        patch = given.get("input", given.get("patch", "")) if isinstance(given, dict) else pending.arguments
        return str(patch), pending.folder
    if not isinstance(given, dict):
        return "", ""
    folder = str(given.get("workdir") or given.get("working_directory") or "") or pending.folder
    command = given.get("command", given.get("cmd", ""))
    if isinstance(command, list) and len(command) == 2 and command[0] in ("apply_patch", "applypatch"):
        return str(command[1]), folder
    script = str(command[-1]) if isinstance(command, list) and command else str(command)
    found = apply_patch.in_shell(script)
    if found is None:
        return "", ""
    inner = found[1]
    return found[0], inner if inner.startswith("/") else f"{folder}/{inner}" if inner else folder
