"""Importing real repositories: folding the events, one after the other, gives every commit's tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nervous_system.contract import Operation, StateChange, SwarmEvent, TargetType
from nervous_system.errors import EnchantedError
from nervous_system.events import INLINE_LIMIT_BYTES, occurred_us
from nervous_system.paths import check_tree, resource_to_bytes
from nervous_system.projects import ProjectName
from replay import patches
from replay.git.importer import ImportedCommit, ImportSummary, Progress, import_commits
from replay.git.repository import GitError, Repository
from tests.integration.odd_repository import LARGE_BYTES, GitRepository, build_odd_repository

PROJECT = ProjectName("demo", "odd")
THIS_REPOSITORY = Path(__file__).parents[2]

# Path in bytes: mode and content.
Files = dict[bytes, tuple[int, bytes]]


@dataclass
class Recording:
    """A sink that keeps everything, as the ledger would: an event once, parts by their hash."""

    events: list[bytes] = field(default_factory=list)
    parts: dict[bytes, bytes] = field(default_factory=dict)

    def put(self, event: bytes) -> None:
        self.events.append(event)

    def put_part(self, part: bytes) -> bytes:
        digest = hashlib.sha256(part).digest()
        self.parts[digest] = part
        return digest

    def decoded(self) -> list[SwarmEvent]:
        return [SwarmEvent.FromString(event) for event in self.events]

    def changes(self, sha: str) -> list[StateChange]:
        events = (event for event in self.decoded() if event.HasField("state_change"))
        return [event.state_change for event in events if event.related_commit_hash == sha]

    def decision(self, sha: str) -> SwarmEvent:
        decisions = (event for event in self.decoded() if event.HasField("decision"))
        return next(event for event in decisions if event.related_commit_hash == sha)


class Model:
    """An independent fold: a dictionary of files that each change is made in, strictly."""

    def __init__(self, parts: dict[bytes, bytes]) -> None:
        self.files: Files = {}
        self._parts = parts

    def apply(self, change: StateChange) -> None:
        path = resource_to_bytes(change.target_resource)
        source = resource_to_bytes(change.renamed_from) if change.renamed_from else path
        assert (change.operation == Operation.OPERATION_RENAME) == bool(change.renamed_from)
        assert (source in self.files) == (change.operation != Operation.OPERATION_CREATE)
        mode, before = self.files.pop(source, (0, b""))
        assert change.previous_state_hash == (_sha256(before) if mode else "")
        if change.operation == Operation.OPERATION_DELETE:
            assert change.mode == mode
            assert not change.new_state_hash
            return
        assert path not in self.files
        assert not any(path.startswith(other + b"/") or other.startswith(path + b"/") for other in self.files)
        content = self._content(change, before)
        assert _sha256(content) == change.new_state_hash
        self.files[path] = (change.mode, content)

    def _content(self, change: StateChange, before: bytes) -> bytes:
        if change.diff_patch:
            return patches.apply(change.diff_patch, before)
        if change.blob_hash:
            content = b"".join(self._parts[part] for part in change.blob_parts)
            assert len(content) > INLINE_LIMIT_BYTES
            return content
        return change.content if change.HasField("content") else before


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Contents:
    """What Git has, asked in the plainest way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[bytes, bytes] = {}

    def git(self, *arguments: str) -> bytes:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", *arguments], cwd=self._path, env=variables, capture_output=True, check=True
        ).stdout

    def commits(self, branch: str = "HEAD") -> list[str]:
        return self.git("rev-list", "--first-parent", "--reverse", branch).decode().split()

    def files(self, sha: str) -> Files:
        files: Files = {}
        for record in self.git("ls-tree", "-r", "-z", "--full-tree", sha).split(b"\0")[:-1]:
            facts, _, path = record.partition(b"\t")
            mode, _, oid = facts.split()
            if oid not in self._known:
                self._known[oid] = oid if mode == b"160000" else self.git("cat-file", "blob", oid.decode())
            files[path] = (int(mode, 8), self._known[oid])
        return files


