"""A sink that keeps an import's events, and an independent fold of them, for tests."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from nervous_system.contract import Operation, StateChange, SwarmEvent
from nervous_system.events import INLINE_LIMIT_BYTES, occurred_us
from nervous_system.paths import resource_to_bytes
from nervous_system.projects import ProjectName
from replay import patches
from replay.git.importer import ImportedCommit, ImportSummary, import_commits
from replay.git.repository import Repository

PROJECT = ProjectName("demo", "odd")
THIS_REPOSITORY = Path(__file__).parents[2]

# Path in bytes: mode and content.
Files = dict[bytes, tuple[int, bytes]]


@dataclass
class Recording:
    """A sink that keeps everything, as the ledger would: an event once, parts by their hash."""

    events: list[bytes] = field(default_factory=list)
    parts: dict[bytes, bytes] = field(default_factory=dict)

    def put(self, event: bytes) -> None:
        self.events.append(event)

    def put_part(self, part: bytes) -> bytes:
        digest = hashlib.sha256(part).digest()
        self.parts[digest] = part
        return digest

    def decoded(self) -> list[SwarmEvent]:
        return [SwarmEvent.FromString(event) for event in self.events]

    def changes(self, sha: str) -> list[StateChange]:
        events = (event for event in self.decoded() if event.HasField("state_change"))
        return [event.state_change for event in events if event.related_commit_hash == sha]

    def decision(self, sha: str) -> SwarmEvent:
        decisions = (event for event in self.decoded() if event.HasField("decision"))
        return next(event for event in decisions if event.related_commit_hash == sha)


class Model:
    """An independent fold: a dictionary of files that each change is made in, strictly."""

    def __init__(self, parts: dict[bytes, bytes]) -> None:
        self.files: Files = {}
        self._parts = parts

    def apply(self, change: StateChange) -> None:
        path = resource_to_bytes(change.target_resource)
        source = resource_to_bytes(change.renamed_from) if change.renamed_from else path
        assert (change.operation == Operation.OPERATION_RENAME) == bool(change.renamed_from)
        assert (source in self.files) == (change.operation != Operation.OPERATION_CREATE)
        mode, before = self.files.pop(source, (0, b""))
        assert change.previous_state_hash == (_sha256(before) if mode else "")
        if change.operation == Operation.OPERATION_DELETE:
            assert change.mode == mode
            assert not change.new_state_hash
            return
        assert path not in self.files
        assert not any(path.startswith(other + b"/") or other.startswith(path + b"/") for other in self.files)
        content = self._content(change, before)
        assert _sha256(content) == change.new_state_hash
        self.files[path] = (change.mode, content)

    def _content(self, change: StateChange, before: bytes) -> bytes:
        if change.diff_patch:
            return patches.apply(change.diff_patch, before)
        if change.blob_hash:
            content = b"".join(self._parts[part] for part in change.blob_parts)
            assert len(content) > INLINE_LIMIT_BYTES
            return content
        return change.content if change.HasField("content") else before


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Contents:
    """What Git has, asked in the plainest way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[bytes, bytes] = {}

    def git(self, *arguments: str) -> bytes:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", *arguments], cwd=self._path, env=variables, capture_output=True, check=True
        ).stdout

    def commits(self, branch: str = "HEAD") -> list[str]:
        return self.git("rev-list", "--first-parent", "--reverse", branch).decode().split()

    def files(self, sha: str) -> Files:
        files: Files = {}
        for record in self.git("ls-tree", "-r", "-z", "--full-tree", sha).split(b"\0")[:-1]:
            facts, _, path = record.partition(b"\t")
            mode, _, oid = facts.split()
            if oid not in self._known:
                self._known[oid] = oid if mode == b"160000" else self.git("cat-file", "blob", oid.decode())
            files[path] = (int(mode, 8), self._known[oid])
        return files


def run(
    path: Path, *, branch: str | None = None, after: ImportedCommit | None = None, limit: int | None = None,
    skip_unsafe: bool = False,
) -> tuple[Recording, ImportSummary]:  # fmt: skip
    repository, recording = Repository(path), Recording()
    summary = import_commits(
        repository, repository.branch(branch), PROJECT, recording, after=after, limit=limit, skip_unsafe=skip_unsafe
    )
    return recording, summary


def imported(recording: Recording, sha: str) -> ImportedCommit:
    decision = recording.decision(sha)
    base = decision.decision.attributes["base_commit"] or None
    return ImportedCommit(sha, base, decision.agent_sequence, occurred_us(decision))


def trees(recording: Recording) -> dict[str, Files]:
    """The model's files after each commit's last event."""
    model, found = Model(recording.parts), {}
    for event in recording.decoded():
        if event.HasField("state_change"):
            model.apply(event.state_change)
        found[event.related_commit_hash] = dict(model.files)
    return found
