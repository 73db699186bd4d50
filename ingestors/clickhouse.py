"""The sink for ClickHouse, whose own reader takes the events' protobuf apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from ingestors import rows, schema
from ingestors.sink import Limits
from nervous_system import links
from nervous_system.columns import Located, located
from nervous_system.errors import AccessError, EnchantedError, SettingsError, UnavailableError
from nervous_system.failpoints import failpoint
from nervous_system.landing import Batch, Cursor, LandedMessage, Refusal
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

TABLE = "events"
CURSORS = "swarm_cursors"
REMOVED = "swarm_removed"
# An event whose id was made longer before the log took it may be one that was removed from the table; after a day at
# least, while what comes in time is never asked about.
LATE_AFTER_S = 3600
# A question about every event of a batch.
QUESTION_MAX_BYTES = 16_000_000
AUTHENTICATION_FAILED = "Code: 516"
CERTIFICATE_REFUSED = "CERTIFICATE_VERIFY_FAILED"
CONNECT_WITHIN_S = 10
ANSWER_WITHIN_S = 300
REFUSED = "refused_by_clickhouse"
# ClickHouse's codes for rows that it cannot read or keep (ErrorCodes.cpp). One that is not here stops the partition
# until its cause is gone, which loses nothing; one that is here by mistake would bury what is sound.
DATA_FAULTS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        69,  # ARGUMENT_OUT_OF_BOUND
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        376,  # CANNOT_PARSE_UUID
        407,  # DECIMAL_OVERFLOW
        434,  # UNKNOWN_PROTOBUF_FORMAT
        436,  # PROTOBUF_BAD_CAST
        469,  # VIOLATED_CONSTRAINT
    }
)

_PLACE = "log_stream = {stream:String} AND log_partition = {partition:UInt16}"
_CURSOR = f"""
SELECT max(sequence), toUnixTimestamp64Micro(max(recorded)) FROM (
    SELECT max(log_sequence) AS sequence, max(recorded) AS recorded FROM {TABLE} WHERE {_PLACE}
    UNION ALL SELECT max(sequence), max(recorded) FROM {CURSORS} WHERE {_PLACE})
"""

Named = tuple[ProjectName, str]
"""An event by its project and id."""


class ClickHouseSink:
    """Lands batches in ClickHouse, one block each.

    The highest sequence in the table is the cursor, or what the janitor kept of it before it removed rows. An event
    that it removed and that is sent again is not landed a second time.
    """

    name = "clickhouse"
    may_begin_late = True

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
        return cursor(self._opened(), stream, partition)

    def land(self, batch: Batch) -> Sequence[Refusal]:
        """Inserts the batch as one block; ClickHouse drops it where a retry has landed it already.

        Where ClickHouse refuses the block for its data, the events at fault are returned, and nothing has landed.
        """
        batch = _less(batch, self._removed(batch))
        frames = list(rows.frames(batch))
        if not frames:
            return ()
        try:
            self._insert(TABLE, frames, {"insert_deduplicate": 1, "insert_deduplication_token": _token(batch)})
        except ClickHouseError as error:
            refusals = list(self._refusals(batch, frames)) if _blames_data(error) else []
            if not refusals:
                raise
            return refusals
        failpoint("after-insert")
        return ()

    def check(self) -> None:
        """Raises UnavailableError where ClickHouse does not answer."""
        if not self._opened().ping():
            raise UnavailableError(f"No ClickHouse answers at {self._settings.clickhouse_url}.")

    def close(self) -> None:
        """Disconnects."""
        if self._client is not None:
            self._client.close()

    def _removed(self, batch: Batch) -> set[Named]:
        """The events of the batch that the janitor has removed; asked only of such as come late."""
        late = set(_late(batch))
        # How many rows a table has is known without reading it.
        if not late or not int(str(self._opened().command(f"SELECT count() FROM {REMOVED}"))):
            return set()
        asked = ", ".join(f"('{project.tenant}', '{project.project}', '{event_id}')" for project, event_id in late)
        answer = self._opened().query(
            f"SELECT DISTINCT tenant_id, project_id, toString(event_id) FROM {REMOVED} "
            f"WHERE (tenant_id, project_id, event_id) IN ({asked})",
            settings={"max_query_size": QUESTION_MAX_BYTES, "max_ast_elements": QUESTION_MAX_BYTES},
        )
        return {(ProjectName(tenant, project), event_id) for tenant, project, event_id in answer.result_rows}

    def _insert(self, table: str, frames: Sequence[bytes], settings: dict[str, Any]) -> None:
        self._opened().raw_insert(
            table, self._columns, b"".join(frames), fmt="Protobuf", settings=_insert_settings(len(frames)) | settings
        )

    def _refusals(self, batch: Batch, frames: Sequence[bytes]) -> Iterator[Refusal]:
        """The events that ClickHouse refuses for themselves, found on a table that is like the real one and goes again.

        Not on the real one: whatever lands there moves the cursor past what is refused before it is buried.
        """
        trial = f"{TABLE}_trial_{batch.partition}"
        client = self._opened()
        # One that a worker left that was killed may be of an older form.
        client.command(f"DROP TABLE IF EXISTS {trial}")
        client.command(f"CREATE TABLE {trial} AS {TABLE}")
        framed = list(zip(located(batch.messages), frames, strict=True))
        try:
            for (message, landed), fault in culprits(framed, partial(self._fault, trial)):
                reason = f"Event {landed.event.event_id}: ClickHouse refuses it: {fault}"
                yield Refusal(REFUSED, reason, landed.data, message.sequence, landed.index)
        finally:
            client.command(f"DROP TABLE IF EXISTS {trial}")

    def _fault(self, trial: str, framed: Sequence[tuple[Located, bytes]]) -> str:
        """Why ClickHouse refuses these rows; empty where it takes them."""
        try:
            self._insert(trial, [frame for _, frame in framed], {"insert_deduplicate": 0})
        except ClickHouseError as error:
            if not _blames_data(error):
                raise
            return str(error)
        return ""

    def _opened(self) -> Client:
        assert self._client is not None, "open() comes first"
        return self._client


def cursor(client: Client, stream: StreamIdentity, partition: int) -> Cursor:
    """How far ClickHouse has landed a partition of the stream."""
    answer = client.query(_CURSOR, parameters={"stream": str(stream), "partition": partition})
    sequence, recorded_us = answer.result_rows[0]
    return Cursor(int(sequence), int(recorded_us))


def connect(settings: Settings, *, timeout_s: int = ANSWER_WITHIN_S) -> Client:
    """A client for the ClickHouse in the settings, safe to be used from several threads.

    Args:
        settings: give the address and the user.
        timeout_s: how long an answer may take.

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
            connect_timeout=min(timeout_s, CONNECT_WITHIN_S),
            send_receive_timeout=timeout_s,
            **links.clickhouse_options(settings),
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
    if CERTIFICATE_REFUSED in str(error):
        return AccessError(
            f"ClickHouse at {url} has a certificate that is not trusted: set ENCHANTED_CLICKHOUSE_TLS_CA_FILE to the "
            "PEM file of the authority that signed it."
        )
    return UnavailableError(
        f"The stack is not running: no ClickHouse answers at {url}. Start the embedded stack with `enchanted up`, "
        "or set ENCHANTED_CLICKHOUSE_URL."
    )


