"""The demonstration: a real repository recorded, landed, asked and put back, by the commands that a user would type.

Run by ``make demo``. It works in a folder of its own, ``.enchanted/demo``, made anew each time, on free ports.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".enchanted" / "demo"
ENCHANTED = Path(sys.executable).with_name("enchanted")
MOMENTS = 3

WHY = """
SELECT toDateTime(timestamp) AS occurred, agent_id,
    splitByChar('\\n', JSONExtractString(payload_json, 'decision', 'rationale'))[1] AS rationale
FROM swarm_events WHERE event_type = 'DECISION'
ORDER BY timestamp DESC, log_sequence DESC, log_index DESC LIMIT 5
"""
WHAT = """
SELECT target_resource, count() AS modifications, uniq(agent_id) AS agents
FROM swarm_events WHERE event_type = 'STATE_CHANGE'
GROUP BY target_resource ORDER BY modifications DESC, target_resource LIMIT 5
"""

console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """A step of the demonstration failed; its text says which."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of the branch: its hash, and when events of it occurred (committer time, never falling), in seconds."""

    sha: str
    occurred_s: int


def main(arguments: Sequence[str]) -> int:
    """Runs the demonstration on the repository given; 0 where every comparison held."""
    repository = Path(arguments[0] if arguments else ROOT).resolve()
    try:
        commits = first_parents(repository)
        with_stack(repository, commits)
    except DemoError as error:
        console.print(f"\n[bold red]The demonstration failed:[/] {error}")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped; the stack is down.")
        return 130
    return 0


