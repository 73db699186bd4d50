"""Wrong input gets one sentence that says what to do, exit 2, and nothing half done."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nervous_system.errors import AccessError
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.odd_repository import GitRepository


@pytest.fixture(scope="module")
def recorded(whole_stack: Enchanted) -> Enchanted:
    """A stack with a project of two events."""
    settings = Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})
    with Recorder("demo/small", agent="tester", settings=settings, direct=True) as recorder:
        recorder.decision("It has to begin somewhere")
        recorder.file_changed("a.txt", b"a\n")
    from nervous_system.landed import last_sequence, wait_until_landed
    from nervous_system.projects import ProjectName

    wait_until_landed(settings, ["ledger"], last_sequence(settings, ProjectName("demo", "small")))
    return whole_stack


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["restore", "demo/nowhere", "out"], "no project demo/nowhere"),
        (["log", "demo/nowhere"], "no project demo/nowhere"),
        (["restore", "nonsense", "out"], "not a project"),
        (["restore", "demo/small", "out", "--at", "1999-01-01T00:00:00Z"], "before the first event"),
        (["restore", "demo/small", "out", "--at", "once upon a time"], "not a moment"),
        (["restore", "demo/small", "out", "--at", "commit:beef"], "carries a commit beef"),
        (["restore", "demo/small", "out", "--at", "commit:xyz"], "not a commit"),
        (["restore", "demo/small", "out", "--known-at", "soon"], "not a time"),
        (["show", "01a1fd3c-db9a-7fa0-b8f7-000000000000"], "no event"),
        (["sql", "SELECT FROM WHERE"], "ClickHouse refuses"),
        (["sql", ""], "empty"),
        (["ingest", "ledger", "--partitions", "0-99"], "names no partitions"),
        (["frobnicate"], "No such command"),
    ],
)
def test_a_wrong_word_is_answered(recorded: Enchanted, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    given = [str(tmp_path / "out") if argument == "out" else argument for argument in arguments]
    assert sentence in recorded.refuse(*given)
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_never_recorded_is_left_alone(recorded: Enchanted, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    assert "'a.txt' was never recorded" in recorded.refuse("restore", "demo/small", tmp_path)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a.txt", "mine")]


def test_what_is_not_a_repository_is_refused(recorded: Enchanted, tmp_path: Path) -> None:
    assert "repository" in recorded.refuse("import", "git", tmp_path, "--project", "demo/x")
    assert "nowhere" in recorded.refuse("import", "git", tmp_path / "nowhere", "--project", "demo/x")
    empty = GitRepository.create(tmp_path / "empty")
    assert "commit" in recorded.refuse("import", "git", empty.path, "--project", "demo/x")
    assert "branch" in recorded.refuse("import", "git", empty.path, "--project", "demo/x", "--branch", "absent")


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "git", "REPOSITORY", "--project", "demo/x"],
        ["sql", "SELECT 1"],
        ["log", "demo/x"],
        ["ingest", "ledger"],
    ],
)
def test_a_stack_that_does_not_run_is_named(sandbox: Enchanted, tmp_path: Path, arguments: list[str]) -> None:
    repository = GitRepository.create(tmp_path / "repository")
    repository.write("a", b"a")
    repository.commit("a")
    given = [str(repository.path) if argument == "REPOSITORY" else argument for argument in arguments]
    assert "enchanted up" in sandbox.refuse(*given)


def test_addresses_where_nothing_answers_are_named(sandbox: Enchanted, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    repository = GitRepository.create(tmp_path / "repository")
    repository.write("a", b"a")
    repository.commit("a")
    variables = {
        "ENCHANTED_NATS_URL": f"nats://127.0.0.1:{port}",
        "ENCHANTED_CLICKHOUSE_URL": f"http://127.0.0.1:{port}",
        "ENCHANTED_LEDGER": f"embedded://{tmp_path}/ledger.sqlite",
    }
    command = Enchanted(sandbox.home, variables)
    assert "no NATS answers" in command.refuse("import", "git", repository.path, "--project", "demo/x")
    assert "no ClickHouse answers" in command.refuse("sql", "SELECT 1")


def test_wrong_tokens_are_refused(recorded: Enchanted, tmp_path: Path) -> None:
    repository = GitRepository.create(tmp_path / "repository")
    repository.write("a", b"a")
    repository.commit("a")
    wrong = Enchanted(recorded.home, {"ENCHANTED_NATS_TOKEN": "wrong", "ENCHANTED_CLICKHOUSE_PASSWORD": "wrong"})
    assert "ENCHANTED_NATS_TOKEN" in wrong.refuse("import", "git", repository.path, "--project", "demo/x")
    assert "ENCHANTED_CLICKHOUSE_PASSWORD" in wrong.refuse("sql", "SELECT 1")
    settings = Settings.load({"ENCHANTED_HOME": str(recorded.home), "ENCHANTED_NATS_TOKEN": "wrong"})
    with pytest.raises(AccessError):
        Recorder("demo/x", agent="tester", settings=settings, direct=True)


@pytest.mark.parametrize(
    ("variable", "value"), [("ENCHANTED_PARTITIONS", "many"), ("ENCHANTED_LEDGER", "carrier-pigeon://coop")]
)
def test_a_setting_that_cannot_be_read_is_named(recorded: Enchanted, variable: str, value: str) -> None:
    assert value.partition(":")[0] in Enchanted(recorded.home, {variable: value}).refuse("log", "demo/small")


def test_reading_makes_no_ledger(sandbox: Enchanted, tmp_path: Path) -> None:
    path = tmp_path / "nowhere.sqlite"
    assert "no ledger" in Enchanted(sandbox.home, {"ENCHANTED_LEDGER": f"embedded://{path}"}).refuse("log", "a/b")
    assert not path.exists()


def test_an_address_without_a_scheme_gets_no_password(recorded: Enchanted) -> None:
    wrong = Enchanted(recorded.home, {"ENCHANTED_CLICKHOUSE_URL": "otherhost:8123"})
    assert "is not an address" in wrong.refuse("sql", "SELECT 1")


def test_a_reader_that_has_seen_enough_is_no_failure(recorded: Enchanted) -> None:
    reading = recorded.start("log", "demo/small")
    assert reading.stdout is not None
    reading.stdout.close()
    assert reading.wait(timeout=60) == 0
    assert reading.stderr is not None
    assert reading.stderr.read() == ""
    reading.stderr.close()
