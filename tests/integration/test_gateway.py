"""clickhouse-connect's real client against the running gateway: what it asks of a server, it gets."""

from __future__ import annotations

import asyncio
import gzip
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import clickhouse_connect
import lz4.frame  # type: ignore[import-untyped]
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from nervous_system.generated.enchanted.events.v1 import events_pb2
from tests.integration.gateway_process import PASSWORD, USER, GatewayProcess, running_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path_factory.mktemp("gateway") / "data") as process:
        yield process


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[Any]:
    with gateway.client() as opened:
        yield opened


@pytest.fixture
def table(client: Any) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex}"
    client.command(f"CREATE TABLE {name} (a Int64, s String) ENGINE = MergeTree ORDER BY a")
    yield name
    client.command(f"DROP TABLE {name}")


TYPES = [
    ("toInt8(-7)", -7),
    ("toUInt64(18446744073709551615)", 2**64 - 1),
    ("toInt256('-170141183460469231731687303715884105728')", -(2**127)),
    ("toDecimal64('12.345', 3)", Decimal("12.345")),
    ("toDate('2024-02-29')", date(2024, 2, 29)),
    (
        "toDateTime64('2024-02-29 12:00:00.123456', 6, 'Europe/Berlin')",
        datetime(2024, 2, 29, 12, 0, 0, 123456, ZoneInfo("Europe/Berlin")),
    ),
    ("[toDateTime('2024-02-29 12:00:00', 'UTC')]", [datetime(2024, 2, 29, 12, tzinfo=UTC).replace(tzinfo=None)]),
    ("[1, NULL, 3]::Array(Nullable(Int32))", [1, None, 3]),
    ("NULL::Nullable(String)", None),
    ("'red'::LowCardinality(String)", "red"),
    ("map('a', 1, 'b', 2)", {"a": 1, "b": 2}),
    ("(1, 'x')", (1, "x")),
    ("toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')", uuid.UUID("61f0c404-5cb3-11e7-907b-a6006ad3dba0")),
    ("""'{"a": {"b": 5}}'::JSON""", {"a": {"b": 5}}),
    ("'snow ☃ and \\'quotes\\''", "snow ☃ and 'quotes'"),
]


@pytest.mark.parametrize(("expression", "value"), TYPES)
def test_types_arrive_as_they_are(client: Any, expression: str, value: object) -> None:
    assert client.query(f"SELECT {expression} AS v").first_row[0] == value


def test_a_select_in_numpy_pandas_and_arrow(client: Any) -> None:
    query = "SELECT number AS n, toString(number) AS s FROM numbers(1000)"
    assert client.query_np(query)["n"].sum() == 499_500
    assert client.query_df(query)["n"].sum() == 499_500
    assert client.query_arrow(query).column("n").to_pylist() == list(range(1000))


def test_an_empty_answer(client: Any) -> None:
    assert client.query("SELECT number AS n FROM numbers(0)").result_rows == []
    assert client.query("SELECT number AS n FROM numbers(5) LIMIT 0").column_names == ("n",)
    assert client.raw_query("SELECT 1 AS n WHERE 0", fmt="CSVWithNames") == b'"n"\n'


def test_streams(client: Any) -> None:
    query = "SELECT number FROM numbers(500000)"
    with client.query_column_block_stream(query) as blocks:
        assert sum(len(block[0]) for block in blocks) == 500_000
    with client.query_row_block_stream(query) as blocks:
        assert sum(len(block) for block in blocks) == 500_000
    with client.raw_stream(query, fmt="CSV") as stream:
        assert sum(chunk.count(b"\n") for chunk in stream) == 500_000