def with_stack(repository: Path, commits: list[Commit]) -> None:
    """Everything between ``up`` and ``down``."""
    project = f"demo/{re.sub('[^A-Za-z0-9_-]+', '-', repository.name).strip('-_') or 'project'}"
    began_s = time.monotonic()
    enchanted("down", quiet=True)
    shutil.rmtree(HOME, ignore_errors=True)
    try:
        heading("1  The stack: NATS, ClickHouse, a ledger and S3 on this machine, no containers")
        enchanted("up")
        heading(f"2  Every commit of {repository.name} becomes a decision and its changes")
        enchanted("import", "git", str(repository), "--project", project)
        heading("3  Why did they do it?  SQL over every decision")
        ask(WHY)
        heading("4  Which files changed most?")
        ask(WHAT)
        heading("5  The time machine: past moments, compared with git")
        compared = restore_moments(repository, commits, project)
        heading("6  How the parts are")
        enchanted("status")
    finally:
        heading("7  Everything stops")
        enchanted("down")
    console.print(
        f"\n[bold green]✓ {compared:,} files of {min(MOMENTS, len(commits))} past moments are what git says.[/] "
        f"{time.monotonic() - began_s:.0f} s in all.\n"
    )
    invite(project, commits[len(commits) // 2])


def restore_moments(repository: Path, commits: list[Commit], project: str) -> int:
    """Restores random moments, the last of them by time; returns how many files were compared."""
    seed = int(os.environ.get("DEMO_SEED") or time.time())
    console.print(f"[dim]seed {seed} (DEMO_SEED={seed} chooses the same moments)[/]")
    chance = random.Random(seed)
    chosen = sorted(chance.sample(range(len(commits)), min(MOMENTS, len(commits))))
    compared = 0
    with tempfile.TemporaryDirectory(prefix="enchanted-demo-") as folder:
        for number, index in enumerate(chosen, start=1):
            commit = commits[index]
            moment = f"commit:{commit.sha[:12]}"
            if number == MOMENTS:
                commit = [other for other in commits if other.occurred_s <= commit.occurred_s][-1]
                moment = datetime.fromtimestamp(commit.occurred_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            target = Path(folder) / str(number)
            enchanted("restore", project, "--at", moment, str(target))
            count = compare(repository, commit.sha, target)
            console.print(f"  [green]✓[/] {count:,} files equal git's tree of {commit.sha[:12]}: paths, bytes, modes\n")
            compared += count
    return compared


def compare(repository: Path, commit: str, folder: Path) -> int:
    """Compares a folder with git's tree of a commit; returns the number of entries, raises DemoError for a difference.

    It asks git alone: the hash that git names for each path is computed from the bytes found on disk.
    """
    expected = dict(git_tree(repository, commit))
    found = dict(disk_tree(os.fsencode(folder), len(next(iter(expected.values()))[1]) if expected else 40))
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            raise DemoError(f"{path!r} is {found.get(path)} but git has {expected.get(path)} at {commit}.")
    return len(expected)


def git_tree(repository: Path, commit: str) -> Iterator[tuple[bytes, tuple[str, str]]]:
    """Mode and object id by path; of a submodule only that it is there, since git's trees hold none of its bytes."""
    for row in git(repository, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
        facts, _, path = row.partition(b"\t")
        mode, _, identity = facts.decode().split()
        yield path, (mode, "" if mode == "160000" else identity)


def disk_tree(root: bytes, hash_digits: int) -> Iterator[tuple[bytes, tuple[str, str]]]:
    """The same of a folder; an empty folder stands for a submodule."""
    for entry in os.scandir(root):
        name = entry.name
        if entry.is_symlink():
            target = os.readlink(entry.path)  # noqa: PTH115 - bytes, which a Path cannot hold
            yield name, ("120000", git_hash(target, hash_digits))
        elif entry.is_dir():
            inner = list(disk_tree(entry.path, hash_digits))
            yield from ((name + b"/" + path, facts) for path, facts in inner)
            if not inner:
                yield name, ("160000", "")
        else:
            mode = "100755" if entry.stat().st_mode & 0o100 else "100644"
            yield name, (mode, git_hash(Path(os.fsdecode(entry.path)).read_bytes(), hash_digits))


def git_hash(content: bytes, hash_digits: int) -> str:
    """The id that git gives a blob."""
    algorithm = hashlib.sha1 if hash_digits == 40 else hashlib.sha256
    return algorithm(b"blob %d\0" % len(content) + content).hexdigest()


def first_parents(repository: Path) -> list[Commit]:
    """The branch's commits, oldest first; raises DemoError where there is no history."""
    lines = git(repository, "log", "--first-parent", "--reverse", "--format=%H %ct", "HEAD", "--").decode().split("\n")
    commits: list[Commit] = []
    for line in filter(None, lines):
        sha, seconds = line.split()
        commits.append(Commit(sha, max(int(seconds), commits[-1].occurred_s if commits else 0)))
    return commits


def git(repository: Path, *arguments: str) -> bytes:
    """What git answers; raises DemoError where it refuses."""
    answer = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    if answer.returncode != 0:
        raise DemoError(f"git {arguments[0]} in {repository}: {answer.stderr.decode(errors='replace').strip()}")
    return answer.stdout


def enchanted(*arguments: str, quiet: bool = False) -> None:
    """Runs a command of ours as a user would, showing it and what it prints; raises DemoError where it fails."""
    if not quiet:
        console.print(Text(f"$ enchanted {' '.join(map(shown, arguments))}", style="bold cyan"), soft_wrap=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    status = subprocess.run(
        [str(ENCHANTED), *arguments],
        env={**environment, "ENCHANTED_HOME": str(HOME), "ENCHANTED_SIPHON_ROLL_AGE_S": "2"},
        stdout=subprocess.DEVNULL if quiet else None,
        check=False,
    ).returncode
    if status != 0 and not quiet:
        raise DemoError(f"`enchanted {arguments[0]}` ended with {status}.")


def ask(question: str) -> None:
    """A question in SQL, its answer as a table."""
    enchanted("sql", "--format", "PrettyCompactMonoBlock", " ".join(question.split()))


def shown(argument: str) -> str:
    """An argument as one would type it."""
    return f'"{argument}"' if re.search(r"[^\w@%+=:,./-]", argument) else argument


def heading(text: str) -> None:
    """A line that says what comes."""
    console.print()
    console.print(Rule(f"[bold]{text}", align="left"))


def invite(project: str, commit: Commit) -> None:
    """What to try next."""
    console.print("[bold]Try next[/] (the history is kept in .enchanted/demo):\n")
    for line in (
        f"export ENCHANTED_HOME={HOME.relative_to(ROOT)} PATH=$PWD/.venv/bin:$PATH",
        "enchanted up",
        f"enchanted log {project}",
        f"enchanted log {project} --type DECISION --json | head -3",
        f"enchanted restore {project} --at commit:{commit.sha[:12]} /tmp/then",
        f"enchanted restore {project} --at now --dry-run /tmp/now",
        'enchanted sql "SELECT agent_id, count() FROM swarm_events GROUP BY agent_id ORDER BY 2 DESC"',
        "enchanted down",
    ):
        console.print(Text(f"  {line}", style="cyan"), soft_wrap=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
