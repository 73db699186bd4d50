"""``rebuild``: events a second of a store filled from the archive, and of verifying all three stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from infrastructure.local.stack import running_stack
from ingestors import clickhouse
from ingestors.archived import ProjectRows
from ingestors.clickhouse import ClickHouseSink
from ingestors.compared import ClickHouseHoldings, LedgerHoldings
from ingestors.comparing import Comparison
from ingestors.filling import RebuiltClickHouse, RebuiltLedger
from ingestors.ledger import LedgerSink
from ingestors.rebuilding import Rebuild, Store
from ingestors.sink import Sink
from ingestors.siphon import SiphonSink
from nervous_system.archive.audit import audit
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.reading import ArchiveReader, open_archive
from nervous_system.landing import Batch
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.benchmarks.material import batches, events, log_messages
from tests.benchmarks.report import Contender, compare
from tests.integration.hubs import OLD, OwnHub, new_hub
from tests.integration.stores import in_clickhouse, in_ledger

EVENTS = 60_000
PROJECTS = 4
MESSAGE_EVENTS = 100
BATCH_MESSAGES = 50
ROUNDS = 3


def run(folder: Path) -> None:
    """Fills an archive of several projects, each in a partition of its own; then rebuilds and verifies from it."""
    projects = [ProjectName("bench", f"p{number}") for number in range(PROJECTS)]
    share = EVENTS // PROJECTS
    with running_stack(folder / "home", ["nats", "clickhouse", "s3"]) as settings:
        hub = new_hub(settings, folder)
        ready = [
            list(_batches(project, number, events(share, project, seed=number)))
            for number, project in enumerate(projects)
        ]
        _land(SiphonSink(hub.settings), ready)
        _rebuilding(hub, ready, folder, settings)
        for sink in (LedgerSink(hub.settings), ClickHouseSink(hub.settings)):
            _land(sink, ready)
        _verifying(hub, projects)


def _batches(project: ProjectName, partition: int, data: Sequence[bytes]) -> list[Batch]:
    made = batches(log_messages(data, MESSAGE_EVENTS, project), BATCH_MESSAGES, OLD)
    return [Batch(each.stream, partition, each.after, each.messages) for each in made]


def _land(sink: Sink, ready: Sequence[Sequence[Batch]]) -> None:
    sink.open()
    for batch in itertools.chain.from_iterable(ready):
        # What the sink takes at once is its own affair.
        for part in batch.split(sink.limits.max_bytes, sink.limits.max_events):
            sink.land(part)
    sink.close()


def _rebuilding(hub: OwnHub, ready: Sequence[Sequence[Batch]], folder: Path, servers: Settings) -> None:
    def rebuilt(store: Callable[[Settings], Store]) -> Callable[[], None]:
        target = store(new_hub(servers, folder).settings)
        return lambda: _rebuild(hub.settings, target)

    def landed(sink: Callable[[Settings], Sink]) -> Callable[[], None]:
        target = sink(new_hub(servers, folder).settings)
        target.open()
        return lambda: _land(target, ready)

    kinds: list[tuple[str, Callable[[Settings], Store], Callable[[Settings], Sink]]] = [
        ("the ledger", RebuiltLedger, LedgerSink),
        ("ClickHouse", RebuiltClickHouse, ClickHouseSink),
    ]
    for name, store, sink in kinds:
        compare(
            f"rebuild: {name} from the archive, {EVENTS:,} events of {PROJECTS} projects and partitions",
            "events",
            [Contender("rebuild --from-archive", EVENTS, partial(rebuilt, store))],
            Contender("the sink alone, batches ready, one partition after another", EVENTS, partial(landed, sink)),
            rounds=ROUNDS,
        )


def _rebuild(settings: Settings, target: Store) -> None:
    reader: ArchiveReader = open_archive(settings)
    store = ObjectStore(settings)
    state = ArchiveLog(store).state()
    Rebuild(target, state, partial(reader.messages, state)).run()
    reader.close()
    store.close()
    target.sink.close()


def _verifying(hub: OwnHub, projects: Sequence[ProjectName]) -> None:
    compare(
        f"verify: {EVENTS:,} events, each in three stores",
        "events",
        [
            Contender(
                "verify --archive: objects, chains, agreement",
                EVENTS,
                lambda: partial(_verify, hub.settings, with_audit=True),
            ),
            Contender("the agreement alone", EVENTS, lambda: partial(_verify, hub.settings, with_audit=False)),
        ],
        Contender(
            "ledger and ClickHouse read as lists and compared, the archive left out",
            EVENTS,
            lambda: partial(_lists, hub.settings, projects),
        ),
        rounds=ROUNDS,
    )


def _verify(settings: Settings, *, with_audit: bool) -> None:
    store = ObjectStore(settings)
    log = ArchiveLog(store)
    assert not with_audit or audit(log, store).good
    state = log.state()
    ledger, client = Ledger.open(settings), clickhouse.connect(settings)
    comparison = Comparison(
        state.heads,
        ProjectRows(store, state).of,
        ledger=LedgerHoldings(ledger, state, PROJECTS),
        clickhouse=ClickHouseHoldings(client, state),
    )
    assert list(comparison.differences()) == []
    assert comparison.events == EVENTS
    ledger.close()
    client.close()
    store.close()


def _lists(settings: Settings, projects: Sequence[ProjectName]) -> None:
    for project in projects:
        assert in_ledger(settings, project) == in_clickhouse(settings, project)
