"""Settings: the environment before the stack's file before the defaults."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from nervous_system.errors import SettingsError
from nervous_system.settings import PREFIX, STACK_FILE, Settings


def load(home: Path, **variables: str) -> Settings:
    return Settings.load({"ENCHANTED_HOME": str(home), **variables})


def test_the_environment_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings(home=tmp_path)
    (tmp_path / STACK_FILE).write_text(
        "# the stack's\n\nENCHANTED_PARTITIONS = 7\nENCHANTED_LEDGER=embedded:///a=b\nENCHANTED_BATCH_MAX_AGE_S=1.5\n"
    )
    from_file = load(tmp_path)
    assert (from_file.partitions, from_file.ledger, from_file.batch_max_age_s) == (7, "embedded:///a=b", 1.5)
    assert load(tmp_path, ENCHANTED_PARTITIONS="2").partitions == 2
    # Set to nothing is set.
    assert load(tmp_path, ENCHANTED_LEDGER="").ledger == ""


def test_every_setting_has_its_variable(tmp_path: Path) -> None:
    given = {field.name: {"int": "41", "float": "41.5"}.get(str(field.type), "text") for field in fields(Settings)[1:]}
    given |= {
        "log_level": "DEBUG",
        "outbox_overflow": "drop_signals",
        "outbox_max_bytes": "4194304",
        "redaction": "off",
        "s3_addressing": "virtual",
    }
    settings = load(tmp_path, **{PREFIX + name.upper(): text for name, text in given.items()})
    assert {name: str(getattr(settings, name)) for name in given} == given


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ENCHANTED_PARTITIONS='four'"):
        load(tmp_path, ENCHANTED_PARTITIONS="four")
    for name, value in (
        ("PARTITIONS", "0"),
        ("PARTITIONS", "5000"),
        ("LOG_LEVEL", "LOUD"),
        ("OUTBOX_OVERFLOW", "drop"),
        ("OUTBOX_MAX_BYTES", "1000"),
        ("REDACTION", "no"),
        ("S3_ADDRESSING", "host"),
        ("S3_OBJECT_LOCK_DAYS", "-1"),
    ):
        with pytest.raises(SettingsError, match=f"ENCHANTED_{name}={value}"):
            load(tmp_path, **{f"ENCHANTED_{name}": value})
    (tmp_path / STACK_FILE).mkdir()
    with pytest.raises(SettingsError, match=STACK_FILE):
        load(tmp_path)


def test_a_missing_address_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ENCHANTED_NATS_URL.*enchanted up"):
        load(tmp_path).require("nats_url")
    assert load(tmp_path, ENCHANTED_NATS_URL="nats://x").require("nats_url") == "nats://x"
