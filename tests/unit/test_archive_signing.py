"""Signing manifests: what is signed verifies with its key, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.manifest import Change, Manifest
from nervous_system.archive.signing import Signer, signer_of, verifier_of, write_key_pair
from nervous_system.errors import SettingsError
from nervous_system.settings import Settings
from tests.archives import chained, entry

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_a_signature_is_of_the_header_by_the_key() -> None:
    found = Manifest.decode(chained([Change((entry(1),))], SIGNER)[0].encode())
    SIGNER.verifier.check(found)
    assert found.signature is not None
    assert found.signature.startswith(f"ed25519 {SIGNER.verifier.key_id} ".encode())
    other = Signer(Ed25519PrivateKey.generate())
    with pytest.raises(ArchiveDamagedError, match=f"no good signature by the key {other.verifier.key_id}"):
        other.verifier.check(found)
    renamed = other.line(found.lines[0]).replace(other.verifier.key_id.encode(), SIGNER.verifier.key_id.encode())
    for line in (None, b"", b"ed25519", renamed, found.signature[:-4], found.signature + b" x", b"\xff \xff \xff"):
        assert not SIGNER.verifier.good(found.lines[0], line)
    assert not SIGNER.verifier.good(found.lines[0] + b" ", found.signature)
    with pytest.raises(ArchiveDamagedError, match="manifest 1 is not signed"):
        SIGNER.verifier.check(chained([Change((entry(1),))])[0])


def test_keys_come_from_the_files_that_the_settings_name(tmp_path: Path) -> None:
    private = tmp_path / "archive.key"
    public = write_key_pair(private)
    assert (private.stat().st_mode & 0o777, public.name) == (0o600, "archive.key.pub")
    both = Settings(home=tmp_path, archive_signing_key_file=str(private))
    reader = Settings(home=tmp_path, archive_verify_key_file=str(public))
    signer, own, verifier = signer_of(both), verifier_of(both), verifier_of(reader)
    assert signer
    assert own
    assert verifier
    assert signer.verifier.key_id == own.key_id == verifier.key_id
    assert verifier.good(b"header", signer.line(b"header"))
    assert (signer_of(reader), verifier_of(Settings(home=tmp_path))) == (None, None)
    before = private.read_bytes()
    with pytest.raises(SettingsError, match="cannot be written"):
        write_key_pair(private)
    assert private.read_bytes() == before


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    private = tmp_path / "archive.key"
    public = write_key_pair(private)
    for settings, reason in (
        (Settings(home=tmp_path, archive_signing_key_file=str(public)), "is no private Ed25519 key"),
        (Settings(home=tmp_path, archive_verify_key_file=str(private)), "is no public Ed25519 key"),
        (Settings(home=tmp_path, archive_verify_key_file=str(tmp_path / "none")), "cannot be read"),
    ):
        with pytest.raises(SettingsError, match=reason):
            verifier_of(settings)
