"""The ledger: every project's history in commit order, with its indexes, on whichever engine the address names."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial

from nervous_system.contract import Origin
from nervous_system.errors import ContractError, EnchantedError, NotFoundError
from nervous_system.events import now_us
from nervous_system.landing import Batch, Cursor, Refusal
from nervous_system.ledger import keys
from nervous_system.ledger import rebuilding as rebuild
from nervous_system.ledger.append import Landed, Landing, Place, read_cursor
from nervous_system.ledger.audit import Audit
from nervous_system.ledger.cold import ArchivedRow, ColdStore, Offloaded
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.formats import check_format, mark_format
from nervous_system.ledger.gate import Gate, gate_key
from nervous_system.ledger.history import History
from nervous_system.ledger.keys import ProjectKeys
from nervous_system.ledger.lineage import ForkedHistory
from nervous_system.ledger.offloaded import OffloadedFiles
from nervous_system.ledger.offloading import Offloading
from nervous_system.ledger.records import DamagedError, Head
from nervous_system.ledger.snapshots import SnapshotStore
from nervous_system.ledger.standing import standing_contents
from nervous_system.ledger.thawing import LazyColdStore
from nervous_system.ledger.tls import TLS
from nervous_system.ledger.transaction import Engine, Transaction
from nervous_system.ledger.versions import MAX_INCARNATION, Version
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

ROOT = "enchanted"
# No tenant can be called so: names begin with a letter or digit.
SYSTEM = "_system"

# FoundationDB is at its best with transactions below a megabyte, and their number of events has two bytes of a version.
TRANSACTION_BYTES = 800_000
TRANSACTION_EVENTS = 1_000


class RefusedError(EnchantedError):
    """Events of a batch have ids that are in the ledger with other bytes; none of their transaction was landed."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__(f"{refusals[0].reason} Nothing was landed.")
        self.refusals = refusals


