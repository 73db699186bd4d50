"""Reading messages: what may be landed, what is refused, and that every message counts."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestors.reading import LogMessage, read
from nervous_system import subjects
from nervous_system.events import BATCH_LIMIT_EVENTS, MESSAGE_LIMIT_BYTES, encode_batch
from nervous_system.projects import ProjectName
from tests.samples import PROJECT, event

SUBJECT = subjects.stored(PROJECT, subjects.EVENTS, 3)
BLOBS = subjects.stored(PROJECT, subjects.BLOBS, 3)


def logged(data: bytes, subject: str = SUBJECT, **headers: str) -> LogMessage:
    return LogMessage(subject, 7, 1_000, {name.replace("_", "-"): value for name, value in headers.items()}, data)


def test_sound_events_are_landed_verbatim_and_others_refused_by_place() -> None:
    data = [
        event(1).SerializeToString(),
        b"\xff",
        event(2).SerializeToString(),
        event(3, ProjectName("b", "c")).SerializeToString(),
    ]
    message, refusals = read(logged(encode_batch(data)), 0)
    assert [(landed.data, landed.index) for landed in message.events] == [(data[0], 0), (data[2], 2)]
    assert message.events[1].event == event(2)
    assert (message.sequence, message.project, message.part) == (7, PROJECT, None)
    assert message.size_bytes == len(encode_batch(data))
    assert [(each.code, each.data, each.sequence, each.index) for each in refusals] == [
        ("undecodable", data[1], 7, 1),
        ("wrong_project", data[3], 7, 3),
    ]


@given(st.integers(0, 5_000))
def test_recorded_time_never_falls(before_us: int) -> None:
    for data in (encode_batch([event(1).SerializeToString()]), b"junk"):
        message, _ = read(logged(data), before_us)
        assert message.recorded_us == max(before_us, 1_000)


def test_a_part_must_have_the_hash_it_names() -> None:
    digest = hashlib.sha256(b"part").hexdigest()
    message, refusals = read(logged(b"part", BLOBS, Enchanted_Part_Hash=digest), 0)
    assert (message.part, message.events, message.project, refusals) == (b"part", (), PROJECT, [])
    for headers in ({}, {"Enchanted_Part_Hash": "0" * 64}, {"Enchanted_Part_Hash": digest.upper()}):
        message, refusals = read(logged(b"part", BLOBS, **headers), 0)
        assert (message.part, message.project) == (None, None)
        assert [(each.code, each.data, each.index) for each in refusals] == [("bad_hash", b"part", -1)]


@pytest.mark.parametrize(
    ("data", "subject", "code"),
    [
        (b"\xff", SUBJECT, "undecodable"),
        (b"", SUBJECT, "undecodable"),
        (encode_batch([event(1).SerializeToString()]), "swarm.x.acme.shop.events", "undecodable"),
        (encode_batch([event(1).SerializeToString()]), "swarm.3.acme.shop.other", "unknown_kind"),
        (encode_batch([b""] * (BATCH_LIMIT_EVENTS + 1)), SUBJECT, "too_many_events"),
        (encode_batch([bytes(MESSAGE_LIMIT_BYTES)]), SUBJECT, "too_large"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_whole_and_still_counts(data: bytes, subject: str, code: str) -> None:
    message, refusals = read(logged(data, subject), 0)
    assert (message.sequence, message.project, message.events, message.part) == (7, None, (), None)
    assert [(each.code, each.data, each.sequence, each.index) for each in refusals] == [(code, data, 7, -1)]


def test_a_full_batch_is_landed() -> None:
    data = [event(number).SerializeToString() for number in range(BATCH_LIMIT_EVENTS)]
    message, refusals = read(logged(encode_batch(data)), 0)
    assert len(message.events) == BATCH_LIMIT_EVENTS
    assert not refusals


@given(st.binary(max_size=200), st.sampled_from([SUBJECT, BLOBS, "x"]))
def test_no_bytes_stop_a_reader(data: bytes, subject: str) -> None:
    message, refusals = read(logged(data, subject), 0)
    assert message.sequence == 7
    assert refusals or message.events or message.part is not None
