"""A log gets another number of partitions, and every project's events stay once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from infrastructure.local.stack import running_stack
from ingestors.janitor.bounds import Bounds
from ingestors.janitor.policy import Policy
from ingestors.janitor.stream import LogStore
from nervous_system import bus, landed, repartitioning, subjects
from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.events import encode_batch, now_us, uuid7
from nervous_system.landing import Cursor
from nervous_system.projects import ProjectName
from nervous_system.repartitioning import Repartitioned, repartition
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.stack_process import wait_until
from tests.integration.stores import in_ledger
from tests.samples import event

PROJECTS = [ProjectName("grow", f"p{number}") for number in range(9)]
SINKS = ("ledger",)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Settings]:
    with running_stack(tmp_path / "home", ["nats"]) as settings:
        yield replace(settings, ledger=f"embedded://{tmp_path}/ledger.sqlite")


def sent(settings: Settings, first: int) -> dict[ProjectName, list[bytes]]:
    """One event of each project, published."""
    made = {project: event(first + place, project) for place, project in enumerate(PROJECTS)}

    async def run() -> None:
        client = await bus.connect(settings)
        context = client.jetstream()
        await bus.ensure_stream(context, settings)
        for project, each in made.items():
            data = encode_batch([each.SerializeToString()])
            await bus.publish(context, subjects.published(project, subjects.EVENTS), data, uuid7(1))
        await client.close()

    asyncio.run(run())
    return {project: [each.SerializeToString()] for project, each in made.items()}


def moved(settings: Settings, partitions: int) -> Repartitioned:
    return asyncio.run(repartition(settings, partitions, SINKS))


@pytest.mark.parametrize("partitions", [7, 2])
def test_events_stay_once_and_in_order(log: Settings, tmp_path: Path, partitions: int) -> None:
    before = sent(log, 100)
    variables = {"ENCHANTED_LEDGER": log.ledger, "ENCHANTED_BATCH_MAX_AGE_S": "0.01"}
    command = Enchanted(log.home, variables)
    old = command.start("ingest", "ledger")
    said = command.succeed("repartition", str(partitions), "--sink", "ledger")
    assert f"has {partitions} partitions instead of 4" in said
    old.terminate()
    old.communicate()
    assert {project: in_ledger(log, project) for project in PROJECTS} == before
    grown = replace(log, partitions=partitions)
    after = sent(grown, 200)
    new = command.start("ingest", "ledger", ENCHANTED_PARTITIONS=str(partitions))
    try:
        for project in PROJECTS:
            wait_until(lambda project=project: len(in_ledger(log, project)) == 2, f"{project}'s second event")  # type: ignore[misc]
    finally:
        new.terminate()
        new.communicate()
    assert {project: in_ledger(log, project) for project in PROJECTS} == {
        project: before[project] + after[project] for project in PROJECTS
    }
    with pytest.raises(SettingsError, match="another number of partitions"):
        sent(log, 300)


def test_a_sink_that_does_not_land_leaves_the_log_as_it_was(log: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landed, "STANDSTILL_LIMIT_S", 0.5)
    sent(log, 100)
    with pytest.raises(UnavailableError, match="has not landed anything"):
        moved(log, 7)
    sent(log, 200)


def test_one_that_was_killed_goes_on(log: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(log, 100)

    async def close() -> None:
        client = await bus.connect(log)
        context = client.jetstream()
        info = await context.stream_info(log.stream)
        metadata = {bus.CLOSED_KEY: "4"}
        await context.update_stream(
            info.config.evolve(subjects=["closed.SWARM.>"], subject_transform=None, metadata=metadata)
        )
        await client.close()

    asyncio.run(close())
    monkeypatch.setattr(bus, "PUBLISH_DEADLINE_S", 0.2)
    with pytest.raises(UnavailableError, match="did not acknowledge"):
        sent(log, 200)
    monkeypatch.undo()
    worker = Enchanted(log.home, {"ENCHANTED_LEDGER": log.ledger})
    monkeypatch.setattr(landed, "STANDSTILL_LIMIT_S", 0.5)
    with pytest.raises(UnavailableError):
        moved(log, 7)
    sent(log, 300)
    running = worker.start("ingest", "ledger")
    monkeypatch.setattr(landed, "STANDSTILL_LIMIT_S", 60.0)
    try:
        assert moved(log, 7) == Repartitioned(4, 7, 2 * len(PROJECTS))
    finally:
        running.terminate()
        running.communicate()


def messages(settings: Settings) -> int:
    async def run() -> int:
        client = await bus.connect(settings)
        info = await client.jetstream().stream_info(settings.stream)
        await client.close()
        return info.state.messages

    return asyncio.run(run())


def test_a_log_that_was_opened_again_is_not_removed(log: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(log, 100)

    async def opened(context: JetStreamContext, settings: Settings, *_: object) -> None:
        await repartitioning._reopen(context, await context.stream_info(settings.stream), 4)
        await asyncio.to_thread(sent, log, 200)

    monkeypatch.setattr(repartitioning, "_land", opened)
    with pytest.raises(UnavailableError, match="opened again"):
        moved(log, 7)
    assert messages(log) == 2 * len(PROJECTS)


def test_a_log_that_was_made_anew_is_not_purged_by_what_was_known_of_the_old_one(
    log: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(log, 100)
    sent(log, 200)

    async def made_anew(context: JetStreamContext, name: str, _: object) -> None:
        await context.delete_stream(name)
        await asyncio.to_thread(sent, log, 300)
        await asyncio.to_thread(sent, log, 400)

    async def purge() -> None:
        client = await bus.connect(log)
        try:
            info = await client.jetstream().stream_info(log.stream)
            policy, stream = Policy(1), bus.identity(info)
            old = {(stream, partition): Cursor(info.state.last_seq + 1) for partition in range(log.partitions)}
            bounds = Bounds(policy, now_us(), {})
            bounds = replace(bounds, old={policy.cutoff_us("", bounds.now_us): old})
            await LogStore(client, info, lambda *_: True).remove(bounds)
        finally:
            await client.close()

    monkeypatch.setattr(bus, "mark_removed", made_anew)
    with pytest.raises(UnavailableError, match="made anew"):
        asyncio.run(purge())
    assert messages(log) == 2 * len(PROJECTS)


def test_the_same_number_changes_nothing(log: Settings) -> None:
    sent(log, 100)
    assert moved(log, 4).after == 4
    with pytest.raises(SettingsError, match="1 to 1024"):
        moved(log, 5000)
