"""A process of its own that works on a ledger: ``python engine_worker.py ADDRESS PREFIX_HEX COMMAND [NUMBER]``."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable

from nervous_system.errors import EnchantedError
from nervous_system.ledger.engines import open_engine
from nervous_system.ledger.transaction import Engine, Transaction

KEYS_OF_A_BATCH = 20


def increment(engine: Engine, prefix: bytes, count: int) -> None:
    """Reads and sets, ``count`` times."""

    def work(transaction: Transaction) -> None:
        value = int(transaction.get(prefix + b"n") or b"0")
        transaction.set(prefix + b"n", b"%d" % (value + 1))

    for _ in range(count):
        engine.run(work)


def add(engine: Engine, prefix: bytes, count: int) -> None:
    """Adds one, ``count`` times."""
    for _ in range(count):
        engine.run(lambda transaction: transaction.add(prefix + b"n", b"\x01" + bytes(7)))


def stamps(engine: Engine, prefix: bytes, count: int) -> None:
    """Prints the versionstamp of each of ``count`` commits."""
    key = prefix + bytes(10) + os.getpid().to_bytes(4, "big") + len(prefix).to_bytes(4, "little")
    for _ in range(count):
        transaction = engine.begin()
        transaction.set_versionstamped_key(key, b"")
        future = transaction.get_versionstamp()
        transaction.commit()
        print(future.wait().hex(), flush=True)


def batches(engine: Engine, prefix: bytes, start: int) -> None:
    """Commits batches from ``start`` on for ever, and prints the number of each that has landed."""
    for number in itertools.count(start):
        put_batch(engine, prefix, number, 300)
        print(number, flush=True)


def fill(engine: Engine, prefix: bytes, value_bytes: int) -> None:
    """Commits batches until one is refused; prints how many landed, and the sentence."""
    number = 0
    try:
        while True:
            put_batch(engine, prefix, number, value_bytes)
            number += 1
    except EnchantedError as error:
        keys = {key.removeprefix(prefix)[:8] for key, _ in read_all(engine, prefix)}
        print(number, len(keys), type(error).__name__, error, flush=True)


def put_batch(engine: Engine, prefix: bytes, number: int, value_bytes: int) -> None:
    def work(transaction: Transaction) -> None:
        for part in range(KEYS_OF_A_BATCH):
            transaction.set(prefix + b"%08d/%02d" % (number, part), b"%d" % number + os.urandom(value_bytes))

    engine.run(work)


def read_all(engine: Engine, prefix: bytes) -> list[tuple[bytes, bytes]]:
    return engine.begin().get_range(prefix, prefix + b"\xff" * 8)


def watch(engine: Engine, prefix: bytes, timeout_s: int) -> None:
    """Says when the watch is set, and whether it woke."""
    transaction = engine.begin()
    notice = transaction.watch(prefix + b"w")
    transaction.commit()
    print("watching", flush=True)
    print(notice.wait(timeout_s), flush=True)


def fork(engine: Engine, prefix: bytes, is_reading: int) -> None:
    """Forks, with a transaction open where ``is_reading``; prints what either process finds when it commits."""
    reader = engine.begin()
    if is_reading:
        reader.get(prefix)
    child = os.fork()
    name = b"parent" if child else b"child"
    if child:
        os.waitpid(child, 0)
    try:
        engine.run(lambda transaction: transaction.set(prefix + name, b"1"))
        print(name.decode(), [key.removeprefix(prefix).decode() for key, _ in read_all(engine, prefix)], flush=True)
    except EnchantedError as error:
        print(name.decode(), error, flush=True)
    if not child:
        # As ``multiprocessing`` leaves a child.
        os._exit(0)


COMMANDS: dict[str, Callable[[Engine, bytes, int], None]] = {
    command.__name__: command for command in (increment, add, stamps, batches, fill, watch, fork)
}


def main(address: str, prefix: str, command: str, number: str) -> None:
    COMMANDS[command](open_engine(address), bytes.fromhex(prefix), int(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
