"""Reading what only the archive has: each object that is needed and no other, partitions in the log's order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nervous_system import parquet
from nervous_system.archive import merging
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.reading import ArchiveReader
from nervous_system.errors import NotFoundError
from nervous_system.events import content_hash
from nervous_system.landing import Batch, LandedMessage
from nervous_system.ledger.cold import Position
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from replay.contents import Contents
from replay.merging import tree_at
from replay.moments import resolve
from tests.contract.cold import archived_row
from tests.integration.quick_command import Quick
from tests.integration.siphoning import batches, compact, opened, own_bucket, state_of, store_of
from tests.samples import BEGAN_US, PROJECT, STREAM, batch, event, in_parts, message, part, write

BATCHES = 4
LARGE = os.urandom(600_000)
HALVES = (LARGE[:300_000], LARGE[300_000:])


class Watched(ObjectStore):
    """The bucket, and how many bytes were read of each object."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.read: Counter[str] = Counter()

    def get(self, key: str) -> bytes:
        data = super().get(key)
        self.read[key] += len(data)
        return data

    def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
        data = super().get_range(key, start, size_bytes)
        self.read[key] += len(data)
        return data

    def files(self) -> set[str]:
        """Of those, the files of events and the parts, forgotten then."""
        found = {key for key in self.read if not key.startswith("manifests/")}
        self.read.clear()
        return found


@pytest.fixture
def settings(servers: Settings, tmp_path: Path) -> Settings:
    """A bucket and a ledger of their own."""
    found = own_bucket(servers, tmp_path / "siphon")
    return replace(found, home=tmp_path / "home", ledger=f"embedded://{tmp_path}/ledger.sqlite")


@pytest.fixture
def bucket(settings: Settings) -> Iterator[Watched]:
    opened = Watched(settings)
    yield opened
    opened.close()


def archive(settings: Settings, *landed: Batch) -> None:
    with opened(settings) as sink:
        for each in landed:
            sink.land(each)


def reader_of(bucket: Watched) -> ArchiveReader:
    return ArchiveReader(bucket, ArchiveLog(bucket))


def a_life() -> list[Batch]:
    """Four batches of one project, each a file of the archive: ``a`` and ``b``, a large one, ``a`` again."""
    made: list[list[LandedMessage]] = [
        [message(1, [event(1, state_change=write("a", b"a" * 500))])],
        [message(2, [event(2, state_change=write("b", b"b" * 500)), event(3)])],
        [
            *(part(3 + n, half) for n, half in enumerate(HALVES)),
            message(5, [event(4, state_change=in_parts("large", *HALVES))]),
        ],
        [message(6, [event(5, state_change=write("a", b"A" * 500, b"a" * 500)), event(6)])],
    ]
    afters = [0, *(messages[-1].sequence for messages in made)]
    return [batch(*messages, after=after) for after, messages in zip(afters, made, strict=False)]


def cold_ledger(settings: Settings, bucket: Watched, life: list[Batch]) -> Ledger:
    """A ledger in which all of it has landed, and of which only the archive has the bytes."""
    archive(settings, *life)
    ledger = Ledger(open_engine(settings.ledger), cold=lambda: reader_of(bucket))
    for each in life:
        ledger.land("ledger", each)
    rows = [archived_row(message, landed) for each in life for message in each.messages for landed in message.events]
    offloaded = ledger.offload(PROJECT, rows)
    assert offloaded.events == len(rows)
    return ledger


def test_only_objects_that_are_needed_are_read(settings: Settings, bucket: Watched) -> None:
    ledger = cold_ledger(settings, bucket, a_life())
    history, files = ledger.history(PROJECT), [entry.key for entry in state_of(settings).files_of(PROJECT)]
    assert len(files) == 4
    contents = Contents(history)
    tree = tree_at(history, resolve(history, event(3).event_id), contents)
    assert not bucket.read
    assert {path: contents(entry.content_hash) for path, entry in tree.items()} == {"a": b"a" * 500, "b": b"b" * 500}
    assert bucket.files() == set(files[:2])
    assert Contents(history)(content_hash(LARGE)) == LARGE
    parts = {f"blobs/v1/acme/{content_hash(half)}" for half in HALVES}
    assert bucket.files() == {files[2], *parts}
    # What was read is kept for a while.
    assert Contents(history)(content_hash(b"a" * 500)) == b"a" * 500
    assert bucket.files() == set()
    ledger.close()


def test_of_a_file_only_what_is_needed_is_read(
    settings: Settings, bucket: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 200_000)
    others = ProjectName("acme", "atlas")
    made = [event(number, others, state_change=write("x", os.urandom(20_000))) for number in range(100)]
    messages = [message(number + 1, [each], others) for number, each in enumerate(made)]
    archive(settings, batch(*messages, message(101, [event(101)])))
    (entry,) = state_of(settings).files_of(PROJECT)
    reader = reader_of(bucket)
    assert reader.events(PROJECT, [Position(STREAM, 0, 101, 0)]) == [event(101).SerializeToString()]
    assert bucket.read[entry.key] < entry.size_bytes // 5
    positions = [Position(STREAM, 0, number + 1, 0) for number in (0, 99, 1)]
    assert reader.events(others, positions) == [made[number].SerializeToString() for number in (0, 99, 1)]
    assert bucket.read[entry.key] < entry.size_bytes // 2
    reader.close()


