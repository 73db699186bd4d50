"""What stands in a folder at the paths that a restore may touch, read without following a link."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol
from unicodedata import normalize

from nervous_system.paths import PathError, check_resource, is_git_part, resource_from_bytes, resource_to_bytes
from replay.restoring import folders
from replay.tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK, Entry, Tree

FOLDER = 0o040000
SPECIAL = 0
"""The mode of what is neither file, link nor folder: a pipe, a socket, a device, another file system."""

OWN = ".enchanted"
"""The folder in which a restore keeps what it replaced."""

READ_BYTES = 1 << 20

A_FOLDER, A_SPECIAL = Entry(FOLDER, ""), Entry(SPECIAL, "")


class Known(Protocol):
    """What a project has ever known, at whatever moment."""

    def knows_path(self, resource: str) -> bool:
        """Whether something was recorded at this path."""

    def knows_below(self, folder: str) -> bool:
        """Whether something was recorded below this folder."""

    def knows_contents(self, content_hashes: Sequence[str]) -> list[bool]:
        """For each SHA-256, in hex, whether such a content was recorded."""


@dataclass(slots=True)
class Survey:
    """What was found.

    Args:
        found: what stands at each path that matters; FOLDER for folders, without a hash.
        staying: folders in which something stays that is no concern of the project, and the folders above them.
        leaving: folders that have to go, if nothing stays in them.
        blocked: what stands in the way and is never touched, each with the reason.
    """

    found: dict[str, Entry] = field(default_factory=dict)
    staying: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    blocked: dict[str, str] = field(default_factory=dict)

    def stays(self, folder: str) -> None:
        """Notes that something stays in ``folder``."""
        while folder not in self.staying:
            self.staying.add(folder)
            folder = parent(folder)


@dataclass(frozen=True, slots=True)
class Scope:
    """The paths that a restore is about: all, or those at and below some.

    Args:
        subtrees: paths of files or folders; empty: all paths.
    """

    subtrees: tuple[str, ...] = ()

    def takes(self, resource: str) -> bool:
        """Whether the path is one of them."""
        return not self.subtrees or any(within(resource, subtree) for subtree in self.subtrees)

    def leads_to(self, folder: str) -> bool:
        """Whether some of them lie below ``folder``."""
        return not self.subtrees or any(within(subtree, folder) for subtree in self.subtrees)


def within(resource: str, subtree: str) -> bool:
    """Whether a path is ``subtree`` or below it."""
    return resource == subtree or resource.startswith(subtree + "/")


def parent(resource: str) -> str:
    """The folder that a path stands in; "" for the root."""
    return resource.rpartition("/")[0]


def parents(resources: Sequence[str] | Tree) -> set[str]:
    """All folders that the paths stand in, the root left out."""
    above: set[str] = set()
    for resource in resources:
        folder = parent(resource)
        while folder and folder not in above:
            above.add(folder)
            folder = parent(folder)
    return above


def is_reserved(name: str, folder: str) -> bool:
    """Whether an entry is never touched nor looked into: Git's own folder, and what restores keep."""
    return is_git_part(name) or (not folder and is_own(name))


def is_own(name: str) -> bool:
    """Whether some file system takes this name for the folder in which restores keep what they replaced."""
    # Some file systems skip what cannot be printed when they compare names.
    return normalize("NFKC", "".join(filter(str.isprintable, name))).casefold() == OWN


def survey(tree: Tree, known: Known, scope: Scope, root_fd: int) -> Survey:
    """Looks at what stands at paths that ``tree`` has, or that the project has known; raises OSError.

    Args:
        tree: what is to stand there, all of it in the scope.
        known: tells what else is the project's.
        scope: what the restore is about.
        root_fd: the folder's descriptor.
    """
    surveyor = _Surveyor(tree, known, scope, os.fstat(root_fd).st_dev)
    surveyor.look(root_fd, "", clears=False)
    return surveyor.survey


def look(name: bytes, folder_fd: int) -> Entry | None:
    """What stands under a name, its content hashed as it is read; None where nothing does; raises OSError."""
    try:
        status = os.lstat(name, dir_fd=folder_fd)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return Entry(SYMLINK, sha256(os.readlink(name, dir_fd=folder_fd)).hexdigest())
    if stat.S_ISDIR(status.st_mode):
        return A_FOLDER
    if not stat.S_ISREG(status.st_mode):
        return A_SPECIAL
    return Entry(EXECUTABLE if status.st_mode & stat.S_IXUSR else FILE, _hash(name, folder_fd))


def _hash(name: bytes, folder_fd: int) -> str:
    # Should a pipe have taken the file's place by now, opening it must not wait for a writer.
    file_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder_fd)
    try:
        digest = sha256()
        while block := os.read(file_fd, READ_BYTES):
            digest.update(block)
        return digest.hexdigest()
    finally:
        os.close(file_fd)


