"""What is wrong with an archive."""

from __future__ import annotations

from nervous_system.errors import EnchantedError


class ArchiveDamagedError(EnchantedError):
    """The archive is not what was written: changed, cut short, or signed by nobody who may."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"The archive is damaged: {what}. Nothing was changed; see `enchanted verify --archive`.")
