"""Content encodings of requests and answers: gzip, deflate, zstd and lz4 frames, each as a stream."""

from __future__ import annotations

import sys
import zlib
from typing import Any, Protocol

import lz4.frame  # type: ignore[import-untyped]

from infrastructure.local.gateway.errors import QueryError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS = ("lz4", "zstd", "gzip", "deflate")


class Encoder(Protocol):
    """Compresses a stream."""

    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class Decoder(Protocol):
    """Decompresses a stream."""

    def decompress(self, data: bytes) -> bytes: ...

    @property
    def eof(self) -> bool: ...


class _Plain:
    eof = True

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""

    def decompress(self, data: bytes) -> bytes:
        return data


class _Lz4Encoder:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._head: bytes = self._frame.begin()

    def compress(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._frame.compress(data))

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._frame.flush())


class _Frames:
    """Frames one after another, as clients send them: one a block."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._frame = make()
        self._fresh = True

    @property
    def eof(self) -> bool:
        return self._fresh or bool(self._frame.eof)

    def decompress(self, data: bytes) -> bytes:
        parts = []
        while data:
            if self._frame.eof:
                self._frame, self._fresh = self._make(), True
            parts.append(self._frame.decompress(data))
            self._fresh = False
            data = self._frame.unused_data or b"" if self._frame.eof else b""
        return b"".join(parts)


def choose(accepted: str, *, enabled: bool) -> str:
    """The encoding to answer with: the first one of an Accept-Encoding header that is known; empty for none."""
    if not enabled:
        return ""
    for part in accepted.split(","):
        name, _, quality = part.strip().lower().partition(";")
        if name in ENCODINGS and quality.replace(" ", "") not in ("q=0", "q=0.0"):
            return name
    return ""


def encoder(encoding: str) -> Encoder:
    """A new encoder; the empty name leaves bytes as they are."""
    if encoding == "gzip":
        return zlib.compressobj(level=3, wbits=31)
    if encoding == "deflate":
        return zlib.compressobj(level=3)
    if encoding == "zstd":
        return zstd.ZstdCompressor(level=1)
    return _Lz4Encoder() if encoding == "lz4" else _Plain()


def decoder(encoding: str) -> Decoder:
    """A new decoder; raises QueryError for an encoding that is not known."""
    if encoding in ("gzip", "x-gzip"):
        return _Frames(lambda: zlib.decompressobj(wbits=31))
    if encoding == "deflate":
        return _Frames(zlib.decompressobj)
    if encoding == "zstd":
        return _Frames(zstd.ZstdDecompressor)
    if encoding == "lz4":
        return _Frames(lz4.frame.LZ4FrameDecompressor)
    if encoding in ("", "identity"):
        return _Plain()
    raise QueryError(
        48, "NOT_IMPLEMENTED", f"Content-Encoding {encoding} is not understood: use one of {', '.join(ENCODINGS)}"
    )
