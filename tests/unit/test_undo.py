"""Taking changes out of one file's course, and the order of what that changes, without a ledger."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nervous_system.events import content_hash
from nervous_system.ledger.versions import Version
from replay.difference import Difference
from replay.merge import Merged, merge
from replay.tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK, Entry
from replay.undoing.courses import Held, Stage, Standing
from replay.undoing.reversal import Reversal, reverse
from replay.undoing.room import with_room
from replay.undoing.steps import steps

DIVIDER = b"".join(b"divider %d\n" % number for number in range(6))


class Texts:
    """Contents by their hashes."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}

    def entry(self, content: bytes, mode: int = FILE) -> Entry:
        self.known[content_hash(content)] = content
        return Entry(mode, content_hash(content))

    def merge(self, base: str, ours: str, theirs: str) -> Merged | None:
        merged = merge(self.known[base], self.known[ours], self.known[theirs], ("now", "without"))
        if merged is not None:
            self.known[content_hash(merged.content)] = merged.content
        return merged


def version(number: int) -> Version:
    return Version(1, number.to_bytes(12, "big"))


def stages(*held: Held) -> list[Stage]:
    return [Stage(version(number), each) for number, each in enumerate(held)]


def versions(*numbers: int) -> set[Version]:
    return {version(number) for number in numbers}


def at(resource: str, word: str, mode: int = FILE) -> Standing:
    return Standing(resource, Entry(mode, content_hash(word.encode())))


def never(*_: str) -> Merged | None:
    raise AssertionError("no texts are to be merged here")


X, Y, Z = at("f", "x"), at("f", "y"), at("f", "z")


@pytest.mark.parametrize(
    ("course", "chosen", "then", "taken"),
    [
        # The whole course, or its end: as it was before.
        ([X], {0}, None, {0}),
        ([X, Y], {0, 1}, None, {0, 1}),
        ([X, Y], {1}, X, {1}),
        ([X, Y, None], {2}, Y, {2}),
        ([X, None], {1}, X, {1}),
        # What cancels out by itself, or was taken back by others, is left.
        ([X, Y, X], {1, 2}, X, set()),
        ([X, Y, X], {1}, X, set()),
        ([X, Y, X, Z], {1}, Z, set()),
        ([X, None, Z], {0}, Z, set()),
        ([None], {0}, None, set()),
        # And taken back again where others put it back.
        ([X, Y, X, Y], {1}, X, {1}),
        ([X, Y, X, Y], {3}, X, {3}),
        ([X, Y, X, Y], {2}, Y, set()),
        # Names and modes go back beside what else was done.
        ([X, at("g", "x"), at("g", "x", EXECUTABLE)], {1}, at("f", "x", EXECUTABLE), {1}),
        ([X, at("f", "x", EXECUTABLE), at("g", "x", EXECUTABLE)], {1}, at("g", "x"), {1}),
    ],
)
def test_whole_contents_are_taken_back(course: list[Held], chosen: set[int], then: Held, taken: set[int]) -> None:
    found = reverse(stages(*course), versions(*chosen), never)
    assert found == Reversal(course[-1], then, frozenset(versions(*taken)))


@pytest.mark.parametrize(
    ("course", "chosen", "reason"),
    [
        ([X, Y], {0}, "made by these changes"),
        ([X, Y, None], {1}, "deleted since"),
        ([X, None, Z], {1}, "something else has been written"),
        ([X, at("g", "x"), at("h", "x")], {1}, "renamed since"),
        ([at("f", "x", SYMLINK), at("f", "y", SYMLINK), at("f", "z", SYMLINK)], {1}, "a link or another repository"),
        ([at("f", "x", SUBMODULE), at("f", "y", SUBMODULE), at("f", "z", SUBMODULE)], {1}, "a link or another"),
        ([X, at("f", "y", SYMLINK), at("f", "z")], {1}, "a link or another repository"),
    ],
)
def test_what_meets_later_work_is_a_conflict_and_stays(course: list[Held], chosen: set[int], reason: str) -> None:
    found = reverse(stages(*course), versions(*chosen), never)
    assert found.then == found.now == course[-1]
    assert found.conflict is not None
    assert reason in found.conflict.reason
    assert found.conflict.marked is None
    assert not found.taken


