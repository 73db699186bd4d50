"""What docs/archive-readers.md shows, run as it stands there."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from nervous_system.contract import Operation
from nervous_system.settings import Settings
from tests.integration.siphoning import batches, compact, opened, own_bucket

PAGE = Path(__file__).parents[2] / "docs" / "archive-readers.md"
TOOLS = ("DuckDB", "Polars", "pandas", "ClickHouse")


def blocks() -> list[tuple[str, str]]:
    """Each piece of Python on the page, under the heading that it stands below."""
    sections = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [
        (heading, code)
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
        for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    ]


def test_every_tool_on_the_page_reads_what_counts_and_nothing_twice(
    servers: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = own_bucket(servers, tmp_path / "files")
    landed = batches(5)
    with opened(settings) as sink:
        for batch in landed[:4]:
            sink.land(batch)
        compact(settings)
        sink.land(landed[4])
    changes = Counter(
        (each.event.project_id, Operation.Name(each.event.state_change.operation).removeprefix("OPERATION_"))
        for batch in landed
        for message in batch.messages
        for each in message.events
        if each.event.tenant_id == "acme"
    )
    expected = [(*names, count) for names, count in sorted(changes.items())]
    for name in ("s3_endpoint", "s3_bucket", "s3_access_key", "s3_secret_key"):
        monkeypatch.setenv(f"ENCHANTED_{name.upper()}", getattr(settings, name))
    for name in ("clickhouse_url", "clickhouse_user", "clickhouse_password"):
        monkeypatch.setenv(f"ENCHANTED_{name.upper()}", getattr(settings, name))
    monkeypatch.setenv("ENCHANTED_HOME", str(settings.home))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = []
    for heading, code in blocks():
        exec(compile(code, f"{PAGE.name}: {heading}", "exec"), names)
        if "answer" in code:
            shown.append(heading)
            assert [tuple(row) for row in names.pop("answer")] == expected, heading
    assert shown == ["DuckDB", *TOOLS]
    assert len(names["keys"]) == 2
    check_filters(names["copies"], landed[0].messages[0].events[0].event.event_id)


def check_filters(copies: list[str], event_id: str) -> None:
    """DuckDB finds our id in a row group by its bloom filter, and most that are nowhere in none."""
    probe = "SELECT count(*) FILTER (NOT bloom_filter_excludes) FROM parquet_bloom_probe($files, 'event_id', $id)"
    assert duckdb.execute(probe, {"files": copies, "id": event_id}).fetchall()[0][0] >= 1
    excluded = [
        duckdb.execute(
            "SELECT bool_and(bloom_filter_excludes) FROM parquet_bloom_probe($files, 'event_id', $id)",
            {"files": copies, "id": f"nowhere {number}"},
        ).fetchall()[0][0]
        for number in range(20)
    ]
    assert sum(excluded) >= 10
