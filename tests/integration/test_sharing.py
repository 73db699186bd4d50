"""Processes of one sink share the partitions by themselves, and take over from those that end or are killed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from infrastructure.cli.ingest import parse_share
from ingestors import sharing
from ingestors.sharing import Roster, share
from nervous_system import bus
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.stack_process import PATIENCE_S, wait_until
from tests.integration.test_scale_out import (
    STORES,
    Start,
    check,
    holds_all,
    projects,  # noqa: F401 (a fixture)
    send_all,
    start,  # noqa: F401 (a fixture)
    stop,
)

SINK = "clickhouse"
PARTITIONS = 7


@given(st.sets(st.text(), min_size=1), st.integers(1, 64))
def test_each_partition_is_somebodys_and_nobody_has_two_more_than_another(members: set[str], partitions: int) -> None:
    shares = [share(partitions, members, own) for own in members]
    assert sorted(itertools.chain(*shares)) == list(range(partitions))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.integers(1, 40), st.data())
def test_shares_by_number_are_all_of_them(count: int, data: st.DataObject) -> None:
    shares = data.draw(st.integers(1, count))
    found = [partition for ordinal in range(shares) for partition in parse_share(f"{ordinal}/{shares}", count) or []]
    assert sorted(found) == list(range(count))


@pytest.mark.parametrize("text", ["", "3", "1/", "/3", "3/3", "0/0", "0/5", "-1/3", "a/b", "Auto"])
def test_what_is_no_share_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no share of 4 partitions"):
        parse_share(text, 4)


def test_who_was_not_heard_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        roster = Roster(Client(), SINK, "own")
        await roster._hear(Msg(_client=Client(), data=b"other"))
        assert roster.members() == {"own", "other"}
        monkeypatch.setattr(sharing, "LOST_AFTER_S", 0.0)
        assert roster.members() == {"own"}
        monkeypatch.setattr(sharing, "LOST_AFTER_S", 1e9)
        assert roster.members() == {"own"}

    asyncio.run(work())


def test_processes_that_come_and_go_share_anew(servers: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT_S", 0.05), ("LISTEN_S", 0.2), ("LOST_AFTER_S", 0.6)):
        monkeypatch.setattr(sharing, name, seconds)
    asyncio.run(come_and_go(servers))


async def come_and_go(settings: Settings) -> None:
    clients = {name: await bus.connect(settings) for name in "abc"}
    held: dict[str, Sequence[int]] = {}
    tasks = {
        name: asyncio.create_task(follow(name, Roster(client, "test", name).shares(PARTITIONS), held))
        for name, client in clients.items()
    }
    await until(lambda: held == {"a": [0, 3, 6], "b": [1, 4], "c": [2, 5]}, held)
    # One says that it leaves.
    tasks["a"].cancel()
    await until(lambda: held == {"b": [0, 2, 4, 6], "c": [1, 3, 5]}, held)
    # One is not heard any more.
    await clients["b"].close()
    await until(lambda: held["c"] == list(range(PARTITIONS)), held)
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    for client in clients.values():
        await client.close()


async def follow(name: str, shares: AsyncGenerator[Sequence[int], None], held: dict[str, Sequence[int]]) -> None:
    try:
        async with aclosing(shares):
            async for partitions in shares:
                held[name] = partitions
    finally:
        held.pop(name, None)


async def until(condition: object, held: object) -> None:
    assert callable(condition)
    deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, held
        await asyncio.sleep(0.02)


def test_a_process_that_is_alone_takes_all(
    servers: Settings,
    projects: list[ProjectName],  # noqa: F811
    start: Start,  # noqa: F811
) -> None:
    """With others: tests/chaos/test_sharing_kills.py."""
    process = start(SINK, "--share", "auto")
    sent = send_all(servers, projects)
    wait_until(lambda: holds_all(servers, SINK, sent), "all events")
    stop(process)
    check(STORES[SINK](servers), sent)
