"""What the gateway reads from a query text before it runs one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.local.gateway.errors import QueryError, from_engine
from infrastructure.local.gateway.statements import Kind, read, with_output

KINDS = [
    (b"SELECT 1", Kind.SELECT, None),
    (b"SELECT a format, b FROM t FORMAT JSON;", Kind.SELECT, "JSON"),
    (b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1 -- end", Kind.SELECT, "JSON"),
    (b"SELECT '; FORMAT CSV', $$ FORMAT TSV $$ /* FORMAT XML */", Kind.SELECT, None),
    (b"/* one */ WITH 1 AS insert SELECT insert", Kind.SELECT, None),
    (b"WITH 1 AS x INSERT INTO t SELECT x", Kind.COMMAND, None),
    (b"(SELECT 1) UNION ALL (SELECT 2) FORMAT CSV", Kind.ANSWER, "CSV"),
    (b"SHOW TABLES", Kind.ANSWER, None),
    (b"CREATE TABLE t (a Int32) ENGINE = Memory", Kind.COMMAND, None),
    (b"INSERT INTO t SELECT 1", Kind.COMMAND, None),
]


@pytest.mark.parametrize(("text", "kind", "format_name"), KINDS)
def test_kinds_and_formats(text: bytes, kind: Kind, format_name: str | None) -> None:
    statement = read(text)
    assert (statement.kind, statement.format) == (kind, format_name)


INSERTS = [
    (b"INSERT INTO t (format, b) FORMAT Native\n", "Native", b"INSERT INTO t (format, b)"),
    (b"insert into t values ", "Values", b"insert into t"),
    (b"INSERT INTO db.format FORMAT CSV \r\n", "CSV", b"INSERT INTO db.format"),
    (b"INSERT INTO FUNCTION null('a Int32') VALUES ", "Values", b"INSERT INTO FUNCTION null('a Int32')"),
    (b"INSERT INTO t SETTINGS async_insert = 0 FORMAT TSV\n", "TSV", b"INSERT INTO t SETTINGS async_insert = 0"),
    (b"WITH 1 AS x INSERT INTO t FORMAT TSV\n", "TSV", b"WITH 1 AS x INSERT INTO t"),
]


@pytest.mark.parametrize(("head", "format_name", "text"), INSERTS)
@given(data=st.binary().map(lambda data: b"x" + data))
def test_whatever_follows_an_insert_is_its_data(head: bytes, format_name: str, text: bytes, data: bytes) -> None:
    statement = read(head + data)
    assert (statement.kind, statement.format, statement.text) == (Kind.INSERT, format_name, text)
    assert (head + data)[statement.data_offset :] == data


def test_the_output_clause_goes_before_the_format() -> None:
    text = with_output(read(b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1"), "/dev/fd/9")
    assert text == b"SELECT 1 \nINTO OUTFILE '/dev/fd/9' APPEND COMPRESSION 'none' FORMAT JSON SETTINGS max_threads = 1"


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 INTO /* x */ OUTFILE 'a'",
        b"INSERT INTO t FROM INFILE 'a' FORMAT CSV",
        b"SELECT * FROM `file`('/a')",
        b"INSERT INTO FUNCTION file('/a', 'CSV') VALUES (1)",
        b"CREATE TABLE f (a Int32) ENGINE File(CSV)",
        b"SELECT * FROM url('file:///a')",
        b"SELECT file('/a')",
    ],
)
def test_files_are_refused(text: bytes) -> None:
    with pytest.raises(QueryError, match="ACCESS_DENIED"):
        read(text)


@pytest.mark.parametrize(
    "text", [b"SELECT 'INTO OUTFILE'", b"SELECT file FROM t", b"SELECT 'file:///a' -- INTO OUTFILE"]
)
def test_words_about_files_are_not(text: bytes) -> None:
    assert read(text).kind is Kind.SELECT


@pytest.mark.parametrize("text", [b"", b" ; -- nothing", b"SELECT 1; SELECT 2"])
def test_no_statement_and_several_are_syntax_errors(text: bytes) -> None:
    with pytest.raises(QueryError, match="SYNTAX_ERROR"):
        read(text)


def test_the_engines_nested_messages_become_one() -> None:
    nested = (
        "Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format Nope. (UNKNOWN_FORMAT) (version 26.9.2.1). "
        "(UNKNOWN_FORMAT)"
    )
    error = from_engine(nested)
    assert (error.code, error.name, error.status) == (73, "UNKNOWN_FORMAT", 404)
    assert str(error) == "Code: 73. DB::Exception: Unknown format Nope. (UNKNOWN_FORMAT)"
