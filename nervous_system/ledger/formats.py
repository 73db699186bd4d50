"""Which form the ledger's keys and values have, so that no version reads what it does not understand."""

from __future__ import annotations

from nervous_system.errors import SettingsError
from nervous_system.ledger import keys, tuples
from nervous_system.ledger.transaction import Transaction

FORMAT = 3
# Format 3 is format 2 with stubs in it.
_READ = (2, FORMAT)


def check_format(transaction: Transaction, system_prefix: bytes) -> None:
    """Raises SettingsError where the ledger was written in another form than this version's."""
    stored = transaction.get(_key(system_prefix))
    is_new = stored is None and not transaction.get_range(*keys.within(system_prefix), limit=1)
    if not is_new and stored not in [_value(number) for number in _READ]:
        found = "an earlier, unnumbered format" if stored is None else f"format {int.from_bytes(stored, 'big')}"
        raise SettingsError(
            f"This ledger has {found}, and this version of Enchanted reads and writes format {FORMAT}: use the version "
            "that wrote it, or move it away, and the ingestors land it anew from the log."
        )


def mark_format(transaction: Transaction, system_prefix: bytes) -> None:
    """Writes the format into a new ledger; raises SettingsError where it has another."""
    check_format(transaction, system_prefix)
    transaction.set(_key(system_prefix), _value(FORMAT))


def _key(system_prefix: bytes) -> bytes:
    return tuples.pack(("format",), system_prefix)


def _value(number: int) -> bytes:
    return number.to_bytes(2, "big")
