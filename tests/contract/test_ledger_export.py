"""A history as a Git repository: each commit's tree is the fold up to its last event, and nothing hostile gets out."""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nervous_system.contract import AgentDecision, Checkpoint, Operation, StateChange, SwarmEvent
from nervous_system.events import PART_LIMIT_BYTES, content_hash
from nervous_system.ledger.transaction import Engine
from nervous_system.paths import PathError, resource_from_bytes
from nervous_system.textdiff import unified_diff
from replay.contents import ContentError, Contents
from replay.export.exporter import Form, Summary, export_git
from replay.git.repository import GitError
from replay.merging import Policy, tree_at
from replay.moments import resolve
from replay.restoring.failures import TargetError
from replay.state import ConflictError
from replay.tree import EXECUTABLE, SUBMODULE, SYMLINK, Entry, Tree, TreeError, tree_digest
from tests.contract.hub import Hub, opened_hub
from tests.samples import delete, event, patch, write

BASE = b"one\ntwo\nthree\nfour\nfive\n"
TOP, BOTTOM = BASE.replace(b"one", b"ONE"), BASE.replace(b"five", b"FIVE")
OTHER_TOP = BASE.replace(b"one", b"uno")


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


def by(agent: str, made: SwarmEvent, cause: SwarmEvent | None = None) -> SwarmEvent:
    made.agent_id, made.session_id = agent, f"{agent}'s session"
    made.causation_id = cause.event_id if cause else ""
    return made


def decided(number: int, rationale: str, **fields: Any) -> SwarmEvent:
    return event(number, decision=AgentDecision(rationale=rationale, **fields))


def wrote(number: int, resource: str, content: bytes, previous: bytes | None = None, **fields: Any) -> SwarmEvent:
    return event(number, state_change=write(resource, content, previous, **fields))


def entry(number: int, resource: str, content: bytes, mode: int) -> SwarmEvent:
    change = write(resource, content)
    change.mode = mode
    return event(number, state_change=change)


def diffed(before: bytes, after: bytes) -> StateChange:
    return patch("f", before, after, unified_diff(before, after) or "")


def git(place: Path, *arguments: str) -> bytes:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "safe.directory=*", *arguments]
    return subprocess.run(command, cwd=place, env=clean, capture_output=True, check=True).stdout


def commits(place: Path) -> list[str]:
    """The branch's commits, oldest first."""
    return git(place, "rev-list", "--reverse", "HEAD").decode().split()


