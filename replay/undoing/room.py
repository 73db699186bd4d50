"""Whether what comes back has room: beside what stands in the tree, on every file system."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from nervous_system import paths
from nervous_system.paths import PathError
from replay.tree import SYMLINK, Contents, Tree
from replay.undoing.courses import Standing
from replay.undoing.reversal import Conflict, Reversal


def with_room(reversals: Sequence[Reversal], tree: Callable[[], Tree], contents: Contents) -> list[Reversal]:
    """The same, less what has no room where it would come back: that is left as it is, with a conflict.

    Args:
        reversals: of different files.
        tree: gives all that stands now; asked for where something comes to a path at which it is not now.
        contents: gives the targets of links.
    """
    settled = [_with_target(reversal, contents) for reversal in reversals]
    if not any(_comes(reversal) for reversal in settled):
        return settled
    standing = tree()
    # What is left as it is stands where something else may come: until nothing changes any more.
    while crowded := _crowded(settled, standing):
        settled = [
            reversal if (other := crowded.get(id(reversal))) is None else _refused(reversal, other, standing)
            for reversal in settled
        ]
    return settled


def _comes(reversal: Reversal) -> Standing | None:
    """What comes to a path at which it is not now."""
    now, then = reversal.now, reversal.then
    return then if then is not None and (now is None or now.resource != then.resource) else None


def _crowded(reversals: Sequence[Reversal], standing: Collection[str]) -> dict[int, str]:
    """What cannot come where it would, by its identity, and the path that is in its way."""
    goes = {each.now.resource for each in reversals if each.now is not None and each.then != each.now}
    stays = [each.then.resource for each in reversals if each.then is not None and _comes(each) is None]
    coming = {id(each): held.resource for each in reversals if (held := _comes(each)) is not None}
    keeps = sorted({*standing} - goes | {*stays})
    # Of a pair that collides the second is the one that came later.
    found = {second: first for first, second in paths.collisions([*keeps, *sorted(coming.values())])}
    return {identity: found[resource] for identity, resource in coming.items() if resource in found}


def _refused(reversal: Reversal, other: str, standing: Tree) -> Reversal:
    held = reversal.then
    assert held is not None
    entry = standing.get(held.resource)
    ours = None if entry is None else Standing(held.resource, entry)
    if other == held.resource:
        reason = "something else stands, or comes back, there"
    else:
        reason = f"it cannot stand beside {other!r} on every file system"
    return reversal.refused(Conflict(reason, None, ours, held))


def _with_target(reversal: Reversal, contents: Contents) -> Reversal:
    """The same; refused where it is a link that would lead out of the project from where it shall stand."""
    held = reversal.then
    if held is None or held == reversal.now or held.entry.mode != SYMLINK:
        return reversal
    try:
        paths.check_link_target(held.resource, contents(held.entry.content_hash))
    except PathError as error:
        return reversal.refused(Conflict(error.reason, None, reversal.now, held))
    return reversal
