"""Values of keys that are called a password, secret, token or key: in JSON, YAML, TOML, environments, code, flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nervous_system.redaction.rules import Kind, Rule, Span, Text, occurrences
from nervous_system.redaction.values import is_dummy, is_password, is_template, is_token

VALUE_LIMIT_CHARS = 65_536

# What a name must have, in small letters; whether its values are passwords (any text) or tokens (no words).
_WORDS = (
    ("pass", True),
    ("pwd", True),
    ("secret", True),
    ("token", False),
    ("key", False),
    ("credential", False),
    ("auth", False),
)
_PASS_ENDS = ("word", "wd", "phrase", "code")
# A key that is nothing but a key is a place in a table.
_KINDS = (
    "api app access secret private encryption signing master account storage shared service deploy license admin "
    "client consumer auth webhook subscription session ssh gpg pgp aes hmac jwt crypt cipher decryption"
)
_VENDORS = "openai anthropic aws azure gcp google github gitlab stripe twilio sendgrid mistral groq"
_KINDS_OF_KEY, _KEY_VENDORS = tuple(_KINDS.split()), tuple(_VENDORS.split())
# What may follow the word within the name.
_SUFFIX = re.compile(
    r"(?:s(?=[\"'\\ :=\]]))?(?:[_-]?(?:\d{1,3}|b64|base64|value|prod|production|dev|staging|test|old|new|current|raw|"
    r"plain|base|string|hash|root|admin|user|id(?=\b)))?",
    re.ASCII | re.IGNORECASE,
)
# From the name to its value: quotes and brackets that end the name, a type, then what assigns.
_ASSIGNS = re.compile(
    r"(?:\\*[\"'`])?\]?(?:[ \t]*:[ \t]*[A-Za-z_][\w.\[\], |]{0,60}?(?=[ \t]*=(?!=)))?"
    r"[ \t]*(?P<sign>=>|:=|[=!]==?|=|:)(?P<blank>[ \t]*(?:(?:\r?\n|(?:\\+r)?\\+n)[ \t]*(?=\\*[\"'`]))?)",
    re.ASCII,
)
_FLAG_ASSIGNS = re.compile(r"(?P<sign>)(?P<blank>(?:[ \t]+|\\*[\"'],[ \t]*(?=\\*[\"'])))(?![-\[<{|)])", re.ASCII)
_QUOTE = re.compile(r"[bBrRuUfF@]{0,2}(?P<quote>\"\"\"|'''|\\*[\"'`])", re.ASCII)
_PLAIN = {quote: re.compile(rf"(?:[^{quote}\\\r\n]|\\.)*", re.DOTALL) for quote in "\"'`"}
# In a string within a string, a quote or a line's end.
_ENDS = re.compile(r"(\\*)([\"'`nr\n])")
_BARE = re.compile(r"[^\s\x00-\x1f\x7f\"'`,;&|<>(){}\[\]\\]+", re.ASCII)
_LINE = re.compile(r"[^\r\n]*", re.ASCII)
_COMMENT = re.compile(r"[ \t]+[#;].*$|[ \t]+$")
_BLOCK = re.compile(r"[|>][-+\d]*[ \t]*\r?\n", re.ASCII)
_BEFORE = re.compile(r"[+-]?[ \t]*(?:export[ \t]+|set[ \t]+|setx[ \t]+|ENV[ \t]+|ARG[ \t]+|-[ \t]+)?[\"']?", re.ASCII)
_ELEMENT = re.compile(
    r"<(?P<name>[\w.:-]{0,40}(?:password|passwd|passphrase|pwd|secret|token|[a-z][_.-]?key)[\w.:-]{0,10})\b[^<>]{0,200}>"
    r"(?P<value>[^<>\n]{4,1024})</",
    re.ASCII | re.IGNORECASE,
)
_MACHINE = re.compile(r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+([^\s\"'\\]+)", re.ASCII)
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_MAX_NAME_CHARS = 80


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value begins, and what stands before it.

    Args:
        start: of the value.
        name: the key.
        begins: where the key begins.
        sign: what assigns; empty after a command's flag.
        has_blanks: whether there are any around the sign.
        takes_words: whether its values are passwords.
    """

    start: int
    name: str
    begins: int
    sign: str
    has_blanks: bool
    takes_words: bool


