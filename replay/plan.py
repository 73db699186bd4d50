"""What a restore will do, as a value: shown by a dry run, acted on by ``restore.act``."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from nervous_system.errors import EnchantedError
from nervous_system.paths import is_git_part
from replay.tree import LIMITS, SYMLINK, Contents, Entry, Limits, Tree, check_total, check_tree, tree_digest

# The size in bytes of the content with this hash, where it is known without reading it.
Sizes = Callable[[str], int | None]


class TargetError(EnchantedError):
    """The folder to restore into cannot take a tree."""


class Action(StrEnum):
    """What happens to one path of the target."""

    WRITE = "write"
    REPLACE = "replace"
    MAKE_EXECUTABLE = "make_executable"
    REMOVE = "remove"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Step:
    """One path and what happens to it.

    Args:
        action: what happens.
        resource: the path.
        entry: what stands there afterwards; None where it is removed.
        size_bytes: the size of what is written, where it is known.
    """

    action: Action
    resource: str
    entry: Entry | None
    size_bytes: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The step in words that JSON has."""
        facts: dict[str, Any] = {"action": self.action.value, "resource": self.resource}
        if self.entry is not None:
            facts |= {"mode": f"{self.entry.mode:06o}", "hash": self.entry.content_hash}
        return facts if self.size_bytes is None else facts | {"bytes": self.size_bytes}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore will do, in the order of the paths. Made by ``plan_restore``, which has checked all of it.

    Args:
        target: the folder to restore into, absolute, its parents free of links.
        digest: the tree's digest.
        steps: one a path.
        limits: what the restore may write.
    """

    target: Path
    digest: str
    steps: tuple[Step, ...]
    limits: Limits = LIMITS

    def resources(self, action: Action) -> list[str]:
        """The paths to which ``action`` happens."""
        return [step.resource for step in self.steps if step.action is action]

    @property
    def counts(self) -> dict[str, int]:
        """How many paths each action happens to."""
        found = Counter(step.action for step in self.steps)
        return {action.value: found[action] for action in Action}

    @property
    def known_bytes(self) -> int:
        """The bytes that will be written, as far as sizes are known."""
        return sum(step.size_bytes or 0 for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """The whole plan in words that JSON has."""
        return {
            "target": str(self.target),
            "digest": self.digest,
            "counts": self.counts,
            "bytes": self.known_bytes,
            "unknown_sizes": sum(step.size_bytes is None and step.entry is not None for step in self.steps),
            "steps": [step.as_json() for step in self.steps],
        }


def plan_restore(
    tree: Tree, target: Path, contents: Contents, *, sizes: Sizes | None = None, limits: Limits = LIMITS
) -> Plan:
    """Plans the restore of ``tree`` into a folder that is new or empty. Writes nothing.

    Args:
        tree: what to restore; checked whole.
        target: the folder; missing parents will be made.
        contents: gives what a hash names; asked for the targets of symlinks only.
        sizes: gives a content's size where it is known, so that a tree that is too large is refused at once.
        limits: what the restore may write.

    Raises:
        TargetError: the target cannot take a tree.
        TreeError: the tree is above a limit, or damaged.
        PathError: a path or a link breaks a rule.
    """
    place = check_target(target)
    links = check_tree(tree, contents, limits)
    steps = []
    for resource in sorted(tree):
        entry = tree[resource]
        known = sizes(entry.content_hash) if sizes else None
        size_bytes = len(links[resource]) if entry.mode == SYMLINK else known
        steps.append(Step(Action.WRITE, resource, entry, size_bytes))
    plan = Plan(place, tree_digest(tree), tuple(steps), limits)
    check_total(plan.known_bytes, limits)
    return plan


def check_target(target: Path) -> Path:
    """The absolute form of a target that is new or an empty folder; raises TargetError where it is anything else."""
    try:
        place = _absolute(target)
        _check_place(place, target)
        _check_empty(place, target)
    except (OSError, ValueError, RuntimeError) as error:
        # A NUL in the name is a ValueError, a circle of links among the parents a RuntimeError.
        reason = error.strerror if isinstance(error, OSError) else error
        raise TargetError(f"{target} cannot be used: {reason}. Name another folder.") from error
    return place


def _absolute(target: Path) -> Path:
    """The target itself may be a link, which is for ``_check_empty`` to see; links among its parents are followed."""
    if target.name in ("", ".."):
        return target.resolve()
    return target.parent.resolve() / target.name


def _check_place(place: Path, target: Path) -> None:
    if place == place.parent:
        raise TargetError(f"{target} is the root of the file system: name a new folder below it.")
    if any(is_git_part(part) for part in place.parts):
        raise TargetError(f"{target} lies in a Git folder, which is Git's own: name a new folder outside it.")
    if place.is_mount():
        raise TargetError(f"{target} is a mount point, which cannot be replaced: name a new folder inside it.")


def _check_empty(place: Path, target: Path) -> None:
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise TargetError(f"{target} is a symbolic link: name the folder itself, new or empty.")
    if not stat.S_ISDIR(found.st_mode):
        raise TargetError(f"{target} is not a folder: name a new folder, or an empty one.")
    if os.path.samestat(found, Path().stat()):
        raise TargetError(f"{target} is the folder you are in, which a restore would replace: name a new folder.")
    with os.scandir(place) as inside:
        if next(inside, None) is not None:
            raise TargetError(f"{target} is not empty: name a new folder, or an empty one.")
