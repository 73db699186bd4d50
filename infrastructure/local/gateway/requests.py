"""What an HTTP request asks for: parameters, credentials, and the body, spooled to disk above a few megabytes."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web

from infrastructure.local.gateway.compression import decoder
from infrastructure.local.gateway.errors import QueryError

SPOOL_MEMORY_BYTES = 4_000_000
CHUNK_BYTES = 262_144
PARAMETER = "param_"

# What the HTTP layer itself reads; every other parameter is a setting of the engine.
_OWN = frozenset(
    (
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "query_id",
        "quota_key",
        "buffer_size",
        "wait_end_of_query",
        "compress",
        "decompress",
        "stacktrace",
        "client_protocol_version",
    )
)
_TABLE_FACTS = ("_format", "_structure", "_types")


@dataclass(frozen=True, slots=True)
class Table:
    """External data: a temporary table sent with the query."""

    name: str
    structure: str
    format: str
    data: IO[bytes]


@dataclass(slots=True)
class Request:
    """One query, as asked for. ``settings`` and ``parameters`` are texts by name."""

    query_id: str
    query: bytes = b""
    body: IO[bytes] | None = None
    database: str = ""
    default_format: str = ""
    session_id: str = ""
    session_timeout_s: float = 60.0
    session_check: bool = False
    close_session: bool = False
    wait_end_of_query: bool = False
    accept_encoding: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

    @property
    def compresses(self) -> bool:
        """Whether the answer may be compressed; a server's default is yes."""
        return is_true(self.settings.get("enable_http_compression", "1"))

    def close(self) -> None:
        for spool in [self.body, *(table.data for table in self.tables)]:
            if spool is not None:
                spool.close()


def is_true(text: str) -> bool:
    """Whether a setting's text means yes."""
    return text.strip().lower() not in ("", "0", "false")


class Credentials:
    """The one user of a gateway."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password

    def check(self, request: web.Request) -> None:
        """Raises QueryError, in a server's words, where a request does not give this user and password."""
        user, password = _claimed(request)
        known = hmac.compare_digest(user.encode(), self._user.encode())
        right = hmac.compare_digest(password.encode(), self._password.encode())
        if not (known and right):
            raise QueryError(
                516,
                "AUTHENTICATION_FAILED",
                f"{user}: Authentication failed: password is incorrect, or there is no user with such name.",
            )


def _claimed(request: web.Request) -> tuple[str, str]:
    headers = request.headers
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise QueryError(516, "AUTHENTICATION_FAILED", "The Authorization header is not base64") from error
        return user, password
    if scheme:
        return "", ""
    return request.query.get("user", "default"), request.query.get("password", "")


async def read_request(request: web.Request, spool_dir: Path) -> Request:
    """The query that ``request`` asks for, its body read whole; raises QueryError.

    The body is spooled before anything runs, so that a connection cut in the middle of an insert inserts nothing.
    """
    parameters: dict[str, str] = dict(request.query)
    headers = request.headers
    asked = Request(query_id=parameters.get("query_id") or str(uuid.uuid4()))
    try:
        if request.content_type == "multipart/form-data":
            await _read_form(await request.multipart(), parameters, asked, spool_dir)
        elif request.method == "POST" and request.body_exists:
            asked.body = await _spool(request.content, headers.get("Content-Encoding", ""), spool_dir)
    except BaseException:
        asked.close()
        raise
    _fill(asked, parameters)
    asked.query = parameters.get("query", "").encode("utf-8", "surrogateescape")
    asked.database = parameters.get("database", "") or headers.get("X-ClickHouse-Database", "")
    asked.default_format = parameters.get("default_format", "") or headers.get("X-ClickHouse-Format", "")
    asked.accept_encoding = headers.get("Accept-Encoding", "")
    if request.method == "GET":
        asked.settings.setdefault("readonly", "2")
    return asked


