"""Where an agent that is recorded finds its recorder: a pipe that it inherits, and a Unix socket."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nervous_system.capture.channels import lines, messages
from nervous_system.capture.channels.framing import Flaw, Form, Framing
from nervous_system.capture.channels.lines import LineError, Said

FIRST_NUMBER = 3
MAX_CONNECTIONS = 256
_READ_BYTES = 64 * 1024

Answer = dict[str, Any]
Hear = Callable[[Said], Answer]
"""Does what was said and gives the reply; raises LineError where it cannot be done."""
Tell = Callable[[str], None]
"""Is given a sentence about what could not be understood."""


class Endpoints:
    """The pipe and the socket of one recorder. ``spoken`` is the pipe's writing end, for whoever starts the command.

    Args:
        tell: is told of bad lines.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._hear: Hear = _nobody
        self._selector: selectors.BaseSelector | None = None
        self._pipe, self.spoken = os.pipe()
        os.set_blocking(self._pipe, False)
        # Of a name that nobody else can take first, in a folder that nobody else can enter; short, since a socket's
        # path may have 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="enchanted-", dir=os.environ.get("XDG_RUNTIME_DIR")))
        self.path = self._folder / "socket"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.setblocking(False)
        self._streams: dict[int, _Stream] = {}

    def close_spoken(self) -> None:
        """Closes the pipe's writing end, where no command is started."""
        os.close(self.spoken)

    def register(self, selector: selectors.BaseSelector, hear: Hear) -> None:
        """From here on the selector's data is what is to be called, with no arguments; ``hear`` does what was said."""
        self._selector, self._hear = selector, hear
        self._add(_Stream(self._pipe, self._answered, Framing(Form.LINES)))
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def finish(self) -> None:
        """Takes what was said so far, and ends."""
        self._accept()
        for stream in list(self._streams.values()):
            self._read(stream)
            if stream.descriptor in self._streams:
                self._drop(stream)
        if self._selector is not None:
            self._selector.unregister(self._listener)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        self._folder.rmdir()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                if len(self._streams) > MAX_CONNECTIONS:
                    self._tell(f"A connection was refused: there are {MAX_CONNECTIONS} already.")
                    connection.close()
                    continue
                connection.setblocking(False)
                self._add(_Stream(connection.detach(), self._answered, Framing(), replies=True))

    def _add(self, stream: _Stream) -> None:
        self._streams[stream.descriptor] = stream
        if self._selector is not None:
            self._selector.register(stream.descriptor, selectors.EVENT_READ, lambda: self._read(stream))

    def _read(self, stream: _Stream) -> None:
        while True:
            try:
                data = os.read(stream.descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            stream.take(data)
            if not data:
                self._drop(stream)
                return

    def _drop(self, stream: _Stream) -> None:
        stream.end()
        del self._streams[stream.descriptor]
        if self._selector is not None:
            self._selector.unregister(stream.descriptor)
        os.close(stream.descriptor)

    def _answered(self, found: bytes | Flaw, form: Form | None) -> Answer:
        try:
            if isinstance(found, Flaw):
                raise LineError(found.reason)
            return {"ok": True, **self._hear(lines.parse(found) if form is Form.LINES else messages.parse(found))}
        except LineError as error:
            shown = "" if isinstance(found, Flaw) else f" {found[:200]!r}{'…' if len(found) > 200 else ''}"
            self._tell(f"A line was left out: {error}{shown}")
            return {"ok": False, "error": str(error)}


class _Stream:
    """One writer's stream."""

    def __init__(
        self,
        descriptor: int,
        answered: Callable[[bytes | Flaw, Form | None], Answer],
        framing: Framing,
        *,
        replies: bool = False,
    ) -> None:
        self.descriptor = descriptor
        self._answered, self._framing, self._replies = answered, framing, replies

    def take(self, data: bytes) -> None:
        """Takes what came."""
        self._heed(self._framing.feed(data))

    def end(self) -> None:
        """Takes what is left."""
        self._heed(self._framing.end())

    def _heed(self, found: Iterator[bytes | Flaw]) -> None:
        for each in found:
            answer = self._answered(each, self._framing.form)
            if self._replies and self._framing.form is Form.LINES:
                # Who does not read replies gets none: the recorder waits for nobody.
                with contextlib.suppress(OSError):
                    os.write(self.descriptor, json.dumps(answer).encode() + b"\n")


def _nobody(_: Said) -> Answer:
    raise LineError("Nobody listens yet.")


def free_number() -> int:
    """The descriptor that the pipe becomes in the command: 3, or the next that this process was not given already.

    To be called before this process opens anything of its own.
    """
    number = FIRST_NUMBER
    while _is_given(number):
        number += 1
    return number


def _is_given(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        return False
