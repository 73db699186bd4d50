"""The stack's passwords and keys: made once, then remembered in a file that only its owner can read."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from types import MappingProxyType

from infrastructure.local.home import Home, write_private
from infrastructure.local.state import read_object

NAMES = (
    "nats_server",
    "nats_token",
    "clickhouse_password",
    "s3_access_key",
    "s3_secret_key",
    "s3_volume_write",
    "s3_volume_read",
    "s3_filer_write",
    "s3_filer_read",
)


def load_secrets(home: Home) -> Mapping[str, str]:
    """Every secret by its name; what is missing is made and kept. Raises SettingsError."""
    known = {name: str(value) for name, value in read_object(home.secrets_file).items()}
    missing = [name for name in NAMES if not known.get(name)]
    if missing:
        known.update((name, _make(name)) for name in missing)
        write_private(home.secrets_file, json.dumps(known, indent=2) + "\n")
    return MappingProxyType(known)


def _make(name: str) -> str:
    if name == "s3_access_key":
        return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(20))
    return secrets.token_hex(24)
