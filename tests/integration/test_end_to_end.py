"""What the demonstration does, on a repository that has everything that makes histories hard."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from infrastructure.cli.main import cli
from nervous_system.landed import last_sequence, wait_until_landed
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.odd_repository import GitRepository, build_odd_repository
from tests.integration.stores import in_archive, in_clickhouse, in_ledger

PROJECT = ProjectName("demo", "odd")
Files = dict[bytes, tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Imported:
    """The odd repository, imported into a running stack."""

    enchanted: Enchanted
    repository: GitRepository
    settings: Settings
    commits: list[str]


@pytest.fixture(scope="module")
def imported(whole_stack: Enchanted, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    repository = build_odd_repository(tmp_path_factory.mktemp("odd") / "repository")
    printed = whole_stack.succeed("import", "git", repository.path, "--project", str(PROJECT))
    assert "Imported" in printed
    commits = repository.git("rev-list", "--first-parent", "--reverse", "HEAD").split()
    settings = Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})
    return Imported(whole_stack, repository, settings, commits)


def archived(repository: GitRepository, commit: str) -> Files:
    """What ``git archive`` gives for a commit: kind and content by path."""
    command = ["git", "-c", "tar.umask=0022", "-C", str(repository.path), "archive", "--format=tar", commit]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    found: Files = {}
    if not repository.git("ls-tree", commit):
        return found  # tarfile does not read an archive without members.
    with tarfile.open(fileobj=io.BytesIO(packed), encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = os.fsencode(member.name.rstrip("/"))
            if member.issym():
                found[name] = ("link", os.fsencode(member.linkname))
            elif member.isfile():
                reader = archive.extractfile(member)
                assert reader is not None
                found[name] = ("executable" if member.mode & 0o100 else "file", reader.read())
            elif member.isdir():
                found[name] = ("folder", b"")
    return found


def on_disk(root: Path) -> Files:
    """The same of a folder."""
    return dict(_walk(os.fsencode(root), b""))


def _walk(folder: bytes, prefix: bytes) -> Iterator[tuple[bytes, tuple[str, bytes]]]:
    for entry in os.scandir(folder):
        name = prefix + entry.name
        if entry.is_symlink():
            yield name, ("link", os.readlink(entry.path))  # noqa: PTH115 - a Path holds no bytes
        elif entry.is_dir():
            yield name, ("folder", b"")
            yield from _walk(entry.path, name + b"/")
        else:
            kind = "executable" if entry.stat().st_mode & 0o100 else "file"
            yield name, (kind, Path(os.fsdecode(entry.path)).read_bytes())


def test_every_commit_is_restored_as_git_archives_it(imported: Imported, tmp_path: Path) -> None:
    # In this process, to spare the start of one for each commit.
    runner = CliRunner(env={"ENCHANTED_HOME": str(imported.enchanted.home)})
    for number, commit in enumerate(imported.commits):
        target = tmp_path / str(number)
        done = runner.invoke(cli, ["restore", str(PROJECT), "--at", f"commit:{commit}", str(target)])
        assert done.exit_code == 0, done.exception
        assert on_disk(target) == archived(imported.repository, commit), commit


def test_a_time_gives_the_last_commit_not_after_it(imported: Imported, tmp_path: Path) -> None:
    dates = imported.repository.git("log", "--first-parent", "--reverse", "--format=%H %ct").split("\n")
    seconds = 0
    last_at: dict[int, str] = {}
    for line in filter(None, dates):
        commit, committed = line.split()
        seconds = max(seconds, int(committed))
        last_at[seconds] = commit
    moments = sorted(last_at)
    for number, second in enumerate((moments[0], moments[len(moments) // 2], moments[-1])):
        target = tmp_path / str(number)
        moment = f"{subprocess.check_output(['date', '-u', '-d', f'@{second}', '+%Y-%m-%dT%H:%M:%SZ'], text=True)}"
        imported.enchanted.succeed("restore", str(PROJECT), "--at", moment.strip(), target)
        assert on_disk(target) == archived(imported.repository, last_at[second])


def test_the_three_stores_hold_the_same_events(imported: Imported) -> None:
    sequence = last_sequence(imported.settings, PROJECT)
    wait_until_landed(imported.settings, ["ledger", "clickhouse", "siphon"], sequence)
    events = in_ledger(imported.settings, PROJECT)
    assert len(events) > len(imported.commits)
    assert in_clickhouse(imported.settings, PROJECT) == events
    assert in_archive(imported.settings, PROJECT) == events


def test_importing_again_adds_nothing_and_importing_later_adds_what_is_new(imported: Imported, tmp_path: Path) -> None:
    before = in_ledger(imported.settings, PROJECT)
    again = imported.enchanted.succeed("import", "git", imported.repository.path, "--project", str(PROJECT))
    assert "already" in again
    assert in_ledger(imported.settings, PROJECT) == before
    imported.repository.write("later.txt", b"later\n")
    later = imported.repository.commit("One more")
    imported.enchanted.succeed("import", "git", imported.repository.path, "--project", str(PROJECT))
    after = in_ledger(imported.settings, PROJECT)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2
    imported.enchanted.succeed("restore", str(PROJECT), "--at", f"commit:{later}", tmp_path / "later")
    assert on_disk(tmp_path / "later") == archived(imported.repository, later)


def test_the_analysts_questions_run_as_they_stand(imported: Imported) -> None:
    wait_until_landed(imported.settings, ["clickhouse"], last_sequence(imported.settings, PROJECT))
    why = imported.enchanted.succeed(
        "sql",
        "SELECT timestamp, agent_id, JSONExtractString(payload_json, 'decision', 'rationale') AS rationale "
        "FROM swarm_events WHERE event_type = 'DECISION' AND timestamp < '2026-11-21 15:00:00' "
        "ORDER BY timestamp DESC LIMIT 10",
        "--json",
    )
    rows = [json.loads(line) for line in why.splitlines()]
    assert len(rows) == 10
    assert [row["timestamp"] for row in rows] == sorted((row["timestamp"] for row in rows), reverse=True)
    # Other projects are asked with this one; here only what this one's authors thought.
    ours = imported.enchanted.succeed(
        "sql",
        "SELECT JSONExtractString(payload_json, 'decision', 'rationale') AS rationale FROM swarm_events "
        f"WHERE event_type = 'DECISION' AND tenant_id = '{PROJECT.tenant}' AND project_id = '{PROJECT.project}'",
        "--json",
    )
    subjects = imported.repository.git("log", "--first-parent", "--format=%s", *imported.commits[-1:]).splitlines()
    readable = {subject for subject in subjects if subject.isascii() and subject}
    assert {json.loads(line)["rationale"].partition("\n")[0] for line in ours.splitlines()} >= readable
    what = imported.enchanted.succeed(
        "sql",
        "SELECT target_resource, count() AS modifications FROM swarm_events WHERE event_type = 'STATE_CHANGE' "
        "AND timestamp > now() - INTERVAL 1 HOUR GROUP BY target_resource HAVING modifications > 5",
    )
    assert what.startswith("target_resource\tmodifications\n")


def test_log_and_show_tell_what_happened(imported: Imported) -> None:
    lines = imported.enchanted.succeed("log", str(PROJECT), "--oldest-first", "-n", "3", "--json").splitlines()
    first = json.loads(lines[0])
    assert first["type"] == "DECISION"
    assert first["related_commit_hash"] == imported.commits[0]
    shown = json.loads(imported.enchanted.succeed("show", first["event_id"], "--json"))
    assert shown == first
    assert first["event_id"] in imported.enchanted.succeed("log", str(PROJECT), "--oldest-first", "-n", "1")


def test_known_at_asked_twice_gives_the_same_plan(imported: Imported, tmp_path: Path) -> None:
    moment = ("--at", f"commit:{imported.commits[3]}", "--known-at", "2100-01-01T00:00:00Z")
    asked = [
        imported.enchanted.succeed("restore", str(PROJECT), *moment, tmp_path / "x", "--dry-run", "--json")
        for _ in range(2)
    ]
    assert asked[0] == asked[1]
    assert not (tmp_path / "x").exists()
