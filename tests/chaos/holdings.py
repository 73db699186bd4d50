"""What each store holds of a project, asked of the store by its own means: hashes of event bytes, in order.

ClickHouse is asked in SQL over plain HTTP, the archive through boto3 and Parquet alone; only the ledger, whose form is
ours, is read through what it offers every reader.
"""

from __future__ import annotations

import io
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Mapping

import boto3
import pyarrow.parquet as pq

from nervous_system.ledger.ledger import Ledger
from nervous_system.settings import Settings
from tests.chaos.journal import name_of

# Each project's events in the store's order, by ``tenant/project``.
Holdings = Mapping[str, list[str]]

VIEW = """
SELECT tenant_id || '/' || project_id, lower(hex(SHA256(event_bytes)))
FROM swarm_events ORDER BY log_partition, log_sequence, log_index FORMAT TabSeparated
"""
ANSWER_TIMEOUT_S = 60.0


def in_ledger(settings: Settings) -> Holdings:
    """In commit order."""
    ledger = Ledger.open(settings)
    try:
        return {
            str(project): [name_of(stored.data) for stored in ledger.history(project).events()]
            for project in ledger.projects()
        }
    finally:
        ledger.close()


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
    """In log order, from every Parquet object of the bucket, whatever its name."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name=settings.s3_region,
    )
    rows: list[tuple[int, int, str, str]] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings.s3_bucket):
        for entry in page.get("Contents", []):
            if entry["Key"].endswith(".parquet"):
                rows += _rows(client.get_object(Bucket=settings.s3_bucket, Key=entry["Key"])["Body"].read())
    client.close()
    held: dict[str, list[str]] = defaultdict(list)
    for _, _, project, name in sorted(rows):
        held[project].append(name)
    return held


def _rows(body: bytes) -> list[tuple[int, int, str, str]]:
    columns = ["log_sequence", "log_index", "tenant_id", "project_id", "event_bytes"]
    return [
        (
            row["log_sequence"],
            row["log_index"],
            f"{row['tenant_id']}/{row['project_id']}",
            name_of(row["event_bytes"]),
        )
        for row in pq.read_table(io.BytesIO(body), columns=columns).to_pylist()
    ]