def test_texts_in_conflict_show_both_sides_and_bytes_stay() -> None:
    texts = Texts()
    text = stages(*(Standing("f", texts.entry(content)) for content in (b"a\n", b"b\n", b"c\n")))
    found = reverse(text, versions(1), texts.merge)
    assert found.conflict is not None
    assert found.conflict.marked == b"<<<<<<< now\nc\n=======\na\n>>>>>>> without\n"
    assert found.then == Standing("f", texts.entry(found.conflict.marked))
    raw = stages(*(Standing("f", texts.entry(b"\0" + content)) for content in (b"a\n", b"b\n", b"c\n")))
    found = reverse(raw, versions(1), texts.merge)
    assert found.conflict is not None
    assert found.conflict.reason.startswith("it is not text")
    assert found.then == found.now


def _rendered(sections: Sequence[int]) -> bytes:
    lines = (f"{agent} wrote {number}\n".encode() * (number > 0) for agent, number in zip("ab", sections, strict=True))
    return DIVIDER + DIVIDER.upper().join(lines) + b"end\n"


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=12), st.integers(0, 1))
@example([(0, 1), (1, 1), (0, 0), (1, 0)], 0)
@example([(0, 1), (1, 0), (0, 2)], 0)
def test_of_two_who_write_apart_either_can_be_taken_out(edits: list[tuple[int, int]], agent: int) -> None:
    """Both ever only set their own section: without one, his is as at first and the other's as it is now."""
    texts, sections = Texts(), [0, 0]
    course = [Stage(version(0), Standing("f", texts.entry(_rendered(sections))))]
    chosen = set()
    for number, (writer, value) in enumerate(edits, start=1):
        sections[writer] = value
        course.append(Stage(version(number), Standing("f", texts.entry(_rendered(sections)))))
        chosen |= versions(number) if writer == agent else set()
    found = reverse(course, chosen, texts.merge)
    sections[agent] = 0
    assert found.conflict is None
    expected = Standing("f", texts.entry(_rendered(sections)))
    assert found.then == expected
    # Done once more, with what was done in the course: nothing is left.
    again = reverse([*course, Stage(version(len(course)), expected)], chosen, texts.merge)
    assert again == Reversal(expected, expected)


def test_names_that_are_swapped_are_told_path_by_path() -> None:
    x, y = Entry(FILE, content_hash(b"x")), Entry(FILE, content_hash(b"y"))
    swapped = [Reversal(Standing("a", x), Standing("b", x)), Reversal(Standing("b", y), Standing("a", y))]
    assert steps(swapped, ()) == [Difference("a", x, y), Difference("b", y, x)]
    moved = [Reversal(Standing("a", x), Standing("b", x)), Reversal(Standing("c", y), None)]
    assert steps(moved, ()) == [Difference("c", y, None), Difference("b", x, x, "a")]
    assert steps(moved, {"a"}) == [Difference("a", x, None), Difference("c", y, None), Difference("b", None, x)]


def test_two_that_would_come_to_one_place_both_stay() -> None:
    coming = [Reversal(at("a", "x"), at("c", "x")), Reversal(at("b", "y"), at("c", "y")), Reversal(X, None)]
    settled = with_room(coming, lambda: dict.fromkeys(("a", "b", "f"), X.entry), never_read)
    assert [each.then for each in settled] == [at("a", "x"), at("b", "y"), None]
    assert [each.conflict is not None for each in settled] == [True, True, False]


def test_what_goes_makes_room_for_what_comes() -> None:
    coming = [Reversal(at("a", "x"), None), Reversal(None, at("a/b", "y"))]
    assert with_room(coming, lambda: {"a": X.entry}, never_read) == coming


def test_a_link_comes_back_only_where_it_stays_inside() -> None:
    target = b"../x"
    link = Entry(SYMLINK, content_hash(target))
    coming = [Reversal(Standing("a/b", link), Standing("b", link)), Reversal(None, Standing("c/d", link))]
    settled = with_room(coming, lambda: {"a/b": link}, lambda _: target)
    assert [each.then for each in settled] == [Standing("a/b", link), Standing("c/d", link)]
    assert settled[0].conflict is not None
    assert "leads out of the project" in settled[0].conflict.reason


def never_read(_: str) -> bytes:
    raise AssertionError("no content is to be read here")
