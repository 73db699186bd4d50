"""An import that is stopped at any moment leaves nothing that a second run does not finish."""

from __future__ import annotations

import random
import signal
import subprocess
from functools import partial

import pytest

from nervous_system.events import decode
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.odd_repository import GitRepository, build_odd_repository
from tests.integration.stack_process import wait_until
from tests.integration.stores import in_ledger

# Killed, or started and stopped, again and again: behind `make chaos`.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    return build_odd_repository(tmp_path_factory.mktemp("interrupted") / "repository")


def untraced(data: bytes) -> tuple[str, int, bytes]:
    """An event without what the project's name decides."""
    event = decode(data)
    for name in ("event_id", "causation_id", "project_id"):
        event.ClearField(name)
    return event.related_commit_hash, event.agent_sequence, event.SerializeToString(deterministic=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_import_stopped_again_and_again_ends_as_one_that_was_not(
    whole_stack: Enchanted, repository: GitRepository, how: signal.Signals
) -> None:
    settings = Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})
    straight, stopped = ProjectName("interrupted", f"straight-{how.name}"), ProjectName("interrupted", how.name)
    whole_stack.succeed("import", "git", repository.path, "--project", str(straight))
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(2):
        before = len(in_ledger(settings, stopped))
        process = whole_stack.start("import", "git", repository.path, "--project", str(stopped), "--limit", "9")
        goal = before + chance.randint(1, 12)
        wait_until(partial(far_enough, process, settings, stopped, goal), "an import that has landed something")
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        assert process.returncode in (0, -how, 130), err
    whole_stack.succeed("import", "git", repository.path, "--project", str(stopped))
    expected = [untraced(data) for data in in_ledger(settings, straight)]
    assert [untraced(data) for data in in_ledger(settings, stopped)] == expected


def far_enough(process: subprocess.Popen[str], settings: Settings, project: ProjectName, goal: int) -> bool:
    return process.poll() is not None or len(in_ledger(settings, project)) >= goal
