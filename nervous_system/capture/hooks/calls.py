"""What an agent tells a hook, as findings."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nervous_system.capture.findings import FileState, Finding, Payload, found_id, limited
from nervous_system.capture.hooks.notes import Notes
from nervous_system.capture.transcripts.apply_patch import parse as parse_patch
from nervous_system.capture.transcripts.files import FOUND, ORIGIN, Files
from nervous_system.capture.transcripts.reading import as_json, text_of
from nervous_system.contract import (
    EXECUTABLE_MODE,
    FILE_MODE,
    AgentDecision,
    AgentMessage,
    AgentStatus,
    MessageKind,
    SystemSignal,
    ToolCall,
)
from nervous_system.errors import ContractError
from nervous_system.events import content_hash

Json = dict[str, Any]
USER = "user"
UNANSWERED = "enchanted.unanswered"
_BEGAN = "began"
_CLAUDE_CODE = "claude-code"
# Larger files are left to `enchanted record`: a hook keeps its agent waiting.
FILE_LIMIT_BYTES = 32 * 1024 * 1024
TRANSCRIPT_LIMIT_BYTES = 64 * 1024 * 1024

_BEFORE = ("PreToolUse", "BeforeTool")
_AFTER = ("PostToolUse", "PostToolUseFailure", "AfterTool", "afterShellExecution", "afterMCPExecution", "afterFileEdit")
_PROMPT = ("UserPromptSubmit", "BeforeAgent", "beforeSubmitPrompt")
_ANSWER = ("Stop", "SubagentStop", "AfterAgent", "stop", "afterAgentResponse")
_STATUS = {
    "SessionStart": AgentStatus.AGENT_STATUS_BUSY,
    "Notification": AgentStatus.AGENT_STATUS_BLOCKED,
    "SessionEnd": AgentStatus.AGENT_STATUS_STOPPED,
    "stop": AgentStatus.AGENT_STATUS_IDLE,
}
_EDITS = frozenset(
    ("Write", "Edit", "MultiEdit", "NotebookEdit", "apply_patch", "write_file", "replace", "edit", "afterFileEdit")
)
_PATHS = ("file_path", "notebook_path", "path", "absolute_path")


@dataclass(frozen=True, slots=True)
class HookCall:
    """One call of a hook.

    Args:
        agent: its name.
        told: what it gave on standard input.
        root: the project's folder.
        home: the recorder's folder on this machine.
        now_us: when it was called, microseconds since 1970.
        with_files: whether changes of files are recorded, which nobody else watches.
    """

    agent: str
    told: Json
    root: Path
    home: Path
    now_us: int
    with_files: bool = True

    def findings(self) -> list[Finding]:
        """What it tells; what is needed at a later call is noted."""
        event = self.event
        found: Iterable[Finding] = ()
        if event in _BEFORE:
            self._note()
        elif event in _AFTER:
            found = self._used()
        elif event in _PROMPT:
            found = self._prompted()
        elif event == "afterAgentThought":
            found = self._thought()
        elif event in _ANSWER:
            found = self._answered()
        result = [*found, *self._signalled()]
        if event == "SessionEnd":
            self._notes.forget()
        return result

    @property
    def event(self) -> str:
        """The event's name, in the agent's own words."""
        return str(self.told.get("hook_event_name") or "")

    @property
    def session(self) -> str:
        """The session's id."""
        return str(self.told.get("session_id") or self.told.get("conversation_id") or "")

    @property
    def _notes(self) -> Notes:
        return Notes(self.home, self.agent, self.session)

    def _finding(self, key: str, payload: Payload, *, agent: str = "", cause: str = "", at_us: int = 0) -> Finding:
        task = self._notes.text("prompt")
        occurred_us = at_us or self.now_us
        return Finding(
            event_id=found_id(occurred_us, "hook", self.agent, self.session, key, str(self.now_us), str(os.getpid())),
            occurred_us=occurred_us,
            payload=payload,
            agent=agent or self.agent,
            session=self.session,
            causation_id=cause or task,
            correlation_id=task,
        )

    def _signalled(self) -> Iterator[Finding]:
        if self.event in _STATUS:
            told = self.told
            detail = told.get("message") or told.get("source") or told.get("reason") or told.get("status") or ""
            signal = SystemSignal(status=_STATUS[self.event], detail=limited(f"{self.event} {detail}".strip(), 2_000))
            yield self._finding("signal", signal)

    def _prompted(self) -> Iterator[Finding]:
        message = AgentMessage(
            kind=MessageKind.MESSAGE_KIND_ORDER,
            to_agent_id=self.agent,
            content=limited(text_of(self.told.get("prompt"))),
        )
        self._notes.put("prompt", b"")
        found = self._finding("prompt", message, agent=USER)
        self._notes.put("prompt", found.event_id.encode())
        yield found

    def _thought(self) -> Iterator[Finding]:
        if text := text_of(self.told.get("text")).strip():
            yield self._finding("thought", AgentDecision(rationale=limited(text)))

    def _answered(self) -> Iterator[Finding]:
        if self.event in ("Stop", "AfterAgent"):
            yield from self._unanswered()
        reasons = list(self._reasons()) if self.agent == _CLAUDE_CODE else []
        yield from reasons
        told = self.told
        text = text_of(told.get("prompt_response") or told.get("last_assistant_message") or told.get("text")).strip()
        if text and not any(_says(finding, text) for finding in reasons):
            information = MessageKind.MESSAGE_KIND_INFORMATION
            yield self._finding("answer", AgentMessage(kind=information, to_agent_id=USER, content=limited(text)))

    def _unanswered(self) -> Iterator[Finding]:
        """Calls that began and of which no hook told the end: they were denied, failed, or go on."""
        for began in sorted(self._notes.take_all_json(_BEGAN), key=lambda each: int(each["at_us"])):
            call = ToolCall(name=began["tool"], arguments=began["given"], attributes={UNANSWERED: "true"})
            yield self._finding(f"unanswered {began['at_us']}", call, at_us=int(began["at_us"]))

    def _reasons(self) -> Iterator[Finding]:
        """What the transcript says of the reasons, which no hook is told; each once."""
        path = Path(str(self.told.get("transcript_path") or ""))
        if not path.is_file() or path.stat().st_size > TRANSCRIPT_LIMIT_BYTES:
            return
        # Loaded where it is needed alone: most calls do not come this far.
        from nervous_system.capture.transcripts import claude_code

        known = set(self._notes.text("told").split())
        fresh = []
        for finding in claude_code.read(path, root=str(self.root), tell=lambda _: None):
            if _is_reason(finding) and finding.event_id not in known:
                fresh.append(finding)
        self._notes.put("told", " ".join([*known, *(finding.event_id for finding in fresh)]).encode())
        yield from fresh

    def _note(self) -> None:
        key = self._call_key()
        began = {"at_us": self.now_us, "tool": self._tool(), "given": limited(as_json(_given(self.told)))}
        self._notes.put_json(f"{_BEGAN} {key}", began)
        for resource, path in self._edited():
            content = _read(path)
            if content is not None:
                self._notes.put(f"before {key} {resource}", content[0])

    def _used(self) -> Iterator[Finding]:
        key, told = self._call_key(), self.told
        began_us = (self._notes.take_json(f"{_BEGAN} {key}") or {}).get("at_us")
        given, answer = _given(told), _answer(told)
        duration_ms = told.get("duration", told.get("duration_ms"))
        if not isinstance(duration_ms, int | float):
            duration_ms = 0.0 if began_us is None else max(self.now_us - began_us, 0) / 1_000
        call = ToolCall(
            name=limited(self._tool(), 1_000),
            arguments=limited(as_json(given)),
            result=limited(text_of(answer)),
            exit_code=_exit_code(self.event, answer),
            duration_ms=float(duration_ms),
        )
        found = self._finding(f"call {key}", call, at_us=began_us or self.now_us)
        yield found
        if call.exit_code in (None, 0):
            for index, (resource, path) in enumerate(self._edited()):
                for number, state in enumerate(self._states(key, resource, path)):
                    yield self._finding(f"file {key} {index} {number}", state, cause=found.event_id)

    def _tool(self) -> str:
        named = {"afterShellExecution": "shell", "afterFileEdit": "edit"}
        return str(self.told.get("tool_name") or named.get(self.event) or self.event)

    def _call_key(self) -> str:
        told = self.told.get("tool_use_id")
        if told:
            return str(told)
        same = json.dumps([self._tool(), _given(self.told)], sort_keys=True)
        return hashlib.sha256(same.encode("utf-8", "surrogatepass")).hexdigest()

    def _edited(self) -> Iterator[tuple[str, Path]]:
        """The project's files that the call edits: by their text form, and where they are."""
        if not self.with_files or not {self._tool(), self.event} & _EDITS:
            return
        folder = str(self.told.get("cwd") or self.root)
        for path in _paths(_given(self.told)):
            for root in dict.fromkeys((self.root, self.root.resolve())):
                try:
                    resource = Files(str(root)).resource(path, folder)
                except ContractError:
                    continue
                yield resource, Path(root, resource)
                break

    def _states(self, key: str, resource: str, path: Path) -> Iterator[FileState]:
        before = self._notes.take(f"before {key} {resource}")
        read = _read(path)
        last = self._notes.text(f"hash {resource}")
        if before is not None and content_hash(before) != last:
            # Somebody else left this; the change is made to it.
            yield FileState(resource, before, mode=read[1] if read else FILE_MODE, attributes={ORIGIN: FOUND})
        if read is None:
            if not path.exists():
                yield FileState(resource, None, before)
                self._notes.put(f"hash {resource}", b"")
            return
        content, mode = read
        self._notes.put(f"hash {resource}", content_hash(content).encode())
        if content != before:
            yield FileState(resource, content, before, mode=mode)


