"""The rules of paths: each by an example that would escape or collide without it, and by properties."""

from __future__ import annotations

from itertools import combinations
from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.errors import ContractError
from nervous_system.paths import (
    MAX_DEPTH_PARTS,
    MAX_LINK_HOPS,
    MAX_PART_BYTES,
    MAX_PATH_BYTES,
    PathError,
    check_link_target,
    check_links,
    check_resource,
    check_tree,
    collisions,
    is_git_part,
    resource_from_bytes,
    resource_to_bytes,
)

RAW = st.binary(max_size=40).map(lambda raw: raw.replace(b"\\", b"/"))
NASTY = st.text(
    st.sampled_from("aAg.it~1/\\x 8f:ßéÉ\u0301\u200c\u0130\x00\x7f\x85\ud800") | st.characters(), max_size=24
)
NAMES = st.text(st.sampled_from("aAbéÉsSßſ\u0301"), min_size=1, max_size=2)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)

GOOD = [
    "README.md",
    "src/a b/..c/d.e",
    ".gitignore",
    ".github/workflows/ci.yml",
    "a/.gitmodules",
    "git",
    "git~x",
    "digit~1",
    "console.py",
    "lpt.txt",
    "com10",
    "nul_",
    "naïve/файл/文件",
    r"caf\xe9.txt",
    r"\xff\xfe",
    "a" * MAX_PART_BYTES,
    "é" * 127,
    r"\xff" * MAX_PART_BYTES,
    "/".join("d" * MAX_DEPTH_PARTS),
    "/".join(["a" * 255] * 16),
]

BAD = {
    "empty": ["", "/etc/passwd", "a//b", "a/"],
    "dot": [".", "..", "../x", "a/../b", "a/./b", "a/.."],
    "control": ["a\0b", "a\nb", "\x1b[31m", "a\x7f", "a\x85b", "a\x9f"],
    "backslash": ["..\\x", "a\\b", "\\", r"\x", r"\x4", r"\x2f", r"\x00", r"\x41", r"\xFF", r"\xC3", r"\u0041"],
    "hides UTF-8": [r"\xc3\xa9", r"a\xe2\x82\xac", "\\xc3\\xa9\\xff"],
    "surrogate": ["\ud800", "a\udcffb"],
    "colon": ["C:", "c:/x", "a:b", ".git::$INDEX_ALLOCATION"],
    "trailing": ["a.", "a ", "a./b", "a /b", "...", " ", "..."],
    "device": ["CON", "con.txt", "a/PRN", "aux.c", "nul", "NUL .tar.gz", "COM1", "lpt9.x", "COM¹", "lpt³.a", "CONIN$"],
    "git": [
        ".git",
        ".GIT",
        "a/.Git/hooks/post-checkout",
        "git~1",
        "GIT~2/config",
        ".g\u200cit",
        "\ufeff.git",
        ".git\u200d/config",
        ".gi\u00adt",
        "a/b/c/.giT/x",
        "gi\u200dt~1",
    ],
    "long": ["a" * 256, "é" * 128, "x/" + "a" * 256, r"\xff" * 256, "/".join(["a" * 255] * 16) + "/b", "a" * 100_000],
    "deep": ["/".join("d" * (MAX_DEPTH_PARTS + 1))],
}


@given(RAW)
def test_any_bytes_survive_the_text_form(raw: bytes) -> None:
    assert resource_to_bytes(resource_from_bytes(raw)) == raw


@given(NASTY)
def test_a_text_is_the_only_form_of_its_bytes_or_refused(text: str) -> None:
    try:
        raw = resource_to_bytes(text)
    except PathError:
        return
    assert resource_from_bytes(raw) == text


@pytest.mark.parametrize("raw", [b"a\\b", b"\\xff", b"\\"])
def test_a_literal_backslash_has_no_text_form(raw: bytes) -> None:
    with pytest.raises(PathError, match="backslash"):
        resource_from_bytes(raw)


def test_the_text_form_is_lower_case_hex() -> None:
    assert resource_from_bytes(b"caf\xe9/\xc3\xa9\xff") == r"caf\xe9/é\xff"
    # What encodes a surrogate, or is longer than it must be, is no UTF-8.
    assert resource_from_bytes(b"\xed\xa0\x80\xc0\xaf") == r"\xed\xa0\x80\xc0\xaf"


@pytest.mark.parametrize("resource", GOOD)
def test_ordinary_paths_are_accepted(resource: str) -> None:
    check_resource(resource)


@pytest.mark.parametrize(("rule", "resource"), [(rule, bad) for rule, several in BAD.items() for bad in several])
def test_each_rule_refuses(rule: str, resource: str) -> None:
    with pytest.raises(PathError) as caught:
        check_resource(resource)
    assert caught.value.resource == resource
    assert caught.value.reason in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_a_refusal_is_a_breach_of_the_contract() -> None:
    with pytest.raises(ContractError, match=r"The path 'a/\.\./b' is refused: it has a part '\.\.'\. Rename it"):
        check_resource("a/../b")


