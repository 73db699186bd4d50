"""Builds, with Git itself, a small repository that has everything that makes histories hard."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SUBMODULE_COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 3 * 1024 * 1024
_FIRST_SECOND = 1_700_000_000


@dataclass
class GitRepository:
    """A repository being built: ``git`` runs a command in it, ``commit`` commits everything there is."""

    path: Path
    seconds: int = _FIRST_SECOND
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, path: Path) -> GitRepository:
        path.mkdir(parents=True)
        repository = cls(path)
        repository.git("init", "--quiet", "--initial-branch=main")
        repository.git("config", "core.autocrlf", "false")
        repository.git("config", "core.precomposeunicode", "false")
        return repository

    def git(self, *arguments: str | bytes, stdin: bytes = b"", **environment: str) -> str:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        variables |= {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ada Lovelace",
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Grace Hopper",
            "GIT_COMMITTER_EMAIL": "grace@example.org",
            "GIT_AUTHOR_DATE": f"{self.seconds - 100} +0530",
            "GIT_COMMITTER_DATE": f"{self.seconds} -0700",
            **self.environment,
            **environment,
        }
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=variables, input=stdin, capture_output=True, check=False
        )
        assert not done.returncode, (arguments, done.stderr)
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def commit(self, message: str, *, later_s: int = 60) -> str:
        """Commits the working tree as it is, ``later_s`` after the commit before; returns the commit."""
        self.seconds += later_s
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def write(self, path: str | bytes, content: bytes, *, executable: bool = False) -> None:
        file = os.path.join(os.fsencode(self.path), os.fsencode(path))  # noqa: PTH118 - names are bytes
        os.makedirs(os.path.dirname(file), exist_ok=True)  # noqa: PTH103, PTH120
        with open(file, "wb") as opened:  # noqa: PTH123
            opened.write(content)
        os.chmod(file, 0o755 if executable else 0o644)  # noqa: PTH101

    def link(self, path: str, target: str) -> None:
        (self.path / path).symlink_to(target)

    def remove(self, *paths: str) -> None:
        self.git("rm", "-r", "--quiet", "--force", "--", *paths)


def text(lines: int, seed: str = "line") -> bytes:
    """A text of that many lines, all different."""
    return b"".join(f"{seed} {number}\n".encode() for number in range(lines))


def build_odd_repository(path: Path) -> GitRepository:
    """A repository with renames, types that change, binaries, odd names, odd dates and odd encodings; branch main."""
    repository = GitRepository.create(path)
    _names_and_contents(repository)
    _renames(repository)
    _types(repository)
    _folders_and_files(repository)
    _merges(repository)
    _dates_and_encodings(repository)
    _sizes(repository)
    _everything_deleted(repository)
    return repository


def _names_and_contents(repository: GitRepository) -> None:
    repository.write("README.md", b"# Odd\n")
    repository.write("empty", b"")
    repository.write("no newline", b"first\nlast")
    repository.write("crlf.txt", b"one\r\ntwo\r\nthree\r\n")
    repository.write("binary.bin", bytes(range(256)) * 4)
    repository.write("latin.txt", "naïve café\nplain\n".encode("latin-1"))
    repository.write(b"caf\xe9/\xff\xfe.txt", b"a name that is not UTF-8\n")
    repository.write("größe/日本 語.txt", "ünïcode\n".encode())
    repository.write("it's a (file) $HOME & co; #1 'x'.txt", b"quotes\n")
    repository.write('say "hi".txt', b"double quotes\n")
    repository.write("-rf", b"looks like an option\n")
    repository.write("--output=x", b"so does this\n")
    repository.write(
        "src/module.py", b"def f():\n" + text(60, "    value =") + b"\n\ndef g():\n" + text(60, "    other =")
    )
    repository.write(".gitattributes", b"*.py -diff\n*.txt diff=nonsense\n")
    repository.commit("Everything odd about names and contents\n\nWith a body.\n\n  Indented, and a trailing blank ")
    repository.write("empty", b"no longer\n")
    repository.write("no newline", b"first\nsecond\nlast")
    repository.write("crlf.txt", b"one\r\n2\r\nthree\r\nfour")
    repository.write("binary.bin", bytes(range(255, -1, -1)) * 4)
    repository.write("latin.txt", "naïve café\nchanged\n".encode("latin-1"))
    repository.write(b"caf\xe9/\xff\xfe.txt", b"a name that is not UTF-8\nchanged\n")
    content = (repository.path / "src/module.py").read_bytes()
    repository.write(
        "src/module.py", content.replace(b"    value = 30\n", b"").replace(b"other = 40", b"x\n@@ -1 +1 @@\n--- y")
    )
    repository.commit("Change what can be changed")
    repository.write("no newline", b"first\nsecond\nlast\n")
    repository.write("crlf.txt", b"one\n2\nthree\nfour")
    repository.write("empty", b"")
    repository.commit("Only ends of lines")


def _renames(repository: GitRepository) -> None:
    repository.write("a.txt", text(40, "a"))
    repository.write("b.txt", text(40, "b"))
    repository.write("c.txt", text(40, "c"))
    repository.write("docs/one.txt", text(30, "one"))
    repository.write("docs/two.txt", text(30, "two"))
    repository.commit("Files to rename")
    repository.git("mv", "a.txt", "moved.txt")
    repository.commit("A pure rename")
    repository.git("mv", "moved.txt", "moved again.txt")
    repository.write("moved again.txt", text(40, "a").replace(b"a 20\n", b"changed\n"), executable=True)
    repository.commit("A rename with an edit and a new mode")
    for before, after in (("b.txt", "x"), ("c.txt", "b.txt"), ("x", "c.txt")):
        repository.git("mv", before, after)
    repository.commit("Two files swapped")
    for before, after in (("c.txt", "d.txt"), ("b.txt", "c.txt"), ("moved again.txt", "b.txt")):
        repository.git("mv", before, after)
    repository.commit("A chain of renames")
    repository.git("mv", "docs", "handbook")
    repository.commit("A folder renamed")


def _types(repository: GitRepository) -> None:
    repository.write("run.sh", b"#!/bin/sh\necho hello\n")
    repository.link("link", "src/module.py")
    repository.link("broken", "nowhere")
    repository.write("like a link", b"src/module.py")
    repository.commit("A script and symlinks")
    repository.write("run.sh", b"#!/bin/sh\necho hello\n", executable=True)
    repository.commit("Only the mode: executable")
    (repository.path / "link").unlink()
    repository.write("link", b"a file now\n")
    (repository.path / "like a link").unlink()
    repository.link("like a link", "src/module.py")
    (repository.path / "broken").unlink()
    repository.link("broken", "empty")
    repository.commit("File for link, link for file, another target")
    repository.write("run.sh", b"#!/bin/sh\necho bye\n")
    repository.commit("Mode and content at once")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{SUBMODULE_COMMIT},vendor/lib")
    (repository.path / "vendor/lib").mkdir(parents=True)
    _commit_index(repository, "A submodule")
    repository.git("update-index", "--cacheinfo", f"160000,{SUBMODULE_COMMIT[::-1]},vendor/lib")
    _commit_index(repository, "The submodule moves on")
    repository.git("rm", "--cached", "--quiet", "vendor/lib")
    (repository.path / "vendor/lib").rmdir()
    repository.write("vendor/lib", b"a file where the submodule was\n")
    repository.commit("A file for the submodule")


def _commit_index(repository: GitRepository, message: str) -> None:
    repository.seconds += 60
    repository.git("commit", "--quiet", "-m", message)


def _folders_and_files(repository: GitRepository) -> None:
    repository.write("thing/inner/deep.txt", text(30, "deep"))
    repository.write("thing/other.txt", text(30, "other"))
    repository.commit("A folder")
    repository.remove("thing")
    repository.write("thing", b"a file where the folder was\n")
    repository.commit("A file for a folder")
    repository.remove("thing")
    repository.write("thing/again.txt", b"a folder again\n")
    repository.commit("A folder for a file")
    repository.write("p", text(30, "p"))
    repository.write("q", text(30, "q"))
    repository.commit("Two files that become each other's folders")
    repository.remove("p", "q")
    repository.write("p/x", text(30, "q"))
    repository.write("q/x", text(30, "p"))
    repository.commit("Renames that no order can do")
    repository.remove("p", "q")
    repository.write("p", text(30, "q"))
    repository.write("other", text(30, "p"))
    repository.commit("A file from the folder it replaces")
    repository.remove("p")
    repository.write("p/p/p", text(30, "q"))
    repository.commit("A file moved into a folder of its own name")


def _merges(repository: GitRepository) -> None:
    repository.git("checkout", "--quiet", "-b", "topic")
    repository.write("topic.txt", b"from the topic\n")
    repository.commit("On the topic")
    repository.write("README.md", b"# Odd, on the topic\n")
    repository.commit("More on the topic")
    repository.git("checkout", "--quiet", "main")
    repository.write("main.txt", b"on main\n")
    repository.commit("Meanwhile on main")
    repository.seconds += 60
    repository.git("merge", "--quiet", "--no-ff", "-m", "Merge the topic", "topic")
    repository.git("checkout", "--quiet", "-b", "ignored")
    repository.write("ignored.txt", b"never seen\n")
    repository.commit("On a branch whose content is not taken")
    repository.git("checkout", "--quiet", "main")
    repository.seconds += 60
    repository.git("merge", "--quiet", "--no-ff", "--strategy=ours", "-m", "Merge nothing", "ignored")
    repository.commit("An empty commit")


def _dates_and_encodings(repository: GitRepository) -> None:
    repository.write("clock", b"1\n")
    repository.commit("The same second", later_s=0)
    repository.write("clock", b"2\n")
    repository.commit("A clock that falls back", later_s=-86_400)
    repository.write("clock", b"3\n")
    repository.commit("And on", later_s=60)
    repository.seconds += 2 * 86_400
    repository.write("clock", b"4\n")
    repository.git("add", "--all")
    author = os.fsdecode("Jürgen Groß".encode("latin-1"))
    message = "Größe geändert\n".encode("latin-1")
    latin = ("-c", "i18n.commitEncoding=latin-1")
    repository.git(*latin, "commit", "--quiet", "--file=-", stdin=message, GIT_AUTHOR_NAME=author)
    repository.write("clock", b"5\n")
    repository.git("add", "--all")
    tree, parent = repository.git("write-tree"), repository.git("rev-parse", "HEAD")
    author = "author No Address <> 12345 +9999"
    raw = f"tree {tree}\nparent {parent}\n{author}\ncommitter X <x@y> {repository.seconds} +0000\n\n".encode()
    command = ("hash-object", "-t", "commit", "-w", "--literally", "--stdin")
    broken = repository.git(*command, stdin=raw + b"\xff\xfe!")
    repository.git("update-ref", "refs/heads/main", broken)


def _sizes(repository: GitRepository) -> None:
    block = b"".join(f"{number:>15}\n".encode() for number in range(LARGE_BYTES // 16))
    repository.write("large.txt", block)
    repository.write("large.bin", b"\0" + block[:-1])
    repository.commit("Large files")
    repository.write("large.txt", block.replace(b" 1000\n", b"*1000\n"))
    repository.write("large.bin", b"\0\0" + block[:-2])
    repository.commit("Large files, a little changed")
    repository.git("mv", "large.txt", "still large.txt")
    repository.commit("A large file renamed")


def _everything_deleted(repository: GitRepository) -> None:
    repository.remove(".")
    repository.commit("Delete everything")
    repository.write("phoenix", b"from the ashes\n")
    repository.commit("Begin again")
