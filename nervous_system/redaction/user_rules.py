"""Rules of the user's own, from a TOML file."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nervous_system.errors import SettingsError
from nervous_system.redaction.patterns import WINDOW_CHARS, UnboundedError, check_bounded, required_literals
from nervous_system.redaction.placeholders import RULE_NAME
from nervous_system.redaction.rules import Rule, Span, Text

TIME_LIMIT_S = 2.0
_OVERLAP_CHARS = WINDOW_CHARS // 2


class TooSlowError(Exception):
    """A rule took too long for one text."""


@dataclass(frozen=True, slots=True)
class UserRule:
    """An expression, tried line by line; a long line in pieces that overlap by half.

    Args:
        name: the rule's.
        regex: checked to be bounded.
        group: that is the secret; 0 for all.
        hints: texts of which one is in whatever matches, in small letters where case is ignored; empty: always tried.
    """

    name: str
    regex: re.Pattern[str]
    group: int
    hints: tuple[str, ...]

    @property
    def ignores_case(self) -> bool:
        """Whether its hints are in small letters."""
        return bool(self.regex.flags & re.IGNORECASE)

    def find(self, text: Text) -> Iterator[Span]:
        """Where it matches; raises TooSlowError."""
        deadline_s = time.monotonic() + TIME_LIMIT_S
        for start, end in _windows(text.text):
            for match in self.regex.finditer(text.text, start, end):
                if match.end(self.group) > match.start(self.group):
                    yield *match.span(self.group), self.name
            if time.monotonic() > deadline_s:
                raise TooSlowError(self.name)


def load_rules(path: Path) -> list[Rule]:
    """The rules of a file; raises SettingsError with a sentence about what is wrong in it."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"The redaction rules {path} cannot be read: {reason}. See docs/redaction.md.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The redaction rules {path} are not TOML: {error}.") from error
    entries = told.get("rule")
    if set(told) != {"rule"} or not isinstance(entries, list) or not entries:
        raise SettingsError(
            f"The redaction rules {path} must be tables [[rule]] with name and regex, and nothing else."
        )
    return [_rule(entry, f"Rule {number} of {path}") for number, entry in enumerate(entries, 1)]


def _rule(entry: Any, which: str) -> UserRule:
    if not isinstance(entry, dict) or not {"name", "regex"} <= set(entry) <= {"name", "regex", "group"}:
        raise SettingsError(f"{which} must have name and regex, may have group, and nothing else.")
    name, pattern, group = entry["name"], entry["regex"], entry.get("group", 0)
    if not isinstance(name, str) or not re.fullmatch(RULE_NAME, name):
        raise SettingsError(f"{which}: its name {name!r} must be 1 to 40 small letters, digits and '-'.")
    if not isinstance(pattern, str):
        raise SettingsError(f"{which} ({name}): its regex must be a text in quotes.")
    try:
        regex = re.compile(pattern)
        check_bounded(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise SettingsError(f"{which} ({name}): {pattern!r} is no regular expression: {error}.") from error
    except UnboundedError as error:
        raise SettingsError(f"{which} ({name}): {pattern!r} is refused: {error}.") from error
    if not isinstance(group, int) or not 0 <= group <= regex.groups:
        raise SettingsError(f"{which} ({name}): it has no group {group!r}.")
    if regex.match("") is not None:
        raise SettingsError(f"{which} ({name}): {pattern!r} matches the empty text: make a part of it obligatory.")
    return UserRule(name, regex, group, required_literals(pattern, regex.flags & ~re.UNICODE))


def _windows(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        line_end = text.find("\n", start)
        line_end = len(text) if line_end < 0 else line_end
        while line_end - start > WINDOW_CHARS:
            yield start, start + WINDOW_CHARS
            start += _OVERLAP_CHARS
        yield start, line_end
        start = line_end + 1
