"""A file's bytes as text and back, exactly, whatever they are."""

from __future__ import annotations

import codecs
import re

from nervous_system.redaction.placeholders import PLACEHOLDER

_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_PLACEHOLDER_BYTES = re.compile(PLACEHOLDER.pattern.encode())
_WIDE_FORMS = {
    codec: re.compile(
        "[redacted:".encode(codec).replace(b"[", b"\\[")
        + b"(?:%b){1,40}" % cell.replace(b"?", b"[a-z0-9-]")
        + ":".encode(codec)
        + b"(?:%b){8}" % cell.replace(b"?", b"[0-9a-f]")
        + "]".encode(codec)
    )
    for codec, cell in (("utf-16-le", b"?\\0"), ("utf-16-be", b"\\0?"))
}


def decoded(content: bytes) -> tuple[str, str]:
    """The content as text, and the codec that gives exactly these bytes for it; Latin-1 where it is no text."""
    codec = _WIDE.get(content[:2], "utf-8")
    try:
        return content.decode(codec), codec
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"


def placeholders_in(content: bytes) -> re.Pattern[bytes]:
    """What placeholders look like in this content."""
    codec = _WIDE.get(content[:2])
    return _PLACEHOLDER_BYTES if codec is None else _WIDE_FORMS[codec]
