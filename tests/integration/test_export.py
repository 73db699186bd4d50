"""Exports as a user makes them: a repository that imports again to the same trees, events byte for byte."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nervous_system.landed import wait_until_landed
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from replay.contents import Contents
from replay.merging import tree_at
from replay.moments import resolve
from replay.tree import tree_digest
from tests.cloudevents import check_cloud_event
from tests.integration.command import Enchanted
from tests.integration.odd_repository import GitRepository, build_odd_repository
from tests.integration.stores import in_ledger

ODD, SWARM = "exported/odd", "exported/swarm"
FORMAT = "--format=%T%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%cI"


@pytest.fixture(scope="module")
def odd(whole_stack: Enchanted, tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    repository = build_odd_repository(tmp_path_factory.mktemp("exported") / "odd")
    whole_stack.succeed("import", "git", repository.path, "--project", ODD)
    return repository


@pytest.fixture(scope="module")
def swarm(whole_stack: Enchanted) -> str:
    """Two agents' work, recorded as agents record it."""
    settings = Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})
    with (
        Recorder(SWARM, agent="ada", settings=settings, direct=True) as ada,
        Recorder(SWARM, agent="bob", role="REVIEWER", settings=settings, direct=True) as bob,
    ):
        begin = ada.decision("Begin\n\nWith words.", rejected_alternatives=["numbers"], confidence=0.5)
        ada.file_changed("words.txt", b"one\ntwo\nthree\nfour\nfive\n", causation_id=begin)
        ada.file_changed("bin/run", b"#!/bin/sh\n", executable=True, trace_id="ab" * 16, span_id="cd" * 8)
        ada.flush()
        bob.decision("Louder")
        bob.file_changed("words.txt", b"ONE\ntwo\nthree\nfour\nfive\n", previous=b"one\ntwo\nthree\nfour\nfive\n")
        bob.file_changed("large", bytes(range(256)) * 4_096)
        bob.checkpoint("loud")
        bob.flush()
        # Made from what was there before the other's change came.
        ada.file_changed("words.txt", b"one\ntwo\nthree\nfour\nFIVE\n", previous=b"one\ntwo\nthree\nfour\nfive\n")
        ada.file_changed("run", b"#!/bin/sh\n", previous=b"#!/bin/sh\n", renamed_from="bin/run", executable=True)
        ada.file_changed("latest", b"run", symlink=True)
        ada.message("done")
        ada.flush()
        wait_until_landed(settings, ["ledger"], max(ada.last_sequence, bob.last_sequence))
    return SWARM


def git(place: Path, *arguments: str) -> str:
    return GitRepository(place).git(*arguments)


def commits(place: Path) -> list[str]:
    return git(place, "rev-list", "--first-parent", "--reverse", "HEAD").split()


def digests(home: Path, project: str, moments: list[str]) -> list[str]:
    """The tree's digest at each moment."""
    ledger = Ledger.open(Settings.load({"ENCHANTED_HOME": str(home)}))
    try:
        history = ledger.history(ProjectName.parse(project))
        return [tree_digest(tree_at(history, resolve(history, each), Contents(history))) for each in moments]
    finally:
        ledger.close()


def last_events(place: Path) -> list[str]:
    """The last change of each commit; of an empty one the decision."""
    trailers = "%(trailers:key=Enchanted-Decision,key=Enchanted-Event,valueonly,separator=%x20)"
    rows = git(place, "log", "--reverse", f"--format={trailers}").splitlines()
    found = []
    for row in rows:
        *changes, decision = row.split()
        found.append(changes[-1] if changes else decision)
    return found


def test_an_imported_history_comes_out_as_it_went_in(
    whole_stack: Enchanted, odd: GitRepository, tmp_path: Path
) -> None:
    told = whole_stack.succeed("export", "git", ODD, tmp_path / "out")
    count = len(commits(odd.path))
    assert told == f"{ODD} as of now: {count} commits, 0 tags on main in {tmp_path / 'out'}\n"
    ours, theirs = (
        git(place, "log", "--first-parent", "--reverse", FORMAT).splitlines() for place in (tmp_path / "out", odd.path)
    )
    assert ours == theirs
    assert git(tmp_path / "out", "status", "--porcelain") == ""
    git(tmp_path / "out", "fsck", "--full")


@pytest.mark.parametrize("project", [ODD, SWARM])
@pytest.mark.usefixtures("odd", "swarm")
def test_an_export_imports_again_to_the_same_trees(whole_stack: Enchanted, project: str, tmp_path: Path) -> None:
    whole_stack.succeed("export", "git", project, tmp_path / "out")
    again = f"{project}-again"
    whole_stack.succeed("import", "git", tmp_path / "out", "--project", again)
    moments = [f"commit:{commit}" for commit in commits(tmp_path / "out")]
    expected = digests(whole_stack.home, project, last_events(tmp_path / "out"))
    assert digests(whole_stack.home, again, moments) == expected
    assert digests(whole_stack.home, again, ["now"]) == digests(whole_stack.home, project, ["now"])


