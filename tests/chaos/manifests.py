"""The archive's manifests read by the published form alone: JSON lines, zlib, SHA-256.

What it finds wrong it says by AssertionError: an archive that contradicts itself is lost, however long one waits.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from nervous_system.settings import Settings

File = Mapping[str, Any]


@dataclass(slots=True)
class _Known:
    """A bucket's manifests as far as they were read; none of them ever changes."""

    number: int = 0
    hash: str = "00" * 32
    root: str = ""
    files: dict[str, File] = field(default_factory=dict)


_known: dict[tuple[str, str], _Known] = {}


def files(client: Any, settings: Settings) -> Mapping[str, File]:
    """What the newest manifest says of the files that count, by name."""
    known = _known.setdefault((settings.s3_endpoint, settings.s3_bucket), _Known())
    for number in itertools.count(known.number + 1):
        try:
            answer = client.get_object(Bucket=settings.s3_bucket, Key=f"manifests/v1/{number:020d}.json")
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            break
        _read(known, number, answer["Body"].read())
    if known.number:
        leaves = [_canonical(known.files[key]) for key in sorted(known.files)]
        assert known.root == _root(leaves).hex(), f"manifest {known.number} has another root than its files"
    return known.files


def _read(known: _Known, number: int, data: bytes) -> None:
    header_line, body_line = data.split(b"\n")[:2]
    header = json.loads(header_line)
    assert header["number"] == number, f"manifest {number} calls itself {header['number']}"
    assert header["previous"] == known.hash, f"manifest {number} does not follow the one before"
    assert header["body_sha256"] == hashlib.sha256(body_line).hexdigest(), f"manifest {number} has another body"
    body = json.loads(zlib.decompress(base64.b64decode(body_line)))
    for key in body["removed"]:
        del known.files[key]
    known.files.update((entry["key"], entry) for entry in body["added"])
    listed = {entry["key"]: entry for entry in body["state"]["files"]} if "state" in body else known.files
    assert listed == known.files, f"manifest {number} lists other files than those before it leave"
    known.number, known.hash, known.root = number, hashlib.sha256(header_line).hexdigest(), header["root"]


def _canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _root(leaves: Sequence[bytes]) -> bytes:
    """As RFC 6962, section 2.1, writes it down."""
    if len(leaves) < 2:
        return hashlib.sha256(b"".join(b"\x00" + leaf for leaf in leaves)).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:])).digest()
