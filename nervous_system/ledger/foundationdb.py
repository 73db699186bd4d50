"""The ledger on a FoundationDB 7.3 cluster, through the official binding.

Neither the package nor its C library is needed to import this module; both are to open an engine.
Source: https://apple.github.io/foundationdb/api-python.html.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.ledger.tls import TLS
from nervous_system.ledger.transaction import RUN_LIMIT_S, TRANSACTION_LIMIT_BYTES, KeyValue, LedgerError

T = TypeVar("T")

API_VERSION = 730
# Between two runs of a transaction; how often it is run again is bounded by time alone.
MAX_RETRY_DELAY_MS = 1_000
TIMED_OUT = 1031
OPERATION_CANCELLED = 1101
NETWORK_ALREADY_SETUP = 2009


def load_binding() -> Any:
    """The package ``fdb`` with its API version chosen; raises SettingsError where a part of it is missing."""
    try:
        fdb = importlib.import_module("fdb")
    except ImportError as error:
        raise SettingsError(
            "FoundationDB's Python package is missing: run `pip install 'enchanted-swarm[fdb]'`, or use the embedded "
            "ledger."
        ) from error
    try:
        fdb.api_version(API_VERSION)
    except RuntimeError as error:
        raise SettingsError(f"FoundationDB's client does not speak API version {API_VERSION}: {error}") from error
    except Exception as error:  # the binding raises no narrower type where the library is missing
        raise SettingsError(
            f"FoundationDB's C library cannot be loaded ({error}): install FoundationDB's client package, version 7.3, "
            "or use the embedded ledger."
        ) from error
    return fdb


@contextmanager
def translated(fdb: Any) -> Iterator[None]:
    """Raises the binding's errors as LedgerError, and UnavailableError where the cluster does not answer in time."""
    try:
        yield
    except fdb.FDBError as error:
        if error.code == TIMED_OUT:
            raise UnavailableError(
                f"The FoundationDB cluster did not answer within {RUN_LIMIT_S:g} s: look at `fdbcli --exec status`, "
                "and run it again."
            ) from error
        raise LedgerError(error.code, error.description.decode("utf-8", "replace")) from error


class FoundationDBStamp:
    """See ``nervous_system.ledger.transaction.VersionstampFuture``."""

    def __init__(self, fdb: Any, future: Any) -> None:
        self._fdb = fdb
        self._future = future

    def wait(self) -> bytes:
        with translated(self._fdb):
            return bytes(self._future.value)


class FoundationDBWatch:
    """See ``nervous_system.ledger.transaction.Watch``."""

    def __init__(self, fdb: Any, future: Any) -> None:
        self._fdb = fdb
        self._future = future
        # The binding itself cannot wait for a limited time.
        self._ready = Event()
        future.on_ready(lambda _: self._ready.set())

    def wait(self, timeout_s: float) -> bool:
        if not self._ready.wait(timeout_s):
            return False
        with translated(self._fdb):
            try:
                self._future.wait()
            except self._fdb.FDBError as error:
                if error.code == OPERATION_CANCELLED:
                    return False
                raise
        return True

    def cancel(self) -> None:
        self._future.cancel()


class FoundationDBTransaction:
    """See ``nervous_system.ledger.transaction.Transaction``."""

    def __init__(self, fdb: Any, native: Any) -> None:
        self._fdb = fdb
        self._native = native

    def read_version(self) -> int:
        with translated(self._fdb):
            return int(self._native.get_read_version().wait())

    def get(self, key: bytes, *, snapshot: bool = False) -> bytes | None:
        with translated(self._fdb):
            value = self._reader(snapshot).get(key)
            return bytes(value.value) if value.present() else None

    def get_many(self, keys: Sequence[bytes], *, snapshot: bool = False) -> list[bytes | None]:
        with translated(self._fdb):
            reader = self._reader(snapshot)
            values = [reader.get(key) for key in keys]  # all are asked before the first is waited for
            return [bytes(value.value) if value.present() else None for value in values]

    def get_range(
        self, begin: bytes, end: bytes, *, limit: int = 0, reverse: bool = False, snapshot: bool = False
    ) -> list[KeyValue]:
        with translated(self._fdb):
            mode = self._fdb.StreamingMode.want_all
            pairs = self._reader(snapshot).get_range(begin, end, limit=limit, reverse=reverse, streaming_mode=mode)
            return [(pair.key, pair.value) for pair in pairs]

    def set(self, key: bytes, value: bytes) -> None:
        self._native.set(key, value)

    def clear(self, key: bytes) -> None:
        self._native.clear(key)

    def clear_range(self, begin: bytes, end: bytes) -> None:
        self._native.clear_range(begin, end)

    def add(self, key: bytes, operand: bytes) -> None:
        self._native.add(key, operand)

    def set_versionstamped_key(self, key: bytes, value: bytes) -> None:
        self._native.set_versionstamped_key(key, value)

    def set_versionstamped_value(self, key: bytes, value: bytes) -> None:
        self._native.set_versionstamped_value(key, value)

    def set_versionstamped_keys(self, pairs: Sequence[KeyValue]) -> None:
        for key, value in pairs:
            self._native.set_versionstamped_key(key, value)

    def set_versionstamped_values(self, pairs: Sequence[KeyValue]) -> None:
        for key, value in pairs:
            self._native.set_versionstamped_value(key, value)

    def add_read_conflict_range(self, begin: bytes, end: bytes) -> None:
        with translated(self._fdb):
            self._native.add_read_conflict_range(begin, end)

    def get_versionstamp(self) -> FoundationDBStamp:
        return FoundationDBStamp(self._fdb, self._native.get_versionstamp())

    def watch(self, key: bytes) -> FoundationDBWatch:
        return FoundationDBWatch(self._fdb, self._native.watch(key))

    def commit(self) -> None:
        with translated(self._fdb):
            self._native.commit().wait()

    def cancel(self) -> None:
        self._native.cancel()

    def recover(self, error: LedgerError) -> None:
        """Backs off and makes ready to run again; raises LedgerError where FoundationDB says that this is in vain."""
        with translated(self._fdb):
            self._native.on_error(error.code).wait()

    def _reader(self, snapshot: bool) -> Any:
        return self._native.snapshot if snapshot else self._native