def test_agents_work_as_commits(whole_stack: Enchanted, swarm: str, tmp_path: Path) -> None:
    facts = json.loads(whole_stack.succeed("export", "git", swarm, tmp_path / "out", "--json", "--branch", "trunk"))
    assert (facts["commits"], facts["tags"], facts["checkpoints_without_tag"]) == (3, 1, [])
    assert facts["digest"] == digests(whole_stack.home, swarm, ["now"])[0]
    rows = git(tmp_path / "out", "log", "--reverse", "--format=%an|%s|%ae", "trunk").splitlines()
    assert rows == [f"{who}|agent@enchanted.invalid" for who in ("ada|Begin", "bob|Louder", "ada|Begin")]
    assert (tmp_path / "out/words.txt").read_bytes() == b"ONE\ntwo\nthree\nfour\nFIVE\n"
    message = git(tmp_path / "out", "log", "-1", "--format=%B", "trunk~2")
    assert "Begin\n\nWith words.\n\nRejected:\n- numbers\n\nEnchanted-Event: " in message
    assert f"Enchanted-Confidence: 0.5\nEnchanted-Trace: {'ab' * 16}" in message
    assert git(tmp_path / "out", "rev-parse", "loud^{commit}") == git(tmp_path / "out", "rev-parse", "trunk~1")


def test_without_trailers_a_plain_history_is_the_very_same(whole_stack: Enchanted, tmp_path: Path) -> None:
    repository = GitRepository.create(tmp_path / "plain")
    for number in range(4):
        repository.write(f"{number % 3}.txt", f"{number}\n".encode())
        repository.commit(f"Number {number}\n\nBody.")
    whole_stack.succeed("import", "git", repository.path, "--project", "exported/plain")
    whole_stack.succeed("export", "git", "exported/plain", tmp_path / "out", "--no-trailers", "--bare")
    assert commits(tmp_path / "out") == commits(repository.path)


def test_a_folder_in_use_and_a_wrong_name_are_refused(whole_stack: Enchanted, swarm: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/precious").touch()
    assert "not empty" in whole_stack.refuse("export", "git", swarm, tmp_path / "taken")
    assert "--branch" in whole_stack.refuse("export", "git", swarm, tmp_path / "new", "--branch", "a b")
    assert "no project" in whole_stack.refuse("export", "git", "exported/nowhere", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_cloudevents_and_say_what_show_says(whole_stack: Enchanted, swarm: str) -> None:
    found = events(whole_stack.succeed("export", "jsonl", swarm))
    for each in found:
        check_cloud_event(each)
    kept = in_ledger(Settings.load({"ENCHANTED_HOME": str(whole_stack.home)}), ProjectName.parse(swarm))
    assert len(found) == len(kept)
    assert [each["sequence"] for each in found] == sorted(each["sequence"] for each in found)
    second = found[2]
    assert second["data"] == json.loads(whole_stack.succeed("show", second["id"], "--json"))
    assert second["subject"] == "bin/run"
    assert second["traceparent"] == f"00-{'ab' * 16}-{'cd' * 8}-00"
    assert events(whole_stack.succeed("show", second["sequence"], "--json").replace("\n", ""))[0] == second["data"]


def test_raw_events_are_the_ledger_s_bytes(whole_stack: Enchanted, odd: GitRepository, tmp_path: Path) -> None:
    assert whole_stack.succeed("export", "jsonl", ODD, "--raw", "--output", tmp_path / "out.jsonl") == ""
    found = events((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    for each in found:
        check_cloud_event(each)
    kept = in_ledger(Settings.load({"ENCHANTED_HOME": str(whole_stack.home)}), ProjectName.parse(ODD))
    assert [base64.b64decode(each["data_base64"]) for each in found] == kept
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_part_of_the_events(whole_stack: Enchanted, swarm: str) -> None:
    everything = events(whole_stack.succeed("export", "jsonl", swarm))
    decisions = events(whole_stack.succeed("export", "jsonl", swarm, "--type", "decision", "--type", "MESSAGE"))
    assert [each["type"].rpartition(".")[2] for each in decisions] == ["decision", "decision", "message"]
    since, until = everything[1]["id"], everything[4]["id"]
    part = events(whole_stack.succeed("export", "jsonl", swarm, "--since", since, "--at", until))
    assert part == everything[2:5]
    assert whole_stack.succeed("export", "jsonl", swarm, "--since", everything[-1]["time"]) == ""


def test_a_file_is_replaced_whole_or_not_at_all(whole_stack: Enchanted, swarm: str, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text("precious")
    file.chmod(0o640)
    assert "not a moment" in whole_stack.refuse("export", "jsonl", swarm, "--output", file, "--at", "whenever")
    assert file.read_text() == "precious"
    whole_stack.succeed("export", "jsonl", swarm, "--output", file)
    assert file.read_text(encoding="utf-8") == whole_stack.succeed("export", "jsonl", swarm)
    assert file.stat().st_mode & 0o777 == 0o640
    assert "not a file" in whole_stack.refuse("export", "jsonl", swarm, "--output", "/dev/null")
    assert "no folder" in whole_stack.refuse("export", "jsonl", swarm, "--output", tmp_path / "none/out")
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_parquet_file_has_what_jsonl_has(whole_stack: Enchanted, swarm: str, tmp_path: Path) -> None:
    everything = events(whole_stack.succeed("export", "jsonl", swarm, "--raw"))
    file = tmp_path / "out.parquet"
    since, until = everything[1]["id"], everything[4]["id"]
    told = json.loads(
        whole_stack.succeed("export", "parquet", swarm, file, "--since", since, "--until", until, "--json")
    )
    assert (told["events"], told["bytes"]) == (3, file.stat().st_size)
    found = pq.read_table(file).to_pylist()
    assert [row["event_id"] for row in found] == [each["id"] for each in everything[2:5]]
    assert [row["event_bytes"] for row in found] == [base64.b64decode(each["data_base64"]) for each in everything[2:5]]
    assert "not a moment" in whole_stack.refuse("export", "parquet", swarm, file, "--since", "whenever")
    assert pq.read_table(file).num_rows == 3
