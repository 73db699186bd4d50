"""Commits of one process that share a transaction of SQLite: each alone in what it means, together on the disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from nervous_system.errors import EnchantedError, UnavailableError
from nervous_system.ledger.embedded import EmbeddedEngine, storage
from nervous_system.ledger.embedded.refusals import CONFLICT
from nervous_system.ledger.embedded.transaction import EmbeddedTransaction
from nervous_system.ledger.transaction import LedgerError
from tests.contract.test_engine_processes import LIMIT_S, REPOSITORY

MEMBERS = 8
END = b"\xf0"
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
PAGE_BYTES = 4096

Work = Callable[[EmbeddedTransaction, int], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def engine(path: Path) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(path)
    yield engine
    engine.close()


def wait_for(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.001)


@contextmanager
def gathered(engine: EmbeddedEngine, work: Work, members: int = MEMBERS) -> Iterator[list[str | EnchantedError]]:
    """Has transactions wait until the block ends, and then commit as one group; gives what becomes of each."""
    outcomes: list[str | EnchantedError] = []
    transactions = [engine.begin() for _ in range(members)]
    for number, transaction in enumerate(transactions):
        work(transaction, number)

    def commit(transaction: EmbeddedTransaction) -> None:
        stamp = transaction.get_versionstamp()
        try:
            transaction.commit()
            outcomes.append(stamp.wait().hex())
        except EnchantedError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=commit, args=(transaction,)) for transaction in transactions]
    with engine._storage._writing:
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            wait_for(lambda waiting=waiting: len(engine._committer._waiting) == waiting)  # type: ignore[misc]
        yield outcomes
    for thread in threads:
        thread.join(LIMIT_S)


def commits_in_wal(path: Path) -> int:
    """How many transactions of SQLite the WAL holds: frames that end one say the size of the file in pages."""
    wal = path.with_name(path.name + "-wal").read_bytes()
    frames = range(WAL_HEADER_BYTES, len(wal), FRAME_HEADER_BYTES + PAGE_BYTES)
    salt = wal[16:24]
    return sum(wal[at + 4 : at + 8] != bytes(4) and wal[at + 8 : at + 16] == salt for at in frames)


def stamp_a_key(transaction: EmbeddedTransaction, number: int) -> None:
    transaction.set_versionstamped_key(b"s" + bytes(10) + b"%d" % number + (1).to_bytes(4, "little"), b"")


def test_who_waits_together_is_synced_together_with_a_version_each(path: Path, engine: EmbeddedEngine) -> None:
    before = commits_in_wal(path)
    with gathered(engine, stamp_a_key) as outcomes:
        pass
    assert commits_in_wal(path) == before + 1
    found = [key for key, _ in engine.begin().get_range(b"s", b"t")]
    assert [key[1:9] for key in found] == [number.to_bytes(8, "big") for number in range(1, MEMBERS + 1)]
    # In the order in which they came.
    assert [key[11:] for key in found] == [b"%d" % number for number in range(MEMBERS)]
    assert sorted(map(str, outcomes)) == [key[1:11].hex() for key in found]


def test_of_a_group_that_read_the_same_key_the_first_alone_commits(engine: EmbeddedEngine) -> None:
    def increment(transaction: EmbeddedTransaction, number: int) -> None:
        assert transaction.get(b"n") is None
        transaction.set(b"n", b"%d" % number)

    with gathered(engine, increment) as outcomes:
        pass
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, LedgerError)]
    assert codes == [CONFLICT] * (MEMBERS - 1)
    assert engine.begin().get(b"n") == b"0"


def test_a_conflict_fails_alone(path: Path, engine: EmbeddedEngine) -> None:
    def work(transaction: EmbeddedTransaction, number: int) -> None:
        transaction.get(b"%d" % number)
        transaction.set(b"%d" % number, b"")

    with gathered(engine, work) as outcomes:
        EmbeddedEngine(path).run(lambda transaction: transaction.set(b"3", b"another engine's"))
    assert [outcome.code for outcome in outcomes if isinstance(outcome, LedgerError)] == [CONFLICT]
    assert [value for _, value in engine.begin().get_range(b"", END) if value] == [b"another engine's"]
    assert len(engine.begin().get_range(b"", END)) == MEMBERS


def test_no_member_misses_what_an_earlier_one_has_forgotten(path: Path) -> None:
    EmbeddedEngine(path).run(lambda transaction: transaction.set(b"a", b"1"))
    engine = EmbeddedEngine(path)

    def work(transaction: EmbeddedTransaction, number: int) -> None:
        if number == 1:
            assert transaction.get(b"a") == b"1"
        transaction.set(b"%d" % number, b"")

    with gathered(engine, work, members=2) as outcomes:
        EmbeddedEngine(path).run(lambda transaction: transaction.set(b"a", b"2"))
        # As if an hour had passed: the first commit of an engine forgets all before it.
        connection = apsw.Connection(str(path))
        connection.execute("UPDATE recent SET at = at - 3600")
    assert [outcome.code for outcome in outcomes if isinstance(outcome, LedgerError)] == [CONFLICT]
    assert connection.execute("SELECT version FROM recent").fetchall() == [(3,)]


def test_later_members_find_what_earlier_ones_wrote(engine: EmbeddedEngine) -> None:
    def work(transaction: EmbeddedTransaction, number: int) -> None:
        if number == 3:
            transaction.clear_range(b"a", b"b")
        transaction.add(b"a", (1).to_bytes(8, "little"))
        transaction.set(b"last", b"%d" % number)

    with gathered(engine, work):
        pass
    reader = engine.begin()
    assert reader.get(b"a") == (MEMBERS - 3).to_bytes(8, "little")
    assert reader.get(b"last") == b"%d" % (MEMBERS - 1)


def test_an_undone_group_leaves_no_trace(engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks a group is unknown to all but the one that it broke, and what follows is as if it had not been."""
    apply = engine._committer._write
    written = 0

    def break_at_the_third(*arguments: object) -> object:
        nonlocal written
        written += 1
        if written == 3:
            raise KeyboardInterrupt
        return apply(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(engine._committer, "_write", break_at_the_third)
    with gathered(engine, stamp_a_key) as outcomes:
        pass
    assert [str(outcome) for outcome in outcomes if "1021" not in str(outcome)] == []
    assert len(outcomes) == MEMBERS - 1  # the leader was interrupted
    assert engine.begin().get_range(b"", END) == []
    engine.run(lambda transaction: transaction.set(b"a", b""))
    assert engine.begin().read_version() == 1


def test_closing_refuses_all_that_wait(path: Path) -> None:
    engine = EmbeddedEngine(path)
    with gathered(engine, stamp_a_key) as outcomes:
        engine._storage._closed = True  # as close does, behind the same door
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * MEMBERS
    assert all("is closed" in str(outcome) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == MEMBERS
    assert EmbeddedEngine(path).begin().get_range(b"", END) == []


def test_a_group_is_no_larger_than_a_large_transaction(
    path: Path, engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "CHECKPOINT_PAGES", 1_000_000)  # the WAL, which is counted in, must not start anew

    def work(transaction: EmbeddedTransaction, number: int) -> None:
        for part in range(30):
            transaction.set(b"%d/%d" % (number, part), bytes(99_000))

    before = commits_in_wal(path)
    with gathered(engine, work) as outcomes:
        pass
    assert all(isinstance(outcome, str) for outcome in outcomes)
    assert commits_in_wal(path) == before + 3
    assert len(engine.begin().get_range(b"", END)) == 30 * MEMBERS


def test_many_threads_lose_nothing_and_keep_one_order(engine: EmbeddedEngine) -> None:
    def land(writer: int) -> list[bytes]:
        stamps = []
        for number in range(40):
            transaction = engine.begin()
            transaction.get(b"n%d" % writer)
            transaction.set(b"n%d" % writer, b"%d" % number)
            stamp_a_key(transaction, writer)
            stamp = transaction.get_versionstamp()
            transaction.commit()
            stamps.append(stamp.wait())
        return stamps

    with ThreadPoolExecutor(MEMBERS) as pool:
        stamps = list(pool.map(land, range(MEMBERS)))
    assert all(own == sorted(own) for own in stamps)
    found = [key for key, _ in engine.begin().get_range(b"s", b"t")]
    assert [key[1:9] for key in found] == [number.to_bytes(8, "big") for number in range(1, 40 * MEMBERS + 1)]
    assert sorted(stamp for own in stamps for stamp in own) == [key[1:11] for key in found]


def run_script(script: str, *arguments: str, wrapper: list[str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*(wrapper or []), sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


FORK = """
import os, sys
from pathlib import Path
from nervous_system.ledger.embedded import EmbeddedEngine
from nervous_system.ledger.embedded.commits import Commit
from nervous_system.ledger.embedded.writes import Writes
engine = EmbeddedEngine(Path(sys.argv[1]))
writes = Writes()
writes.set(b"parent", b"")
engine._committer._waiting.append(Commit(writes, None, [], 0))
engine._committer._leading.acquire()
child = os.fork()
engine.run(lambda transaction: transaction.set(b"child", b"")) if child == 0 else os.waitpid(child, 0)
print(*(key.decode() for key, _ in engine.begin().get_range(b"", b"z")), flush=True)
os._exit(0)
"""


def test_a_forked_process_neither_commits_nor_waits_for_its_parents_commits(path: Path) -> None:
    output, errors = run_script(FORK, str(path)).communicate(timeout=LIMIT_S)
    assert output.splitlines() == ["child", "child"], errors


LAND = """
import sys, threading
from pathlib import Path
from nervous_system.ledger.embedded import EmbeddedEngine
engine = EmbeddedEngine(Path(sys.argv[1]))
door = threading.Lock()
def land(writer):
    number = 0
    while True:
        number += 1
        def work(transaction):
            for part in range(5):
                transaction.set(b"%d/%06d/%d" % (writer, number, part), b"")
        engine.run(work)
        with door:
            print(writer, number, flush=True)
for writer in range(8):
    threading.Thread(target=land, args=(writer,)).start()
"""


def test_killed_with_a_group_on_its_way_leaves_whole_commits(path: Path) -> None:
    process = run_script(LAND, str(path))
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    # Not by communicate, which would leave out what is buffered already.
    lines += process.stdout.readlines()
    process.communicate(timeout=LIMIT_S)
    acknowledged = {tuple(map(int, line.split())) for line in lines if line.endswith("\n")}
    found = [tuple(map(int, key.split(b"/"))) for key, _ in EmbeddedEngine(path).begin().get_range(b"", b"z")]
    commits = {(writer, number) for writer, number, _ in found}
    assert len(found) == 5 * len(commits)
    assert acknowledged <= commits
    assert len(commits - acknowledged) <= MEMBERS
    for writer in range(MEMBERS):
        own = sorted(number for each, number in commits if each == writer)
        assert own == list(range(1, len(own) + 1))


FILL = """
import sys, threading
from pathlib import Path
from nervous_system.errors import UnavailableError
from nervous_system.ledger.embedded import EmbeddedEngine
engine = EmbeddedEngine(Path(sys.argv[1]))
def commit(number):
    def work(transaction):
        for part in range(25 if number == 3 else 1):
            transaction.set(b"%d/%02d" % (number, part), bytes(90_000 if number == 3 else 9))
    try:
        engine.run(work)
    except UnavailableError as error:
        print(number, error, flush=True)
engine._storage._writing.acquire()
threads = [threading.Thread(target=commit, args=(number,)) for number in range(8)]
for number, thread in enumerate(threads, start=1):
    thread.start()
    while len(engine._committer._waiting) < number:
        pass
engine._storage._writing.release()
for thread in threads:
    thread.join()
print(*(key.decode() for key, _ in engine.begin().get_range(b"", b"z")))
"""


def test_a_disk_that_is_full_for_one_takes_the_others(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare, which gives the test a small disk, is not installed")
    script = f'mount -t tmpfs -o size=2m none {tmp_path} || exit 77; exec "$@"'
    wrapper = [unshare, "-m" if os.geteuid() == 0 else "-Urm", "sh", "-c", script, "sh"]
    process = run_script(FILL, f"{tmp_path}/ledger.sqlite", wrapper=wrapper)
    output, errors = process.communicate(timeout=LIMIT_S)
    if process.returncode in (1, 77) and not output:
        pytest.skip(f"this machine lets no test mount a small disk: {errors.strip()}")
    assert output.splitlines() == [
        f"3 The disk that holds {tmp_path}/ledger.sqlite is full: free space and run it again.",
        " ".join(f"{number}/00" for number in range(8) if number != 3),
    ], errors