def run(
    path: Path, *, branch: str | None = None, after: ImportedCommit | None = None, limit: int | None = None,
    skip_unsafe: bool = False,
) -> tuple[Recording, ImportSummary]:  # fmt: skip
    repository, recording = Repository(path), Recording()
    summary = import_commits(
        repository, repository.branch(branch), PROJECT, recording, after=after, limit=limit, skip_unsafe=skip_unsafe
    )
    return recording, summary


def imported(recording: Recording, sha: str) -> ImportedCommit:
    decision = recording.decision(sha)
    base = decision.decision.attributes["base_commit"] or None
    return ImportedCommit(sha, base, decision.agent_sequence, occurred_us(decision))


def trees(recording: Recording) -> dict[str, Files]:
    """The model's files after each commit's last event."""
    model, found = Model(recording.parts), {}
    for event in recording.decoded():
        if event.HasField("state_change"):
            model.apply(event.state_change)
        found[event.related_commit_hash] = dict(model.files)
    return found


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    return build_odd_repository(tmp_path_factory.mktemp("odd") / "repository")


@pytest.fixture(scope="module")
def recorded(odd: GitRepository) -> Recording:
    return run(odd.path)[0]


def _commit_called(odd: GitRepository, subject: str) -> str:
    lines = odd.git("log", "--format=%H %s").splitlines()
    return next(line.split()[0] for line in lines if line.endswith(f" {subject}"))


def test_every_commit_of_the_odd_repository_is_what_git_has(odd: GitRepository, recorded: Recording) -> None:
    git, folded = Contents(odd.path), trees(recorded)
    assert list(folded) == git.commits()
    assert len(folded) > 35
    for sha in folded:
        assert folded[sha] == git.files(sha), git.git("log", "-1", "--format=%s", sha)


def test_every_commit_of_this_repository_is_what_git_has() -> None:
    if not (THIS_REPOSITORY / ".git").exists():
        pytest.skip("not run from a repository")
    git, folded = Contents(THIS_REPOSITORY), trees(run(THIS_REPOSITORY, limit=200)[0])
    assert list(folded) == git.commits()[:200]
    for sha in folded:
        assert folded[sha] == git.files(sha)


def test_what_the_changes_are(odd: GitRepository, recorded: Recording) -> None:
    def changes(subject: str) -> list[tuple[str, str, str]]:
        found = recorded.changes(_commit_called(odd, subject))
        return [(Operation.Name(c.operation)[10:], c.renamed_from, c.target_resource) for c in found]

    assert changes("A pure rename") == [("RENAME", "a.txt", "moved.txt")]
    assert changes("A rename with an edit and a new mode") == [("RENAME", "moved.txt", "moved again.txt")]
    assert changes("Only the mode: executable") == [("MODIFY", "", "run.sh")]
    assert changes("Two files swapped") == [("MODIFY", "", "b.txt"), ("MODIFY", "", "c.txt")]
    assert changes("A file for a folder")[0][0] == "DELETE"
    assert {kind for kind, _, _ in changes("Renames that no order can do")} == {"DELETE", "CREATE"}
    assert changes("A file moved into a folder of its own name") == [("RENAME", "p", "p/p/p")]
    assert changes("Merge nothing") == changes("An empty commit") == []
    assert ("CREATE", "", "topic.txt") in changes("Merge the topic")
    assert {kind for kind, _, _ in changes("Delete everything")} == {"DELETE"}