def tree_in_git(place: Path, commit: str) -> Tree:
    """What Git holds, asked in the plainest way."""
    tree = {}
    for row in git(place, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
        facts, _, path = row.partition(b"\t")
        mode, _, oid = facts.split()
        content = oid if mode == b"160000" else git(place, "cat-file", "blob", oid.decode())
        tree[resource_from_bytes(path)] = Entry(int(mode, 8), sha256(content).hexdigest())
    return tree


def last_events(place: Path) -> list[str]:
    """The last event of each commit, oldest first, as its message says it."""
    messages = git(place, "log", "--reverse", "--format=%B%x00").decode().split("\0")[:-1]
    return [re.findall(r"^Enchanted-Event: (.*)$", message, re.MULTILINE)[-1] for message in messages]


def export(hub: Hub, place: Path, at: str = "now", known_at: str | None = None, **form: Any) -> Summary:
    history = hub.history()
    return export_git(history, resolve(history, at, known_at=known_at), place, Form(**form))


def fold(hub: Hub, at: str, policy: Policy = Policy.FAIL) -> Tree:
    history = hub.history()
    return tree_at(history, resolve(history, at), Contents(history), policy)


def check_every_commit(hub: Hub, place: Path, summary: Summary, policy: Policy = Policy.FAIL) -> None:
    """Each commit's tree is the fold up to its last event, and the last one is that of the moment."""
    found = commits(place)
    assert len(found) == summary.commits
    for commit, last in zip(found, last_events(place), strict=True):
        assert tree_in_git(place, commit) == fold(hub, last, policy), commit
    assert summary.digest == tree_digest(tree_in_git(place, found[-1])) == tree_digest(fold(hub, "now", policy))
    git(place, "fsck", "--strict", "--full")


def put_a_history(hub: Hub) -> None:
    """Two agents who decide, write, rename, delete, and call things by name."""
    first = by("ada", decided(1, "Begin\n\nBecause something must.", rejected_alternatives=["wait"]))
    hub.put(first, by("ada", wrote(2, "a.txt", b"a\n"), first), by("ada", wrote(3, "src/b.txt", b"b\n"), first))
    second = by("bob", decided(4, "Run it", confidence_score=0.5))
    hub.put(second, by("bob", entry(5, "run.sh", b"#!/bin/sh\n", EXECUTABLE), second))
    hub.put(by("bob", entry(6, "latest", b"src/b.txt", SYMLINK), second), by("ada", wrote(7, "a.txt", b"aa\n", b"a\n")))
    hub.put(by("ada", event(8, checkpoint=Checkpoint(name="v1", description="The first"))))
    renamed = write("lib/b.txt", b"b\n", b"b\n", renamed_from="src/b.txt", operation=Operation.OPERATION_RENAME)
    hub.put(
        by("ada", event(9, state_change=renamed), first), by("ada", entry(10, "latest", b"lib/b.txt", SYMLINK), first)
    )
    hub.put(
        by("bob", entry(11, "vendor", b"ab" * 20, SUBMODULE)),
        by("bob", event(12, state_change=delete("a.txt", b"aa\n"))),
    )
    hub.put(by("bob", event(13, checkpoint=Checkpoint(name="v1.1"))))
    hub.put(by("ada", wrote(14, "vendor", b"a file now", b"ab" * 20)))


def test_every_commit_is_the_fold_up_to_its_last_event(hub: Hub, tmp_path: Path) -> None:
    put_a_history(hub)
    summary = export(hub, tmp_path / "out")
    check_every_commit(hub, tmp_path / "out", summary)
    subjects = git(tmp_path / "out", "log", "--reverse", "--format=%an: %s").decode().splitlines()
    assert subjects == ["ada: Begin", "bob: Run it", "ada: Begin", "ada: Begin", "bob: Run it", "ada: Begin"]


def test_the_work_tree_is_checked_out_and_clean(hub: Hub, tmp_path: Path) -> None:
    put_a_history(hub)
    export(hub, tmp_path / "out", branch="trunk/x")
    assert git(tmp_path / "out", "status", "--porcelain") == b""
    assert git(tmp_path / "out", "symbolic-ref", "HEAD") == b"refs/heads/trunk/x\n"
    assert (tmp_path / "out/lib/b.txt").read_bytes() == b"b\n"
    assert (tmp_path / "out/latest").readlink() == Path("lib/b.txt")
    assert (tmp_path / "out/run.sh").stat().st_mode & 0o111
    assert [path.name for path in tmp_path.glob("*out*")] == ["out"]
    assert not list((tmp_path / "out/.git").glob("hooks/*"))


def test_a_bare_one_has_no_work_tree(hub: Hub, tmp_path: Path) -> None:
    put_a_history(hub)
    summary = export(hub, tmp_path / "out.git", bare=True)
    assert git(tmp_path / "out.git", "rev-parse", "--is-bare-repository") == b"true\n"
    check_every_commit(hub, tmp_path / "out.git", summary)
    assert not (tmp_path / "out.git/lib").exists()


def test_the_same_question_gives_the_same_commits(hub: Hub, tmp_path: Path) -> None:
    put_a_history(hub)
    export(hub, tmp_path / "one")
    export(hub, tmp_path / "two", bare=True)
    assert git(tmp_path / "one", "show-ref") == git(tmp_path / "two", "show-ref")


def test_checkpoints_are_tags_of_the_tree_at_that_time(hub: Hub, tmp_path: Path) -> None:
    put_a_history(hub)
    earlier = event(40, checkpoint=Checkpoint(name="before bob, really", through_event_id=event(3).event_id))
    middle = event(41, checkpoint=Checkpoint(name="middle", through_event_id=event(2).event_id))
    hub.put(earlier, middle, event(42, checkpoint=Checkpoint(name="v0", through_event_id=event(1).event_id)))
    summary = export(hub, tmp_path / "out")
    out = tmp_path / "out"
    assert git(out, "tag").decode().split() == ["middle", "v1", "v1.1"]
    assert summary.refused_checkpoints == ["before bob, really", "v0"]
    for tag in ("middle", "v1", "v1.1"):
        assert tree_in_git(out, tag) == fold(hub, tag)
    assert tree_in_git(out, "middle").keys() == {"a.txt"}
    assert git(out, "cat-file", "-t", "v1") == b"tag\n"
    assert git(out, "tag", "--format=%(contents)%(taggername)%(taggeremail)", "-l", "v1") == (
        b"The first\nada<agent@enchanted.invalid>\n"
    )
    assert git(out, "cat-file", "-t", "v1.1") == b"commit\n"


def test_offline_changes_are_merged_in_the_commits_too(hub: Hub, tmp_path: Path) -> None:
    hub.put(by("ada", wrote(1, "f", BASE)), by("bob", wrote(2, "other", b"x")))
    hub.put(by("ada", event(3, state_change=diffed(BASE, TOP))), by("bob", event(4, state_change=diffed(BASE, BOTTOM))))
    hub.put(by("ada", wrote(5, "later", b"y")), by("bob", event(6, state_change=diffed(BOTTOM, BOTTOM + b"six\n"))))
    summary = export(hub, tmp_path / "out")
    check_every_commit(hub, tmp_path / "out", summary)
    assert (tmp_path / "out/f").read_bytes() == b"ONE\ntwo\nthree\nfour\nFIVE\nsix\n"


@pytest.mark.parametrize("policy", [Policy.OURS, Policy.THEIRS, Policy.MARK])
def test_what_does_not_merge_is_decided_by_the_policy(hub: Hub, tmp_path: Path, policy: Policy) -> None:
    hub.put(by("ada", wrote(1, "f", BASE)), by("ada", event(2, state_change=diffed(BASE, TOP))))
    hub.put(
        by("bob", event(3, state_change=diffed(BASE, OTHER_TOP))), by("ada", event(4, state_change=delete("f", TOP)))
    )
    with pytest.raises(ConflictError, match="--on-conflict"):
        export(hub, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []
    check_every_commit(hub, tmp_path / "out", export(hub, tmp_path / "out", policy=policy), policy)


def test_a_conflict_that_was_settled_later_hides_no_other_commit(hub: Hub, tmp_path: Path) -> None:
    hub.put(by("ada", wrote(1, "f", BASE)), by("ada", event(2, state_change=diffed(BASE, TOP))))
    hub.put(by("bob", event(3, state_change=diffed(BASE, OTHER_TOP))), by("cyd", wrote(4, "g", b"g")))
    hub.put(by("ada", wrote(5, "f", b"settled")))
    summary = export(hub, tmp_path / "out")
    assert (summary.commits, summary.unheld) == (4, 2)
    found = commits(tmp_path / "out")
    assert tree_in_git(tmp_path / "out", found[0]) == fold(hub, event(2).event_id)
    assert tree_in_git(tmp_path / "out", found[2]) == tree_in_git(tmp_path / "out", found[0])
    assert tree_in_git(tmp_path / "out", found[3]) == fold(hub, "now")


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (wrote(3, "a/b", b"x"), PathError),
        (wrote(3, "A", b"x"), PathError),
        (event(3, state_change=patch("f", b"a", b"b", "@@ -1 +1 @@\n-z\n+b\n")), ContentError),
        (entry(3, "sub", b"not a commit", SUBMODULE), TreeError),
        (entry(3, "sub", b"0" * 40, SUBMODULE), TreeError),
    ],
    ids=["file and folder", "case", "wrong diff", "submodule", "null submodule"],
)
def test_a_tree_that_no_commit_can_hold_waits_for_one_that_can(
    hub: Hub, tmp_path: Path, bad: SwarmEvent, error: type[Exception]
) -> None:
    hub.put(by("ada", wrote(1, "a", b"a")), by("ada", wrote(2, "f", b"a")), by("eve", bad))
    with pytest.raises(error):
        export(hub, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []
    hub.put(by("ada", wrote(4, "kept", b"x")), by("eve", event(5, checkpoint=Checkpoint(name="broken"))))
    hub.put(by("bob", event(6, state_change=delete(bad.state_change.target_resource))))
    summary = export(hub, tmp_path / "out")
    assert (summary.commits, summary.unheld, summary.refused_checkpoints) == (4, 2, ["broken"])
    found = commits(tmp_path / "out")
    trees = [tree_in_git(tmp_path / "out", commit) for commit in found]
    assert trees[0] == trees[1] == trees[2] == fold(hub, event(2).event_id)
    assert trees[3] == fold(hub, "now")
    assert "kept" in trees[3]


def test_links_that_lead_out_are_in_no_commit(hub: Hub, tmp_path: Path) -> None:
    hub.put(by("ada", entry(1, "a/up", b"..", SYMLINK)), by("eve", entry(2, "out", b"a/up/..", SYMLINK)))
    with pytest.raises(PathError, match="leads out"):
        export(hub, tmp_path / "out")
    export(hub, tmp_path / "out", at=event(1).event_id)
    assert (tmp_path / "out/a/up").is_symlink()


HOSTILE = "x\n\ncommit refs/heads/main\ncommitter <e> 0 +0000\ndata 0\ndeleteall\n\0 <a@b> \x1b[31m"


def test_what_agents_write_is_never_a_command(hub: Hub, tmp_path: Path) -> None:
    bad = decided(1, HOSTILE, rejected_alternatives=[HOSTILE], attributes={"author_date": HOSTILE})
    odd = "quo\"te ' $HOME `x` %s"
    changes = [wrote(2, odd, HOSTILE.encode()), wrote(3, r"caf\xe9/\xff", b"data 5\n")]
    changes.append(event(4, checkpoint=Checkpoint(name=HOSTILE, description=HOSTILE)))
    changes.append(event(5, checkpoint=Checkpoint(name="fine", description=HOSTILE)))
    for each in (bad, *changes):
        each.agent_id = each.session_id = each.trace_id = HOSTILE
        each.related_commit_hash = HOSTILE
        hub.put(each)
    summary = export(hub, tmp_path / "out")
    out = tmp_path / "out"
    (commit,) = commits(out)
    assert tree_in_git(out, commit) == fold(hub, "now")
    assert (summary.commits, summary.refused_checkpoints) == (1, [HOSTILE])
    assert git(out, "for-each-ref", "--format=%(refname)").decode().split() == ["refs/heads/main", "refs/tags/fine"]
    assert b"\0" not in git(out, "cat-file", "commit", commit)
    assert b"\x1b" not in git(out, "log", "-1", "--format=%B%an%cn")
    git(out, "fsck", "--strict", "--full")


def test_a_decision_for_a_commit_without_changes_is_an_empty_commit(hub: Hub, tmp_path: Path) -> None:
    empty = decided(1, "Nothing to see")
    empty.related_commit_hash = "c0ffee"
    hub.put(by("ada", decided(2, "Only thought of")), empty, by("ada", wrote(3, "a", b"a")))
    assert export(hub, tmp_path / "out").commits == 2
    assert git(tmp_path / "out", "log", "--reverse", "--format=%s") == b"Nothing to see\nOnly thought of\n"


def test_a_large_content_is_put_together_from_its_parts(hub: Hub, tmp_path: Path) -> None:
    parts = [b"a" * PART_LIMIT_BYTES, b"b" * PART_LIMIT_BYTES, b"c"]
    whole = b"".join(parts)
    change = write("large", whole)
    change.ClearField("content")
    change.blob_hash = change.new_state_hash
    change.blob_parts.extend(sha256(part).digest() for part in parts)
    hub.land(*(hub.part(part) for part in parts), hub.message(event(1, state_change=change)))
    summary = export(hub, tmp_path / "out")
    check_every_commit(hub, tmp_path / "out", summary)
    assert content_hash((tmp_path / "out/large").read_bytes()) == content_hash(whole)


def test_a_past_moment_gives_what_was_there_and_known(hub: Hub, tmp_path: Path) -> None:
    put_a_history(hub)
    export(hub, tmp_path / "v1", at="v1")
    assert tree_in_git(tmp_path / "v1", "HEAD") == fold(hub, "v1")
    known = "2023-11-14T22:13:24Z"
    before = export(hub, tmp_path / "before", known_at=known)
    assert 0 < before.commits < export(hub, tmp_path / "all", bare=True).commits
    early = 1_700_000_001_500_000
    late = event(99, state_change=write("a.txt", b"rewritten"), occurred_us=early)
    named = Checkpoint(name="later", through_event_id=event(2).event_id)
    thought = event(97, decision=AgentDecision(rationale="Later"), occurred_us=early)
    hub.put(late, event(98, checkpoint=named, occurred_us=early), by("ada", thought), recorded_us=early + 900_000_000)
    assert export(hub, tmp_path / "after", known_at=known) == before
    assert git(tmp_path / "after", "show-ref") == git(tmp_path / "before", "show-ref")


def test_nothing_to_commit_gives_an_empty_repository(hub: Hub, tmp_path: Path) -> None:
    hub.put(by("ada", decided(1, "Think")), event(2, checkpoint=Checkpoint(name="v0")))
    summary = export(hub, tmp_path / "out")
    assert (summary.commits, summary.refused_checkpoints) == (0, ["v0"])
    assert git(tmp_path / "out", "status", "--porcelain") == b""


@pytest.mark.parametrize("number", [1, 2, 5, 13])
def test_an_interrupt_leaves_nothing(hub: Hub, tmp_path: Path, number: int) -> None:
    put_a_history(hub)

    def interrupt(events: int) -> None:
        if events == number:
            raise KeyboardInterrupt

    history = hub.history()
    with pytest.raises(KeyboardInterrupt):
        export_git(history, resolve(history, "now"), tmp_path / "new/out", Form(), interrupt)
    assert not (tmp_path / "new").exists()


def test_a_git_that_cannot_write_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.put(wrote(1, "noise", random.Random(1).randbytes(200_000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "into").mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(GitError, match="could not write"):
            export(hub, tmp_path / "into/out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "into").iterdir()) == []
    export(hub, tmp_path / "into/out")


@pytest.mark.parametrize("branch", ["", "-x", "a..b", "HEAD", "a b", "x\ny"])
def test_a_branch_that_cannot_be_is_refused(hub: Hub, tmp_path: Path, branch: str) -> None:
    put_a_history(hub)
    with pytest.raises(GitError, match="branch"):
        export(hub, tmp_path / "out", branch=branch)


def test_a_place_that_is_taken_is_refused(hub: Hub, tmp_path: Path) -> None:
    put_a_history(hub)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").touch()
    with pytest.raises(TargetError, match="not empty"):
        export(hub, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_the_user_s_own_configuration_counts_for_nothing(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_a_history(hub)
    export(hub, tmp_path / "plain")
    home = tmp_path / "home"
    touched = tmp_path / "touched"
    (home / "templates/hooks").mkdir(parents=True)
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (home / f"templates/hooks/{hook}").write_text(f"#!/bin/sh\ntouch {touched}\n")
        (home / f"templates/hooks/{hook}").chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[init]\ntemplateDir={home}/templates\ndefaultBranch=odd\n[core]\nhooksPath={home}/templates/hooks\n"
        "autocrlf=true\n[fastimport]\nunpackLimit=1\n[commit]\ngpgSign=true\n[extensions]\nobjectFormat=sha256\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_TEMPLATE_DIR", f"{home}/templates")
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    export(hub, tmp_path / "out")
    assert not touched.exists()
    monkeypatch.undo()
    assert git(tmp_path / "out", "show-ref") == git(tmp_path / "plain", "show-ref")
    assert (tmp_path / "out/lib/b.txt").read_bytes() == b"b\n"