def test_insert_of_rows_and_columns(client: Any, table: str) -> None:
    summary = client.insert(table, [[1, "one"], [2, "two"]], column_names=["a", "s"])
    assert summary.written_rows == 2
    client.insert(table, [[3, 4], ["three", "four"]], column_names=["a", "s"], column_oriented=True)
    client.insert_df(table, pd.DataFrame({"a": [5], "s": ["five"]}))
    client.insert_arrow(table, pa.table({"a": pa.array([6], pa.int64()), "s": ["six"]}))
    words = client.query(f"SELECT s FROM {table} ORDER BY a").result_columns[0]
    assert words == ["one", "two", "three", "four", "five", "six"]


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": pa.array([7], pa.int64()), "s": ["x;y"]}), sink)
    return bytes(sink.getvalue())


RAW = [
    ("JSONEachRow", b'{"a": 7, "s": "x;y"}\n'),
    ("CSV", b'7,"x;y"\n'),
    ("TabSeparated", b"7\tx;y\n"),
    ("Values", b"(7, 'x;y')"),
    ("RowBinary", (7).to_bytes(8, "little") + b"\x03x;y"),
    ("Parquet", parquet()),
]


PACK: dict[str | None, Any] = {None: bytes, "gzip": gzip.compress, "zstd": zstd.compress, "lz4": lz4.frame.compress}


@pytest.mark.parametrize(("format_name", "data"), RAW, ids=[name for name, _ in RAW])
@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "lz4"])
def test_raw_insert(client: Any, table: str, format_name: str, data: bytes, compression: str | None) -> None:
    block = PACK[compression](data)
    client.raw_insert(table, ["a", "s"], block, fmt=format_name, compression=compression)
    assert client.query(f"SELECT a, s FROM {table}").result_rows == [(7, "x;y")]


def test_protobuf_by_a_schema_in_the_settings(client: Any) -> None:
    name = f"p_{uuid.uuid4().hex}"
    client.command(f"CREATE TABLE {name} (event_id String, agent_id String) ENGINE = MergeTree ORDER BY event_id")
    events = [events_pb2.SwarmEvent(event_id=f"e{number}", agent_id="ann") for number in range(3)]
    batch = b"".join(len(event.SerializeToString()).to_bytes(1, "big") + event.SerializeToString() for event in events)
    schema = 'syntax = "proto3"; message Event { string event_id = 1; string agent_id = 6; }'
    settings = {"format_schema_source": "string", "format_schema": schema, "format_schema_message_name": "Event"}
    client.raw_insert(name, None, batch, fmt="Protobuf", settings={**settings, "async_insert": 0})
    assert client.query(f"SELECT event_id FROM {name} ORDER BY event_id").result_columns == [["e0", "e1", "e2"]]


def test_a_deduplication_token_reaches_the_engine(client: Any) -> None:
    name = f"d_{uuid.uuid4().hex}"
    window = "non_replicated_deduplication_window = 100"
    client.command(f"CREATE TABLE {name} (a Int64) ENGINE = MergeTree ORDER BY a SETTINGS {window}")
    settings = {"insert_deduplication_token": "once", "async_insert": 0, "insert_deduplicate": 1}
    for _ in range(2):
        client.insert(name, [[1]], column_names=["a"], settings=settings)
    client.insert(name, [[1]], column_names=["a"], settings={**settings, "insert_deduplication_token": "twice"})
    assert client.command(f"SELECT count() FROM {name}") == 2


def test_an_insert_that_fails_leaves_nothing(client: Any, table: str) -> None:
    lines = "".join(f"{number},x\n" for number in range(300_000))
    with pytest.raises(DatabaseError, match="code: 27"):
        client.raw_insert(table, ["a", "s"], lines + "bad,x\n", fmt="CSV")
    assert client.command(f"SELECT count() FROM {table}") == 0


def test_settings_in_the_text_of_an_insert(client: Any, table: str) -> None:
    client.command(f"INSERT INTO {table} (a, s) SETTINGS async_insert = 0, max_threads = 1 VALUES (1, 'settings')")
    client.command(f"INSERT INTO {table} FORMAT CSV")
    assert client.query(f"SELECT a, s FROM {table}").result_rows == [(1, "settings")]


