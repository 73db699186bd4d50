"""The siphon on a real S3: what it landed is named once, whatever cut it off."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import resource
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingestors.janitor.notes import Notes
from ingestors.janitor.objects import UnnamedObjects
from ingestors.janitor.policy import DAY_US
from ingestors.siphon.compaction import Compactor
from ingestors.siphon.sink import CursorMovedError
from ingestors.siphon.workspace import Workspace
from nervous_system import columns
from nervous_system.archive import layout
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import Change, ProjectHead
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import UnavailableError
from nervous_system.events import now_us
from nervous_system.landing import Batch
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.siphoning import (
    PARTS,
    PROJECTS,
    batches,
    compact,
    opened,
    own_bucket,
    run_until,
    state_of,
    store_of,
    with_parts,
)
from tests.integration.wire import Link, Wire, to_server
from tests.samples import STREAM

KILLED = -signal.SIGKILL


@pytest.fixture
def settings(servers: Settings, tmp_path: Path) -> Settings:
    return own_bucket(servers, tmp_path / "files")


def events_of(project: ProjectName, landed: list[Batch]) -> list[bytes]:
    """What should be archived of a project, in log order."""
    messages = [message for batch in landed for message in batch.messages if message.project == project]
    return [each.data for message in messages for each in message.events]


def check_archive(settings: Settings, *partitions: list[Batch]) -> None:
    """Every event once and in order, every object what its manifest says, cursors and chains where they should be."""
    state = state_of(settings)
    archived: dict[ProjectName, list[tuple[int, int, int, bytes]]] = defaultdict(list)
    for key, entry in state.files.items():
        body = store_of(settings).get(key)
        assert (len(body), hashlib.sha256(body).digest()) == (entry.size_bytes, entry.sha256)
        rows = pq.read_table(io.BytesIO(body)).to_pylist()
        assert len(rows) == entry.rows
        places = [tuple(row[name] for name in columns.ORDER) for row in rows]
        assert places == sorted(set(places))
        assert {layout.bucket_of(row["tenant_id"]) for row in rows} == {int(key.split("bucket=")[1][:2])}
        for row in rows:
            place = row["partition"], row["log_sequence"], row["log_index"]
            archived[ProjectName(row["tenant_id"], row["project_id"])].append((*place, row["event_bytes"]))
    for landed in partitions:
        assert state.cursor(STREAM, landed[-1].partition) == landed[-1].cursor
    for project in PROJECTS:
        events = events_of(project, [batch for landed in partitions for batch in landed])
        assert [row[-1] for row in sorted(archived[project])] == events
        assert state.head(project).events == len(events)
        if len(partitions) == 1:
            assert state.head(project) == functools.reduce(ProjectHead.extended, events, ProjectHead())


def test_batches_are_archived_by_day_and_bucket(settings: Settings) -> None:
    landed = batches(4, days=2)
    with opened(settings) as sink:
        for batch in landed:
            sink.land(batch)
        assert sink.cursor(STREAM, 0) == landed[-1].cursor
    check_archive(settings, landed)
    days = {key.split("/")[2] for key in state_of(settings).files}
    assert days == {"date=2023-11-14", "date=2023-11-15"}
    assert list(settings.siphon_files.iterdir()) == []


def test_parts_alone_move_the_cursor(settings: Settings) -> None:
    whole = with_parts(batches(1)[0])
    alone = replace(whole, messages=whole.messages[: len(PARTS)])
    with opened(settings) as sink:
        sink.land(alone)
        assert sink.cursor(STREAM, 0) == alone.cursor
    store = store_of(settings)
    for data in PARTS:
        assert store.get(layout.blob_key("acme", hashlib.sha256(data).digest())) == data
    assert state_of(settings).files == {}


def test_of_two_that_land_the_same_one_wins(settings: Settings) -> None:
    landed = batches(2)
    with opened(settings) as first, opened(settings) as second:
        first.land(landed[0])
        with pytest.raises(CursorMovedError, match="goes on from there"):
            second.land(landed[0])
        assert second.cursor(STREAM, 0) == landed[0].cursor
        second.land(landed[1])
    check_archive(settings, landed)


def test_siphons_of_different_partitions_all_get_their_manifests(settings: Settings) -> None:
    partitions = [batches(4, partition) for partition in range(4)]

    def land(made: list[Batch]) -> None:
        with opened(settings) as sink:
            for batch in made:
                sink.land(batch)

    with opened(settings):
        pass
    with ThreadPoolExecutor() as threads:
        list(threads.map(land, partitions))
    check_archive(settings, *partitions)
    assert state_of(settings).number == 16


@contextmanager
def no_room_beyond(size_bytes: int) -> Iterator[None]:
    """The system refuses to let this process's files grow larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_disk_without_room_changes_nothing_until_it_has_room(settings: Settings) -> None:
    landed = batches(1)
    with opened(settings) as sink:
        with no_room_beyond(1_000), pytest.raises(UnavailableError, match="ENCHANTED_SIPHON_FOLDER"):
            sink.land(landed[0])
        assert state_of(settings).number == 0
        assert sum(len(list(folder.iterdir())) for folder in settings.siphon_files.iterdir()) == 0
        sink.land(landed[0])
    check_archive(settings, landed)