@given(NASTY)
def test_nothing_accepted_can_escape(text: str) -> None:
    try:
        check_resource(text)
    except PathError:
        return
    raw = resource_to_bytes(text)
    assert len(raw) <= MAX_PATH_BYTES
    assert not any(category(character) in ("Cc", "Cs") for character in text)
    assert not set(b"\\:\0") & set(raw)
    for part in raw.split(b"/"):
        assert 0 < len(part) <= MAX_PART_BYTES
        assert not part.endswith((b".", b" "))
        assert part.lower() not in (b".git", b"git~1", b"con", b"aux")


@pytest.mark.parametrize("part", [".git", ".GIT. .", "git~1 ", ".g\u200fit", ".git\u2064"])
def test_names_that_a_file_system_takes_for_git(part: str) -> None:
    assert is_git_part(part)


@pytest.mark.parametrize(
    ("resource", "target"),
    [
        ("l", b"a"),
        ("a/l", b"../b"),
        ("a/b/l", b"../../c/d"),
        ("a/l", b".."),
        ("l", b"."),
        ("l", b"a/../b"),
        ("l", b"./a//b/"),
        ("l", b"caf\xe9"),
        ("l", b"l"),
    ],
)
def test_links_inside_are_accepted(resource: str, target: bytes) -> None:
    check_link_target(resource, target)


@pytest.mark.parametrize(
    ("resource", "target"),
    [
        ("l", b""),
        ("l", b"/etc/passwd"),
        ("l", b"//server/share"),
        ("l", b".."),
        ("a/l", b"../.."),
        ("a/l", b"../../project/b"),
        ("l", b"a/../../project/b"),
        ("l", b"a\\b"),
        ("l", b"..\\..\\x"),
        ("l", b"a\0b"),
        ("l", b"C:/x"),
        ("l", b".git/hooks"),
        ("a/l", b"../.GIT/config"),
        ("l", b".g\xe2\x80\x8cit"),
        ("l", b".. /x"),
        ("l", b"a" * MAX_PATH_BYTES),
        ("l", b"a/../" * 200),
    ],
)
def test_links_out_of_the_project_are_refused(resource: str, target: bytes) -> None:
    with pytest.raises(PathError) as caught:
        check_link_target(resource, target)
    assert caught.value.resource == resource


@pytest.mark.parametrize(
    "targets",
    [
        {"a/up": b"..", "out": b"a/up/.."},
        {"a/b/c/l": b"../../..", "m": b"a/b/c/l", "n": b"m/.."},
        {"a/up": b"..", "out": b"A/UP/.."},
        {"a/up": b"..", "b/out": b"../a/up/a/up/../x"},
        {f"l{n}": f"l{n + 1}".encode() for n in range(MAX_LINK_HOPS + 1)},
        {f"l{n:05}": f"l{n + 1:05}".encode() for n in range(50_000)},
    ],
)
def test_links_that_lead_out_over_other_links_are_refused(targets: dict[str, bytes]) -> None:
    for resource, target in targets.items():
        check_link_target(resource, target)
    with pytest.raises(PathError, match="link"):
        check_links(targets)


@pytest.mark.parametrize(
    "targets",
    [
        {},
        {"l": b"l"},
        {"l": b"m", "m": b"l"},
        {"a/up": b"..", "b": b"a/up/a", "c": b"b/../a"},
        {f"l{n}": f"l{n + 1}".encode() for n in range(MAX_LINK_HOPS)},
        {"l": b"nothing/../a"},
    ],
)
def test_links_that_stay_inside_are_accepted(targets: dict[str, bytes]) -> None:
    check_links(targets)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "A"),
        ("é", "e\u0301"),
        ("straße", "STRASSE"),
        ("a/x", "a/X"),
        ("A/x", "a/y"),
        ("é/x", "e\u0301/y"),
        ("d/A/x", "d/a/y"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("A", "a/b"),
        ("a/b/c", "A/B"),
        ("ΑΣ", "ας"),
        ("a", "a"),
    ],
)
def test_paths_that_cannot_stand_together(first: str, second: str) -> None:
    assert set(collisions([first, second])) == {(first, second)}
    with pytest.raises(PathError, match="cannot stand beside"):
        check_tree([first, second])


def test_paths_that_can() -> None:
    together = ["a/b", "a/c", "ab", "b/a/a", "a.b", r"\xe9", "é", "a/d/e", "a/d/f"]
    assert not list(collisions(together))
    check_tree(together)


def test_a_folder_that_collides_is_named_once() -> None:
    assert list(collisions(["A/x", "a/y", "a/z"])) == [("A/x", "a/y")]


@given(st.lists(PATHS, max_size=6))
def test_collisions_are_found_as_by_comparing_all_with_all(resources: list[str]) -> None:
    assert bool(list(collisions(resources))) == any(_clash(*pair) for pair in combinations(resources, 2))


def _clash(one: str, other: str) -> bool:
    """The rule in its plainest form: at some depth two names fold together that are not one folder."""
    ours, theirs = one.split("/"), other.split("/")
    for depth, (a, b) in enumerate(zip(ours, theirs, strict=False), start=1):
        if normalize("NFC", normalize("NFD", a).casefold()) != normalize("NFC", normalize("NFD", b).casefold()):
            return False
        if a != b or depth in (len(ours), len(theirs)):
            return True
    return False


def test_a_tree_is_checked_path_by_path() -> None:
    with pytest.raises(PathError, match=r"'\.\.'"):
        check_tree(["a", "b/../../c"])
