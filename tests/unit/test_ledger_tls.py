"""What the settings say of TLS, as FoundationDB's binding takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fdb.fdboptions import NetworkOption

from nervous_system.errors import SettingsError
from nervous_system.ledger.tls import TLS
from nervous_system.settings import Settings


def test_each_setting_is_an_option_that_the_binding_knows(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("CERTIFICATE", "KEY", "CA")}
    for path in files.values():
        path.write_text("")
    variables = {f"ENCHANTED_FDB_TLS_{name}_FILE": str(path) for name, path in files.items()}
    more = {"ENCHANTED_FDB_TLS_VERIFY_PEERS": "Check.Valid=1", "ENCHANTED_FDB_TLS_PASSWORD": "secret"}
    tls = TLS.of(Settings.load({"ENCHANTED_HOME": str(tmp_path), **variables, **more}))
    options = tls.options()
    assert options == {
        "tls_password": "secret",
        "tls_cert_path": str(files["CERTIFICATE"]),
        "tls_key_path": str(files["KEY"]),
        "tls_ca_path": str(files["CA"]),
        "tls_verify_peers": "Check.Valid=1",
    }
    assert {name.upper() for name in options} <= {name.upper() for name in NetworkOption}


def test_without_settings_nothing_is_said(tmp_path: Path) -> None:
    assert TLS.of(Settings.load({"ENCHANTED_HOME": str(tmp_path)})).options() == {}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.pem"):
        TLS(ca_file=str(tmp_path / "nowhere.pem")).options()
