"""Merging files: what is chosen, and that sorted files make one sorted file with the same rows."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.cli.compacting import chosen
from ingestors.siphon import compaction, files
from ingestors.siphon.compaction import MAX_INPUTS, OvertakenError, merged_tables, plan, replacement
from ingestors.siphon.sink import CursorMovedError, by_day_and_bucket, change
from nervous_system import columns, parquet
from nervous_system.archive import layout, merkle
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.manifest import FileEntry
from nervous_system.archive.state import ArchiveState
from nervous_system.landing import Batch
from nervous_system.parquet import Expected
from nervous_system.projects import ProjectName
from tests.samples import BEGAN_US, batch, event, message, write

DAY = date(2026, 11, 20)
NEXT = date(2026, 11, 21)
NAMES = [ProjectName(tenant, project) for tenant in ("acme", "beta") for project in ("a", "b")]


def entry(number: int, size_bytes: int, bucket: int = 3) -> FileEntry:
    key = f"{layout.bucket_folder(DAY, bucket)}{number:020d}-{number:020d}.{number:016x}.parquet"
    return FileEntry(key, size_bytes, bytes(32), 1, bytes(32), (), (0, 0), ("a", "a"))


def state(*entries: FileEntry) -> ArchiveState:
    return ArchiveState(1, {each.key: each for each in entries})


def test_small_files_of_a_day_that_is_over_are_merged() -> None:
    assert plan(state(entry(1, 10), entry(2, 30), entry(3, 5)), 100, NEXT) == [
        [entry(3, 5), entry(1, 10), entry(2, 30)]
    ]


def test_files_of_different_buckets_are_not_merged() -> None:
    assert plan(state(entry(1, 10), entry(2, 10, bucket=4)), 100, NEXT) == []


def test_today_waits_until_there_are_several() -> None:
    few = [entry(number, 10) for number in range(7)]
    assert plan(state(*few), 1_000, DAY) == []
    assert len(plan(state(*few, entry(7, 10)), 1_000, DAY)[0]) == 8


def test_a_large_file_is_left_alone_until_the_small_ones_are_worth_it() -> None:
    small = [entry(number, 10) for number in range(4)]
    assert plan(state(*small, entry(99, 81)), 1_000, NEXT) == [small]
    assert plan(state(*small, entry(99, 80)), 1_000, NEXT) == [[*small, entry(99, 80)]]


def test_a_late_trickle_does_not_write_a_large_file_anew() -> None:
    assert plan(state(entry(1, 1_000), entry(2, 10)), 100_000, NEXT) == []


def test_what_is_as_large_as_it_should_be_is_left_alone() -> None:
    assert plan(state(entry(1, 60), entry(2, 60)), 100, NEXT) == []


@given(st.lists(st.integers(1, 1_000), max_size=60), st.integers(1, 3_000))
def test_merging_ends_and_keeps_to_the_limits(sizes: list[int], target_bytes: int) -> None:
    held = [entry(number, size) for number, size in enumerate(sizes)]
    while planned := plan(state(*held), target_bytes, NEXT):
        (inputs,) = planned
        assert 2 <= len(inputs) <= MAX_INPUTS
        merged = entry(len(sizes) + len(held), sum(each.size_bytes for each in inputs))
        assert merged.size_bytes <= target_bytes
        held = [each for each in held if each not in inputs] + [replace(merged, key=merged.key + "x" * len(inputs))]
        held = [replace(each, key=entry(number, 1).key) for number, each in enumerate(held)]


def test_files_that_are_gone_are_not_replaced() -> None:
    inputs = [entry(1, 10), entry(2, 10)]
    found = replacement(state(*inputs), inputs, entry(3, 20))
    assert (found.added, found.removed) == ((entry(3, 20),), (inputs[0].key, inputs[1].key))
    with pytest.raises(OvertakenError):
        replacement(state(inputs[0]), inputs, entry(3, 20))


def table_of(numbers: list[int]) -> pa.Table:
    rows = [
        message(
            number + 1,
            [event(number, NAMES[number % 4], state_change=write(f"f{number % 7}", b"%d" % number))],
            NAMES[number % 4],
        )
        for number in numbers
    ]
    made = batch(*rows)
    return columns.table(columns.in_order(columns.located(rows)), made.stream, made.partition)


def written(folder: Path, name: str, table: pa.Table) -> files.LocalFile:
    return files.write(folder / name, [table], Expected.of(table), parquet.FAST)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80))
def test_sorted_files_make_one_sorted_file(homes: list[int]) -> None:
    shares = [[number for number, home in enumerate(homes) if home == each] for each in sorted(set(homes))]
    whole = table_of(list(range(len(homes))))
    with TemporaryDirectory() as name:
        folder = Path(name)
        opened = [pq.ParquetFile(written(folder, str(n), table_of(share)).path) for n, share in enumerate(shares)]
        merged = files.write(folder / "merged", merged_tables(opened), Expected.of(whole), parquet.FAST)
        found = pq.read_table(merged.path)
    assert found.replace_schema_metadata(None).equals(whole)
    digests = [hashlib.sha256(each).digest() for each in whole["event_bytes"].to_pylist()]
    assert merged.entry.events_root == merkle.root(digests)
    (span,) = merged.entry.spans
    assert (span.first, span.last, merged.entry.rows) == (1, len(homes), len(homes))
    assert merged.entry.recorded_us == (BEGAN_US + 1_000_000, BEGAN_US + len(homes) * 1_000_000)


def test_files_that_overlap_are_not_merged(tmp_path: Path) -> None:
    opened = [pq.ParquetFile(written(tmp_path, name, table_of([1, 2])).path) for name in ("one", "other")]
    with pytest.raises(ArchiveDamagedError, match="overlap"):
        list(merged_tables(opened))


def test_no_two_files_are_the_same(tmp_path: Path) -> None:
    one, other = (written(tmp_path, name, table_of([1, 2])) for name in ("one", "other"))
    assert one.entry.key != other.entry.key


def test_ids_and_hashes_have_filters_of_the_size_they_need(tmp_path: Path) -> None:
    table = table_of(list(range(2_000)))
    metadata = pq.read_metadata(written(tmp_path, "file", table).path)
    group = metadata.row_group(0)
    statistics = {group.column(n).path_in_schema: group.column(n).statistics for n in range(group.num_columns)}
    assert statistics["event_bytes"] is None
    assert statistics["tenant_id"].max == "beta"
    # Split-block filters take about 10 bits for each value at one false answer in a hundred; sizes are powers of 2.
    without = tmp_path / "without"
    with without.open("wb") as file, parquet.writer(file, table.schema, Expected(0, 0, 0), parquet.FAST) as writer:
        writer.write_table(table)
    taken = (tmp_path / "file").stat().st_size - without.stat().st_size
    assert 2 * 2_000 * 9 / 8 < taken < 2 * 2_000 * 20 / 8 + 1_000


def test_row_groups_are_bounded_by_bytes_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(list(range(300)))
    monkeypatch.setattr(parquet, "GROUP_BYTES", 4_000)
    cut = list(parquet.groups([table, table]))
    assert all(parquet.event_bytes(each) <= 4_000 for each in cut)
    assert pa.concat_tables(cut).equals(pa.concat_tables([table, table]))
    monkeypatch.setattr(parquet, "GROUP_ROWS", 7)
    assert max(each.num_rows for each in parquet.groups([table])) == 7


def test_what_is_merged_is_taken_a_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 4_000)
    shares = [table_of(list(range(start, 300, 2))) for start in (0, 1)]
    opened = [pq.ParquetFile(written(tmp_path, str(n), share).path) for n, share in enumerate(shares)]
    assert all(file.num_row_groups > 5 for file in opened)
    for file in opened:
        assert (
            max(parquet.event_bytes(pa.Table.from_batches([batch])) for _, batch, _ in compaction._rows(file)) <= 4_000
        )
    merged = list(merged_tables(opened))
    assert max(map(parquet.event_bytes, merged)) <= 4_000
    assert sum(table.num_rows for table in merged) == 300


def landed(after: int = 0) -> Batch:
    late = BEGAN_US + 86_400_000_000
    return batch(
        *(message(after + n, [event(after + n, name)], name) for n, name in enumerate(NAMES, 1)),
        message(after + 5, [event(after + 9, NAMES[0])], NAMES[0], recorded_us=late),
        after=after,
    )


def test_rows_go_apart_by_day_and_bucket() -> None:
    places = {
        (layout.day_of(row[0].recorded_us), layout.bucket_of(row[1].event.tenant_id)): len(rows)
        for rows in by_day_and_bucket(landed())
        for row in rows
    }
    assert len(by_day_and_bucket(landed())) == len(places) == 3
    assert sum(places.values()) == 5


def test_a_batch_moves_the_cursor_it_goes_on_from_and_the_chains() -> None:
    first = change(ArchiveState(), landed(), [])
    after = ArchiveState().changed(first)
    assert after.cursors == {(landed().stream, 0): landed().cursor}
    second = after.changed(change(after, landed(5), []))
    assert [second.head(name).events for name in NAMES] == [4, 2, 2, 2]
    with pytest.raises(CursorMovedError):
        change(after, landed(), [])


def test_files_are_chosen_by_time_and_tenant() -> None:
    def kept(number: int, recorded_us: tuple[int, int], tenants: tuple[str, str]) -> FileEntry:
        return replace(entry(number, 1, layout.bucket_of("acme")), recorded_us=recorded_us, tenants=tenants)

    late, early = kept(1, (20, 30), ("aaa", "zed")), kept(2, (10, 19), ("aaa", "abc"))
    held = state(late, early)
    assert chosen(held) == [early, late]
    assert chosen(held, since_us=19) == [early, late]
    assert chosen(held, since_us=20) == [late]
    assert chosen(held, until_us=19) == [early]
    assert chosen(held, tenant="acme") == [late]
    stranger = next(name for name in map(str, range(50)) if layout.bucket_of(name) != layout.bucket_of("acme"))
    assert chosen(state(replace(late, tenants=("0", "zed"))), tenant=stranger) == []