def test_the_form_a_content_travels_in(odd: GitRepository, recorded: Recording) -> None:
    def only(subject: str, path: str) -> StateChange:
        found = recorded.changes(_commit_called(odd, subject))
        return next(change for change in found if change.target_resource == path)

    edited = only("Change what can be changed", "src/module.py")
    assert edited.diff_patch.startswith("@@ -29,7 +29,6 @@\n")
    assert not only("Change what can be changed", "binary.bin").diff_patch
    renamed = only("A rename with an edit and a new mode", "moved again.txt")
    assert renamed.diff_patch
    assert renamed.mode == 0o100755
    assert only("Large files, a little changed", "large.txt").diff_patch.count("\n") > 3
    binary = only("Large files, a little changed", "large.bin")
    assert binary.blob_hash == binary.new_state_hash
    assert sum(len(recorded.parts[part]) for part in binary.blob_parts) == LARGE_BYTES
    mode_only = only("Only the mode: executable", "run.sh")
    assert mode_only.previous_state_hash == mode_only.new_state_hash
    assert not mode_only.HasField("content")
    assert only("A submodule", "vendor/lib").target_type == TargetType.TARGET_TYPE_SUBMODULE
    assert only("A submodule", "vendor/lib").content == b"0123456789abcdef0123456789abcdef01234567"
    assert only("A script and symlinks", "link").target_type == TargetType.TARGET_TYPE_SYMLINK


def test_a_commit_s_facts_are_kept(odd: GitRepository, recorded: Recording) -> None:
    sha = Contents(odd.path).commits()[0]
    event = recorded.decision(sha)
    assert (
        event.decision.rationale
        == "Everything odd about names and contents\n\nWith a body.\n\n  Indented, and a trailing blank"
    )
    assert event.decision.input_trigger == "git commit"
    assert event.agent_id == "Ada Lovelace <ada@example.org>"
    assert event.session_id == "git:main"
    assert (event.tenant_id, event.project_id) == ("demo", "odd")
    assert event.decision.attributes["author_date"] == "2023-11-15T03:42:40+05:30"
    assert event.decision.attributes["committer_date"] == "2023-11-14T15:14:20-07:00"
    assert event.decision.attributes["committer_name"] == "Grace Hopper"
    latin = recorded.decision(_commit_called(odd, "Größe geändert"))
    assert latin.agent_id == "Jürgen Groß <ada@example.org>"
    merge = recorded.decision(_commit_called(odd, "Merge the topic"))
    assert len(merge.decision.attributes["parents"].split()) == 2


def test_events_are_in_order_and_linked(recorded: Recording) -> None:
    events = recorded.decoded()
    moments = [occurred_us(event) for event in events]
    assert moments == sorted(moments)
    assert [event.agent_sequence for event in events] == list(range(1, len(events) + 1))
    assert len({event.event_id for event in events}) == len(events)
    decision = events[0]
    for event in events:
        if event.HasField("decision"):
            decision = event
            assert not event.causation_id
        else:
            assert event.causation_id == decision.event_id
        assert event.related_commit_hash == event.correlation_id == decision.related_commit_hash


