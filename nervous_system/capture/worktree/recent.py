"""Contents that were recorded not long ago, from which the next change of a file can be told as a diff."""

from __future__ import annotations

from collections import OrderedDict

from nervous_system.textdiff import DIFF_LIMIT_BYTES

LIMIT_BYTES = 64 * 1024 * 1024


class Recent:
    """Contents by their hash, the ones used longest ago forgotten first.

    Args:
        limit_bytes: how much is held.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._contents: OrderedDict[str, bytes] = OrderedDict()

    def get(self, digest: str) -> bytes | None:
        """The content whose SHA-256, in hex, is ``digest``; None where it is not held."""
        if digest in self._contents:
            self._contents.move_to_end(digest)
        return self._contents.get(digest)

    def put(self, digest: str, content: bytes) -> None:
        """Holds a content, unless it is too large for a diff."""
        if len(content) > DIFF_LIMIT_BYTES or digest in self._contents:
            return
        self._contents[digest] = content
        self._held_bytes += len(content)
        while self._held_bytes > self._limit_bytes:
            _, oldest = self._contents.popitem(last=False)
            self._held_bytes -= len(oldest)
