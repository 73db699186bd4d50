"""Contents on every engine: whole, from parts, along diffs; and never anything that has not the hash asked for."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator

import pytest

from nervous_system.contract import FILE_MODE, Operation, StateChange
from nervous_system.events import content_hash
from nervous_system.ledger.records import ContentForm
from nervous_system.ledger.transaction import Engine
from nervous_system.textdiff import unified_diff
from replay.contents import ContentError, Contents, ReadAhead
from tests.contract.hub import Hub, opened_hub
from tests.samples import event, patch, write


@pytest.fixture
def hub(engine: Engine, address: str) -> Iterator[Hub]:
    with opened_hub(engine, address) as opened:
        yield opened


def put(hub: Hub, *changes: StateChange) -> None:
    hub.put(*(event(1_000 * hub.sequence + number, state_change=change) for number, change in enumerate(changes)))


def diffed(resource: str, before: bytes, after: bytes) -> StateChange:
    return patch(resource, before, after, unified_diff(before, after) or "")


def of_parts(resource: str, content: bytes, parts: list[bytes]) -> StateChange:
    return StateChange(
        target_resource=resource,
        operation=Operation.OPERATION_CREATE,
        mode=FILE_MODE,
        new_state_hash=content_hash(content),
        blob_hash=content_hash(content),
        blob_parts=[hashlib.sha256(part).digest() for part in parts],
    )


def form_of(hub: Hub, content: bytes) -> ContentForm | None:
    (source,) = hub.history().content_sources([bytes.fromhex(content_hash(content))])
    return None if source is None else source.form


def test_whole_contents(hub: Hub) -> None:
    wholes = [b"", b"x", b"x" * 255, b"x" * 256, os.urandom(300_000)]
    put(hub, *(write(f"f{number}", content) for number, content in enumerate(wholes)))
    contents = Contents(hub.history())
    assert [contents(content_hash(content)) for content in wholes] == wholes
    assert [form_of(hub, content) for content in wholes] == [ContentForm.WHOLE] * 3 + [ContentForm.BLOB] * 2


def test_contents_in_parts(hub: Hub) -> None:
    parts = [os.urandom(400_000), b"", b"z" * 512 * 1024, os.urandom(400_000)]
    parts.append(parts[0])
    whole = b"".join(parts)
    hub.land(*(hub.part(part) for part in parts))
    put(hub, of_parts("large", whole, parts))
    assert Contents(hub.history())(content_hash(whole)) == whole


def test_a_chain_of_diffs(hub: Hub) -> None:
    states = [b"".join(b"line %d %d\n" % (n, min(step, n)) for n in range(40)) for step in range(301)]
    states = list(dict.fromkeys(states + [b"%d\n" % n + states[-1] for n in range(301 - 40)]))
    assert len(states) > 300
    put(hub, write("f", states[0]), *(diffed("f", *pair) for pair in itertools.pairwise(states)))
    contents = Contents(hub.history())
    assert contents(content_hash(states[-1])) == states[-1]
    # On the way there each was put together, and is at hand; and from nothing, too.
    assert [contents(content_hash(state)) for state in states] == states
    assert Contents(hub.history())(content_hash(states[150])) == states[150]


def test_a_diff_on_a_content_in_parts(hub: Hub) -> None:
    parts = [b"line\n" * 60_000, b"end\n"]
    whole = b"".join(parts)
    after = whole[:-4] + b"another end\n"
    hub.land(*(hub.part(part) for part in parts))
    put(hub, of_parts("f", whole, parts))
    put(hub, patch("f", whole, after, "@@ -59998,4 +59998,4 @@\n line\n line\n line\n-end\n+another end\n"))
    assert Contents(hub.history())(content_hash(after)) == after


def test_a_diff_that_leads_elsewhere(hub: Hub) -> None:
    put(hub, write("f", b"a\n"), patch("f", b"a\n", b"b\n", "@@ -1 +1 @@\n-a\n+c\n"), diffed("f", b"b\n", b"d\n"))
    for asked in (b"b\n", b"d\n"):
        with pytest.raises(ContentError, match=content_hash(b"b\n")):
            Contents(hub.history())(content_hash(asked))


@pytest.mark.parametrize("diff", ["@@ -1 +1 @@\n-z\n+b\n", "no diff", "@@ -1 +1 @@\n-a\n"])
def test_a_diff_that_does_not_fit(hub: Hub, diff: str) -> None:
    put(hub, write("f", b"a\n"), patch("f", b"a\n", b"b\n", diff))
    with pytest.raises(ContentError, match=content_hash(b"b\n")):
        Contents(hub.history())(content_hash(b"b\n"))


def test_diffs_that_go_round_in_a_circle(hub: Hub) -> None:
    put(hub, diffed("f", b"a\n", b"b\n"), diffed("f", b"b\n", b"c\n"), diffed("f", b"c\n", b"a\n"))
    for content in (b"a\n", b"b\n", b"c\n"):
        with pytest.raises(ContentError, match="circle"):
            Contents(hub.history())(content_hash(content))
    put(hub, patch("g", b"own\n", b"own\n", "@@ -1 +1 @@\n-own\n+own\n"))
    with pytest.raises(ContentError, match="circle"):
        Contents(hub.history())(content_hash(b"own\n"))


def test_a_content_that_was_never_recorded(hub: Hub) -> None:
    put(hub, diffed("f", b"never\n", b"b\n"))
    with pytest.raises(ContentError, match="never recorded"):
        Contents(hub.history())(content_hash(b"c\n"))
    with pytest.raises(
        ContentError, match=rf"{content_hash(b'never' + bytes([10]))}.*{content_hash(b'b' + bytes([10]))}"
    ):
        Contents(hub.history())(content_hash(b"b\n"))


def test_parts_that_are_not_the_content(hub: Hub) -> None:
    hub.land(hub.part(b"one"), hub.part(b"two"))
    put(hub, of_parts("f", b"onetwo", [b"two", b"one"]))
    with pytest.raises(ContentError, match="has the hash"):
        Contents(hub.history())(content_hash(b"onetwo"))


@pytest.mark.parametrize("content", [b"small\n", b"large\n" * 100])
def test_a_whole_content_takes_the_place_of_a_false_claim(hub: Hub, content: bytes) -> None:
    """Whoever claims a content first, with a diff or parts that lead elsewhere, cannot keep it from the others."""
    for claim in (patch("f", b"a\n", content, "@@ -1 +1 @@\n-a\n+b\n"), of_parts("f", content, [b"missing"])):
        put(hub, write("f", b"a\n"), claim)
    put(hub, write("g", content))
    contents = Contents(hub.history())
    assert contents(content_hash(content)) == content
    put(hub, patch("f", b"a\n", content, "@@ -1 +1 @@\n-a\n+b\n"))
    assert Contents(hub.history())(content_hash(content)) == content
    # In one batch, too.
    other = content + b"other"
    put(hub, patch("f", b"a\n", other, "@@ -1 +1 @@\n-a\n+b\n"), write("g", other), of_parts("h", other, [b"missing"]))
    assert Contents(hub.history())(content_hash(other)) == other


def test_reading_ahead_gives_what_reading_one_by_one_gives(hub: Hub) -> None:
    long = [f"content {number}\n".encode() * 40 for number in range(150)]
    small = [f"{number}".encode() for number in range(10)]
    edited = long[7] + b"more\n"
    hub.put(*(event(number, state_change=write(f"f{number}", each)) for number, each in enumerate(long + small, 1)))
    hub.put(event(900, state_change=diffed("f8", long[7], edited)))
    history = hub.history()
    contents = Contents(history)
    order = [content_hash(each) for each in [*long[::-1], *small, edited, long[3]]]
    ahead = ReadAhead(contents, order)
    assert [ahead(each) for each in order] == [contents(each) for each in order]
    # Asked for out of order, and for what was not announced.
    other = ReadAhead(contents, order[:5])
    assert [other(each) for each in reversed(order)] == [contents(each) for each in reversed(order)]
    with pytest.raises(ContentError):
        other(content_hash(b"never recorded"))