def test_a_folder_that_cannot_be_made_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnavailableError, match="cannot be written"),
        opened(replace(settings, siphon_folder=str(tmp_path / "file" / "folder"))),
    ):
        pass


def test_an_upload_that_is_cut_off_comes_again_whole(settings: Settings) -> None:
    landed = batches(1, messages=60)
    cuts: list[int] = []

    def cut_once(link: Link, data: bytes) -> None:
        if b"PAR1" in data and not cuts:
            cuts.append(len(data))
            to_server(link, data[: data.index(b"PAR1") + 100])
            link.cut()
        else:
            to_server(link, data)

    with (
        Wire(settings.s3_endpoint, request=cut_once) as wire,
        opened(replace(settings, s3_endpoint=wire.url)) as sink,
    ):
        sink.land(landed[0])
    assert cuts
    check_archive(settings, landed)


@pytest.mark.parametrize("place", ["after-part", "after-upload", "after-manifest"])
def test_a_kill_loses_and_doubles_nothing(settings: Settings, place: str) -> None:
    first = with_parts(batches(4)[0])
    assert run_until(place, settings, "parts", [0]) == KILLED
    with opened(settings) as sink:
        if sink.cursor(STREAM, 0).sequence == 0:
            sink.land(first)
        else:
            assert place == "after-manifest"
        assert [folder for folder in settings.siphon_files.iterdir() if list(folder.iterdir())] == []
    check_archive(settings, [first])


def test_small_files_are_merged_and_the_old_ones_stay_objects(settings: Settings) -> None:
    landed = batches(6, days=2)
    with opened(settings) as sink:
        for batch in landed:
            sink.land(batch)
    before = state_of(settings)
    done = compact(settings)
    after = state_of(settings)
    places = {key.rpartition("/")[0] for key in before.files}
    assert {key.rpartition("/")[0] for key in after.files} == places
    assert (done.merges, done.files, len(after.files)) == (len(places), len(before.files), len(places))
    assert (after.heads, after.cursors) == (before.heads, before.cursors)
    check_archive(settings, landed)
    store = store_of(settings)
    assert set(before.files) <= set(store.keys(layout.EVENTS))
    assert compact(settings).merges == 0


@pytest.mark.parametrize("place", ["before-compacted-manifest", "after-compacted-manifest"])
def test_a_merge_that_is_killed_changes_all_or_nothing(settings: Settings, place: str) -> None:
    landed = batches(4)
    with opened(settings) as sink:
        for batch in landed:
            sink.land(batch)
    before = state_of(settings)
    assert run_until(place, settings, "compact") == KILLED
    killed = state_of(settings)
    assert (killed.files == before.files) == (place != "after-compacted-manifest")
    check_archive(settings, landed)
    compact(settings)
    assert len(state_of(settings).files) == len({key.rpartition("/")[0] for key in before.files})
    check_archive(settings, landed)


