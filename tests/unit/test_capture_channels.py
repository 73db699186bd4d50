"""What agents may say: the schema that is published, what is read of it, and where messages begin and end."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.capture.channels import lines, messages
from nervous_system.capture.channels.framing import MAX_MESSAGE_BYTES, Flaw, Form, Framing
from nervous_system.capture.channels.lines import KINDS, LineError, Said
from nervous_system.contract import (
    AgentDecision,
    AgentMessage,
    Checkpoint,
    MessageKind,
    StateChange,
    SwarmEvent,
    SystemSignal,
    ToolCall,
)

PUBLISHED = Path(__file__).parents[2] / "docs" / "capture-line.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(lines.schema())
texts = st.sampled_from(["", "x", "INFORMATION", "BUSY", "ab" * 8, "ab" * 16, "AB" * 16, "né"])
numbers = st.sampled_from([0, 1, -1, 0.5, 1.0, 2.5, 2**31, 2**64, 2**70, True])
values = st.one_of(
    texts,
    numbers,
    st.none(),
    st.lists(texts | numbers, max_size=2),
    st.dictionaries(texts, texts | numbers, max_size=2),
)
fields = sorted({name for kind in KINDS.values() for name in kind} | {"type", "odd"})


@st.composite
def said(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from([*KINDS, "other"]))
    known = KINDS.get(kind, {})
    line = {name: draw(values) for name in draw(st.sets(st.sampled_from(fields), max_size=4))}
    # Most lines are nearly right.
    for name, field in known.items():
        if field.is_required and draw(st.integers(0, 9)):
            line[name] = draw(texts)
    if draw(st.integers(0, 9)):
        line = {name: each for name, each in line.items() if name in known}
    return {**line, "type": kind}


@given(said() | values)
def test_what_the_schema_allows_is_what_is_read(line: Any) -> None:
    try:
        lines.parse(json.dumps(line).encode())
        read = True
    except LineError:
        read = False
    assert read == VALIDATOR.is_valid(line)


def test_the_published_schema_is_this_one() -> None:
    jsonschema.Draft202012Validator.check_schema(lines.schema())
    assert json.loads(PUBLISHED.read_text()) == lines.schema()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"type": "decision"}', "'rationale' is missing"),
        (b'{"type": "decision", "rationale": "x", "why": 1}', "a field 'why'"),
        (b'{"type": "shout"}', "'shout' is not one of decision, message"),
        (b'{"type": "decision", "rationale": "x", "confidence": NaN}', "NaN is no number"),
        (b'{"type": "message", "content": "x", "kind": "GOSSIP"}', "not one of NEGOTIATION"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_told_by_its_flaw(line: bytes, reason: str) -> None:
    with pytest.raises(LineError, match=reason):
        lines.parse(line)


def test_a_protobuf_message_says_the_same_as_its_line() -> None:
    event = SwarmEvent(
        decision=AgentDecision(rationale="why", confidence_score=0.5), causation_id="c", span_id="ab" * 8
    )
    found = messages.parse(event.SerializeToString())
    assert found.kind == "decision"
    assert {"rationale": "why", "confidence": 0.5, "causation_id": "c", "span_id": "ab" * 8}.items() <= (
        found.arguments.items()
    )
    payloads: dict[str, SwarmEvent] = {
        "message": SwarmEvent(message=AgentMessage(content="x", kind=MessageKind.MESSAGE_KIND_WARNING)),
        "tool_call": SwarmEvent(tool_call=ToolCall(name="x")),
        "signal": SwarmEvent(system_signal=SystemSignal()),
        "checkpoint": SwarmEvent(checkpoint=Checkpoint(name="x")),
        "file_changed": SwarmEvent(state_change=StateChange(target_resource="x")),
    }
    for kind, event in payloads.items():
        heard = messages.parse(event.SerializeToString())
        assert heard.kind == kind
        assert heard.arguments.keys() <= KINDS[kind].keys()
    for wrong in (b"\xff", SwarmEvent().SerializeToString()):
        with pytest.raises(LineError):
            messages.parse(wrong)


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def fed(pieces: list[bytes], form: Form | None = None) -> list[bytes | Flaw]:
    framing = Framing(form)
    found = [each for piece in pieces for each in framing.feed(piece)]
    return [*found, *framing.end()]


@given(st.lists(texts, min_size=1, max_size=5), st.lists(st.integers(0, 999)), st.booleans())
def test_lines_come_whole_however_they_are_cut(said: list[str], cuts: list[int], is_ended: bool) -> None:
    written = [json.dumps({"type": text}).encode() for text in said]
    data = b"\n".join(written) + (b"\n" if is_ended else b"")
    assert fed(in_pieces(data, cuts)) == written


@given(st.lists(st.integers(0, 300), min_size=1, max_size=5), st.lists(st.integers(0, 999)))
def test_messages_come_whole_however_they_are_cut(sizes: list[int], cuts: list[int]) -> None:
    events = [SwarmEvent(event_id="i" * size, message=AgentMessage(content="x")).SerializeToString() for size in sizes]
    # An empty message is passed over.
    data = b"".join(varint(len(event)) + event + b"\0" for event in events)
    assert fed(in_pieces(data, cuts)) == events


def test_what_is_too_long_is_told_and_does_no_harm() -> None:
    long = b'{"x": "' + b"a" * (MAX_MESSAGE_BYTES + 1) + b'"}'
    found = fed([long[:900_000], long[900_000:], b'\n{"type": "signal"}\n', long])
    assert [type(each) for each in found] == [Flaw, bytes, Flaw]
    found = fed([varint(MAX_MESSAGE_BYTES + 1), b"x" * 100])
    assert [type(each) for each in found] == [Flaw]
    assert [type(each) for each in fed([b"\xff" * 20])] == [Flaw]
    assert [type(each) for each in fed([varint(50), b"cut off"])] == [Flaw]
    # A line feed alone is nothing; on the pipe, what begins like no line is a line nevertheless.
    assert fed([b"\n \n"], Form.LINES) == []
    assert fed([b"oops\n"], Form.LINES) == [b"oops"]


def test_an_object_for_arguments_is_kept_as_its_text() -> None:
    line = b'{"type": "tool_call", "name": "grep", "arguments": {"pattern": "\xc3\xa9"}, "id": "7"}'
    assert lines.parse(line) == Said("tool_call", {"name": "grep", "arguments": '{"pattern": "é"}'}, "7")