def test_the_same_commit_gives_the_same_bytes_wherever_the_import_begins(
    odd: GitRepository, recorded: Recording
) -> None:
    commits = Contents(odd.path).commits()
    for number in (0, 1, len(commits) // 2, len(commits) - 1):
        start = next(i for i, e in enumerate(recorded.decoded()) if e.related_commit_hash == commits[number])
        again, summary = run(odd.path, after=imported(recorded, commits[number]))
        assert again.events == recorded.events[start:]
        assert summary.commits == len(commits) - number - 1


def test_a_limit_is_gone_on_from(odd: GitRepository, recorded: Recording) -> None:
    commits, events, after = Contents(odd.path).commits(), dict[bytes, None](), None
    while True:
        recording, summary = run(odd.path, after=after, limit=7)
        events |= dict.fromkeys(recording.events)
        if not summary.commits_left:
            break
        assert summary.commits == 7
        after = imported(recording, recording.decoded()[-1].related_commit_hash)
    assert list(events) == recorded.events
    assert recording.decoded()[-1].related_commit_hash == commits[-1]


def test_the_user_s_and_the_repository_s_configuration_change_nothing(
    odd: GitRepository, recorded: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / "hostile"
    odd.git("clone", "--quiet", "--bare", "--branch", "main", str(odd.path), str(hostile))
    touched = tmp_path / "touched"
    settings = {
        "diff.external": f"touch {touched}", "diff.renames": "false", "diff.noprefix": "true", "diff.context": "9",
        "diff.suppressBlankEmpty": "true", "diff.algorithm": "patience", "diff.interHunkContext": "30",
        "diff.nonsense.textconv": f"touch {touched}; cat", "diff.nonsense.command": f"touch {touched}",
        "diff.nonsense.xfuncname": "l", "diff.submodule": "log", "diff.orderFile": "/nowhere", "color.ui": "always",
        "core.fsmonitor": f"touch {touched}", "core.pager": f"touch {touched}", "i18n.logOutputEncoding": "latin-1",
        "log.showSignature": "true", "core.quotePath": "false", "diff.renameLimit": "1", "diff.relative": "true",
    }  # fmt: skip
    for name, value in settings.items():
        odd.git("--git-dir", str(hostile), "config", name, value)
    (hostile / "info").mkdir(exist_ok=True)
    (hostile / "info/attributes").write_text("*.txt diff=nonsense\n")
    head = odd.git("rev-parse", "main")
    odd.git("--git-dir", str(hostile), "replace", head, odd.git("rev-parse", "main~3"))
    (hostile / "info/grafts").write_text(f"{head}\n")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {touched}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert run(hostile)[0].events == recorded.events
    assert not touched.exists()


def test_bare_worktree_subfolder_and_shallow_repositories(odd: GitRepository, tmp_path: Path) -> None:
    recorded, _ = run(odd.path)
    odd.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"), "main~2")
    commits = Contents(odd.path).commits()
    assert list(trees(run(tmp_path / "worktree")[0])) == commits[:-2]
    assert run(tmp_path / "worktree", branch="main")[0].events == recorded.events
    assert run(odd.path / ".git")[0].events == recorded.events
    odd.git("clone", "--quiet", "--depth=3", f"file://{odd.path}", str(tmp_path / "shallow"))
    shallow = trees(run(tmp_path / "shallow")[0])
    assert list(shallow) == commits[-3:]
    assert shallow[commits[-1]] == Contents(odd.path).files(commits[-1])


def test_a_rewritten_branch_goes_on_from_what_was_imported(tmp_path: Path) -> None:
    repository = GitRepository.create(tmp_path / "r")
    for number in range(3):
        repository.write(f"{number}.txt", text := f"{number}\n".encode())
        repository.write("shared", text * 3)
        repository.commit(f"Commit {number}")
    first, _ = run(repository.path)
    old = repository.git("rev-parse", "HEAD")
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    repository.write("new.txt", b"new\n")
    repository.commit("Rewritten")
    repository.write("newer.txt", b"newer\n")
    repository.commit("And on")
    second, summary = run(repository.path, after=imported(first, old))
    assert summary.commits == 2
    again = len(first.changes(old)) + 1
    assert second.events[:again] == first.events[-again:]
    both = Recording(first.events + second.events[again:], first.parts | second.parts)
    git = Contents(repository.path)
    assert trees(both)[git.commits()[-1]] == git.files("HEAD")
    assert second.decision(git.commits()[-2]).decision.attributes["base_commit"] == old
    with pytest.raises(GitError, match="no longer in"):
        run(repository.path, after=ImportedCommit("f" * 40, None, 1, 0))


def test_a_branch_that_merged_what_was_imported_goes_on_from_it(tmp_path: Path) -> None:
    repository = GitRepository.create(tmp_path / "r")
    repository.write("base", b"base\n")
    repository.commit("Base")
    repository.git("checkout", "--quiet", "-b", "side")
    repository.write("side", b"side\n")
    repository.commit("Side")
    repository.git("checkout", "--quiet", "main")
    repository.write("main", b"main\n")
    imported_tip = repository.commit("Main")
    first, _ = run(repository.path)
    repository.git("checkout", "--quiet", "side")
    repository.git("merge", "--quiet", "-m", "Merge main into side", "main")
    repository.git("branch", "--force", "main", "side")
    second, summary = run(repository.path, branch="main", after=imported(first, imported_tip))
    assert summary.commits == 2
    both = Recording(first.events + second.events[2:], {})
    assert trees(both)[repository.git("rev-parse", "main")] == Contents(repository.path).files("main")


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
