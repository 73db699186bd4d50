"""Whether a commit can hold a tree, and the contents that it needs for that.

The rules are those of restoring and importing, so that every commit can be restored, checked out and imported again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from nervous_system.contract import StateChange
from nervous_system.errors import EnchantedError
from nervous_system.ledger.history import History
from nervous_system.ledger.records import DamagedError
from nervous_system.paths import PathError, resource_to_bytes
from replay import patches
from replay.contents import ContentError, Contents
from replay.export.fast_import import FastImport, Written
from replay.export.growing import Clashes, Touched
from replay.git import changes
from replay.git.safety import TreeView
from replay.patches import PatchError
from replay.tree import SUBMODULE, TreeError

_COMMIT_ID = re.compile(rb"(?!0{40})[0-9a-f]{40}")


class Holdable:
    """Which trees a commit can hold, told from one to the next.

    Args:
        contents: gives the targets of symlinks.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._clashes = Clashes()
        self._view = TreeView(self._target)

    def problem(self, touched: Iterable[Touched]) -> EnchantedError | None:
        """Goes on to the tree that has become so; says why no commit can hold it, where that is so."""
        view: list[changes.FileChange] = []
        for each in touched:
            self._clashes.put(each.resource, is_there=each.after is not None)
            after = None if each.after is None else changes.Entry(each.after.mode, each.after.content_hash)
            view.append(changes.FileChange(resource_to_bytes(each.resource), None, after))
        self._view.update(view)
        if self._clashes.first is not None:
            return PathError(self._clashes.first, "it is both a file and a folder")
        for left_out in self._view.left_out.values():
            return PathError(left_out.resource, left_out.reason)
        return None

    def _target(self, entry: changes.Entry) -> bytes:
        try:
            return self._contents(entry.oid)
        except ContentError:
            # No link may be empty, so that the tree is found unfit.
            return b""


class Blobs:
    """Writes each content once.

    Args:
        history: the project.
        contents: gives what a hash names.
        stream: takes the contents.
    """

    def __init__(self, history: History, contents: Contents, stream: FastImport) -> None:
        self._history = history
        self._contents = contents
        self._stream = stream
        self._marks: dict[bytes, int] = {}
        self._parts: dict[str, Sequence[bytes]] = {}
        self._unreadable: dict[str, ContentError] = {}

    def note(self, change: StateChange) -> None:
        """Keeps at hand what a change says of its content, as far as there is room: the ledger need not be asked."""
        if change.HasField("content"):
            self._contents.keep(change.new_state_hash, change.content)
        elif change.blob_parts:
            self._parts[change.new_state_hash] = list(change.blob_parts)
        elif change.diff_patch:
            # A diff may be wrong, and its outcome recorded elsewhere: that is seen where the content is wanted.
            with suppress(ContentError, PatchError):
                content = patches.apply(change.diff_patch, self._contents(change.previous_state_hash))
                if hashlib.sha256(content).hexdigest() == change.new_state_hash:
                    self._contents.keep(change.new_state_hash, content)

    def written(self, changed: Iterable[Touched]) -> list[Written]:
        """What a commit says of the paths that are there, their contents written ahead.

        Raises:
            ContentError: a content cannot be put together.
            TreeError: a submodule names no commit.
        """
        there = [(each.resource, each.after) for each in changed if each.after is not None]
        for _, entry in there:
            if entry.content_hash in self._unreadable:
                raise self._unreadable[entry.content_hash]
        return [
            Written(
                resource_to_bytes(resource),
                entry.mode,
                self._commit_id(resource, entry.content_hash)
                if entry.mode == SUBMODULE
                else self._mark(entry.content_hash),
            )
            for resource, entry in there
        ]

    def settle(self) -> None:
        """Forgets what was noted."""
        self._parts.clear()
        self._unreadable.clear()

    def _mark(self, content_hash: str) -> int:
        digest = bytes.fromhex(content_hash)
        mark = self._marks.get(digest)
        if mark is None:
            try:
                size_bytes, pieces = self._read(content_hash)
            except ContentError as error:
                self._unreadable[content_hash] = error
                raise
            mark = self._marks[digest] = self._stream.blob(size_bytes, pieces)
        return mark

    def _read(self, content_hash: str) -> tuple[int, Iterable[bytes]]:
        """A content's size and its bytes, part by part where it travelled so; checked before the first is given."""
        parts = self._parts.get(content_hash)
        if parts is not None:
            size_bytes = self._measured(content_hash, parts)
            if size_bytes is not None:
                return size_bytes, self._each(parts)
        content = self._contents(content_hash)
        return len(content), (content,)

    def _measured(self, content_hash: str, parts: Sequence[bytes]) -> int | None:
        """The size of the parts together; None where they are not the content."""
        digest, size_bytes = hashlib.sha256(), 0
        try:
            for part in self._each(parts):
                digest.update(part)
                size_bytes += len(part)
        except DamagedError:
            return None
        return size_bytes if digest.hexdigest() == content_hash else None

    def _each(self, parts: Sequence[bytes]) -> Iterator[bytes]:
        return (self._history.blobs([part])[0] for part in parts)

    def _commit_id(self, resource: str, content_hash: str) -> str:
        content = self._contents(content_hash)
        if not _COMMIT_ID.fullmatch(content):
            raise TreeError(
                f"The submodule {resource!r} names no commit of a repository with SHA-1 ids. Change or delete it, and "
                "export a later moment."
            )
        return content.decode("ascii")
