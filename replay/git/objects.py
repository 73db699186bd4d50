"""Reading commits and contents by their ids, through one Git process, with memory bounded by bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from types import TracebackType

from nervous_system.contract import SUBMODULE_MODE
from replay.git.changes import Entry
from replay.git.repository import Repository, incomplete

# A content is mostly wanted again as the one before the next change of its file.
_CONTENTS_LIMIT_BYTES = 16 * 1024 * 1024
_CONTENT_LIMIT_BYTES = 4 * 1024 * 1024
_HASHES_LIMIT = 32_000
PREFETCH_LIMIT = 64
"""How many contents are read ahead at a time."""


class Objects:
    """The objects of a repository. Not safe to use from several threads."""

    def __init__(self, repository: Repository) -> None:
        self._process = repository.start("cat-file", "--batch")
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._contents_bytes = 0
        self._hashes: OrderedDict[str, str] = OrderedDict()

    def __enter__(self) -> Objects:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    def read(self, oid: str) -> bytes:
        """An object's bytes; raises GitError where it is not there."""
        self._process.ask(oid.encode("ascii") + b"\n")
        return self._answer(oid)

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Reads contents ahead, in one go: most of a small content's cost is the waiting for it."""
        wanted = {entry.oid: entry for entry in entries if entry.mode != SUBMODULE_MODE}
        oids = [oid for oid in wanted if oid not in self._contents][:PREFETCH_LIMIT]
        # All requests together are far smaller than a pipe holds, so that writing them never waits for the answers
        # to be read.
        self._process.ask("".join(f"{oid}\n" for oid in oids).encode("ascii"))
        for oid in oids:
            self._remember(oid, self._answer(oid))

    def _answer(self, oid: str) -> bytes:
        header = self._process.stdout.readline().split()
        if len(header) != 3:
            # A partial clone ends the process where the object cannot be fetched; others say "missing".
            raise incomplete(f"{oid} is missing") if header else self._process.failure()
        size_bytes = int(header[2])
        data = self._process.stdout.read(size_bytes + 1)
        if len(data) != size_bytes + 1:
            raise self._process.failure()
        return data[:-1]

    def content(self, entry: Entry) -> bytes:
        """A file's bytes, a symlink's target, or the id of a submodule's commit in ASCII."""
        if entry.mode == SUBMODULE_MODE:
            return entry.oid.encode("ascii")
        known = self._contents.get(entry.oid)
        if known is not None:
            self._contents.move_to_end(entry.oid)
            return known
        content = self.read(entry.oid)
        self._remember(entry.oid, content)
        return content

    def content_hash(self, entry: Entry) -> str:
        """SHA-256 of the content, hex."""
        known = self._hashes.get(entry.oid)
        if known is not None:
            self._hashes.move_to_end(entry.oid)
            return known
        digest = hashlib.sha256(self.content(entry)).hexdigest()
        self.remember_hash(entry, digest)
        return digest

    def remember_hash(self, entry: Entry, digest: str) -> None:
        """Notes a content's SHA-256, hex, where somebody has computed it already."""
        self._hashes[entry.oid] = digest
        if len(self._hashes) > _HASHES_LIMIT:
            self._hashes.popitem(last=False)

    def _remember(self, oid: str, content: bytes) -> None:
        if len(content) > _CONTENT_LIMIT_BYTES or oid in self._contents:
            return
        self._contents[oid] = content
        self._contents_bytes += len(content)
        while self._contents_bytes > _CONTENTS_LIMIT_BYTES:
            self._contents_bytes -= len(self._contents.popitem(last=False)[1])
