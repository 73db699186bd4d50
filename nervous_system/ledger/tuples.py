"""Tuples as keys: bytes that sort as the tuples do.

Source: FoundationDB's tuple layer, https://github.com/apple/foundationdb/blob/main/design/tuple.md. Written here
because the official one needs FoundationDB's C library as soon as a versionstamp is in the tuple.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

NULL, BYTES, TEXT, NESTED = 0x00, 0x01, 0x02, 0x05
INT_NEGATIVE_BIG, INT_ZERO, INT_POSITIVE_BIG = 0x0B, 0x14, 0x1D
SINGLE, DOUBLE, FALSE, TRUE, UUID_CODE, VERSIONSTAMP = 0x20, 0x21, 0x26, 0x27, 0x30, 0x33
_TEXT, _BYTES = bytes((TEXT,)), bytes((BYTES,))
INCOMPLETE = b"\xff" * 10
INT_LIMIT_BYTES = 255


@dataclass(frozen=True, slots=True, order=True)
class Versionstamp:
    """A place in the ledger's order.

    Args:
        tr_version: 10 bytes that the engine gives a transaction when it commits; None while it has not.
        user_version: the place within the transaction, 0 to 65,535.
    """

    tr_version: bytes | None
    user_version: int = 0

    def __post_init__(self) -> None:
        if self.tr_version is not None and len(self.tr_version) != len(INCOMPLETE):
            raise ValueError(f"a versionstamp has 10 bytes of version, not {len(self.tr_version)}")
        if not 0 <= self.user_version <= 0xFFFF:
            raise ValueError(f"a versionstamp's user version is 0 to 65,535, not {self.user_version}")

    @classmethod
    def from_bytes(cls, data: bytes) -> Versionstamp:
        """The versionstamp written as these 12 bytes."""
        version = data[:10]
        return cls(None if version == INCOMPLETE else version, int.from_bytes(data[10:12], "big"))

    def to_bytes(self) -> bytes:
        """12 bytes, big-endian; ten bytes 0xff stand for a version that is not given yet."""
        return (self.tr_version or INCOMPLETE) + self.user_version.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Single:
    """A float of 32 bits; a plain float is packed with 64."""

    value: float


Element = None | bytes | str | int | float | bool | UUID | Single | Versionstamp | tuple["Element", ...]
Tuple = tuple[Element, ...]


def pack(elements: Tuple, prefix: bytes = b"") -> bytes:
    """The key of ``elements`` below ``prefix``; raises ValueError for what cannot be in a key."""
    packed, stamps = _encode_all(elements, nested=False)
    if stamps:
        raise ValueError("an incomplete versionstamp is packed with pack_with_versionstamp")
    return prefix + packed


def pack_one(element: str | bytes | int, prefix: bytes = b"") -> bytes:
    """``pack`` of one plain element."""
    return prefix + _encode(element)


def pack_with_versionstamp(elements: Tuple, prefix: bytes = b"") -> bytes:
    """Like ``pack``, for exactly one incomplete versionstamp; its offset follows in 4 bytes, little-endian."""
    packed, stamps = _encode_all(elements, nested=False)
    if len(stamps) != 1:
        raise ValueError(f"exactly one incomplete versionstamp is needed, and there are {len(stamps)}")
    return prefix + packed + struct.pack("<L", len(prefix) + stamps[0])


def unpack(key: bytes, prefix: bytes = b"") -> Tuple:
    """The tuple that ``key`` holds after ``prefix``; raises ValueError where it holds none."""
    if not key.startswith(prefix):
        raise ValueError(f"the key {key!r} does not begin with {prefix!r}")
    elements, at = [], len(prefix)
    try:
        while at < len(key):
            element, at = _decode(key, at)
            elements.append(element)
    except (IndexError, struct.error) as error:
        raise ValueError(f"the key {key!r} ends within an element") from error
    return tuple(elements)


def range_of(elements: Tuple, prefix: bytes = b"") -> tuple[bytes, bytes]:
    """Begin and end of all longer tuples that start with ``elements``."""
    start = pack(elements, prefix)
    return start + b"\x00", start + b"\xff"


def _encode_all(elements: Tuple, nested: bool) -> tuple[bytes, list[int]]:
    """The bytes, and the offsets of incomplete versionstamps in them."""
    packed, stamps = bytearray(), []
    for element in elements:
        if isinstance(element, tuple):
            inner, inner_stamps = _encode_all(element, nested=True)
            stamps += [len(packed) + 1 + offset for offset in inner_stamps]
            packed += bytes((NESTED,)) + inner + b"\x00"
        elif element is None and nested:
            packed += b"\x00\xff"
        else:
            if isinstance(element, Versionstamp) and element.tr_version is None:
                stamps.append(len(packed) + 1)
            packed += _encode(element)
    return bytes(packed), stamps


def _encode(element: Element) -> bytes:  # noqa: PLR0911 - one answer a type
    match element:
        case str():
            return _TEXT + _escape(element.encode())
        case bytes():
            return _BYTES + _escape(element)
        case bool():
            return bytes((TRUE if element else FALSE,))
        case int():
            return _encode_int(element)
        case None:
            return bytes((NULL,))
        case float():
            return bytes((DOUBLE,)) + _flip(struct.pack(">d", element))
        case Single():
            return bytes((SINGLE,)) + _flip(struct.pack(">f", element.value))
        case UUID():
            return bytes((UUID_CODE,)) + element.bytes
        case Versionstamp():
            return bytes((VERSIONSTAMP,)) + element.to_bytes()
        case _:
            raise ValueError(f"a key cannot hold a {type(element).__name__}")


def _escape(data: bytes) -> bytes:
    return data.replace(b"\x00", b"\x00\xff") + b"\x00"


def _encode_int(number: int) -> bytes:
    size = (abs(number).bit_length() + 7) // 8
    if size > INT_LIMIT_BYTES:
        raise ValueError(f"a key's integer has at most {INT_LIMIT_BYTES} bytes, not {size}")
    # A negative number is written as its distance from the least of its size, so that it sorts.
    body = (number if number >= 0 else number + (1 << 8 * size) - 1).to_bytes(size, "big")
    if size <= 8:
        return bytes((INT_ZERO + (size if number >= 0 else -size),)) + body
    return (bytes((INT_POSITIVE_BIG, size)) if number > 0 else bytes((INT_NEGATIVE_BIG, size ^ 0xFF))) + body


def _flip(data: bytes) -> bytes:
    """IEEE 754 bytes so that they sort: all bits of a negative number turned, the sign alone of another."""
    if data[0] & 0x80:
        return bytes(byte ^ 0xFF for byte in data)
    return bytes((data[0] ^ 0x80,)) + data[1:]


def _unflip(data: bytes) -> bytes:
    if data[0] & 0x80:
        return bytes((data[0] ^ 0x80,)) + data[1:]
    return bytes(byte ^ 0xFF for byte in data)


def _decode(key: bytes, at: int) -> tuple[Element, int]:  # noqa: PLR0911 - one answer a type
    """The element at ``at`` and where the next begins."""
    code = key[at]
    at += 1
    if INT_NEGATIVE_BIG <= code <= INT_POSITIVE_BIG:
        return _decode_int(key, code, at)
    match code:
        case 0x00:
            return None, at
        case 0x01:
            return _unescape(key, at)
        case 0x02:
            text, at = _unescape(key, at)
            return text.decode("utf-8"), at
        case 0x05:
            return _decode_nested(key, at)
        case 0x20:
            return Single(struct.unpack(">f", _unflip(_take(key, at, 4)))[0]), at + 4
        case 0x21:
            return struct.unpack(">d", _unflip(_take(key, at, 8)))[0], at + 8
        case 0x26 | 0x27:
            return code == TRUE, at
        case 0x30:
            return UUID(bytes=_take(key, at, 16)), at + 16
        case 0x33:
            return Versionstamp.from_bytes(_take(key, at, 12)), at + 12
        case _:
            raise ValueError(f"the key {key!r} is not a tuple: unknown code {code:#04x} at byte {at - 1}")


def _take(key: bytes, at: int, size: int) -> bytes:
    data = key[at : at + size]
    if len(data) < size:
        raise IndexError
    return data


def _unescape(key: bytes, at: int) -> tuple[bytes, int]:
    end = key.find(b"\x00", at)
    while end >= 0 and key[end + 1 : end + 2] == b"\xff":
        end = key.find(b"\x00", end + 2)
    if end < 0:
        raise IndexError
    return key[at:end].replace(b"\x00\xff", b"\x00"), end + 1


def _decode_int(key: bytes, code: int, at: int) -> tuple[int, int]:
    negative = code < INT_ZERO
    size = abs(code - INT_ZERO)
    if size > 8:
        size = key[at] ^ 0xFF if negative else key[at]
        at += 1
    number = int.from_bytes(_take(key, at, size), "big")
    return (number - (1 << 8 * size) + 1 if negative else number), at + size


def _decode_nested(key: bytes, at: int) -> tuple[Tuple, int]:
    elements: list[Element] = []
    while True:
        if key[at] != NULL:
            element, at = _decode(key, at)
            elements.append(element)
        elif key[at + 1 : at + 2] == b"\xff":
            elements.append(None)
            at += 2
        else:
            return tuple(elements), at + 1
