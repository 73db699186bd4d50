"""A tree: what stands at each path of a project at one moment, and what it may hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from nervous_system import paths
from nervous_system.contract import EXECUTABLE_MODE, FILE_MODE, MODES, SUBMODULE_MODE, SYMLINK_MODE
from nervous_system.errors import EnchantedError

FILE, EXECUTABLE, SYMLINK, SUBMODULE = FILE_MODE, EXECUTABLE_MODE, SYMLINK_MODE, SUBMODULE_MODE

# The bytes whose SHA-256, in hex, is the argument.
Contents = Callable[[str], bytes]

_HASH = re.compile(r"[0-9a-f]{64}")


class TreeError(EnchantedError):
    """A tree that cannot be restored, or content that is not what the tree says."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at one path.

    Args:
        mode: as in Git: FILE, EXECUTABLE, SYMLINK or SUBMODULE.
        content_hash: SHA-256, lower-case hex, of a file's bytes, a link's target or a submodule's commit id.
    """

    mode: int
    content_hash: str


# By resource (see nervous_system.paths).
Tree = Mapping[str, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a restore may write."""

    max_entries: int = 1_000_000
    max_depth_parts: int = paths.MAX_DEPTH_PARTS
    max_total_bytes: int = 100_000_000_000


LIMITS = Limits()


def tree_digest(tree: Tree) -> str:
    """One hash for a whole tree, the same however it was put together.

    SHA-256, hex, over one line of ASCII JSON an entry, ``["resource", mode, "content hash"]``, in the order of code
    points (which is that of the UTF-8 bytes).
    """
    digest = sha256()
    for resource in sorted(tree):
        entry = tree[resource]
        digest.update(json.dumps([resource, entry.mode, entry.content_hash]).encode("ascii") + b"\n")
    return digest.hexdigest()


def verified_content(resource: str, content_hash: str, contents: Contents) -> bytes:
    """The content of ``resource``; raises TreeError where it does not have the hash that the tree names."""
    content = contents(content_hash)
    found = sha256(content).hexdigest()
    if found != content_hash:
        raise TreeError(
            f"The content of {resource!r} is not what was recorded: its SHA-256 is {found}, and the tree says "
            f"{content_hash}. Nothing was restored; run `enchanted verify` to see what is damaged."
        )
    return content


def check_tree(tree: Tree, contents: Contents, limits: Limits = LIMITS) -> dict[str, bytes]:
    """Checks a tree whole: caps, modes, hashes, every path, every link.

    Returns:
        The target of each symlink, by resource; they are the only contents read.

    Raises:
        TreeError: the tree is above a cap, or has an entry that cannot be.
        PathError: a path or a link breaks a rule.
    """
    if len(tree) > limits.max_entries:
        raise TreeError(f"The tree has {len(tree):,} entries, more than the {limits.max_entries:,} allowed.")
    for resource, entry in tree.items():
        _check_entry(resource, entry, limits)
    paths.check_tree(tree)
    targets = {
        resource: verified_content(resource, entry.content_hash, contents)
        for resource, entry in tree.items()
        if entry.mode == SYMLINK
    }
    for resource, target in targets.items():
        paths.check_link_target(resource, target)
    paths.check_links(targets)
    return targets


def check_total(total_bytes: int, limits: Limits = LIMITS) -> None:
    """Raises TreeError where this is more than a restore may write."""
    if total_bytes > limits.max_total_bytes:
        raise TreeError(f"The tree holds {total_bytes:,} bytes, more than the {limits.max_total_bytes:,} allowed.")


def _check_entry(resource: str, entry: Entry, limits: Limits) -> None:
    if resource.count("/") >= limits.max_depth_parts:
        raise TreeError(f"The path {resource[:200]!r} is deeper than the {limits.max_depth_parts} parts allowed.")
    if entry.mode not in MODES:
        raise TreeError(f"{resource!r} has the mode {entry.mode:o}, which is neither file, link nor submodule.")
    if not _HASH.fullmatch(entry.content_hash):
        raise TreeError(f"{resource!r} has {entry.content_hash!r} for a content hash, which is no SHA-256 in hex.")
