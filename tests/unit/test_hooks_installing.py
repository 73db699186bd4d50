"""Hooks in agents' settings: put in, found there, and taken out, with every other byte as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nervous_system.capture.hooks.agents import AGENTS, MARK, HookedAgent, hooked_agent
from nervous_system.capture.hooks.installing import BACKUP_SUFFIX, added, install, taken_out, uninstall
from nervous_system.capture.hooks.jsontext import JsonTextError, parse, with_item
from nervous_system.errors import NotFoundError, SettingsError

COMMAND = f"/opt/enchanted hook x --project a/b --root '/my shop' || true {MARK}"
LATER_COMMAND = f"/elsewhere/enchanted hook x || true {MARK}"
CLAUDE = AGENTS["claude-code"]

# As people write them: indented by tabs, on one line, with hooks of their own, with other line ends.
WRITTEN = [
    '{\n\t"model": "opus",\n\t"permissions": {"allow": ["Bash(ls:*)"], "deny": []}\n}\n',
    '{"env":{"A":"\\u00e9 é"},"hooks":{"PreToolUse":[{"matcher":"Bash","hooks":[{"type":"command","command":"x"}]}]}}',
    '{\r\n    "hooks": {\r\n        "Stop": [\r\n            {"hooks": [{"type": "command", "command": "say"}]}\r\n'
    '        ]\r\n    },\r\n    "n": 1.50e1\r\n}\r\n',
    "{}",
    "{ }\n",
    "  {\n  }",
    '\ufeff{"a": 1}',
]


@pytest.fixture(params=sorted(AGENTS))
def agent(request: pytest.FixtureRequest) -> HookedAgent:
    return hooked_agent(request.param)


@pytest.mark.parametrize("text", WRITTEN)
def test_installing_and_uninstalling_gives_the_same_bytes(agent: HookedAgent, text: str, tmp_path: Path) -> None:
    path = tmp_path / agent.file
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode())
    path.chmod(0o600)
    assert install(tmp_path, agent, COMMAND).changed
    installed = path.read_bytes()
    hooks = json.loads(installed.decode().removeprefix("\ufeff"))["hooks"]
    assert all(agent.entry(event, COMMAND) in hooks[event] for event in agent.events)
    assert not install(tmp_path, agent, COMMAND).changed
    assert path.read_bytes() == installed
    # A later version's command stands for the earlier one, and not beside it.
    assert install(tmp_path, agent, LATER_COMMAND).changed
    assert COMMAND not in path.read_text()
    assert uninstall(tmp_path, agent).changed
    assert path.read_bytes() == text.encode()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not uninstall(tmp_path, agent).changed
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_file_that_was_not_there_is_gone_again(agent: HookedAgent, tmp_path: Path) -> None:
    assert not uninstall(tmp_path, agent).changed
    assert install(tmp_path, agent, COMMAND).changed
    assert (tmp_path / agent.file).read_bytes().endswith(b"\n")
    assert uninstall(tmp_path, agent).removed
    assert not (tmp_path / agent.file).exists()


def test_what_the_user_changed_meanwhile_stays(agent: HookedAgent, tmp_path: Path) -> None:
    path = tmp_path / agent.file
    path.parent.mkdir()
    path.write_text(WRITTEN[0])
    install(tmp_path, agent, COMMAND)
    changed = path.read_text().replace("opus", "sonnet")
    changed = with_item(changed, ("hooks", agent.events[0]), {"hooks": [{"type": "command", "command": "mine"}]})
    path.write_text(changed)
    uninstall(tmp_path, agent)
    left = json.loads(path.read_text())
    assert left["model"] == "sonnet"
    assert left["hooks"] == {agent.events[0]: [{"hooks": [{"type": "command", "command": "mine"}]}]}
    assert path.read_text().startswith(
        '{\n\t"model": "sonnet",\n\t"permissions": {"allow": ["Bash(ls:*)"], "deny": []}'
    )


def test_a_link_to_the_settings_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text('{"a": 1}')
    path = tmp_path / CLAUDE.file
    path.parent.mkdir()
    path.symlink_to(real)
    install(tmp_path, CLAUDE, COMMAND)
    assert path.is_symlink()
    assert MARK in real.read_text()
    uninstall(tmp_path, CLAUDE)
    assert real.read_text() == '{"a": 1}'


@pytest.mark.parametrize(
    "text",
    ['{"a": 1', "// mine\n{}", "[]", '{"hooks": []}', '{"hooks": {"Stop": {}}}', "{} {}", '{"a" 1}', "[" * 100_000],
)
def test_settings_of_another_shape_are_left_as_they_are(text: str, tmp_path: Path) -> None:
    path = tmp_path / CLAUDE.file
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(SettingsError, match="left as it is"):
        install(tmp_path, CLAUDE, COMMAND)
    assert path.read_text() == text
    assert not path.with_name(path.name + BACKUP_SUFFIX).exists()


def test_an_unknown_agent_is_named_with_those_that_are_known() -> None:
    with pytest.raises(NotFoundError, match="claude-code"):
        hooked_agent("nobody")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=8,
)
ENTRIES = st.lists(st.fixed_dictionaries({"hooks": st.lists(JSON, max_size=2)}), min_size=1, max_size=2)
SETTINGS = st.builds(
    lambda own, hooks: {**own, **({"hooks": hooks} if hooks else {})},
    st.dictionaries(st.text(max_size=5).filter(lambda name: name != "hooks"), JSON, max_size=3),
    st.dictionaries(st.sampled_from([*CLAUDE.events, "Other"]), ENTRIES, max_size=3),
)


@settings(max_examples=30, deadline=None)
@given(SETTINGS, st.sampled_from([None, 1, 2, "\t"]), st.booleans())
def test_taking_out_is_the_inverse_of_putting_in(
    own: dict[str, Any], indent: int | str | None, ascii_only: bool
) -> None:
    text = json.dumps(own, indent=indent, ensure_ascii=ascii_only)
    with_hooks = added(text, CLAUDE, COMMAND)
    assert json.loads(with_hooks)["hooks"].keys() >= set(CLAUDE.events)
    assert json.loads(taken_out(with_hooks, CLAUDE)) == own
    if own:
        assert taken_out(with_hooks, CLAUDE) == text


def test_places_of_values() -> None:
    text = '{"a": [1, {"b": "c"}], "a": 2}'
    node = parse(text)
    child = node.child("a")
    assert child is not None
    assert text[child.start : child.end] == "2"
    with pytest.raises(JsonTextError):
        with_item(text, ("a", "b"), 1)