def test_a_damaged_file_is_said_to_be_damaged(settings: Settings, bucket: Watched) -> None:
    archive(settings, *a_life())
    (key, *_) = [entry.key for entry in state_of(settings).files_of(PROJECT)]
    body = store_of(settings).get(key)
    positions = [Position(STREAM, 0, 1, 0)]
    middle = len(body) // 2
    for damaged in (
        b"",
        body[:-1],
        body[:-9] + bytes(9),
        body[:4] + bytes(middle) + body[4 + middle :],
        b"PAR1" + body,
    ):
        store_of(settings).put(key, damaged)
        reader = ArchiveReader(ObjectStore(settings), ArchiveLog(bucket))
        with pytest.raises(ArchiveDamagedError, match=key):
            reader.events(PROJECT, positions)
        reader.close()


def test_commands_go_on_as_before(settings: Settings, bucket: Watched, tmp_path: Path) -> None:
    life = a_life()
    cold_ledger(settings, bucket, life).close()
    hot = replace(settings, home=tmp_path / "hot", ledger=f"embedded://{tmp_path}/hot.sqlite")
    with_all = Ledger.open(hot)
    for each in life:
        with_all.land("ledger", each)
    with_all.close()
    assert _told(settings) == _told(hot)
    nowhere = _at_home(replace(settings, s3_endpoint=""))
    assert "ENCHANTED_S3_ENDPOINT" in nowhere.refuse("cat", str(PROJECT), "a")


def _at_home(settings: Settings) -> Quick:
    names = ("ledger", "s3_endpoint", "s3_bucket", "s3_access_key", "s3_secret_key")
    lines = [f"ENCHANTED_{name.upper()}={getattr(settings, name)}\n" for name in names]
    settings.home.mkdir(exist_ok=True)
    (settings.home / "stack.env").write_text("".join(lines))
    return Quick(settings.home)


def _told(settings: Settings) -> list[str | dict[str, bytes]]:
    """What the commands say of the project, and what they write."""
    enchanted, shop, target = _at_home(settings), str(PROJECT), settings.home / "target"
    said = [
        enchanted.succeed("cat", shop, "a", "--at", event(3).event_id),
        enchanted.succeed("ls", shop, "--at", event(4).event_id),
        enchanted.succeed("log", shop),
        enchanted.succeed("diff", shop, event(1).event_id),
        enchanted.succeed("why", shop, "a"),
        enchanted.succeed("timeline", shop),
        enchanted.succeed("verify", shop),
        enchanted.succeed("restore", shop, target, "--at", event(4).event_id).replace(str(target), ""),
        enchanted.succeed("export", "jsonl", shop),
    ]
    return [*said, {path.name: path.read_bytes() for path in target.iterdir()}]


def _landed(given: list[Batch], partition: int) -> list[tuple[int, ProjectName | None, list[bytes]]]:
    messages = [each for one in given if one.partition == partition for each in one.messages]
    return [(each.sequence, each.project, [landed.data for landed in each.events]) for each in messages if each.events]


@pytest.mark.parametrize("is_merged", [False, True])
def test_a_partition_in_the_order_of_the_log(
    settings: Settings, bucket: Watched, is_merged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small enough that runs lie on the disk, too.
    monkeypatch.setattr(merging, "MEMORY_BYTES", 2_000)
    monkeypatch.setattr(merging, "ROWS_AT_ONCE", 3)
    given = [each for partition in (0, 1) for each in batches(BATCHES, partition, days=2)]
    archive(settings, *given)
    if is_merged:
        assert compact(settings).merges
    reader, state = reader_of(bucket), state_of(settings)
    for partition in (0, 1):
        landed = _landed(given, partition)
        last = landed[-1][0]
        for after, through in [(0, last), (7, last), (0, 12), (7, 8), (last, last)]:
            found = list(reader.messages(state, STREAM, partition, after, through))
            told = [(each.sequence, each.project, [one.data for one in each.events]) for each in found]
            assert told == [each for each in landed if after < each[0] <= through]
            assert [one.index for each in found for one in each.events] == [0, 1] * len(found)
            assert all(each.recorded_us > BEGAN_US for each in found)
    reader.close()


def test_parts_come_ahead_of_the_event_that_names_them(settings: Settings, bucket: Watched) -> None:
    archive(settings, *a_life())
    reader = reader_of(bucket)
    found = list(reader.messages(state_of(settings), STREAM, 0, 0, 6))
    assert [(each.sequence, each.part) for each in found if each.part] == [(2, half) for half in HALVES]
    assert [each.sequence for each in found] == [1, 2, 2, 2, 5, 6]
    again = list(reader.messages(state_of(settings), STREAM, 0, 2, 6))
    assert [(each.sequence, each.part) for each in again[:2]] == [(2, half) for half in HALVES]
    reader.close()


def test_a_reader_follows_the_archive_as_it_changes(settings: Settings, bucket: Watched) -> None:
    given = batches(4)
    archive(settings, *given[:2])
    reader = reader_of(bucket)
    first, last = (one.messages[0] for one in (given[0], given[3]))
    assert first.project
    assert last.project
    known = Position(STREAM, 0, first.sequence, 0)
    later = Position(STREAM, 0, last.sequence, 0)
    assert reader.events(first.project, [known]) == [first.events[0].data]
    with pytest.raises(NotFoundError):
        reader.events(last.project, [later])
    archive(settings, *given[2:])
    assert reader.events(last.project, [later]) == [last.events[0].data]
    before = set(state_of(settings).files)
    assert compact(settings).merges
    store_of(settings).delete(before - set(state_of(settings).files))
    # Its files are gone, and what it has kept of one of them is not asked for.
    fresh = reader_of(bucket)
    fresh.events(last.project, [later])
    second = given[0].messages[1]
    assert second.project
    assert reader.events(second.project, [Position(STREAM, 0, second.sequence, 1)]) == [second.events[1].data]
    reader.close()