def culprits(
    framed: Sequence[tuple[Located, bytes]], fault: Callable[[Sequence[tuple[Located, bytes]]], str]
) -> Iterator[tuple[Located, str]]:
    """Halves rows until each that is at fault is alone; gives it with its fault.

    Args:
        framed: rows, each with its frame.
        fault: what is wrong with rows that are tried together; empty where nothing is.
    """
    found = fault(framed) if framed else ""
    if not found:
        return
    if len(framed) == 1:
        yield framed[0][0], found
        return
    middle = len(framed) // 2
    yield from culprits(framed[:middle], fault)
    yield from culprits(framed[middle:], fault)


def _late(batch: Batch) -> Iterator[Named]:
    """Events whose id was not made in the hour before the log took them."""
    for message in batch.messages:
        if message.project is None:
            continue
        # Ids begin with their time: as text they sort as the times do.
        first, last = _made(message.recorded_us - LATE_AFTER_S * 1_000_000), _made(message.recorded_us + 1_000)
        ids = [landed.event.event_id for landed in message.events]
        if ids and not (first <= min(ids) and max(ids) < last):
            yield from ((message.project, each) for each in ids if not first <= each < last)


def _made(moment_us: int) -> str:
    """How the id of an event begins that is made at a moment."""
    digits = f"{max(moment_us, 0) // 1_000:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _less(batch: Batch, gone: set[Named]) -> Batch:
    """The batch without some of its events."""
    if not gone:
        return batch

    def sifted(message: LandedMessage) -> LandedMessage:
        kept = (event for event in message.events if (message.project, event.event.event_id) not in gone)
        return replace(message, events=tuple(kept))

    return replace(batch, messages=tuple(map(sifted, batch.messages)))


def _blames_data(error: ClickHouseError) -> bool:
    """Whether ClickHouse says that the rows are at fault; whatever else it says is tried again."""
    return isinstance(error, DatabaseError) and error.code in DATA_FAULTS


def _insert_settings(count: int) -> dict[str, Any]:
    return {
        "format_schema_source": "string",
        "format_schema": rows.schema(),
        "format_schema_message_name": rows.ROW_MESSAGE,
        "async_insert": 0,
        # The view takes an id once whatever parts hold: sorting out a block's own doubles while it is written costs
        # a quarter of the insert, and finds none.
        "optimize_on_insert": 0,
        # One stream of protobuf is read by one thread: more of them wait for it, at a tenth of the insert's cost.
        "max_threads": 1,
        # One block, so that a batch is landed whole or not at all.
        "max_insert_block_size": count,
        "min_insert_block_size_rows": count,
        "min_insert_block_size_bytes": 0,
    }


def _token(batch: Batch) -> str:
    ids = "".join([landed.event.event_id for message in batch.messages for landed in message.events])
    first, last = batch.messages[0].sequence, batch.messages[-1].sequence
    return f"{batch.stream}/{batch.partition}/{first}-{last}/{hashlib.sha256(ids.encode()).hexdigest()}"
