"""The gateway as curl and a bare socket see it: methods, headers, encodings, statuses, cut connections."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.gateway_process import PASSWORD, USER, GatewayProcess, running_gateway

_WAIT_S = 30.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path_factory.mktemp("gateway") / "data") as process:
        yield process


def curl(gateway: GatewayProcess, *options: str, path: str = "/", stdin: bytes = b"") -> tuple[int, bytes]:
    """The status and the body of curl's answer, credentials given."""
    command = ["curl", "-sS", "--max-time", "30", "-u", f"{USER}:{PASSWORD}", "-w", "\n%{http_code}", *options]
    done = subprocess.run([*command, gateway.url + path], input=stdin, capture_output=True, check=False)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


def headers(gateway: GatewayProcess, *options: str, path: str = "/") -> dict[str, str]:
    _, answer = curl(gateway, "-D", "-", "-o", "/dev/null", *options, path=path)
    lines = (line.partition(":") for line in answer.decode().splitlines())
    return {name.lower(): value.strip() for name, _, value in lines if value}


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "what should have come about did not"
        time.sleep(0.05)


def test_ping_needs_no_password(gateway: GatewayProcess) -> None:
    done = subprocess.run(["curl", "-sS", f"{gateway.url}/ping"], capture_output=True, check=True)
    assert done.stdout == b"Ok.\n"


def test_get_and_post(gateway: GatewayProcess) -> None:
    assert curl(gateway, path="/?query=SELECT+1") == (200, b"1\n")
    assert curl(gateway, "--data-binary", "SELECT 2") == (200, b"2\n")
    assert curl(gateway, "--data-binary", "@-", path="/?query=SELECT", stdin=b"3 FORMAT CSV") == (200, b"3\n")


def test_get_only_reads(gateway: GatewayProcess) -> None:
    status, body = curl(gateway, path="/?query=" + quote("CREATE TABLE never (a Int32) ENGINE = Memory"))
    assert (status, body[:9]) == (500, b"Code: 164")


def test_a_session_over_get_stays_usable(gateway: GatewayProcess) -> None:
    session = "/?session_id=got&database=system"
    assert curl(gateway, path=f"{session}&query=" + quote("SET max_block_size = 321"))[0] == 200
    assert curl(gateway, path=f"{session}&query=" + quote("SELECT getSetting('max_block_size')")) == (200, b"321\n")
    status, body = curl(gateway, path=f"{session}&query=" + quote("CREATE TABLE never (a Int32) ENGINE = Memory"))
    assert (status, body[:9]) == (500, b"Code: 164")
    assert curl(gateway, "-d", "/* x */ USE system", path="/?session_id=got") == (200, b"")
    assert curl(gateway, "-d", "CREATE TEMPORARY TABLE made (a Int32)", path="/?session_id=got") == (200, b"")
    assert curl(gateway, "-d", "INSERT INTO made VALUES (3)", path="/?session_id=got") == (200, b"")
    asked = "SELECT currentDatabase(), a FROM made"
    assert curl(gateway, "-d", asked, path="/?session_id=got") == (200, b"system\t3\n")


def test_a_session_that_must_exist(gateway: GatewayProcess) -> None:
    assert b"Code: 372." in curl(gateway, "-d", "SELECT 1", path="/?session_id=none&session_check=1")[1]


def test_the_format_of_header_parameter_and_query(gateway: GatewayProcess) -> None:
    status, body = curl(gateway, "-H", "X-ClickHouse-Format: JSON", "-d", "SELECT 1 AS a")
    assert (status, json.loads(body)["data"]) == (200, [{"a": 1}])
    assert curl(gateway, "-d", "SELECT 1 AS a", path="/?default_format=JSONEachRow")[1] == b'{"a":1}\n'
    options = ("-H", "X-ClickHouse-Format: JSON", "-d", "SELECT 1 AS a FORMAT CSVWithNames")
    assert curl(gateway, *options)[1] == b'"a"\n1\n'
    assert headers(gateway, *options)["x-clickhouse-format"] == "CSVWithNames"


