"""``enchanted undo`` against the whole stack: recorded by agents, taken back by command, told by every store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nervous_system.authoring import Author
from nervous_system.contract import AgentRole
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from replay.undoing.selection import ByAgent, UndoError
from replay.undoing.writing import ATTEMPTS, Undone, take_back
from tests.integration.command import Enchanted

BASE = b"".join(b"line %d\n" % number for number in range(40))
LARGE = bytes(range(256)) * 3_000


def settings_of(stack: Enchanted) -> Settings:
    return Settings.load({"ENCHANTED_HOME": str(stack.home)})


def record(stack: Enchanted, project: str, agent: str, work: Callable[[Recorder], object]) -> None:
    with Recorder(project, agent=agent, settings=settings_of(stack), direct=True) as recorder:
        work(recorder)
        recorder.flush()


def edited(content: bytes, number: int, text: bytes) -> bytes:
    return content.replace(b"line %d\n" % number, text)


def two_agents(stack: Enchanted, project: str) -> None:
    """Ada writes a file; bob edits it and makes others; ada edits it elsewhere."""
    bobs = edited(BASE, 3, b"bob was here\n")
    both = edited(bobs, 30, b"ada was here\n")
    record(stack, project, "ada", lambda it: it.file_changed("src/f", BASE))
    record(stack, project, "bob", lambda it: it.file_changed("src/f", bobs, previous=BASE))
    record(stack, project, "bob", lambda it: it.file_changed("large", LARGE))
    record(stack, project, "ada", lambda it: it.file_changed("src/f", both, previous=bobs))


def test_a_change_is_taken_back_and_the_undo_undone(whole_stack: Enchanted, tmp_path: Path) -> None:
    project = "undo/both-ways"
    two_agents(whole_stack, project)
    planned = json.loads(whole_stack.succeed("undo", project, "--agent", "bob", "--dry-run", "--json"))
    assert [(each["kind"], each["path"]) for each in planned["changes"]] == [
        ("deleted", "large"),
        ("modified", "src/f"),
    ]
    assert planned["decision_id"] is None
    whole_stack.succeed("restore", project, tmp_path / "before")
    said = whole_stack.succeed("undo", project, "--agent", "bob", "--reason", "He was wrong.", "--as", "carl")
    assert said.startswith("Took back 2 changes of bob in 2 files (event ")
    whole_stack.succeed("restore", project, tmp_path / "after")
    assert [place.name for place in (tmp_path / "after").iterdir()] == ["src"]
    assert (tmp_path / "after/src/f").read_bytes() == edited(BASE, 30, b"ada was here\n")
    told = [json.loads(line) for line in whole_stack.succeed("timeline", project, "--json").splitlines()][-3:]
    assert {each["agent_id"] for each in told} == {"carl"}
    assert [each["why"] for each in told] == ["", "He was wrong.", "He was wrong."]
    again = said.rpartition(f"enchanted undo {project} ")[2].strip().rstrip(")").split()
    assert "nothing was written" not in whole_stack.succeed("undo", project, *again)
    whole_stack.succeed("restore", project, tmp_path / "again")
    for name in ("src/f", "large"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()
    whole_stack.succeed("verify", project)


def test_conflicts_are_shown_with_both_sides_and_written_only_if_allowed(whole_stack: Enchanted) -> None:
    project = "undo/conflicts"
    two_agents(whole_stack, project)
    bobs, adas = edited(BASE, 3, b"bob was here\n"), edited(BASE, 3, b"ada knows better\n")
    both = edited(adas, 30, b"ada was here\n")
    previous = edited(bobs, 30, b"ada was here\n")
    record(whole_stack, project, "ada", lambda it: it.file_changed("src/f", both, previous=previous))
    refused = whole_stack.run("undo", project, "--agent", "bob")
    assert refused.returncode == 1
    for line in (
        "conflict  src/f: the same lines",
        "    <<<<<<< now",
        "    ada knows better",
        "    line 3",
        "Nothing was",
    ):
        assert line in refused.stdout
    assert whole_stack.succeed("cat", project, "src/f").encode() == both
    facts = json.loads(whole_stack.succeed("undo", project, "--agent", "bob", "--allow-conflicts", "--json"))
    assert [each["path"] for each in facts["conflicts"]] == ["src/f"]
    assert facts["decision_id"]
    shown = b"<<<<<<< now\nada knows better\n=======\nline 3\n>>>>>>> without bob\n"
    assert whole_stack.succeed("cat", project, "src/f").encode() == both.replace(b"ada knows better\n", shown)
    assert whole_stack.succeed("ls", project).split()[2::3] == ["src/f"]


def test_what_cannot_be_is_said_in_a_sentence(whole_stack: Enchanted) -> None:
    project = "undo/sentences"
    two_agents(whole_stack, project)
    assert "there are 'ada', 'bob'." in whole_stack.refuse("undo", project, "--agent", "carl")
    assert "has changed nothing in" in whole_stack.refuse("undo", project, "--agent", "bob", "--since", "now")
    assert "--agent AGENT, or --event EVENT" in whole_stack.refuse("undo", project)
    assert "an event is one moment" in whole_stack.refuse("undo", project, "--event", "x", "--since", "now")
    assert "There is no project undo/nothing" in whole_stack.refuse("undo", "undo/nothing", "--agent", "bob")
    whole_stack.succeed("undo", project, "--agent", "bob")
    assert "Nothing is left to take back" in whole_stack.succeed("undo", project, "--agent", "bob")


def test_a_fork_is_written_to_and_not_its_origin(whole_stack: Enchanted) -> None:
    project, fork = "undo/origin", "undo/fork"
    two_agents(whole_stack, project)
    whole_stack.succeed("fork", project, fork)
    whole_stack.succeed("undo", fork, "--agent", "bob")
    assert whole_stack.succeed("cat", fork, "src/f").encode() == edited(BASE, 30, b"ada was here\n")
    shared = whole_stack.succeed("cat", project, "src/f")
    assert "bob was here" in shared
    whole_stack.succeed("undo", fork, "--agent", "enchanted")
    assert whole_stack.succeed("cat", fork, "src/f") == shared
    whole_stack.succeed("verify", fork)


@pytest.fixture
def ledger(whole_stack: Enchanted) -> Iterator[Ledger]:
    opened = Ledger.open(settings_of(whole_stack), create=False)
    yield opened
    opened.close()


@pytest.mark.parametrize("times", [1, ATTEMPTS])
def test_others_who_write_meanwhile_are_seen(whole_stack: Enchanted, ledger: Ledger, times: int) -> None:
    """Bob writes between the look at the project and the writing: it is planned again, with what he did."""
    name = ProjectName("undo", f"meanwhile-{times}")
    two_agents(whole_stack, str(name))
    left = [f"more/{number}" for number in range(times)]

    def author() -> Author:
        if left:
            record(whole_stack, str(name), "bob", lambda it: it.file_changed(left.pop(), b"more\n"))
        return Author(name, "enchanted", AgentRole.ROLE_OPERATOR, "s", "")

    def undo() -> Undone:
        return take_back(settings_of(whole_stack), ledger, name, lambda _: ByAgent("bob"), author)

    if times < ATTEMPTS:
        assert len(undo().plan.taken) == 3
        assert whole_stack.succeed("ls", str(name)).split()[2::3] == ["src/f"]
        return
    with pytest.raises(UndoError, match="others wrote there"):
        undo()
    assert not left
    assert "bob was here" in whole_stack.succeed("cat", str(name), "src/f")
