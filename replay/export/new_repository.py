"""A repository that does not exist yet: made beside its place, out of sight, and renamed into it whole.

Git runs without the user's and the system's configuration, templates, hooks and attributes, so that the same export
gives the same repository to everybody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from replay.export.fast_import import FastImport
from replay.git.repository import GitError, GitProcess
from replay.restoring.failures import RestoreError, reason
from replay.restoring.restore import Staging

_KEPT_VARIABLES = ("PATH", "TMPDIR", "TMP", "TEMP", "SYSTEMROOT", "LD_LIBRARY_PATH")
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    # For the reflog, which would else name this machine and its user.
    "GIT_COMMITTER_NAME": "Enchanted",
    "GIT_COMMITTER_EMAIL": "export@enchanted.invalid",
}
_CONFIGURATION = (
    "core.attributesFile=" + os.devnull,
    "core.bigFileThreshold=32m",
    "core.compression=1",
    "core.excludesFile=" + os.devnull,
    "core.fsmonitor=false",
    "core.hooksPath=" + os.devnull,
    "gc.auto=0",
    "safe.directory=*",
)
# Git compares each content with whichever came before it, which takes most of the time and saves little: what makes a
# repository small is `git gc`, later.
_STREAM = ("fast-import", "--quiet", "--done", "--depth=0", "--date-format=raw-permissive")

COMPLAINTS_LIMIT_BYTES = 10_000


class ExportError(RestoreError):
    """A repository could not be made; nothing of it is left."""


class NewRepository(Staging):
    """A repository that takes its place in one step, or goes without a trace. To be used in a ``with`` block.

    Args:
        place: where it is to stand; absolute, and new or an empty folder.
        branch: a valid name below refs/heads.
        bare: whether it has no work tree.

    Raises:
        GitError: Git is not installed, or fails.
        ExportError: the disk refuses.
        TargetError: something else filled the place meanwhile.
    """

    def __init__(self, place: Path, branch: str, *, bare: bool) -> None:
        super().__init__(place)
        program = shutil.which("git")
        if program is None:
            raise GitError("Git is not installed: install it (apt-get install git), then run this again.")
        self._branch = branch
        self._bare = bare
        self._command = [program, "--no-pager", *(word for text in _CONFIGURATION for word in ("-c", text))]
        self._environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _ENVIRONMENT

    @property
    def path(self) -> Path:
        """The folder out of sight."""
        return self.target.parent / self._name

    def __enter__(self) -> NewRepository:
        super().__enter__()
        try:
            kind = ["--bare"] if self._bare else []
            self._run("init", "--quiet", "--template=", f"--initial-branch={self._branch}", *kind, ".")
        except BaseException:
            self._discard()
            raise
        return self

    @contextmanager
    def filling(self) -> Generator[FastImport]:
        """The stream that fills it; what was written is kept once the block ends well."""
        with _Git([*self._command, *_STREAM], self._environment, self.path) as process:
            stream = FastImport(process.ask, self._branch)
            yield stream
            stream.done()
            process.finish()

    def check_out(self) -> None:
        """Writes the branch's last tree beside a repository that is not bare."""
        if not self._bare:
            self._run("read-tree", "--reset", "-u", f"refs/heads/{self._branch}")

    def _run(self, *arguments: str) -> None:
        with _Git([*self._command, *arguments], self._environment, self.path) as process:
            process.stdout.read()
            process.finish()

    def _refusal(self, error: OSError, where: str = "") -> RestoreError:
        return ExportError(f"Nothing was exported into {self.target}{where}: {reason(error)}.")


class _Git(GitProcess):
    def failure(self) -> GitError:
        """Why the command ended, in Git's own words."""
        self._process.kill()
        self._process.wait()
        self._complaints.seek(0)
        said = self._complaints.read(COMPLAINTS_LIMIT_BYTES).decode("utf-8", "replace").splitlines()
        # A crash report's name follows the line that matters.
        fatal = [line for line in said if line.startswith(("fatal:", "error:"))]
        why = (fatal or said or ["it ended without a word"])[0]
        return GitError(
            f"Git could not write the repository ({why}). Nothing was exported; mend that, or name a folder elsewhere."
        )
