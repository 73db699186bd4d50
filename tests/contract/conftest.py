"""The engines that the contract suite runs on, and a space of keys that no other test shares."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nervous_system.errors import EnchantedError
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.foundationdb import load_binding
from nervous_system.ledger.transaction import Engine, KeyValue, Transaction, VersionstampFuture, Watch

GOLDEN = Path(__file__).parents[3] / "shared" / "fdb_golden"
CONNECT_LIMIT_MS = 5_000
END = b"\xff" * 8  # past every key of a test


@dataclass(frozen=True, slots=True)
class Relative:
    """A transaction whose keys are relative to a prefix."""

    inner: Transaction
    prefix: bytes

    def get(self, key: bytes, *, snapshot: bool = False) -> bytes | None:
        return self.inner.get(self.prefix + key, snapshot=snapshot)

    def get_many(self, keys: list[bytes], *, snapshot: bool = False) -> list[bytes | None]:
        return self.inner.get_many([self.prefix + key for key in keys], snapshot=snapshot)

    def get_range(self, begin: bytes, end: bytes, **options: Any) -> list[KeyValue]:
        pairs = self.inner.get_range(self.prefix + begin, self.prefix + end, **options)
        return [(key.removeprefix(self.prefix), value) for key, value in pairs]

    def set(self, key: bytes, value: bytes) -> None:
        self.inner.set(self.prefix + key, value)

    def clear(self, key: bytes) -> None:
        self.inner.clear(self.prefix + key)

    def clear_range(self, begin: bytes, end: bytes) -> None:
        self.inner.clear_range(self.prefix + begin, self.prefix + end)

    def add(self, key: bytes, operand: bytes) -> None:
        self.inner.add(self.prefix + key, operand)

    def set_stamped_key(self, before: bytes, after: bytes, value: bytes) -> None:
        """``value`` at the key made of ``before``, the versionstamp and ``after``."""
        start = self.prefix + before
        self.inner.set_versionstamped_key(start + bytes(10) + after + len(start).to_bytes(4, "little"), value)

    def set_stamped_value(self, key: bytes, before: bytes, after: bytes) -> None:
        """``before``, the versionstamp and ``after`` as the value at ``key``."""
        value = before + bytes(10) + after + len(before).to_bytes(4, "little")
        self.inner.set_versionstamped_value(self.prefix + key, value)

    def add_read_conflict_range(self, begin: bytes, end: bytes) -> None:
        self.inner.add_read_conflict_range(self.prefix + begin, self.prefix + end)

    def get_versionstamp(self) -> VersionstampFuture:
        return self.inner.get_versionstamp()

    def watch(self, key: bytes) -> Watch:
        return self.inner.watch(self.prefix + key)

    def read_version(self) -> int:
        return self.inner.read_version()

    def commit(self) -> None:
        self.inner.commit()

    def cancel(self) -> None:
        self.inner.cancel()


@dataclass(frozen=True, slots=True)
class Space:
    """An engine, and a prefix below which a test may do as it likes."""

    engine: Engine
    prefix: bytes
    path: tuple[str, ...]

    def begin(self) -> Relative:
        return Relative(self.engine.begin(), self.prefix)

    def put(self, **values: bytes) -> None:
        """Commits these values, by key."""
        transaction = self.begin()
        for key, value in values.items():
            transaction.set(key.encode(), value)
        transaction.commit()

    def read(self, key: bytes) -> bytes | None:
        return self.begin().get(key)

    def everything(self) -> list[KeyValue]:
        return self.begin().get_range(b"", END)

    def clear(self) -> None:
        transaction = self.begin()
        transaction.clear_range(b"", END)
        transaction.commit()


@pytest.fixture(params=["embedded", "foundationdb"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each engine's address in turn; FoundationDB where the environment names a cluster that answers."""
    return f"embedded://{tmp_path}/ledger.sqlite" if request.param == "embedded" else cluster_address()


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    """Each engine in turn."""
    opened = open_engine(address)
    yield opened
    opened.close()


@pytest.fixture
def space(engine: Engine, address: str) -> Iterator[Space]:
    """A fresh directory of the engine; afterwards it is emptied, and on a cluster removed."""
    path = ("enchanted-tests", uuid.uuid4().hex)
    prefix = engine.directory(path)
    assert prefix is not None
    space = Space(engine, prefix, path)
    yield space
    space.clear()
    if address.startswith("fdb:"):
        fdb = load_binding()
        fdb.directory.remove_if_exists(fdb.open(address.removeprefix("fdb://")), path)


@pytest.fixture
def golden() -> Path:
    """The folder of what a real FoundationDB answered."""
    if not GOLDEN.is_dir():
        pytest.skip(f"the recorded answers of FoundationDB are not at {GOLDEN}")
    return GOLDEN


def cluster_address() -> str:
    cluster_file = os.environ.get("FDB_CLUSTER_FILE")
    if not cluster_file:
        pytest.skip("FDB_CLUSTER_FILE names no FoundationDB cluster")
    try:
        fdb = load_binding()
    except EnchantedError as error:
        pytest.skip(str(error))
    try:
        native = fdb.open(cluster_file).create_transaction()
        native.options.set_timeout(CONNECT_LIMIT_MS)
        native.get_read_version().wait()
    except fdb.FDBError as error:
        pytest.skip(f"the FoundationDB cluster of {cluster_file} does not answer: {error}")
    return f"fdb://{Path(cluster_file).absolute()}"