class _Surveyor:
    """One walk through a folder."""

    def __init__(self, tree: Tree, known: Known, scope: Scope, device: int) -> None:
        self.survey = Survey()
        self._tree = tree
        self._known = known
        self._scope = scope
        self._device = device
        self._parents = parents(tree)
        self._wanted: defaultdict[str, set[str]] = defaultdict(set)
        for resource in (*tree, *self._parents):
            self._wanted[parent(resource)].add(os.fsdecode(place(resource)[1]))

    def look(self, folder_fd: int, folder: str, *, clears: bool) -> None:
        """Looks at all entries of a folder; where it ``clears``, everything in it has to go."""
        names = folders.names(folder_fd)
        self._entries(names, folder_fd, folder, clears=clears)
        # A file system that ignores case or normalises names finds more under a name than it lists.
        self._entries(self._wanted[folder].difference(names), folder_fd, folder, clears=clears)

    def _entries(self, names: Iterable[str], folder_fd: int, folder: str, *, clears: bool) -> None:
        for name in sorted(names):
            raw = os.fsencode(name)
            try:
                resource = _resource(raw, folder)
            except PathError as error:
                # No project has such a path.
                self._keep(folder, f"{folder}/{ascii(name)[1:-1]}", clears and error.reason)
                continue
            if is_reserved(name, folder):
                self._keep(folder, resource, clears and "it is not the project's")
            elif clears or self._matters(resource):
                self._entry(raw, resource, folder_fd, clears=clears)
            else:
                self.survey.stays(folder)

    def _matters(self, resource: str) -> bool:
        return resource in self._parents or self._scope.takes(resource) or self._scope.leads_to(resource)

    def _entry(self, name: bytes, resource: str, folder_fd: int, *, clears: bool) -> None:
        with suppress(FileNotFoundError):
            status = os.lstat(name, dir_fd=folder_fd)
            if stat.S_ISDIR(status.st_mode):
                self._folder(name, resource, folder_fd, status, clears=clears)
            elif clears or self._is_the_projects(resource):
                found = look(name, folder_fd)
                if found == A_SPECIAL:
                    self._keep(parent(resource), resource, "it is neither a file, a link nor a folder")
                elif found is not None:
                    self.survey.found[resource] = found
            else:
                self.survey.stays(parent(resource))

    def _is_the_projects(self, resource: str) -> bool:
        """Whether what stands at a path is for the restore to deal with; in the way of a folder, it is."""
        if resource in self._tree or resource in self._parents:
            return True
        return self._scope.takes(resource) and self._known.knows_path(resource)

    def _folder(self, name: bytes, resource: str, folder_fd: int, status: os.stat_result, *, clears: bool) -> None:
        wanted = self._tree.get(resource)
        clears = clears or (wanted is not None and wanted.mode != SUBMODULE)
        if not (clears or resource in self._parents or self._knows_below(resource)):
            self._unknown_folder(name, resource, folder_fd)
        elif status.st_dev != self._device:
            self._keep(parent(resource), resource, "another file system is mounted there")
        else:
            self.survey.found[resource] = A_FOLDER
            if clears:
                self.survey.leaving.add(resource)
            self._descend(name, folder_fd, lambda below_fd: self.look(below_fd, resource, clears=clears))

    def _knows_below(self, resource: str) -> bool:
        if not self._scope.takes(resource):
            # It leads to a subtree, which alone is looked at.
            return True
        return self._known.knows_below(resource)

    def _unknown_folder(self, name: bytes, resource: str, folder_fd: int) -> None:
        """A folder below which nothing is the project's; itself it may be, as an empty one stands for a submodule."""
        if resource in self._tree:
            self.survey.found[resource] = A_FOLDER
        elif self._known.knows_path(resource) and self._descend(name, folder_fd, _is_empty):
            self.survey.found[resource] = A_FOLDER
            self.survey.leaving.add(resource)
        else:
            self.survey.stays(parent(resource))

    def _descend(self, name: bytes, folder_fd: int, work: Callable[[int], object]) -> object:
        below_fd = os.open(name, folders.FOLDER_FLAGS, dir_fd=folder_fd)
        try:
            return work(below_fd)
        finally:
            os.close(below_fd)

    def _keep(self, folder: str, resource: str, why: str | bool) -> None:
        self.survey.stays(folder)
        if why:
            self.survey.blocked[resource] = str(why)


def _resource(name: bytes, folder: str) -> str:
    """The path of an entry; raises PathError where no project has such a path. Git's own may pass, to be told apart."""
    text = resource_from_bytes(name)
    if not is_git_part(text):
        check_resource(f"{folder}/{text}" if folder else text)
    return f"{folder}/{text}" if folder else text


def _is_empty(folder_fd: int) -> bool:
    return not folders.names(folder_fd)


def place(resource: str) -> tuple[bytes, bytes]:
    """The folder and the name of a path, as the file system takes them."""
    folder, _, name = resource_to_bytes(resource).rpartition(b"/")
    return folder, name
