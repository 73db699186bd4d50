"""What Claude Code's editing tools left in a file, from what they were given and what they answered. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nervous_system.capture.findings import FileState
from nervous_system.capture.transcripts.files import Files, UnknownContentError
from nervous_system.capture.transcripts.reading import Json
from nervous_system.capture.transcripts.replacing import decoded, encoded, patched, replaced

TOOLS = frozenset(("Write", "Edit", "MultiEdit", "NotebookEdit"))
_ORIGINALS = ("originalFile", "originalFileContents", "original_file")


def edited_path(arguments: Json, answer: Any) -> str:
    """The path that a tool wrote."""
    told = answer.get("filePath") if isinstance(answer, dict) else None
    return str(told or arguments.get("file_path") or arguments.get("notebook_path") or "")


def edits(tool: str, arguments: Json, answer: Any, files: Files, folder: str) -> Iterator[FileState]:
    """The states that a call of one of TOOLS left.

    Args:
        tool: its name.
        arguments: what it was given.
        answer: ``toolUseResult``: what it answered to the program, not to the model.
        files: what is known of the session's files.
        folder: where the agent stood.

    Raises:
        UnknownContentError: what the file then held cannot be told.
        ContractError: the path is not one of the project's.
    """
    told: Json = answer if isinstance(answer, dict) else {}
    resource = files.resource(edited_path(arguments, answer), folder)
    original = next((told[name] for name in _ORIGINALS if told.get(name) is not None), None)
    previous = encoded(original) if isinstance(original, str) else None
    if tool == "Write":
        after = _text(told.get("content"), arguments.get("content"))
    elif tool == "NotebookEdit":
        after = _text(told.get("updated_file"))
    else:
        after = _replaced(arguments, told, _before(original, files, resource, arguments))
    yield from files.written(resource, encoded(after), previous)


def _text(*texts: Any) -> str:
    for text in texts:
        if isinstance(text, str):
            return text
    raise UnknownContentError("the transcript does not tell what the file then held")


def _before(original: Any, files: Files, resource: str, arguments: Json) -> str:
    if isinstance(original, str):
        return original
    known = files.known(resource)
    if known is not None:
        return decoded(known)
    steps = arguments.get("edits") or [arguments]
    if steps[0].get("old_string") == "":
        return ""
    raise UnknownContentError("what the file held before is not in the transcript")


def _replaced(arguments: Json, told: Json, before: str) -> str:
    hunks = told.get("structuredPatch") or ()
    steps = told.get("edits") or arguments.get("edits")
    if not steps:
        # What it answers is what it did: quotes and white space may have been put right in between.
        steps = [
            {
                "old_string": _text(told.get("oldString"), arguments.get("old_string")),
                "new_string": _text(told.get("newString"), arguments.get("new_string")),
                "replace_all": told.get("replaceAll", arguments.get("replace_all")),
            }
        ]
    try:
        after = before
        for number, step in enumerate(steps, 1):
            last = hunks if number == len(steps) else ()
            after = replaced(after, step["old_string"], step["new_string"], bool(step.get("replace_all")), last)
    except UnknownContentError:
        # The user may have changed the proposal before it was taken.
        if not hunks:
            raise
        return patched(before, hunks)
    return after
