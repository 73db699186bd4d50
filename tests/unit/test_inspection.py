"""Which events may be kept: what is sound passes, and each breach is refused under its own name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.contract import SYMLINK_MODE, AgentDecision, Operation, StateChange, SwarmEvent
from nervous_system.errors import ContractError
from nervous_system.events import content_hash, cut_batch, decode, encode_batch
from nervous_system.inspection import (
    FIRST_SECOND,
    LAST_SECOND,
    RESOURCE_LIMIT_BYTES,
    EventRefusedError,
    Inspector,
    inspect,
)
from nervous_system.projects import ProjectName
from nervous_system.wire import canonical_events, check_form
from tests.samples import PROJECT, delete, event, patch, write

HASH = content_hash(b"x")


def changed(**fields: object) -> SwarmEvent:
    """A sound writing event with these fields of the change set otherwise."""
    made = event(1, state_change=write("a/b", b"x"))
    made.state_change.MergeFrom(StateChange(**fields))  # type: ignore[arg-type]
    return made


def without_content(**fields: object) -> SwarmEvent:
    made = changed(**fields)
    made.state_change.ClearField("content")
    return made


def moded(resource: str, mode: int, content: bytes = b"x") -> StateChange:
    made = write(resource, content)
    made.mode = mode
    return made


def link(resource: str, target: bytes) -> StateChange:
    return moded(resource, SYMLINK_MODE, target)


def known(data: bytes) -> SwarmEvent:
    """The event without the fields that this version does not know."""
    made = decode(data)
    made.DiscardUnknownFields()
    return made


def edited(edit: Callable[[SwarmEvent], object]) -> SwarmEvent:
    made = event(1)
    edit(made)
    return made


SOUND = {
    "checkpoint": event(1),
    "whole": changed(),
    "empty": event(1, state_change=write("a", b"")),
    "diff": event(1, state_change=patch("a", b"x", b"y", "@@ -1 +1 @@\n-x\n+y\n")),
    "delete": event(1, state_change=delete("a")),
    "mode only": without_content(previous_state_hash=HASH),
    "parts": without_content(blob_hash=HASH, blob_parts=[bytes(32)] * 2),
    "link": event(1, state_change=link("a/b", b"../c")),
    "rename": changed(renamed_from="a/c", operation=Operation.OPERATION_RENAME),
    "first second": edited(lambda e: setattr(e.timestamp, "seconds", FIRST_SECOND)),
    "last second": edited(lambda e: setattr(e.timestamp, "seconds", LAST_SECOND)),
    "longest path": changed(target_resource="/".join([r"\xff" * 63] * 32)[:RESOURCE_LIMIT_BYTES]),
}

REFUSED = {
    "bad_id": [
        edited(lambda e: setattr(e, "event_id", "")),
        edited(lambda e: setattr(e, "event_id", e.event_id.upper())),
        edited(lambda e: setattr(e, "event_id", "{" + e.event_id + "}")),
        edited(lambda e: setattr(e, "event_id", e.event_id.replace("-", ""))),
    ],
    "bad_time": [
        edited(lambda e: setattr(e.timestamp, "seconds", LAST_SECOND + 1)),
        edited(lambda e: setattr(e.timestamp, "seconds", FIRST_SECOND - 1)),
        edited(lambda e: setattr(e.timestamp, "seconds", -(2**63))),
        edited(lambda e: setattr(e.timestamp, "nanos", 1_000_000_000)),
        edited(lambda e: setattr(e.timestamp, "nanos", -1)),
    ],
    "wrong_project": [
        edited(lambda e: setattr(e, "tenant_id", "other")),
        edited(lambda e: setattr(e, "project_id", "")),
    ],
    "unknown_payload": [edited(lambda e: e.ClearField("checkpoint"))],
    "bad_path": [
        changed(target_resource="../etc/passwd"),
        changed(renamed_from=".git/config"),
        changed(target_resource="/".join([r"\xff" * 63] * 33)),
        event(1, state_change=link("a/b", b"../../etc/passwd")),
        event(1, state_change=link("a/b", b"/etc/passwd")),
    ],
    "bad_mode": [changed(mode=0o100666), event(1, state_change=moded("a", 0)), changed(mode=0o40000)],
    "unknown_operation": [changed(operation=5), changed(operation=300), changed(operation=-1)],
    "bad_hash": [
        changed(new_state_hash="0" * 64),
        changed(previous_state_hash="x"),
        changed(previous_state_hash=HASH.upper()),
        changed(operation=Operation.OPERATION_DELETE),
        event(1, state_change=StateChange(target_resource="a", operation=Operation.OPERATION_MODIFY)),
        without_content(),
        without_content(diff_patch="@@ -0,0 +1 @@\n+x\n"),
        without_content(blob_hash=HASH),
        without_content(blob_hash=HASH, blob_parts=[b"short"]),
        without_content(blob_hash="0" * 64, blob_parts=[bytes(32)]),
    ],
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_passes(name: str) -> None:
    assert inspect(SOUND[name].SerializeToString(), PROJECT) == SOUND[name]


@pytest.mark.parametrize(("code", "breach"), [(code, each) for code, breaches in REFUSED.items() for each in breaches])
def test_each_breach_is_refused_by_name(code: str, breach: SwarmEvent) -> None:
    with pytest.raises(EventRefusedError) as refusal:
        inspect(breach.SerializeToString(), PROJECT)
    assert refusal.value.code == code
    assert str(refusal.value)


def test_bytes_that_are_no_event_and_another_subject() -> None:
    with pytest.raises(EventRefusedError) as refusal:
        inspect(b"\xff", PROJECT)
    assert refusal.value.code == "undecodable"
    with pytest.raises(EventRefusedError, match="came on the subject of acme/other"):
        inspect(event(1).SerializeToString(), ProjectName("acme", "other"))


@given(st.binary(max_size=60), st.integers(0, 200))
def test_no_bytes_bring_anything_but_a_refusal(junk: bytes, at: int) -> None:
    sound = changed().SerializeToString()
    for data in (junk, sound[:at] + junk + sound[at:]):
        try:
            kept = inspect(data, PROJECT)
        except EventRefusedError:
            continue
        assert kept == known(data)


# The wire form. Each of these decodes to a sound event, and other readers read it otherwise, or not at all.


def varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded, value = encoded + bytes((value & 0x7F | 0x80,)), value >> 7
    return encoded + bytes((value,))


def text_field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


DATA = event(1, decision=AgentDecision(rationale="because")).SerializeToString()
PAYLOAD = SwarmEvent.DESCRIPTOR.fields_by_name["decision"].number
HEADER = edited(lambda e: e.ClearField("checkpoint")).SerializeToString()
DECEITS = {
    "another tenant before the right one": text_field(20, b"victim") + DATA,
    "the right tenant twice": text_field(20, b"acme") + DATA,
    "a payload twice": text_field(PAYLOAD, b"") + DATA,
    "two payloads": text_field(11, b"") + DATA,
    "a text as a number": number_field(20, 5) + DATA,
    "a number as a text": text_field(27, b"zz") + DATA,
    "a payload as a number": number_field(10, 5) + DATA,
    "a number as fixed": varint(27 << 3 | 1) + bytes(8) + DATA,
    "a truth that is two": number_field(22, 2) + DATA,
    "an enum beyond 32 bits": number_field(5, 2**40 + 2) + DATA,
    "a negative enum in 32 bits": number_field(5, 2**32 - 1) + DATA,
    "a map's entry with a third field": HEADER
    + text_field(PAYLOAD, text_field(7, text_field(1, b"k") + text_field(3, b"v"))),
    "an unknown group": varint(500 << 3 | 3) + varint(500 << 3 | 4) + DATA,
    "a known field as a group": varint(20 << 3 | 3) + varint(20 << 3 | 4) + DATA,
    "within the payload": event(1)
    .SerializeToString()
    .replace(b"\x0a\x02c1", b"\x0a\x02c1\x12\x01a\x12\x01b")
    .replace(b"\x7a\x04", b"\x7a\x0a"),
    **{
        f"a field of the store, {number}": text_field(number, b"forged") + DATA for number in (1000, *range(1001, 1008))
    },
    **{f"a number of the store, {number}": DATA + number_field(number, 7) for number in range(1001, 1008)},
}


@pytest.mark.parametrize("name", DECEITS)
def test_what_can_be_read_in_two_ways_is_refused(name: str) -> None:
    assert decode(DECEITS[name]).event_id == event(1).event_id
    with pytest.raises(EventRefusedError) as refusal:
        inspect(DECEITS[name], PROJECT)
    assert refusal.value.code == "bad_form"


def test_other_writers_and_newer_fields_are_welcome() -> None:
    """Another order, defaults written out, maps in any order, numbers longer than need be, fields yet to come."""
    made = event(
        1, decision=AgentDecision(attributes={str(number): "x" for number in range(9)}, rejected_alternatives=["", ""])
    )
    data = made.SerializeToString()
    head, tail = data[:38], data[38:]
    assert head == text_field(1, made.event_id.encode())
    for other in (
        tail + head,
        text_field(25, b"") + data + number_field(22, 0),
        data + varint(27 << 3) + b"\x81\x80\x00",
        data
        + text_field(999, b"new")
        + number_field(29, 1)
        + varint(40 << 3 | 1)
        + bytes(8)
        + varint(41 << 3 | 5)
        + bytes(4),
    ):
        assert inspect(other, PROJECT) == known(other)


@given(st.permutations(range(6)), st.integers(0, 5), st.booleans())
def test_fields_come_once_in_any_order(order: list[int], again: int, is_doubled: bool) -> None:
    fields = [text_field(1, event(1).event_id.encode()), text_field(20, b"acme"), text_field(23, b"shop")]
    fields += [number_field(27, 4), text_field(10, text_field(3, b"r")), text_field(2, number_field(1, 1))]
    data = b"".join(fields[place] for place in order) + (fields[again] if is_doubled else b"")
    if is_doubled:
        with pytest.raises(ContractError, match="comes twice"):
            check_form(data, decode(data))
    else:
        check_form(data, decode(data))


def mutated(data: bytes, cut: int, extra: bytes) -> bytes:
    """The bytes with something put in, or taken out, at a place."""
    at = cut % (len(data) + 1)
    return data[:at] + extra + data[at + (0 if extra else 1) :]


@st.composite
def any_event(draw: st.DrawFn) -> bytes:
    """The bytes of an event: sound, breaking a rule, deceiving, of another writer, or damaged somewhere."""
    breaches = [each for group in REFUSED.values() for each in group]
    data = draw(st.sampled_from([each.SerializeToString(deterministic=True) for each in (*SOUND.values(), *breaches)]))
    match draw(st.integers(0, 4)):
        case 0:
            return draw(st.sampled_from(list(DECEITS.values())))
        case 1:
            return mutated(data, draw(st.integers(0, 2**16)), draw(st.binary(max_size=3)))
        case 2:
            field = draw(st.sampled_from([text_field(25, b""), text_field(999, b"new"), number_field(27, 3)]))
            return data + field
    return data


def verdict(inspection: Callable[[], SwarmEvent]) -> tuple[str, str, SwarmEvent | None]:
    try:
        return "", "", inspection()
    except EventRefusedError as error:
        return error.code, str(error), None


@given(st.lists(any_event(), min_size=1, max_size=4), st.binary(max_size=3), st.integers(0, 2**16))
def test_a_message_at_once_is_judged_as_its_events_alone(events: list[bytes], junk: bytes, at: int) -> None:
    whole = encode_batch(events)
    for data in (whole, mutated(whole, at, junk)):
        try:
            cut = cut_batch(data)
        except ContractError:
            continue
        inspector = Inspector(data, cut, PROJECT)
        for index, each in enumerate(cut):
            alone = verdict(partial(inspect, each, PROJECT))
            assert verdict(partial(inspector.inspect, index)) == alone


def test_a_canonical_message_is_decoded_at_once() -> None:
    """Else the test above would compare one way with itself."""
    data = [each.SerializeToString(deterministic=True) for each in SOUND.values()]
    assert canonical_events(encode_batch(data)) == list(SOUND.values())
    assert canonical_events(encode_batch([*data, data[0] + text_field(999, b"new")])) is None
    assert canonical_events(encode_batch([*data, b"\xff"])) is None
