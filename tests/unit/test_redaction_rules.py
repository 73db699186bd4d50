"""A user's own redaction rules: read from TOML, refused with a sentence, and never slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from nervous_system.errors import SettingsError
from nervous_system.redaction import user_rules
from nervous_system.redaction.redactor import Redactor
from nervous_system.redaction.vault import Vault
from nervous_system.settings import Settings


def redactor(folder: Path, rules: str) -> Redactor:
    (folder / "rules.toml").write_text(rules, encoding="utf-8")
    return Redactor.of(Settings(home=folder, redaction_rules=str(folder / "rules.toml")))


def test_a_users_rule_takes_out_its_group(tmp_path: Path) -> None:
    made = redactor(tmp_path, "[[rule]]\nname = 'badge'\nregex = 'badge (\\d{6})\\b'\ngroup = 1\n")
    left, (mark,) = made.text("his badge 123456, and password=hunter2"[:17])
    assert left.startswith("his badge [redacted:badge:")
    assert (mark.rule, mark.offset_bytes) == ("badge", 10)
    assert "hunter2" not in made.text("password=hunter2")[0]


def test_a_long_line_is_looked_through_to_its_end(tmp_path: Path) -> None:
    made = redactor(tmp_path, "[[rule]]\nname = 'badge'\nregex = '(?i)BADGE-\\d{6}'\n")
    for at in (0, 1_020, 2_044, 9_999):
        assert "badge-123456" not in made.text("x" * at + "badge-123456" + "y" * 5_000)[0]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("[[rule]", "not TOML"),
        ("a = 1", "must be tables"),
        ("[[rule]]\nname = 'a'", "must have name and regex"),
        ("[[rule]]\nname = 'A b'\nregex = 'x'", "small letters"),
        ("[[rule]]\nname = 'a'\nregex = '(x'", "no regular expression"),
        ("[[rule]]\nname = 'a'\nregex = 'x{1,3}?y'\ngroup = 1", "no group 1"),
        ("[[rule]]\nname = 'a'\nregex = 'x?'", "matches the empty text"),
        ("[[rule]]\nname = 'a'\nregex = '(a+)+$'", "in several ways"),
        ("[[rule]]\nname = 'a'\nregex = '(?:a|a){1,30}b'", "in several ways"),
        ("[[rule]]\nname = 'a'\nregex = '(a?){30}b'", "in several ways"),
        ("[[rule]]\nname = 'a'\nregex = '\\w+@\\w+'", "give them an end"),
        ("[[rule]]\nname = 'a'\nregex = '(a)\\1'", "backreference"),
    ],
)
def test_a_rule_that_is_no_use_is_refused_with_a_sentence(tmp_path: Path, rules: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        redactor(tmp_path, rules)


def test_rules_that_are_not_there_are_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Redactor.of(Settings(home=tmp_path, redaction_rules=str(tmp_path / "none.toml")))


def test_a_rule_that_takes_too_long_hides_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = redactor(tmp_path, "[[rule]]\nname = 'a'\nregex = 'a{1,60}a{1,60}b'\n")
    monkeypatch.setattr(user_rules, "TIME_LIMIT_S", -1.0)
    assert made.text("aaaa b\nplain")[0].startswith("[redacted:failed:")


def test_redaction_can_be_turned_off(tmp_path: Path) -> None:
    off = Redactor.of(Settings(home=tmp_path, redaction="off"))
    assert off.text("password=hunter2") == ("password=hunter2", ())
    assert off.content(b"password=hunter2", ".env").content == b"password=hunter2"
    assert not (tmp_path / "vault.db").exists()


@pytest.mark.parametrize(
    "text",
    [
        'password="' * 5_000,
        'password=\\"' * 5_000,
        "://a:" * 20_000 + "@",
        "key: |\n " * 5_000,
        "-----BEGIN RSA PRIVATE KEY-----" * 300,
        "a" * 300_000 + "token=",
        "cookie: " * 9_000,
    ],
)
def test_texts_made_to_slow_the_rules_down_come_to_an_end(tmp_path: Path, text: str) -> None:
    # Ways that grow with the square of the text, or faster, would take longer than any test may.
    made = Redactor(Vault(tmp_path / "vault.db"))
    left, _ = made.text(text)
    assert made.text(left)[0] == left
