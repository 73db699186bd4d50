"""Signing manifests with Ed25519 (RFC 8032): keys as PEM files, named by the settings."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.manifest import Manifest
from nervous_system.errors import SettingsError
from nervous_system.settings import Settings

SCHEME = b"ed25519"


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks signatures against one public key."""

    key: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """How the SHA-256 of the raw public key starts, 16 hex digits."""
        return hashlib.sha256(self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]

    def good(self, header: bytes, line: bytes | None) -> bool:
        """Whether ``line`` is this key's signature line of a header's line."""
        *named, signature = (line or b"").split(b" ")
        if named != [SCHEME, self.key_id.encode()]:
            return False
        try:
            self.key.verify(base64.b64decode(signature, validate=True), header)
        except (InvalidSignature, binascii.Error):
            return False
        return True

    def check(self, manifest: Manifest) -> None:
        """Raises ArchiveDamagedError where the manifest is not signed by this key."""
        if not self.good(manifest.lines[0], manifest.signature):
            state = "is not signed" if manifest.signature is None else "has no good signature"
            raise ArchiveDamagedError(
                f"manifest {manifest.number} {state} by the key {self.key_id} that "
                "ENCHANTED_ARCHIVE_VERIFY_KEY_FILE (or …_SIGNING_KEY_FILE) gives"
            )


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with one private key."""

    key: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        """Its public half."""
        return Verifier(self.key.public_key())

    def line(self, header: bytes) -> bytes:
        """The signature's line for a header's line, without its end."""
        return b" ".join((SCHEME, self.verifier.key_id.encode(), base64.b64encode(self.key.sign(header))))


def signer_of(settings: Settings) -> Signer | None:
    """What signs manifests; None where no key is set. Raises SettingsError where the file is no such key."""
    name = settings.archive_signing_key_file
    return Signer(read_signing_key(Path(name).expanduser())) if name else None


def verifier_of(settings: Settings) -> Verifier | None:
    """What checks manifests: the verify key, else the signing key's public half; None where neither is set.

    Raises:
        SettingsError: the file is no such key.
    """
    if settings.archive_verify_key_file:
        return Verifier(read_verify_key(Path(settings.archive_verify_key_file).expanduser()))
    signer = signer_of(settings)
    return signer.verifier if signer else None


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """A private key from a PEM file; raises SettingsError where it is none."""
    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(_no_key(path, "private", "ENCHANTED_ARCHIVE_SIGNING_KEY_FILE")) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(_no_key(path, "private", "ENCHANTED_ARCHIVE_SIGNING_KEY_FILE"))
    return key


def read_verify_key(path: Path) -> Ed25519PublicKey:
    """A public key from a PEM file; raises SettingsError where it is none."""
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(_no_key(path, "public", "ENCHANTED_ARCHIVE_VERIFY_KEY_FILE")) from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(_no_key(path, "public", "ENCHANTED_ARCHIVE_VERIFY_KEY_FILE"))
    return key


def write_key_pair(path: Path) -> Path:
    """Makes a key pair: the private half at ``path`` (mode 0600), the public one beside it with ``.pub`` added.

    Returns:
        The public half's path.

    Raises:
        SettingsError: one of the files is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    public = path.with_name(f"{path.name}.pub")
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _write(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    return public


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"The archive's key {path} cannot be read: {error.strerror}.") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SettingsError(f"The key {path} cannot be written: {error.strerror}. Nothing was overwritten.") from error


def _no_key(path: Path, half: str, variable: str) -> str:
    return (
        f"{path} is no {half} Ed25519 key as PEM without a password: make a pair with `enchanted archive key new "
        f"FILE`, and set {variable} to its {half} half."
    )
