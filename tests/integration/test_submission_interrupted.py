"""A submission whose way is cut or late, or that ends in a server's death, is written once, and its caller hears so."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infrastructure.local.stack import running_stack
from nervous_system import bus, submission
from nervous_system.landed import last_sequence
from nervous_system.settings import Settings
from nervous_system.submission import Submission, submit
from tests.integration.stack_process import StackCommands
from tests.integration.submitting import events_of, made, new_project
from tests.integration.wire import Link, Wire, shut, to_client, to_server

COMMIT = b"Nats-Batch-Commit"
ACKNOWLEDGED = b'"seq":'


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not wait long for what never comes."""
    monkeypatch.setattr(bus, "ACKNOWLEDGE_TIMEOUT_S", 1.0)


@pytest.mark.parametrize("count", [1, 2_500], ids=["one message", "several messages"])
@pytest.mark.parametrize("expecting", [True, False])
def test_a_lost_acknowledgement_is_no_failure_and_writes_once(servers: Settings, count: int, expecting: bool) -> None:
    project = new_project()
    events = made(project, count)
    lost = threading.Event()

    def lose(link: Link, data: bytes) -> None:
        if ACKNOWLEDGED in data and not lost.is_set():
            lost.set()
            link.cut()
        else:
            to_client(link, data)

    with Wire(servers.nats_url, reply=lose) as wire:
        through = replace(servers, nats_url=wire.url)
        sequence = submit(through, [Submission(project, events, expected_sequence=0 if expecting else None)])
    assert lost.is_set()
    assert sequence == last_sequence(servers, project)
    assert events_of(servers, project) == events


@pytest.mark.parametrize("late", ["before the second", "after the second"])
@pytest.mark.parametrize("expecting", [True, False])
def test_a_commit_that_comes_late_writes_once(servers: Settings, late: str, expecting: bool) -> None:
    """The first attempt is held on the way while the client, which finds nothing, makes a second one."""
    project, other = new_project(), new_project()
    held: list[tuple[Link, bytes]] = []
    answered = threading.Event()
    second = threading.Event()

    def release() -> None:
        link, data = held[0]
        to_server(link, data)
        assert answered.wait(20)

    def hold(link: Link, data: bytes) -> None:
        if COMMIT not in data:
            to_server(link, data)
        elif not held:
            held.append((link, data))
            shut(link.client)
        elif not second.is_set() and late == "before the second":
            second.set()
            release()
            to_server(link, data)
        else:
            second.set()
            to_server(link, data)

    def notice(link: Link, data: bytes) -> None:
        if not held or link is not held[0][0]:
            to_client(link, data)
        elif ACKNOWLEDGED in data:
            answered.set()

    parcels = [
        Submission(each, made(each, count), expected_sequence=0 if expecting else None)
        for each, count in ((project, 1), (other, 1_500))
    ]
    with Wire(servers.nats_url, request=hold, reply=notice) as wire:
        sequence = submit(replace(servers, nats_url=wire.url), parcels)
        assert second.is_set()
        if late == "after the second":
            release()
    assert sequence == last_sequence(servers, other)
    assert [events_of(servers, each) for each in (project, other)] == [parcel.events for parcel in parcels]


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Settings]:
    """A NATS of the test's own."""
    with running_stack(tmp_path / "home", ["nats"]) as settings:
        yield settings


def test_a_hub_killed_while_it_writes_has_all_or_nothing(own_hub: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server dies with the commit in its hands; once it is back, the submission ends well, written once."""
    monkeypatch.setattr(submission, "BATCH_LIMIT_EVENTS", 10)
    server = StackCommands(own_hub.home).pid("nats")
    doomed = threading.Event()

    def kill(link: Link, data: bytes) -> None:
        if COMMIT in data and not doomed.is_set():
            doomed.set()
            to_server(link, data)
            # At some moment of the write, which takes about as long.
            threading.Event().wait(random.uniform(0, 0.02))
            os.kill(server, signal.SIGKILL)
            link.cut()
        else:
            to_server(link, data)

    def silence(link: Link, data: bytes) -> None:
        if not (doomed.is_set() and ACKNOWLEDGED in data and psutil.pid_exists(server)):
            to_client(link, data)

    projects = [new_project(), new_project()]
    parcels = [Submission(project, made(project, 4_000), expected_sequence=0) for project in projects]
    with Wire(own_hub.nats_url, request=kill, reply=silence) as wire:
        sequence = submit(replace(own_hub, nats_url=wire.url), parcels)
    assert doomed.is_set()
    assert sequence == last_sequence(own_hub, projects[1])
    assert [events_of(own_hub, project) for project in projects] == [parcel.events for parcel in parcels]
