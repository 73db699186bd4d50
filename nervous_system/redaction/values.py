"""Whether what stands where a secret may stand is one: pure judgements on a value."""

from __future__ import annotations

import re

from nervous_system.redaction.rules import MASK

_DUMMY_WORDS = (
    "pass password passwd pwd passphrase secret token key apikey api_key api-key credential credentials auth changeme "
    "change_me change-me example dummy test testing tests foo bar baz foobar none null nil undefined true false yes no "
    "on off str string bytes int bool required optional hidden redacted masked empty unset default prompt ask env user "
    "username admin root include omit same-origin basic bearer todo value public private anonymous guest abc123 "
    "123456 1234 12345 12345678 asdf qwerty hunter letmein xxx"
)
_DUMMIES = frozenset(_DUMMY_WORDS.split())
# Variables, templates and what stands for a secret in a manual.
_TEMPLATE = re.compile(
    r"\$[A-Za-z_]\w*|\$[({].*|.*\$\{[^}]*\}.*|\{.*\}|<.*>|\[.*\]|%[sdr]|%\(.*\)[sdr]|%\w+%|:\w+|@\w+|\#\{.*\}|!\w+.*"
    r"|[xX*.•·_-]{3,}|\.\.\..*|.*\.\.\.|(?:your|my|the|some|insert|enter|replace|put|fake|dummy|sample)[-_ ]\D*",
    re.DOTALL | re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[_\-. ]+|(?<=[a-z])(?=[A-Z])")
_FIELD_NAMES = (
    "pass password passwd passphrase pwd secret secrets token tokens key keys credential credentials auth field name "
    "hash"
)
_FIELD_WORDS = frozenset(_FIELD_NAMES.split())
_PROSE = re.compile(
    r"\b(?:password|passphrase|secret|token|keys?|credentials?|the|your|you|must|should|enter|please|is|are|for|with|"
    r"from|not|this|if|and|or|to|of|in|a|an)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z_]*(?:[.:]+[A-Za-z_]+)*", re.ASCII)
_NUMBERED_NAME = re.compile(r"[A-Za-z]+(?:[_.\-][A-Za-z]+)*[_.\-]?\d{1,3}", re.ASCII)
_PLACE = re.compile(r"(?:[a-z][a-z0-9+.-]*:/)?\.{0,2}/[\w./{}:$@%?&=~*+#,-]*|[a-z]:\\.*", re.IGNORECASE | re.ASCII)
_MIN_CHARS = 4
_MIN_TOKEN_CHARS = 8
_MAX_TEMPLATE_CHARS = 512


def is_template(value: str) -> bool:
    """Whether it stands for a value that is elsewhere."""
    return len(value) <= _MAX_TEMPLATE_CHARS and _TEMPLATE.fullmatch(value) is not None


def is_dummy(value: str) -> bool:
    """Whether it protects nothing."""
    return len(value) < _MIN_CHARS or value.lower() in _DUMMIES or len(set(value)) == 1


def is_password(value: str, *, is_quoted: bool, is_assigned: bool) -> bool:
    """Whether the value of a key that is called a password, or a secret, is one.

    Args:
        value: as it stands there.
        is_quoted: whether it stands in quotes.
        is_assigned: whether what stands there must be a value, as in a file of settings.
    """
    if is_dummy(value) or is_template(value) or _is_place(value) or _is_field(value):
        return False
    if " " in value:
        return is_quoted and not _PROSE.search(value)
    if is_quoted or is_assigned:
        return True
    return _NAME.fullmatch(value) is None and any(map(str.isdigit, value)) and len(value) >= 6


def is_token(value: str, *, is_assigned: bool) -> bool:
    """Whether the value of a key that is called a token, or some sort of key, is one."""
    if len(value) < _MIN_TOKEN_CHARS or is_dummy(value) or is_template(value) or _is_place(value):
        return False
    if any(map(str.isspace, value)) or value.isdigit() or "://" in value:
        return False
    if len(value) < 16 and _NUMBERED_NAME.fullmatch(value) and not is_assigned:
        return False
    if any(map(str.isdigit, value)):
        return any(map(str.isalpha, value)) or MASK in value
    return len(value) >= 20 and value.isalnum() and not (value.islower() or value.isupper())


def _is_field(value: str) -> bool:
    """Whether it is the name of a field, such as ``client_secret``."""
    words = _SEPARATORS.split(value)
    return all(map(str.isalpha, words)) and any(word.lower() in _FIELD_WORDS for word in words)


def _is_place(value: str) -> bool:
    """Whether it is a path or an address; the letters of base64 may look like one."""
    if _PLACE.fullmatch(value) is None:
        return False
    is_mixed = all(any(map(kind, value)) for kind in (str.isdigit, str.isupper, str.islower))
    return "://" in value or len(value) < 20 or not is_mixed
