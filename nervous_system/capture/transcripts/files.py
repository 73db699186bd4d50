"""The files that a transcript speaks of: which are the project's, and what stood in them as far as it can be known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath

from nervous_system.capture.findings import FileState
from nervous_system.errors import ContractError
from nervous_system.paths import check_resource

ORIGIN = "enchanted.origin"
FOUND = "found"
"""The origin of a state that the agent did not make but met: what stood there before its first edit."""


class UnknownContentError(ContractError):
    """A file's content cannot be told from the transcript alone."""


@dataclass(slots=True)
class Files:
    """What a session's files held, as its edits tell it.

    Args:
        root: the project's root on the agent's machine; with none, relative paths alone are the project's.
        tool: named in each change.
    """

    root: str
    tool: str = ""
    _contents: dict[str, bytes] = field(default_factory=dict)
    _deleted: set[str] = field(default_factory=set)

    def resource(self, path: str, folder: str = "") -> str:
        """The path's text form relative to the root; raises ContractError for one that is not the project's.

        Args:
            path: as the agent wrote it.
            folder: what it is relative to, where it is not absolute; the root where absent.
        """
        flavour = PureWindowsPath if _is_windows(self.root or path) else PurePosixPath
        root = _parts(flavour(self.root))
        whole = _parts(flavour(folder or self.root) / flavour(path))
        if whole[: len(root)] != root or len(whole) == len(root):
            raise ContractError(f"{path} is outside of {self.root or 'the project'}.")
        resource = "/".join(whole[len(root) :])
        check_resource(resource)
        return resource

    def known(self, resource: str) -> bytes | None:
        """What stands there as far as the session told; None where it did not."""
        return self._contents.get(resource)

    def content(self, resource: str) -> bytes:
        """What stands there; raises UnknownContentError where the session did not tell."""
        content = self._contents.get(resource)
        if content is None:
            raise UnknownContentError(f"what {resource} held before is not in the transcript")
        return content

    def written(self, resource: str, content: bytes, previous: bytes | None = None) -> Iterator[FileState]:
        """The states that a tool's write stands for.

        Args:
            resource: the path.
            content: what the tool left.
            previous: what it met, where the transcript says so. Where that is not what the session last left there,
                somebody else wrote in between: that state comes first, so that the change has what it was made to.
        """
        last = self._contents.get(resource)
        if previous is not None and previous != last:
            yield FileState(resource, previous, attributes=self._facts(FOUND))
            last = previous
        self._contents[resource] = content
        self._deleted.discard(resource)
        if content != last:
            yield FileState(resource, content, last, attributes=self._facts())

    def deleted(self, resource: str) -> Iterator[FileState]:
        """The state that a tool's deletion leaves."""
        if resource not in self._deleted:
            yield FileState(resource, None, self._contents.pop(resource, None), attributes=self._facts())
            self._deleted.add(resource)

    def moved(self, old: str, new: str, content: bytes) -> Iterator[FileState]:
        """The states that a rename leaves, with what the file then holds."""
        previous = self._contents.pop(old, None)
        self._contents[new] = content
        self._deleted.discard(new)
        yield FileState(new, content, previous, renamed_from=old, attributes=self._facts())

    def _facts(self, origin: str = "") -> dict[str, str]:
        facts = {"tool": self.tool, ORIGIN: origin}
        return {name: value for name, value in facts.items() if value}


def _is_windows(path: str) -> bool:
    return "\\" in path or path[1:2] == ":"


def _parts(path: PurePosixPath | PureWindowsPath) -> list[str]:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] != path.anchor:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return parts
