"""The pipe through which a query's rows leave the engine: bounded memory, and the engine waits for a slow client."""

from __future__ import annotations

import asyncio
import os
from typing import IO

_CHUNK_BYTES = 262_144


class Pipe:
    """A pipe, read on the event loop. ``write_fd`` is for the writer, which closes it."""

    def __init__(self, write_fd: int, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self.write_fd = write_fd
        self._reader = reader
        self._transport = transport

    @classmethod
    async def open(cls) -> Pipe:
        loop = asyncio.get_running_loop()
        read_fd, write_fd = os.pipe()
        reader = asyncio.StreamReader(_CHUNK_BYTES)
        source = os.fdopen(read_fd, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
        return cls(write_fd, reader, transport)

    async def read(self) -> bytes:
        """The next bytes; none once the writer has closed."""
        return await self._reader.read(_CHUNK_BYTES)

    async def hold(self, held: IO[bytes], *, max_bytes: float | None, max_s: float | None) -> bool:
        """Puts the first bytes into ``held``: up to ``max_bytes``, for ``max_s`` seconds after the first; None: all.

        Returns whether the end was reached.
        """
        chunk = await self.read()
        size = len(chunk)
        loop = asyncio.get_running_loop()
        deadline = None if max_s is None else loop.time() + max_s
        while chunk:
            held.write(chunk)
            if max_bytes is not None and size >= max_bytes:
                return False
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await self.read()
            except TimeoutError:
                return False
            size += len(chunk)
        return True

    async def drain(self) -> None:
        while await self.read():
            pass

    def close(self) -> None:
        self._transport.close()
