"""Dead letters without servers: what a batch is without its refusals, one refusal found several times, bytes shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.cli.letters import hex_dump
from ingestors.buried import DeadLetter, chosen, merged
from nervous_system.errors import NotFoundError
from nervous_system.landing import Refusal
from tests.samples import STREAM, batch, event, message


def letter(number: int, sink: str = "ledger", code: str = "bad_id", subject: str = "") -> DeadLetter:
    return DeadLetter((number,), number, (sink,), code, "A reason.", STREAM, 7, 0, 1, subject)


@given(st.sets(st.tuples(st.integers(1, 4), st.integers(-1, 3))))
def test_a_batch_without_its_refusals_keeps_the_rest_and_every_message(refused: set[tuple[int, int]]) -> None:
    whole = batch(*(message(number, [event(10 * number + index) for index in range(3)]) for number in (1, 2, 3)))
    left = whole.without(Refusal("bad_id", "A reason.", b"", *place) for place in refused)
    assert left.cursor == whole.cursor
    assert [each.sequence for each in left.messages] == [1, 2, 3]
    kept = [(each.sequence, event.index, event.data) for each in left.messages for event in each.events]
    everything = [(each.sequence, event.index, event.data) for each in whole.messages for event in each.events]
    assert kept == [each for each in everything if each[:2] not in refused]


def test_one_refusal_is_one_letter_however_often_it_is_there() -> None:
    first, other, again = letter(3), letter(4, code="bad_form"), letter(9, "siphon", subject="swarm.0.a.b.events")
    one, two = merged([first, other, again])
    assert (one.id, one.numbers, one.sinks, one.buried_us) == (3, (3, 9), ("ledger", "siphon"), 3)
    assert str(one.project) == "a/b"
    assert two == other
    assert two.project is None
    assert chosen([one, two], [9, 4, 3]) == [one, two]
    with pytest.raises(NotFoundError, match="no dead letter 5"):
        chosen([one, two], [5])


@given(st.binary(max_size=100))
def test_a_hex_dump_has_every_byte_and_nothing_that_acts_on_a_terminal(data: bytes) -> None:
    lines = list(hex_dump(data))
    assert bytes.fromhex("".join(line[10:57] for line in lines)) == data
    assert [int(line[:8], 16) for line in lines] == list(range(0, len(data), 16))
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert "".join(line[59:] for line in lines) == "".join(chr(each) if 32 <= each < 127 else "." for each in data)
