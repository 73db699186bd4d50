"""What each store holds, asked of the store itself, for tests."""

from __future__ import annotations

import io

import pyarrow.parquet as pq

from ingestors import clickhouse
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
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
    """The project's events in log order, from every file that the newest manifest names."""
    store = ObjectStore(settings)
    try:
        files = ArchiveLog(store).state().files_of(project)
        rows = [row for entry in files for row in _rows(store.get(entry.key), project)]
    finally:
        store.close()
    return [data for _, _, data in sorted(rows)]


def _rows(body: bytes, project: ProjectName) -> list[tuple[int, int, bytes]]:
    table = pq.read_table(io.BytesIO(body))
    return [
        (row["log_sequence"], row["log_index"], row["event_bytes"])
        for row in table.to_pylist()
        if (row["tenant_id"], row["project_id"]) == (project.tenant, project.project)
    ]
