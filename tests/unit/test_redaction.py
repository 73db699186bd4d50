"""Redaction: no secret gets through, wherever it stands; what is none stays; what comes out stays as it is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nervous_system.contract import (
    AgentDecision,
    AgentMessage,
    Checkpoint,
    StateChange,
    SwarmEvent,
    SystemSignal,
    ToolCall,
)
from nervous_system.errors import ContractError
from nervous_system.generated import token_formats
from nervous_system.redaction import library
from nervous_system.redaction.placeholders import PLACEHOLDER
from nervous_system.redaction.redactor import Redactor
from nervous_system.redaction.rules import Span, Text
from nervous_system.redaction.vault import Vault, fill
from nervous_system.wire import check_form

# Drawn with a fixed part, so that nothing else in a text can be taken for it.
_ALNUM = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789"


def alnum(least: int, most: int | None = None) -> st.SearchStrategy[str]:
    return st.text(_ALNUM, min_size=least, max_size=most or least).map(lambda text: "Q7x" + text[3:])


UPPER = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ234567", min_size=15, max_size=15).map(lambda text: "Q" + text)
PASSWORD = st.text(_ALNUM + "!%^*+~?-_.", min_size=6, max_size=24).map(lambda text: f"zQ7{text}9x")
KEY_BODY = st.lists(st.text(_ALNUM + "+/", min_size=64, max_size=64), min_size=2, max_size=6)
TOKENS = st.one_of(
    UPPER.map("AKIA{}".format),
    alnum(36).map("ghp_{}".format),
    alnum(40).map("github_pat_{}".format),
    alnum(20, 30).map("glpat-{}".format),
    alnum(40).map("sk-ant-api03-{}".format),
    alnum(40).map("sk-proj-{}".format),
    alnum(35).map("AIza{}".format),
    alnum(34).map("hf_{}".format),
    alnum(24).map("sk_live_{}".format),
    alnum(24).map("xoxb-123456789012-{}".format),
    alnum(36).map("npm_{}".format),
    alnum(40).map("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{}".format),
)
NAMES = st.sampled_from(
    [
        *("password", "db_password", "DB_PASSWORD", "client-secret", "apiKey", "api_key", "AWS_SECRET_ACCESS_KEY"),
        *("accessToken", "auth_token", "passphrase", "x-api-key", "OPENAI_API_KEY", "MYSQL_PWD"),
    ]
)
FORMS = st.sampled_from(
    [
        '{{"{name}": "{value}"}}',
        '{{"a": 1, "{name}" : "{value}", "b": [2]}}',
        "{name}={value}",
        "export {name}='{value}'",
        "{name}: {value}\n",
        "- {name}: '{value}' # why",
        '{name} = "{value}"',
        '{name}: str = "{value}"',
        "tool --{name} {value} --verbose",
        "tool --{name}={value}",
        '["--{name}", "{value}"]',
        'options["{name}"] = "{value}"',
        '"{name}":\n  "{value}"',
        '"{name}": "{value}',
        "<{name}>{value}</{name}>",
    ]
)


@st.composite
def planted(draw: st.DrawFn) -> tuple[str, str]:
    """A secret, and a text with it in one of the forms in which secrets stand."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        secret = draw(TOKENS)
        return secret, secret
    if kind == 1:
        secret = draw(PASSWORD.filter(lambda text: "/" not in text))
        return secret, f"postgres://admin:{secret}@db.example.com:5432/x"
    if kind == 2:
        body = draw(KEY_BODY)
        line_end = draw(st.sampled_from(["\n", "\\n", "\r\n"]))
        lines = [
            "-----BEGIN RSA PRIVATE KEY-----",
            *body,
            *draw(st.sampled_from([["-----END RSA PRIVATE KEY-----"], []])),
        ]
        return body[-1], line_end.join(lines)
    if kind == 3:
        secret = draw(alnum(24, 40))
        return secret, draw(st.sampled_from(["Authorization: Bearer {}", '"authorization": "Basic {}"'])).format(secret)
    secret = draw(PASSWORD)
    return secret, draw(FORMS).format(name=draw(NAMES), value=secret)


AROUND = st.sampled_from(["", "see ", "\n", "x\n\n", "héé\n", "a = 1\n", " \t", "```\n", "日本\n"])
AFTER = st.sampled_from(["", "\n", "\nnext: 1\n", " ", "\r\n", "\n```", "\n日本"])


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, str]:
    secret, text = draw(planted())
    text = draw(AROUND) + text + draw(AFTER)
    for _ in range(draw(st.integers(0, 2))):
        text = json.dumps({"text": text, "n": 1}, ensure_ascii=draw(st.booleans()))
    return secret, text


