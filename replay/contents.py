"""Contents by their hash, put together from the ledger: whole, from parts, or along a chain of diffs."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from nervous_system.contract import StateChange
from nervous_system.errors import EnchantedError
from nervous_system.events import decode
from nervous_system.ledger.history import History
from nervous_system.ledger.records import ContentForm, DamagedError
from replay import patches

CACHE_LIMIT_BYTES = 64 * 1024 * 1024


class ContentError(EnchantedError):
    """A content cannot be put together as it was recorded."""


class Contents:
    """What a project's hashes stand for.

    Args:
        history: the project.

    Raises, when called:
        ContentError: the content was never recorded, or what was recorded does not lead to it.
        LedgerError: the ledger cannot be read.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._made: dict[str, bytes] = {}

    def __call__(self, content_hash: str) -> bytes:
        """The bytes whose SHA-256, in hex, is ``content_hash``; checked."""
        if content_hash in self._made:
            return self._made[content_hash]
        diffs: list[tuple[str, str]] = []
        wanted = content_hash
        passed = set()
        while (content := self._cache.get(wanted)) is None:
            if wanted in passed:
                raise ContentError(f"The diffs that lead to content {content_hash} go round in a circle at {wanted}.")
            passed.add(wanted)
            change = self._source(wanted, content_hash)
            if isinstance(change, bytes):
                content = change
                break
            diffs.append((wanted, change.diff_patch))
            wanted = change.previous_state_hash
        for target, diff in reversed(diffs):
            content = _patched(diff, content, target)
            _check(content, target)
            self.keep(target, content)
        _check(content, content_hash)
        return content

    def _source(self, wanted: str, content_hash: str) -> bytes | StateChange:
        """The content itself, or the change whose diff leads to it."""
        (source,) = self._history.content_sources([bytes.fromhex(wanted)])
        if source is None:
            via = "" if wanted == content_hash else f", from which {content_hash} is reached by diffs,"
            raise ContentError(f"Content {wanted}{via} was never recorded in {self._history.name}.")
        if source.form == ContentForm.BLOB:
            return self._history.blobs([bytes.fromhex(wanted)])[0]
        change = decode(self._history.event(source.version).data).state_change
        if change.HasField("content"):
            return change.content
        if change.blob_parts:
            return self._parts(change, content_hash)
        return change

    def _parts(self, change: StateChange, content_hash: str) -> bytes:
        try:
            return b"".join(self._history.blobs(list(change.blob_parts)))
        except DamagedError as error:
            raise ContentError(f"A part of content {content_hash} was never sent, or is damaged.") from error

    def add(self, content: bytes) -> str:
        """Takes in a content that was never recorded, such as a merge's; returns its SHA-256, hex."""
        content_hash = hashlib.sha256(content).hexdigest()
        self._made[content_hash] = content
        return content_hash

    def keep(self, content_hash: str, content: bytes) -> None:
        """Remembers a content that was checked against its hash, as long as there is room."""
        if len(content) > CACHE_LIMIT_BYTES // 4:
            return
        self._cache[content_hash] = content
        self._cached_bytes += len(content)
        while self._cached_bytes > CACHE_LIMIT_BYTES:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= len(oldest)


def _patched(diff: str, content: bytes, target: str) -> bytes:
    try:
        return patches.apply(diff, content)
    except patches.PatchError as error:
        raise ContentError(f"The diff recorded for content {target} does not fit: {error}") from error


def _check(content: bytes, content_hash: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != content_hash:
        raise ContentError(
            f"What was recorded for content {content_hash} has the hash {found}: the ledger was altered or an agent "
            "recorded a wrong diff. Nothing was restored."
        )
