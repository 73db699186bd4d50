"""Edits as agents' tools make them: replacements, insertions and Codex's patches."""

from __future__ import annotations

import pytest

from nervous_system.capture.transcripts import apply_patch
from nervous_system.capture.transcripts.claude_edits import edits
from nervous_system.capture.transcripts.files import Files, UnknownContentError
from nervous_system.capture.transcripts.replacing import inserted, patched, replaced


def hunk(start: int, *lines: str) -> dict[str, object]:
    return {"oldStart": start, "newStart": start, "lines": list(lines)}


def test_a_replacement_takes_the_first_or_every_occurrence() -> None:
    assert replaced("a b a\n", "a", "c", False) == "c b a\n"
    assert replaced("a b a\n", "a", "c", True) == "c b c\n"
    assert replaced("", "", "new\n", False) == "new\n"
    for before, old in (("text", ""), ("text", "missing")):
        with pytest.raises(UnknownContentError):
            replaced(before, old, "x", False)


def test_to_remove_a_line_takes_its_line_feed_along_where_the_patch_shows_it() -> None:
    before = "one\ntwo\nthree\n"
    assert replaced(before, "two", "", False, [hunk(1, " one", "-two", " three")]) == "one\nthree\n"
    assert replaced(before, "two", "", False, [hunk(1, " one", "-two", "+", " three")]) == "one\n\nthree\n"


def test_a_patch_shown_with_spaces_for_tabs_still_tells_what_agrees() -> None:
    before = "if x:\n\treturn 1\n"
    assert replaced(before, "1", "2", False, [hunk(1, " if x:", "-  return 1", "+  return 2")]) == "if x:\n\treturn 2\n"
    with pytest.raises(UnknownContentError):
        replaced(before, "1", "2", False, [hunk(1, " if x:", "-  return 1", "+  return 3")])


def test_what_the_user_changed_in_a_proposal_is_taken_from_the_patch() -> None:
    answer = {
        "filePath": "/p/a.txt",
        "oldString": "one",
        "newString": "two",
        "originalFile": "one\nend\n",
        "structuredPatch": [hunk(1, "-one", "+three", " end")],
        "userModified": True,
    }
    arguments = {"file_path": "/p/a.txt", "old_string": "one", "new_string": "two"}
    states = list(edits("Edit", arguments, answer, Files("/p"), "/p"))
    assert [state.content for state in states] == [b"one\nend\n", b"three\nend\n"]


def test_a_patch_applies_to_the_letter_only() -> None:
    assert patched("a\nb\nc\n", [hunk(2, "-b", "+B"), hunk(3, "-c", "+C", "+D")]) == "a\nB\nC\nD\n"
    with pytest.raises(UnknownContentError):
        patched("a\n", [hunk(1, "-A", "+B")])


def test_insertion_after_a_line() -> None:
    assert inserted("a\nb\n", 1, "x\ny") == "a\nx\ny\nb\n"
    with pytest.raises(UnknownContentError):
        inserted("a", 2, "x")


def update(before: str, *lines: str) -> str:
    patch = "\n".join(("*** Begin Patch", "*** Update File: a", *lines, "*** End Patch"))
    return apply_patch.updated(before, apply_patch.parse(patch)[0].chunks)


def test_chunks_are_found_by_their_context() -> None:
    before = "def a():\n    return 1\n\ndef b():\n    return 1\n"
    assert (
        update(before, "@@ def b():", "-    return 1", "+    return 2")
        == "def a():\n    return 1\n\ndef b():\n    return 2\n"
    )
    assert update(before, "@@", "-    return 1", "+    return 2").startswith("def a():\n    return 2\n")
    assert update("a\nx\na\n", "@@", "-a", "+b", "*** End of File") == "a\nx\nb\n"


def test_chunks_are_found_with_less_and_less_regard_to_space_and_typography() -> None:
    assert update("a  \nb\n", "@@", " a", "-b", "+c") == "a\nc\n"
    assert update("  a\nb\n", "@@", " a", "-b", "+c") == "a\nc\n"
    assert update("it\u2019s\u00a0so\nb\n", "@@", " it's so", "-b", "+c") == "it's so\nc\n"
    with pytest.raises(UnknownContentError):
        update("a\n", "@@", "-z", "+c")


def test_lines_are_added_at_the_end_and_the_last_line_feed_is_kept() -> None:
    assert update("a\n", "@@", "+b") == "a\nb\n"
    assert update("a", "@@", "-a", "+b") == "b\n"
    assert update("a\n", "@@", "-a", "-", "+b", "+") == "b\n"


def test_a_patch_adds_deletes_and_moves() -> None:
    files = apply_patch.parse(
        "*** Begin Patch\n*** Add File: n\n+1\n+\n*** Delete File: d\n*** Update File: o\n*** Move to: m\n@@\n-x\n+y\n"
        "*** End Patch\n"
    )
    assert [(file.operation, file.path, file.moved_to) for file in files] == [
        ("add", "n", ""),
        ("delete", "d", ""),
        ("update", "o", "m"),
    ]
    assert files[0].content == "1\n\n"
    for wrong in ("", "*** Begin Patch\n+x\n*** End Patch", "*** Begin Patch\n*** Add File: a\nx\n*** End Patch"):
        with pytest.raises(UnknownContentError):
            apply_patch.parse(wrong)


def test_a_patch_within_a_shell_is_seen_only_where_it_is_all_that_runs() -> None:
    patch = "*** Begin Patch\n*** Delete File: a\n*** End Patch"
    assert apply_patch.in_shell(f"apply_patch <<'EOF'\n{patch}\nEOF\n") == (patch, "")
    assert apply_patch.in_shell(f'cd "my dir" && apply_patch <<EOF\n{patch}\nEOF') == (patch, "my dir")
    assert apply_patch.in_shell(f"apply_patch <<'EOF'\n{patch}\nEOF\nrm -rf x") is None
