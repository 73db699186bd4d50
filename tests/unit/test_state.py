"""The fold against an independent model: one dictionary, one event at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.contract import Operation
from nervous_system.ledger.records import PathChange
from nervous_system.ledger.versions import Version
from replay.moments import Moment
from replay.state import Conflict, ConflictError, Life, fold, tree_of
from replay.tree import Entry

PATHS = ["a", "b", "c/d"]
WORDS = ["x", "y", "z"]
MODES = [0o100644, 0o100755]


def digest(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest() if word else b""


def version(number: int) -> Version:
    return Version(1, number.to_bytes(12, "big"))


@dataclass(frozen=True)
class Step:
    """What one event does: leaves ``after`` at the path, or nothing; claims that ``before`` was there, or nothing."""

    path: str
    before: str
    after: str
    mode: int
    occurred: int
    recorded: int


words = st.sampled_from(["", *WORDS])
steps = st.lists(
    st.builds(Step, st.sampled_from(PATHS), words, words, st.sampled_from(MODES), st.integers(0, 9), st.integers(0, 9)),
    max_size=25,
)
moments = st.builds(
    Moment, st.integers(0, 25).map(version), st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)
)


def lives(history: list[Step]) -> list[Life]:
    """As the ledger gives them: by path, then in order."""
    changes = [
        (
            step.path,
            version(number),
            PathChange(
                Operation.OPERATION_MODIFY if step.after else Operation.OPERATION_DELETE,
                step.mode if step.after else 0,
                step.occurred,
                step.recorded,
                digest(step.after),
                digest(step.before),
            ),
        )
        for number, step in enumerate(history)
    ]
    return sorted(changes, key=lambda life: life[:2])


def model(history: list[Step], moment: Moment) -> tuple[dict[str, tuple[str, int]], set[tuple[int, str]]]:
    """The tree as words, and which events claimed what was not there."""
    tree: dict[str, tuple[str, int]] = {}
    misfits: set[tuple[int, str]] = set()
    for number, step in enumerate(history):
        if number > int.from_bytes(moment.through.stamp, "big"):
            break
        if moment.at_us is not None and step.occurred > moment.at_us:
            continue
        if moment.known_at_us is not None and step.recorded > moment.known_at_us:
            continue
        standing = tree.get(step.path, ("", 0))[0]
        if not step.before:
            # What is said without regard to what was there settles what did not fit.
            misfits = {each for each in misfits if history[each[0]].path != step.path}
        elif step.before != standing:
            misfits.add((number, standing))
        if step.after:
            tree[step.path] = (step.after, step.mode)
        elif step.path in tree:
            del tree[step.path]
    return tree, misfits


@given(steps, moments)
def test_the_fold_is_the_models(history: list[Step], moment: Moment) -> None:
    tree, misfits = model(history, moment)
    state = fold(lives(history), moment)
    assert state.tree == {path: Entry(mode, digest(word).hex()) for path, (word, mode) in tree.items()}
    assert {(conflict.version, conflict.found) for conflict in state.conflicts} == {
        (version(number), digest(standing).hex()) for number, standing in misfits
    }
    for conflict in state.conflicts:
        step = history[int.from_bytes(conflict.version.stamp, "big")]
        assert (conflict.resource, conflict.claimed) == (step.path, digest(step.before).hex())


@given(steps, moments)
def test_only_what_fits_together_is_restorable(history: list[Step], moment: Moment) -> None:
    tree, misfits = model(history, moment)
    if not misfits:
        assert {path: entry.content_hash for path, entry in tree_of(fold(lives(history), moment)).items()} == {
            path: digest(word).hex() for path, (word, _) in tree.items()
        }
        return
    # What the sentence advises, to restore what was before the first of them, can be done.
    earliest = min(number for number, _ in misfits)
    with pytest.raises(ConflictError, match=rf"{len(misfits)} change.*before:{version(earliest)}\."):
        tree_of(fold(lives(history), moment))
    before = Moment(version(earliest - 1), moment.at_us, moment.known_at_us) if earliest else None
    # Unless another one was open then that was settled later.
    if before and not model(history, before)[1]:
        tree_of(fold(lives(history), before))


def test_a_conflict_shows_both_sides() -> None:
    history = [Step("a", "", "x", MODES[0], 0, 0), Step("a", "y", "z", MODES[0], 1, 1)]
    state = fold(lives(history), Moment(version(1)))
    assert state.conflicts == [Conflict("a", version(1), digest("y").hex(), digest("x").hex())]
    assert state.tree["a"].content_hash == digest("z").hex()
