"""This machine: versions, who may read secrets, redaction, outboxes, disk."""

from __future__ import annotations

import platform
import stat
import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib import metadata
from pathlib import Path

from infrastructure.doctor.disks import room_at
from infrastructure.doctor.findings import Finding, Patient, failure, ok, warning
from nervous_system.errors import EnchantedError
from nervous_system.outbox.opening import outbox_paths
from nervous_system.outbox.reading import OutboxReader
from nervous_system.settings import STACK_FILE, Settings

PACKAGES = (
    "enchanted-swarm",
    "nats-py",
    "protobuf",
    "apsw",
    "clickhouse-connect",
    "boto3",
    "foundationdb",
    "chdb-core",
)
OWN_SECRETS = (STACK_FILE, "secrets.json")
# Certificates and authorities are no secrets.
PUBLIC_FILES = ("ca_file", "certificate_file", "cert_file", "verify_key_file")
OUTBOX_LATE_S = 900.0


def look(patient: Patient) -> Iterator[Finding]:
    """All about this machine; nothing is asked of any server."""
    yield _versions()
    yield from _secrets(patient.settings)
    yield _redaction(patient.settings)
    yield from _outboxes(patient)
    yield room_at("machine: disk", patient.settings.outbox_folder)


def _versions() -> Finding:
    found = {name: version for name in PACKAGES if (version := _version(name))}
    words = ", ".join(f"{name} {version}" for name, version in found.items())
    return ok("machine: versions", f"Python {platform.python_version()} on {sys.platform}; {words}.")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _secrets(settings: Settings) -> Iterator[Finding]:
    """One finding a file that others may read; one for all where none is."""
    strict = [settings.home / name for name in OWN_SECRETS]
    named = [Path(value) for value in _secret_files(settings)]
    faults = [*_open_to(strict, 0o077), *_open_to(named, 0o037)]
    yield from faults
    if not faults:
        yield ok("machine: secrets", "Files with secrets are readable by their owner only.")


def _secret_files(settings: Settings) -> Iterator[str]:
    for field in fields(settings):
        value = str(getattr(settings, field.name))
        if field.name.endswith("_file") and not field.name.endswith(PUBLIC_FILES) and value:
            yield value


def _open_to(paths: list[Path], forbidden: int) -> Iterator[Finding]:
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            if path.name not in OWN_SECRETS:
                yield failure("machine: secrets", f"{path} is not there, and a setting names it: correct the setting.")
            continue
        if mode & forbidden:
            yield failure(
                "machine: secrets",
                f"{path} has mode {mode:04o}, which lets others read or change it: chmod 600 {path}",
            )


def _redaction(settings: Settings) -> Finding:
    if settings.redaction == "on":
        return ok("machine: redaction", "On: secrets are taken out before anything is recorded.")
    return warning(
        "machine: redaction", "Off: what agents see of secrets is recorded for ever. Unset ENCHANTED_REDACTION."
    )


def _outboxes(patient: Patient) -> Iterator[Finding]:
    paths = outbox_paths(patient.settings)
    waiting = 0
    for path in paths:
        check = f"outbox: {path.parent.name}/{path.stem}"
        try:
            with OutboxReader(path) as reader:
                backlog = reader.backlog()
        except EnchantedError as error:
            yield failure(check, str(error))
            continue
        waiting += backlog.rows
        age_s = (patient.clock() - backlog.since_us) / 1e6 if backlog.since_us is not None else 0.0
        if backlog.rows and age_s > OUTBOX_LATE_S:
            yield warning(
                check,
                f"{backlog.rows:,} rows wait, the oldest for {age_s / 60:,.0f} minutes: run `enchanted sync`, which "
                "says what is in the way.",
            )
    yield ok("outboxes", f"{len(paths):,} on this machine, in which {waiting:,} rows wait.")
