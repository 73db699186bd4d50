"""Agents that know of no recorder, recorded whole: each step restored is what stood there, whoever changed what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nervous_system.contract import Operation
from tests.integration import stand_in
from tests.integration.captured import events, files, landed, log_text, record, restore

GIT = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
COMMIT = "git -c user.name=A -c user.email=a@example.com commit -q"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzKEYvalue"
AGENTS = {
    "by the shell": [
        "echo one > a; mkdir -p deep/er; echo two > deep/er/b; printf '' > empty",
        "echo more >> a; cat a a > deep/c; chmod +x a; ln -s deep/er/b link",
        "rm a link; touch deep/empty; head -c 3000000 /dev/urandom > large",
        "printf x | dd of=large bs=1 seek=1500000 conv=notrunc status=none; chmod +x large",
    ],
    "by sed -i": [
        "for n in 1 2 3 4 5; do seq 200 > f$n; done",
        "sed -i s/100/hundred/ f*; sed -i -e 1d -e '$d' f3",
        "sed -i s/hundred/100/ f1 f2; perl -pi -e 's/^7$/seven/' f4 2>/dev/null || sed -i 's/^7$/seven/' f4",
    ],
    "by atomic rename": [
        "for n in 1 2 3; do echo $n > .tmp$n; mv .tmp$n f$n; done",
        "for n in 1 2 3 4 5 6 7 8 9; do echo again $n > .tmp; mv .tmp f1; done; mv f2 g2; mv f3 F3",
        "mv f1 x; mv g2 f1; mv x g2; mkdir F3.d; mv F3 F3.d/f3",
    ],
    "by git checkout": [
        "git init -q -b main; mkdir src; seq 50 > src/a; echo '*.o' > .gitignore; git add .; " + COMMIT + " -m 1",
        "git checkout -q -b other; git mv src lib; sed -i 1d lib/a; echo new > lib/new; touch x.o; git add .; "
        + COMMIT
        + " -m 2",
        "git checkout -q main; ls src/a > seen",
        "git checkout -q other; git rm -q lib/new; rm seen",
        "git stash -q; git checkout -q main",
    ],
    "by deleting folders": [
        "mkdir -p d/e/f g; for n in $(seq 60); do echo $n > d/e/f/$n; echo $n > g/$n; done",
        "mv d/e h; rm -rf g",
        "rm -rf h; echo file > d/e; mkdir g; echo back > g/1",
        "rm -rf d g; echo last > d",
    ],
    "by four at once": [
        "for w in 1 2 3 4; do (for n in $(seq 40); do echo $w $n >> shared; echo $w > mine$w; done) & done; wait",
        "for w in 1 2 3 4; do (for n in $(seq 20); do echo $w $n > .s$w; mv .s$w shared; done) & done; wait",
    ],
}


@pytest.mark.parametrize(
    ("agent", "options"), [*((agent, []) for agent in AGENTS), ("by git checkout", ["--scan"])], ids=str
)
def test_each_step_is_restored(tmp_path: Path, agent: str, options: list[str]) -> None:
    commands = AGENTS[agent]
    tree, home, copies = tmp_path / "tree", tmp_path / "home", tmp_path / "copies"
    tree.mkdir()
    (tree / "before").write_text("was here before the agent\n")
    done = record(tree, home, [sys.executable, stand_in.__file__, str(copies), *commands], *options)
    assert (done.returncode, done.stderr) == (0, b"")
    with landed(home) as history:
        for number in range(1, len(commands) + 1):
            step = f"step-{number}"
            expected = {name: each for name, each in files(copies / step).items() if not name.endswith(".o")}
            assert files(restore(history, step, tmp_path / "restored" / step)) == expected, step
    assert log_text(home) == ""


def test_what_happens_at_the_very_end_and_with_nobody_watching_is_recorded(tmp_path: Path) -> None:
    tree, home = tmp_path / "tree", tmp_path / "home"
    tree.mkdir()
    for name in "abc":
        (tree / name).write_text(name)
    assert (
        record(tree, home, ["bash", "-c", "for n in $(seq 300); do echo $n > n$n; done; rm a; exit 3"]).returncode == 3
    )
    with landed(home) as history:
        assert files(restore(history, "now", tmp_path / "first")) == files(tree)
    (tree / "b").unlink()
    (tree / "c").write_text("changed by a person, with nobody watching")
    before = len(events(home))
    assert record(tree, home, ["true"]).returncode == 0
    said = [event.state_change for event in events(home)[before:] if event.HasField("state_change")]
    assert [(change.target_resource, change.operation) for change in said] == [
        ("b", Operation.OPERATION_DELETE),
        ("c", Operation.OPERATION_MODIFY),
    ]
    (home / "ledger.sqlite").unlink()
    with landed(home) as history:
        assert files(restore(history, "now", tmp_path / "second")) == files(tree)


def test_a_file_whose_secret_is_taken_out_goes_on_being_followed(tmp_path: Path) -> None:
    tree, home, copies = tmp_path / "tree", tmp_path / "home", tmp_path / "copies"
    tree.mkdir()
    (tree / ".env").write_text(f"PORT=1\nAWS_SECRET_ACCESS_KEY={SECRET}\n")
    steps = [
        "echo PORT=2 >> .env",
        "mv .env settings.env",
        "echo end >> settings.env",
        "ln -sf x settings.env",
        "rm *.env",
    ]
    assert record(tree, home, [sys.executable, stand_in.__file__, str(copies), *steps]).returncode == 0
    assert not any(SECRET.encode() in event.SerializeToString() for event in events(home))
    with landed(home) as history:
        for number in range(1, len(steps) + 1):
            restored = files(restore(history, f"step-{number}", tmp_path / "restored" / str(number)))
            expected = files(copies / f"step-{number}")
            assert restored.keys() == expected.keys()
            assert all(
                restored[name] == expected[name] for name in expected if SECRET.encode() not in expected[name][1]
            )


def test_a_repository_of_many_files_is_followed_through_its_branches(tmp_path: Path) -> None:
    tree, home = tmp_path / "tree", tmp_path / "home"
    tree.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=tree, check=True)
    for number in range(400):
        (tree / f"d{number % 7}").mkdir(exist_ok=True)
        (tree / f"d{number % 7}" / f"f{number}").write_text(f"{number}\n" * 20)
    for command in (["add", "."], ["commit", "-q", "-m", "1"], ["checkout", "-q", "-b", "other"]):
        subprocess.run([*GIT, *command], cwd=tree, check=True)
    for number in range(0, 400, 3):
        (tree / f"d{number % 7}" / f"f{number}").write_text(f"{number} on the other branch\n")
    subprocess.run([*GIT, "commit", "-q", "-a", "-m", "2"], cwd=tree, check=True)
    flips = "for n in 1 2 3 4 5; do git checkout -q main; git checkout -q other; done"
    assert record(tree, home, ["bash", "-c", flips]).returncode == 0
    with landed(home) as history:
        expected = {name: each for name, each in files(tree).items() if not name.startswith(".git/")}
        assert files(restore(history, "now", tmp_path / "restored")) == expected
