"""Who we are to a FoundationDB cluster that speaks TLS, and whom we believe.

Source: https://apple.github.io/foundationdb/tls.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nervous_system.errors import SettingsError
from nervous_system.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """Empty where it is left to FoundationDB's own variables (``FDB_TLS_…``) and defaults.

    Args:
        certificate_file, key_file, ca_file: paths of PEM files.
        verify_peers: what a peer's certificate must say, such as ``Check.Valid=1,S.O=Acme``.
        password: of the key's file.
    """

    certificate_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    verify_peers: str = ""
    password: str = ""

    @classmethod
    def of(cls, settings: Settings) -> TLS:
        """As the settings say."""
        return cls(
            certificate_file=settings.fdb_tls_certificate_file,
            key_file=settings.fdb_tls_key_file,
            ca_file=settings.fdb_tls_ca_file,
            verify_peers=settings.fdb_tls_verify_peers,
            password=settings.fdb_tls_password,
        )

    def options(self) -> dict[str, str]:
        """The binding's network options, by their names; raises SettingsError where a file is missing."""
        files = {"tls_cert_path": self.certificate_file, "tls_key_path": self.key_file, "tls_ca_path": self.ca_file}
        for path in filter(None, files.values()):
            if not Path(path).is_file():
                raise SettingsError(f"There is no file {path} for TLS with FoundationDB: correct ENCHANTED_FDB_TLS_….")
        # A password is of use only once the key is known, so it comes before that.
        options = {"tls_password": self.password, **files, "tls_verify_peers": self.verify_peers}
        return {name: value for name, value in options.items() if value}
