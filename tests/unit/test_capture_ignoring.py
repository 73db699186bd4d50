"""Which files are left out: the same that git leaves out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nervous_system.capture.worktree.ignoring import IgnoreRules

NAMES = ("a", "b", "ab", "a.o", "x y", "#c", "é")
FOLDERS = ("", "a/", "b/", "a/b/", "ab/a/")
PATTERNS = (
    *("a", "b", "*.o", "a/", "/a", "/a/", "a/b", "a/*", "*/", "*", "**/a", "a/**", "a/**/b", "**", "/*", "ab?", "[ab]"),
    *("[!a]", "\\#c", "#c", "x\\ y", "x y ", "a.o ", "", "é", "?", "*b", "/a/b/", "a*/", "\\!a", "!", "/", "b/**/"),
)
line = st.builds(lambda negated, text: ("!" if negated else "") + text, st.booleans(), st.sampled_from(PATTERNS))
rules = st.dictionaries(st.sampled_from(FOLDERS), st.lists(line, min_size=1, max_size=4), max_size=3)


@pytest.fixture(scope="module")
def repository() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run(["git", "init", "-q", folder], check=True)
        subprocess.run(["git", "-C", folder, "config", "core.excludesFile", "/dev/null"], check=True)
        yield root


def _plant(root: Path, written: dict[str, list[str]]) -> list[bytes]:
    for child in root.iterdir():
        if child.name != ".git":
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        for name in NAMES:
            if not (root / folder / name).is_dir():
                (root / folder / name).touch()
    for folder, lines in written.items():
        (root / folder / ".gitignore").write_text("\n".join(lines) + "\n")
    (root / ".git/info/exclude").write_text("\n".join(written.get("ab/a/", [])))
    files = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts]
    return sorted(os.fsencode(path.relative_to(root)) for path in files)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules)
def test_git_leaves_out_the_same(repository: Path, written: dict[str, list[str]]) -> None:
    files = _plant(repository, written)
    command = ["git", "-C", str(repository), "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True).stdout
    own = IgnoreRules(lambda path: _content(repository, path))
    assert [path for path in files if not own.ignores_file(path)] == sorted(filter(None, listed.split(b"\0")))


def test_own_rules_have_the_last_word_and_hold_when_gits_do_not(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    (tmp_path / ".enchantedignore").write_text("!keep.log\nsecret\n")
    plain = IgnoreRules(lambda path: _content(tmp_path, path), own=[b"home"])
    also = IgnoreRules(lambda path: _content(tmp_path, path), own=[b"home"], also_ignored=True)
    paths = [b"a.log", b"keep.log", b"build/x", b"d/secret", b"home/x", b"home", b"src/home"]
    assert [plain.ignores_file(path) for path in paths] == [True, False, True, True, True, False, False]
    assert [also.ignores_file(path) for path in paths] == [False, False, False, True, True, False, False]
    assert plain.ignores_folder(b"home")


def _content(root: Path, path: bytes) -> bytes | None:
    try:
        return (root / os.fsdecode(path)).read_bytes()
    except OSError:
        return None
