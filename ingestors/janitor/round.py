"""One round of the janitor: look how far every store is, have the archive's proof, then remove.

ClickHouse first, then the ledger, then the log, which the other two are filled from; objects of the archive that count
no more at the end. Interrupted anywhere, the next round finds what is left to do; two at once do the same twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from ingestors import clickhouse, schema
from ingestors.janitor import bounds as limits
from ingestors.janitor import stream
from ingestors.janitor.bounds import Bounds
from ingestors.janitor.clickhouse import ANSWER_WITHIN_S, ClickHouseStore
from ingestors.janitor.evidence import Evidence
from ingestors.janitor.ledger import LedgerStore
from ingestors.janitor.notes import Notes
from ingestors.janitor.objects import UnnamedObjects
from ingestors.janitor.parts import Parts
from ingestors.janitor.plan import Done, Report, StorePlan
from ingestors.janitor.policy import Policy
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import FileEntry, Place
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import signer_of, verifier_of
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.events import now_us
from nervous_system.failpoints import failpoint
from nervous_system.landing import Cursor
from nervous_system.ledger.cold import Offloaded
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings

LEDGER_SINK = "ledger"

Cursors = Mapping[Place, Sequence[Cursor]]
"""How far each store has landed the partitions."""

Told = Callable[[int, int], None]
"""How many objects of the archive have been looked at, and of how many."""


@dataclass(frozen=True, slots=True)
class _Stores:
    """Everything that a round touches, opened."""

    objects: ObjectStore
    log: ArchiveLog
    ledger: Ledger
    client: Client
    notes: Notes


class Janitor:
    """Applies a policy to all stores.

    Args:
        settings: give the addresses of all of them: a store that is not named cannot be asked how far it is.
        policy: how long events stay.
        clock: microseconds since 1970.
        makes_ledger: make an embedded ledger that is not there yet, as its ingestor is about to.

    Raises:
        SettingsError: the policy keeps everything.
    """

    def __init__(
        self,
        settings: Settings,
        policy: Policy | None = None,
        clock: Callable[[], int] = now_us,
        *,
        makes_ledger: bool = False,
    ) -> None:
        self._settings = settings
        self._makes_ledger = makes_ledger
        self._policy = Policy.of(settings) if policy is None else policy
        self._clock = clock
        if not self._policy.removes:
            raise SettingsError(
                "Nothing says how long events stay at hand, so that all do: set ENCHANTED_HOT_DAYS=30, say, or "
                "ENCHANTED_HOT_DAYS_BY_TENANT=acme=30,beta=7. What goes stays in the archive."
            )

    def plan(self, told: Told = lambda *_: None) -> list[StorePlan]:
        """What would go now; nothing is changed, but for the notes of what of the archive was found good.

        Raises:
            ArchiveDamagedError: the archive is not what its manifests say.
            SettingsError, AccessError, UnavailableError, LedgerError: a store cannot be reached.
        """
        with self._opened() as stores:
            bounds, entries, _, _ = self._proven(stores, told)
            parts = Parts(stores.objects)
            return [
                ClickHouseStore(stores.client).plan(bounds),
                LedgerStore(stores.ledger, self._settings.ledger, stores.notes, parts.has).plan(bounds, entries),
                asyncio.run(self._plan_stream(bounds, parts)),
                UnnamedObjects(stores.objects, stores.log, stores.notes).plan(bounds.now_us),
            ]

    def once(self, told: Told = lambda *_: None) -> Report:
        """Removes what may go; raises as ``plan`` does, and what was removed until then is."""
        with self._opened() as stores:
            bounds, entries, cursors, checked = self._proven(stores, told)
            failpoint("janitor-after-proof")
            parts = Parts(stores.objects)
            rows = _in_clickhouse(ClickHouseStore(stores.client), bounds)
            events = self._in_ledger(stores, bounds, entries, parts)
            failpoint("janitor-after-ledger")
            messages = asyncio.run(self._in_stream(bounds, cursors, parts))
            failpoint("janitor-after-stream")
            objects, size_bytes = UnnamedObjects(stores.objects, stores.log, stores.notes).remove(bounds.now_us)
            return Report((rows, events, messages, Done("archive", objects, size_bytes, 0)), checked)

    @contextmanager
    def _opened(self) -> Iterator[_Stores]:
        for name in ("nats_url", "clickhouse_url", "ledger", "s3_endpoint"):
            self._settings.require(name)
        notes = Notes.of(self._settings)
        objects = ObjectStore(self._settings)
        log = ArchiveLog(objects, signer_of(self._settings), verifier_of(self._settings))
        with (
            closing(objects),
            closing(Ledger.open(self._settings, create=self._makes_ledger)) as ledger,
            closing(clickhouse.connect(self._settings, timeout_s=ANSWER_WITHIN_S)) as client,
        ):
            try:
                schema.migrate(client)
                yield _Stores(objects, log, ledger, client, notes)
            except ClickHouseError as error:
                raise UnavailableError(f"ClickHouse does not do what the janitor asks: {error}") from error
            finally:
                notes.write()

    def _proven(self, stores: _Stores, told: Told) -> tuple[Bounds, list[FileEntry], Cursors, int]:
        """Up to where events may go; the files that have them, all found good; how far stores are; files read now."""
        state = stores.log.state()
        evidence = Evidence(stores.objects, stores.notes)
        evidence.walk(stores.log)
        cursors = _cursors(stores, state)
        bounds = limits.bounds(
            self._policy,
            self._clock(),
            state.files.values(),
            lambda place: min(cursor.sequence for cursor in cursors[place]),
        )
        entries = sorted(filter(bounds.concerns, state.files.values()), key=lambda entry: entry.recorded_us)
        evidence.check_present(entries)
        stores.notes.forget_all_but(set(state.files))
        checked = 0
        for number, entry in enumerate(entries, 1):
            checked += evidence.check(entry)
            told(number, len(entries))
        return bounds, entries, cursors, checked

    def _in_ledger(self, stores: _Stores, bounds: Bounds, entries: Sequence[FileEntry], parts: Parts) -> Done:
        store = LedgerStore(stores.ledger, self._settings.ledger, stores.notes, parts.has)
        before = store.size_bytes()
        gone = store.remove(bounds, entries, Evidence(stores.objects, stores.notes).rows)
        # A cluster gives back by itself what is freed in it.
        before, after = (before, store.size_bytes()) if before else (gone.bytes_freed, 0)
        return Done("ledger", gone.events, before, after, tuple(_staying(gone)))

    async def _plan_stream(self, bounds: Bounds, parts: Parts) -> StorePlan:
        async with stream.opened(self._settings, parts.has) as log:
            return await log.plan(bounds)

    async def _in_stream(self, bounds: Bounds, cursors: Cursors, parts: Parts) -> Done:
        async with stream.opened(self._settings, parts.has) as log:
            await log.check(cursors)
            before = await log.size_bytes()
            messages, held = await log.remove(bounds)
            return Done(stream.STORE, messages, before, await log.size_bytes(), held)


def _staying(gone: Offloaded) -> Iterator[str]:
    """Why events of the ledger stay that are old enough."""
    if gone.kept:
        yield f"{gone.kept:,} events: what they carry stood in a tree within the hot window."
    if gone.differences:
        yield f"{len(gone.differences):,} events: the ledger has refused them, or has other bytes under their ids."


def _cursors(stores: _Stores, state: ArchiveState) -> Cursors:
    return {
        place: (
            state.cursor(*place),
            stores.ledger.cursor(LEDGER_SINK, *place),
            clickhouse.cursor(stores.client, *place),
        )
        for place in state.cursors
    }


def _in_clickhouse(store: ClickHouseStore, bounds: Bounds) -> Done:
    before = store.size_bytes()
    rows = store.remove(bounds) if bounds.places else 0
    failpoint("janitor-after-clickhouse")
    return Done("clickhouse", rows, before, store.size_bytes())