@pytest.fixture(scope="module")
def redactor() -> Iterator[Redactor]:
    with tempfile.TemporaryDirectory() as folder:
        yield Redactor(Vault(Path(folder) / "vault.db"))


@given(texts())
@settings(max_examples=400, deadline=None)
def test_no_secret_gets_through_and_what_is_left_stays_as_it_is(redactor: Redactor, drawn: tuple[str, str]) -> None:
    secret, text = drawn
    left, marks = redactor.text(text)
    assert secret not in left
    assert marks
    assert redactor.text(left) == (left, ())
    for mark in marks:
        found = PLACEHOLDER.match(left.encode()[mark.offset_bytes :].decode())
        assert found is not None
        assert found.group().split(":")[1] == mark.rule


def events(text: str) -> list[SwarmEvent]:
    """Every kind of event with the text in every field that an agent fills."""
    every = {"a": text, "b": "plain"}
    return [
        SwarmEvent(
            decision=AgentDecision(
                rationale=text, input_trigger=text, rejected_alternatives=["x", text], memory_ids=[text],
                context_hash=text, attributes=every,
            )
        ),
        SwarmEvent(message=AgentMessage(content=text, to_agent_id=text, attributes=every)),
        SwarmEvent(tool_call=ToolCall(name=text, arguments=text, result=text, attributes=every)),
        SwarmEvent(system_signal=SystemSignal(detail=text)),
        SwarmEvent(checkpoint=Checkpoint(name="c", description=text)),
        SwarmEvent(state_change=StateChange(target_resource="a", attributes={text: text})),
        SwarmEvent(
            agent_id=text, user_id=text, session_id=text, correlation_id=text, trace_id=text, span_id=text,
            causation_id=text, related_commit_hash=text,
        ),
    ]  # fmt: skip


@given(texts())
@settings(max_examples=60, deadline=None)
def test_no_field_of_any_event_lets_a_secret_through(redactor: Redactor, drawn: tuple[str, str]) -> None:
    secret, text = drawn
    for event in events(text):
        before = event.SerializeToString(deterministic=True)
        left = redactor.event(event)
        data = left.SerializeToString()
        assert secret.encode() not in data
        assert event.SerializeToString(deterministic=True) == before
        assert {mark.field for mark in left.redactions}
        check_form(data, SwarmEvent.FromString(data))
        again = redactor.event(left)
        assert again.SerializeToString(deterministic=True) == left.SerializeToString(deterministic=True)


def test_what_stands_in_a_key_for_a_secret_tells_nothing_of_the_value(redactor: Redactor) -> None:
    text = "-----BEGIN RSA PRIVATE KEY-----\n" + 2 * ("2" * 64 + "\n") + "```"
    left = redactor.event(SwarmEvent(state_change=StateChange(target_resource="a", attributes={text: text})))
    assert redactor.event(left) == left


def test_a_telling_key_of_a_map_is_enough(redactor: Redactor) -> None:
    event = SwarmEvent(decision=AgentDecision(attributes={"api_key": "abcd1234efgh", "max_tokens": "4096"}))
    left = redactor.event(event)
    assert left.decision.attributes["max_tokens"] == "4096"
    assert PLACEHOLDER.fullmatch(left.decision.attributes["api_key"])
    assert [mark.field for mark in left.redactions] == ["decision.attributes[api_key]"]


def test_a_checkpoint_is_not_named_after_a_secret(redactor: Redactor) -> None:
    with pytest.raises(ContractError, match="another name"):
        redactor.event(SwarmEvent(checkpoint=Checkpoint(name="ghp_" + "a1" * 18)))


@given(texts(), st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "raw"]), st.sampled_from(["a.py", ".env", "b"]))
@settings(max_examples=150, deadline=None)
def test_the_vault_gives_back_the_exact_bytes(drawn: tuple[str, str], encoding: str, resource: str) -> None:
    secret, text = drawn
    with tempfile.TemporaryDirectory() as folder:
        vault = Vault(Path(folder) / "vault.db")
        content = (
            b"\xff\0\xfe" + text.encode() + b"\x80" if encoding == "raw" else
            text.encode() if encoding == "utf-8" else ("\ufeff" + text).encode(encoding)
        )  # fmt: skip
        redactor = Redactor(vault)
        redacted = redactor.content(content, resource)
        if redacted.content is content:
            # In code, only what stands in quotes, or has a form of its own, is a secret.
            assert resource == "a.py"
            return
        assert fill(redacted.content, vault.kept()) == (content, 0)
        assert redactor.content(redacted.content, resource).content == redacted.content
        # Another process, later, gives the same.
        assert Redactor(vault).content(content, resource) == redacted
        if resource != "a.py" and encoding in ("utf-8", "raw"):
            assert secret.encode() not in redacted.content


