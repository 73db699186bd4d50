"""Values of an archive to test with: entries, changes, manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from nervous_system.archive import manifest
from nervous_system.archive.layout import EventsObject, bucket_of, day_of
from nervous_system.archive.manifest import Body, Change, FileEntry, Header, Manifest, Span
from nervous_system.archive.signing import Signer
from nervous_system.archive.state import ArchiveState
from tests.samples import BEGAN_US, STREAM


def entry(number: int, tenant: str = "acme", partition: int = 0) -> FileEntry:
    """Entry ``number``: ten sequences of one partition, of a tenant's bucket."""
    sha256 = hashlib.sha256(f"file {number}".encode()).digest()
    first, last = number * 10, number * 10 + 9
    recorded_us = (BEGAN_US + first, BEGAN_US + last)
    named = EventsObject(day_of(recorded_us[0]), bucket_of(tenant), first, last, sha256.hex()[:16])
    root = hashlib.sha256(f"events {number}".encode()).digest()
    spans = (Span(str(STREAM), partition, first, last),)
    return FileEntry(named.key, 1000 + number, sha256, 20, root, spans, recorded_us, (tenant, tenant))


def chained(changes: Iterable[Change], signer: Signer | None = None) -> list[Manifest]:
    """Manifests 1, 2, 3 … of these changes, the first of which lists everything, and no other."""
    state, found = ArchiveState(), list[Manifest]()
    for change in changes:
        state = state.changed(change)
        found.append(following(found[-1] if found else None, state, change, signer))
    return found


def following(previous: Manifest | None, state: ArchiveState, change: Change, signer: Signer | None = None) -> Manifest:
    """The manifest after ``previous``, of a change that leads to ``state``; only the first lists everything."""
    body = Body(change, None if previous else state.whole())
    packed = manifest.encode_body(body)
    header = Header(
        number=state.number,
        previous=previous.hash if previous else manifest.GENESIS,
        created_us=BEGAN_US + state.number,
        nonce=f"{state.number:016x}",
        root=state.root(),
        files=len(state.files),
        body_sha256=hashlib.sha256(packed).digest(),
        full=1,
    )
    signature = (signer.line(header.line()),) if signer else ()
    return Manifest(header, body, (header.line(), packed, *signature))
