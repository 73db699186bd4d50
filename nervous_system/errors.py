"""Errors that a person reads: each carries a sentence that says what is wrong and what to do."""

from __future__ import annotations


class EnchantedError(Exception):
    """An expected failure. Its text is a sentence for the user; commands print it and exit with ``exit_code``."""

    exit_code = 2


class SettingsError(EnchantedError):
    """A setting is missing or cannot be read."""


class UnavailableError(EnchantedError):
    """A server that this step needs does not answer."""


class AccessError(EnchantedError):
    """A server answered that the credentials are wrong or insufficient."""


class ContractError(EnchantedError):
    """An event or a batch breaks the contract."""


class NotFoundError(EnchantedError):
    """The project, event, moment or path that was asked for is not there."""
