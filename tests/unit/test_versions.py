"""Versions: their text reads back, and they compare as the ledger's keys do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.errors import ContractError
from nervous_system.ledger import keys
from nervous_system.ledger.versions import MAX_INCARNATION, STAMP_BYTES, Version

versions = st.builds(Version, st.integers(1, MAX_INCARNATION), st.binary(min_size=STAMP_BYTES, max_size=STAMP_BYTES))


@given(versions)
def test_a_version_reads_back(version: Version) -> None:
    assert Version.parse(str(version)) == version
    assert keys.version_at_end(b"before" + keys.encode_version(version)) == version


@given(versions, versions)
def test_versions_compare_as_their_keys(one: Version, other: Version) -> None:
    assert (one < other) == (keys.encode_version(one) < keys.encode_version(other))


@given(versions, st.integers(0, 40), st.sampled_from("gA -٣"))
def test_what_is_no_version_is_refused(version: Version, at: int, wrong: str) -> None:
    text = str(version)
    for broken in (text[:at] + wrong + text[at:], text + "0", text[:-1], text.upper() if text.upper() != text else ""):
        with pytest.raises(ContractError, match="is not a version"):
            Version.parse(broken)


def test_an_incarnation_fits_its_byte() -> None:
    with pytest.raises(ContractError, match="is not a version"):
        Version.parse(f"{MAX_INCARNATION + 1}-{'0' * 20}-0000")
