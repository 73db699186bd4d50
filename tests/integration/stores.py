"""What each store holds, asked of the store itself, for tests."""

from __future__ import annotations

import io

import pyarrow.parquet as pq

from ingestors import clickhouse, siphon
from nervous_system.archive import EventsObject
from nervous_system.errors import NotFoundError
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings


def in_ledger(settings: Settings, project: ProjectName) -> list[bytes]:
    """The project's events in commit order."""
    ledger = Ledger.open(settings)
    try:
        return [stored.data for stored in ledger.history(project).events()]
    except NotFoundError:
        return []
    finally:
        ledger.close()


def in_clickhouse(settings: Settings, project: ProjectName) -> list[bytes]:
    """The project's events in log order, through the view that is exact."""
    client = clickhouse.connect(settings)
    try:
        answer = client.query(
            "SELECT hex(event_bytes) FROM swarm_events WHERE tenant_id = {t:String} AND project_id = {p:String} "
            "ORDER BY log_sequence, log_index",
            parameters={"t": project.tenant, "p": project.project},
        )
        return [bytes.fromhex(row[0]) for row in answer.result_rows]
    finally:
        client.close()


def in_archive(settings: Settings, project: ProjectName) -> list[bytes]:
    """The project's events in log order, from every object of the archive."""
    client = siphon.connect(settings)
    rows: list[tuple[int, int, bytes]] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings.s3_bucket):
        for entry in page.get("Contents", []):
            if EventsObject.parse(entry["Key"]) is not None:
                body = client.get_object(Bucket=settings.s3_bucket, Key=entry["Key"])["Body"].read()
                rows += _rows(body, project)
    client.close()
    return [data for _, _, data in sorted(rows)]


def _rows(body: bytes, project: ProjectName) -> list[tuple[int, int, bytes]]:
    table = pq.read_table(io.BytesIO(body))
    return [
        (row["log_sequence"], row["log_index"], row["event_bytes"])
        for row in table.to_pylist()
        if (row["tenant_id"], row["project_id"]) == (project.tenant, project.project)
    ]
