"""Checkpoints of several projects through the whole stack: consistent, found sound, and led back to together."""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from nervous_system.contract import SwarmEvent
from nervous_system.events import decode
from nervous_system.landed import wait_until_landed
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from nervous_system.subjects import StoredSubject
from nervous_system.submission import MovedError, Submission
from replay import rollback
from replay.checkpoints import create, cut, members_of
from replay.publication import publish
from replay.rollback import RollbackError
from tests.integration.command import Enchanted
from tests.integration.quick_command import Quick
from tests.integration.restoring import Model, standing
from tests.integration.submitting import stored as in_log

LARGE = bytes(range(256)) * 3_000
CHECKPOINTS = 6


@pytest.fixture(scope="module")
def stack(whole_stack: Enchanted) -> Quick:
    return Quick(whole_stack.home)


@pytest.fixture(scope="module")
def settings(whole_stack: Enchanted) -> Settings:
    return Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    opened = Ledger.open(settings)
    yield opened
    opened.close()


def partition(settings: Settings, project: ProjectName) -> int:
    return StoredSubject.parse(str(in_log(settings, project)[-1].subject)).partition


@contextmanager
def recording(settings: Settings, project: ProjectName, agent: str = "ada") -> Iterator[Recorder]:
    """A recorder; at the end all of it is in the ledger."""
    with Recorder(str(project), agent=agent, settings=settings, direct=True) as recorder:
        yield recorder
        recorder.flush()
        wait_until_landed(settings, ["ledger"], recorder.last_sequence)


def begin(settings: Settings, tenant: str) -> ProjectName:
    """A new project with files of several kinds."""
    project = ProjectName(tenant, f"p{uuid.uuid4().hex[:12]}")
    with recording(settings, project) as recorder:
        recorder.file_changed("readme.md", b"# one\n\nText.\n")
        recorder.file_changed("bin/run", b"#!/bin/sh\n", executable=True)
        recorder.file_changed("link", b"readme.md", symlink=True)
        recorder.file_changed("large", LARGE)
        recorder.file_changed("old/name", b"moved later\n")
    return project


def spoil(settings: Settings, project: ProjectName) -> None:
    with recording(settings, project, "eve") as recorder:
        recorder.file_changed("readme.md", b"# one\n\nNonsense.\n", previous=b"# one\n\nText.\n")
        recorder.file_changed("bin/run", None, previous=b"#!/bin/sh\n")
        recorder.file_changed("large", b"small now", previous=LARGE)
        recorder.file_changed("new/name", b"moved later\n", previous=b"moved later\n", renamed_from="old/name")
        recorder.file_changed("added", b"\0\1")


@pytest.fixture
def pair(settings: Settings) -> tuple[ProjectName, ProjectName]:
    """Two projects of one tenant in different partitions."""
    one = begin(settings, "checked")
    for _ in range(50):
        other = begin(settings, "checked")
        if partition(settings, other) != partition(settings, one):
            return one, other
    raise AssertionError("all projects are in one partition")


def options(*projects: ProjectName) -> list[str]:
    return [word for project in projects for word in ("--project", str(project))]


def restored(stack: Quick, project: ProjectName, folder: Path, at: str = "now") -> Model:
    target = folder / uuid.uuid4().hex
    stack.succeed("restore", str(project), target, "--at", at)
    return standing(target)


def count(ledger: Ledger, project: ProjectName) -> int:
    return ledger.history(project).head().count


def data(ledger: Ledger, *projects: ProjectName) -> list[list[bytes]]:
    return [[stored.data for stored in ledger.history(project).events()] for project in projects]


class Producer(threading.Thread):
    """Writes a cause in one project, and once that is on disk its effect in the other, again and again."""

    def __init__(self, settings: Settings, projects: tuple[ProjectName, ProjectName]) -> None:
        super().__init__()
        self._settings = settings
        self._projects = projects
        self._stopping = threading.Event()
        self.rounds = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with ExitStack() as exits:
                recorders = [
                    exits.enter_context(Recorder(str(project), agent="loop", settings=self._settings, direct=True))
                    for project in self._projects
                ]
                cause = ""
                for recorder in itertools.cycle(recorders):
                    cause = recorder.decision(f"round {self.rounds}", causation_id=cause)
                    recorder.flush()
                    self.rounds += 1
                    if self._stopping.is_set():
                        return
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        assert self.failure is None


