"""What the tests of restoring share: a tree as a person writes it down, and what stands on the disk."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

from nervous_system.paths import resource_from_bytes
from replay.plan import plan_restore
from replay.restore import act
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
