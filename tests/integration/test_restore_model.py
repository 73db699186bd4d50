"""Restores in place of any tree into any folder, against what a restore promises."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nervous_system.paths import PathError, check_tree
from replay.restoring.failures import DriftError
from replay.restoring.inplace_undo import undo
from replay.tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK
from tests.integration.restoring import Model, Past, lay, photograph

NAME = st.sampled_from(["a", "b", "c.d", r"\xff"])
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)
CONTENT = st.sampled_from([b"", b"1", b"2"])
LEAF = st.tuples(st.sampled_from([FILE, EXECUTABLE]), CONTENT) | st.just((SUBMODULE, b"")) | st.just((SYMLINK, b"a"))
MODEL = st.dictionaries(PATH, LEAF, max_size=5)


def is_the_projects(path: str, known: set[str]) -> bool:
    """Whether a path, or one above or below it, was ever a project's."""
    return any(f"{path}/".startswith(f"{each}/") or each.startswith(f"{path}/") for each in known)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(laid=MODEL, model=MODEL, earlier=MODEL, is_forced=st.booleans())
def test_any_folder_becomes_any_tree_or_stays_and_comes_back(
    quick: Path, laid: Model, model: Model, earlier: Model, is_forced: bool
) -> None:
    for each in (laid, model, earlier):
        try:
            check_tree(each)
        except PathError:
            assume(False)
    past = Past(model, earlier)
    with tempfile.TemporaryDirectory(dir=quick) as name:
        folder = Path(name) / "folder"
        lay(folder, {**laid, "mine": (FILE, b"mine")})
        before = photograph(folder)
        try:
            plan = past.put(folder, is_forced=is_forced)
        except DriftError:
            assert not is_forced
            assert photograph(folder) == before
            return
        after, wanted = photograph(folder), Path(name) / "wanted"
        lay(wanted, model)
        for path, (mode, content) in photograph(wanted).items():
            assert after[path][1] == content
            assert stat.S_IFMT(after[path][0]) == stat.S_IFMT(mode)
            assert stat.S_ISDIR(mode) or bool(after[path][0] & stat.S_IXUSR) == bool(mode & stat.S_IXUSR)
        contents = {content for _, content in (*model.values(), *earlier.values())}
        for path, (mode, content) in before.items():
            is_lost = not stat.S_ISDIR(mode) and after.get(path, (0, b""))[1] != content
            assert not is_lost or is_forced or content in contents
            assert path in after or not is_lost or is_the_projects(path, {*model, *earlier})
        if plan.counts["leave"] != len(plan.steps):
            undo(folder)
        assert photograph(folder) == before