def test_no_checkpoint_has_an_effect_without_its_cause(
    settings: Settings, ledger: Ledger, pair: tuple[ProjectName, ProjectName]
) -> None:
    producers = [Producer(settings, pair), Producer(settings, (pair[1], pair[0]))]
    sizes: list[int] = []
    for producer in producers:
        producer.start()
    try:
        for number in range(CHECKPOINTS):
            before = sum(producer.rounds for producer in producers)
            create(settings, ledger, f"cut {number}", cut(settings, ledger, pair))
            events = inside(ledger, pair, f"cut {number}")
            loops = {event.event_id: event for event in events if event.agent_id == "loop"}
            missing = [event for event in loops.values() if event.causation_id and event.causation_id not in loops]
            assert not missing, f"{len(missing)} effects without their cause"
            assert len(loops) >= before, "what was on disk before belongs to it"
            sizes.append(len(loops))
    finally:
        for producer in producers:
            producer.stop()
    assert sizes == sorted(set(sizes)), "the producers went on meanwhile"


def inside(ledger: Ledger, projects: tuple[ProjectName, ...], name: str) -> list[SwarmEvent]:
    """All events that a checkpoint covers."""
    found = members_of(ledger, projects[0], name)
    assert set(found) == set(projects)
    return [
        decode(stored.data)
        for project, moment in found.items()
        for stored in ledger.history(project).events(through=moment.through)
    ]


def test_projects_go_back_together_and_forth_again(
    stack: Quick, settings: Settings, ledger: Ledger, pair: tuple[ProjectName, ProjectName], tmp_path: Path
) -> None:
    stack.succeed("checkpoint", "create", "good", *options(*pair), "--description", "all is well")
    good = [restored(stack, project, tmp_path) for project in pair]
    for project in pair:
        spoil(settings, project)
    stack.succeed("checkpoint", "create", "bad", *options(*pair))
    bad = [restored(stack, project, tmp_path) for project in pair]
    assert good != bad
    counts = [count(ledger, project) for project in pair]

    said = json.loads(stack.succeed("checkpoint", "rollback", "good", *options(pair[0]), "--dry-run", "--json"))
    assert [row["project"] for row in said["projects"]] == [str(project) for project in pair]
    assert {change["kind"] for change in said["projects"][0]["changes"]} == {"added", "deleted", "modified", "renamed"}
    assert [count(ledger, project) for project in pair] == counts

    stack.succeed("checkpoint", "rollback", "good", *options(pair[0]), "--reason", "eve was wrong")
    assert [restored(stack, project, tmp_path) for project in pair] == good
    assert [restored(stack, project, tmp_path, "bad") for project in pair] == bad
    assert all(count(ledger, project) > before for project, before in zip(pair, counts, strict=True))
    reasons = json.loads(stack.succeed("why", str(pair[1]), "readme.md", "--json"))
    assert reasons[2]["decision"]["rationale"] == "Roll back to checkpoint 'good': eve was wrong"

    again = stack.succeed("checkpoint", "rollback", "good", *options(*pair))
    assert again.count("already") == len(pair)
    stack.succeed("checkpoint", "rollback", "bad", *options(*pair))
    assert [restored(stack, project, tmp_path) for project in pair] == bad
    stack.succeed("checkpoint", "rollback", "good", *options(pair[0]), "--only")
    assert [restored(stack, project, tmp_path) for project in pair] == [good[0], bad[1]]
    for project in pair:
        stack.succeed("verify", str(project))


def test_checkpoints_are_listed_and_found_sound(
    stack: Quick, settings: Settings, pair: tuple[ProjectName, ProjectName]
) -> None:
    stack.succeed("checkpoint", "create", "good", *options(*pair), "--description", "all is well")
    rows: list[dict[str, Any]] = json.loads(stack.succeed("checkpoint", "list", str(pair[1]), "--json"))
    (row,) = rows
    assert (row["name"], row["description"], row["replaced"]) == ("good", "all is well", False)
    assert row["projects"] == [project.project for project in pair]
    assert "all is well" in stack.succeed("checkpoint", "list", str(pair[0]))
    found = json.loads(stack.succeed("checkpoint", "validate", "good", *options(pair[1]), "--json"))
    assert {each["project"]: (each["ok"], each["files"]) for each in found["projects"]} == {
        str(project): (True, 5) for project in pair
    }
    spoil(settings, pair[0])
    assert "has a checkpoint 'good' already" in stack.refuse("checkpoint", "create", "good", *options(pair[0]))
    stack.succeed("checkpoint", "create", "good", *options(pair[0]), "--replace")
    told = stack.succeed("checkpoint", "validate", "good", *options(pair[0]))
    assert str(pair[1]) not in told
    assert "replaced by a later one" in stack.succeed("checkpoint", "list", str(pair[0]))