class KeyNames:
    """Values of keys with telling names."""

    name, ignores_case = "key-name", True
    hints = tuple(word for word, _ in _WORDS)

    @staticmethod
    def may_hold(key: str) -> bool:
        """Whether a map's key has a telling name."""
        return _named(key) is not None

    @staticmethod
    def holds(key: str, value: str) -> bool:
        """Whether the value of a map's key is a secret."""
        place = _named(key)
        return place is not None and _is_secret(value, place, is_quoted=True, is_assigned=True)

    def find(self, text: Text) -> Iterator[Span]:
        """Where they are."""
        for word, takes_words in _WORDS:
            for at in occurrences(text.lower, word):
                place = _place(text, at, word, takes_words=takes_words)
                span = place and _value(text, place)
                if span:
                    yield *span, self.name
        if "</" in text.text:
            for element in _ELEMENT.finditer(text.text):
                if is_password(element["value"], is_quoted=True, is_assigned=True):
                    yield *element.span("value"), self.name
        if "machine" in text.lower:
            for entry in _MACHINE.finditer(text.text):
                if not is_dummy(entry[1]):
                    yield *entry.span(1), self.name


def name_rules() -> list[Rule]:
    """The rules of this module."""
    return [KeyNames()]


def _named(key: str) -> _Place | None:
    entry = Text.of(f'"{key}":', Kind.TEXT)
    for word, takes_words in _WORDS:
        for at in occurrences(entry.lower, word):
            place = _place(entry, at, word, takes_words=takes_words)
            if place is not None:
                return place
    return None


def _place(text: Text, at: int, word: str, *, takes_words: bool) -> _Place | None:
    """Where the value begins of a name that has ``word`` at ``at``."""
    whole, end = text.text, at + len(word)
    if word == "pass":
        end += next((len(rest) for rest in _PASS_ENDS if text.lower.startswith(rest, end)), 0)
    if not _is_telling(text.lower, at, text.lower[at:end]):
        return None
    suffix = _SUFFIX.match(whole, end)
    end = suffix.end() if suffix else end
    assigns = _ASSIGNS.match(whole, end)
    begins = _name_start(whole, at)
    if assigns is None and whole.startswith("-", begins):
        assigns = _FLAG_ASSIGNS.match(whole, end)
    if assigns is None:
        return None
    has_blanks = bool(assigns["blank"]) or whole[assigns.start("sign") - 1 : assigns.start("sign")] in (" ", "\t")
    return _Place(assigns.end(), whole[begins:end], begins, assigns["sign"], has_blanks, takes_words)


def _is_telling(lower: str, at: int, word: str) -> bool:
    before = lower[max(0, at - 16) : at]
    if word == "key":
        stem = before.rstrip("_-. ")
        return stem.endswith(_KINDS_OF_KEY) or (stem != before and stem.endswith(_KEY_VENDORS))
    if word == "pass":
        return not before[-1:].isalpha() or before.endswith(("db", "user", "admin", "root", "smtp", "mail"))
    if word == "auth":
        return before.endswith(("_", '"', "'"))
    return True


def _name_start(text: str, at: int) -> int:
    least = max(0, at - _MAX_NAME_CHARS)
    while at > least and text[at - 1] in _NAME_LETTERS:
        at -= 1
    # The letter of an escaped line end.
    return at + 1 if text[at : at + 1] in ("n", "t", "r") and text[max(0, at - 1) : at] == "\\" else at


def _value(text: Text, place: _Place) -> tuple[int, int] | None:
    """The secret that stands there."""
    quote = _QUOTE.match(text.text, place.start)
    if quote:
        start, end = quote.end(), _quoted_end(text.text, quote.end(), quote["quote"])
        value = text.text[start:end].rstrip()
        if not place.takes_words and not text.text.startswith(quote["quote"], end):
            # Its end was cut off.
            value = value.split(maxsplit=1)[0] if value.strip() else ""
        if not _is_secret(value, place, is_quoted=True, is_assigned=False):
            return None
        return start, start + len(value)
    if place.sign == ":" and text.kind is not Kind.CODE and (block := _BLOCK.match(text.text, place.start)):
        return _indented(text.text, place, block.end())
    on_line = _line_value(text, place) if _is_line(text, place) else None
    return on_line or _bare_value(text, place)


