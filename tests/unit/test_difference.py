"""What differs between two trees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nervous_system.events import content_hash
from replay.difference import counts, differences, unified
from replay.patches import apply
from replay.tree import EXECUTABLE, FILE, Entry, Tree

CONTENTS = {content_hash(text): text for text in (b"", b"a\n", b"a\nb\n", b"a\nb", b"\0\xff")}
trees = st.dictionaries(
    st.sampled_from(["a", "b", "c/d", "c/e"]),
    st.builds(Entry, st.sampled_from([FILE, EXECUTABLE]), st.sampled_from(sorted(CONTENTS))),
)


@given(before=trees, after=trees)
def test_the_differences_lead_from_one_tree_to_the_other(before: Tree, after: Tree) -> None:
    built = dict(before)
    for each in differences(before, after):
        assert each.before != each.after or each.renamed_from
        if each.renamed_from:
            assert built.pop(each.renamed_from) == each.before == each.after
        else:
            assert built.get(each.resource) == each.before
        if each.after is None:
            del built[each.resource]
        else:
            built[each.resource] = each.after
    assert built == dict(after)


@given(before=trees, after=trees)
def test_a_unified_difference_can_be_applied_and_counted(before: Tree, after: Tree) -> None:
    for each in differences(before, after):
        lines = list(unified(each, CONTENTS.__getitem__))
        old = CONTENTS[each.before.content_hash] if each.before else b""
        new = CONTENTS[each.after.content_hash] if each.after else b""
        if b"\0" in old + new:
            assert lines[2].startswith("Binary")
            continue
        patch = "".join(f"{line}\n" for line in lines[2:])
        assert apply(patch, old) == new
        added, removed = counts(iter(lines))
        assert added - removed == len(new.splitlines()) - len(old.splitlines())


def test_kinds() -> None:
    one, two = sorted(CONTENTS)[:2]
    before = {"same": Entry(FILE, one), "mode": Entry(FILE, one), "text": Entry(FILE, one), "old": Entry(FILE, two)}
    after = {
        "same": Entry(FILE, one),
        "mode": Entry(EXECUTABLE, one),
        "text": Entry(FILE, two),
        "new": Entry(FILE, two),
        "more": Entry(EXECUTABLE, two),
    }
    assert {each.resource: each.kind for each in differences(before, after)} == {
        "mode": "mode",
        "text": "modified",
        "new": "renamed",
        "more": "added",
    }
