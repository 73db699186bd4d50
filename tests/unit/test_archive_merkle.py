"""Merkle trees against RFC 6962: its definition word by word, and known roots."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.archive import merkle

leaves = st.lists(st.binary(max_size=8), max_size=40)


def defined(data: list[bytes]) -> bytes:
    """MTH(D[n]) of RFC 6962, section 2.1."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    split = 1
    while split * 2 < len(data):
        split *= 2
    return hashlib.sha256(b"\x01" + defined(data[:split]) + defined(data[split:])).digest()


@given(leaves)
def test_a_root_is_the_one_defined(data: list[bytes]) -> None:
    assert merkle.root(data) == defined(data)


def test_known_roots_stay() -> None:
    # The test vectors of Certificate Transparency's own trees.
    data = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.root(data[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.root(data[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert merkle.root(data).hex() == "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"


@given(leaves.filter(bool), st.data())
def test_a_path_leads_to_the_root_and_nothing_else_does(data: list[bytes], draw: st.DataObject) -> None:
    index = draw.draw(st.integers(0, len(data) - 1))
    path = merkle.path(data, index)
    root = merkle.root(data)
    assert merkle.root_of_path(data[index], index, len(data), path) == root
    assert merkle.root_of_path(data[index] + b"x", index, len(data), path) != root
    assert merkle.root_of_path(data[index], index, len(data), [*path, bytes(32)]) is None
    if path:
        spoilt = draw.draw(st.integers(0, len(path) - 1))
        flipped = [bytes([node[0] ^ 1]) + node[1:] if at == spoilt else node for at, node in enumerate(path)]
        assert merkle.root_of_path(data[index], index, len(data), flipped) != root
        assert merkle.root_of_path(data[index], index, len(data), path[:-1]) is None


def test_there_is_no_path_from_a_leaf_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        merkle.path([b"a"], 1)
    assert merkle.root_of_path(b"a", 1, 1, []) is None
    assert merkle.root_of_path(b"a", 0, 0, []) is None
