"""What the tests of restoring share: a tree as a person writes it down, and what stands on the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from nervous_system.paths import resource_from_bytes, resource_to_bytes
from replay.restoring.plan import Plan, plan_restore
from replay.restoring.restore import act
from replay.restoring.survey import OWN
from replay.tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK, Entry

# Resource → (mode, bytes): a tree as a person would write it down.
Model = dict[str, tuple[int, bytes]]

MODEL: Model = {
    "README.md": (FILE, b"# hello\n"),
    "empty": (FILE, b""),
    "bin/run": (EXECUTABLE, b"#!/bin/sh\n"),
    "bin/latest": (SYMLINK, b"run"),
    "bin.d/x": (FILE, b"sorts between bin and bin/"),
    r"caf\xe9/\xff.txt": (FILE, b"\x00\xff\r\n"),
    r"caf\xe9/zur\xfcck": (SYMLINK, b"../README.md"),
    "naïve/файл": (FILE, b"text"),
    "vendor/lib": (SUBMODULE, b""),
    "/".join("d" * 127) + "/leaf": (FILE, b"deep"),
    "links/only/here": (SYMLINK, b"../../bin"),
    "large": (FILE, os.urandom(3_000_000)),
}


class Store:
    """The contents of a model by their hashes, and its tree."""

    def __init__(self, model: Model) -> None:
        self.blobs = {sha256(content).hexdigest(): content for _, content in model.values()}
        self.tree = {path: Entry(mode, sha256(content).hexdigest()) for path, (mode, content) in model.items()}

    def contents(self, content_hash: str) -> bytes:
        """What a hash names."""
        return self.blobs[content_hash]

    def restore(self, target: Path, **options: Any) -> None:
        """Plans and acts."""
        act(plan_restore(self.tree, target, self.contents), self.contents, **options)


class Past(Store):
    """A project's tree now, and all that it has known before.

    Args:
        model: the tree now.
        earlier: trees before.
    """

    def __init__(self, model: Model, *earlier: Model) -> None:
        super().__init__(model)
        known = [model, *earlier]
        self._paths = {path for each in known for path in each}
        self._hashes = {sha256(content).hexdigest() for each in known for _, content in each.values()}

    def knows_path(self, resource: str) -> bool:
        """Whether a tree has had this path."""
        return resource in self._paths

    def knows_below(self, folder: str) -> bool:
        """Whether a tree has had a path below this folder."""
        return any(path.startswith(folder + "/") for path in self._paths)

    def knows_contents(self, content_hashes: Sequence[str]) -> list[bool]:
        """Whether a tree has had these contents."""
        return [each in self._hashes for each in content_hashes]

    def plan(self, target: Path, *subtrees: str) -> Plan:
        """Plans the restore into a folder in use."""
        return plan_restore(self.tree, target, self.contents, known=self, subtrees=subtrees)

    def put(self, target: Path, *subtrees: str, **options: Any) -> Plan:
        """Plans and acts."""
        plan = self.plan(target, *subtrees)
        act(plan, self.contents, **options)
        return plan


def lay(root: Path, model: Model) -> None:
    """Puts what a model says below ``root``, by means that restoring does not use."""
    root.mkdir(parents=True, exist_ok=True)
    for resource, (mode, content) in model.items():
        place = root / os.fsdecode(resource_to_bytes(resource))
        place.parent.mkdir(parents=True, exist_ok=True)
        if mode == SUBMODULE:
            place.mkdir()
        elif mode == SYMLINK:
            place.symlink_to(os.fsdecode(content))
        else:
            place.write_bytes(content)
            place.chmod(0o755 if mode == EXECUTABLE else 0o644)


def photograph(root: Path) -> dict[str, tuple[int, bytes]]:
    """All that stands below ``root``, folders and exact modes included; what restores keep there is left out."""
    found = {}
    for folder, below, files in os.walk(root):
        if Path(folder) == root and OWN in below:
            below.remove(OWN)
        for name in (*below, *files):
            place = Path(folder) / name
            mode = place.lstat().st_mode
            content = os.fsencode(place.readlink()) if stat.S_ISLNK(mode) else b""
            found[_resource(place, root)] = (mode, place.read_bytes() if stat.S_ISREG(mode) else content)
    return found


def standing(root: Path) -> Model:
    """What stands below ``root``, read by means that restoring does not use."""
    found: Model = {}
    for folder, below, files in os.walk(os.fsencode(root)):
        links = [name for name in below if (Path(os.fsdecode(folder)) / os.fsdecode(name)).is_symlink()]
        for name in files + links:
            place = Path(os.fsdecode(folder)) / os.fsdecode(name)
            found[_resource(place, root)] = _entry(place)
        if not below and not files:
            found[_resource(Path(os.fsdecode(folder)), root)] = (SUBMODULE, b"")
    return found


def _resource(place: Path, root: Path) -> str:
    return resource_from_bytes(os.fsencode(place.relative_to(root)))


def _entry(place: Path) -> tuple[int, bytes]:
    mode = place.lstat().st_mode
    if stat.S_ISLNK(mode):
        return SYMLINK, os.fsencode(place.readlink())
    assert stat.S_ISREG(mode)
    return EXECUTABLE if mode & stat.S_IXUSR else FILE, place.read_bytes()


def names(folder: Path) -> list[str]:
    """What is directly in a folder."""
    return sorted(place.name for place in folder.iterdir())
