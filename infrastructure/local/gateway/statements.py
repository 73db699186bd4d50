"""What a query text is, told from its tokens: how to run it, where its data begins, which format it asks for.

Pure. The engine parses a query in full; this reads only what an HTTP server decides before it runs one.
Source: ParserInsertQuery.cpp and ParserQueryWithOutput.cpp of ClickHouse.
"""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infrastructure.local.gateway.errors import QueryError

HEAD_MAX_BYTES = 262_144

_TOKEN = re.compile(
    rb"""(?P<space>[\s\x00]+|--[^\n]*|\#[! ][^\n]*|/\*.*?(?:\*/|$))
    |(?P<string>'(?:[^'\\]|\\.|'')*')
    |(?P<quoted>"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
    |(?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<word>[A-Za-z_0-9]+)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPEN, _CLOSE = b"([{", b")]}"
_ANSWERING = frozenset(
    b"SELECT WITH FROM SHOW DESCRIBE DESC EXISTS EXPLAIN CHECK KILL BACKUP RESTORE WATCH VALUES ( {".split()
)
_STREAMED = frozenset(b"SELECT WITH FROM".split())
_SESSION_WORDS = frozenset(b"SET USE".split())
_FILE_FUNCTIONS = frozenset(
    b"FILE FILECLUSTER SQLITE EXECUTABLE PYTHON ICEBERGLOCAL DELTALAKELOCAL HUDILOCAL PAIMONLOCAL FILESYSTEM".split()
)
_URL_FUNCTIONS = frozenset(b"URL URLCLUSTER".split())
_FILE_ENGINES = frozenset(
    b"FILE SQLITE EXECUTABLE EXECUTABLEPOOL ICEBERGLOCAL DELTALAKELOCAL PAIMONLOCAL EMBEDDEDROCKSDB".split()
)


class Kind(enum.Enum):
    """How a statement is run."""

    SELECT = enum.auto()  # rows, streamed
    ANSWER = enum.auto()  # a few rows, such as SHOW
    INSERT = enum.auto()  # data follows the statement
    COMMAND = enum.auto()  # no rows


@dataclass(frozen=True, slots=True)
class Statement:
    """A query text, read.

    Args:
        text: what the engine is given; of an INSERT, the part before FORMAT or VALUES.
        format: the format it names; None where it names none.
        data_offset: where an INSERT's data begins, in bytes from the start of the query text.
        file_offset: where ``INTO OUTFILE`` or ``FROM INFILE`` belongs in ``text``, in bytes.
        has_totals: whether rows come with totals, which the engine's own streams leave out.
        is_use: whether it is USE, which changes the session's database.
        makes_state: whether it leaves something in the session that runs it.
    """

    kind: Kind
    text: bytes
    format: str | None = None
    data_offset: int = 0
    file_offset: int = 0
    has_totals: bool = False
    is_use: bool = False
    makes_state: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    @property
    def word(self) -> bytes:
        return self.text.upper() if self.kind == "word" else b""

    @property
    def name(self) -> bytes:
        return self.text.strip(b'"`').upper() if self.kind == "quoted" else self.word


def read(text: bytes) -> Statement:
    """The statement in ``text``; of an INSERT with data, only its first HEAD_MAX_BYTES are looked at.

    Raises QueryError where the text is empty, or reads or writes files, which a client cannot ask of a server.
    """
    if _first_word(text) in (b"INSERT", b"WITH"):
        insert = _insert(text)
        if insert is not None:
            return insert
    tokens = list(_tokens(text))
    while tokens and tokens[-1].text == b";":
        tokens.pop()
    if not tokens:
        raise QueryError(62, "SYNTAX_ERROR", "Syntax error: failed at position 1 (end of query): . Empty query")
    refuse_files(tokens)
    _refuse_several(tokens)
    return _plain(text[: tokens[-1].end], tokens)


def with_output(statement: Statement, path: str) -> bytes:
    """The text of a SELECT, its rows going into ``path``."""
    text, at = statement.text, statement.file_offset
    return text[:at] + f"\nINTO OUTFILE '{path}' APPEND COMPRESSION 'none' ".encode() + text[at:]


def with_input(statement: Statement, path: str) -> bytes:
    """The text of an INSERT, its data coming from ``path``."""
    text, at = statement.text, statement.file_offset
    source = f"\nFROM INFILE '{path}' COMPRESSION 'none' ".encode()
    return text[:at] + source + text[at:] + f" FORMAT {statement.format}".encode()


def refuse_files(tokens: Sequence[_Token]) -> None:
    """Raises QueryError for what would reach the files of the gateway's machine."""
    for token, following, after in zip(tokens, [*tokens[1:], None], [*tokens[2:], None, None], strict=False):
        pair = (token.word, following.word if following else b"")
        if pair in ((b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")):
            raise _file_refusal(" ".join(word.decode() for word in pair))
        if following and following.text == b"(" and token.name in _FILE_FUNCTIONS:
            raise _file_refusal(f"{token.text.decode()}()")
        if token.word == b"ENGINE" and following:
            engine = after if following.text == b"=" else following
            if engine and engine.name in _FILE_ENGINES:
                raise _file_refusal(f"ENGINE = {engine.text.decode()}")
        if token.name in _URL_FUNCTIONS and after and re.match(rb"'\s*file:", after.text, re.IGNORECASE):
            raise _file_refusal("a file: address")


def _refuse_several(tokens: Sequence[_Token]) -> None:
    for number, token in enumerate(tokens, 1):
        if token.text == b";":
            raise QueryError(
                62,
                "SYNTAX_ERROR",
                f"Syntax error (Multi-statements are not allowed): failed at position {token.start + 1} "
                f"(end of query) (token {number}): ;. ",
            )


def _file_refusal(what: str) -> QueryError:
    return QueryError(
        497,
        "ACCESS_DENIED",
        f"Not enough privileges: {what} would reach files of the machine the gateway runs on. Send the data in the "
        "request's body, or take it from the answer",
    )


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        if kind == "space":
            continue
        if match["heredoc"] is not None:
            kind = "heredoc"
        token = match[0]
        if kind == "mark" and token in _CLOSE:
            depth = max(0, depth - 1)
        yield _Token(kind, token, match.start(), match.end(), depth)
        if kind == "mark" and token in _OPEN:
            depth += 1


def _first_word(text: bytes) -> bytes:
    return next((token.word for token in _tokens(text[:HEAD_MAX_BYTES])), b"")


def _insert(text: bytes) -> Statement | None:
    """The INSERT with data in ``text``; None where its rows come from a query."""
    tokens: list[_Token] = []
    target = 0
    stream = _tokens(text[:HEAD_MAX_BYTES])
    for token in stream:
        if token.depth == 0 and token.word == b"INTO" and tokens and tokens[-1].word == b"INSERT" and not target:
            target = len(tokens) + 1
        named = len(tokens) > target and tokens[-1].word != b"TABLE" and tokens[-1].text != b"."
        if token.depth == 0 and tokens and named:
            if token.word in (b"SELECT", b"WATCH") or (token.word == b"WITH" and target):
                return None
            if token.word == b"VALUES" and target:
                return _insert_data(text, tokens, "Values", token.end)
            if token.word == b"FORMAT" and target:
                name = next(stream, None)
                if name is not None and name.kind == "word":
                    return _insert_data(text, tokens, name.text.decode(), name.end)
                return None
        tokens.append(token)
    return None


def _insert_data(text: bytes, tokens: list[_Token], format_name: str, end: int) -> Statement:
    refuse_files(tokens)
    blank = re.compile(rb"[ \t\f]*\r?\n?").match(text, end)
    offset = blank.end() if blank else end
    settings = [token.start for token in tokens if token.depth == 0 and token.word == b"SETTINGS"]
    end = tokens[-1].end
    return Statement(Kind.INSERT, text[:end], format_name, offset, settings[-1] if settings else end)


def _plain(text: bytes, tokens: list[_Token]) -> Statement:
    outer = [token for token in tokens if token.depth == 0]
    first, words = tokens[0].text.upper(), {token.word for token in outer}
    inserts = any(pair[0].word == b"INSERT" and pair[1].word == b"INTO" for pair in itertools.pairwise(outer))
    answers = first in _ANSWERING and not inserts
    format_token, named = _trailing_format(outer) if answers else (None, None)
    kind = Kind.SELECT if first in _STREAMED else Kind.ANSWER
    return Statement(
        kind if answers else Kind.COMMAND,
        text,
        named,
        file_offset=format_token.start if format_token else len(text),
        has_totals=any(token.word == b"TOTALS" for token in tokens),
        is_use=first == b"USE",
        makes_state=first in _SESSION_WORDS or b"TEMPORARY" in words,
    )


def _trailing_format(outer: list[_Token]) -> tuple[_Token | None, str | None]:
    """The last FORMAT of a query that ends in ``FORMAT name``, or has only SETTINGS after it."""
    for token, name, after in reversed(list(zip(outer, outer[1:], [*outer[2:], None], strict=False))):
        if token.word == b"FORMAT" and name.kind == "word" and (after is None or after.word == b"SETTINGS"):
            return token, name.text.decode()
    return None, None
