"""Credentials and TLS of the links to NATS and ClickHouse, as their clients take them.

FoundationDB's are in ``nervous_system.ledger.tls``, those of S3 in ``nervous_system.archive.objects``.
"""

from __future__ import annotations

import importlib.util
import ssl
from pathlib import Path
from typing import Any

from nervous_system.errors import SettingsError
from nervous_system.settings import PREFIX, Settings

TLS_SCHEME = "tls://"


def nats_options(settings: Settings) -> dict[str, Any]:
    """What nats-py's ``connect`` is told of credentials and TLS.

    Raises:
        SettingsError: two kinds of credentials are set, a file cannot be read, or a library is missing.
    """
    options = _nats_credentials(settings)
    wants_tls = settings.nats_url.startswith(TLS_SCHEME)
    if wants_tls or settings.nats_tls_ca_file or settings.nats_tls_certificate_file:
        options["tls"] = _context(settings, "nats")
    return options


def clickhouse_options(settings: Settings) -> dict[str, Any]:
    """What clickhouse-connect's ``get_client`` is told of TLS; nothing where the address is not https.

    Raises:
        SettingsError: a file cannot be read, or the address is not https.
    """
    files = {
        "ca_cert": _file(settings, "clickhouse_tls_ca_file"),
        "client_cert": _file(settings, "clickhouse_tls_certificate_file"),
        "client_cert_key": _file(settings, "clickhouse_tls_key_file"),
    }
    options: dict[str, Any] = {name: path for name, path in files.items() if path}
    if settings.clickhouse_url.startswith("https://"):
        # Of the address the client heeds the port alone, and would send the password in the clear to any but 8443.
        options["secure"] = True
    elif options:
        raise SettingsError(
            f"ENCHANTED_CLICKHOUSE_URL={settings.clickhouse_url} sends everything in the clear, and "
            "ENCHANTED_CLICKHOUSE_TLS_… is set: write https://…, or remove those variables."
        )
    # Else a client certificate would take the password's place.
    return options | ({"tls_mode": "strict"} if "client_cert" in options else {})


def told(error: ssl.SSLError) -> str:
    """What an error of TLS says, as a phrase."""
    return str(getattr(error, "verify_message", "") or error.reason or "the handshake fails").lower().replace("_", " ")


def _nats_credentials(settings: Settings) -> dict[str, Any]:
    kinds = {
        "token": {"token": settings.nats_token},
        "user": {"user": settings.nats_user, "password": settings.nats_password},
        "creds_file": {"user_credentials": _file(settings, "nats_creds_file")},
        "nkey_file": {"nkeys_seed": _file(settings, "nats_nkey_file")},
    }
    given = {kind: options for kind, options in kinds.items() if next(iter(options.values()))}
    if len(given) > 1:
        names = " and ".join(f"{PREFIX}NATS_{kind.upper()}" for kind in given)
        raise SettingsError(f"{names} are set: NATS takes one kind of credentials, so remove the others.")
    if given.keys() & {"creds_file", "nkey_file"} and importlib.util.find_spec("nkeys") is None:
        raise SettingsError("Credentials by key need a library: run `pip install 'nats-py[nkeys]'`.")
    return dict(next(iter(given.values()), {}))


def _context(settings: Settings, link: str) -> ssl.SSLContext:
    authority = _file(settings, f"{link}_tls_ca_file")
    certificate, key = _file(settings, f"{link}_tls_certificate_file"), _file(settings, f"{link}_tls_key_file")
    try:
        context = ssl.create_default_context(cafile=authority or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except ssl.SSLError as error:
        raise SettingsError(
            f"The files that {PREFIX}{link.upper()}_TLS_… name are no certificates and key that fit: {told(error)}."
        ) from error
    return context


def _file(settings: Settings, name: str) -> str:
    """The path that the setting gives, empty where it gives none."""
    path = str(getattr(settings, name))
    if path and not Path(path).is_file():
        raise SettingsError(f"{PREFIX}{name.upper()}={path} is not a file: name a PEM file that this process can read.")
    return path
