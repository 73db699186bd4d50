"""What a rule is: a name, and where in a text it finds secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Protocol

import ahocorasick

# Stands in a text for each letter of what was taken out: no character (Unicode 23.7), so that no rule asks for it.
MASK = "\ufdd0"

# Start, end, the rule's name.
Span = tuple[int, int, str]

_CONFIGURATION_NAMES = (
    ".env .ini .cfg .conf .config .properties .toml .yaml .yml .json .xml .tfvars .envrc .npmrc .pypirc .netrc .plist "
    ".credentials .secrets"
)
_CODE_NAMES = (
    ".py .pyi .pyx .js .jsx .mjs .cjs .ts .tsx .go .rs .java .kt .scala .c .h .cc .cpp .hpp .cs .rb .php .swift .m "
    ".lua .pl .r .jl .ex .exs .erl .hs .ml .clj .dart .vue .svelte .sql .proto .css .scss .html"
)
_CONFIGURATION, _CODE = frozenset(_CONFIGURATION_NAMES.split()), frozenset(_CODE_NAMES.split())


class Kind(Enum):
    """What a text is: in code a bare word is a name and no secret, in configuration it is a value."""

    TEXT = "text"
    CODE = "code"
    CONFIGURATION = "configuration"

    @classmethod
    def of(cls, resource: str) -> Kind:
        """The kind of a file's content, by its name."""
        name = resource.rpartition("/")[2].lower()
        if name.startswith(".env") or (suffix := PurePosixPath(name).suffix or name) in _CONFIGURATION:
            return cls.CONFIGURATION
        return cls.CODE if suffix in _CODE else cls.TEXT


@dataclass(frozen=True, slots=True)
class Text:
    """What is looked through.

    Args:
        text: where a secret was taken out already, MASK stands in its place.
        lower: the same in small letters, of the same length.
        kind: what it is.
    """

    text: str
    lower: str
    kind: Kind

    @classmethod
    def of(cls, text: str, kind: Kind) -> Text:
        """Prepares a text."""
        lower = text.lower()
        # Some letters become two.
        return cls(text, lower if len(lower) == len(text) else text.translate(_SMALL), kind)


_SMALL = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


class Rule(Protocol):
    """Finds secrets of one sort."""

    @property
    def name(self) -> str:
        """What placeholders and marks call it."""
        ...

    @property
    def hints(self) -> tuple[str, ...]:
        """Texts of which one is in whatever it finds; empty where there are none."""
        ...

    @property
    def ignores_case(self) -> bool:
        """Whether capitals and small letters are the same to it; its hints are then in small letters."""
        ...

    def find(self, text: Text) -> Iterable[Span]:
        """Where they are; spans may overlap. What it raises means that the text cannot be judged."""
        ...


def occurrences(lower: str, word: str) -> Iterator[int]:
    """Where a word begins."""
    at = lower.find(word)
    while at >= 0:
        yield at
        at = lower.find(word, at + 1)


@dataclass(slots=True)
class Expression:
    """A rule of one regular expression, which is compiled when one of its hints is met.

    Args:
        name: the rule's.
        pattern: its group, or all of it, is the secret.
        flags: of ``re``; ASCII is added.
        hints: texts of which one is in whatever matches, in small letters where case is ignored; empty: always tried.
        group: that is the secret; 0 for all.
    """

    name: str
    pattern: str
    flags: int = 0
    hints: tuple[str, ...] = ()
    group: int = 0
    _compiled: re.Pattern[str] | None = None

    @property
    def ignores_case(self) -> bool:
        """Whether its hints are in small letters."""
        return bool(self.flags & re.IGNORECASE)

    def find(self, text: Text) -> Iterator[Span]:
        """Where it matches."""
        if self._compiled is None:
            self._compiled = re.compile(self.pattern, self.flags | re.ASCII)
        for match in self._compiled.finditer(text.text):
            start, end = match.span(self.group)
            if start < end:
                yield start, end, self.name


class RuleSet:
    """Rules, asked only where one of their hints is in the text.

    Args:
        rules: in the order in which they are asked; of spans that begin at one place the first names it.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._always = [rule for rule in rules if not rule.hints]
        self._cased = _Hints([rule for rule in rules if rule.hints and not rule.ignores_case])
        self._caseless = _Hints([rule for rule in rules if rule.hints and rule.ignores_case])

    def possible(self, text: Text) -> list[Rule]:
        """The rules that may find something."""
        hinted = self._cased.rules_in(text.text) | self._caseless.rules_in(text.lower)
        return [rule for rule in self._rules if rule.name in hinted or not rule.hints] if hinted else self._always


class _Hints:
    """Which rules have hints in a text, found in one pass however many they are."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        names: dict[str, set[str]] = {}
        for rule in rules:
            for hint in rule.hints:
                names.setdefault(hint, set()).add(rule.name)
        self._automaton = ahocorasick.Automaton()
        for hint, of in names.items():
            self._automaton.add_word(hint, frozenset(of))
        self._automaton.make_automaton()

    def rules_in(self, text: str) -> set[str]:
        """The names of the rules."""
        return set().union(*{names for _, names in self._automaton.iter(text)})
