"""Comparing what ClickHouse, the ledger and the archive hold, project by project, up to where the archive has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from ingestors.agreement import Archived, Difference, Digest, Side, difference, digested
from nervous_system.errors import NotFoundError
from nervous_system.ledger.records import DamagedError
from nervous_system.projects import ProjectName

RowsOf = Callable[[ProjectName], Iterator[Archived]]
"""Reads what the archive has of a project, in log order."""

TOLD_EVERY_EVENTS = 10_000


class ComparedLedger(Protocol):
    """What is asked of the ledger."""

    def projects(self) -> Collection[ProjectName]:
        """Every project it has."""
        ...

    def side(self, project: ProjectName) -> Side:
        """What it has of one."""
        ...


class ComparedClickHouse(Protocol):
    """What is asked of ClickHouse."""

    def digests(self) -> Mapping[ProjectName, Digest]:
        """What it has of each project, as it says itself."""
        ...

    def side(self, project: ProjectName) -> Side:
        """The same, row by row."""
        ...

    def hash_of(self, row: Archived) -> bytes | None:
        """What stands for an event of the archive's in the digest; None where it need not have it."""
        ...


class Comparison:
    """One comparison.

    Args:
        projects: those that the archive has.
        rows_of: reads them.
        ledger, clickhouse: what is compared with it; None where that is not set.
        advanced: told now and then how many of the archive's events have been compared.
    """

    def __init__(
        self,
        projects: Iterable[ProjectName],
        rows_of: RowsOf,
        *,
        ledger: ComparedLedger | None = None,
        clickhouse: ComparedClickHouse | None = None,
        advanced: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._projects = list(projects)
        self._rows_of = rows_of
        self._ledger = ledger
        self._clickhouse = clickhouse
        self._advanced = advanced
        self.events = 0
        """How many of the archive's events have been read."""

    def differences(self) -> Iterator[Difference]:
        """The first difference of each project in each store, by project."""
        digests = dict(self._clickhouse.digests()) if self._clickhouse else {}
        known = {*self._projects, *digests, *(self._ledger.projects() if self._ledger else ())}
        for project in sorted(known):
            yield from self._of(project, digests.get(project, Digest()))

    def _of(self, project: ProjectName, in_clickhouse: Digest) -> Iterator[Difference]:
        digest = Digest()
        rows = self._counted(project)
        if self._clickhouse:
            rows = digested(rows, digest, self._clickhouse.hash_of)
        if self._ledger:
            yield from _one(project, rows, self._ledger.side(project))
        # What is left where the ledger differs, so that the digest is of all.
        deque(rows, maxlen=0)
        if self._clickhouse and digest != in_clickhouse:
            yield from _one(project, self._rows_of(project), self._clickhouse.side(project))

    def _counted(self, project: ProjectName) -> Iterator[Archived]:
        for row in self._rows_of(project):
            self.events += 1
            if self.events % TOLD_EVERY_EVENTS == 0:
                self._advanced(self.events)
            yield row
        self._advanced(self.events)


def _one(project: ProjectName, rows: Iterable[Archived], side: Side) -> Iterator[Difference]:
    try:
        found = difference(project, rows, side)
    except (DamagedError, NotFoundError) as error:
        # Of the store: what the archive has was found good before.
        found = Difference(side.name, str(project), "", "", str(error))
    if found is not None:
        yield found
