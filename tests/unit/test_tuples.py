"""Tuple keys: what FoundationDB packs, round trips, and order."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.ledger.tuples import (
    Element,
    Single,
    Tuple,
    Versionstamp,
    pack,
    pack_with_versionstamp,
    range_of,
    unpack,
)

GOLDEN = Path(__file__).parents[3] / "shared" / "fdb_golden" / "tuples.jsonl"

stamps = st.builds(
    Versionstamp,
    st.binary(min_size=10, max_size=10).filter(lambda version: version != b"\xff" * 10),
    st.integers(0, 65535),
)
big_integers = st.integers(-(1 << 2040) + 1, (1 << 2040) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
doubles = st.floats(allow_nan=False)
singles = st.floats(width=32, allow_nan=False).map(Single)
leaves = st.one_of(
    st.none(),
    st.binary(max_size=20),
    texts,
    st.integers(),
    big_integers,
    doubles,
    singles,
    st.booleans(),
    st.uuids(),
    stamps,
)
elements = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)
tuples = st.lists(elements, max_size=6).map(tuple)
# Tuples that Python itself can compare: the same type in each place.
comparable = st.tuples(st.integers(), texts.map(str.encode), doubles.filter(bool), st.booleans(), stamps)


def element_of(value: dict[str, Any]) -> Element:  # noqa: PLR0911 - one answer a type
    match value:
        case {"null": _}:
            return None
        case {"bytes": text}:
            return bytes.fromhex(text)
        case {"str": text}:
            return str(text)
        case {"int": text}:
            return int(text)
        case {"bool": flag}:
            return bool(flag)
        case {"double": text}:
            return float(struct.unpack(">d", bytes.fromhex(text))[0])
        case {"uuid": text}:
            return UUID(hex=text)
        case {"tuple": inner}:
            return tuple_of(inner)
        case {"versionstamp": text, "user_version": user_version}:
            return Versionstamp(None if text is None else bytes.fromhex(text)[:10], user_version)
    raise AssertionError(f"unknown element {value}")


def tuple_of(values: list[dict[str, Any]]) -> Tuple:
    return tuple(element_of(value) for value in values)


def golden_lines() -> list[dict[str, Any]]:
    if not GOLDEN.exists():
        pytest.skip(f"the recorded answers of FoundationDB are not at {GOLDEN}")
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def test_packs_what_foundationdb_packs() -> None:
    lines = golden_lines()
    assert len(lines) > 400
    for line in lines:
        value = tuple_of(line["tuple"])
        if "packed" in line:
            assert pack(value).hex() == line["packed"]
            assert pack(unpack(bytes.fromhex(line["packed"]))).hex() == line["packed"]
        else:
            prefix = bytes.fromhex(line["prefix"])
            assert pack_with_versionstamp(value, prefix).hex() == line["packed_with_versionstamp"]


@given(tuples, st.binary(max_size=5))
def test_unpacks_what_it_packed(value: Tuple, prefix: bytes) -> None:
    assert unpack(pack(value, prefix), prefix) == value


@given(comparable, comparable)
def test_keys_sort_as_tuples(one: Any, other: Any) -> None:
    assert (pack(one) < pack(other)) == (one < other)


@given(big_integers, big_integers)
def test_integers_sort(one: int, other: int) -> None:
    assert (pack((one,)) < pack((other,))) == (one < other)


@given(tuples, tuples)
def test_nested_tuples_sort_as_they_do_alone(one: Tuple, other: Tuple) -> None:
    assert (pack((one,)) < pack((other,))) == (pack(one) < pack(other))


@given(tuples, elements)
def test_a_range_holds_longer_tuples_only(value: Tuple, element: Element) -> None:
    begin, end = range_of(value, b"p")
    assert begin <= pack((*value, element), b"p") < end
    assert not begin <= pack(value, b"p") < end


@given(st.binary(max_size=30))
def test_any_bytes_are_a_tuple_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):  # any other error fails the test
        unpack(data)


def test_an_incomplete_versionstamp_needs_its_own_call() -> None:
    with pytest.raises(ValueError, match="pack_with_versionstamp"):
        pack((Versionstamp(None),))
    with pytest.raises(ValueError, match="there are 0"):
        pack_with_versionstamp((1,))
    with pytest.raises(ValueError, match="there are 2"):
        pack_with_versionstamp((Versionstamp(None), (Versionstamp(None, 1),)))


@pytest.mark.parametrize("element", [1 << 2040, object(), [1]])
def test_refuses_what_a_key_cannot_hold(element: Any) -> None:
    with pytest.raises(ValueError, match="key"):
        pack((element,))


def test_refuses_a_versionstamp_of_another_size() -> None:
    with pytest.raises(ValueError, match="10 bytes"):
        Versionstamp(b"short")
    with pytest.raises(ValueError, match="65,535"):
        Versionstamp(None, 65536)
