"""What has to happen for a folder to hold a tree: pure, from what stands there and what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from replay.restoring.steps import Action, Step
from replay.restoring.survey import FOLDER, Known, Survey, parents
from replay.tree import EXECUTABLE, FILE, SUBMODULE, Entry, Tree

# The size in bytes of what an entry at a path writes, where it is known.
Size = Callable[[str, Entry], int | None]


def compare(tree: Tree, survey: Survey, known: Known, size: Size) -> list[Step]:
    """One step for each path that the tree has or that is to be removed, in order.

    Args:
        tree: what is to stand there.
        survey: what stands there.
        known: tells which contents were recorded.
        size: gives the size of what is written.
    """
    steps = [
        _kept_or_written(path, tree[path], survey.found.get(path), size) for path in tree if path not in survey.blocked
    ]
    removed = {path: entry for path, entry in survey.found.items() if path not in tree and entry.mode != FOLDER}
    emptied = _emptied_folders(tree, survey, removed)
    gone = {**removed, **{folder: survey.found[folder] for folder in emptied}}
    steps += [Step(Action.REMOVE, path, None, found=entry) for path, entry in gone.items()]
    return sorted(_with_drift(steps, known), key=lambda step: step.resource)


def _kept_or_written(resource: str, entry: Entry, found: Entry | None, size: Size) -> Step:
    action = _action(entry, found)
    return Step(action, resource, entry, size(resource, entry), found)


def _action(entry: Entry, found: Entry | None) -> Action:
    if found is None:
        return Action.WRITE
    if found == entry or (entry.mode == SUBMODULE and found.mode == FOLDER):
        return Action.LEAVE
    are_files = entry.mode in (FILE, EXECUTABLE) and found.mode in (FILE, EXECUTABLE)
    if are_files and found.content_hash == entry.content_hash:
        return Action.CHANGE_MODE
    return Action.REPLACE


def _emptied_folders(tree: Tree, survey: Survey, removed: Iterable[str]) -> list[str]:
    """The folders in which nothing is left, and that held something of the project."""
    leaving, kept = parents(list(removed)) | survey.leaving, parents(tree) | survey.staying
    emptied = []
    # A folder comes before those that it stands in.
    for path in sorted((path for path, entry in survey.found.items() if entry.mode == FOLDER), reverse=True):
        if path in leaving and path not in kept and path not in tree:
            emptied.append(path)
        else:
            kept |= parents([path])
    return emptied


def _with_drift(steps: list[Step], known: Known) -> list[Step]:
    hashes = sorted({step.found.content_hash for step in steps if _is_lost(step) and step.found is not None})
    recorded = dict(zip(hashes, known.knows_contents(hashes), strict=True)) if hashes else {}
    return [
        replace(step, is_drift=True)
        if _is_lost(step) and step.found is not None and not recorded[step.found.content_hash]
        else step
        for step in steps
    ]


def _is_lost(step: Step) -> bool:
    """Whether a content has to go for this step."""
    if step.found is None or step.found.mode == FOLDER:
        return False
    return step.action in (Action.REPLACE, Action.REMOVE)
