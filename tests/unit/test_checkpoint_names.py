"""A checkpoint's name never means another moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.checkpoint_names import check_checkpoint_name
from nervous_system.errors import ContractError
from nervous_system.events import MAX_INDEXED_NAME_BYTES
from nervous_system.ledger.versions import Version
from replay.moments import MomentError, parse_time
from tests.samples import event_id

REFUSED = [
    "",
    " x",
    "x ",
    "a:b",
    "commit:abcd",
    "now",
    "HEAD",
    "latest",
    "2026-11-21",
    "20261121",
    "2026-11-21T15",
    "2026-11-21T15Z",
    "2 hours ago",
    "1 WEEK  AGO",
    event_id(1),
    event_id(1).upper(),
    str(Version(1, bytes(12))),
    "a\nb",
    "a\x1b[0m",
    "é" * (MAX_INDEXED_NAME_BYTES // 2 + 1),
]
GOOD = ["release 1", "1.2.0", "2026", "2026-11-21 release", "nowhere", "version 2", "hours ago", "naïve", "x" * 256]

time_like = st.from_regex(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}.{0,4}|[0-9]{1,12} {1,2}[a-z]{3,6}s? {1,2}ago", fullmatch=True)
times = st.datetimes().map(lambda moment: moment.isoformat(timespec="hours"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_mean_something_else_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="checkpoint"):
        check_checkpoint_name(name)


@pytest.mark.parametrize("name", GOOD)
def test_other_names_are_taken(name: str) -> None:
    check_checkpoint_name(name)
    assert parse_time(name) is None


@given(st.text(max_size=30) | time_like | times)
def test_no_name_that_is_taken_is_a_time(name: str) -> None:
    try:
        check_checkpoint_name(name)
    except ContractError:
        return
    try:
        assert parse_time(name) is None
    except MomentError:
        raise AssertionError(f"{name!r} was taken for a time") from None
