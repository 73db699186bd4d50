"""Processes that share the partitions by themselves take over from one that is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.local.stack import running_stack
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.stack_process import wait_until
from tests.integration.test_scale_out import STORES, Start, check, holds_all, send_all, start, stop  # noqa: F401

SINK = "clickhouse"
PROJECTS = 8


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running_stack(tmp_path_factory.mktemp("servers") / "home", ["nats", "clickhouse", "s3"]) as settings:
        yield settings


def test_two_processes_share_and_one_takes_over_from_one_that_is_killed(
    servers: Settings,
    start: Start,  # noqa: F811
    tmp_path: Path,
) -> None:
    projects = [ProjectName("share", f"p{number}-{random.randrange(10**9)}") for number in range(PROJECTS)]
    killed, staying = start(SINK, "--share", "auto"), start(SINK, "--share", "auto")
    first = send_all(servers, projects)
    wait_until(lambda: holds_all(servers, SINK, first), "the first events")
    killed.kill()
    second = send_all(servers, projects, first=10_000)
    sent = {project: names + second[project] for project, names in first.items()}
    wait_until(lambda: holds_all(servers, SINK, sent), "all events")
    stop(staying)
    check(STORES[SINK](servers), sent)
