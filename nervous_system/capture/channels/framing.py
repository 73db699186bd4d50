"""Cuts what comes on a side channel into messages: JSON lines, or protobuf messages with their lengths before. Pure.

Which of both it is shows in the first bytes. A JSON line begins with a brace, then a quotation mark or white space. A
protobuf stream begins with a length, and the first field's tag after it: of a SwarmEvent that is no quotation mark,
unless it has a span and no trace and no id. An empty message (one zero byte) is passed over, and settles it anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

MAX_MESSAGE_BYTES = 1024 * 1024
_MAX_VARINT_BYTES = 10
_BLANK = b" \t\r\n"


class Form(Enum):
    """How messages are told apart."""

    LINES = "JSON lines"
    LENGTHS = "length-delimited protobuf"


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something between messages that cannot be read: why, as a sentence."""

    reason: str


class Framing:
    """One stream of messages."""

    def __init__(self, form: Form | None = None) -> None:
        self.form = form
        """None until the first bytes show it."""
        self._data = b""
        self._is_skipping = False
        self._is_lost = False

    def feed(self, data: bytes) -> Iterator[bytes | Flaw]:
        """Takes what came next; gives the messages that are whole now."""
        self._data += data
        if self.form is None:
            self.form = _form_of(self._data)
        if self._is_lost:
            self._data = b""
        elif self.form is Form.LINES:
            yield from self._lines()
        elif self.form is Form.LENGTHS:
            yield from self._messages()

    def end(self) -> Iterator[bytes | Flaw]:
        """What is left where the stream ends: a last line may lack its line feed."""
        if self.form is Form.LINES and self._data.strip(_BLANK) and not self._is_skipping:
            yield self._data
        elif self._data and not self._is_lost and not self._is_skipping:
            yield Flaw("The stream ended within a message.")
        self._data = b""

    def _lines(self) -> Iterator[bytes | Flaw]:
        *lines, self._data = self._data.split(b"\n")
        for line in lines:
            if self._is_skipping:
                self._is_skipping = False
            elif len(line) > MAX_MESSAGE_BYTES:
                yield _too_long(len(line))
            elif line.strip(_BLANK):
                yield line
        if len(self._data) > MAX_MESSAGE_BYTES:
            if not self._is_skipping:
                yield _too_long(len(self._data))
            self._is_skipping, self._data = True, b""

    def _messages(self) -> Iterator[bytes | Flaw]:
        start = 0
        while (head := _varint(self._data, start)) is not None:
            length, body = head
            if not 0 <= length <= MAX_MESSAGE_BYTES:
                self._is_lost, self._data = True, b""
                yield _too_long(length)
                return
            if len(self._data) < body + length:
                break
            if length:
                yield self._data[body : body + length]
            start = body + length
        self._data = self._data[start:]


def _form_of(data: bytes) -> Form | None:
    if not data or data == b"{":
        return None
    return Form.LINES if data[:1] == b"{" and data[1:2] in b'" \t\r}' else Form.LENGTHS


def _varint(data: bytes, start: int) -> tuple[int, int] | None:
    """A varint's value and where it ends; None where it is not whole. One that is too long is above any bound."""
    value = 0
    for index, byte in enumerate(data[start : start + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, start + index + 1
    return (MAX_MESSAGE_BYTES + 1, start) if len(data) - start >= _MAX_VARINT_BYTES else None


def _too_long(size_bytes: int) -> Flaw:
    return Flaw(f"It has {size_bytes:,} bytes or more, above the {MAX_MESSAGE_BYTES:,} allowed.")