def test_a_part_that_cannot_be_written_is_not_acknowledged(client: Any, table: str) -> None:
    client.command(f"ALTER TABLE {table} MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1000")
    client.insert(table, [[1, "x"]], column_names=["a", "s"])
    with pytest.raises(DatabaseError, match="TOO_MANY_PARTS"):
        client.insert(table, [[2, "x"]], column_names=["a", "s"])
    assert client.command(f"SELECT count() FROM {table}") == 1


def test_insert_select_and_inline_values(client: Any, table: str) -> None:
    client.command(f"INSERT INTO {table} SELECT number, 'n' FROM numbers(10)")
    client.command(f"INSERT INTO {table} VALUES (11, 'a;b'), (12, 'FORMAT JSON')")
    assert client.command(f"SELECT count() FROM {table}") == 12


def test_parameters_are_bound_by_the_server(client: Any, table: str) -> None:
    text = 'it\'s\ta \\ "test" ☃ {x:Int32}; -- \n end'
    query = "SELECT {x:Int32} + 1, {s:String}, {list:Array(String)}, {when:DateTime64(3)}"
    when = datetime(2024, 2, 29, 12, 0, 0, 5000, UTC)
    values = {"x": 41, "s": text, "list": ["a'b", "c"], "when": when}
    row = client.query(query, parameters=values).first_row
    assert (row[0], row[1], row[2], row[3].replace(tzinfo=UTC)) == (42, text, ["a'b", "c"], when)
    client.command("INSERT INTO {t:Identifier} SELECT 1, {s:String}", parameters={"t": table, "s": text})
    assert client.command(f"SELECT s = {{s:String}} FROM {table}", parameters={"s": text}) == 1


def test_settings_hold_for_one_query(client: Any) -> None:
    query = "SELECT getSetting('max_block_size')"
    before = client.command(query)
    assert client.command(query, settings={"max_block_size": 1234}) == 1234
    assert client.command(query) == before


def test_a_session_keeps_what_was_set_and_no_more(gateway: GatewayProcess) -> None:
    with gateway.client(session_id="s1") as one, gateway.client(session_id="s2") as two:
        one.command("SET max_block_size = 777")
        one.command("CREATE TEMPORARY TABLE mine (a Int32)")
        one.command("INSERT INTO mine VALUES (5)")
        assert one.command("SELECT a + getSetting('max_block_size') FROM mine", settings={"max_threads": 1}) == 782
        assert one.command("SELECT changed FROM system.settings WHERE name = 'max_threads'") == 0
        assert two.command("SELECT getSetting('max_block_size')") != 777
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            two.command("SELECT * FROM mine")


ERRORS = [
    ("SELECT nope", 47, "UNKNOWN_IDENTIFIER"),
    ("SELECT * FROM no_such_table", 60, "UNKNOWN_TABLE"),
    ("SELEC 1", 62, "SYNTAX_ERROR"),
    ("SELECT 1; SELECT 2", 62, "Multi-statements are not allowed"),
    ("SELECT 1 SETTINGS no_such_setting = 1", 115, "UNKNOWN_SETTING"),
    ("SELECT * FROM file('/etc/hostname', 'LineAsString')", 497, "ACCESS_DENIED"),
    ("SELECT 1 INTO OUTFILE '/tmp/never'", 497, "ACCESS_DENIED"),
    ("INSERT INTO t FROM INFILE '/etc/hostname' FORMAT CSV", 497, "ACCESS_DENIED"),
    ("CREATE TABLE f (a Int32) ENGINE = File(CSV, '/tmp/never')", 497, "ACCESS_DENIED"),
]


