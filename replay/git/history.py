"""A branch's history, commit by commit, through Git processes that stream: nothing is held but the commit at hand."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO

from nervous_system.contract import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE
from nervous_system.events import INLINE_LIMIT_BYTES
from replay.git.changes import Entry, FileChange
from replay.git.repository import GitProcess, Repository

# What a commit's patches may come to in memory; contents whose patch is beyond it travel whole.
PATCHES_LIMIT_BYTES = 64 * 1024 * 1024

# A line that is no object id comes back as it is, and is written out at once: it marks the end of an answer.
_END = b"end\n"
_FILE = b"diff --git "
_INDEX = re.compile(rb"^index ([0-9a-f]+)\.\.([0-9a-f]+)", re.MULTILINE)
# Git adds the function a hunk is in, by rules that can be configured: left out, the patch depends on contents alone.
_HEADING = re.compile(rb"^(@@ [^@\n]* @@) .*$", re.MULTILINE)
_READ_BYTES = 256 * 1024

_COMPARE = ("diff-tree", "--stdin", "-r", "-z", "--raw", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color")
_NAMES_ONLY = ("--no-renames",)
_WITH_PATCHES = (
    "--patch",
    "--irreversible-delete",
    "--find-renames=50%",
    "-l1000",
    f"-O{os.devnull}",
    "--unified=3",
    "--inter-hunk-context=0",
    "--diff-algorithm=myers",
    "--indent-heuristic",
    "--submodule=short",
    "--ignore-submodules=none",
    "--no-relative",
)


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit and its tree, hex ids."""

    sha: str
    tree: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What lies between two trees.

    Args:
        changes: in Git's order.
        patches: hunks by the ids of the contents before and after, where Git made a text diff of a bearable size.
    """

    changes: list[FileChange]
    patches: dict[tuple[str, str], bytes] = field(default_factory=dict)


def first_parents(repository: Repository, tip: str, until: str | None = None) -> Iterator[Revision]:
    """The commits from the oldest to ``tip`` along first parents, leaving out ``until`` and what leads to it.

    Raises GitError where the history cannot be read to its end.
    """
    bounds = [tip] if until is None else [tip, f"^{until}"]
    with repository.start("rev-list", "--first-parent", "--reverse", "--format=%T", *bounds) as process:
        for line in process.stdout:
            tree = process.stdout.readline()
            yield Revision(line.decode("ascii").removeprefix("commit ").strip(), tree.decode("ascii").strip())
        process.finish()


def count_first_parents(repository: Repository, tip: str, until: str | None = None) -> int:
    """How many commits ``first_parents`` gives."""
    bounds = [tip] if until is None else [tip, f"^{until}"]
    return int(repository.run("rev-list", "--first-parent", "--count", *bounds))


def fork(repository: Repository, tip: str, other: str) -> str | None:
    """The newest commit that the first-parent lines of both have in common; None where they have none.

    Where ``other`` is on the line of ``tip`` that is ``other`` itself, found without reading further back.
    """
    with closing(_newest_first(repository, tip)) as line:
        passed = set()
        for sha in line:
            if sha == other:
                return other
            passed.add(sha)
    with closing(_newest_first(repository, other)) as line:
        return next((sha for sha in line if sha in passed), None)


def _newest_first(repository: Repository, tip: str) -> Generator[str]:
    with repository.start("rev-list", "--first-parent", tip) as process:
        for line in process.stdout:
            yield line.decode("ascii").strip()
        process.finish()


def tree_entries(repository: Repository, tree: str) -> Iterator[tuple[bytes, Entry]]:
    """Every path of a tree and its entry."""
    with repository.start("ls-tree", "-r", "-z", "--full-tree", tree) as process:
        answer = _Answer(process)
        while record := answer.until(b"\0", optional=True):
            facts, _, path = record.partition(b"\t")
            mode, _, oid = facts.split()
            yield path, Entry(_mode(mode), oid.decode("ascii"))
        process.finish()


class Comparer:
    """Compares trees, through one Git process.

    Args:
        repository: where the trees are.
        patches: find renames and make patches; else names, modes and ids only, which is far quicker.
    """

    def __init__(self, repository: Repository, *, patches: bool) -> None:
        self._process = repository.start(*_COMPARE, *(_WITH_PATCHES if patches else _NAMES_ONLY))
        self._answer = _Answer(self._process)

    def __enter__(self) -> Comparer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    def ask(self, before: str, after: str) -> None:
        """Asks what leads from one tree to the other. Git works on it while the answer before it is still in use.

        A few questions are far smaller than a pipe holds, so asking never waits for an answer to be read.
        """
        self._process.ask(f"{before} {after}\n".encode("ascii") + _END)

    def answer(self) -> Comparison:
        """The answer to the oldest open question; raises GitError where a tree or content cannot be read."""
        self._answer.until(b"\n")
        comparison = Comparison([])
        while self._answer.peek() == b":":
            comparison.changes.extend(self._change(self._answer.until(b"\0")))
        if self._answer.peek() == b"\0":
            self._answer.until(b"\0")
        size_bytes = 0
        for patch in self._answer.patches():
            size_bytes += len(patch)
            if size_bytes <= PATCHES_LIMIT_BYTES:
                comparison.patches.update(_hunks(patch))
        return comparison

    def _change(self, facts: bytes) -> Iterator[FileChange]:
        """One record of the raw format (git-diff-tree(1)), of which ``facts`` is what stands before the path."""
        old_mode, new_mode, old_oid, new_oid, status = facts[1:].decode("ascii").split()
        before = Entry(_mode(old_mode), old_oid) if int(old_mode) else None
        after = Entry(_mode(new_mode), new_oid) if int(new_mode) else None
        path = self._answer.until(b"\0")
        if status[0] == "R":
            yield FileChange(self._answer.until(b"\0"), before, after, renamed_from=path)
        elif status[0] == "C":
            yield FileChange(self._answer.until(b"\0"), None, after)
        elif before != after:
            yield FileChange(path, before, after)


def _mode(text: str | bytes) -> int:
    """Git's four modes; trees of old versions have others (0o100664), which Git itself reads as these."""
    mode = int(text, 8)
    if mode in (SYMLINK_MODE, SUBMODULE_MODE):
        return mode
    return EXECUTABLE_MODE if mode & 0o100 else FILE_MODE


