"""A hub of its own on servers that tests share: a bucket, a database, a ledger; and what lands in them directly."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from click.testing import CliRunner

from infrastructure.cli.main import cli
from ingestors import clickhouse
from ingestors.clickhouse import ClickHouseSink
from ingestors.ledger import LedgerSink
from ingestors.sink import Sink
from ingestors.siphon import SiphonSink
from nervous_system.errors import EnchantedError
from nervous_system.landing import Batch, LandedMessage
from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from tests.integration.command import Enchanted
from tests.samples import BEGAN_US

BATCH_MESSAGES = 16
OLD = StreamIdentity("SWARM", BEGAN_US)
NEW = StreamIdentity("SWARM", BEGAN_US + 3_600_000_000)


@dataclass(frozen=True, slots=True)
class OwnHub:
    """Its settings, and the command on it."""

    settings: Settings
    enchanted: Enchanted

    def land(self, stream: StreamIdentity, partition: int, messages: Sequence[LandedMessage], *only: str) -> None:
        """Lands messages of a partition in every store, or in those named, behind what is there."""
        for sink in (LedgerSink(self.settings), ClickHouseSink(self.settings), SiphonSink(self.settings)):
            if not only or sink.name in only:
                land(sink, stream, partition, messages)

    def emptied(self, store: str) -> OwnHub:
        """The same hub with an empty store in the place of one that was destroyed."""
        name = f"hub{uuid.uuid4().hex[:12]}"
        if store == "ledger":
            return own_hub(replace(self.settings, ledger=f"{self.settings.ledger}.{name}"))
        make_database(self.settings, name)
        return own_hub(replace(self.settings, clickhouse_database=name))

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """The command in this process: its exit code and what it said."""
        environment = {"ENCHANTED_HOME": str(self.settings.home), **self.enchanted.variables, **variables}
        done = CliRunner(env=environment).invoke(cli, list(arguments))
        if isinstance(done.exception, EnchantedError):
            return done.exception.exit_code, str(done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Its ledger."""
        opened = Ledger.open(self.settings)
        try:
            yield opened
        finally:
            opened.close()


def own_hub(settings: Settings) -> OwnHub:
    """The hub that the settings name."""
    variables = {
        "ENCHANTED_S3_BUCKET": settings.s3_bucket,
        "ENCHANTED_CLICKHOUSE_DATABASE": settings.clickhouse_database,
        "ENCHANTED_LEDGER": settings.ledger,
        "ENCHANTED_SIPHON_ROLL_AGE_S": "0.5",
    }
    return OwnHub(settings, Enchanted(settings.home, variables))


def new_hub(servers: Settings, folder: Path) -> OwnHub:
    """An empty one."""
    name = f"hub{uuid.uuid4().hex[:12]}"
    make_database(servers, name)
    ledger = f"embedded://{folder}/{name}.sqlite"
    return own_hub(replace(servers, s3_bucket=name, clickhouse_database=name, ledger=ledger))


def make_database(settings: Settings, name: str) -> None:
    client = clickhouse.connect(replace(settings, clickhouse_database="default"))
    client.command(f"CREATE DATABASE {name}")
    client.close()


def land(sink: Sink, stream: StreamIdentity, partition: int, messages: Iterable[LandedMessage]) -> None:
    """Lands messages as the pump does, a few a batch: what a sink refuses is left out."""
    sink.open()
    try:
        after = sink.cursor(stream, partition).sequence
        remaining = iter(messages)
        while several := tuple(itertools.islice(remaining, BATCH_MESSAGES)):
            batch = Batch(stream, partition, after, several)
            while refusals := sink.land(batch):
                batch = batch.without(refusals)
            after = batch.cursor.sequence
    finally:
        sink.close()
