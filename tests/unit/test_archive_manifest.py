"""Manifests: their exact bytes, reading them back, and the state that they add up to."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.archive import manifest, merkle
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.manifest import Body, Change, FileEntry, Manifest, Place, ProjectHead
from nervous_system.archive.state import ArchiveState
from nervous_system.landing import Cursor
from nervous_system.projects import ProjectName
from nervous_system.streams import StreamIdentity
from tests.archives import chained, entry
from tests.samples import PROJECT, STREAM

CURSORS = {(STREAM, 0): Cursor(19, 5), (STREAM, 3): Cursor(7, 6)}
HEADS = {PROJECT: ProjectHead(1, bytes(range(32)))}
CHANGE = Change((entry(1),), (), CURSORS, HEADS)
HEADER = (
    '{"body_sha256":"%s","created_us":1700000000000001,"files":1,"full":1,"nonce":"0000000000000001","num'
    'ber":1,"previous":"0000000000000000000000000000000000000000000000000000000000000000","root":"9a4aa6a'
    'fbbe6f06063ed7cbe36de19f8897bf1fc9b02e15df1c29a88782756c1","version":1}'
)
BODY = (
    '{"added":[{"events_root":"9f82eb6e4455387c47355f4364186ec593eeeb2724ac980f7ee8ee31d9bd3754","key":"e'
    "vents/v2/date=2023-11-14/bucket=02/00000000000000000010-00000000000000000019.83bf7fcd913e81d3.parque"
    't","recorded_us":[1700000000000010,1700000000000019],"rows":20,"sha256":"83bf7fcd913e81d35f0d0e94ed1'
    'ec0611e8e3b4909c23b00ef9f076f205e67c6","size_bytes":1001,"spans":[["SWARM@1763000000000000",0,10,19]'
    '],"tenants":["acme","acme"]}],"cursors":[["SWARM@1763000000000000",0,19,5],["SWARM@1763000000000000"'
    ',3,7,6]],"heads":[["acme","shop",1,"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'
    '"]],"removed":[],"state":{"added":[{"events_root":"9f82eb6e4455387c47355f4364186ec593eeeb2724ac980f7'
    'ee8ee31d9bd3754","key":"events/v2/date=2023-11-14/bucket=02/00000000000000000010-0000000000000000001'
    '9.83bf7fcd913e81d3.parquet","recorded_us":[1700000000000010,1700000000000019],"rows":20,"sha256":"83'
    'bf7fcd913e81d35f0d0e94ed1ec0611e8e3b4909c23b00ef9f076f205e67c6","size_bytes":1001,"spans":[["SWARM@1'
    '763000000000000",0,10,19]],"tenants":["acme","acme"]}],"cursors":[["SWARM@1763000000000000",0,19,5],'
    '["SWARM@1763000000000000",3,7,6]],"files":[{"events_root":"9f82eb6e4455387c47355f4364186ec593eeeb272'
    '4ac980f7ee8ee31d9bd3754","key":"events/v2/date=2023-11-14/bucket=02/00000000000000000010-00000000000'
    '000000019.83bf7fcd913e81d3.parquet","recorded_us":[1700000000000010,1700000000000019],"rows":20,"sha'
    '256":"83bf7fcd913e81d35f0d0e94ed1ec0611e8e3b4909c23b00ef9f076f205e67c6","size_bytes":1001,"spans":[['
    '"SWARM@1763000000000000",0,10,19]],"tenants":["acme","acme"]}],"heads":[["acme","shop",1,"0001020304'
    '05060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"]]}}'
)
GOLDEN = (
    b'{"body_sha256":"4e92bfdd279c8aba29c58f0fd8a7178cfad5abbefa558fbf5ec9854d2802186c","created_us":17000'
    b'00000000001,"files":1,"full":1,"nonce":"0000000000000001","number":1,"previous":"0000000000000000000'
    b'000000000000000000000000000000000000000000000","root":"9a4aa6afbbe6f06063ed7cbe36de19f8897bf1fc9b02e'
    b'15df1c29a88782756c1","version":1}\neJztlEtPGzEQx7+Lzw6Z8duRkOADcKGHHlAU+TFWEJANu5tUNMp372zgQCmoJw5VWV'
    b"myPB7/5j8P7UGkWqmKxc1B0J4247Dqu24UCxFbUJQdGWOtDr4Yr61tRjuDwVGxURNRVl6ZVGKA5okCkcYac9XeGiHFHT0x6Bk736"
    b"t5TSOdK1B6hjhDM8+7ckfjOag5/PEhzN4xxrOgc/Ot1IiaAlZ9tk39445GDtdT6XpOZrUbOB/0v+PkG0Nc8ovuB7sqkGJYJ2Udq3"
    b"3Ltw0qUDRUkQo4RM5SZxMhFqUzALXYwLumwJLzxbGO4fYnrfLTSMxGjsSWbdpMmm7Et++X11cX6J1+LUZIlscrLlnUSJvEBWN3kc"
    b"oDMfC0LY98V3b90PV/RUVpl/JjDy29dFOoNaX6DHuJNKy7rZCs+FQyBRoMWHDgIUCEBBnKVA5oCIioUKNBiw49BoyYMGNBLhQ2Me"
    b"F7euj2p+HiwzBy98Xi8DVw//HAtdv7SeRX7/+F3n/q3+F4/AXBGrqF\n"
)


def test_the_bytes_of_a_manifest_are_these() -> None:
    found = chained([CHANGE])[0]
    lines = found.encode().split(b"\n")
    assert lines[2:] == [b""]
    assert lines[0].decode() == HEADER % hashlib.sha256(lines[1]).hexdigest()
    body = zlib.decompress(base64.b64decode(lines[1])).decode()
    assert body == BODY
    # What was written once is read for ever, whatever another zlib would make of the body.
    golden = Manifest.decode(GOLDEN)
    assert golden.encode() == GOLDEN
    assert golden.body == found.body
    assert dataclasses.replace(golden.header, body_sha256=found.header.body_sha256) == found.header


numbers = st.integers(0, 60)
streams = st.builds(StreamIdentity, st.from_regex(r"[A-Za-z0-9_-]{1,9}", fullmatch=True), st.integers(0, 1 << 60))
cursors = st.builds(Cursor, st.integers(0, 1 << 63), st.integers(0, 1 << 60))
projects = st.builds(ProjectName, st.sampled_from(["acme", "beta"]), st.sampled_from(["shop", "site"]))
heads = st.builds(ProjectHead, st.integers(0, 1 << 60), st.binary(min_size=32, max_size=32))
places = st.tuples(streams, st.integers(0, 1023))


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """Changes that can follow each other: what is removed was there, what is added was not."""
    live: set[int] = set()
    changes = []
    for _ in range(draw(st.integers(1, 8))):
        removed = draw(st.sets(st.sampled_from(sorted(live)))) if live else set()
        added = draw(st.sets(numbers, max_size=4)) - live
        live = live - removed | added
        changes.append(
            Change(
                tuple(map(entry, sorted(added))),
                tuple(sorted(entry(number).key for number in removed)),
                draw(st.dictionaries(places, cursors, max_size=3)),
                draw(st.dictionaries(projects, heads, max_size=3)),
            )
        )
    return changes


@given(histories())
def test_manifests_read_back(changes: list[Change]) -> None:
    for found in chained(changes):
        assert Manifest.decode(found.encode()) == found


@given(histories())
def test_the_state_is_what_the_changes_add_up_to(changes: list[Change]) -> None:
    state = ArchiveState()
    files: dict[str, FileEntry] = {}
    cursors: dict[Place, Cursor] = {}
    heads: dict[ProjectName, ProjectHead] = {}
    for found, change in zip(chained(changes), changes, strict=True):
        state = state.apply(found)
        state.check(found)
        files = {key: kept for key, kept in files.items() if key not in change.removed}
        files |= {added.key: added for added in change.added}
        cursors |= change.cursors
        heads |= change.heads
    assert (state.number, state.files, state.cursors, state.heads) == (len(changes), files, cursors, heads)
    assert state.root() == merkle.root(files[key].canonical() for key in sorted(files))
    # A full manifest brings a reader to the same place as all before it.
    whole = Body.of(json.loads(manifest.canonical(Body(Change(), state.whole()).document()))).state
    assert whole is not None
    again = ArchiveState(state.number - 1).changed(whole)
    assert again == state
    assert again.root() == state.root()


def test_what_does_not_fit_is_refused() -> None:
    first, second = chained([CHANGE, Change((entry(2),))])
    state = ArchiveState().apply(first)
    with pytest.raises(ArchiveDamagedError, match="manifest 1 stands where 2 should"):
        state.apply(first)
    with pytest.raises(ArchiveDamagedError, match=r"adds .* which is there already"):
        state.changed(CHANGE)
    with pytest.raises(ArchiveDamagedError, match=r"removes .* which is not there"):
        state.changed(Change(removed=(entry(9).key,)))
    with pytest.raises(ArchiveDamagedError, match="the root of manifest 2"):
        state.check(second)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda lines: lines[:1], "two or three lines"),
        (lambda lines: [*lines, b"a", b"b"], "two or three lines"),
        (lambda lines: [lines[0], lines[1][:-4]], "the body of manifest 1"),
        (lambda lines: [b"{}", lines[1]], "cannot be read"),
        (lambda lines: [b"\xff", lines[1]], "cannot be read"),
        (lambda lines: [lines[0].replace(b'"version":1', b'"version":2'), lines[1]], "of version 2"),
        (lambda lines: [lines[0].replace(b'"full":1', b'"full": 1'), lines[1]], "not written as headers are"),
        (lambda lines: [lines[0].replace(b'"full":1', b'"full":0'), lines[1]], "does not list what"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(spoil, reason: str) -> None:  # type: ignore[no-untyped-def]
    lines = list(chained([CHANGE])[0].lines)
    with pytest.raises(ArchiveDamagedError, match=reason):
        Manifest.decode(b"".join(line + b"\n" for line in spoil(lines)))
    with pytest.raises(ArchiveDamagedError, match="two or three lines"):
        Manifest.decode(b"\n".join(lines))


def test_files_are_found_by_project_and_place() -> None:
    beta = ProjectName("beta", "shop")
    state = ArchiveState().changed(Change((entry(2), entry(1), entry(3, "beta"), entry(4, partition=1))))
    assert state.files_of(PROJECT) == [entry(1), entry(2), entry(4, partition=1)]
    assert state.files_of(beta) == [entry(3, "beta")]
    assert state.files_at(PROJECT, STREAM, 0, 19) == [entry(1)]
    assert state.files_at(PROJECT, STREAM, 0, 30) == []
    assert state.files_at(PROJECT, STREAM, 0, 40) == []
    assert state.files_at(PROJECT, StreamIdentity("SWARM", 1), 0, 19) == []
    assert (state.cursor(STREAM, 0), state.head(PROJECT)) == (Cursor(), ProjectHead())
