"""The ledger's values: each form reads back, and events come out as they went in wherever their content stood."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.ledger import records
from nervous_system.ledger.cold import ContentStub, Position
from nervous_system.ledger.records import (
    CHUNK_BYTES,
    LIFT_FROM_BYTES,
    ContentForm,
    ContentSource,
    DamagedError,
    EventRecord,
    Head,
    IdRecord,
    PathChange,
)
from nervous_system.ledger.versions import MAX_INCARNATION, Version
from nervous_system.streams import StreamIdentity

signed = st.integers(-(2**63), 2**63 - 1)
stamps = st.binary(min_size=12, max_size=12)
incarnations = st.integers(1, MAX_INCARNATION)
digests = st.binary(min_size=32, max_size=32)
some_digest = digests.filter(any)


@given(incarnations, stamps, st.integers(0, 2**64 - 1), digests, signed, signed, st.sampled_from(ContentForm))
def test_what_the_commit_completes_reads_back(  # noqa: PLR0917 - hypothesis gives them by place
    incarnation: int, stamp: bytes, count: int, digest: bytes, first_us: int, last_us: int, form: ContentForm
) -> None:
    version = Version(incarnation, stamp)
    suffix = records.head_suffix(incarnation, count, digest, first_us, last_us)
    assert Head.decode(stamp + suffix) == Head(version, count, digest, first_us, last_us)
    assert IdRecord.decode(stamp + records.id_suffix(incarnation, digest, digest[::-1])) == IdRecord(
        version, digest, digest[::-1]
    )
    assert ContentSource.decode(stamp + records.content_suffix(form, incarnation)) == ContentSource(form, version)


@given(
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    signed,
    signed,
    some_digest | st.just(b""),
    some_digest | st.just(b""),
)
def test_path_changes_read_back(  # noqa: PLR0917 - hypothesis gives them by place
    op: int, mode: int, occurred: int, recorded: int, digest: bytes, previous: bytes
) -> None:
    change = PathChange(op, mode, occurred, recorded, digest, previous)
    assert PathChange.decode(change.encode()) == change


@given(st.integers(0, 2**64 - 1), signed)
def test_cursors_read_back(sequence: int, recorded_us: int) -> None:
    assert records.decode_cursor(records.encode_cursor(sequence, recorded_us)) == (sequence, recorded_us)


# Contents that overlap with themselves and with what stands around them.
contents = st.builds(
    lambda unit, extra: unit * (LIFT_FROM_BYTES // len(unit)) + extra,
    st.binary(min_size=1, max_size=3),
    st.binary(max_size=4),
)
around = st.lists(st.sampled_from([b"a", b"aa", b"\0", b"ab"]) | st.binary(max_size=3), max_size=200).map(b"".join)


@given(around, contents, around, signed, st.booleans())
def test_an_event_comes_back_byte_for_byte(
    before: bytes, content: bytes, after: bytes, recorded_us: int, twice: bool
) -> None:
    data = before + content + after + (content if twice else b"")
    digest = hashlib.sha256(content).digest()
    record = EventRecord.decode(EventRecord.cut(data, recorded_us, content, digest).encode())
    assert record.recorded_us == recorded_us
    if len(content) < LIFT_FROM_BYTES:
        assert (record.rest, record.digest) == (data, b"")
    else:
        assert record.digest == digest
        assert len(record.rest) == len(data) - len(content)
        assert record.whole(content) == data


def test_nothing_is_cut_out_that_could_not_be_found_again() -> None:
    content = b"x" * LIFT_FROM_BYTES
    for data, digest in ((b"a" + content, b""), (b"a" + content[1:], b"d" * 32), (b"a" + content[1:], b"")):
        assert EventRecord.decode(EventRecord.cut(data, 1, content, digest).encode()).rest == data


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x00" * 12, b"\x02" + b"\x00" * 40])
def test_a_damaged_event_is_called_so(value: bytes) -> None:
    with pytest.raises(DamagedError, match="damaged"):
        EventRecord.decode(value)


@given(st.binary(max_size=2000))
def test_contents_survive_compression(content: bytes) -> None:
    stored = records.compress(content)
    assert records.decompress(stored) == content
    assert len(stored) <= len(content) + 1
    assert len(records.compress(content * 50 + b"." * 100)) < 50 * len(content) + 100


def test_a_damaged_content_is_called_so() -> None:
    for broken in (b"", b"\x01", b"\x01garbage", records.compress(b"x" * 900)[:-3]):
        with pytest.raises(DamagedError, match="damaged"):
            records.decompress(broken)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_chunks_are_whole_and_within_their_limit(size: int) -> None:
    value = os.urandom(size)
    pieces = records.chunks(value)
    assert b"".join(pieces) == value
    assert len(pieces) == max(1, -(-size // CHUNK_BYTES))
    assert all(len(piece) == CHUNK_BYTES for piece in pieces[:-1])


positions = st.builds(
    Position,
    st.builds(StreamIdentity, st.text(min_size=1).filter(lambda name: "\0" not in name), st.integers(0, 2**63)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)


@given(positions, signed)
def test_stubs_of_events_read_back(position: Position, recorded_us: int) -> None:
    stub = EventRecord(recorded_us, b"", archived_at=position)
    assert EventRecord.decode(stub.encode()) == stub


@given(positions, st.sampled_from(["shop", "a"]), st.binary(max_size=600))
def test_stubs_of_contents_read_back_and_are_no_contents(position: Position, project: str, content: bytes) -> None:
    for stub in (ContentStub(project, position), ContentStub()):
        assert records.content_stub(stub.encode()) == stub
    assert records.content_stub(records.compress(content)) is None


@pytest.mark.parametrize(
    "value", [b"\x04" + bytes(16), b"\x04" + bytes(32) + b"\xff", b"\x04" + bytes(32) + b"no stream"]
)
def test_a_damaged_stub_is_called_so(value: bytes) -> None:
    with pytest.raises(DamagedError, match="damaged"):
        EventRecord.decode(value)
    with pytest.raises(DamagedError, match="damaged"):
        records.content_stub(b"\x02shop\0" + value[17:])


@given(st.sampled_from(ContentForm), incarnations, stamps)
def test_sources_of_contents_read_back(form: ContentForm, incarnation: int, stamp: bytes) -> None:
    source = ContentSource(form, Version(incarnation, stamp))
    assert ContentSource.decode(source.encode()) == source
    assert ContentSource.decode(source.cooled().encode()) == source.cooled() != source