def _is_secret(value: str, place: _Place, *, is_quoted: bool, is_assigned: bool) -> bool:
    if place.takes_words:
        return is_password(value, is_quoted=is_quoted, is_assigned=is_assigned)
    return is_token(value, is_assigned=is_assigned)


def _quoted_end(text: str, start: int, quote: str) -> int:
    """Where a quoted value ends; one that was cut off ends with its line."""
    limit = min(len(text), start + VALUE_LIMIT_CHARS)
    plain = _PLAIN.get(quote)
    if plain is not None:
        match = plain.match(text, start, limit)
        return match.end() if match else start
    if len(quote) == 3 and quote[0] == quote[1]:
        end = text.find(quote, start, limit)
        return limit if end < 0 else end
    depth = len(quote) - 1
    for match in _ENDS.finditer(text, start, limit):
        backslashes, sign = len(match[1]), match[2]
        # What has more backslashes belongs to the value; what has fewer ends a string around it.
        if (sign == quote[-1] and backslashes <= depth) or (sign in "nr" and backslashes == (depth + 1) // 2):
            return match.start()
        if sign == "\n":
            return match.start()
    return limit


def _is_line(text: Text, place: _Place) -> bool:
    """Whether the value is the rest of its line: in configuration, and in an environment's ``NAME=value``."""
    line = _line_start(text.text, place.begins)
    if not _BEFORE.fullmatch(text.text, line, place.begins):
        return False
    if text.kind is Kind.CONFIGURATION:
        return place.sign in ("=", ":")
    return place.sign == "=" and not place.has_blanks and place.name.isupper()


def _line_start(text: str, at: int) -> int:
    """Where the line begins, which may stand in a string; at most 200 characters back."""
    least = max(0, at - 200)
    ends = ((text.rfind(end, least, at), len(end)) for end in ("\n", "\\n"))
    return max(least, *(found + length for found, length in ends if found >= 0), least)


def _line_value(text: Text, place: _Place) -> tuple[int, int] | None:
    line = _LINE.match(text.text, place.start)
    value = _COMMENT.sub("", line.group()) if line else ""
    if text.text.startswith("\\n", _line_start(text.text, place.begins) - 2):
        # The line stands in a string.
        value = re.split(r"\\+[nr]|\\*\"", value, maxsplit=1)[0]
    if text.kind is not Kind.CONFIGURATION:
        # A shell may run a command behind it.
        value = re.split(r"[\s;&|]", value, maxsplit=1)[0]
    if value.startswith(("$", "{", "[", "<", "(")) and is_template(value.rstrip(",;")):
        return None
    is_assigned = text.kind is not Kind.CODE
    if not value or not _is_secret(value.rstrip(",;"), place, is_quoted=not place.has_blanks, is_assigned=is_assigned):
        return None
    return place.start, place.start + len(value)


def _bare_value(text: Text, place: _Place) -> tuple[int, int] | None:
    """A value without quotes within a line; in code, that is a name or a call."""
    if text.kind is Kind.CODE:
        return None
    bare = _BARE.match(text.text, place.start)
    if bare is None or text.text[bare.end() : bare.end() + 1] in ("(", "[", "{", "<"):
        return None
    value = bare.group().rstrip(".,:")
    is_flag = not place.sign or text.text.startswith("--", place.begins)
    if not _is_secret(value, place, is_quoted=False, is_assigned=is_flag):
        return None
    return bare.start(), bare.start() + len(value)


def _indented(text: str, place: _Place, start: int) -> tuple[int, int] | None:
    """The lines of a YAML block that belong to the name: those further in than its own line."""
    line = text.rfind("\n", 0, place.begins) + 1
    indent = len(text[line : place.begins]) - len(text[line : place.begins].lstrip(" "))
    end = start
    for match in re.compile(r"([ ]*)[^\n]*(?:\n|$)").finditer(text, start, min(len(text), start + VALUE_LIMIT_CHARS)):
        if match.end() == match.start() or (match.group().strip() and len(match.group(1)) <= indent):
            break
        end = match.end()
    value = text[start:end]
    first = start + len(value) - len(value.lstrip())
    return (first, first + len(value.strip())) if len(value.strip()) >= 4 and not is_template(value.strip()) else None
