"""What only the embedded engine has: a file, its disk, its sets of ranges, and forks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.ledger.embedded import EmbeddedEngine
from nervous_system.ledger.embedded.ranges import RangeSet
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.transaction import LedgerError
from tests.contract.test_engine_processes import LIMIT_S, REPOSITORY, WORKER

WAL_BOUND_BYTES = 80_000_000

keys = st.binary(max_size=2).map(lambda data: bytes(byte % 3 for byte in data))
ranges = st.tuples(keys, keys)
ALL_KEYS = [bytes(p) for p in ([], *([a] for a in range(3)), *([a, b] for a in range(3) for b in range(3)))]


def members(begin: bytes, end: bytes) -> set[bytes]:
    return {key for key in ALL_KEYS if begin <= key < end}


@given(st.lists(st.tuples(st.booleans(), ranges), max_size=12), ranges)
def test_sets_of_ranges_are_sets_of_keys(
    steps: list[tuple[bool, tuple[bytes, bytes]]], asked: tuple[bytes, bytes]
) -> None:
    found, model = RangeSet(), set()
    for is_added, (begin, end) in steps:
        if is_added:
            found.add(begin, end)
            model |= members(begin, end)
        else:
            found.remove(begin, end)
            model -= members(begin, end)
    assert {key for key in ALL_KEYS if key in found} == model
    assert {key for part in found.within(*asked) for key in members(*part)} == model & members(*asked)
    assert {key for part in found.outside(*asked) for key in members(*part)} == members(*asked) - model
    assert list(RangeSet.of(found)) == list(RangeSet.from_bytes(found.to_bytes())) == list(found)
    assert all(end < begin for end, begin in zip(found.ends, found.begins[1:], strict=False))


@given(st.lists(ranges.filter(lambda pair: pair[0] < pair[1]), max_size=8), ranges)
def test_overlap_is_a_shared_key(parts: list[tuple[bytes, bytes]], asked: tuple[bytes, bytes]) -> None:
    found = RangeSet.of(parts)
    if asked[0] < asked[1]:
        assert found.overlaps(*asked) == bool(found.within(*asked))


def test_addresses_choose_the_engine(tmp_path: Path) -> None:
    engine = open_engine(f"embedded://{tmp_path}/new folder/deep/ledger.sqlite")
    engine.run(lambda transaction: transaction.set(b"a", b"1"))
    engine.close()
    assert (tmp_path / "new folder" / "deep" / "ledger.sqlite").exists()


@pytest.mark.parametrize("address", ["", "ledger.sqlite", "embedded://relative", "fdb://host:4500", "sqlite:///x"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="not a ledger's address"):
        open_engine(address)


def test_a_missing_cluster_file_is_said() -> None:
    with pytest.raises(SettingsError, match="There is no cluster file"):
        open_engine("fdb:///nowhere/fdb.cluster")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"not a database, and longer than a header is, so that it can be told from an empty file" * 20)
    with pytest.raises(SettingsError, match="not a ledger, nor any SQLite database"):
        EmbeddedEngine(path)
    assert path.read_bytes().startswith(b"not a database")


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(SettingsError, match="an SQLite database, but not a ledger"):
        EmbeddedEngine(path)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be made"):
        EmbeddedEngine(tmp_path / "file" / "ledger.sqlite")


def test_a_folder_in_the_files_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be opened for writing"):
        EmbeddedEngine(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_lack_of_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SettingsError, match="permissions"):
        EmbeddedEngine(tmp_path / "ledger.sqlite")


def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path / "ledger.sqlite")
    engine.close()
    with pytest.raises(UnavailableError, match="closed"):
        engine.begin().get(b"a")
    with pytest.raises(UnavailableError, match="closed"):
        engine.run(lambda transaction: transaction.set(b"a", b""))


def test_opened_by_many_at_once(tmp_path: Path) -> None:
    engines: list[EmbeddedEngine] = []
    threads = [
        threading.Thread(target=lambda: engines.append(EmbeddedEngine(tmp_path / "ledger.sqlite"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    prefixes = {engine.directory(("a", "b")) for engine in engines}
    assert len(engines) == 8
    assert len(prefixes) == 1


def test_commits_are_synced_and_the_journal_is_a_wal(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path / "ledger.sqlite")
    with engine._storage.writing() as connection:
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2


def test_the_wal_starts_anew_once_a_reader_ends(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    engine = EmbeddedEngine(path)
    reader = engine.begin()
    reader.get(b"a")
    largest = 0
    for number in range(60):
        transaction = engine.begin()
        for part in range(25):
            transaction.set(b"%d" % part, bytes([number]) * 99_000)
        transaction.commit()
        if number == 10:
            reader.cancel()
        largest = max(largest, path.with_name(path.name + "-wal").stat().st_size)
    assert largest < WAL_BOUND_BYTES


def test_recent_commits_are_forgotten_and_who_needs_them_is_too_old(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    engine = EmbeddedEngine(path)
    engine.run(lambda transaction: transaction.set(b"a", b""))
    reader = engine.begin()
    assert reader.read_version() == 1
    reader.set(b"x", b"")
    engine.run(lambda transaction: transaction.set(b"b", b""))
    # As if an hour had passed.
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE recent SET at = at - 3600")
    EmbeddedEngine(path).run(lambda transaction: transaction.set(b"y", b""))
    assert connection.execute("SELECT version FROM recent").fetchall() == [(3,)]
    with pytest.raises(LedgerError, match="1007"):
        reader.commit()


def worker(
    address: str, command: str, number: int, wrapper: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(wrapper or []), sys.executable, str(WORKER), address, b"p".hex(), command, str(number)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def test_a_full_disk_undoes_the_commit_and_says_so(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=2m none {tmp_path} || exit 77; exec "$@"'
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare, which gives the test a small disk, is not installed")
    wrapper = [unshare, "-m" if os.geteuid() == 0 else "-Urm", "sh", "-c", script, "sh"]
    done = worker(f"embedded://{tmp_path}/ledger.sqlite", "fill", 3_000, wrapper)
    if done.returncode in (1, 77) and not done.stdout:
        pytest.skip(f"this machine lets no test mount a small disk: {done.stderr.strip()}")
    landed, found, kind, sentence = done.stdout.split(maxsplit=3)
    assert int(landed) == int(found) > 0
    assert kind == "UnavailableError"
    assert sentence == (f"The disk that holds {tmp_path}/ledger.sqlite is full: free space and run it again.\n")


def test_a_forked_process_works_with_connections_of_its_own(tmp_path: Path) -> None:
    done = worker(f"embedded://{tmp_path}/ledger.sqlite", "fork", 0)
    assert done.stdout.splitlines() == ["child ['child']", "parent ['child', 'parent']"]


def test_a_process_forked_within_a_transaction_is_refused(tmp_path: Path) -> None:
    child, parent = worker(f"embedded://{tmp_path}/ledger.sqlite", "fork", 1).stdout.splitlines()
    assert child.startswith("child This process was forked while a transaction on")
    assert parent == "parent ['parent']"
