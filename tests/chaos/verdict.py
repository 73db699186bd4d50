"""Compares what producers were told with what a store holds. Pure, and it shares nothing with the pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.journal import Told


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many events a store lost, holds more than once, holds though nobody sent them, or holds out of order."""

    lost: int
    doubled: int
    invented: int
    misplaced: int

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.invented or self.misplaced)


def judge(told: Told, held: Sequence[str]) -> Verdict:
    """Judges one project in one store.

    Args:
        told: what its producers were told.
        held: the hashes of what the store holds, in the store's order.
    """
    counts = Counter(held)
    sent = {*told.acknowledged, *told.unknown}
    places = {name: place for place, name in enumerate(told.acknowledged)}
    order = [places[name] for name in dict.fromkeys(held) if name in places]
    return Verdict(
        lost=sum(name not in counts for name in told.acknowledged),
        doubled=sum(count - 1 for count in counts.values()),
        invented=sum(name not in sent for name in counts),
        misplaced=sum(later < earlier for earlier, later in pairwise(order)),
    )


def judge_bad(told: Sequence[Told], buried: AbstractSet[str]) -> list[str]:
    """What is wrong with the dead letters, given the hashes of what was refused; nothing where all is well."""
    must = {name for each in told for name in each.bad}
    may = {name for each in told for name in each.unknown_bad}
    found = {"refused but not buried": len(must - buried), "buried though good": len(buried - must - may)}
    return [f"{what}: {count}" for what, count in found.items() if count]
