"""Up to where in the log events may go: older than the policy keeps, archived, and passed by every store. Pure.

Recorded times never fall within a partition, so that of a partition all messages up to one that is old are old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ingestors.janitor.policy import NEVER_US, Policy
from nervous_system.archive.manifest import FileEntry, Place
from nervous_system.landing import Cursor

Old = Mapping[Place, Cursor]
"""For each partition its last archived message that is older than a cutoff."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """For each partition and tenant, the last message that may go.

    Args:
        policy: gives each tenant's cutoff.
        now_us: the present, microseconds since 1970.
        old: for each cutoff, up to where the partitions are older and every store has them.
    """

    policy: Policy
    now_us: int
    old: Mapping[int, Old]

    @property
    def places(self) -> list[Place]:
        """The partitions of which anything may go, in order."""
        found = {place for old in self.old.values() for place, cursor in old.items() if cursor.sequence}
        return sorted(found, key=lambda place: (place[0].created_us, str(place[0]), place[1]))

    def through(self, place: Place, tenant: str) -> Cursor:
        """The last message of a partition that may go of a tenant; the cursor at 0 for none."""
        return self.old[self.policy.cutoff_us(tenant, self.now_us)].get(place, Cursor())

    def farthest(self, place: Place) -> int:
        """The last sequence of a partition that may go of whichever tenant."""
        return max((old[place].sequence for old in self.old.values() if place in old), default=0)

    def covers(self, entry: FileEntry, tenant: str) -> bool:
        """Whether all that a file has of a tenant may go."""
        return all(span.last <= self.through(span.place, tenant).sequence for span in entry.spans)

    def concerns(self, entry: FileEntry) -> bool:
        """Whether anything that a file has may go."""
        return any(span.first <= self.farthest(span.place) for span in entry.spans)


def bounds(policy: Policy, now_us: int, files: Iterable[FileEntry], passed: Callable[[Place], int]) -> Bounds:
    """The bounds for an archive of these files.

    Args:
        policy: how long events stay.
        now_us: the present, microseconds since 1970.
        files: all that count.
        passed: up to which sequence every store has a partition.
    """
    known = list(files)
    limits = {place: passed(place) for place in {span.place for entry in known for span in entry.spans}}
    return Bounds(
        policy,
        now_us,
        {cutoff_us: _old(known, cutoff_us, limits) for cutoff_us in policy.cutoffs_us(now_us)},
    )


def _old(files: Iterable[FileEntry], cutoff_us: int, limits: Mapping[Place, int]) -> dict[Place, Cursor]:
    if cutoff_us == NEVER_US:
        return {}
    found: dict[Place, Cursor] = {}
    for entry in files:
        recorded_us = entry.recorded_us[1]
        if recorded_us >= cutoff_us:
            continue
        for span in entry.spans:
            known = found.get(span.place, Cursor())
            found[span.place] = Cursor(max(known.sequence, span.last), max(known.recorded_us, recorded_us))
    return {place: Cursor(min(cursor.sequence, limits[place]), cursor.recorded_us) for place, cursor in found.items()}
