"""Running Git on a repository that nobody should trust, whatever the user's own configuration says.

Nothing goes through a shell; revisions are resolved to object ids first and only ids are passed on. Variables, user and
system configuration, attributes, replacements, grafts, hooks, filters, pagers and network access are all switched off,
so that the same repository reads the same for everybody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from nervous_system.errors import EnchantedError

_KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "TMP", "TEMP", "SYSTEMROOT", "LD_LIBRARY_PATH")
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
}
# What a repository's own configuration could still change; the command line wins over it. Contents above the threshold
# are not worth a line diff.
_CONFIGURATION = (
    "core.attributesFile=" + os.devnull,
    "core.bigFileThreshold=32m",
    "core.fsmonitor=false",
    "core.hooksPath=" + os.devnull,
    "core.quotePath=true",
    "diff.suppressBlankEmpty=false",
)
_BRANCHES_SHOWN = 10


class GitError(EnchantedError):
    """A repository, or Git itself, that cannot be used as asked."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of history: its name as the user knows it, and the commit at its tip, hex."""

    name: str
    tip: str


class GitProcess:
    """A Git command that is running: written to and read from. Leaving the ``with`` block ends it."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], directory: Path) -> None:
        # Not a pipe: nobody reads it while the command runs, and a full pipe would stop the command.
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by ``close``
        self._name = next((word for word in command[1:] if word in _COMMANDS), "git")
        # A group of its own: Ctrl-C is for this process to handle, which then ends its commands.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=environment,
            cwd=directory,
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self.stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> GitProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, request: bytes) -> None:
        """Sends a request; raises GitError where the command has ended."""
        try:
            self._stdin.write(request)
            self._stdin.flush()
        except BrokenPipeError:
            raise self.failure() from None

    def failure(self) -> GitError:
        """Why the command ended although more was expected of it."""
        self._process.kill()
        self._process.wait()
        self._complaints.seek(0)
        return _failure(self._name, self._complaints.read(10_000))

    def finish(self) -> None:
        """Waits for the command to end by itself; raises GitError where it failed."""
        if self._process.wait() != 0:
            raise self.failure()

    def close(self) -> None:
        """Ends the command, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        # Closing flushes what was not written yet, for which nobody is left.
        with suppress(BrokenPipeError):
            self._stdin.close()
        self.stdout.close()
        self._complaints.close()


_COMMANDS = frozenset(("cat-file", "diff-tree", "hash-object", "ls-tree", "rev-list"))


