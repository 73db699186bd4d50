"""What to retry, and waiting: it doubles, it is spread, and it has a limit."""

from __future__ import annotations

import nats.errors
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from hypothesis import given
from hypothesis import strategies as st
from nats.js.errors import NotFoundError, ServiceUnavailableError

from ingestors.pump import DeliveryGapError, LogFellBackError
from ingestors.retries import Action, decide
from nervous_system.errors import AccessError, SettingsError, UnavailableError
from nervous_system.ledger.append import CursorMovedError
from nervous_system.ledger.transaction import LedgerError
from nervous_system.retries import Backoff

CLICKHOUSE_MEMORY = "HTTP 500: Code: 241. DB::Exception: Memory limit (total) exceeded. (MEMORY_LIMIT_EXCEEDED)"
S3_SIZE = "S3 does not take what is archived: An error occurred (EntityTooLarge) when calling PutObject"

waits = st.floats(0.001, 100)


@pytest.mark.parametrize(
    ("error", "action"),
    [
        # A server is away, restarts, is cut off or slow.
        (UnavailableError("NATS is silent"), Action.AGAIN),
        (TimeoutError(), Action.AGAIN),
        (ConnectionResetError(104, "reset by peer"), Action.AGAIN),
        (nats.errors.ConnectionClosedError(), Action.AGAIN),
        (nats.errors.TimeoutError(), Action.AGAIN),
        (ServiceUnavailableError(), Action.AGAIN),
        (NotFoundError(), Action.AGAIN),
        (OperationalError("connection refused"), Action.AGAIN),
        (DatabaseError("Code: 252. DB::Exception: Too many parts. (TOO_MANY_PARTS)"), Action.AGAIN),
        # A disk is full, and somebody may free it.
        (OSError(28, "No space left on device"), Action.AGAIN),
        (DatabaseError("Code: 243. DB::Exception: Cannot reserve 1.00 MiB. (NOT_ENOUGH_SPACE)"), Action.AGAIN),
        # A key that was changed at the server first, and here later.
        (AccessError("S3 refuses the keys"), Action.AGAIN),
        # Other workers.
        (DeliveryGapError("another worker"), Action.AGAIN),
        (CursorMovedError("another worker landed there"), Action.AGAIN),
        (LedgerError(1020, "Transaction not committed due to conflict"), Action.AGAIN),
        (LedgerError(1021, "Transaction may or may not have committed"), Action.AGAIN),
        # The log is made anew by a person while the worker waits.
        (LogFellBackError("the log lost its end"), Action.AGAIN),
        # Nobody thought of it.
        (RuntimeError("?"), Action.AGAIN),
        # Too much at once.
        (LedgerError(2101, "Transaction exceeds byte limit"), Action.SMALLER),
        (LedgerError(1007, "Transaction is too old to perform reads or be committed"), Action.SMALLER),
        (DatabaseError(CLICKHOUSE_MEMORY), Action.SMALLER),
        (UnavailableError(S3_SIZE), Action.SMALLER),
        (MemoryError(), Action.SMALLER),
        # A person must act.
        (SettingsError("ENCHANTED_LEDGER is not set"), Action.GIVE_UP),
    ],
    ids=lambda value: f"{type(value).__name__} {value}"[:60] if isinstance(value, Exception) else value.name,
)
def test_what_to_do_about_a_failure(error: Exception, action: Action) -> None:
    assert decide(error) is action


@given(waits, waits, st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_lies_between_half_and_all_of_its_step(
    first_s: float, longest_s: float, failures: int, spread: float
) -> None:
    backoff = Backoff(first_s, longest_s)
    step_s = min(first_s * 2.0 ** min(failures - 1, 40), longest_s)
    assert step_s / 2 <= backoff.wait_s(failures, spread) <= step_s
    assert backoff.wait_s(failures, 0) == step_s / 2
    assert backoff.wait_s(failures, 1) == step_s


def test_the_standing_waits() -> None:
    assert [Backoff().wait_s(failures, 1) for failures in (1, 2, 3, 8, 9, 10**9)] == [0.1, 0.2, 0.4, 12.8, 15.0, 15.0]
