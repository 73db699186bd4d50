"""The stream that ``git fast-import`` reads (git-fast-import(1)): contents, commits, tags.

Whatever comes from an agent is either counted (``data N``), quoted in the manner of C (paths), or was cleaned of what
would end its line (names). So nothing that an agent wrote is ever read as a command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from replay.contents import ContentError
from replay.export.commits import Commit
from replay.git.commits import Signature

BUFFER_BYTES = 256 * 1024

_NOT_PLAIN = re.compile(rb"[^ !#-\[\]-~]")
_HEX_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Written:
    """A path that a commit writes: what is there is a content's mark, or a submodule's commit, hex."""

    path: bytes
    mode: int
    content: int | str


@dataclass(frozen=True, slots=True)
class Tag:
    """A name for a commit.

    Args:
        name: valid below refs/tags.
        mark: the commit's.
        tagger: who gave the name, where the tag is annotated.
        message: what it says; empty: the tag is lightweight.
    """

    name: str
    mark: int
    tagger: Signature
    message: bytes


class FastImport:
    """Writes the stream.

    Args:
        send: takes the stream's bytes.
        branch: a valid name below refs/heads.
    """

    def __init__(self, send: Callable[[bytes], None], branch: str) -> None:
        self._send = send
        self._branch = branch.encode()
        self._buffer = bytearray()
        self._mark = 0

    def blob(self, size_bytes: int, pieces: Iterable[bytes]) -> int:
        """Writes a content, of exactly this size; returns its mark. Raises ContentError where it has another size."""
        mark = self._next_mark()
        self._write(b"blob\nmark :%d\ndata %d\n" % (mark, size_bytes))
        left_bytes = size_bytes
        for piece in pieces:
            left_bytes -= len(piece)
            # Any more would be read as commands.
            if left_bytes < 0:
                break
            self._write(piece)
        if left_bytes:
            raise ContentError("A content changed its size while it was exported: the ledger is being altered.")
        self._write(b"\n")
        return mark

    def commit(self, commit: Commit, deleted: Iterable[bytes], written: Iterable[Written]) -> int:
        """Writes the branch's next commit, by what it changes in the tree before; returns its mark."""
        mark = self._next_mark()
        self._write(b"commit refs/heads/%b\nmark :%d\n" % (self._branch, mark))
        self._write(b"author %b\ncommitter %b\n" % (signed(commit.author), signed(commit.committer)))
        self._data(commit.message)
        for path in deleted:
            self._write(b"D %b\n" % quoted(path))
        for each in written:
            self._write(b"M %06o %b %b\n" % (each.mode, _reference(each.content), quoted(each.path)))
        self._write(b"\n")
        return mark

    def tag(self, tag: Tag) -> None:
        """Names a commit."""
        if not tag.message:
            self._write(b"reset refs/tags/%b\nfrom :%d\n\n" % (tag.name.encode(), tag.mark))
            return
        self._write(b"tag %b\nfrom :%d\ntagger %b\n" % (tag.name.encode(), tag.mark, signed(tag.tagger)))
        self._data(tag.message)

    def done(self) -> None:
        """Ends the stream."""
        self._write(b"done\n")
        self._flush()

    def _data(self, data: bytes) -> None:
        self._write(b"data %d\n%b\n" % (len(data), data))

    def _write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._send(bytes(self._buffer))
        self._buffer.clear()

    def _next_mark(self) -> int:
        self._mark += 1
        return self._mark


def quoted(path: bytes) -> bytes:
    """A path between quotes; every byte that is not plain ASCII as an octal escape."""
    return b'"%b"' % _NOT_PLAIN.sub(lambda match: b"\\%03o" % match[0][0], path)


def signed(signature: Signature) -> bytes:
    """``Name <email> seconds offset``; name and email must have been cleaned."""
    assert not set(signature.name + signature.email) & set("<>\n\0"), signature
    sign = "-" if signature.offset_minutes < 0 else "+"
    hours, minutes = divmod(abs(signature.offset_minutes), 60)
    name = f"{signature.name} " if signature.name else ""
    return f"{name}<{signature.email}> {signature.time_s} {sign}{hours:02}{minutes:02}".encode()


def _reference(content: int | str) -> bytes:
    if isinstance(content, int):
        return b":%d" % content
    assert _HEX_ID.fullmatch(content), content
    return content.encode("ascii")
