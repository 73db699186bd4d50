"""A hub that was put back to an older backup, or made anew, is sent again what it lacks: every event once, in order."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from infrastructure.local import stack
from nervous_system import bus
from nervous_system.events import encode_batch
from nervous_system.subjects import EVENTS, published
from tests.integration.stack_process import StackCommands, wait_until
from tests.integration.stores import in_ledger
from tests.integration.submitting import made, on_log, stored
from tests.integration.syncing import Edge

# Killed, or started and stopped, again and again: behind `make chaos`.
pytestmark = pytest.mark.slow

PARTS = ["nats", "ingest-ledger"]


@pytest.fixture
def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edge]:
    """A machine, and a hub of its own that a test may stop and spoil."""
    monkeypatch.setenv("ENCHANTED_BATCH_MAX_AGE_S", "0.05")
    home = tmp_path / "home"
    with stack.running_stack(home, PARTS) as settings:
        yield Edge.of(settings, tmp_path)


def back_up(edge: Edge, folder: Path) -> None:
    """Copies the log and the ledger while nothing runs."""
    stack.stop(edge.settings.home)
    for name in ("nats", "ledger"):
        shutil.copytree(edge.settings.home / name, folder / name)
    stack.start(edge.settings.home, PARTS)


def put_back(edge: Edge, folder: Path, *names: str) -> None:
    stack.stop(edge.settings.home)
    for name in names:
        shutil.rmtree(edge.settings.home / name)
        shutil.copytree(folder / name, edge.settings.home / name)
    stack.start(edge.settings.home, PARTS)


def record_and_cover(edge: Edge, count: int) -> None:
    edge.record(count, large=True)
    edge.synced()
    edge.await_landed()
    wait_until(lambda: edge.synced().is_covered, "an outbox that the ledger has all of")


@pytest.mark.parametrize("others", [0, 40], ids=["alone", "overtaken by others"])
def test_a_hub_restored_from_an_older_backup_is_sent_what_it_lost(edge: Edge, tmp_path: Path, others: int) -> None:
    record_and_cover(edge, 30)
    back_up(edge, tmp_path / "backup")
    for _ in range(3):
        record_and_cover(edge, 3)
    put_back(edge, tmp_path / "backup", "nats", "ledger")
    # Before anybody looks, the log may grow past where it was, so that its length no longer shows the loss.
    other = replace(edge, project=Edge.of(edge.settings, tmp_path).project)
    crowd(other, others)
    edge.record(5)
    with edge.watched():
        edge.await_landed()
        edge.await_covered()


def crowd(edge: Edge, messages: int) -> None:
    """Publishes messages of another project."""

    async def publish(context: JetStreamContext) -> None:
        for number, data in enumerate(made(edge.project, messages)):
            await bus.publish(
                context, published(edge.project, EVENTS), encode_batch([data]), f"{edge.project}/{number}"
            )

    on_log(edge.settings, publish)


def test_a_log_older_than_the_ledger_is_not_believed_and_once_made_anew_is_sent_all(edge: Edge, tmp_path: Path) -> None:
    record_and_cover(edge, 5)
    back_up(edge, tmp_path / "backup")
    record_and_cover(edge, 5)
    put_back(edge, tmp_path / "backup", "nats")
    before = len(in_ledger(edge.settings, edge.project))
    log = edge.settings.home / "logs" / "ingest-ledger.log"
    # Of the same project from elsewhere: the log has other messages where the ledger's cursor is.
    edge.record(50)
    crowd(edge, 60)
    edge.synced()
    wait_until(lambda: "has another message" in log.read_text(), "a worker that refuses")
    assert len(in_ledger(edge.settings, edge.project)) == before
    assert not edge.synced().is_covered
    on_log(edge.settings, lambda context: context.delete_stream(edge.settings.stream))
    with edge.watched():
        edge.await_landed()
        edge.await_covered()


def test_a_stream_made_anew_below_a_watching_syncer_is_sent_all_again(edge: Edge) -> None:
    with edge.watched():
        edge.record(20, large=True)
        edge.await_landed()
        on_log(edge.settings, lambda context: context.delete_stream(edge.settings.stream))
        edge.record(20)
        edge.await_landed()
        edge.await_covered()
    # All of it, and not only what is new.
    assert sum(len(message.data or b"") for message in stored(edge.settings, edge.project)) > sum(
        map(len, edge.recorded())
    )


def test_a_server_killed_below_a_syncer_gets_the_rest(edge: Edge) -> None:
    server = StackCommands(edge.settings.home)
    with edge.watched():
        for _ in range(2):
            edge.record(200)
            os.kill(server.pid("nats"), signal.SIGKILL)
            edge.record(200)
            edge.await_landed()
    edge.synced()


def test_only_what_the_ledger_has_is_deleted_when_the_log_was_overtaken(edge: Edge, tmp_path: Path) -> None:
    """The ledger's mark stands behind where the log once had a batch: that says nothing of the batch."""
    back_up(edge, tmp_path / "backup")
    edge.record(3)
    edge.synced()
    expected = edge.recorded()
    put_back(edge, tmp_path / "backup", "nats", "ledger")
    crowd(replace(edge, project=Edge.of(edge.settings, tmp_path).project), 10)
    hasty = replace(edge, settings=replace(edge.settings, outbox_keep_s=0.0))
    hasty.synced()
    edge.await_landed(expected)
    wait_until(lambda: hasty.synced().is_covered and not edge.recorded(), "an empty outbox")
