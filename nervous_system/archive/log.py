"""The archive's log of manifests: what the archive holds now, and the one atomic step that changes it."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from nervous_system.archive import layout, manifest
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.manifest import FULL_EVERY, Body, Change, Header, Manifest
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import Signer, Verifier
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import EnchantedError, NotFoundError, SettingsError, UnavailableError
from nervous_system.events import now_us

READERS = 8


@dataclass(frozen=True, slots=True)
class _Tip:
    """Where the log ends, as far as it was read: the state, and what the next header needs of the last one."""

    state: ArchiveState
    hash: bytes = manifest.GENESIS
    full: int = 0


class ArchiveLog:
    """Reads and appends manifests. Safe to use from several threads, beside any number of others elsewhere.

    Every method may raise what the store raises, and ArchiveDamagedError where manifests do not fit together or, with
    a verifier, are not signed by its key.

    Args:
        store: the bucket.
        signer: signs what is appended, where one is given.
        verifier: checks what is read; the signer's public half where there is only a signer.
    """

    def __init__(self, store: ObjectStore, signer: Signer | None = None, verifier: Verifier | None = None) -> None:
        self._store = store
        self._signer = signer
        self._verifier = verifier or (signer.verifier if signer else None)
        self._tip = _Tip(ArchiveState())
        self._lock = threading.RLock()
        self._conditions_hold = False

    def state(self) -> ArchiveState:
        """What the archive holds now; asks for manifests newer than those known."""
        with self._lock:
            return self._refreshed().state

    def append(self, make: Callable[[ArchiveState], Change]) -> ArchiveState:
        """Changes the archive in one atomic step.

        Args:
            make: gives the change for the state that it is handed; asked anew each time another writer was first. What
                it raises ends the attempt, and nothing is changed.

        Returns:
            The state after the change.
        """
        with self._lock:
            while True:
                tip = self._refreshed()
                self._require_conditions(tip)
                change = make(tip.state)
                state = tip.state.changed(change)
                written = self._manifest(tip, change, state)
                if self._is_ours(written):
                    self._tip = _after(tip, written, state)
                    self._hint(written.number)
                    return state

    def manifests(self, first: int = 1) -> Iterator[Manifest]:
        """Manifests from number ``first`` to the newest, each checked against the one before that was given."""
        previous: Manifest | None = None
        number = first
        while True:
            try:
                found = self._read(number)
            except NotFoundError:
                return
            if previous is not None or number == 1:
                _check_chain(found, previous.hash if previous else manifest.GENESIS)
            yield found
            previous, number = found, number + 1

    def manifest(self, number: int) -> Manifest:
        """One manifest; raises NotFoundError where there is none of that number."""
        return self._read(number)

    def _refreshed(self) -> _Tip:
        if self._tip.state.number == 0:
            self._tip = self._opened()
        tip = self._tip
        while True:
            try:
                found = self._read(tip.state.number + 1)
            except NotFoundError:
                break
            tip = _next(tip, found)
            tip.state.check(found)
            self._tip = tip
        return tip

    def _opened(self) -> _Tip:
        newest = self._newest()
        if newest == 0:
            return _Tip(ArchiveState())
        last = self._required(newest)
        first = max(1, last.header.full)
        needed = [*self._read_all(range(first, newest)), last]
        if not needed[0].is_full:
            raise ArchiveDamagedError(_misnamed(last))
        tip = _Tip(ArchiveState())
        for found in needed:
            tip = _next(tip, found)
        tip.state.check(last)
        return tip

    def _newest(self) -> int:
        """The number of a recent manifest, 0 where there is none; numbers are dense, so that few requests find it."""
        known = self._hinted()
        step = 1
        while self._exists(known + step):
            known, step = known + step, step * 2
        missing = known + step
        while missing - known > 1:
            middle = (known + missing) // 2
            known, missing = (middle, missing) if self._exists(middle) else (known, middle)
        return known

    def _hinted(self) -> int:
        try:
            text = self._store.get(layout.NEWEST)
        except NotFoundError:
            return 0
        # Anyone may have written anything there: it only says where to begin to look.
        number = int(text) if text.isdigit() and len(text) <= 20 else 0
        return number if number and self._exists(number) else 0

    def _exists(self, number: int) -> bool:
        return self._store.size_bytes(layout.manifest_key(number)) is not None

    def _read_all(self, numbers: Sequence[int]) -> list[Manifest]:
        if not numbers:
            return []
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(self._required, numbers))

    def _required(self, number: int) -> Manifest:
        try:
            return self._read(number)
        except NotFoundError as error:
            raise ArchiveDamagedError(f"manifest {number} is missing") from error

    def _read(self, number: int) -> Manifest:
        found = Manifest.decode(self._store.get(layout.manifest_key(number)))
        if found.number != number:
            raise ArchiveDamagedError(f"manifest {found.number} stands where {number} should")
        if self._verifier is not None:
            self._verifier.check(found)
        return found

    def _manifest(self, tip: _Tip, change: Change, state: ArchiveState) -> Manifest:
        number = state.number
        full = number if number == 1 or number % FULL_EVERY == 0 else tip.full
        body = Body(change, state.whole() if full == number else None)
        packed = manifest.encode_body(body)
        header = Header(
            number=number,
            previous=tip.hash,
            created_us=now_us(),
            nonce=secrets.token_hex(8),
            root=state.root(),
            files=len(state.files),
            body_sha256=hashlib.sha256(packed).digest(),
            full=full,
        )
        line = header.line()
        signature = (self._signer.line(line),) if self._signer else ()
        return Manifest(header, body, (line, packed, *signature))

    def _is_ours(self, written: Manifest) -> bool:
        """Writes the manifest; whether it is the one of its number."""
        key = layout.manifest_key(written.number)
        try:
            return self._store.put_new(key, written.encode()) or self._landed(written)
        except UnavailableError:
            # The write may have landed and only its answer been lost.
            if self._landed(written):
                return True
            raise

    def _landed(self, written: Manifest) -> bool:
        try:
            return self._store.get(layout.manifest_key(written.number)) == written.encode()
        except NotFoundError:
            return False

    def _hint(self, number: int) -> None:
        try:
            self._store.put(layout.NEWEST, str(number).encode())
        except EnchantedError:
            # Readers find the newest without it, if more slowly.
            return

    def _require_conditions(self, tip: _Tip) -> None:
        """Raises SettingsError where the server ignores ``If-None-Match``, and two writers could both win."""
        if self._conditions_hold or tip.state.number == 0:
            return
        key = layout.manifest_key(tip.state.number)
        # What is written is what is there, so that even a server that overwrites it changes nothing.
        if self._store.put_new(key, self._store.get(key)):
            raise SettingsError(
                "This S3 overwrites an object although it was asked not to (If-None-Match: *): two siphons could both "
                "write the same manifest. Use a server that has conditional writes."
            )
        self._conditions_hold = True


def _next(tip: _Tip, found: Manifest) -> _Tip:
    if tip.state.number:
        _check_chain(found, tip.hash)
    return _after(tip, found, tip.state.apply(found))


def _after(tip: _Tip, found: Manifest, state: ArchiveState) -> _Tip:
    full = found.number if found.is_full else tip.full
    if found.header.full != full:
        raise ArchiveDamagedError(_misnamed(found))
    return _Tip(state, found.hash, full)


def _misnamed(found: Manifest) -> str:
    return f"manifest {found.number} names {found.header.full} as the last that lists everything, which it is not"


def _check_chain(found: Manifest, previous: bytes) -> None:
    if found.header.previous != previous:
        raise ArchiveDamagedError(f"manifest {found.number} does not follow the one before it")
