"""``cold``: reading moments of which only the archive has the bytes, against the same from the ledger alone."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from infrastructure.local.stack import running_stack
from ingestors.siphon import SiphonSink
from nervous_system.events import content_hash
from nervous_system.landing import Batch
from nervous_system.ledger.cold import ArchivedRow, Position
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from replay.contents import Contents, ReadAhead
from replay.merging import tree_at
from replay.moments import resolve
from replay.restoring.plan import plan_restore
from replay.restoring.restore import act
from tests.benchmarks.material import PROJECT, batches, events, file_event, log_messages
from tests.benchmarks.report import Contender, compare

FILES = 3_000
OTHER_EVENTS = 12_000
BYTES = (20, 2_000)
# A third of the other events write a file each.
TREE_FILES = FILES + OTHER_EVENTS // 3
LOOKS = 5
STREAM = StreamIdentity("SWARM", 1)

_numbers = itertools.count()


def run(folder: Path) -> None:
    """A tree whose files were written here and there in a longer history: whole, and one file of it."""
    with running_stack(folder / "home", ["s3"]) as found:
        hot = replace(found, ledger=f"embedded://{folder}/hot.sqlite", siphon_folder=str(folder / "siphon"))
        cold = replace(hot, ledger=f"embedded://{folder}/cold.sqlite")
        paths, landed = _record(hot, cold)
        _offload(cold, landed)
        compare(
            f"cold restore: {TREE_FILES:,} files, written among {OTHER_EVENTS:,} events, into an empty folder",
            "files",
            [Contender("all bytes from the archive, nothing kept from before", TREE_FILES, lambda: _restore(cold))],
            Contender("all bytes in the ledger", TREE_FILES, lambda: _restore(hot)),
        )
        compare(
            "cold look: one file's content, each time by a reader that has read nothing before",
            "contents",
            [Contender("from the archive", LOOKS, lambda: _look(cold, paths))],
            Contender("from the ledger", LOOKS, lambda: _look(hot, paths)),
        )


def _record(hot: Settings, cold: Settings) -> tuple[list[bytes], list[Batch]]:
    """Lands the same history in both ledgers and the archive; gives some contents of it, and the batches."""
    chance = random.Random(1)
    contents = [chance.randbytes(chance.randint(*BYTES) // 2).hex().encode() for _ in range(FILES)]
    written = [file_event(f"folder_{number // 50}/file_{number}", each) for number, each in enumerate(contents)]
    mixed = [*written, *events(OTHER_EVENTS)]
    chance.shuffle(mixed)
    landed = list(batches(log_messages(mixed, 100), 20, STREAM))
    siphon = SiphonSink(hot)
    siphon.open()
    ledgers = [Ledger.open(settings) for settings in (hot, cold)]
    for batch in landed:
        siphon.land(batch)
        for ledger in ledgers:
            ledger.land("ledger", batch)
    siphon.close()
    for ledger in ledgers:
        ledger.close()
    return chance.sample(contents, LOOKS), landed


def _offload(settings: Settings, landed: Sequence[Batch]) -> None:
    rows = [
        ArchivedRow(
            each.event.event_id,
            hashlib.sha256(each.data).digest(),
            Position(STREAM, batch.partition, message.sequence, each.index),
            len(each.data),
        )
        for batch in landed
        for message in batch.messages
        for each in message.events
    ]
    path = Path(settings.ledger.removeprefix("embedded://"))
    ledger = Ledger.open(settings)
    ledger.reclaim()
    before = path.stat().st_size
    offloaded = ledger.offload(PROJECT, rows)
    reclaimed = ledger.reclaim()
    ledger.close()
    print(
        f"\noffload: {offloaded.events:,} of {len(rows):,} events, {offloaded.bytes_freed / 1e6:.1f} MB of values; the "
        f"file went from {before / 1e6:.1f} to {path.stat().st_size / 1e6:.1f} MB ({reclaimed / 1e6:.1f} MB given back)"
    )


def _restore(settings: Settings) -> Callable[[], None]:
    target = settings.home / f"restored-{next(_numbers)}"

    def work() -> None:
        ledger = Ledger.open(settings)
        history = ledger.history(PROJECT)
        contents = Contents(history)
        plan = plan_restore(tree_at(history, resolve(history, "now"), contents), target, contents)
        act(plan, ReadAhead(contents, [step.entry.content_hash for step in plan.steps if step.entry]))
        ledger.close()

    return work


def _look(settings: Settings, contents: Sequence[bytes]) -> Callable[[], None]:
    def work() -> None:
        for content in contents:
            ledger = Ledger.open(settings)
            assert Contents(ledger.history(PROJECT))(content_hash(content)) == content
            ledger.close()

    return work
