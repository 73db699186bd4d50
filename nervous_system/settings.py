"""Addresses, credentials and limits, read from the environment and, below it, from the embedded stack's file.

A variable that is set in the environment wins. ``$ENCHANTED_HOME/stack.env``, which ``enchanted up`` writes, gives
the addresses of the embedded stack for whatever the environment leaves open, so that a laptop needs no variables and
a cluster needs nothing but variables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nervous_system.errors import SettingsError

STACK_FILE = "stack.env"
PREFIX = "ENCHANTED_"
# ENCHANTED_X_FILE names a file with the value of ENCHANTED_X.
FILE_SUFFIX = "_FILE"
MAX_PARTITIONS = 1024
# What a full outbox does: hold the agent back, or let the oldest signals go first.
OVERFLOW_POLICIES = ("block", "drop_signals")
MIN_OUTBOX_BYTES = 4 * 1024 * 1024
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS = ("text", "json")
# Where the bucket's name stands in an address: host/bucket, or bucket.host.
S3_ADDRESSINGS = ("path", "virtual", "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, each read from the variable ``ENCHANTED_`` and its name in capitals.

    An empty address means that it is not set; whoever needs it asks through ``require``.
    """

    home: Path
    nats_url: str = ""
    nats_token: str = ""
    nats_user: str = ""
    nats_password: str = ""
    nats_tenant: str = ""
    nats_creds_file: str = ""
    nats_nkey_file: str = ""
    nats_tls_ca_file: str = ""
    nats_tls_certificate_file: str = ""
    nats_tls_key_file: str = ""
    stream: str = "SWARM"
    partitions: int = 4
    replicas: int = 1
    clickhouse_url: str = ""
    clickhouse_user: str = "default"
    clickhouse_password: str = ""
    clickhouse_database: str = "default"
    clickhouse_tls_ca_file: str = ""
    clickhouse_tls_certificate_file: str = ""
    clickhouse_tls_key_file: str = ""
    ledger: str = ""
    fdb_tls_certificate_file: str = ""
    fdb_tls_key_file: str = ""
    fdb_tls_ca_file: str = ""
    fdb_tls_verify_peers: str = ""
    fdb_tls_password: str = ""
    s3_endpoint: str = ""
    s3_bucket: str = "enchanted"
    s3_access_key: str = ""
    s3_secret_key: str = ""
    s3_region: str = "us-east-1"
    s3_addressing: str = "path"
    s3_ca_file: str = ""
    s3_object_lock_days: int = 0
    archive_signing_key_file: str = ""
    archive_verify_key_file: str = ""
    hot_days: int = 0
    hot_days_by_tenant: str = ""
    batch_max_events: int = 10_000
    batch_max_bytes: int = 8_000_000
    batch_max_age_s: float = 0.05
    siphon_roll_bytes: int = 8_000_000
    siphon_roll_age_s: float = 30.0
    siphon_folder: str = ""
    siphon_compact_every_s: float = 600.0
    siphon_target_bytes: int = 128_000_000
    log_level: str = "INFO"
    log_format: str = "text"
    metrics_address: str = ""
    outbox: str = ""
    outbox_max_bytes: int = 1024 * 1024 * 1024
    outbox_overflow: str = "block"
    outbox_commit_within_s: float = 0.05
    outbox_keep_s: float = 7 * 24 * 3600.0
    redaction: str = "on"
    redaction_rules: str = ""

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings of this process; raises SettingsError for a value that cannot be read."""
        environment = os.environ if environment is None else environment
        home = Path(environment.get("ENCHANTED_HOME") or Path.home() / ".enchanted").expanduser()
        known = {**_opened(read_env_file(home / STACK_FILE)), **_opened(environment)}
        values: dict[str, Any] = {"home": home}
        for field in fields(cls):
            variable = PREFIX + field.name.upper()
            if field.name != "home" and variable in known:
                values[field.name] = _parse(variable, known[variable], type(field.default))
        settings = cls(**values)
        settings.check()
        return settings

    def check(self) -> None:
        """Raises SettingsError for a value that is no use."""
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise SettingsError(f"ENCHANTED_PARTITIONS={self.partitions} is not between 1 and {MAX_PARTITIONS}.")
        if self.log_level not in LOG_LEVELS:
            raise SettingsError(f"ENCHANTED_LOG_LEVEL={self.log_level} is not one of {', '.join(LOG_LEVELS)}.")
        if self.log_format not in LOG_FORMATS:
            raise SettingsError(f"ENCHANTED_LOG_FORMAT={self.log_format} is not one of {', '.join(LOG_FORMATS)}.")
        if self.redaction not in ("on", "off"):
            raise SettingsError(f"ENCHANTED_REDACTION={self.redaction} is neither on nor off.")
        self._check_outbox()
        self._check_s3()

    def _check_s3(self) -> None:
        if self.s3_addressing not in S3_ADDRESSINGS:
            raise SettingsError(
                f"ENCHANTED_S3_ADDRESSING={self.s3_addressing} is not one of {', '.join(S3_ADDRESSINGS)}."
            )
        if self.s3_object_lock_days < 0:
            raise SettingsError(
                f"ENCHANTED_S3_OBJECT_LOCK_DAYS={self.s3_object_lock_days} is below 0, which locks nothing."
            )

    def _check_outbox(self) -> None:
        if self.outbox_overflow not in OVERFLOW_POLICIES:
            raise SettingsError(
                f"ENCHANTED_OUTBOX_OVERFLOW={self.outbox_overflow} is not one of {', '.join(OVERFLOW_POLICIES)}."
            )
        if self.outbox_max_bytes < MIN_OUTBOX_BYTES:
            raise SettingsError(
                f"ENCHANTED_OUTBOX_MAX_BYTES={self.outbox_max_bytes} is below the {MIN_OUTBOX_BYTES:,} that an outbox "
                "needs."
            )
        if not (0 <= self.outbox_commit_within_s <= 60 and self.outbox_keep_s >= 0):
            raise SettingsError(
                "ENCHANTED_OUTBOX_COMMIT_WITHIN_S must be 0 to 60, and ENCHANTED_OUTBOX_KEEP_S at least 0."
            )

    @property
    def outbox_folder(self) -> Path:
        """Where the outboxes of this machine are."""
        return Path(self.outbox).expanduser() if self.outbox else self.home / "outbox"

    @property
    def siphon_files(self) -> Path:
        """Where files for the archive stand until they are uploaded."""
        return Path(self.siphon_folder).expanduser() if self.siphon_folder else self.home / "siphon"

    def require(self, name: str) -> str:
        """The address called ``name``; raises SettingsError where it is not set."""
        value = str(getattr(self, name))
        if not value:
            raise SettingsError(
                f"The stack is not running: {PREFIX}{name.upper()} is not set and {self.home / STACK_FILE} does not "
                "give it. Start the embedded stack with `enchanted up`, or set the variable."
            )
        return value


def read_env_file(path: Path) -> dict[str, str]:
    """The ``KEY=value`` lines of a file; nothing where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _opened(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables, with ``ENCHANTED_X`` read from the file that ``ENCHANTED_X_FILE`` names.

    Raises:
        SettingsError: the file cannot be read, or both are given.
    """
    opened = dict(variables)
    for field in fields(Settings):
        # A setting that is the name of a file is no secret itself.
        variable = PREFIX + field.name.upper()
        path = variables.get(variable + FILE_SUFFIX)
        if not path or field.name.endswith(FILE_SUFFIX.lower()):
            continue
        if variables.get(variable):
            raise SettingsError(f"{variable} and {variable}{FILE_SUFFIX} are both set: remove one of them.")
        opened[variable] = _content(variable + FILE_SUFFIX, path)
    return opened


def _content(variable: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"{variable}={path} cannot be read: {reason}.") from error


def _parse(variable: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        number = "whole number" if kind is int else "number"
        raise SettingsError(f"{variable}={text!r} is not a {number}: set it to one, or remove it.") from error
