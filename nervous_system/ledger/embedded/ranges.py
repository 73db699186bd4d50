"""Sets of keys, kept as sorted half-open ranges that do not touch."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator

from nervous_system.ledger.transaction import KeyRange

# From this share of a set on, joining it anew is faster than finding each place in it.
BULK_SHARE = 8


def after(key: bytes) -> bytes:
    """The next key."""
    return key + b"\x00"


class RangeSet:
    """Ranges ``begins[i]`` <= key < ``ends[i]``, ascending and apart."""

    __slots__ = ("begins", "ends")

    def __init__(self) -> None:
        self.begins: list[bytes] = []
        self.ends: list[bytes] = []

    @classmethod
    def of(cls, ranges: Iterable[KeyRange]) -> RangeSet:
        """The set that covers ``ranges``, which may come in any order and overlap."""
        joined = cls()
        begins, ends = joined.begins, joined.ends
        for begin, end in sorted(ranges):
            if not ends or begin > ends[-1]:
                begins.append(begin)
                ends.append(end)
            elif end > ends[-1]:
                ends[-1] = end
        return joined

    def __bool__(self) -> bool:
        return bool(self.begins)

    def __iter__(self) -> Iterator[KeyRange]:
        return iter(zip(self.begins, self.ends, strict=True))

    def __contains__(self, key: bytes) -> bool:
        at = bisect_right(self.begins, key)
        return at > 0 and key < self.ends[at - 1]

    def _touching(self, begin: bytes, end: bytes) -> slice:
        """Where the ranges are that share a key or a border with begin to end."""
        return slice(bisect_left(self.ends, begin), bisect_right(self.begins, end))

    def within(self, begin: bytes, end: bytes) -> list[KeyRange]:
        """What of the set lies in begin to end, cut to it."""
        at = self._touching(begin, end)
        cut = ((max(begin, b), min(end, e)) for b, e in zip(self.begins[at], self.ends[at], strict=True))
        return [(b, e) for b, e in cut if b < e]

    def overlaps(self, begin: bytes, end: bytes) -> bool:
        """Whether a key of begin to end is in the set."""
        at = bisect_right(self.begins, begin)
        return (at > 0 and self.ends[at - 1] > begin) or (at < len(self.begins) and self.begins[at] < end)

    def outside(self, begin: bytes, end: bytes) -> list[KeyRange]:
        """What of begin to end is not in the set."""
        pieces = []
        for b, e in self.within(begin, end):
            if begin < b:
                pieces.append((begin, b))
            begin = e
        if begin < end:
            pieces.append((begin, end))
        return pieces

    def add(self, begin: bytes, end: bytes) -> None:
        """Takes begin to end in."""
        if begin >= end:
            return
        at = self._touching(begin, end)
        if at.start < at.stop:
            begin, end = min(begin, self.begins[at.start]), max(end, self.ends[at.stop - 1])
        self.begins[at], self.ends[at] = [begin], [end]

    def add_all(self, ranges: Collection[KeyRange]) -> None:
        """Takes many in, in any order."""
        if len(ranges) * BULK_SHARE < len(self.begins):
            for begin, end in ranges:
                self.add(begin, end)
        else:
            joined = RangeSet.of([*self, *((begin, end) for begin, end in ranges if begin < end)])
            self.begins, self.ends = joined.begins, joined.ends

    def remove(self, begin: bytes, end: bytes) -> None:
        """Takes begin to end out."""
        if begin >= end:
            return
        at = self._touching(begin, end)
        kept = [
            piece
            for b, e in zip(self.begins[at], self.ends[at], strict=True)
            for piece in ((b, min(e, begin)), (max(b, end), e))
            if piece[0] < piece[1]
        ]
        self.begins[at], self.ends[at] = [b for b, _ in kept], [e for _, e in kept]

    def to_bytes(self) -> bytes:
        """The set as bytes: count, lengths, keys. The end of a range of one key is left out."""
        keys = []
        for begin, end in self:
            keys += [begin, b"" if end == begin + b"\x00" else end]
        lengths = array("I", [len(self.begins), *map(len, keys)])
        return lengths.tobytes() + b"".join(keys)

    @classmethod
    def from_bytes(cls, data: bytes) -> RangeSet:
        """The set that ``to_bytes`` wrote on this machine."""
        numbers = array("I")
        numbers.frombytes(data[: numbers.itemsize])
        count = numbers.pop()
        at = numbers.itemsize * (1 + 2 * count)
        numbers.frombytes(data[numbers.itemsize : at])
        ranges = cls()
        for index in range(0, 2 * count, 2):
            middle = at + numbers[index]
            stop = middle + numbers[index + 1]
            begin = data[at:middle]
            ranges.begins.append(begin)
            ranges.ends.append(data[middle:stop] or after(begin))
            at = stop
        return ranges


class KeySet(RangeSet):
    """Single keys, which come ascending: to be asked and kept only, for the ranges of two of them may touch."""

    __slots__ = ()

    def __init__(self, keys: list[bytes]) -> None:
        self.begins = keys
        self.ends = [key + b"\x00" for key in keys]

    def to_bytes(self) -> bytes:
        lengths = array("I", bytes(array("I").itemsize * (1 + 2 * len(self.begins))))
        lengths[0] = len(self.begins)
        lengths[1::2] = array("I", map(len, self.begins))
        return lengths.tobytes() + b"".join(self.begins)
