"""What each store holds of a project, asked of the store by its own means: hashes of event bytes, in order.

ClickHouse is asked in SQL over plain HTTP, the archive through boto3 and Parquet alone, the ledger's file through
SQLite.
"""

from __future__ import annotations

import hashlib
import io
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import boto3
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from nervous_system.settings import Settings
from tests.chaos import manifests
from tests.chaos.journal import name_of
from tests.chaos.ledgerfile import LedgerFile

# Each project's events in the store's order, by ``tenant/project``.
Holdings = Mapping[str, list[str]]
# Of one row: its place in the log, its project, the event's name.
Place = tuple[str, int, int]
Row = tuple[Place, str, str]

VIEW = """
SELECT tenant_id || '/' || project_id, lower(hex(SHA256(event_bytes)))
FROM swarm_events
ORDER BY toUInt64(splitByChar('@', log_stream)[-1]), log_partition, log_sequence, log_index FORMAT TabSeparated
"""
ANSWER_TIMEOUT_S = 60.0
# What asking raises while a store is away, or before anybody has made its tables.
AWAY = (apsw.Error, OSError, BotoCoreError, ClientError, KeyError)
# By name and tag: an object that is there as it was is read once.
_rows_by_object: dict[str, list[Row]] = {}


def in_ledger(settings: Settings) -> Holdings:
    """In commit order."""
    with LedgerFile(ledger_path(settings)) as file:
        return {project: [name_of(event) for event in file.events(project)] for project in file.projects()}


def in_clickhouse(settings: Settings) -> Holdings:
    """In log order, through the view."""
    held: dict[str, list[str]] = defaultdict(list)
    for line in ask(settings, VIEW).splitlines():
        project, name = line.split("\t")
        held[project].append(name)
    return held


def rows_in_table(settings: Settings) -> int:
    """How many rows ClickHouse's table has beneath the view, which would hide what was landed twice."""
    return int(ask(settings, "SELECT count() FROM events"))


def ask(settings: Settings, question: str) -> str:
    """ClickHouse's answer to a question."""
    address = f"{settings.clickhouse_url}/?{urllib.parse.urlencode({'database': settings.clickhouse_database})}"
    request = urllib.request.Request(address, data=question.encode(), method="POST")
    request.add_header("X-ClickHouse-User", settings.clickhouse_user)
    request.add_header("X-ClickHouse-Key", settings.clickhouse_password)
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
        return str(answer.read().decode())


def in_archive(settings: Settings) -> Holdings:
    """In log order, from every file that the newest manifest names; what is not there holds nothing."""
    rows: list[Row] = []
    with s3(settings) as client:
        tags = dict(objects(client, settings, "events/"))
        for key, entry in manifests.files(client, settings).items():
            if key not in tags:
                continue
            known = f"{key} {tags[key]}"
            if known not in _rows_by_object:
                _rows_by_object[known] = _rows(entry, _body(client, settings, key))
            rows += _rows_by_object[known]
    held: dict[str, list[str]] = defaultdict(list)
    for _, project, name in sorted(rows):
        held[project].append(name)
    return held


def missing_parts(settings: Settings, tenant: str, parts: frozenset[str]) -> list[str]:
    """Which parts of large contents, by SHA-256 in hex, the ledger or the archive lacks or has with other bytes."""
    missing = []
    with s3(settings) as client:
        archived = {key.rpartition("/")[2]: key for key, _ in objects(client, settings, f"blobs/v1/{tenant}/")}
        bodies = {name: _body(client, settings, key) for name, key in archived.items() if name in parts}
    with LedgerFile(ledger_path(settings)) as file:
        for part in parts:
            if name_of(bodies.get(part, b"")) != part:
                missing.append(f"{part} in the archive")
            try:
                if name_of(file.content(tenant, bytes.fromhex(part))) != part:
                    missing.append(f"{part} in the ledger has other bytes")
            except KeyError:
                missing.append(f"{part} in the ledger")
    return missing


def ledger_path(settings: Settings) -> Path:
    """Where the ledger's file is."""
    return Path(settings.ledger.removeprefix("embedded://"))


@contextmanager
def s3(settings: Settings) -> Iterator[Any]:
    """A client of the archive's for the length of a ``with`` block."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name=settings.s3_region,
    )
    try:
        yield client
    finally:
        client.close()


def objects(client: Any, settings: Settings, prefix: str) -> Iterator[tuple[str, str]]:
    """The key and tag of each object under a prefix."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings.s3_bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            yield entry["Key"], entry["ETag"]


def _body(client: Any, settings: Settings, key: str) -> bytes:
    return bytes(client.get_object(Bucket=settings.s3_bucket, Key=key)["Body"].read())


def _rows(entry: manifests.File, body: bytes) -> list[Row]:
    key = entry["key"]
    assert hashlib.sha256(body).hexdigest() == entry["sha256"], f"{key} is not the object that its manifest names"
    columns = ["stream", "partition", "log_sequence", "log_index", "tenant_id", "project_id", "event_bytes"]
    rows = pq.read_table(io.BytesIO(body), columns=columns).to_pylist()
    assert len(rows) == entry["rows"], f"{key} has {len(rows)} rows"
    spans = {(stream, partition): (first, last) for stream, partition, first, last in entry["spans"]}
    for row in rows:
        first, last = spans[row["stream"], row["partition"]]
        assert first <= row["log_sequence"] <= last, f"{key} holds others"
    return [
        (
            (row["stream"], row["log_sequence"], row["log_index"]),
            f"{row['tenant_id']}/{row['project_id']}",
            name_of(row["event_bytes"]),
        )
        for row in rows
    ]