@pytest.mark.parametrize(("query", "code", "words"), ERRORS)
def test_errors_carry_clickhouse_codes(client: Any, query: str, code: int, words: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.command(query)
    assert f"code: {code}" in str(caught.value)
    assert words in str(caught.value)


def test_a_failure_in_mid_stream_reaches_the_client(client: Any) -> None:
    query = "SELECT throwIf(number = 3000000) FROM numbers(5000000)"
    with pytest.raises(StreamFailureError, match="throwIf"), client.query_row_block_stream(query) as blocks:
        for _ in blocks:
            pass
    assert client.command("SELECT 1") == 1


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_compression(gateway: GatewayProcess, table: str, compress: str | bool) -> None:
    with gateway.client(compress=compress) as client:
        rows = [[number, "text" * 10] for number in range(20_000)]
        client.insert(table, rows, column_names=["a", "s"])
        assert client.query(f"SELECT a, s FROM {table} ORDER BY a").result_rows == [tuple(row) for row in rows]


def test_a_wrong_password_is_refused_as_a_server_does(gateway: GatewayProcess) -> None:
    with pytest.raises(DatabaseError, match=r"code: 516.*default: Authentication failed"):
        gateway.client(password="wrong")


def test_external_data(client: Any) -> None:
    data = ExternalData(file_name="ids.csv", data=b"1,a\n2,b\n", fmt="CSV", structure="id UInt32, name String")
    assert client.query("SELECT sum(id), max(name) FROM ids", external_data=data).first_row == (3, "b")


def test_form_encoded_parameters(gateway: GatewayProcess) -> None:
    with gateway.client(form_encode_query_params=True) as client:
        long = "x" * 100_000
        assert client.query("SELECT length({s:String})", parameters={"s": long}).first_row[0] == 100_000


def test_the_query_id_comes_back(client: Any) -> None:
    assert client.query("SELECT 1", settings={"query_id": "my-id"}).query_id == "my-id"


def test_ping(client: Any) -> None:
    assert client.ping()


def test_readers_beside_a_writer(gateway: GatewayProcess, table: str) -> None:
    failures: list[BaseException] = []
    written = threading.Event()

    def write() -> None:
        try:
            with gateway.client() as client:
                for block in range(10):
                    rows = [[block * 1000 + number, "x"] for number in range(1000)]
                    client.insert(table, rows, column_names=["a", "s"])
        except BaseException as error:
            failures.append(error)
        finally:
            written.set()

    def read_until_written() -> None:
        try:
            with gateway.client() as client:
                while not written.is_set():
                    assert client.command(f"SELECT count() FROM {table}") % 1000 == 0
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write), *(threading.Thread(target=read_until_written) for _ in range(3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with gateway.client() as client:
        assert client.command(f"SELECT count() FROM {table}") == 10_000


def test_the_async_client(gateway: GatewayProcess) -> None:
    async def ask() -> list[object]:
        client = await clickhouse_connect.get_async_client(
            host="127.0.0.1", port=gateway.port, username=USER, password=PASSWORD, autogenerate_session_id=False
        )
        try:
            return list(await asyncio.gather(*(client.command(f"SELECT {number}") for number in range(8))))
        finally:
            await client.close()

    assert asyncio.run(ask()) == list(range(8))


def test_a_slow_query_holds_up_no_other(gateway: GatewayProcess) -> None:
    done = threading.Event()

    def sleep() -> None:
        with gateway.client() as client:
            client.command("SELECT sleep(3)")
        done.set()

    with gateway.client() as client:
        thread = threading.Thread(target=sleep)
        thread.start()
        query = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(3)%'"
        while client.command(query) == 0 and not done.is_set():
            pass
        assert client.command("SELECT 1") == 1
        assert not done.is_set()
        thread.join()


def test_data_stays_in_its_folder(gateway: GatewayProcess, table: str, client: Any) -> None:
    client.insert(table, [[1, "x"]], column_names=["a", "s"])
    paths = client.query(f"SELECT path FROM system.parts WHERE table = '{table}'").result_columns[0]
    assert all(Path(path).is_relative_to(gateway.data.resolve()) for path in paths)