def _given(told: Json) -> Any:
    for name in ("tool_input", "command"):
        if told.get(name) is not None:
            return told[name]
    return {name: told[name] for name in ("file_path", "edits") if name in told}


def _answer(told: Json) -> Any:
    for name in ("tool_response", "output", "result_json", "error"):
        if told.get(name) is not None:
            return told[name]
    return ""


def _exit_code(event: str, answer: Any) -> int | None:
    if event == "PostToolUseFailure":
        return 1
    if not isinstance(answer, dict):
        return None
    for name in ("exit_code", "exitCode"):
        if isinstance(answer.get(name), int):
            return int(answer[name])
    if answer.get("is_error") or answer.get("error"):
        return 1
    return 0 if answer.get("success") is True else None


def _paths(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        return
    for name in _PATHS:
        if isinstance(given.get(name), str) and given[name]:
            yield given[name]
            return
    patch = given.get("input") or given.get("patch") or given.get("command")
    try:
        for file in parse_patch(patch) if isinstance(patch, str) else ():
            yield file.path
            if file.moved_to:
                yield file.moved_to
    except ContractError:
        return


def _read(path: Path) -> tuple[bytes, int] | None:
    """A plain file's content and mode; None where there is none, or it is too large to keep the agent waiting for."""
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_LIMIT_BYTES:
            return None
        return path.read_bytes(), EXECUTABLE_MODE if status.st_mode & stat.S_IXUSR else FILE_MODE
    except OSError:
        return None


def _is_reason(finding: Finding) -> bool:
    match finding.payload:
        case AgentDecision():
            return True
        case AgentMessage():
            return finding.agent != USER
        case ToolCall():
            return finding.payload.name.startswith("chat ")
    return False


def _says(finding: Finding, text: str) -> bool:
    match finding.payload:
        case AgentDecision():
            return finding.payload.rationale.strip() == text
        case AgentMessage():
            return finding.payload.content.strip() == text
    return False
