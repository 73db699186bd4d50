"""The janitor before real stores: what goes is in the archive, and nobody who asks notices."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from infrastructure.local.stack import running_stack
from ingestors import clickhouse
from ingestors.clickhouse import ClickHouseSink
from ingestors.janitor import stream
from ingestors.janitor.plan import by_store
from ingestors.janitor.policy import DAY_US, Policy
from ingestors.janitor.round import Janitor
from nervous_system import bus, subjects
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.layout import blob_key, bucket_folder, day_of
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.errors import UnavailableError
from nervous_system.events import INLINE_LIMIT_BYTES, content_hash, encode_batch, now_us, uuid7
from nervous_system.landed import last_sequence, wait_until_landed
from nervous_system.landing import Cursor
from nervous_system.ledger.embedded.backups import back_up
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from tests.integration.pumping import PATIENCE_S, log
from tests.integration.quick_command import Quick
from tests.integration.restoring import Model, standing
from tests.integration.stores import in_archive, in_clickhouse, in_ledger
from tests.samples import event

SINKS = ("ledger", "clickhouse", "siphon")
OLD, OTHER, KEPT = ProjectName("acme", "old"), ProjectName("acme", "other"), ProjectName("beta", "kept")
POLICY = Policy(30, {"beta": 0})
AHEAD_DAYS = 32
REVISIONS = 40
# In the order in which a round comes to them.
FAILPOINTS = (
    "janitor-after-ids",
    "janitor-after-cursors",
    "janitor-after-delete",
    "after-offload",
    "janitor-after-file",
    "janitor-after-mark",
    "janitor-after-purge",
)


@dataclass(frozen=True, slots=True)
class Hub:
    """A stack of its own, for the janitor looks at all that there is."""

    home: Path
    settings: Settings

    def janitor(self, ahead_days: int = AHEAD_DAYS) -> Janitor:
        return Janitor(self.settings, POLICY, lambda: now_us() + ahead_days * DAY_US)

    def record(self, project: ProjectName, revisions: int) -> None:
        content = b""
        with Recorder(str(project), agent="ada", settings=self.settings, direct=True) as recorder:
            recorder.file_changed("large.bin", os.urandom(2 * INLINE_LIMIT_BYTES + 1))
            for number in range(revisions):
                previous, content = content or None, os.urandom(2_000).hex().encode() + b"\n"
                recorder.decision(f"revision {number}")
                recorder.file_changed("file.txt", content, previous=previous)
            recorder.file_changed("large.bin", b"small now\n")
        self.await_landed(project)

    def await_landed(self, *projects: ProjectName) -> None:
        for project in projects:
            wait_until_landed(self.settings, SINKS, last_sequence(self.settings, project))

    def answers(self, project: ProjectName, folder: Path) -> dict[str, Any]:
        """What somebody sees who asks of the project, now and of the past."""
        quick = Quick(self.home)
        events = in_ledger(self.settings, project)
        told = [
            json.loads(line) for line in quick.succeed("log", str(project), "--json", "--limit", "100").splitlines()
        ]
        old = [each["event_id"] for each in told][len(told) // 3]
        return {
            "events": events,
            "log": told,
            "why": quick.succeed("why", str(project), "file.txt:1", "--at", old),
            "diff": quick.succeed("diff", str(project), old, "now"),
            "trees": [self.tree(project, moment, folder) for moment in (old, "now")],
            "verify": quick.succeed("verify", str(project)),
        }

    def tree(self, project: ProjectName, moment: str, folder: Path) -> Model:
        target = folder / uuid7(1)
        Quick(self.home).succeed("restore", str(project), target, "--at", moment)
        return standing(target)

    def work(self, *failpoints: str) -> list[int]:
        """Rounds in processes of their own, killed at the failpoints; how much the last one removed of each store."""
        environment = {**os.environ, "ENCHANTED_HOME": str(self.home), "ENCHANTED_HOT_DAYS": "30"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.janitor_worker", str(AHEAD_DAYS), *failpoints],
            env={**environment, "ENCHANTED_HOT_DAYS_BY_TENANT": "beta=0"},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [store["items"] for store in json.loads(done.stdout)["stores"]]

    def clickhouse_cursors(self) -> list[Any]:
        sink = ClickHouseSink(self.settings)
        sink.open()
        try:
            return [sink.cursor(self.stream(), partition) for partition in range(self.settings.partitions)]
        finally:
            sink.close()

    def stream(self) -> StreamIdentity:
        return asyncio.run(_identity(self.settings))


async def _identity(settings: Settings) -> StreamIdentity:
    async with log(settings) as context:
        return bus.identity(await context.stream_info(settings.stream))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = tmp_path_factory.mktemp("janitor") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCHANTED_SIPHON_ROLL_AGE_S", "0.3")
        with running_stack(home, ["nats", "clickhouse", "s3", *(f"ingest-{sink}" for sink in SINKS)]) as settings:
            made = Hub(home, settings)
            made.record(OLD, REVISIONS)
            # With an id of long ago.
            asyncio.run(_send(settings, OLD, [event(1, OLD).SerializeToString()]))
            made.await_landed(OLD)
            made.record(OTHER, 2)
            made.record(KEPT, 2)
            yield made


def test_nothing_goes_where_the_archive_is_damaged(hub: Hub) -> None:
    store = ObjectStore(hub.settings)
    entry = ArchiveLog(store).state().files_of(OLD)[0]
    body = store.get(entry.key)
    before = in_clickhouse(hub.settings, OLD), hub.stream()
    store.put(entry.key, body[:-1] + bytes([body[-1] ^ 1]))
    try:
        with pytest.raises(ArchiveDamagedError, match="SHA-256"):
            hub.janitor().once()
    finally:
        store.put(entry.key, body)
        store.close()
    assert (in_clickhouse(hub.settings, OLD), hub.stream()) == before


def test_nothing_goes_that_is_young(hub: Hub) -> None:
    assert [plan.items for plan in hub.janitor(ahead_days=29).plan()] == [0, 0, 0, 0]
    assert [done.items for done in hub.janitor(ahead_days=29).once().stores] == [0, 0, 0, 0]


def test_what_is_old_goes_and_every_answer_stays(hub: Hub, tmp_path: Path) -> None:
    settings = hub.settings
    before = hub.answers(OLD, tmp_path)
    cursors = hub.clickhouse_cursors()
    kept = in_clickhouse(settings, KEPT)
    plans = by_store(hub.janitor().plan())
    assert plans["clickhouse"].items == len(in_clickhouse(settings, OLD)) + len(in_clickhouse(settings, OTHER))
    assert {share.tenant for plan in plans.values() for share in plan.shares if share.items} == {"acme"}

    sizes = _sizes(hub)
    clickhouse_items, _, stream_items, _ = hub.work(*FAILPOINTS)
    assert clickhouse_items == 0
    assert stream_items > 0, "the last one killed was in the midst of the log"

    assert all(after < size for after, size in zip(_sizes(hub), sizes, strict=True)), (sizes, _sizes(hub))
    assert in_clickhouse(settings, OLD) == in_clickhouse(settings, OTHER) == []
    assert in_clickhouse(settings, KEPT) == kept
    assert hub.clickhouse_cursors() == cursors
    assert hub.answers(OLD, tmp_path) == before
    assert in_archive(settings, OLD) == before["events"]

    # Sent once more, long after: only what is new lands, and once.
    asyncio.run(_send(settings, OLD, [before["events"][-1]]))
    with Recorder(str(OLD), agent="eve", settings=settings, direct=True) as recorder:
        recorder.decision("afterwards")
    hub.await_landed(OLD)
    (new,) = in_clickhouse(settings, OLD)
    assert in_ledger(settings, OLD) == [*before["events"], new]
    assert new not in before["events"]


def test_what_landed_again_before_it_went_goes_whole(hub: Hub) -> None:
    project = ProjectName("acme", "doubled")
    hub.record(project, 1)
    old_us = now_us()
    first = in_ledger(hub.settings, project)[0]
    _wait_past(old_us)
    asyncio.run(_send(hub.settings, project, [first]))
    hub.await_landed(project)
    # Between the two: the first is old, and the second is not.
    janitor = Janitor(hub.settings, Policy(1, {"beta": 0}), lambda: old_us + DAY_US + 1)
    assert _rows(hub, project) == len(in_ledger(hub.settings, project)) + 1
    janitor.once()
    assert _rows(hub, project) == 0
    assert in_clickhouse(hub.settings, project) == []


def test_a_ledger_that_was_put_back_is_thinned_again(hub: Hub, tmp_path: Path) -> None:
    project, file = ProjectName("acme", "again"), tmp_path / "ledger.sqlite"
    hub.record(project, 3)
    hub.await_landed(project)
    back_up(Path(hub.settings.ledger.removeprefix("embedded://")), tmp_path / "copy")
    settings = replace(hub.settings, ledger=f"embedded://{file}")
    gone = []
    for is_put_back in (True, False, True):
        if is_put_back:
            for each in tmp_path.glob("ledger.sqlite*"):
                each.unlink()
            shutil.copy(tmp_path / "copy", file)
        janitor = Janitor(settings, POLICY, lambda: now_us() + AHEAD_DAYS * DAY_US)
        gone.append(next(done.items for done in janitor.once().stores if done.store == "ledger"))
    first, second, third = gone
    assert first == third > 0
    assert second == 0


def test_a_log_that_lost_its_end_is_left_alone(hub: Hub) -> None:
    place, now = (hub.stream(), 0), Cursor(1, now_us())

    async def check(cursor: Cursor) -> None:
        async with stream.opened(hub.settings, lambda *_: True) as opened:
            await opened.check({place: [now, cursor]})

    asyncio.run(check(Cursor()))
    with pytest.raises(UnavailableError, match="up to 1000000: it was restored"):
        asyncio.run(check(Cursor(1_000_000, now_us())))
    # What stands at the last sequence came after the one that was landed there.
    with pytest.raises(UnavailableError, match="restored from a backup"):
        asyncio.run(check(Cursor(last_sequence(hub.settings, KEPT), 1)))


def test_parts_stay_that_the_archive_lacks_and_that_dead_letters_need(hub: Hub) -> None:
    lacking, refused = ProjectName("acme", "lacking"), ProjectName("acme", "refused")
    hub.record(lacking, 1)
    asyncio.run(_send_bad_part(hub.settings, refused))
    hub.record(refused, 1)
    store = ObjectStore(hub.settings)
    part = content_hash(_first_part(hub.settings, lacking))
    key = blob_key("acme", bytes.fromhex(part))
    body = store.get(key)
    store.delete([key])
    try:
        held = hub.janitor().once().stores[2].held
        assert sorted(".".join(sentence.split(":")[0].split(".")[2:]) for sentence in held) == [
            "acme.lacking.blobs",
            "acme.refused.blobs",
        ]
        assert "the archive lacks the part" in "".join(held)
        assert "see `enchanted dlq list`" in "".join(held)
        assert _first_part(hub.settings, lacking) == body
        # Neither has the ledger let go of it.
        assert _content(hub, lacking, bytes.fromhex(part)) == body
    finally:
        store.put(key, body)
        store.close()


def test_objects_that_no_manifest_names_go_after_a_day(hub: Hub) -> None:
    store = ObjectStore(hub.settings)
    folder = bucket_folder(day_of(now_us()), 3)
    key = f"{folder}{1:020d}-{2:020d}.{'0' * 16}.parquet"
    store.put(key, b"left by a siphon that was killed")
    try:
        assert by_store(hub.janitor().plan())["archive"].items == 0
        assert store.size_bytes(key)
        assert by_store(hub.janitor(AHEAD_DAYS + 2).plan())["archive"].items == 1
        assert hub.janitor(AHEAD_DAYS + 2).once().stores[-1].items == 1
        assert store.size_bytes(key) is None
        state = ArchiveLog(store).state()
        assert all(store.size_bytes(each) for each in state.files)
    finally:
        store.close()


def test_two_at_once_do_no_harm(hub: Hub) -> None:
    project = ProjectName("acme", "pair")
    hub.record(project, 3)
    before = in_ledger(hub.settings, project)
    with ThreadPoolExecutor() as pool:
        other = pool.submit(hub.work)
        hub.janitor().once()
        other.result()
    assert in_ledger(hub.settings, project) == in_archive(hub.settings, project) == before
    assert in_clickhouse(hub.settings, project) == []


def test_the_command_says_what_goes(hub: Hub, tmp_path: Path) -> None:
    quick = Quick(hub.home)
    assert "ENCHANTED_HOT_DAYS=30" in quick.refuse("janitor", "--once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCHANTED_HOT_DAYS", "30")
        stores = json.loads(quick.succeed("janitor", "--dry-run", "--json"))["stores"]
        assert [store["store"] for store in stores] == ["clickhouse", "ledger", "stream", "archive"]
        assert "given back" in quick.succeed("janitor", "--once")
        patch.setenv("ENCHANTED_HOT_DAYS_BY_TENANT", "acme:30")
        assert "is not tenant=days" in quick.refuse("janitor", "--dry-run")
    health = tmp_path / "health.json"
    environment = {**os.environ, "ENCHANTED_HOME": str(hub.home), "ENCHANTED_HOT_DAYS": "30"}
    with subprocess.Popen(
        [sys.executable, "-m", "infrastructure.cli.main", "janitor"],
        env={**environment, "ENCHANTED_HEALTH_FILE": str(health)},
    ) as service:
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while not health.exists() or json.loads(health.read_text())["state"] != "running":
                assert time.monotonic() < deadline_s, health.exists() and health.read_text()
                time.sleep(0.05)
        finally:
            service.terminate()
    assert service.returncode == 0


def _sizes(hub: Hub) -> tuple[int, int, int]:
    """Of ClickHouse's table, the ledger's file and the log, in bytes."""
    client = clickhouse.connect(hub.settings)
    try:
        table = client.command("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'events'")
    finally:
        client.close()
    ledger = Path(hub.settings.ledger.removeprefix("embedded://")).stat().st_size
    return int(str(table)), ledger, asyncio.run(_stream_bytes(hub.settings))


def _rows(hub: Hub, project: ProjectName) -> int:
    client = clickhouse.connect(hub.settings)
    try:
        return int(str(client.command(f"SELECT count() FROM events WHERE project_id = '{project.project}'")))
    finally:
        client.close()


def _wait_past(moment_us: int) -> None:
    while now_us() <= moment_us + 1_000:
        time.sleep(0.001)


def _content(hub: Hub, project: ProjectName, digest: bytes) -> bytes:
    with closing(Ledger.open(replace(hub.settings, s3_endpoint="http://127.0.0.1:1"))) as ledger:
        (content,) = ledger.history(project).blobs([digest])
    return content


def _first_part(settings: Settings, project: ProjectName) -> bytes:
    async def read() -> bytes:
        async with log(settings) as context:
            subject = subjects.anywhere(project, subjects.BLOBS)
            return (await context.get_msg(settings.stream, seq=1, subject=subject, next=True)).data or b""

    return asyncio.run(read())


async def _send_bad_part(settings: Settings, project: ProjectName) -> None:
    async with log(settings) as context:
        headers = {subjects.PART_HASH_HEADER: content_hash(b"another")}
        await bus.publish(context, subjects.published(project, subjects.BLOBS), b"one", uuid7(1), headers)


async def _stream_bytes(settings: Settings) -> int:
    async with log(settings) as context:
        return (await context.stream_info(settings.stream)).state.bytes


async def _send(settings: Settings, project: ProjectName, events: list[bytes]) -> None:
    async with log(settings) as context:
        for data in events:
            await bus.publish(context, subjects.published(project, subjects.EVENTS), encode_batch([data]), uuid7(1))
