"""Events get from an outbox to the ledger, each once and in order, whatever becomes of the hub and the syncer."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from infrastructure.local.stack import running_stack
from nervous_system import bus, subjects
from nervous_system.errors import AccessError, UnavailableError
from nervous_system.outbox.draining import Drain, DrainedElsewhereError
from nervous_system.settings import Settings
from tests.integration import sync_worker
from tests.integration.command import Enchanted
from tests.integration.stack_process import wait_until
from tests.integration.submitting import on_log, stored
from tests.integration.syncing import Edge
from tests.integration.wire import Link, Wire, to_client, to_server

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A log and a worker that lands it in the ledger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCHANTED_BATCH_MAX_AGE_S", "0.05")
        with running_stack(tmp_path_factory.mktemp("hub") / "home", ["nats", "ingest-ledger"]) as settings:
            yield settings


@pytest.fixture
def edge(hub: Settings, tmp_path: Path) -> Edge:
    return Edge.of(hub, tmp_path)


def test_what_was_recorded_is_in_the_ledger_with_its_large_contents(edge: Edge) -> None:
    edge.record(2_500, large=True)
    outcome = edge.synced()
    assert (outcome.tally.events, outcome.tally.parts) == (2_501, 2)
    edge.await_landed()
    assert edge.synced().tally.batches == 0
    edge.await_covered()
    assert len(edge.recorded()) == 2_501


def test_with_the_stack_up_it_gets_there_by_itself(whole_stack: Enchanted, tmp_path: Path) -> None:
    edge = Edge.of(Settings.load({"ENCHANTED_HOME": str(whole_stack.home)}), tmp_path)
    edge = replace(edge, settings=replace(edge.settings, outbox=""))
    edge.record(10, large=True)
    edge.await_landed()
    edge.await_covered()
    (told,) = [
        each
        for each in json.loads(whole_stack.run("status", "--json").stdout)["outboxes"]
        if each["project"] == str(edge.project)
    ]
    assert (told["waiting"], told["uncovered_batches"], told["since"]) == (0, 0, "")


def test_parts_stand_before_the_event_that_names_them(edge: Edge) -> None:
    edge.record(1, large=True)
    edge.synced()
    (naming, *_) = stored(edge.settings, edge.project)
    parts = stored(edge.settings, edge.project, subjects.BLOBS)
    assert len(parts) == 2
    assert all((part.seq or 0) < (naming.seq or 0) for part in parts)


def test_nothing_goes_before_the_ledger_has_it(edge: Edge, tmp_path: Path) -> None:
    edge = replace(edge, settings=replace(edge.settings, outbox_keep_s=0.0))
    edge.record(10)
    with running_stack(tmp_path / "home", ["nats"]) as without_ledger:
        alone = replace(
            edge,
            settings=replace(edge.settings, nats_url=without_ledger.nats_url, nats_token=without_ledger.nats_token),
        )
        assert not alone.synced().is_covered
        assert len(edge.recorded()) == 10
    events = edge.recorded()
    # Another log: all of it is sent again, and goes once it has landed.
    edge.synced()
    edge.await_landed(events)
    wait_until(lambda: edge.synced().is_covered and not edge.recorded(), "an empty outbox")


def test_a_hub_that_comes_late_gets_all_by_itself(edge: Edge, tmp_path: Path) -> None:
    edge.record(100)
    edge.command(ENCHANTED_NATS_URL="nats://127.0.0.1:9").refuse("sync", "--once")
    with Wire(edge.settings.nats_url) as wire:
        port, url = wire.port, wire.url
    health = tmp_path / "health.json"
    with edge.watched(ENCHANTED_NATS_URL=url, ENCHANTED_HEALTH_FILE=str(health)):
        wait_until(lambda: health.exists() and json.loads(health.read_text())["state"] == "retrying", "trouble told")
        edge.record(50)
        with Wire(edge.settings.nats_url, port=port):
            edge.await_landed()
            edge.record(50)
            edge.await_landed()
            edge.await_covered()


def test_a_connection_cut_again_and_again_doubles_and_misplaces_nothing(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "ACKNOWLEDGE_TIMEOUT_S", 0.5)
    monkeypatch.setattr("nervous_system.outbox.draining.BATCH_LIMIT_EVENTS", 20)
    chance = random.Random(seed := random.randrange(10**9))
    print(f"seed {seed}")
    cuts = 0

    def cut(link: Link, data: bytes, passage: object) -> None:
        nonlocal cuts
        if cuts < 6 and chance.random() < 0.05:
            cuts += 1
            link.cut()
        else:
            passage(link, data)  # type: ignore[operator]

    edge.record(2_000)
    with Wire(
        edge.settings.nats_url,
        request=lambda link, data: cut(link, data, to_server),
        reply=lambda link, data: cut(link, data, to_client),
    ) as wire:
        through = replace(edge, settings=replace(edge.settings, nats_url=wire.url))
        while (outcome := through.sync()).trouble is not None:
            assert isinstance(outcome.trouble, UnavailableError)
    assert cuts
    edge.await_landed()


@pytest.mark.parametrize("point", sync_worker.POINTS)
def test_a_syncer_killed_at_any_step_is_taken_up_where_it_was(edge: Edge, point: str) -> None:
    edge.record(60)
    command = edge.command()
    number = random.randint(1, 3) if point.endswith(("send", "pending", "acknowledge")) else 1
    died = subprocess.run(
        [sys.executable, "-m", "tests.integration.sync_worker", point, str(number), "sync", "--once"],
        env={"PATH": "/usr/bin:/bin", "ENCHANTED_HOME": str(command.home), **command.variables},
        capture_output=True,
        timeout=60,
        check=False,
    )
    # Whether the ledger has anything by then, and cover is called, is open.
    assert died.returncode in ((0, -signal.SIGKILL) if point.endswith("cover") else (-signal.SIGKILL,)), died.stderr
    edge.synced()
    edge.await_landed()


def test_a_watching_syncer_killed_at_random_instants_loses_nothing(edge: Edge) -> None:
    chance = random.Random(seed := random.randrange(10**9))
    print(f"seed {seed}")
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            edge.record(20)

    recording = threading.Thread(target=work)
    recording.start()
    try:
        for _ in range(5):
            process = edge.command().start("sync", "--watch")
            over.wait(chance.uniform(0.3, 1.2))
            process.kill()
            process.communicate()
    finally:
        over.set()
        recording.join()
    with edge.watched():
        edge.await_landed()
        edge.await_covered()


def test_beyond_the_window_of_message_ids_the_ledger_drops_what_comes_twice(edge: Edge) -> None:
    edge.record(30)
    edge.synced()
    with Drain(edge.path) as drain:
        # The acknowledgement was lost, and the log, days later, does not know the id: to it, any other is the same.
        drain._connection.execute(
            "UPDATE batches SET message_id = message_id || '-', stream = NULL, sequence = NULL, covered_us = NULL"
        )
    edge.record(5)
    edge.synced()
    assert len(stored(edge.settings, edge.project)) == 3
    edge.await_landed()


def test_one_drainer_a_file(edge: Edge) -> None:
    edge.record(5)
    with Drain(edge.path), pytest.raises(DrainedElsewhereError, match="Another process drains"):
        Drain(edge.path)
    with edge.watched():
        edge.await_covered()
        # Another one drains it, and has emptied it: that is all that was asked for.
        assert "nothing to send" in edge.command().succeed("sync", "--once")


def test_outboxes_that_appear_while_it_watches_are_emptied(hub: Settings, tmp_path: Path) -> None:
    first, second = (Edge.of(hub, tmp_path) for _ in range(2))
    with first.watched():
        for edge in (first, second):
            edge.record(5)
            edge.await_landed()
            edge.await_covered()
        # Removed and made anew, it is another outbox.
        landed = second.recorded()
        for file in second.path.parent.glob(f"{second.path.name}*"):
            file.unlink()
        second.record(5)
        second.await_landed(landed + second.recorded())


def test_a_wrong_token_is_told_in_a_sentence(edge: Edge) -> None:
    edge.record(1)
    wrong = replace(edge, settings=replace(edge.settings, nats_token="wrong"))
    assert isinstance(wrong.sync().trouble, AccessError)
    assert "refuses the token" in wrong.command().refuse("sync", "--once", "--project", str(edge.project))


def test_what_the_hub_refuses_as_too_large_holds_up_only_its_own_project(hub: Settings, tmp_path: Path) -> None:
    edges = [Edge.of(hub, tmp_path) for _ in range(2)]
    for edge in edges:
        edge.record(3)
    edges[0].record(1, large=True)

    async def limit(context: JetStreamContext, size_bytes: int) -> None:
        info = await context.stream_info(hub.stream)
        await context.update_stream(info.config.evolve(max_msg_size=size_bytes))

    on_log(hub, lambda context: limit(context, 100_000))
    try:
        report = edges[0].command().run("sync", "--once", "--json")
    finally:
        on_log(hub, lambda context: limit(context, -1))
    assert report.returncode == 2
    assert "too large" in report.stderr
    by_project = {each["project"]: each for each in json.loads(report.stdout)}
    assert by_project[str(edges[0].project)]["waiting"]["rows"] > 0
    assert by_project[str(edges[1].project)]["waiting"]["rows"] == 0
    edges[0].command().succeed("sync", "--once")
    for edge in edges:
        edge.await_landed()
