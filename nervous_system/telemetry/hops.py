"""The hops of an event: when it happened, was put on the wire, was taken by the log, was in a store. Pure.

Three clocks have a part in it: the agent's (occurred, published), the log's (recorded) and the ingestor's (landed).
A hop between clocks that do not agree can come out negative: it then counts as 0, and that it did is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

PUBLISHED_HEADER = "Enchanted-Published-Us"

OCCURRED_PUBLISHED = "occurred_published"
PUBLISHED_RECORDED = "published_recorded"
OCCURRED_RECORDED = "occurred_recorded"
RECORDED_LANDED = "recorded_landed"
HOPS = (OCCURRED_PUBLISHED, PUBLISHED_RECORDED, OCCURRED_RECORDED, RECORDED_LANDED)

_LATEST_US = 1 << 62


@dataclass(frozen=True, slots=True)
class Passage:
    """One message's way, microseconds since 1970; 0 for a time that is not known.

    Args:
        occurred_us: of its last event, which waited least.
        published_us: as its producer says.
        recorded_us: when the log took it.
        landed_us: when the store had it.
    """

    occurred_us: int
    published_us: int
    recorded_us: int
    landed_us: int

    def hops_s(self) -> dict[str, float]:
        """How long each hop took that is known, in seconds; negative where clocks disagree."""
        ends = {
            OCCURRED_PUBLISHED: (self.occurred_us, self.published_us),
            PUBLISHED_RECORDED: (self.published_us, self.recorded_us),
            OCCURRED_RECORDED: (self.occurred_us, self.recorded_us),
            RECORDED_LANDED: (self.recorded_us, self.landed_us),
        }
        return {hop: (end - begin) / 1e6 for hop, (begin, end) in ends.items() if begin and end}


def published_us(header: str) -> int:
    """What a producer wrote into PUBLISHED_HEADER; 0 where that is no time. Anybody may write anything there."""
    known = header.isascii() and header.isdecimal() and len(header) <= len(str(_LATEST_US))
    return min(int(header), _LATEST_US) if known else 0


def sample(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of ``items``, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    step = (len(items) - 1) / (most - 1)
    return [items[round(index * step)] for index in range(most)]