def test_what_cannot_be_is_told(
    stack: Quick, settings: Settings, ledger: Ledger, pair: tuple[ProjectName, ProjectName]
) -> None:
    elsewhere = begin(settings, "other")
    before = data(ledger, *pair, elsewhere)
    assert "one tenant" in stack.refuse("checkpoint", "create", "x", *options(pair[0], elsewhere))
    for name in ("now", "2 hours ago", "2026-11-21", "a:b"):
        assert "checkpoint" in stack.refuse("checkpoint", "create", name, *options(pair[0]))
    assert "no project" in stack.refuse("checkpoint", "create", "x", "--project", "checked/nobody")
    assert "--at" in stack.refuse("checkpoint", "create", "x", *options(*pair), "--at", "now")
    for command in ("validate", "rollback"):
        assert "has no checkpoint" in stack.refuse("checkpoint", command, "x", *options(pair[0]))
    assert data(ledger, *pair, elsewhere) == before
    stack.succeed("checkpoint", "create", "x", *options(pair[0]))
    assert "does not cover" in stack.refuse("checkpoint", "rollback", "x", *options(*pair))


def test_a_name_for_an_earlier_event(
    stack: Quick, settings: Settings, pair: tuple[ProjectName, ProjectName], tmp_path: Path
) -> None:
    good = restored(stack, pair[0], tmp_path)
    last = json.loads(stack.succeed("log", str(pair[0]), "--json", "--limit", "1"))
    spoil(settings, pair[0])
    stack.succeed("checkpoint", "create", "then", *options(pair[0]), "--at", last["event_id"])
    assert restored(stack, pair[0], tmp_path, "then") == good


def test_one_project_that_cannot_go_back_keeps_all_where_they_are(
    stack: Quick, settings: Settings, ledger: Ledger, pair: tuple[ProjectName, ProjectName]
) -> None:
    # A change that names content which never came.
    lost = Recorder(str(pair[1]), agent="eve", settings=settings, direct=True)
    lost.taker.put_part = lambda part: bytes(32)  # type: ignore[method-assign]
    lost.file_changed("lost", LARGE + b"and more")
    lost.flush()
    wait_until_landed(settings, ["ledger"], lost.last_sequence)
    lost.close()
    stack.succeed("checkpoint", "create", "hole", *options(*pair))
    for project in pair:
        spoil(settings, project)
    before = data(ledger, *pair)
    code, told = stack.run("checkpoint", "validate", "hole", *options(pair[0]), "--json")
    assert code == 1
    rows = {row["project"]: row for row in json.loads(told)["projects"]}
    assert rows[str(pair[0])]["ok"]
    assert not rows[str(pair[1])]["ok"]
    assert "content" in rows[str(pair[1])]["fault"]
    told_why = stack.refuse("checkpoint", "rollback", "hole", *options(*pair))
    assert "nothing was written" in told_why
    assert data(ledger, *pair) == before


@pytest.mark.parametrize("writers", [1, 4, rollback.ATTEMPTS])
def test_who_writes_meanwhile_has_it_prepared_anew(
    writers: int,
    settings: Settings,
    ledger: Ledger,
    pair: tuple[ProjectName, ProjectName],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create(settings, ledger, "good", cut(settings, ledger, pair))
    for project in pair:
        spoil(settings, project)
    left = iter(range(writers))
    refusals: list[MovedError] = []

    def publish_later(given: Settings, submissions: list[Submission]) -> None:
        # Between the preparing and the writing, where no test could otherwise be sure to come.
        if (number := next(left, None)) is not None:
            with recording(settings, pair[1], "bob") as recorder:
                recorder.file_changed(f"bob/{number}", b"bob\n")
        try:
            publish(given, submissions)
        except MovedError as error:
            refusals.append(error)
            raise

    monkeypatch.setattr(rollback, "publish", publish_later)
    before = data(ledger, pair[0])
    states = rollback.targets(ledger, members_of(ledger, pair[0], "good"))
    if writers == rollback.ATTEMPTS:
        with pytest.raises(RollbackError, match="Nothing was written"):
            rollback.roll_back(settings, ledger, states)
        assert data(ledger, pair[0]) == before
    else:
        done = rollback.roll_back(settings, ledger, states)
        assert {change.resource for change in done[1].differences} >= {f"bob/{each}" for each in range(writers)}
    assert len(refusals) == writers
