"""What can go wrong with the embedded stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nervous_system.errors import EnchantedError, SettingsError


class StackError(EnchantedError):
    """The embedded stack could not be started or stopped."""


@contextmanager
def explained(path: Path, action: str) -> Iterator[None]:
    """Turns an OSError on ``path`` into a SettingsError that names it; ``action`` is a past participle."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be {action}: {error.strerror or error}. Make room or give access to it, or set "
            "ENCHANTED_HOME to another folder."
        ) from error
