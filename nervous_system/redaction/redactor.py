"""Takes secrets out of events and files before they are recorded."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from nervous_system.contract import SwarmEvent
from nervous_system.errors import ContractError
from nervous_system.redaction import fields
from nervous_system.redaction.credentials import credential_rules
from nervous_system.redaction.encodings import decoded
from nervous_system.redaction.names import KeyNames, name_rules
from nervous_system.redaction.placeholders import PLACEHOLDER, Mark, Redacted, in_few, placeholder
from nervous_system.redaction.rules import Kind, Rule, RuleSet
from nervous_system.redaction.substitution import Place, redact
from nervous_system.redaction.tokens import token_rules
from nervous_system.redaction.user_rules import load_rules
from nervous_system.redaction.vault import KEY_BYTES, VAULT_FILE, Deposit, Vault, VaultError
from nervous_system.settings import Settings

logger = logging.getLogger(__name__)

CONTENT_FIELD = "state_change.content"
_MAX_CLEAN = 10_000


@cache
def built_in_rules() -> tuple[Rule, ...]:
    """The rules that everybody has."""
    return (*credential_rules(), *token_rules(), *name_rules())


@cache
def _built_in_set() -> RuleSet:
    return RuleSet(built_in_rules())


class Redactor:
    """Gives back what it is given without its secrets. Safe to use from several threads, and after a fork.

    Args:
        vault: keeps what was taken out of files, and the key of the placeholders.
        rules: besides those that everybody has.
        is_on: whether anything is taken out at all.
    """

    def __init__(self, vault: Vault, rules: Sequence[Rule] = (), *, is_on: bool = True) -> None:
        self.vault = vault
        self._is_on = is_on
        self._rules = RuleSet((*built_in_rules(), *rules)) if rules else _built_in_set()
        # A user's rule may ask for the beginning or the end of a text.
        self._screens = not rules
        self._clean: set[tuple[bytes, Kind]] = set()
        self._key = b""
        self._contents: dict[tuple[str, str], str] = {}
        self._contents_ns = -1

    @classmethod
    def of(cls, settings: Settings) -> Redactor:
        """As the settings say; raises SettingsError for a file of rules that is wrong."""
        rules = load_rules(Path(settings.redaction_rules).expanduser()) if settings.redaction_rules else []
        return cls(Vault(settings.home / VAULT_FILE), rules, is_on=settings.redaction != "off")

    def text(self, text: str, kind: Kind = Kind.TEXT) -> tuple[str, tuple[Mark, ...]]:
        """A text without its secrets, the same object where it has none; they are kept nowhere."""
        if not self._is_on or not text:
            return text, ()
        left, places = redact(text, kind, self._rules, self._sealed)
        return left, _marks(left, places, "utf-8")

    def content(self, content: bytes, resource: str = "") -> Redacted:
        """A file's content without its secrets, which the vault keeps. The same content gives the same again.

        Args:
            content: the bytes; of any encoding, or none.
            resource: the file's path, which tells code from configuration.
        """
        if not self._is_on or not content:
            return Redacted(content)
        kind = Kind.of(resource)
        digest = hashlib.sha256(content).digest()
        if (digest, kind) in self._clean:
            return Redacted(content)
        text, codec = decoded(content)
        with _Safe(self) as safe:
            left, places = redact(text, kind, self._rules, lambda rule, secret: safe.put(rule, secret.encode(codec)))
            if left is text:
                self._note_clean(digest, kind)
                return Redacted(content)
            redacted = left.encode(codec)
            recorded = hashlib.sha256(redacted)
            safe.note(digest.hex(), kind.value, recorded.hexdigest())
            self._note_clean(recorded.digest(), kind)
        return Redacted(redacted, _marks(left, places, codec))

    def state_hash(self, held: str, resource: str = "") -> str:
        """The hash of what was recorded for a content, by the hash of the content as it is on disk, both in hex."""
        if not self._is_on or not held:
            return held
        changed_ns = self.vault.changed_ns()
        if changed_ns != self._contents_ns:
            try:
                self._contents, self._contents_ns = self.vault.contents(), changed_ns
            except VaultError as error:
                logger.warning("%s", error)
        return self._contents.get((held, Kind.of(resource).value), held)

    def event(self, event: SwarmEvent) -> SwarmEvent:
        """An event without secrets in its texts, with marks of them; the same object where it has none.

        Paths, hashes and ids that every store checks stay as they are; so do ``content`` and ``diff_patch``, which
        ``content`` has been through.

        Raises:
            ContractError: a checkpoint's name has a secret in it.
        """
        if not self._is_on:
            return event
        if event.checkpoint.name and self.text(event.checkpoint.name)[1]:
            raise ContractError("The checkpoint's name has what looks like a secret in it: choose another name.")
        if self._screens and not self._may_have_secrets(event):
            return event
        left = SwarmEvent()
        left.CopyFrom(event)
        fields.replace(left, self._field)
        return left if len(left.redactions) > len(event.redactions) else event

    def _may_have_secrets(self, event: SwarmEvent) -> bool:
        if any(KeyNames.may_hold(each) for each in fields.map_keys(event)):
            return True
        joined = "\n".join(fields.texts(event))
        return redact(joined, Kind.TEXT, self._rules, lambda rule, _: f"[redacted:{rule}:00000000]")[0] is not joined

    def _field(self, text: str, key: str) -> tuple[str, tuple[Mark, ...]]:
        """One text of an event; ``key`` is its name in a map."""
        left, marks = self.text(text)
        # What stands in the key for a secret says nothing of the value.
        if not marks and key and KeyNames.holds(PLACEHOLDER.sub("", key), text):
            return self._sealed(KeyNames.name, text), (Mark(KeyNames.name, 0),)
        return left, marks

    def _sealed(self, rule: str, secret: str) -> str:
        return placeholder(rule, secret.encode("utf-8", "surrogatepass"), self.key())

    def key(self) -> bytes:
        """The key of the placeholders; where the vault cannot be used, one that this process alone has."""
        if not self._key:
            try:
                self._key = self.vault.key()
            except VaultError as error:
                logger.warning("%s", error)
                self._key = os.urandom(KEY_BYTES)
        return self._key

    def _note_clean(self, digest: bytes, kind: Kind) -> None:
        if len(self._clean) >= _MAX_CLEAN:
            self._clean.clear()
        self._clean.add((digest, kind))


class _Safe:
    """The vault, opened for the first secret. Where that fails, secrets are taken out all the same, and not kept."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._stack = ExitStack()
        self._deposit: Deposit | None = None
        self._failed = False

    def __enter__(self) -> _Safe:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stack.close()
        except VaultError as error:
            logger.warning("%s", error)

    def put(self, rule: str, secret: bytes) -> str:
        """What stands for a secret."""
        deposit = self._opened()
        return placeholder(rule, secret, self._redactor.key()) if deposit is None else deposit.put(rule, secret)

    def note(self, held: str, kind: str, recorded: str) -> None:
        """Notes which content stands for which."""
        deposit = self._opened()
        if deposit is not None:
            deposit.note(held, kind, recorded)

    def _opened(self) -> Deposit | None:
        if self._deposit is None and not self._failed:
            try:
                self._deposit = self._stack.enter_context(self._redactor.vault.deposit())
            except VaultError as error:
                self._failed = True
                logger.warning("%s", error)
        return self._deposit


def _marks(left: str, places: list[Place], codec: str) -> tuple[Mark, ...]:
    marks, at, offset = [], 0, 0
    for start, rule in places:
        offset += len(left[at:start].encode(codec, "surrogatepass"))
        at = start
        marks.append(Mark(rule, offset))
    return in_few(marks)
