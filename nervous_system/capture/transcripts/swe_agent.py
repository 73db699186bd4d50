"""SWE-agent's trajectories: one ``.traj`` file, a JSON document, for each run.

A trajectory tells how long each step took, but not when: the last step is taken to have ended when the file was
written, unless the user says when the run began.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nervous_system.capture.findings import FileState, Finding, Payload, limited
from nervous_system.capture.transcripts.files import Files, UnknownContentError
from nervous_system.capture.transcripts.reading import (
    Json,
    Place,
    Scribe,
    Tell,
    TranscriptError,
    files_of,
    json_document,
    text_of,
)
from nervous_system.capture.transcripts.replacing import decoded, encoded, inserted
from nervous_system.contract import AgentDecision, AgentMessage, MessageKind, ToolCall
from nervous_system.errors import ContractError

KIND = "swe-agent"
USER = "user"
_EDITOR = "str_replace_editor"
_CREATED, _EDITED = "File created successfully", "has been edited"
_UNDONE = "undone successfully"
# Editors of older versions, which show a window of a file and tell its whole content nowhere.
_WINDOWED = ("edit", "create", "insert", "append")


def read(path: Path, *, root: str, tell: Tell, began_us: int | None = None) -> Iterator[Finding]:
    """What the trajectories at ``path`` tell; see ``claude_code.read``.

    Args:
        path: a trajectory, or a folder of some.
        root: where it is empty, the folder that the first step worked in.
        tell: told what could not be taken over.
        began_us: when each run began, microseconds since 1970.
    """
    for file in files_of(path, "*.traj"):
        document = json_document(file)
        if not isinstance(document, dict) or not isinstance(document.get("trajectory"), list):
            if file == path:
                raise TranscriptError(f"{file} has no trajectory: give a .traj file that SWE-agent wrote.")
            tell(f"{file}: left out: it has no trajectory.")
            continue
        yield from Run(file, document, root, tell, began_us).findings()


@dataclass(slots=True)
class _Editor:
    """SWE-agent's str_replace_editor, which turns tabs into spaces where it replaces or inserts."""

    files: Files
    earlier: dict[str, list[str]] = field(default_factory=dict)

    def states(self, words: list[str], observation: str) -> Iterator[FileState]:
        command, path, options = words[1], words[2], _options(words[3:])
        resource = self.files.resource(path)
        if command == "create" and _CREATED in observation:
            text = _option(options, "file_text")
            self.earlier.setdefault(resource, []).append(text)
            yield from self.files.written(resource, encoded(text))
        elif command in ("str_replace", "insert") and _EDITED in observation:
            before = decoded(self.files.content(resource)).expandtabs()
            after = self._edited(command, before, options)
            self.earlier.setdefault(resource, []).append(before)
            yield from self.files.written(resource, encoded(after))
        elif command == "undo_edit" and _UNDONE in observation:
            if not self.earlier.get(resource):
                raise UnknownContentError("what it takes back was not made in this transcript")
            yield from self.files.written(resource, encoded(self.earlier[resource].pop()))

    def _edited(self, command: str, before: str, options: dict[str, str]) -> str:
        new = options.get("new_str", "").expandtabs()
        if command == "insert":
            return inserted(before, int(_option(options, "insert_line")), new)
        old = _option(options, "old_str").expandtabs()
        if before.count(old) != 1:
            raise UnknownContentError("the text that it replaces is not once in the file as far as it is known")
        return before.replace(old, new)


