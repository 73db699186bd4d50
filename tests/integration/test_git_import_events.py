"""Importing real repositories: folding the events, one after the other, gives every commit's tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from nervous_system.contract import Operation, StateChange, TargetType
from nervous_system.events import occurred_us
from replay.git.importer import ImportedCommit
from replay.git.repository import GitError
from tests.integration.git_recording import (
    THIS_REPOSITORY,
    Contents,
    Recording,
    imported,
    run,
    trees,
)
from tests.integration.odd_repository import LARGE_BYTES, GitRepository, build_odd_repository


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