def _hunks(patch: bytes) -> Iterator[tuple[tuple[str, str], bytes]]:
    """A file's hunks by the ids they lead from and to; nothing where it has none, or only one side."""
    start = patch.find(b"\n@@ ") + 1
    index = _INDEX.search(patch, 0, start) if start else None
    if index and index[1].strip(b"0") and index[2].strip(b"0"):
        yield (index[1].decode("ascii"), index[2].decode("ascii")), _HEADING.sub(rb"\1", patch[start:])


class _Answer:
    """What a process writes, read piece by piece. Raises GitError where it ends too early."""

    def __init__(self, process: GitProcess) -> None:
        self._process = process
        self._stdout: IO[bytes] = process.stdout
        self._buffer = b""
        self._position = 0

    def peek(self) -> bytes:
        """The next byte, without taking it."""
        if self._position == len(self._buffer):
            self._fill()
        return self._buffer[self._position : self._position + 1]

    def until(self, mark: bytes, *, optional: bool = False) -> bytes:
        """What stands before the next ``mark``, which is taken too.

        Args:
            mark: one byte.
            optional: the process may have come to its end, which gives nothing.
        """
        while (end := self._buffer.find(mark, self._position)) < 0:
            if not self._fill(optional=optional):
                return b""
        found = self._buffer[self._position : end]
        self._position = end + 1
        return found

    def patches(self) -> Iterator[bytes]:
        """Each file's patch up to the end of the answer, without those that are far larger than is of use.

        Within a patch every line begins with a blank, a sign, a backslash, "@@", or a word of the header, with names
        quoted. So a line that begins with "diff --git", and the line that marks the end, are what they seem.
        """
        while self.peek() == _FILE[:1]:
            patch = self._patch()
            if patch is not None:
                yield patch
        self._expect(_END)

    def _patch(self) -> bytes | None:
        """The patch at hand, up to the next file's or the end."""
        searched, oversized = self._position, False
        while True:
            ends = [self._buffer.find(b"\n" + mark, searched) for mark in (_FILE, _END)]
            found = min((end for end in ends if end >= 0), default=-1)
            if found >= 0:
                patch = self._buffer[self._position : found + 1]
                self._position = found + 1
                return None if oversized else patch
            # A mark may lie across what is there and what is still to come.
            held = max(len(self._buffer) - len(_FILE) - 1, self._position)
            if held - self._position > 4 * INLINE_LIMIT_BYTES:
                self._position, oversized = held, True
            offset = held - self._position
            self._fill()
            searched = self._position + offset

    def _expect(self, text: bytes) -> None:
        while len(self._buffer) - self._position < len(text):
            self._fill()
        if not self._buffer.startswith(text, self._position):
            raise self._process.failure()
        self._position += len(text)

    def _fill(self, *, optional: bool = False) -> bool:
        more = self._stdout.read1(_READ_BYTES)  # type: ignore[attr-defined]
        if not more and not (optional and self._position == len(self._buffer)):
            raise self._process.failure()
        self._buffer = self._buffer[self._position :] + more
        self._position = 0
        return bool(more)
