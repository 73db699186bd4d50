"""What a transaction has written and not yet committed, laid over what it reads.

It follows ``WriteMap`` and ``ReadYourWrites`` of FoundationDB's client: which keys a later read may know without asking
(and so without conflict), and which it may not read at all because their versionstamp is not known yet.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from nervous_system.ledger.embedded.ranges import KeySet, RangeSet, after
from nervous_system.ledger.embedded.refusals import OFFSET_BYTES, USER_KEYS_END, offset_at_end
from nervous_system.ledger.transaction import TRANSACTION_LIMIT_BYTES, VERSIONSTAMP_BYTES, KeyRange, KeyValue

Lookup = Callable[[bytes], bytes | None]


class Stamped(NamedTuple):
    """Bytes with ten to be replaced by the versionstamp."""

    template: bytes
    offset: int

    def fill(self, stamp: bytes) -> bytes:
        """The bytes with ``stamp`` in their place."""
        return self.template[: self.offset] + stamp + self.template[self.offset + VERSIONSTAMP_BYTES :]


@dataclass(frozen=True, slots=True)
class Addition:
    """Operands to be added, in order, to what is stored, or to a stamped value."""

    base: Stamped | None
    operands: tuple[bytes, ...]

    def then(self, operand: bytes) -> Addition:
        """This and one more operand."""
        last = self.operands[-1]
        if len(last) == len(operand):
            return Addition(self.base, (*self.operands[:-1], add_little_endian(last, operand)))
        return Addition(self.base, (*self.operands, operand))

    def resolve(self, value: bytes | None) -> bytes | None:
        """The sum, where the base is ``value``."""
        for operand in self.operands:
            value = add_little_endian(value, operand)
        return value


# A value, None where the key is cleared, or what is known only later.
Write = bytes | None | Stamped | Addition


@dataclass(frozen=True, slots=True)
class Changes:
    """What a commit does to the store, in this order, and the keys that it is held to have written."""

    cleared: list[KeyRange]
    removed: list[bytes]
    stored: list[KeyValue]
    ranges: RangeSet


def add_little_endian(value: bytes | None, operand: bytes) -> bytes:
    """The sum in as many bytes as ``operand`` has; a missing value is zero, a longer one is cut."""
    size = len(operand)
    total = int.from_bytes((value or b"")[:size], "little") + int.from_bytes(operand, "little")
    return (total & ((1 << 8 * size) - 1)).to_bytes(size, "little")


class Writes:
    """The overlay of one transaction."""

    __slots__ = (
        "_fresh",
        "_least_stamp",
        "_sorted",
        "_stamped_keys",
        "_unreadable",
        "_unsettled_keys",
        "_unsettled_values",
        "cleared",
        "points",
    )

    def __init__(self) -> None:
        self.points: dict[bytes, Write] = {}
        self.cleared = RangeSet()
        self._sorted: list[bytes] = []
        self._fresh: list[bytes] = []
        self._least_stamp = bytes(VERSIONSTAMP_BYTES)
        # By the key and offset that FoundationDB's client writes meanwhile, which a later clear of that key takes away:
        # where the versionstamp is put, and the value.
        self._stamped_keys: dict[bytes, tuple[int, bytes]] = {}
        self._unreadable = RangeSet()
        # What only concerns a transaction that reads or clears after it has stamped is worked out when one does.
        self._unsettled_keys: list[tuple[bytes, int, bytes]] = []
        self._unsettled_values: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self.points or self.cleared or self._stamped_keys or self._unsettled_keys)

    @property
    def unreadable(self) -> RangeSet:
        """What may not be read before commit: values that get a versionstamp, and every key that one can still give."""
        if self._unsettled_keys or self._unsettled_values:
            self._settle()
        return self._unreadable

    def read_at(self, version: int) -> None:
        """To be told once of the snapshot's version: from now on versionstamps can only be above it."""
        self._settle()
        self._least_stamp = (version + 1).to_bytes(8, "big") + bytes(2)

    def set(self, key: bytes, value: bytes) -> None:
        self._put(key, value)

    def clear(self, key: bytes) -> None:
        self._put(key, None)
        self._forget_stamps(key, after(key))

    def clear_range(self, begin: bytes, end: bytes) -> None:
        for key in self.keys(begin, end):
            del self.points[key]
        place = self._place(begin, end)
        del self._sorted[place]
        self.cleared.add(begin, end)
        self._forget_stamps(begin, end)

    def add(self, key: bytes, operand: bytes) -> None:
        known = self.points.get(key)
        if isinstance(known, Addition):
            self._put(key, known.then(operand))
        elif isinstance(known, Stamped):
            self._put(key, Addition(known, (operand,)))
        elif known is not None or key in self.points or key in self.cleared:
            self._put(key, add_little_endian(known, operand))
        else:
            self._put(key, Addition(None, (operand,)))

    def set_stamped_value(self, key: bytes, value: bytes) -> None:
        self.set_stamped_values([(key, value)])

    def set_stamped_values(self, pairs: Iterable[KeyValue]) -> None:
        stamped = {key: Stamped(value[:-OFFSET_BYTES], offset_at_end(value)) for key, value in pairs}
        self._fresh += [key for key in stamped if key not in self.points]
        self.points.update(stamped)
        self._unsettled_values += stamped

    def set_stamped_key(self, key: bytes, value: bytes) -> None:
        self.set_stamped_keys([(key, value)])

    def set_stamped_keys(self, pairs: Iterable[KeyValue]) -> None:
        self._unsettled_keys += [(key, offset_at_end(key), value) for key, value in pairs]

    def keys(self, begin: bytes, end: bytes) -> list[bytes]:
        """The single keys written in begin to end, ascending."""
        place = self._place(begin, end)
        return self._sorted[place]

    def touch_any(self, keys: Collection[bytes]) -> bool:
        """Whether what is read at any of ``keys`` may depend on the writes."""
        if not self:
            return False
        points, cleared, unreadable = self.points, self.cleared, self.unreadable
        return any(key in points or key in cleared or key in unreadable for key in keys)

    def is_known(self, key: bytes) -> bool:
        """Whether the value at ``key`` follows from the writes alone."""
        if key in self.points:
            return not isinstance(self.points[key], Addition)
        return key in self.cleared

    def over(self, key: bytes, stored: bytes | None) -> bytes | None:
        """The value at ``key`` as the writer sees it, where ``stored`` is below; not for an unreadable key."""
        write = self.points.get(key, stored)
        if isinstance(write, Addition):
            return write.resolve(stored)
        assert not isinstance(write, Stamped)
        return write

    def unknown(self, begin: bytes, end: bytes) -> list[KeyRange]:
        """The parts of begin to end of which a reader must ask the store, and that can conflict."""
        if not self:
            return [(begin, end)] if begin < end else []
        pieces = []
        for low, high in self.cleared.outside(begin, end):
            for key in self.keys(low, high):
                if not isinstance(self.points[key], Addition):
                    if low < key:
                        pieces.append((low, key))
                    low = after(key)  # noqa: PLW2901 - what is left of this part
            if low < high:
                pieces.append((low, high))
        # An addition to a cleared key was resolved when it was made, so that every one left asks the store.
        return pieces

    def changes(self, stamp: bytes, stored: Lookup) -> Changes:
        """What to do on commit; ``stored`` gives the value that another key's addition starts from."""
        removed, pairs = [], {}
        for key, write in self.points.items():
            value = write if type(write) is bytes else _resolve(write, key, stamp, stored)
            if value is None:
                removed.append(key)
            else:
                pairs[key] = value
        stamped = [(key, offset, value) for key, (offset, value) in self._stamped_keys.items()]
        for key, offset, value in stamped + self._unsettled_keys:
            pairs[key[:offset] + stamp + key[offset + VERSIONSTAMP_BYTES : -OFFSET_BYTES]] = value
        keys = sorted(pairs)
        ranges: RangeSet = KeySet(keys)
        if removed or self.cleared:
            ranges = RangeSet.of([*ranges, *((key, after(key)) for key in removed), *self.cleared])
        return Changes(list(self.cleared), removed, [(key, pairs[key]) for key in keys], ranges)

    def size_bytes(self) -> int:
        """Bytes of mutations and of the write conflict ranges that they make."""
        size = 3 * sum(map(len, self.points)) + sum(map(_size, self.points.values()))
        size += sum([len(key) + len(value) for key, (_, value) in self._stamped_keys.items()])
        size += 2 * sum(len(begin) + len(end) for begin, end in self.cleared)
        unsettled = sum([len(key) + len(value) for key, _, value in self._unsettled_keys])
        if not unsettled or size + unsettled <= TRANSACTION_LIMIT_BYTES:
            return size + unsettled
        # A key that was stamped twice counts once.
        self._settle()
        return self.size_bytes()

    def _settle(self) -> None:
        ranges = [(key, after(key)) for key in self._unsettled_values]
        for key, offset, value in self._unsettled_keys:
            before, behind = key[:offset], key[offset + VERSIONSTAMP_BYTES : -OFFSET_BYTES]
            least = before + self._least_stamp + behind
            last = before + b"\xff" * VERSIONSTAMP_BYTES + behind
            self._stamped_keys[least + key[-OFFSET_BYTES:]] = (offset, value)
            ranges.append((least, min(after(last), USER_KEYS_END)))
        self._unreadable.add_all(ranges)
        self._unsettled_keys, self._unsettled_values = [], []

    def _put(self, key: bytes, write: Write) -> None:
        if key not in self.points:
            self._fresh.append(key)
        self.points[key] = write

    def _place(self, begin: bytes, end: bytes) -> slice:
        if self._fresh:
            # In place, and what is nearly sorted takes linear time.
            self._sorted += self._fresh
            self._sorted.sort()
            self._fresh = []
        return slice(bisect_left(self._sorted, begin), bisect_left(self._sorted, end))

    def _forget_stamps(self, begin: bytes, end: bytes) -> None:
        self.unreadable.remove(begin, end)
        for key in [key for key in self._stamped_keys if begin <= key < end]:
            del self._stamped_keys[key]


def _resolve(write: Write, key: bytes, stamp: bytes, stored: Lookup) -> bytes | None:
    if isinstance(write, Stamped):
        return write.fill(stamp)
    if isinstance(write, Addition):
        return write.resolve(stored(key) if write.base is None else write.base.fill(stamp))
    return write


def _size(write: Write) -> int:
    match write:
        case bytes():
            return len(write)
        case Stamped():
            return len(write.template) + OFFSET_BYTES
        case Addition():
            return (0 if write.base is None else _size(write.base)) + sum(map(len, write.operands))
        case None:
            return 0
