"""The ledger's keys are what the tuple layer makes of the design's table, byte for byte."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from nervous_system.ledger import keys, tuples
from nervous_system.ledger.keys import ProjectKeys
from nervous_system.ledger.tuples import Element, Versionstamp
from nervous_system.ledger.versions import MAX_INCARNATION, Version

incarnations = st.integers(1, MAX_INCARNATION)
stamps = st.binary(min_size=12, max_size=12).filter(lambda stamp: stamp[:10] != b"\xff" * 10)
versions = st.builds(Version, incarnations, stamps)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
prefixes = st.binary(min_size=1, max_size=10)
moments_us = st.integers(-(2**52), 2**54)
digests = st.binary(min_size=32, max_size=32)
PREFIX = b"\x15\x07"
PROJECT = ProjectKeys(PREFIX)


def elements(version: Version) -> tuple[Element, ...]:
    return version.incarnation, Versionstamp.from_bytes(version.stamp)


@given(prefixes, versions, texts, moments_us, digests, st.integers(1, 400))
def test_keys_are_tuples(  # noqa: PLR0917 - hypothesis gives them by place
    prefix: bytes, version: Version, text: str, moment_us: int, digest: bytes, number: int
) -> None:
    project, end = ProjectKeys(prefix), keys.encode_version(version)
    expected: dict[bytes, tuple[Element, ...]] = {
        project.head: ("head",),
        project.incarnation: ("incarnation",),
        project.id(text): ("id", text),
        project.event(version): ("event", *elements(version)),
        keys.chunk(project.event(version), number): ("event", *elements(version), number),
        project.occurred(): ("occurred",),
        project.occurred(moment_us) + end: ("occurred", moment_us, *elements(version)),
        project.recorded(moment_us) + end: ("recorded", moment_us, *elements(version)),
        project.path(text) + end: ("path", text, *elements(version)),
        project.commit(text) + end: ("commit", text, *elements(version)),
        project.checkpoint(text) + end: ("checkpoint", text, *elements(version)),
        project.content(digest): ("content", digest),
        keys.blob(prefix, digest): ("blob", digest),
        keys.cursor(prefix, "sink", text, number): ("cursor", "sink", text, number),
    }
    assert len(expected) == 14
    for key, elements_of_key in expected.items():
        assert key == tuples.pack(elements_of_key, prefix)
        assert tuples.unpack(key, prefix) == elements_of_key


@given(incarnations, st.integers(0, 0xFFFF), st.binary(max_size=9), st.binary(min_size=10, max_size=10))
def test_a_commit_fills_in_the_version(incarnation: int, place: int, tail: bytes, given_at_commit: bytes) -> None:
    key = keys.committed(PROJECT.events, incarnation, place, tail)
    body, offset = key[:-4], int.from_bytes(key[-4:], "little")
    if not tail:
        assert key == tuples.pack_with_versionstamp(("event", incarnation, Versionstamp(None, place)), PREFIX)
    filled = body[:offset] + given_at_commit + body[offset + 10 :]
    version = Version(incarnation, given_at_commit + place.to_bytes(2, "big"))
    assert filled == PROJECT.event(version) + tail


@given(texts, versions)
def test_text_is_cut_out_before_a_version(text: str, version: Version) -> None:
    key = PROJECT.path(text) + keys.encode_version(version)
    assert keys.text_before_version(key, PROJECT.paths) == text
    assert keys.version_at_end(key) == version


@given(versions, versions, st.integers(1, 20))
def test_ranges_hold_what_continues_and_nothing_else(one: Version, other: Version, number: int) -> None:
    begin, end = keys.within(PROJECT.events)
    first, chunk = PROJECT.event(one), keys.chunk(PROJECT.event(one), number)
    assert begin <= first < chunk < keys.after(first) <= end
    assume(one < other)
    assert keys.after(first) < PROJECT.event(other) < end
    assert not begin <= PROJECT.path("x") < end
    assert not begin <= PROJECT.head < end


@given(st.text("0123456789abcdef", min_size=1, max_size=8), texts, versions)
def test_commits_beginning(abbreviation: str, text: str, version: Version) -> None:
    begin, end = PROJECT.commits_beginning(abbreviation)
    for commit in (text, abbreviation, abbreviation + text):
        key = PROJECT.commit(commit) + keys.encode_version(version)
        assert (begin <= key < end) == commit.startswith(abbreviation)
