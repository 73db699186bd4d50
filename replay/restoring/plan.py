"""What a restore will do, as a value: shown by a dry run, acted on by ``restore.act``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nervous_system.paths import check_resource
from replay.restoring import folders
from replay.restoring.comparison import Size, compare
from replay.restoring.failures import DriftError, TargetError, listed
from replay.restoring.steps import Action, Step
from replay.restoring.survey import A_FOLDER, Known, Scope, Survey, is_own, parents, survey, within
from replay.restoring.targets import check_folder, check_target, is_in_use
from replay.tree import LIMITS, SYMLINK, Contents, Entry, Limits, Tree, check_total, check_tree, tree_digest

# The size in bytes of the content with this hash, where it is known without reading it.
Sizes = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore will do, in the order of the paths. Made by ``plan_restore``, which has checked all of it.

    Args:
        target: the folder to restore into, absolute, its parents free of links.
        tree: what is restored.
        steps: one a path.
        limits: what the restore may write.
        is_in_place: whether the target is in use, and is changed step by step.
        new_folders: what has to be made in it first.
        blocked: what stands in the way and is never touched: its path, and why.
    """

    target: Path
    tree: Tree
    steps: tuple[Step, ...]
    limits: Limits = LIMITS
    is_in_place: bool = False
    new_folders: tuple[str, ...] = ()
    blocked: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """The digest of what is restored."""
        return tree_digest(self.tree)

    @property
    def drift(self) -> list[str]:
        """The paths where something would be replaced or removed that was never recorded."""
        return [step.resource for step in self.steps if step.is_drift]

    @property
    def counts(self) -> dict[str, int]:
        """How many paths each action happens to."""
        found = Counter(step.action for step in self.steps)
        return {action.value: found[action] for action in Action}

    @property
    def known_bytes(self) -> int:
        """The bytes that will be written, as far as sizes are known."""
        return sum(step.size_bytes or 0 for step in self.steps if step.action is not Action.LEAVE)

    def resources(self, action: Action) -> list[str]:
        """The paths to which ``action`` happens."""
        return [step.resource for step in self.steps if step.action is action]

    def check(self, *, is_forced: bool) -> None:
        """Raises DriftError where the plan may not be acted on: ``is_forced`` lets drift pass, what blocks it never."""
        if self.blocked:
            resource, why = self.blocked[0]
            others = f" ({len(self.blocked) - 1:,} more like it)" if len(self.blocked) > 1 else ""
            raise DriftError(
                f"Nothing was restored into {self.target}: {resource!r} is in the way, and is never touched, because "
                f"{why}{others}. Move it away first."
            )
        if self.drift and not is_forced:
            raise DriftError(
                f"Nothing was restored into {self.target}: what stands there at {listed(self.drift)} was never "
                "recorded and would be replaced or removed. Record it first, or say --force: what is replaced is kept, "
                "and `enchanted restore --undo` puts it back."
            )

    def as_json(self) -> dict[str, Any]:
        """The whole plan in words that JSON has."""
        return {
            "target": str(self.target),
            "digest": self.digest,
            "in_place": self.is_in_place,
            "counts": self.counts,
            "bytes": self.known_bytes,
            "unknown_sizes": sum(step.size_bytes is None and step.entry is not None for step in self.steps),
            "drift": self.drift,
            "blocked": [{"resource": resource, "reason": why} for resource, why in self.blocked],
            "steps": [step.as_json() for step in self.steps],
        }


def plan_restore(
    tree: Tree,
    target: Path,
    contents: Contents,
    *,
    known: Known | None = None,
    subtrees: Sequence[str] = (),
    sizes: Sizes | None = None,
    limits: Limits = LIMITS,
) -> Plan:
    """Plans the restore of ``tree`` into a folder. Writes nothing.

    Args:
        tree: what to restore; checked whole.
        target: the folder; missing parents will be made.
        contents: gives what a hash names; asked for the targets of symlinks only.
        known: what the project has ever known; without it, only a folder that is new or empty is taken.
        subtrees: only these paths and what is below them; empty: all.
        sizes: gives a content's size where it is known, so that a tree that is too large is refused at once.
        limits: what the restore may write.

    Raises:
        TargetError: the target cannot take a tree, or a subtree names nothing.
        TreeError: the tree is above a limit, or damaged.
        PathError: a path or a link breaks a rule.
    """
    in_use = known if known is not None and is_in_use(target) else None
    place = check_target(target) if in_use is None else check_folder(target)
    links = check_tree(tree, contents, limits)
    for subtree in subtrees:
        check_resource(subtree)
    scope = Scope(tuple(subtrees))
    wanted = {path: tree[path] for path in tree if scope.takes(path)} if subtrees else tree

    def size(resource: str, entry: Entry) -> int | None:
        return len(links[resource]) if entry.mode == SYMLINK else sizes(entry.content_hash) if sizes else None

    if in_use is None:
        steps = [Step(Action.WRITE, path, wanted[path], size(path, wanted[path])) for path in sorted(wanted)]
        plan = Plan(place, wanted, tuple(steps), limits)
    else:
        plan = _plan_in_place(wanted, place, in_use, scope, size, limits)
    _check_subtrees(subtrees, plan)
    check_total(plan.known_bytes, limits)
    return plan


def _plan_in_place(  # noqa: PLR0917
    tree: Tree, place: Path, known: Known, scope: Scope, size: Size, limits: Limits
) -> Plan:
    for resource in tree:
        if is_own(resource.partition("/")[0]):
            raise TargetError(
                f"{place} is in use, and the tree has {resource!r}, where a restore keeps what it replaces: "
                "name a new folder."
            )
    found = _look(place, tree, known, scope)
    steps = compare(tree, found, known, size)
    missing = sorted(folder for folder in parents(tree) if found.found.get(folder) != A_FOLDER)
    blocked = tuple(sorted(found.blocked.items()))
    return Plan(place, tree, tuple(steps), limits, is_in_place=True, new_folders=tuple(missing), blocked=blocked)


def _look(place: Path, tree: Tree, known: Known, scope: Scope) -> Survey:
    try:
        root_fd = os.open(place, folders.FOLDER_FLAGS)
        try:
            return survey(tree, known, scope, root_fd)
        finally:
            os.close(root_fd)
    except OSError as error:
        raise TargetError(f"{place} cannot be read whole: {error.strerror}. Nothing was changed.") from error


def _check_subtrees(subtrees: Sequence[str], plan: Plan) -> None:
    """Raises TargetError for one that names neither what is to be written nor what is to be removed."""
    for subtree in subtrees:
        if not any(within(step.resource, subtree) for step in plan.steps) and not plan.blocked:
            raise TargetError(
                f"{subtree!r} names nothing: neither the tree at this moment nor what the folder holds of the project "
                "has such a path. See `enchanted ls`."
            )
