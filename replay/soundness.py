"""Whether a project's state at a moment is sound: what leads to it as it was landed, and all of it there to restore."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nervous_system.errors import AccessError, EnchantedError, UnavailableError
from nervous_system.ledger.history import History
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.lineage import ForkedHistory
from nervous_system.ledger.transaction import LedgerError
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName
from replay.contents import Contents, ReadAhead
from replay.merging import Policy, tree_at
from replay.moments import Moment
from replay.tree import SUBMODULE, Tree, check_tree, tree_digest, verified_content
from replay.verification import Verification, first


class UnsoundError(EnchantedError):
    """Something that leads to a state is not as it was landed."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A project's state at a moment, everything that leads to it found to be right, and all its contents there.

    Args:
        project: the project.
        moment: which state.
        tree: what stands.
        digest: the tree's.
        contents: gives what the tree's hashes name.
    """

    project: ProjectName
    moment: Moment
    tree: Tree
    digest: str
    contents: Contents = field(repr=False, compare=False)


def sound(ledger: Ledger, project: ProjectName, moment: Moment, policy: Policy = Policy.FAIL) -> Sound:
    """The project's state at a moment, checked whole: events, chain, conflicts, paths, and the hash of every content.

    Raises:
        UnsoundError: something is not as it was landed; the sentence names the first such event.
        EnchantedError: the state cannot be restored.
    """
    history = ledger.history(project)
    for part, last in _lineage(history, moment.through):
        _check_events(ledger, part, last)
    contents = Contents(history)
    tree = tree_at(history, moment, contents, policy)
    check_tree(tree, contents)
    held = {resource: entry.content_hash for resource, entry in sorted(tree.items()) if entry.mode != SUBMODULE}
    ahead = ReadAhead(contents, list(held.values()))
    for resource, content_hash in held.items():
        verified_content(resource, content_hash, ahead)
    return Sound(project, moment, tree, tree_digest(tree), contents)


def fault_of(ledger: Ledger, project: ProjectName, moment: Moment, policy: Policy) -> Sound | str:
    """As ``sound``; a sentence where it is not. Raises where the ledger cannot be asked."""
    try:
        return sound(ledger, project, moment, policy)
    except (UnavailableError, AccessError, LedgerError):
        raise
    except EnchantedError as error:
        return str(error)


def _lineage(history: History, last: Version) -> Iterator[tuple[History, Version]]:
    """The projects in which what leads to a version was recorded, oldest first, each with its last version."""
    if isinstance(history, ForkedHistory):
        yield from _lineage(history.parent, min(last, history.parted_at))
        if not history.owns(last):
            return
    yield history, last


def _check_events(ledger: Ledger, history: History, last: Version) -> None:
    if not history.has(last):
        raise UnsoundError(f"{history.name} has no event at version {last}: see `enchanted verify {history.name}`.")
    faults = list(Verification(history, ledger.audit(history.name)).faults_through(last))
    if faults:
        fault = first(faults)
        raise UnsoundError(
            f"In {history.name}, event {fault.event_id or '?'} at version {fault.version or '?'} is not as it was "
            f"landed: {fault.reason}. See `enchanted verify {history.name}`."
        )
