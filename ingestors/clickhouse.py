"""The sink for ClickHouse, whose own reader takes the events' protobuf apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from ingestors import rows, schema
from ingestors.sink import Limits
from nervous_system.errors import AccessError, EnchantedError, SettingsError, UnavailableError
from nervous_system.landing import Batch, Cursor, Refusal
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

TABLE = "events"
AUTHENTICATION_FAILED = "Code: 516"

_CURSOR = f"""
SELECT max(log_sequence), toUnixTimestamp64Micro(max(recorded)) FROM {TABLE}
WHERE log_stream = {{stream:String}} AND log_partition = {{partition:UInt16}}
"""


class ClickHouseSink:
    """Lands batches in ClickHouse, one block each; the highest sequence in the table is the cursor."""

    name = "clickhouse"

    def __init__(self, settings: Settings) -> None:
        self.limits = Limits(settings.batch_max_events, settings.batch_max_bytes, settings.batch_max_age_s)
        self._settings = settings
        self._client: Client | None = None
        self._columns: list[str] = []

    def open(self) -> None:
        """Connects and brings the tables up to date; raises AccessError or UnavailableError."""
        self._client = connect(self._settings)
        schema.migrate(self._client)
        described = self._client.query(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
            "AND default_kind IN ('', 'EPHEMERAL') ORDER BY position",
            parameters={"table": TABLE},
        )
        self._columns = [row[0] for row in described.result_rows]

    def cursor(self, stream: StreamIdentity, partition: int) -> Cursor:
        """How far ClickHouse has landed a partition of the stream."""
        answer = self._opened().query(_CURSOR, parameters={"stream": str(stream), "partition": partition})
        sequence, recorded_us = answer.result_rows[0]
        return Cursor(int(sequence), int(recorded_us))

    def land(self, batch: Batch) -> Sequence[Refusal]:
        """Inserts the batch as one block; ClickHouse drops it where a retry has landed it already."""
        frames = list(rows.frames(batch))
        if frames:
            self._opened().raw_insert(
                TABLE,
                self._columns,
                b"".join(frames),
                fmt="Protobuf",
                settings=_insert_settings(batch, len(frames)),
            )
        return ()

    def close(self) -> None:
        """Disconnects."""
        if self._client is not None:
            self._client.close()

    def _opened(self) -> Client:
        assert self._client is not None, "open() comes first"
        return self._client


def connect(settings: Settings) -> Client:
    """A client for the ClickHouse in the settings, safe to be used from several threads.

    Raises:
        SettingsError: no address is set.
        AccessError: the user or password is refused.
        UnavailableError: no ClickHouse answers.
    """
    url = settings.require("clickhouse_url")
    if not url.startswith(("http://", "https://")):
        # The client would take anything else for a database on this machine, and send the password there.
        raise SettingsError(f"ENCHANTED_CLICKHOUSE_URL={url} is not an address: write http://host:8123, or https://….")
    try:
        return clickhouse_connect.get_client(
            dsn=url,
            username=settings.clickhouse_user,
            password=settings.clickhouse_password,
            database=settings.clickhouse_database,
            # A client with a session would refuse to be used from two threads at once.
            autogenerate_session_id=False,
        )
    except ClickHouseError as error:
        raise failure(url, error) from error


def failure(url: str, error: ClickHouseError) -> EnchantedError:
    """What a person should read of a failure to reach ClickHouse."""
    if AUTHENTICATION_FAILED in str(error) or "AUTHENTICATION_FAILED" in str(error):
        return AccessError(
            f"ClickHouse at {url} refuses the user or password: set ENCHANTED_CLICKHOUSE_USER and "
            "ENCHANTED_CLICKHOUSE_PASSWORD."
        )
    return UnavailableError(
        f"The stack is not running: no ClickHouse answers at {url}. Start the embedded stack with `enchanted up`, "
        "or set ENCHANTED_CLICKHOUSE_URL."
    )


def _insert_settings(batch: Batch, count: int) -> dict[str, Any]:
    return {
        "format_schema_source": "string",
        "format_schema": rows.schema(),
        "format_schema_message_name": rows.ROW_MESSAGE,
        "async_insert": 0,
        "insert_deduplicate": 1,
        "insert_deduplication_token": _token(batch),
        # One block, so that a batch is landed whole or not at all.
        "max_insert_block_size": max(count, 1),
        "min_insert_block_size_rows": max(count, 1),
        "min_insert_block_size_bytes": 0,
    }


def _token(batch: Batch) -> str:
    ids = hashlib.sha256()
    for message in batch.messages:
        for landed in message.events:
            ids.update(landed.event.event_id.encode())
    first, last = batch.messages[0].sequence, batch.messages[-1].sequence
    return f"{batch.stream}/{batch.partition}/{first}-{last}/{ids.hexdigest()}"
