"""The patches that Codex applies to files: ``*** Begin Patch`` to ``*** End Patch``. Pure.

The format and how it is applied follow codex-rs/apply-patch of OpenAI's Codex CLI: hunks are found by their lines, at
first to the letter, then with ever less regard to white space and typography, and what is written is the patch's own
lines, context included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nervous_system.capture.transcripts.files import UnknownContentError

BEGIN, END = "*** Begin Patch", "*** End Patch"
_ADD, _DELETE, _UPDATE, _MOVE = "*** Add File: ", "*** Delete File: ", "*** Update File: ", "*** Move to: "
_END_OF_FILE = "*** End of File"
_HEREDOC = re.compile(
    r"\s*(?:cd\s+(?P<quote>[\"']?)(?P<folder>[^\n&]+?)(?P=quote)\s*&&\s*)?(?:apply_patch|applypatch)\s*<<-?\s*"
    r"(?P<mark>['\"]?)(?P<tag>\w+)(?P=mark)\s*\n(?P<patch>.*?)\n(?P=tag)\s*",
    re.DOTALL,
)
_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
        **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    }
)
_READINGS: tuple[Callable[[str], str], ...] = (
    lambda line: line,
    str.rstrip,
    str.strip,
    lambda line: line.strip().translate(_TYPOGRAPHY),
)


@dataclass(slots=True)
class Chunk:
    """Lines that stand for others; ``context`` is a line to look for first."""

    context: str = ""
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    at_end: bool = False


@dataclass(slots=True)
class FilePatch:
    """What a patch does to one file; ``content`` is that of an added one."""

    operation: Literal["add", "delete", "update"]
    path: str
    content: str = ""
    moved_to: str = ""
    chunks: list[Chunk] = field(default_factory=list)


def in_shell(script: str) -> tuple[str, str] | None:
    """The patch in a script that does nothing but apply one, and the folder that it enters first; None for others."""
    match = _HEREDOC.fullmatch(script)
    return (match["patch"], match["folder"] or "") if match else None


def parse(patch: str) -> list[FilePatch]:
    """The files of a patch; raises UnknownContentError where it is none."""
    lines = patch.strip().split("\n")
    if lines[0].strip() != BEGIN or lines[-1].strip() != END:
        raise UnknownContentError("it is not a patch from its beginning to its end")
    files: list[FilePatch] = []
    for line in lines[1:-1]:
        header = _header(line)
        if header:
            files.append(header)
        elif files:
            _take(files[-1], line)
        elif line.strip():
            raise UnknownContentError(f"its patch has {line!r} before the first file")
    return files


def _header(line: str) -> FilePatch | None:
    for prefix, operation in ((_ADD, "add"), (_DELETE, "delete"), (_UPDATE, "update")):
        if line.startswith(prefix):
            return FilePatch(operation, line.removeprefix(prefix).strip())  # type: ignore[arg-type]
    return None


def _take(file: FilePatch, line: str) -> None:
    if file.operation == "add" and line.startswith("+"):
        file.content += line[1:] + "\n"
    elif file.operation == "update":
        _take_update(file, line)
    elif line.strip():
        raise UnknownContentError(f"its patch has the line {line!r} where none can stand")


def _take_update(file: FilePatch, line: str) -> None:
    if line.startswith(_MOVE):
        file.moved_to = line.removeprefix(_MOVE).strip()
    elif line.startswith("@@"):
        file.chunks.append(Chunk(line[3:] if line.startswith("@@ ") else ""))
    elif line.strip() == _END_OF_FILE:
        _last_chunk(file).at_end = True
    elif line[:1] in (" ", "+", "-", ""):
        chunk, text = _last_chunk(file), line[1:]
        if line[:1] != "+":
            chunk.old.append(text)
        if line[:1] != "-":
            chunk.new.append(text)
    else:
        raise UnknownContentError(f"its patch has the line {line!r} where none can stand")


def _last_chunk(file: FilePatch) -> Chunk:
    if not file.chunks:
        file.chunks.append(Chunk())
    return file.chunks[-1]


def updated(before: str, chunks: Sequence[Chunk]) -> str:
    """The text after a file's chunks; raises UnknownContentError where one does not fit."""
    lines = before.split("\n")
    if lines[-1] == "":
        lines.pop()
    for start, length, new in sorted(_replacements(lines, chunks), key=lambda each: each[0], reverse=True):
        lines[start : start + length] = new
    if not lines or lines[-1] != "":
        lines.append("")
    return "\n".join(lines)


def _replacements(lines: list[str], chunks: Sequence[Chunk]) -> Iterator[tuple[int, int, list[str]]]:
    at = 0
    for chunk in chunks:
        if chunk.context:
            at = _seek(lines, [chunk.context], at, False) + 1
        if not chunk.old:
            yield (len(lines) - 1 if lines and lines[-1] == "" else len(lines)), 0, chunk.new
            continue
        old, new = chunk.old, chunk.new
        try:
            found = _seek(lines, old, at, chunk.at_end)
        except UnknownContentError:
            # The empty line at a file's end stands for its last line feed.
            if old[-1] != "":
                raise
            old, new = old[:-1], new[:-1] if new and new[-1] == "" else new
            found = _seek(lines, old, at, chunk.at_end)
        yield found, len(old), new
        at = found + len(old)


def _seek(lines: Sequence[str], wanted: Sequence[str], start: int, at_end: bool) -> int:
    last = len(lines) - len(wanted)
    first = last if at_end and last >= start else start
    for reading in _READINGS:
        pattern = [reading(line) for line in wanted]
        for index in range(first, last + 1):
            if [reading(line) for line in lines[index : index + len(wanted)]] == pattern:
                return index
    raise UnknownContentError("its patch does not fit the file as far as it is known")