class FoundationDBEngine:
    """See ``nervous_system.ledger.transaction.Engine``.

    Args:
        cluster_file: the path of the cluster file; None for FoundationDB's default.
        tls: how to prove who we are, and whom to believe; the binding takes it once a process, from who comes first.

    Raises:
        SettingsError: the binding, its C library, the cluster file or a file of ``tls`` is missing.
    """

    def __init__(self, cluster_file: str | None = None, tls: TLS | None = None) -> None:
        if cluster_file is not None and not Path(cluster_file).is_file():
            raise SettingsError(f"There is no cluster file {cluster_file}: copy it from a machine of the cluster.")
        options = tls.options() if tls else {}
        self._fdb = load_binding()
        with translated(self._fdb):
            _set_once(self._fdb, options)
            self._database = self._fdb.open(cluster_file)
            self._database.options.set_transaction_max_retry_delay(MAX_RETRY_DELAY_MS)
            # A transaction's time includes what is spent on running it again.
            self._database.options.set_transaction_timeout(round(RUN_LIMIT_S * 1000))
            self._database.options.set_transaction_size_limit(TRANSACTION_LIMIT_BYTES)
        self._prefixes: dict[tuple[str, ...], bytes] = {}

    def begin(self) -> FoundationDBTransaction:
        with translated(self._fdb):
            return FoundationDBTransaction(self._fdb, self._database.create_transaction())

    def run(self, work: Callable[[FoundationDBTransaction], T]) -> T:
        transaction = self.begin()
        while True:
            try:
                result = work(transaction)
                transaction.commit()
                return result
            except LedgerError as error:
                transaction.recover(error)

    def directory(self, path: tuple[str, ...], *, create: bool = True) -> bytes | None:
        if not path:
            raise ValueError("the root directory has no prefix: name a path")
        if path not in self._prefixes:
            prefix = self._in_directories(lambda layer, native: _open(layer, native, path, create))
            if prefix is None:
                return None
            self._prefixes[path] = prefix
        return self._prefixes[path]

    def list_directories(self, path: tuple[str, ...]) -> list[str]:
        return self._in_directories(lambda layer, native: _names(layer, native, path))

    def reclaim(self) -> int:
        """Nothing to do: the cluster's servers reuse and return room by themselves."""
        return 0

    def close(self) -> None:
        """Lets the database go. The binding's network thread lives as long as the process."""
        self._database = None

    def _in_directories(self, work: Callable[[Any, Any], T]) -> T:
        """Runs ``work`` on the directory layer with a transaction of the binding's own."""
        with translated(self._fdb):
            return self._fdb.transactional(lambda tr: work(self._fdb.directory, tr))(self._database)  # type: ignore[no-any-return]


def _set_once(fdb: Any, options: dict[str, str]) -> None:
    """Sets options of the network, unless it runs already: its thread takes none after its start."""
    for name, value in options.items():
        try:
            getattr(fdb.options, f"set_{name}")(value)
        except fdb.FDBError as error:
            if error.code != NETWORK_ALREADY_SETUP:
                raise
            return


def _open(layer: Any, native: Any, path: tuple[str, ...], create: bool) -> bytes | None:
    if not create and not layer.exists(native, path):
        return None
    return bytes(layer.create_or_open(native, path).key())


def _names(layer: Any, native: Any, path: tuple[str, ...]) -> list[str]:
    return sorted(layer.list(native, path)) if layer.exists(native, path) else []