class Ledger:
    """All projects on one engine. Safe to use from several threads.

    Args:
        engine: where the keys are; closed with the ledger.
        root: the top directory; another one gives a ledger of its own on the same engine.
        cold: opens what has the bytes that stubs stand for; called when the first is met, and closed with the ledger.
    """

    def __init__(self, engine: Engine, root: str = ROOT, cold: Callable[[], ColdStore] | None = None) -> None:
        self._engine = engine
        self._cold = LazyColdStore(cold)
        self._root = root
        self._marked: bytes | None = None
        self._places: dict[ProjectName, Place] = {}
        system = engine.directory((root, SYSTEM), create=False)
        if system is not None:
            engine.run(lambda transaction: check_format(transaction, system))

    @classmethod
    def open(cls, settings: Settings, *, create: bool = True) -> Ledger:
        """The ledger at the address in the settings, made where it is missing and ``create`` says so.

        Raises:
            SettingsError: the address is no use, or the ledger has another format.
            UnavailableError: the engine does not answer.
        """
        engine = open_engine(settings.require("ledger"), create=create, tls=TLS.of(settings))
        return cls(engine, cold=partial(_open_archive, settings))

    def close(self) -> None:
        """Frees the engine, and the archive where it was needed."""
        self._cold.close()
        self._engine.close()

    def cursor(self, sink: str, stream: StreamIdentity, partition: int) -> Cursor:
        """How far ``sink`` has landed a partition of the stream."""
        key = self._cursor_key(sink, stream, partition)
        return self._engine.run(lambda transaction: read_cursor(transaction, key))

    def land(self, sink: str, batch: Batch, *, whole: bool = False, rebuilding: bool = False) -> Landed:
        """Lands a batch in order, in transactions of whole messages that each move the cursor.

        Args:
            sink: whose cursor moves.
            batch: of one partition.
            whole: land no transaction of which an event is refused; otherwise the rest of it is.
            rebuilding: the batch comes from the archive, and may land while a rebuild keeps all others out.

        Raises:
            CursorMovedError: another worker has landed in this partition meanwhile.
            GateError: it is being rebuilt or moved.
            RefusedError: with ``whole``, events are refused.
            LedgerError: the engine refuses; what was landed before stays, and the cursor says how far.
        """
        total = Landed()
        cursor_key = self._cursor_key(sink, batch.stream, batch.partition)
        gate = b"" if rebuilding else gate_key(self._system())
        for share in batch.split(TRANSACTION_BYTES, TRANSACTION_EVENTS):
            places = {project: self._place(project) for project in share.projects}
            landing = Landing(share, places, cursor_key, gate)
            landed = self._engine.run(partial(_write_whole, landing) if whole else landing.write)
            total.events += landed.events
            total.duplicates += landed.duplicates
            total.refusals += landed.refusals
        return total

    def begin_rebuild(self, found_good: rebuild.Standing | None = None, *, archived_us: int = 0) -> None:
        """Keeps all others from landing until ``end_rebuild``; safe to be called again.

        Args:
            found_good: the ``cursors`` at which what the ledger holds was found to be the archive's beginning.
            archived_us: when the log took the last that the archive has, microseconds since 1970: versions begin there
                at least, whatever this machine's clock says.

        Raises:
            NotEmptyError: the ledger holds events, no rebuild was begun, and it is not there that it was found good.
            SettingsError: the cluster's versions must be raised first.
        """
        rebuild.mark(self._engine, self._system(), found_good or {}, max(now_us(), archived_us))

    def end_rebuild(self) -> None:
        """Lets all land again."""
        rebuild.unmark(self._engine, self._system())

    def cursors(self) -> rebuild.Standing:
        """Where every sink stands that has landed anything."""
        return rebuild.cursors(self._engine, self._system())

    def is_empty(self) -> bool:
        """Whether nobody has landed anything, and no rebuild was begun."""
        return rebuild.is_empty(self._engine, self._system())

    def check_gate(self) -> None:
        """Raises GateError where it is rebuilt or moved, so that nothing lands; writes nothing."""
        system = self._engine.directory((self._root, SYSTEM), create=False)
        if system is not None:
            Gate(self._engine, system).check()

    def is_rebuilding(self) -> bool:
        """Whether a rebuild was begun and is not finished."""
        return rebuild.is_marked(self._engine, self._system())

    def projects(self) -> list[ProjectName]:
        """Every project that has a history."""
        tenants = [name for name in self._engine.list_directories((self._root,)) if name != SYSTEM]
        return [
            ProjectName(tenant, project)
            for tenant in tenants
            for project in self._engine.list_directories((self._root, tenant))
        ]

    def heads(self, projects: Sequence[ProjectName]) -> dict[ProjectName, Version]:
        """Where each project's history ends; those without an event are left out."""
        wanted = [self._place(project).keys.head for project in projects]
        stored = self._engine.run(lambda transaction: transaction.get_many(wanted, snapshot=True))
        found = zip(projects, stored, strict=True)
        return {project: Head.decode(value).version for project, value in found if value is not None}

    def history(self, project: ProjectName) -> History:
        """The history of a project; raises NotFoundError where there is none, DamagedError where its past is no use."""
        return self._history(project, MAX_INCARNATION + 1)

    def own_history(self, project: ProjectName) -> History:
        """A project's own events: of a fork, without what it shares. Raises NotFoundError where there is none."""
        if project not in self._places and self._engine.directory(self._path(project), create=False) is None:
            raise NotFoundError(f"There is no project {project} in the ledger.")
        return History(self._engine, project, self._place(project), self._cold)

    def _history(self, project: ProjectName, before: int) -> History:
        """The history of a project that must be older than incarnation ``before``.

        Whoever writes events by hand could name two projects as each other's past.
        """
        if project not in self._places and self._engine.directory(self._path(project), create=False) is None:
            # Of its own tenant only: a tenant must not learn what others have.
            names = self._engine.list_directories((self._root, project.tenant))
            known = ", ".join(f"{project.tenant}/{name}" for name in names[:10]) or "none yet"
            raise NotFoundError(f"There is no project {project} in the ledger. Projects of the tenant: {known}.")
        place = self._place(project)
        origin = self._origin(place)
        if origin is None:
            return History(self._engine, project, place, self._cold)
        if origin.incarnation >= before:
            raise DamagedError(f"the forks that {project} goes back to do not get older")
        parent = self._history(ProjectName(project.tenant, origin.project_id), origin.incarnation)
        return ForkedHistory(self._engine, project, place, origin, parent)

    def raise_incarnation(self, project: ProjectName) -> int:
        """Has all later events of a project stand behind all that it has, whatever versionstamps they get.

        For a project that has been moved into another cluster. Returns its new incarnation; raises ContractError where
        there is none left.
        """
        key = self._place(project).keys.incarnation

        def work(transaction: Transaction) -> int:
            raised = int.from_bytes(transaction.get(key) or b"\x01", "big") + 1
            if raised > MAX_INCARNATION:
                raise ContractError(
                    f"Project {project} has been moved {MAX_INCARNATION - 1} times: it cannot be again."
                )
            transaction.set(key, raised.to_bytes(1, "big"))
            return raised

        return self._engine.run(work)

    def snapshots(self, project: ProjectName) -> SnapshotStore:
        """Where a project's snapshots are written."""
        return SnapshotStore(self._engine, self._place(project))

    def offload(self, project: ProjectName, rows: Sequence[ArchivedRow], keep: Container[bytes] = ()) -> Offloaded:
        """Replaces the bytes of events, and of contents that they carry, by stubs that say where the archive has them.

        May be done again and at any time, beside whoever reads or lands: every answer stays the same. What does not
        match is never replaced. Interrupted, what was done is done.

        Args:
            project: which has its own events, and not those that it shares as a fork.
            rows: events that the archive was found to have.
            keep: SHA-256 of contents that stay, and with them the events that carry them; see ``standing_contents``.
                Events behind the last snapshot stay as well: what stands now is made of it and them.

        Raises:
            LedgerError, UnavailableError: the engine does not take it.
        """
        # No version that knows of no stubs may read them.
        self._system()
        return Offloading(self._engine, project, self._place(project), keep).run(rows)

    def standing_contents(self, project: ProjectName, since_us: int) -> set[bytes]:
        """SHA-256 of all contents that a tree of the project had at any time since ``since_us``, in microseconds.

        With them those of parts, and of contents that diffs lead on from. Raises NotFoundError for no project.
        """
        return standing_contents(self.history(project), since_us)

    def offloaded_files(self) -> OffloadedFiles:
        """Files of the archive from which ``offload`` was told of everything."""
        return OffloadedFiles(self._engine, self._system())

    def reclaim(self) -> int:
        """Gives free room of the embedded file back to the disk: how many bytes. A cluster does so by itself: 0."""
        return self._engine.reclaim()

    def audit(self, project: ProjectName) -> Audit:
        """What verification reads of a project besides its history; raises NotFoundError where there is none."""
        self.history(project)
        return Audit(self._engine, self._place(project))

    def _origin(self, place: Place) -> Origin | None:
        stored = self._engine.run(lambda transaction: transaction.get(place.keys.origin))
        return None if stored is None else Origin.FromString(stored)

    def _path(self, project: ProjectName) -> tuple[str, str, str]:
        return (self._root, project.tenant, project.project)

    def _place(self, project: ProjectName) -> Place:
        place = self._places.get(project)
        if place is None:
            place = Place(
                ProjectKeys(self._directory(*self._path(project))), self._directory(self._root, project.tenant)
            )
            self._places[project] = place
        return place

    def _directory(self, *path: str) -> bytes:
        prefix = self._engine.directory(path)
        assert prefix is not None
        return prefix

    def _cursor_key(self, sink: str, stream: StreamIdentity, partition: int) -> bytes:
        return keys.cursor(self._system(), sink, str(stream), partition)

    def _system(self) -> bytes:
        """The prefix of what belongs to no project, marked with the format that this version writes."""
        if self._marked is None:
            prefix = self._directory(self._root, SYSTEM)
            self._engine.run(lambda transaction: mark_format(transaction, prefix))
            self._marked = prefix
        return self._marked


def _write_whole(landing: Landing, transaction: Transaction) -> Landed:
    """A transaction's body that lands all; raises RefusedError, so that nothing is committed, where it cannot."""
    landed = landing.write(transaction)
    if landed.refusals:
        raise RefusedError(landed.refusals)
    return landed


def _open_archive(settings: Settings) -> ColdStore:
    # Loaded where it is needed: Parquet and S3 take longer to load than most questions take to answer.
    from nervous_system.archive.reading import open_archive

    return open_archive(settings)
