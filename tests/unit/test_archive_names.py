"""Names in the archive: what is written reads back, in one spelling only."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system import archive
from nervous_system.archive import EventsObject
from nervous_system.streams import StreamIdentity

streams = st.builds(StreamIdentity, st.from_regex(r"[A-Za-z0-9_@-]{1,20}", fullmatch=True), st.integers(0, 1 << 60))
sequences = st.integers(0, (1 << 64) - 1)
objects = st.builds(EventsObject, st.dates(), st.integers(0, 5000), streams, sequences, sequences)


@given(objects)
def test_an_object_reads_back(found: EventsObject) -> None:
    assert EventsObject.parse(found.key) == found
    assert found.key.startswith(archive.partition_folder(found.day, found.partition))
    assert archive.parse_day_folder(archive.day_folder(found.day)) == found.day


@given(streams, st.dates(), st.tuples(sequences, sequences))
def test_names_sort_as_sequences(stream: StreamIdentity, day: date, firsts: tuple[int, int]) -> None:
    one, other = (EventsObject(day, 3, stream, first, first).key for first in firsts)
    assert (one < other) == (firsts[0] < firsts[1])


SPAN = f"{1:020d}-{2:020d}"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "blobs/v1/acme/00",
        f"events/v1/date=2026-02-30/partition=003/SWARM@1.{SPAN}.parquet",
        f"events/v1/date=2026-02-03/partition=003/SWARM.{SPAN}.parquet",
        f"events/v1/date=2026-02-03/partition=003/SWARM@x.{SPAN}.parquet",
        f"events/v1/date=2026-02-03/partition=3/SWARM@1.{SPAN}.parquet",
        f"events/v1/date=2026-02-03/partition=0003/SWARM@1.{SPAN}.parquet",
        f"events/v1/date=2026-02-03/partition=٠٠٣/SWARM@1.{SPAN}.parquet",
        f"events/v1/date=2026-02-03/partition=003/SWARM@01.{SPAN}.parquet",
        f"events/v1/date=2026-02-03/partition=003/x/SWARM@1.{SPAN}.parquet",
        f"events/v1/date=2026-02-03/partition=003/SWARM@1.{SPAN}.parquet.tmp",
        "events/v1/date=2026-02-03/partition=003/SWARM@1.1-2.parquet",
    ],
)
def test_another_name_is_none_of_ours(key: str) -> None:
    assert EventsObject.parse(key) is None


@pytest.mark.parametrize("prefix", ["", "events/v1/", "events/v1/date=2026-02-30/", "events/v1/date=2026-2-3/"])
def test_another_folder_is_none_of_ours(prefix: str) -> None:
    assert archive.parse_day_folder(prefix) is None


def test_a_day_is_utcs_and_a_blob_its_tenants() -> None:
    assert archive.day_of(86_400_000_000 - 1) == date(1970, 1, 1)
    assert archive.day_of(86_400_000_000) == date(1970, 1, 2)
    assert archive.day_of(-1) == date(1969, 12, 31)
    assert archive.blob_key("acme", bytes(32)) == f"blobs/v1/acme/{'00' * 32}"