@pytest.mark.parametrize(
    "options",
    [
        ("-H", f"X-ClickHouse-User: {USER}", "-H", f"X-ClickHouse-Key: {PASSWORD}"),
        ("-H", "Authorization: Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()),
        ("-G", "--data-urlencode", f"user={USER}", "--data-urlencode", f"password={PASSWORD}"),
    ],
)
def test_three_ways_to_give_the_password(gateway: GatewayProcess, options: tuple[str, ...]) -> None:
    command = ["curl", "-sS", "-G", "--data-urlencode", "query=SELECT 1", *options, gateway.url]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"1\n"


@pytest.mark.parametrize(
    "options", [(), ("-u", f"{USER}:"), ("-u", f"bob:{PASSWORD}"), ("-H", "Authorization: Bearer x")]
)
def test_anything_else_is_refused(gateway: GatewayProcess, options: tuple[str, ...]) -> None:
    command = ["curl", "-sS", "-w", "%{http_code}", *options, "-d", "SELECT 1", gateway.url]
    answer = subprocess.run(command, capture_output=True, check=True).stdout
    assert answer.startswith(b"Code: 516. DB::Exception: ")
    assert b"(AUTHENTICATION_FAILED)" in answer
    assert answer.endswith(b"403")


@pytest.mark.parametrize(
    ("query", "status"),
    [("SELECT nope", 404), ("SELEC", 400), ("SELECT throwIf(1)", 500), ("SELECT * FROM file('/x')", 403)],
)
def test_statuses_are_a_servers(gateway: GatewayProcess, query: str, status: int) -> None:
    assert curl(gateway, "-d", query)[0] == status
    assert headers(gateway, "-d", query)["x-clickhouse-exception-code"].isdigit()


def test_an_unknown_setting(gateway: GatewayProcess) -> None:
    status, body = curl(gateway, "-d", "SELECT 1", path="/?no_such_setting=1")
    assert (status, b"Code: 115. DB::Exception: Unknown setting" in body) == (404, True)


def test_headers_of_an_answer(gateway: GatewayProcess) -> None:
    curl(gateway, "-d", "CREATE TABLE IF NOT EXISTS headed (a Int32) ENGINE = MergeTree ORDER BY a")
    found = headers(gateway, "-d", "INSERT INTO headed VALUES (1), (2)", path="/?query_id=mine")
    assert found["x-clickhouse-query-id"] == "mine"
    assert json.loads(found["x-clickhouse-summary"])["written_rows"] == "2"
    assert found["x-clickhouse-timezone"]
    assert len(headers(gateway, "-d", "SELECT 1")["x-clickhouse-query-id"]) == 36


def test_gzip_in_and_out(gateway: GatewayProcess) -> None:
    packed = gzip.compress(b"SELECT 'packed'")
    options = ("-H", "Content-Encoding: gzip", "--compressed", "--data-binary", "@-")
    assert curl(gateway, *options, path="/?enable_http_compression=1", stdin=packed) == (200, b"packed\n")
    assert headers(gateway, "-H", "Accept-Encoding: br, gzip", "-d", "SELECT 1")["content-encoding"] == "gzip"


def test_a_body_that_ends_early_is_refused(gateway: GatewayProcess) -> None:
    packed = gzip.compress(b"SELECT 'packed'")[:-4]
    status, body = curl(gateway, "-H", "Content-Encoding: gzip", "--data-binary", "@-", stdin=packed)
    assert (status, b"(CANNOT_DECOMPRESS)" in body) == (500, True)


def test_a_large_answer_streams_in_little_memory(gateway: GatewayProcess) -> None:
    query = "SELECT number, toString(number) FROM numbers(20000000) FORMAT JSONCompactEachRow"
    command = ["curl", "-sS", "-N", "-u", f"{USER}:{PASSWORD}", "-d", query, gateway.url]
    assert gateway.process is not None
    memory = Path(f"/proc/{gateway.process.pid}/statm")
    size, peak = 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        before = int(memory.read_text().split()[1])
        while chunk := process.stdout.read(1_000_000):
            size += len(chunk)
            peak = max(peak, int(memory.read_text().split()[1]))
    assert size > 400_000_000
    assert (peak - before) * 4096 < 300_000_000


def send_head(gateway: GatewayProcess, query: str, length: int) -> socket.socket:
    authorization = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    head = (
        f"POST /?query={quote(query)} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Basic {authorization}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", gateway.port))
    connection.sendall(head.encode())
    return connection


def test_a_cut_upload_inserts_nothing(gateway: GatewayProcess) -> None:
    curl(gateway, "-d", "CREATE TABLE cut (a Int32) ENGINE = MergeTree ORDER BY a")
    with send_head(gateway, "INSERT INTO cut FORMAT CSV", 1000) as connection:
        connection.sendall(b"1\n2\n3\n")
    with send_head(gateway, "INSERT INTO cut FORMAT CSV", 4) as connection:
        connection.sendall(b"8\n9\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
    assert curl(gateway, "-d", "SELECT sum(a) FROM cut") == (200, b"17\n")


@pytest.mark.parametrize(
    "query", ["SELECT number FROM numbers(70000000000)", "SELECT max(sipHash64(number)) FROM numbers(70000000000)"]
)
@pytest.mark.parametrize("format_name", ["Native", "CSV"])
def test_a_select_ends_when_its_client_goes(gateway: GatewayProcess, query: str, format_name: str) -> None:
    running = "SELECT count() FROM system.processes WHERE query LIKE '%(70000000000)%' AND query NOT LIKE '%processes%'"
    with send_head(gateway, f"{query} FORMAT {format_name}", 0):
        eventually(lambda: curl(gateway, "-d", running)[1] != b"0\n")
    eventually(lambda: curl(gateway, "-d", running)[1] == b"0\n")
    log = gateway.data.parent / f"{gateway.data.name}.log"
    assert "Traceback" not in log.read_text()
