"""Which contents the trees of a stretch of time are made of: what is asked for most, and best stays at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nervous_system.contract import StateChange
from nervous_system.ledger.history import History
from nervous_system.ledger.records import ContentForm

GROUP_CONTENTS = 256


def standing_contents(history: History, since_us: int) -> set[bytes]:
    """SHA-256 of contents that stood anywhere in a project since a time of the log's clock, and of what leads there.

    What leads to a content: its parts, and the contents from which diffs go on to it, as far as the ledger itself has
    them.
    """
    # A deleted path has no content.
    standing = set(_stood(history, since_us)) - {b""}
    wanted = list(standing)
    while wanted:
        group, wanted = wanted[:GROUP_CONTENTS], wanted[GROUP_CONTENTS:]
        for digest in _leading(history, group):
            if digest not in standing:
                standing.add(digest)
                wanted.append(digest)
    return standing


def _stood(history: History, since_us: int) -> Iterator[bytes]:
    path, before = "", b""
    for resource, _, change in history.path_changes():
        if resource != path:
            yield before
            path, before = resource, b""
        if change.recorded_us < since_us:
            before = change.digest
            continue
        # What stood until then, by this path's life and by what the change claims, is of the stretch as well.
        yield from (before, change.previous, change.digest)
        before = b""
    yield before


def _leading(history: History, digests: Sequence[bytes]) -> Iterator[bytes]:
    sources = [source for source in history.content_sources(digests) if source is not None]
    claims = [source.version for source in sources if source.form == ContentForm.EVENT and not source.is_cold]
    for outline in history.outlines_here(claims):
        change: StateChange = outline.event.state_change
        if change.diff_patch:
            yield bytes.fromhex(change.previous_state_hash)
        yield from change.blob_parts