ORDINARY = (
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    '"integrity": "sha512-v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg=="',
    "click==8.1.7 --hash=sha256:ae74fb96c20a0277a1d615f1e4d73c8414f5a98db8b799a7931d1582f3390c28",
    "550e8400-e29b-41d4-a716-446655440000",
    "commit 034cac69b1b2c3d4e5f60718293a4b5c6d7e8f90",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "max_tokens: 4096, input_tokens=1234, token_type='bearer'",
    "def login(user: str, password: str = '') -> Token:",
    "password = getpass.getpass('Password: ')",
    'api_key = os.environ["API_KEY"]',
    "token = self._tokens[0]",
    "PASSWORD=$(cat /run/secrets/password)",
    "password: ${DB_PASSWORD}",
    "secret_name: my-secret",
    "https://user:${TOKEN}@example.com/x and http://user:pass@example.com",
    "cache-key: v1-deps-2024",
    "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ2\n-----END CERTIFICATE-----",
    'if line.startswith("-----BEGIN RSA PRIVATE KEY-----"):',
    '@click.option("--password", prompt=True, hide_input=True)',
    "usage: tool [--token TOKEN] [--password <password>]",
)


@pytest.mark.parametrize("text", ORDINARY)
@pytest.mark.parametrize("resource", ["a.py", "notes"])
def test_what_is_no_secret_stays(redactor: Redactor, text: str, resource: str) -> None:
    assert redactor.text(text) == (text, ())
    assert redactor.content(text.encode(), resource).content == text.encode()


class Broken:
    name, hints, ignores_case = "broken", (), False

    def find(self, text: Text) -> list[Span]:
        raise ZeroDivisionError(text.text)


def test_a_rule_that_fails_takes_the_text_out_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vault = Vault(tmp_path / "vault.db")
    redactor = Redactor(vault, [Broken()])
    left, (mark,) = redactor.text("nobody knows what this is")
    assert PLACEHOLDER.fullmatch(left)
    assert mark.rule == "failed"
    assert redactor.text(left) == (left, ())
    redacted = redactor.content(b"nor \xff this", "a.bin")
    assert PLACEHOLDER.fullmatch(redacted.content.decode())
    assert fill(redacted.content, vault.kept()) == (b"nor \xff this", 0)
    assert "nobody" not in caplog.text
    event = redactor.event(SwarmEvent(message=AgentMessage(content="hello")))
    assert PLACEHOLDER.fullmatch(event.message.content)


def test_a_vault_that_cannot_be_written_lets_no_secret_through(tmp_path: Path) -> None:
    (tmp_path / "vault.db").mkdir()
    redactor = Redactor(Vault(tmp_path / "vault.db"))
    assert b"hunter2" not in redactor.content(b"password=hunter2", ".env").content
    assert "hunter2" not in redactor.text("password=hunter2")[0]


def test_the_vault_is_its_owners_alone(tmp_path: Path) -> None:
    redactor = Redactor(Vault(tmp_path / "vault.db"))
    redactor.content(b"password=hunter2", ".env")
    assert (tmp_path / "vault.db").stat().st_mode & 0o777 == 0o600


def test_placeholders_of_another_machine_differ(tmp_path: Path) -> None:
    left = {Redactor(Vault(tmp_path / name)).text("password=hunter2")[0] for name in "ab"}
    assert len(left) == 2


def test_the_hash_of_what_was_recorded_is_found_by_that_of_what_is_held(tmp_path: Path) -> None:
    import hashlib

    vault = Vault(tmp_path / "vault.db")
    held = b"password=hunter2\n"
    recorded = Redactor(vault).content(held, "a/.env").content
    hashes = [hashlib.sha256(each).hexdigest() for each in (held, recorded)]
    other = Redactor(vault)
    assert other.state_hash(hashes[0], "b/.env") == hashes[1]
    assert other.state_hash(hashes[1], "b/.env") == hashes[1]
    assert other.state_hash("", ".env") == ""


def test_the_token_formats_are_those_of_the_library() -> None:
    assert library.source() == Path(token_formats.__file__).read_text(encoding="utf-8")
