"""Every project of a ledger, followed by a keeper each."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from nervous_system.contract import SwarmEvent
from nervous_system.errors import EnchantedError, UnavailableError
from nervous_system.ledger.ledger import Ledger
from nervous_system.ledger.transaction import LedgerError
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName
from replay.keeping import Keeper

logger = logging.getLogger(__name__)

# A keeper holds its project's tree; one that is let go starts again from the last snapshot.
HELD_KEEPERS = 64

Tell = Callable[[ProjectName, list[SwarmEvent]], None]


class Keepers:
    """Goes round the projects, as often as it is asked to.

    Args:
        ledger: whose projects they are.
        tell: publishes events about conflicts in a project.
    """

    def __init__(self, ledger: Ledger, tell: Tell) -> None:
        self._ledger = ledger
        self._tell = tell
        self._held: OrderedDict[ProjectName, Keeper] = OrderedDict()
        self._seen: dict[ProjectName, Version] = {}
        self.written = 0
        """Snapshots written so far."""
        self.rounds = 0
        """Rounds ended so far."""
        self.behind = 0
        """Projects that have moved and are still to be followed in this round."""
        self.passed_over: set[ProjectName] = set()
        """Projects that could not be followed, until they move again."""

    def round(self) -> str:
        """Has every project that has moved followed to its end.

        Returns:
            The trouble with a project that could not be, which is passed over until it moves again; empty without any.

        Raises UnavailableError and LedgerError, which are no one project's trouble.
        """
        trouble = ""
        heads = self._ledger.heads(self._ledger.projects())
        moved = {project: head for project, head in heads.items() if self._seen.get(project) != head}
        self.behind = len(moved)
        for project, head in moved.items():
            self.passed_over.discard(project)
            try:
                self.written += self._keeper(project).advance()
            except EnchantedError as error:
                # What it holds may be half done.
                self._held.pop(project, None)
                if isinstance(error, UnavailableError | LedgerError):
                    raise
                logger.warning("%s: %s", project, error)
                trouble = f"{project}: {error}"
                self.passed_over.add(project)
            self._seen[project] = head
            self.behind -= 1
        self.rounds += 1
        return trouble

    def _keeper(self, project: ProjectName) -> Keeper:
        keeper = self._held.pop(project, None)
        if keeper is None:
            keeper = Keeper(
                self._ledger.history(project), self._ledger.snapshots(project), partial(self._tell, project)
            )
        self._held[project] = keeper
        if len(self._held) > HELD_KEEPERS:
            self._held.popitem(last=False)
        return keeper