class Run:
    """One trajectory on its way to findings.

    Args:
        file: the trajectory's; its name is the session's.
        document: what it holds.
        root: as for ``read``.
        tell: told what could not be taken over.
        began_us: as for ``read``.
    """

    def __init__(self, file: Path, document: Json, root: str, tell: Tell, began_us: int | None) -> None:
        self._file, self._document, self._tell = file, document, tell
        self._steps: list[Json] = [step for step in document["trajectory"] if isinstance(step, dict)]
        self._scribe = Scribe(KIND, file.stem, KIND)
        self._editor = _Editor(Files(root or self._first_folder(), KIND))
        self._took_us = [round(_seconds(step) * 1_000_000) for step in self._steps]
        ended_us = file.stat().st_mtime_ns // 1_000
        self._now_us = ended_us - sum(self._took_us) if began_us is None else began_us
        if began_us is None:
            tell(f"{file}: it tells no times: its last step is taken to have ended when the file was written.")
        self._task = self._cause = ""

    def _first_folder(self) -> str:
        states = (step.get("state") for step in self._steps)
        folders = (state.get("working_dir") for state in states if isinstance(state, dict))
        return next((str(folder) for folder in folders if folder), "/")

    def findings(self) -> Iterator[Finding]:
        """What the trajectory tells, in its order."""
        yield from self._orders()
        for number, (step, took_us) in enumerate(zip(self._steps, self._took_us, strict=True), 1):
            try:
                yield from self._step(Place(self._file, number), step, took_us)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._tell(f"{self._file}: step {number} left out, for it is not as SWE-agent writes it ({error!r}).")
            self._now_us += took_us
        yield from self._spent()

    def _finding(self, key: str, payload: Payload, agent: str = KIND) -> Finding:
        found = self._scribe.finding(key, self._now_us, payload, self._cause, agent, self._task)
        self._cause = found.event_id
        return found

    def _orders(self) -> Iterator[Finding]:
        """What the agent was told before its first step."""
        for number, item in enumerate(self._document.get("history") or ()):
            if not isinstance(item, dict) or item.get("role") not in ("system", "user") or item.get("is_demo"):
                if isinstance(item, dict) and item.get("is_demo"):
                    continue
                return
            text = text_of(item.get("content")).strip()
            own = item["role"] == "system"
            kind = MessageKind.MESSAGE_KIND_INFORMATION if own else MessageKind.MESSAGE_KIND_ORDER
            message = AgentMessage(kind=kind, to_agent_id=KIND, content=limited(text))
            found = self._finding(f"history:{number}", message, KIND if own else USER)
            if not own:
                self._task = found.event_id
            yield found

    def _step(self, place: Place, step: Json, took_us: int) -> Iterator[Finding]:
        key = f"step:{place.number}"
        thought = text_of(step.get("thought")).strip() or text_of(step.get("response")).strip()
        if thought:
            yield self._finding(f"{key}:thought", AgentDecision(rationale=limited(thought)))
        action, observation = str(step.get("action") or "").strip(), text_of(step.get("observation"))
        if not action:
            return
        words = _words(action)
        call = ToolCall(
            name=limited(words[0] if words else action.split()[0], 200),
            arguments=limited(action),
            result=limited(observation),
            duration_ms=took_us / 1_000,
        )
        yield self._finding(key, call)
        cause = self._cause
        for index, state in enumerate(self._edits(place, action, words, observation)):
            self._cause = cause
            yield self._finding(f"{key}:file:{index}", state)
        self._cause = cause

    def _edits(self, place: Place, action: str, words: list[str], observation: str) -> list[FileState]:
        if words[:1] == [_EDITOR] and len(words) > 2:
            try:
                return list(self._editor.states(words, observation))
            except ContractError as error:
                self._untold(place, " ".join(words[:3]), str(error))
        elif action.split(maxsplit=1)[0] in _WINDOWED:
            self._untold(
                place, action.split("\n", maxsplit=1)[0][:80], "the editor shows a window of the file and not the whole"
            )
        return []

    def _untold(self, place: Place, what: str, why: str) -> None:
        self._tell(f"{place.path}: step {place.number}: {what!r} is kept as a tool call alone: {why}")

    def _spent(self) -> Iterator[Finding]:
        """The whole run's tokens and cost: a trajectory does not tell them step by step."""
        info = self._document.get("info") or {}
        stats: Json = info.get("model_stats") or {}
        if not stats:
            return
        call = ToolCall(
            name="chat",
            input_tokens=int(stats.get("tokens_sent") or 0),
            output_tokens=int(stats.get("tokens_received") or 0),
            cost_usd=float(stats.get("instance_cost") or stats.get("total_cost") or 0.0),
            result=limited(str(info.get("submission") or "")),
            attributes={
                name: str(value)
                for name, value in (("api_calls", stats.get("api_calls")), ("exit_status", info.get("exit_status")))
                if value is not None
            },
        )
        yield self._finding("spent", call)


def _seconds(step: Json) -> float:
    value: Any = step.get("execution_time")
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e7 else 0.0


def _words(action: str) -> list[str]:
    try:
        return shlex.split(action)
    except ValueError:
        return []


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    waiting = iter(words)
    for word in waiting:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            options[name] = value if equals else next(waiting, "")
    return options


def _option(options: dict[str, str], name: str) -> str:
    if name not in options:
        raise UnknownContentError(f"it has no {name}")
    return options[name]