def _fill(asked: Request, parameters: Mapping[str, str]) -> None:
    if any(is_true(parameters.get(name, "")) for name in ("compress", "decompress")):
        raise QueryError(
            48,
            "NOT_IMPLEMENTED",
            "compress=1 and decompress=1 (ClickHouse's own framing) are not supported by the gateway: use "
            "Accept-Encoding and Content-Encoding",
        )
    asked.session_id = parameters.get("session_id", "")
    asked.session_timeout_s = _session_timeout_s(parameters.get("session_timeout", "60"))
    asked.session_check = is_true(parameters.get("session_check", ""))
    asked.close_session = is_true(parameters.get("close_session", ""))
    asked.wait_end_of_query = is_true(parameters.get("wait_end_of_query", ""))
    facts = {table.name + fact for table in asked.tables for fact in _TABLE_FACTS}
    for name, value in parameters.items():
        if name.startswith(PARAMETER):
            asked.parameters[name.removeprefix(PARAMETER)] = value
        elif name not in _OWN and name not in facts:
            asked.settings[name] = value


def _session_timeout_s(text: str) -> float:
    if not text.isdigit() or int(text) > 3600:
        raise QueryError(
            374, "INVALID_SESSION_TIMEOUT", f"Invalid session timeout: '{text}': give seconds, at most 3600"
        )
    return float(text)


async def _read_form(form: MultipartReader, parameters: dict[str, str], asked: Request, spool_dir: Path) -> None:
    async for part in form:
        if not isinstance(part, BodyPartReader) or not part.name:
            continue
        if part.filename is None:
            parameters[part.name] = (await part.read(decode=True)).decode("utf-8", "surrogateescape")
            continue
        data = await _spool_part(part, spool_dir)
        asked.tables.append(_table(part.name, parameters, data))


def _table(name: str, parameters: Mapping[str, str], data: IO[bytes]) -> Table:
    structure = parameters.get(f"{name}_structure", "")
    types = parameters.get(f"{name}_types", "")
    if not structure and not types:
        data.close()
        raise QueryError(
            36, "BAD_ARGUMENTS", f"Either {name}_structure or {name}_types has to be set for the external table {name}"
        )
    if not structure:
        structure = ", ".join(f"_{number} {kind}" for number, kind in enumerate(_split(types), 1))
    return Table(name, structure, parameters.get(f"{name}_format", "TabSeparated"), data)


def _split(types: str) -> list[str]:
    """The types of a list, whose own commas stand in parentheses."""
    return [kind.strip() for kind in re.findall(r"(?:[^,(]|\((?:[^()]|\([^()]*\))*\))+", types)]


def _new_spool(spool_dir: Path) -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES, dir=str(spool_dir))


async def _spool(content: StreamReader, encoding: str, spool_dir: Path) -> IO[bytes]:
    decode = decoder(encoding.strip().lower())
    spool = _new_spool(spool_dir)
    try:
        async for chunk in content.iter_chunked(CHUNK_BYTES):
            spool.write(decode.decompress(chunk))
    except BaseException as error:
        spool.close()
        if isinstance(error, OSError):
            raise disk_error(error) from error
        if isinstance(error, Exception) and encoding:
            raise QueryError(271, "CANNOT_DECOMPRESS", f"The body is not {encoding}: {error}") from error
        raise
    if not decode.eof:
        spool.close()
        raise QueryError(271, "CANNOT_DECOMPRESS", f"The body ends in the middle of its {encoding} stream")
    spool.seek(0)
    return spool


async def _spool_part(part: BodyPartReader, spool_dir: Path) -> IO[bytes]:
    spool = _new_spool(spool_dir)
    try:
        while chunk := await part.read_chunk(CHUNK_BYTES):
            spool.write(chunk)
    except OSError as error:
        spool.close()
        raise disk_error(error) from error
    spool.seek(0)
    return spool


def disk_error(error: OSError) -> QueryError:
    """What the client is told where a spool cannot be written."""
    return QueryError(
        243,
        "NOT_ENOUGH_SPACE",
        f"The gateway cannot spool: {error.strerror}. Free space on its disk, and send the query again",
    )
