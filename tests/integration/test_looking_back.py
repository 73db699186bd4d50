"""Past trees looked at without restoring them: ls, cat, diff and why, against what git says."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from infrastructure.cli.main import cli
from nervous_system.paths import resource_from_bytes
from tests.integration.command import Enchanted
from tests.integration.odd_repository import GitRepository, build_odd_repository

ODD, PROSE = "looking/odd", "looking/prose"


@dataclass(frozen=True, slots=True)
class Looked:
    """Two repositories that were imported, and the command in this process."""

    odd: GitRepository
    prose: GitRepository
    home: Path

    def run(self, *arguments: str) -> bytes:
        done = CliRunner(env={"ENCHANTED_HOME": str(self.home)}).invoke(cli, arguments)
        assert done.exit_code == 0, (arguments, done.exception)
        return done.stdout_bytes


@pytest.fixture(scope="module")
def looked(whole_stack: Enchanted, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    folder = tmp_path_factory.mktemp("looking")
    odd, prose = build_odd_repository(folder / "odd"), write_prose(folder / "prose")
    for repository, project in ((odd, ODD), (prose, PROSE)):
        whole_stack.succeed("import", "git", repository.path, "--project", project)
    return Looked(odd, prose, whole_stack.home)


def write_prose(path: Path) -> GitRepository:
    """A file whose lines come from several commits, renamed on the way."""
    repository = GitRepository.create(path)
    repository.write("poem.txt", b"one\ntwo\nthree\n")
    repository.commit("Begin\n\nBecause something must.")
    repository.write("poem.txt", b"zero\none\ntwo\nthree\n")
    repository.commit("Zero first")
    repository.git("mv", "poem.txt", "verse.txt")
    repository.commit("A better name")
    repository.write("verse.txt", b"zero\none\nTWO\nthree\nfour")
    repository.commit("Louder")
    repository.remove("verse.txt")
    repository.commit("Away")
    repository.write("verse.txt", b"two\n")
    repository.commit("Again")
    return repository


def commits(repository: GitRepository) -> list[str]:
    return repository.git("rev-list", "--first-parent", "--reverse", "HEAD").split()


def git_entries(repository: GitRepository, commit: str) -> dict[str, tuple[str, str]]:
    """Mode and object by resource."""
    rows = repository.git("ls-tree", "-r", "-z", "--full-tree", commit).split("\0")[:-1]
    found = {}
    for row in rows:
        facts, _, name = row.partition("\t")
        mode, _, identity = facts.split()
        found[resource_from_bytes(name.encode("utf-8", "surrogateescape"))] = (mode, identity)
    return found


def test_ls_names_what_git_names_at_every_commit(looked: Looked) -> None:
    for commit in commits(looked.odd):
        rows = json.loads(looked.run("ls", ODD, "--at", f"commit:{commit}", "--json"))
        assert {row["path"]: row["mode"] for row in rows} == {
            path: mode for path, (mode, _) in git_entries(looked.odd, commit).items()
        }


def test_cat_gives_the_bytes(looked: Looked) -> None:
    commit = next(commit for commit in reversed(commits(looked.odd)) if len(git_entries(looked.odd, commit)) > 10)
    for path, (mode, identity) in git_entries(looked.odd, commit).items():
        if mode != "160000":
            stored = looked.run("cat", "--at", f"commit:{commit}", "--", ODD, path)
            expected = looked.odd.git("hash-object", "--stdin", stdin=stored).strip()
            assert expected == identity, path


def test_diff_names_the_paths_that_git_names(looked: Looked) -> None:
    history = commits(looked.odd)
    for before, after in itertools.pairwise(history):
        old, new = git_entries(looked.odd, before), git_entries(looked.odd, after)
        expected = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
        rows = json.loads(looked.run("diff", ODD, f"commit:{before}", f"commit:{after}", "--json"))
        named = {row["path"] for row in rows} | {row["renamed_from"] for row in rows if "renamed_from" in row}
        assert named == expected


def test_diff_shows_lines(looked: Looked) -> None:
    history = commits(looked.prose)
    shown = looked.run("diff", PROSE, f"commit:{history[2]}", f"commit:{history[3]}").decode()
    assert "-two\n+TWO\n three\n+four\n\\ No newline at end of file\n" in shown
    assert (
        "+2     -1  verse.txt"
        in looked.run("diff", PROSE, *(f"commit:{each}" for each in history[2:4]), "--stat").decode()
    )


def test_why_names_the_commit_that_wrote_each_line(looked: Looked) -> None:
    history = commits(looked.prose)
    rows = json.loads(looked.run("why", PROSE, "verse.txt", "--at", f"commit:{history[3]}", "--json"))
    assert [(row["text"], history.index(row["commit"])) for row in rows] == [
        ("zero", 1),
        ("one", 0),
        ("TWO", 3),
        ("three", 0),
        ("four", 3),
    ]
    assert rows[1]["decision"]["rationale"] == "Begin\n\nBecause something must."
    assert rows[1]["agent_id"] == "Ada Lovelace <ada@example.org>"


def test_why_of_a_line_tells_the_whole_reason(looked: Looked) -> None:
    history = commits(looked.prose)
    told = looked.run("why", PROSE, "poem.txt:2", "--at", f"commit:{history[1]}").decode()
    assert told.startswith("one\n")
    assert "Because something must." in told


def test_why_begins_anew_where_a_file_was_deleted(looked: Looked) -> None:
    (row,) = json.loads(looked.run("why", PROSE, "verse.txt", "--json"))
    assert row["commit"] == commits(looked.prose)[-1]


def test_what_is_not_there_is_said(looked: Looked, whole_stack: Enchanted) -> None:
    first = f"commit:{commits(looked.prose)[0]}"
    assert "no 'nowhere'" in whole_stack.refuse("cat", PROSE, "nowhere")
    assert "no 'verse.txt'" in whole_stack.refuse("why", PROSE, "verse.txt", "--at", first)
    assert "no line 9" in whole_stack.refuse("why", PROSE, "poem.txt:9", "--at", first)
    assert "not a moment" in whole_stack.refuse("diff", PROSE, "whenever")
