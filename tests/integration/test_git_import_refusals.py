"""What an import refuses or leaves out, and how it ends when it is stopped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nervous_system.errors import EnchantedError
from nervous_system.paths import check_tree
from replay.git.importer import Progress, import_commits
from replay.git.repository import GitError, Repository
from tests.integration.git_recording import (
    PROJECT,
    Contents,
    Recording,
    imported,
    run,
    trees,
)
from tests.integration.odd_repository import GitRepository, build_odd_repository


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    return build_odd_repository(tmp_path_factory.mktemp("odd") / "repository")


@pytest.fixture
def unsafe(tmp_path: Path) -> GitRepository:
    repository = GitRepository.create(tmp_path / "unsafe")
    repository.write("fine.txt", text := b"".join(b"%d\n" % n for n in range(30)))
    repository.write("readme", b"small\n")
    repository.commit("Fine")
    repository.write("a\tb", b"tab\n")
    repository.write("c:d", text + b"colon\n")
    repository.link("out", "../../outside")
    repository.commit("Paths that cannot be recorded")
    repository.git("mv", "c:d", "named well.txt")
    repository.write("README", b"large\n")
    repository.write("Docs/a", b"a\n")
    repository.write("docs/b", b"b\n")
    repository.write("docs/c", b"c\n")
    repository.commit("One made right, others collide")
    repository.git("mv", "named well.txt", "con")
    repository.remove("README", "Docs")
    (repository.path / "out").unlink()
    repository.link("out", "fine.txt")
    (repository.path / "deep").mkdir()
    repository.link("deep/up", "..")
    repository.link("away", "deep/up/..")
    repository.commit("The collisions end")
    return repository


def test_paths_that_cannot_be_recorded_are_refused_before_anything_is_sent(unsafe: GitRepository) -> None:
    repository, recording = Repository(unsafe.path), Recording()
    with pytest.raises(GitError) as refused:
        import_commits(repository, repository.branch(), PROJECT, recording)
    second = Contents(unsafe.path).commits()[1]
    sentence = str(refused.value)
    assert r"'a\tb'" in sentence
    assert second[:12] in sentence
    assert "control character" in sentence
    assert "7 other paths" in sentence
    assert "--skip-unsafe" in sentence
    assert not recording.events
    assert run(unsafe.path, limit=1)[1].commits == 1


def test_paths_that_cannot_be_recorded_are_left_out_of_every_tree(unsafe: GitRepository) -> None:
    recording, summary = run(unsafe.path, skip_unsafe=True)
    git, folded = Contents(unsafe.path), trees(recording)
    expected = [
        {b"fine.txt", b"readme"},
        {b"fine.txt", b"readme"},
        {b"fine.txt", b"README", b"named well.txt", b"Docs/a"},
        {b"fine.txt", b"readme", b"docs/b", b"docs/c", b"out", b"deep/up"},
    ]
    for sha, paths in zip(git.commits(), expected, strict=True):
        assert folded[sha] == {path: file for path, file in git.files(sha).items() if path in paths}
        assert set(folded[sha]) == paths
        check_tree(path.decode() for path in folded[sha])
    assert summary.left_out_count == 8
    start = 0
    for sha in git.commits():
        again, _ = run(unsafe.path, skip_unsafe=True, after=imported(recording, sha))
        assert again.events == recording.events[start:]
        start += 1 + len(recording.changes(sha))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"branch": "nope"}, "There is no branch 'nope' .* one of .*main"),
        ({"branch": "--all"}, "There is no branch '--all'"),
        ({"branch": "main~1"}, "There is no branch"),
        ({"branch": ""}, "There is no branch"),
        ({"branch": "a\0b"}, "cannot be run"),
    ],
)
def test_no_such_branch(odd: GitRepository, arguments: dict[str, str], sentence: str) -> None:
    with pytest.raises(EnchantedError, match=sentence):
        run(odd.path, branch=arguments["branch"])


def test_not_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for path, sentence in (("", "is not a repository"), ("file", "it is a file"), ("none", "it does not exist")):
        with pytest.raises(GitError, match=sentence):
            Repository(tmp_path / path)
    empty = GitRepository.create(tmp_path / "empty")
    with pytest.raises(GitError, match="no commit on 'main' yet"):
        run(empty.path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="Git is not installed"):
        Repository(empty.path)


def test_a_partial_clone_and_a_damaged_repository_are_refused(odd: GitRepository, tmp_path: Path) -> None:
    odd.git("config", "uploadpack.allowFilter", "true")
    odd.git("clone", "--quiet", "--bare", "--filter=blob:none", f"file://{odd.path}", str(tmp_path / "partial"))
    with pytest.raises(GitError, match="partial clone, or damaged"):
        run(tmp_path / "partial")
    damaged = GitRepository.create(tmp_path / "damaged")
    damaged.write("a", b"content\n")
    damaged.commit("A file")
    oid = damaged.git("rev-parse", "HEAD:a")
    (damaged.path / ".git/objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(GitError, match="lacks an object"):
        run(damaged.path)


def test_another_user_s_repository_is_refused_with_what_to_do(
    odd: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    odd.git("clone", "--quiet", str(odd.path), str(tmp_path / "theirs"))
    for path in (tmp_path / "theirs", tmp_path / "theirs/.git"):
        os.chown(path, 12345, 12345)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(GitError, match=r"git config --global --add safe\.directory"):
        Repository(tmp_path / "theirs")
    (tmp_path / ".gitconfig").write_text(f"[safe]\n\tdirectory = {tmp_path / 'theirs'}\n")
    assert Repository(tmp_path / "theirs").branch().name == "main"


def test_progress_tells_of_every_commit(odd: GitRepository) -> None:
    told: list[Progress] = []
    repository = Repository(odd.path)
    summary = import_commits(repository, repository.branch(), PROJECT, Recording(), limit=5, progress=told.append)
    assert [(each.stage, each.commits) for each in told] == [
        *(("checking", number) for number in range(1, 6)),
        *(("importing", number) for number in range(1, 6)),
    ]
    assert {each.commits_total for each in told} == {5}
    assert told[-1].events == summary.events == summary.files + 5


def test_stopping_at_any_moment_leaves_no_process_behind(odd: GitRepository) -> None:
    class Stopping(Recording):
        def put(self, event: bytes) -> None:
            super().put(event)
            if len(self.events) == 40:
                raise KeyboardInterrupt

    recording, repository = Stopping(), Repository(odd.path)
    with pytest.raises(KeyboardInterrupt):
        import_commits(repository, repository.branch(), PROJECT, recording)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if children.exists():
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in children.read_text().split()]
        assert "git" not in names
