"""What every engine promises of transactions: isolation, conflicts, versionstamps, watches, directories."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nervous_system.ledger.transaction import LedgerError, Transaction
from tests.contract.conftest import END, Space

CONFLICT = 1020
ONE = (1).to_bytes(8, "little")


def refused(act: Callable[[], object]) -> int:
    """The code of the LedgerError that ``act`` raises."""
    with pytest.raises(LedgerError) as caught:
        act()
    return caught.value.code


def test_a_transaction_reads_one_moment(space: Space) -> None:
    space.put(a=b"old")
    reader = space.begin()
    assert reader.get(b"a") == b"old"
    space.put(a=b"new", b=b"new")
    assert reader.get(b"a") == b"old"
    assert reader.get_range(b"", END) == [(b"a", b"old")]
    assert reader.get_many([b"b", b"a"]) == [None, b"old"]
    assert space.read(b"a") == b"new"


def test_the_snapshot_is_taken_at_the_first_read(space: Space) -> None:
    reader = space.begin()
    space.put(a=b"1")
    assert reader.get(b"a") == b"1"


def test_nothing_is_seen_before_commit_nor_after_cancel(space: Space) -> None:
    writer = space.begin()
    writer.set(b"a", b"1")
    assert writer.get(b"a") == b"1"
    assert space.read(b"a") is None
    writer.cancel()
    assert space.read(b"a") is None
    assert refused(writer.commit) == 1025


def test_of_two_that_read_and_write_a_key_one_is_refused(space: Space) -> None:
    one, other = space.begin(), space.begin()
    for transaction in (one, other):
        assert transaction.get(b"a") is None
        transaction.set(b"a", b"1")
    one.commit()
    assert refused(other.commit) == CONFLICT


def test_write_skew_is_refused(space: Space) -> None:
    one, other = space.begin(), space.begin()
    one.get(b"a")
    other.get(b"b")
    one.set(b"b", b"1")
    other.set(b"a", b"1")
    one.commit()
    assert refused(other.commit) == CONFLICT


def test_what_was_not_read_does_not_conflict(space: Space) -> None:
    blind, snapshot, adder, elsewhere = (space.begin() for _ in range(4))
    for transaction in (blind, snapshot, adder, elsewhere):
        transaction.read_version()
    snapshot.get(b"a", snapshot=True)
    snapshot.get_range(b"", END, snapshot=True)
    elsewhere.get(b"b")
    space.put(a=ONE)
    blind.set(b"a", ONE)
    snapshot.set(b"c", b"1")
    adder.add(b"a", ONE)
    elsewhere.set(b"a", ONE)
    for transaction in (blind, snapshot, elsewhere, adder):
        transaction.commit()
    assert space.read(b"a") == (2).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("options", "inserted", "conflicts"),
    [
        ({}, b"d0", True),
        ({"limit": 2}, b"a0", True),
        ({"limit": 2}, b"d0", False),
        ({"limit": 2, "reverse": True}, b"d0", True),
        ({"limit": 2, "reverse": True}, b"b0", False),
        ({"limit": 9}, b"d0", True),
    ],
)
def test_a_range_conflicts_as_far_as_it_was_read(
    space: Space, options: dict[str, int], inserted: bytes, conflicts: bool
) -> None:
    space.put(a=b"", b=b"", c=b"", d=b"")
    reader = space.begin()
    assert reader.get_range(b"a", b"e", **options)
    reader.set(b"z", b"")
    space.put(**{inserted.decode(): b""})
    if conflicts:
        assert refused(reader.commit) == CONFLICT
    else:
        reader.commit()


def test_a_declared_range_conflicts(space: Space) -> None:
    reader = space.begin()
    reader.read_version()
    reader.add_read_conflict_range(b"a", b"c")
    reader.set(b"z", b"")
    space.put(b=b"1")
    assert refused(reader.commit) == CONFLICT


def test_ranges_see_the_transactions_own_writes(space: Space) -> None:
    space.put(a=b"1", b=b"2", c=b"3", d=b"4", e=ONE)
    transaction = space.begin()
    transaction.clear(b"a")
    transaction.clear_range(b"c", b"e")
    transaction.set(b"cc", b"5")
    transaction.add(b"e", ONE)
    pairs = [(b"b", b"2"), (b"cc", b"5"), (b"e", (2).to_bytes(8, "little"))]
    assert transaction.get_range(b"", END) == pairs
    assert transaction.get_range(b"", END, reverse=True) == pairs[::-1]
    assert transaction.get_range(b"", END, limit=2) == pairs[:2]
    assert transaction.get_range(b"", END, limit=2, reverse=True) == pairs[:0:-1]
    transaction.commit()
    assert space.everything() == pairs


def test_key_value_and_future_carry_the_same_versionstamp(space: Space) -> None:
    transaction = space.begin()
    transaction.set_stamped_key(b"k", b"!", b"v")
    transaction.set_stamped_value(b"v", b"<", b">")
    future = transaction.get_versionstamp()
    transaction.commit()
    stamp = future.wait()
    assert len(stamp) == 10
    assert space.everything() == [(b"k" + stamp + b"!", b"v"), (b"v", b"<" + stamp + b">")]


def test_versionstamps_ascend_and_cover_the_read_version(space: Space) -> None:
    stamps = []
    for _ in range(20):
        transaction = space.begin()
        transaction.set_stamped_key(b"", b"", b"")
        future = transaction.get_versionstamp()
        transaction.commit()
        stamps.append(future.wait())
        assert space.begin().read_version() >= int.from_bytes(stamps[-1][:8], "big")
    assert stamps == sorted(set(stamps))
    assert [key for key, _ in space.everything()] == stamps


def test_earlier_stamped_keys_stay_readable_below_a_new_one(space: Space) -> None:
    first = space.begin()
    first.set_stamped_key(b"k", b"", b"1")
    first.commit()
    second = space.begin()
    assert len(second.get_range(b"k", b"l")) == 1
    second.set_stamped_key(b"k", b"", b"2")
    assert len(second.get_range(b"k", b"l", limit=1)) == 1
    assert refused(lambda: second.get_range(b"k", b"l", limit=1, reverse=True)) == 1036
    second.commit()
    assert [value for _, value in space.everything()] == [b"1", b"2"]


def test_many_versionstamped_at_once_are_as_one_by_one(space: Space) -> None:
    offset = len(space.prefix + b"k").to_bytes(4, "little")
    transaction = space.begin()
    transaction.inner.set_versionstamped_keys(
        [(space.prefix + b"k" + bytes(10) + b"%d" % (number % 3) + offset, b"%d" % number) for number in range(4)]
    )
    transaction.inner.set_versionstamped_values(
        [(space.prefix + b"v%d" % (number % 3), b"%d" % number + bytes(10) + b"\x01\0\0\0") for number in range(4)]
    )
    assert refused(lambda: transaction.get(b"v1")) == 1036
    assert refused(lambda: transaction.get_range(b"k", b"l")) == 1036
    future = transaction.get_versionstamp()
    transaction.commit()
    stamp = future.wait()
    latest = [b"3", b"1", b"2"]
    assert space.everything() == [
        *((b"k" + stamp + b"%d" % number, value) for number, value in enumerate(latest)),
        *((b"v%d" % number, value + stamp) for number, value in enumerate(latest)),
    ]


def test_one_of_many_that_is_refused_refuses_the_commit(space: Space) -> None:
    for pairs in ([(b"\xff/x" + bytes(10) + b"\x03\0\0\0", b"")], [(space.prefix + bytes(14), bytes(100_001))]):
        transaction = space.begin()
        transaction.inner.set_versionstamped_keys([(space.prefix + bytes(14), b""), *pairs])
        assert refused(transaction.commit) in (2004, 2103)
        assert space.everything() == []


def test_many_values_are_read_as_one_by_one(space: Space) -> None:
    space.put(a=b"1", b=b"2", c=ONE)
    transaction = space.begin()
    assert transaction.get_many([]) == []
    asked = [b"b", b"a", b"b", b"missing", b"long" * 5_000]
    assert transaction.get_many(asked) == [b"2", b"1", b"2", None, None]
    transaction.clear(b"a")
    transaction.add(b"c", ONE)
    transaction.clear_range(b"bb", b"c")
    assert transaction.get_many([b"a", b"b", b"c"]) == [None, b"2", (2).to_bytes(8, "little")]
    assert refused(lambda: transaction.inner.get_many([space.prefix + b"a", b"\xff/x"])) == 2004


@pytest.mark.parametrize(("is_snapshot", "conflicts"), [(False, True), (True, False)])
def test_many_values_that_were_read_conflict(space: Space, is_snapshot: bool, conflicts: bool) -> None:
    reader = space.begin()
    reader.get_many([b"a", b"b"], snapshot=is_snapshot)
    reader.set(b"z", b"")
    space.put(b=b"1")
    if conflicts:
        assert refused(reader.commit) == CONFLICT
    else:
        reader.commit()


def test_run_commits_and_answers(space: Space) -> None:
    def work(transaction: Transaction) -> str:
        transaction.set(space.prefix + b"a", b"1")
        return "answer"

    assert space.engine.run(work) == "answer"
    assert space.read(b"a") == b"1"


def test_run_tries_again_after_a_conflict(space: Space) -> None:
    runs = 0

    def work(transaction: Transaction) -> None:
        nonlocal runs
        runs += 1
        value = transaction.get(space.prefix + b"a")
        if runs < 3:
            space.put(a=b"%d" % runs)
        transaction.set(space.prefix + b"a", (value or b"") + b"!")

    space.engine.run(work)
    assert runs == 3
    assert space.read(b"a") == b"2!"


def test_run_does_not_try_again_what_is_in_vain(space: Space) -> None:
    runs = 0

    def work(transaction: Transaction) -> None:
        nonlocal runs
        runs += 1
        transaction.set(b"\xff/x", b"")

    assert refused(lambda: space.engine.run(work)) == 2004
    assert runs == 1


def test_an_error_of_the_work_undoes_it(space: Space) -> None:
    def work(transaction: Transaction) -> None:
        transaction.set(space.prefix + b"a", b"1")
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        space.engine.run(work)
    assert space.read(b"a") is None


def test_threads_lose_no_update(space: Space) -> None:
    def increment(transaction: Transaction) -> None:
        value = int(transaction.get(space.prefix + b"n") or b"0")
        transaction.set(space.prefix + b"n", b"%d" % (value + 1))

    def worker(_: int) -> None:
        for _ in range(25):
            space.engine.run(increment)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(worker, range(4)))
    assert space.read(b"n") == b"100"


def test_a_watch_wakes_on_change(space: Space) -> None:
    space.put(a=b"1")
    transaction = space.begin()
    watch = transaction.watch(b"a")
    transaction.commit()
    assert not watch.wait(0)
    writer = threading.Thread(target=lambda: space.put(a=b"2"))
    writer.start()
    assert watch.wait(10)
    writer.join()


def test_a_watch_sleeps_through_other_keys_and_can_be_cancelled(space: Space) -> None:
    transaction = space.begin()
    watch = transaction.watch(b"a")
    transaction.commit()
    space.put(b=b"1")
    assert not watch.wait(0.1)
    canceller = threading.Thread(target=watch.cancel)
    canceller.start()
    assert not watch.wait(10)
    canceller.join()


def test_directories_have_prefixes_of_their_own(space: Space) -> None:
    engine, root = space.engine, (*space.path, "x")
    assert engine.directory(root, create=False) is None
    assert engine.list_directories(root) == []
    paths = [(*root, "b", "deep"), (*root, "a"), (*root, "ü " + uuid.uuid4().hex)]
    prefixes = [engine.directory(path) for path in paths]
    assert all(prefixes)
    assert not any(
        one.startswith(other) for one in prefixes for other in prefixes if one is not other and one and other
    )
    assert engine.list_directories(root) == sorted(path[len(root)] for path in paths)
    assert engine.list_directories((*root, "b")) == ["deep"]
    assert [engine.directory(path, create=False) for path in paths] == prefixes
    assert engine.directory((*root, "b"), create=False) is not None


def test_the_root_is_no_directory(space: Space) -> None:
    with pytest.raises(ValueError, match="root"):
        space.engine.directory(())
    assert space.path[0] in space.engine.list_directories(())
