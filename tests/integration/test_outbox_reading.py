"""An outbox read by itself, with no server, and what ``enchanted status`` tells of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nervous_system.events import INLINE_LIMIT_BYTES
from nervous_system.outbox.draining import Acknowledgement, Drain
from nervous_system.outbox.opening import outbox_path
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from tests.integration.quick_command import Quick

PROJECT = "acme/shop"
TEXT = b"".join(b"line %d\n" % number for number in range(40))
CHANGED = TEXT.replace(b"line 7\n", b"line seven\n")
LARGE = os.urandom(INLINE_LIMIT_BYTES + 1)


@pytest.fixture
def quick(tmp_path: Path) -> Quick:
    return Quick(tmp_path / "home")


@pytest.fixture
def outbox(quick: Quick) -> Path:
    settings = Settings(home=quick.home)
    with Recorder(PROJECT, agent="ada", settings=settings) as recorder:
        with recorder.decision("count from one"):
            recorder.file_changed("a.txt", TEXT)
            recorder.file_changed("large.bin", LARGE)
        recorder.checkpoint("before")
        with recorder.decision("a word reads better"):
            recorder.file_changed("a.txt", CHANGED, previous=TEXT)
    return outbox_path(settings, ProjectName.parse(PROJECT))


def test_every_question_is_answered_from_the_outbox(quick: Quick, outbox: Path, tmp_path: Path) -> None:
    log = [
        json.loads(line) for line in quick.succeed("log", PROJECT, "--oldest-first", "--json", "--outbox").splitlines()
    ]
    assert [each["type"] for each in log] == [
        "DECISION",
        "STATE_CHANGE",
        "STATE_CHANGE",
        "CHECKPOINT",
        "DECISION",
        "STATE_CHANGE",
    ]
    assert quick.succeed("cat", PROJECT, "a.txt", "--outbox").encode() == CHANGED
    assert quick.succeed("cat", PROJECT, "a.txt", "--at", "before", "--outbox", outbox).encode() == TEXT
    assert "+line seven" in quick.succeed("diff", PROJECT, "before", "--outbox")
    assert "a.txt" in quick.succeed("ls", PROJECT, "--outbox")
    assert "a word reads better" in quick.succeed("why", PROJECT, "a.txt:8", "--outbox")
    assert "because: count from one" in quick.succeed("timeline", PROJECT, "--outbox")
    quick.succeed("restore", PROJECT, tmp_path / "out", "--outbox")
    assert (tmp_path / "out" / "a.txt").read_bytes() == CHANGED
    assert (tmp_path / "out" / "large.bin").read_bytes() == LARGE


def test_what_stands_in_the_way_is_told(quick: Quick, outbox: Path) -> None:
    assert "--outbox" in quick.refuse("log", PROJECT)
    assert "There is no outbox" in quick.refuse("log", "acme/other", "--outbox")
    assert "acme/shop's" in quick.refuse("log", "acme/other", "--outbox", outbox)
    assert "--follow" in quick.refuse("timeline", PROJECT, "--follow", "--outbox")


def test_contents_that_the_outbox_no_longer_has_are_told_of(quick: Quick, outbox: Path, tmp_path: Path) -> None:
    stream = StreamIdentity("SWARM", 1)
    with Drain(outbox) as drain:
        first = drain.pending()[0]
        drain.acknowledge(stream, [Acknowledgement(first.number, 1)])
        drain.cover(stream, 1)
        assert drain.prune(0.0) == 1
    assert "no longer has all" in quick.refuse("cat", PROJECT, "a.txt", "--outbox")
    assert "a word reads better" in quick.succeed("log", PROJECT, "--outbox")


def test_status_tells_what_waits_and_since_when_with_no_stack(quick: Quick, outbox: Path) -> None:
    code, said = quick.run("status", "--json")
    assert code == 3
    (found,) = json.loads(said)["outboxes"]
    assert (found["project"], found["waiting"], found["outbox"]) == (PROJECT, 7, str(outbox))
    assert found["waiting_bytes"] > len(LARGE)
    told = f"acme/shop: 7 waiting, {found['waiting_bytes'] // 1_000} kB, since {found['since']}"
    assert told in quick.run("status")[1]
    outbox.write_bytes(b"not a database")
    assert "acme/shop" in quick.run("status")[1]
