"""ClickHouse's exceptions: their text, code and name, and the HTTP status a server answers with."""

from __future__ import annotations

import re

from nervous_system.errors import EnchantedError

_CODE = re.compile(r"Code: (\d+)\.")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)(?: \(version [^)]*\))?\s*$")
_VERSION = re.compile(r" \(version [^()]*(?:\([^()]*\))?\)\s*$")
_REPEATED = re.compile(r"^(?:Code: \d+\. DB::Exception: )+(?=Code: \d+\. )")
_REPEATED_TAIL = re.compile(r"(?: \(version [0-9.]+\)\. \([A-Z0-9_]+\))+$")

# Source: src/Server/HTTP/exceptionCodeToHTTPStatus.cpp of ClickHouse.
_STATUS_NAMES = {
    400: "BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE "
    "CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER "
    "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6 CANNOT_PARSE_INPUT_ASSERTION_FAILED "
    "CANNOT_PARSE_UUID DUPLICATE_COLUMN ILLEGAL_COLUMN UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE "
    "THERE_IS_NO_COLUMN TOO_DEEP_AST TOO_BIG_AST UNEXPECTED_AST_STRUCTURE SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH "
    "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    401: "REQUIRED_PASSWORD",
    403: "UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE ACCESS_DENIED",
    404: "UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE UNKNOWN_DATABASE "
    "UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING UNKNOWN_AGGREGATE_FUNCTION UNKNOWN_FORMAT UNKNOWN_DATABASE_ENGINE "
    "UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE",
    408: "TIMEOUT_EXCEEDED",
    411: "HTTP_LENGTH_REQUIRED",
    413: "QUERY_IS_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    501: "NOT_IMPLEMENTED",
    503: "SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK",
}
_STATUSES = {name: status for status, names in _STATUS_NAMES.items() for name in names.split()}


class GatewayError(EnchantedError):
    """The gateway cannot start or stop as asked."""


class QueryError(EnchantedError):
    """A query failed, or was refused, as a ClickHouse server says it.

    Args:
        code: ClickHouse's number, such as 60.
        name: ClickHouse's name, such as UNKNOWN_TABLE.
        text: what is wrong, without code, name and version.
    """

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text} ({name})")
        self.code = code
        self.name = name

    @property
    def status(self) -> int:
        """The HTTP status a ClickHouse server answers with."""
        return _STATUSES.get(self.name, 500)

    def render(self, version: str) -> str:
        """The body of a server's answer."""
        return f"{self} (version {version})\n"


def from_engine(message: str) -> QueryError:
    """The engine's message as an error; the engine nests a message in itself where it passed several layers."""
    start = message.find("Code: ")
    text = _REPEATED_TAIL.sub("", message[max(start, 0) :].strip())
    text = _VERSION.sub("", _REPEATED.sub("", text))
    code, name = _CODE.match(text), _NAME.search(text)
    if code is None or name is None:
        return QueryError(1001, "STD_EXCEPTION", message.strip() or "The engine failed without a reason.")
    inner = text[code.end() : name.start()].strip().removeprefix("DB::Exception:").strip()
    return QueryError(int(code[1]), name[1], inner)