class Repository:
    """A Git repository to read from: bare or not, shallow or whole, a worktree or a folder within one.

    Args:
        path: the repository's folder, or a folder below it.

    Raises:
        GitError: Git is not installed, or there is no repository at ``path`` that may be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        program = shutil.which("git")
        if program is None:
            raise GitError("Git is not installed: install it (apt-get install git), then run this again.")
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise GitError(f"{path} is not a repository: it {what}. Give the folder of a Git repository.")
        self._environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _ENVIRONMENT
        self._command = [program, "--no-pager", *(word for text in _CONFIGURATION for word in ("-c", text))]
        self._directory = self._find(program)
        self._command += [f"--git-dir={self._directory}", "--bare"]
        self.empty_tree = self.run("hash-object", "-t", "tree", "--stdin").decode().strip()
        # Attributes would also be read from the index, and by Git 2.43 and later from HEAD.
        self._environment["GIT_INDEX_FILE"] = str(self._directory / "no-index")
        self._environment["GIT_ATTR_SOURCE"] = self.empty_tree

    def run(self, *arguments: str) -> bytes:
        """The output of a short command; raises GitError where it fails."""
        code, output, complaints = self._try(*arguments)
        if code:
            raise _failure(arguments[0], complaints)
        return output

    def start(self, *arguments: str) -> GitProcess:
        """Starts a command that is talked to while it runs."""
        return GitProcess([*self._command, *arguments], self._environment, self._directory)

    def branch(self, name: str | None = None) -> Branch:
        """The branch called ``name`` (also a remote's branch or a tag); what HEAD stands at where it is None.

        Raises:
            GitError: there is no such branch, or no commit yet.
        """
        if name is None:
            return self._head()
        for folder in ("refs/heads/", "refs/remotes/", "refs/tags/"):
            code, output, _ = (
                self._try("show-ref", "--verify", "--hash", "--", folder + name) if name else (1, b"", b"")
            )
            if not code:
                return Branch(name, self._commit(output.decode().split()[0]))
        raise GitError(f"There is no branch {name!r} in {self.path}{self._known_branches()}.")

    def is_commit(self, sha: str) -> bool:
        """Whether the commit is still among the repository's objects, with its tree."""
        return self._try("cat-file", "-e", f"{sha}^{{tree}}")[0] == 0

    def _head(self) -> Branch:
        code, output, _ = self._try("symbolic-ref", "--quiet", "--short", "HEAD")
        name = "HEAD" if code else os.fsdecode(output).strip()
        code, output, _ = self._try("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if not code:
            return Branch(name, output.decode().strip())
        raise GitError(f"{self.path} has no commit on {name!r} yet{self._known_branches()}.")

    def _commit(self, sha: str) -> str:
        return self.run("rev-parse", "--verify", "--end-of-options", f"{sha}^{{commit}}").decode().strip()

    def _known_branches(self) -> str:
        """The end of a sentence: what --branch could name instead."""
        output = self.run("for-each-ref", f"--count={_BRANCHES_SHOWN + 1}", "--format=%(refname:short)", "refs/heads/")
        names = output.decode("utf-8", "replace").split()
        if not names:
            return ": it has no branches, so there is nothing to import"
        more = " …" if len(names) > _BRANCHES_SHOWN else ""
        return f": give --branch with one of {', '.join(names[:_BRANCHES_SHOWN])}{more}"

    def _find(self, program: str) -> Path:
        """The repository's own folder (.git); only this step looks for it, and asks who owns it."""
        for folder in _trusted_folders(program):
            self._command += ["-c", f"safe.directory={folder}"]
        code, output, complaints = self._try("-C", str(self.path.absolute()), "rev-parse", "--absolute-git-dir")
        if not code:
            return Path(os.fsdecode(output.removesuffix(b"\n")))
        if b"dubious ownership" in complaints or b"unsafe repository" in complaints:
            raise GitError(
                f"{self.path} belongs to another user, so Git does not read it. If you trust it, say so with "
                f"`git config --global --add safe.directory {self.path.absolute()}`, then run this again."
            )
        if b"not a git repository" in complaints:
            raise GitError(f"{self.path} is not a repository: give the folder of a Git repository.")
        raise _failure("rev-parse", complaints)

    def _try(self, *arguments: str) -> tuple[int, bytes, bytes]:
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._environment,
                check=False,
                process_group=0,
            )
        except (OSError, ValueError) as error:
            raise GitError(f"Git cannot be run on {self.path}: {error}.") from error
        return done.returncode, done.stdout, done.stderr


def _trusted_folders(program: str) -> list[str]:
    """The folders that the user declared safe: the one thing of their configuration that is honoured."""
    command = [program, "config", "--null", "--get-all", "safe.directory"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Only the system's and the user's own word counts, so that it is asked for outside of any repository.
    done = subprocess.run(
        command, cwd=os.path.sep, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return [os.fsdecode(folder) for folder in done.stdout.split(b"\0") if folder]


def _failure(name: str, complaints: bytes) -> GitError:
    text = complaints.decode("utf-8", "replace").strip()
    reason = text.splitlines()[-1] if text else "it ended without a word"
    absent = ("missing", "unable to read", "bad object", "promisor", "could not fetch", "not our ref", "transport")
    if any(word in text for word in absent):
        return incomplete(reason)
    return GitError(f"Git could not read the repository ({name}: {reason}). See what `git fsck` says of it.")


def incomplete(reason: str) -> GitError:
    """The sentence for an object that is not there."""
    return GitError(
        f"The repository lacks an object of this history ({reason}): it is a partial clone, or damaged. "
        "Clone it whole, without --filter, and import that."
    )
