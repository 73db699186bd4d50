"""The agents that call hooks: where each reads them from, which there are, and how one is written.

Sources: Claude Code, "Hooks reference"; Cursor, "Hooks"; OpenAI Codex, "Hooks"; Gemini CLI, "Hooks reference".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nervous_system.errors import NotFoundError

# What our command ends with, by which it is known again: to the shell a comment.
MARK = "# enchanted-hook"
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class HookedAgent:
    """An agent that calls hooks.

    Args:
        name: as the command line has it.
        file: the configuration, relative to the project's folder.
        events: which of the agent's events are recorded.
        tool_events: those of them that are chosen by a tool's name.
        nested: whether a hook stands within a group that a matcher chooses.
        timeout: the hook's, in the agent's own unit; None where it takes none.
        base: what a new file holds besides the hooks.
        answer: what our command prints, for agents that wait for an answer.
        note: what the user has yet to do.
    """

    name: str
    file: str
    events: tuple[str, ...]
    tool_events: tuple[str, ...] = ()
    nested: bool = True
    timeout: int | None = TIMEOUT_S
    base: str = "{}\n"
    answer: str = ""
    note: str = ""

    def entry(self, event: str, command: str) -> dict[str, Any]:
        """What is added for an event."""
        hook: dict[str, Any] = {"type": "command", "command": command} if self.nested else {"command": command}
        if self.timeout is not None:
            hook["timeout"] = self.timeout
        if not self.nested:
            return hook
        return {"matcher": "*", "hooks": [hook]} if event in self.tool_events else {"hooks": [hook]}

    def is_ours(self, entry: Any) -> bool:
        """Whether an entry is one that ``entry`` made, of this version or an earlier one."""
        hooks = entry.get("hooks") if self.nested and isinstance(entry, dict) else [entry]
        return isinstance(hooks, list) and len(hooks) == 1 and _has_mark(hooks[0])


def _has_mark(hook: Any) -> bool:
    return isinstance(hook, dict) and str(hook.get("command", "")).rstrip().endswith(MARK)


AGENTS = {
    agent.name: agent
    for agent in (
        HookedAgent(
            "claude-code",
            # The user's own settings for the project, kept out of git: the command names this machine.
            ".claude/settings.local.json",
            (
                "SessionStart",
                "UserPromptSubmit",
                "PreToolUse",
                "PostToolUse",
                "Notification",
                "Stop",
                "SubagentStop",
                "SessionEnd",
            ),
            ("PreToolUse", "PostToolUse"),
        ),
        HookedAgent(
            "codex",
            ".codex/hooks.json",
            ("SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop"),
            ("PreToolUse", "PostToolUse"),
            note="Codex asks you to review new hooks: /hooks shows them. Versions that ask for it need `hooks = true` "
            "under [features] in config.toml.",
        ),
        HookedAgent(
            "gemini",
            ".gemini/settings.json",
            ("SessionStart", "BeforeAgent", "BeforeTool", "AfterTool", "AfterAgent", "Notification", "SessionEnd"),
            ("BeforeTool", "AfterTool"),
            timeout=TIMEOUT_S * 1_000,
            answer="{}",
        ),
        HookedAgent(
            "cursor",
            ".cursor/hooks.json",
            (
                "beforeSubmitPrompt",
                "afterShellExecution",
                "afterMCPExecution",
                "afterFileEdit",
                "afterAgentThought",
                "afterAgentResponse",
                "stop",
            ),
            nested=False,
            timeout=None,
            base='{\n  "version": 1\n}\n',
            answer='{"continue": true}',
        ),
    )
}


def hooked_agent(name: str) -> HookedAgent:
    """The agent of that name; raises NotFoundError where there is none."""
    if name not in AGENTS:
        raise NotFoundError(f"{name!r} is no agent with hooks that are known here: use one of {', '.join(AGENTS)}.")
    return AGENTS[name]
