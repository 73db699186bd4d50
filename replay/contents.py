"""Contents by their hash, put together from the ledger: whole, from parts, or along a chain of diffs."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from nervous_system.contract import StateChange
from nervous_system.errors import EnchantedError
from nervous_system.events import decode
from nervous_system.ledger.history import History
from nervous_system.ledger.records import ContentForm, DamagedError
from replay import patches

CACHE_LIMIT_BYTES = 64 * 1024 * 1024
# At most this many contents, each at most the inline limit, are held ready.
GROUP_CONTENTS = 256
FORESEEN_BLOBS = 64


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
        self._foreseen: dict[str, bytes | StateChange] = {}

    def __call__(self, content_hash: str) -> bytes:
        """The bytes whose SHA-256, in hex, is ``content_hash``; checked."""
        diffs: list[tuple[str, str]] = []
        wanted = content_hash
        passed = set()
        # A change may have been made to what came of a merge, which was never recorded.
        while (content := self._made.get(wanted, self._cache.get(wanted))) is None:
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
        foreseen = self._foreseen.get(wanted)
        if foreseen is not None:
            return foreseen
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

    def foresee(self, hashes: Sequence[str]) -> None:
        """Fetches what leads to many contents at once; what was foreseen before is forgotten."""
        self._foreseen = {}
        while wanted := [each for each in dict.fromkeys(hashes) if not self._is_at_hand(each)]:
            found = self._sources(wanted)
            self._foreseen |= found
            hashes = [change.previous_state_hash for change in found.values() if isinstance(change, StateChange)]

    def whole(self, content_hash: str) -> bytes | None:
        """A content that was foreseen whole, not checked; None for any other."""
        foreseen = self._foreseen.get(content_hash)
        return foreseen if isinstance(foreseen, bytes) else None

    def _is_at_hand(self, content_hash: str) -> bool:
        return any(content_hash in each for each in (self._foreseen, self._made, self._cache))

    def _sources(self, hashes: Sequence[str]) -> dict[str, bytes | StateChange]:
        """What ``_source`` gives, for many; those in parts, or of which nothing is known, are left out."""
        digests = [bytes.fromhex(each) for each in hashes]
        known = list(zip(digests, self._history.content_sources(digests), strict=True))
        found: dict[str, bytes | StateChange] = {}
        blobs = [digest for digest, source in known if source is not None and source.form == ContentForm.BLOB]
        size_bytes = 0
        for start in range(0, len(blobs), FORESEEN_BLOBS):
            group = blobs[start : start + FORESEEN_BLOBS]
            contents = self._history.blobs(group)
            found |= zip(map(bytes.hex, group), contents, strict=True)
            size_bytes += sum(map(len, contents))
            if size_bytes > CACHE_LIMIT_BYTES:
                break
        carried = [(digest.hex(), source) for digest, source in known if source and source.form != ContentForm.BLOB]
        events = self._history.events_at([source.version for _, source in carried])
        for (content_hash, _), stored in zip(carried, events, strict=True):
            change = decode(stored.data).state_change
            if change.HasField("content"):
                found[content_hash] = change.content
            elif change.diff_patch:
                found[content_hash] = change
        return found

    def add(self, content: bytes) -> str:
        """Takes in a content that was never recorded, such as a merge's; returns its SHA-256, hex."""
        content_hash = hashlib.sha256(content).hexdigest()
        self._made[content_hash] = content
        return content_hash

    @property
    def has_made(self) -> bool:
        """Whether any content was taken in that may never have been recorded."""
        return bool(self._made)

    def is_made(self, content_hash: str) -> bool:
        """Whether a content was taken in that may never have been recorded."""
        return content_hash in self._made

    def keep(self, content_hash: str, content: bytes) -> None:
        """Remembers a content that was checked against its hash, as long as there is room."""
        if len(content) > CACHE_LIMIT_BYTES // 4 or content_hash in self._cache:
            return
        self._cache[content_hash] = content
        self._cached_bytes += len(content)
        while self._cached_bytes > CACHE_LIMIT_BYTES:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= len(oldest)


class ReadAhead:
    """Contents that will be asked for in a known order, many fetched at a time.

    Args:
        contents: where they come from.
        order: the hashes, as they will be asked for; another may be asked for as well.
    """

    def __init__(self, contents: Contents, order: Sequence[str]) -> None:
        self._contents = contents
        self._order = list(dict.fromkeys(order))
        self._position = {content_hash: index for index, content_hash in enumerate(self._order)}
        self._ready = range(0)

    def __call__(self, content_hash: str) -> bytes:
        """The bytes of a hash; not checked where they come whole, as who restores them checks all."""
        position = self._position.get(content_hash)
        if position is not None and position not in self._ready:
            self._ready = range(position, position + GROUP_CONTENTS)
            self._contents.foresee(self._order[position : position + GROUP_CONTENTS])
        whole = self._contents.whole(content_hash)
        return self._contents(content_hash) if whole is None else whole


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