def test_a_damaged_file_is_told_and_holds_up_no_others(settings: Settings) -> None:
    with opened(settings) as sink:
        for batch in batches(3, days=3)[:2]:
            sink.land(batch)
        for batch in batches(2, partition=1):
            sink.land(batch)
    before = state_of(settings).files
    store = store_of(settings)
    first = min(before)
    store.put(first, store.get(first)[:-1] + b"X")
    with pytest.raises(ArchiveDamagedError, match="SHA-256"):
        compact(settings)
    after = state_of(settings).files
    assert first in after
    assert len(after) < len(before)


def test_merging_beside_each_other_and_beside_landing_is_safe(settings: Settings) -> None:
    landed = batches(12)
    with opened(settings) as sink, ThreadPoolExecutor() as threads:
        for batch in landed[:6]:
            sink.land(batch)
        merging = [threads.submit(compact, settings) for _ in range(3)]
        for batch in landed[6:]:
            sink.land(batch)
        for each in merging:
            each.result()
    compact(settings)
    check_archive(settings, landed)
    assert len(state_of(settings).files) == len({layout.bucket_of(project.tenant) for project in PROJECTS})


def test_the_command_merges_and_names_what_counts(settings: Settings) -> None:
    landed = batches(3)
    with opened(settings) as sink:
        for batch in landed:
            sink.land(batch)
    before = state_of(settings).files
    chosen = {"ENCHANTED_S3_BUCKET": settings.s3_bucket, "ENCHANTED_SIPHON_FOLDER": settings.siphon_folder}
    command = Enchanted(settings.home, chosen)
    done = json.loads(command.succeed("archive", "compact", "--json"))
    assert done["files"] == len(before)
    assert done["bytes_before"] == sum(entry.size_bytes for entry in before.values())
    after = state_of(settings).files
    assert command.succeed("archive", "files", "--as", "key").split() == sorted(
        after, key=lambda key: (after[key].recorded_us, key)
    )
    check_archive(settings, landed)


class _Slept(ArchiveLog):
    """A merge's process sleeps just before its manifest, and what it uploaded is taken for left behind meanwhile."""

    def append(self, make: Callable[[ArchiveState], Change]) -> ArchiveState:
        self._store.delete(entry.key for entry in make(self.state()).added)
        return super().append(make)


def merged_from(settings: Settings) -> ArchiveState:
    """What the archive held before a merge by a process that slept."""
    with opened(settings) as sink:
        for each in batches(3):
            sink.land(each)
    before, store = state_of(settings), store_of(settings)
    workspace = Workspace(settings.siphon_files)
    with closing(workspace):
        Compactor(store, _Slept(store), workspace, 10_000_000, threading.Event()).run()
    return before


def test_a_merge_that_slept_finds_its_file_again(settings: Settings) -> None:
    merged_from(settings)
    check_archive(settings, batches(3))


def test_what_was_merged_stays_while_the_merged_file_is_missing(settings: Settings) -> None:
    before, store = merged_from(settings), store_of(settings)
    replaced = sorted(before.files.keys() - state_of(settings).files.keys())
    assert replaced
    notes = Notes(unnamed=dict.fromkeys(replaced, 0))
    unnamed = UnnamedObjects(store, ArchiveLog(store), notes)
    after_us = now_us() + 2 * DAY_US
    merged = next(iter(state_of(settings).files.keys() - before.files.keys()))
    body = store.get(merged)
    store.delete([merged])
    with pytest.raises(ArchiveDamagedError, match="missing"):
        unnamed.remove(after_us)
    assert all(store.size_bytes(key) for key in replaced)
    store.put(merged, body)
    assert unnamed.remove(after_us)[0] == len(replaced)
