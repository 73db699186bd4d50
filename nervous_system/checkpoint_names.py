"""What a checkpoint may be called: nothing that, written where a moment is asked for, would mean another moment."""

from __future__ import annotations

import re
from datetime import datetime

from nervous_system.errors import ContractError
from nervous_system.events import MAX_INDEXED_NAME_BYTES

_MEANS_ANOTHER_MOMENT = re.compile(
    r"now|head|latest"
    r"|\d{1,9} +(second|minute|hour|day|week)s? +ago"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\d{1,5}-[0-9a-f]{20}-[0-9a-f]{4}",
    re.IGNORECASE,
)
_STARTS_LIKE_A_TIME = re.compile(r"\d{4}-?\d{2}")


def check_checkpoint_name(name: str) -> None:
    """Raises ContractError where a moment cannot be called so."""
    if not name or ":" in name or name != name.strip() or len(name.encode()) > MAX_INDEXED_NAME_BYTES:
        raise ContractError(
            f"{name[:80]!r} is not a checkpoint's name: use one without ':' or blanks around it, of "
            f"{MAX_INDEXED_NAME_BYTES} bytes at most."
        )
    if not name.isprintable():
        raise ContractError(f"{name[:80]!r} is not a checkpoint's name: it has characters that cannot be printed.")
    if _MEANS_ANOTHER_MOMENT.fullmatch(name) or _is_time(name):
        raise ContractError(f"{name!r} cannot name a checkpoint, as it means another moment: add a word to it.")


def _is_time(text: str) -> bool:
    if not _STARTS_LIKE_A_TIME.match(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
