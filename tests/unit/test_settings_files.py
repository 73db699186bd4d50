"""Settings whose values stand in files: ENCHANTED_X_FILE gives ENCHANTED_X."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from nervous_system.errors import SettingsError
from nervous_system.settings import STACK_FILE, Settings


def load(home: Path, **variables: str) -> Settings:
    return Settings.load({"ENCHANTED_HOME": str(home), **variables})


def test_any_setting_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(" pass word \n")
    (tmp_path / "partitions").write_text("7\r\n")
    loaded = load(
        tmp_path,
        ENCHANTED_CLICKHOUSE_PASSWORD_FILE=str(tmp_path / "password"),
        ENCHANTED_PARTITIONS_FILE=str(tmp_path / "partitions"),
    )
    assert (loaded.clickhouse_password, loaded.partitions) == (" pass word ", 7)


def test_a_setting_that_is_a_files_name_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("the authority")
    assert load(tmp_path, ENCHANTED_S3_CA_FILE=str(tmp_path / "ca.pem")).s3_ca_file == str(tmp_path / "ca.pem")
    # Nor is one the other's file: no setting is called as another and _file.
    names = {field.name for field in fields(Settings)}
    assert not [name for name in names if f"{name}_file" in names]


def test_the_environment_goes_before_the_stacks_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from the file")
    (tmp_path / STACK_FILE).write_text(
        f"ENCHANTED_NATS_TOKEN=from the stack\nENCHANTED_S3_SECRET_KEY_FILE={tmp_path}/token\n"
    )
    named = load(tmp_path, ENCHANTED_NATS_TOKEN_FILE=str(tmp_path / "token"))
    assert (named.nats_token, named.s3_secret_key) == ("from the file", "from the file")
    assert load(tmp_path, ENCHANTED_S3_SECRET_KEY="given").s3_secret_key == "given"
    assert load(tmp_path, ENCHANTED_NATS_TOKEN_FILE="").nats_token == "from the stack"


def test_what_cannot_be_read_and_what_is_said_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ENCHANTED_NATS_TOKEN_FILE=.*nowhere cannot be read: No such file"):
        load(tmp_path, ENCHANTED_NATS_TOKEN_FILE=str(tmp_path / "nowhere"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="no text"):
        load(tmp_path, ENCHANTED_NATS_TOKEN_FILE=str(tmp_path / "bytes"))
    with pytest.raises(SettingsError, match="both set"):
        load(tmp_path, ENCHANTED_NATS_TOKEN_FILE=str(tmp_path / "bytes"), ENCHANTED_NATS_TOKEN="x")
