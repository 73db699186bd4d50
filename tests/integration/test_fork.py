"""Forks through the whole stack: the past is shared, what comes later is each one's own."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from nervous_system.landed import wait_until_landed
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.quick_command import Quick
from tests.integration.restoring import standing

FIRST, SECOND = b"one\ntwo\n", b"one\nTWO\n"


@dataclass(frozen=True, slots=True)
class Scene:
    """A project that went on after the event at which it is forked.

    Args:
        parting: the last event that is to be shared.
    """

    stack: Quick
    settings: Settings
    project: str
    parting: str

    def new_name(self) -> str:
        return f"forked/f{uuid.uuid4().hex[:12]}"

    def fork(self, *options: str, at: str = "") -> str:
        name = self.new_name()
        self.stack.succeed("fork", self.project, name, "--at", at or self.parting, *options)
        return name

    def record(self, project: str, path: str, content: bytes, **known: bytes) -> None:
        with Recorder(project, agent="eve", settings=self.settings, direct=True) as recorder:
            recorder.decision(f"Write {path}")
            recorder.file_changed(path, content, **known)  # type: ignore[arg-type]
            recorder.flush()
            wait_until_landed(self.settings, ["ledger"], recorder.last_sequence)

    def files(self, project: str, folder: Path) -> dict[str, bytes]:
        target = folder / uuid.uuid4().hex
        self.stack.succeed("restore", project, target)
        return {path: content for path, (_, content) in standing(target).items()}

    def told(self, *arguments: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.stack.succeed(*arguments, "--json").splitlines()]


@pytest.fixture(scope="module")
def scene(whole_stack: Enchanted) -> Scene:
    settings = Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})
    project = f"forked/p{uuid.uuid4().hex[:12]}"
    with Recorder(project, agent="ada", settings=settings, direct=True) as recorder:
        recorder.decision("Begin\n\nSomething must.")
        recorder.file_changed("poem.txt", FIRST)
        parting = recorder.checkpoint("draft")
        recorder.decision("Louder")
        recorder.file_changed("poem.txt", SECOND, previous=FIRST)
        recorder.flush()
        wait_until_landed(settings, ["ledger"], recorder.last_sequence)
    return Scene(Quick(whole_stack.home), settings, project, parting)


def test_both_go_on_from_what_they_share(scene: Scene, tmp_path: Path) -> None:
    before = scene.stack.succeed("log", scene.project, "--json")
    fork = scene.fork("--reason", "to try it in verse")
    assert scene.files(fork, tmp_path) == {"poem.txt": FIRST}
    scene.record(fork, "poem.txt", b"one\nthree\n", previous=FIRST)
    scene.record(fork, "verse.txt", b"new\n")
    assert scene.files(fork, tmp_path) == {"poem.txt": b"one\nthree\n", "verse.txt": b"new\n"}
    assert scene.files(scene.project, tmp_path) == {"poem.txt": SECOND}
    assert scene.stack.succeed("log", scene.project, "--json") == before, "the parent is not changed"
    scene.record(scene.project, "elsewhere.txt", b"later\n")
    assert "elsewhere.txt" not in scene.stack.succeed("ls", fork)


def test_the_shared_past_is_the_forks_own_to_whoever_asks(scene: Scene) -> None:
    fork = scene.fork("--reason", "to try it in verse")
    scene.record(fork, "poem.txt", b"one\nthree\n", previous=FIRST)
    shared = [row["event_id"] for row in scene.told("log", scene.project, "--oldest-first", "--at", scene.parting)]
    rows = scene.told("log", fork, "--oldest-first")
    assert [row["event_id"] for row in rows[: len(shared)]] == shared
    assert [row["event_id"] for row in scene.told("timeline", fork)] == [row["event_id"] for row in rows]
    opening = rows[len(shared)]["checkpoint"]
    assert "to try it in verse" in opening["description"]  # type: ignore[index]
    lines = json.loads(scene.stack.succeed("why", fork, "poem.txt", "--json"))
    assert [line["decision"]["rationale"].partition("\n")[0] for line in lines] == ["Begin", "Write poem.txt"]
    assert scene.stack.succeed("ls", fork, "--at", "draft") == scene.stack.succeed("ls", scene.project, "--at", "draft")
    assert "draft" in scene.stack.succeed("checkpoint", "list", fork)
    scene.stack.succeed("verify", fork)
    scene.stack.succeed("verify", scene.project)
    scene.stack.succeed("checkpoint", "validate", "draft", "--project", fork)


def test_a_fork_goes_back_alone(scene: Scene, tmp_path: Path) -> None:
    fork = scene.fork()
    scene.record(fork, "poem.txt", b"three\n", previous=FIRST)
    scene.stack.succeed("checkpoint", "rollback", "draft", "--project", fork)
    assert scene.files(fork, tmp_path) == {"poem.txt": FIRST}
    assert scene.files(scene.project, tmp_path)["poem.txt"] == SECOND


def test_a_fork_can_be_forked(scene: Scene, tmp_path: Path) -> None:
    fork, name = scene.fork(), scene.new_name()
    scene.record(fork, "verse.txt", b"new\n")
    scene.stack.succeed("fork", fork, name)
    scene.record(name, "poem.txt", b"four\n", previous=FIRST)
    assert scene.files(name, tmp_path) == {"poem.txt": b"four\n", "verse.txt": b"new\n"}
    assert scene.files(fork, tmp_path) == {"poem.txt": FIRST, "verse.txt": b"new\n"}
    scene.stack.succeed("verify", name)


def test_what_cannot_be_forked_is_told(scene: Scene, whole_stack: Enchanted) -> None:
    fork = scene.fork()
    assert "another tenant" in scene.stack.refuse("fork", scene.project, "elsewhere/x")
    for taken in (fork, scene.project):
        assert "has events already" in scene.stack.refuse("fork", scene.project, taken)
    assert "not a moment" in scene.stack.refuse("fork", scene.project, scene.new_name(), "--at", "whenever")
    assert "no project" in whole_stack.refuse("fork", "forked/nobody", scene.new_name())
