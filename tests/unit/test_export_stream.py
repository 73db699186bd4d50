"""The stream that fast-import reads: quoting, references' names, tags; each against Git's own word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nervous_system.ledger.versions import Version
from replay.contents import ContentError
from replay.export.boundaries import Boundaries, Tags
from replay.export.fast_import import FastImport, quoted
from replay.export.growing import Clashes
from replay.export.refs import PART_LIMIT_BYTES, is_ref_name
from tests.samples import event

PIECES = [*"ab./-@{~^:?*[\\ \x7f\té", "..", ".lock", "@{", "a/"]
NAMES = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


def stream() -> tuple[bytearray, FastImport]:
    sent = bytearray()
    return sent, FastImport(sent.extend, "main")


@given(NAMES)
@settings(max_examples=150, deadline=None)
@example("HEAD")
@example("@")
def test_names_that_are_taken_are_those_that_git_takes(name: str) -> None:
    taken = is_ref_name(name)
    if "\0" in name or name.startswith("-") or name == "HEAD":
        assert not taken
        return
    asked = subprocess.run(["git", "check-ref-format", f"refs/tags/{name}"], capture_output=True, check=False)
    assert taken == (asked.returncode == 0)


def test_names_that_no_file_can_have_are_refused() -> None:
    assert is_ref_name("a" * PART_LIMIT_BYTES)
    assert not is_ref_name("é" * PART_LIMIT_BYTES)
    assert not is_ref_name("a\nreset refs/heads/main")
    assert not is_ref_name("a\n")


@given(st.binary())
def test_a_quoted_path_is_one_word_of_plain_ascii(path: bytes) -> None:
    word = quoted(path)
    assert word.isascii()
    assert not set(word) & set(b"\n\r\0")
    inner = word[1:-1]
    assert inner.replace(b"\\", b"").count(b'"') == 0
    assert inner.decode("unicode_escape").encode("latin-1") == path


def test_a_content_of_another_size_than_said_is_never_sent_whole() -> None:
    for pieces in ([b"abc"], [b"ab", b"cdefg\nreset refs/heads/main\n"]):
        sent, writing = stream()
        with pytest.raises(ContentError):
            writing.blob(5, pieces)
        assert b"reset" not in sent


def test_paths_that_are_file_and_folder_are_found_and_forgotten() -> None:
    clashes = Clashes()
    for resource in ("a/b/c", "a/b/d", "x"):
        clashes.put(resource, is_there=True)
    assert clashes.first is None
    clashes.put("a/b", is_there=True)
    clashes.put("a/b", is_there=True)
    assert clashes.first == "a/b"
    clashes.put("a/b/c", is_there=False)
    assert clashes.first == "a/b"
    clashes.put("a/b/d", is_there=False)
    assert clashes.first is None
    clashes.put("a/b/e", is_there=True)
    assert clashes.first == "a/b"
    clashes.put("a/b", is_there=False)
    assert clashes.first is None


def version(number: int) -> Version:
    return Version(1, number.to_bytes(12, "big"))


def test_a_commit_is_found_between_its_last_event_and_the_next_commit_s_first() -> None:
    boundaries = Boundaries()
    boundaries.add(version(2), version(4), 7)
    boundaries.add(version(6), version(6), 0)
    boundaries.add(version(8), version(9), 9)
    found = [boundaries.at(version(number)) for number in range(1, 11)]
    assert found == [None, None, None, 7, 7, None, None, None, 9, 9]


def tags(*names: str, branch: str = "main") -> tuple[list[str], list[str]]:
    kept = Tags(branch)
    for number, name in enumerate(names):
        named = event(number)
        named.checkpoint.name = name
        kept.note(named, number + 1)
    chosen, refused = kept.chosen()
    return [tag.name for tag in chosen], refused


def test_checkpoints_that_cannot_be_tags_are_named() -> None:
    assert tags("v1", "with blank", "main", "v1/a", "a/b/c", "a/b", "a", "") == (
        ["v1", "a/b/c"],
        ["with blank", "main", "v1/a", "a/b", "a"],
    )


def test_of_one_name_the_last_counts() -> None:
    kept = Tags("main")
    for mark in (1, None, 3):
        kept.note(event(1), mark)
    assert [tag.mark for tag in kept.chosen()[0]] == [3]
    kept.note(event(1), None)
    assert kept.chosen() == ([], ["c1"])


def test_git_takes_the_stream(tmp_path: Path) -> None:
    sent, writing = stream()
    mark = writing.blob(3, [b"a", b"bc"])
    assert mark == 1
    writing.done()
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path], check=True)
    done = subprocess.run(["git", "fast-import", "--done"], cwd=tmp_path, input=bytes(sent), check=False)
    assert done.returncode == 0
