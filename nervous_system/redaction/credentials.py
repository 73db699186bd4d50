"""Credentials known by what stands around them: in addresses, headers, commands, and the blocks of private keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nervous_system.redaction.rules import MASK, Rule, Span, Text, occurrences
from nervous_system.redaction.values import is_dummy, is_template

_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----", re.ASCII)
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----", re.ASCII)
# Where its end was cut off: the letters of base64, line ends also as they stand in a string, and a diff's signs.
_KEY_REST = re.compile(r"(?:[A-Za-z0-9+/=\s>|\"',:-]|\\+[nrt])*", re.ASCII)
_PUTTY_LINES = re.compile(
    r"Private-Lines:[ \t]*\d+(?:\r?\n|\\+r?\\*n)((?:[A-Za-z0-9+/=]+(?:\r?\n|\\+r?\\*n|$))+)", re.ASCII
)
KEY_LIMIT_CHARS = 32_768
_MIN_KEY_CHARS = 40


class PrivateKeys:
    """Private keys in PEM (RFC 7468), OpenSSH's, PGP's and PuTTY's form, also those whose end was cut off."""

    name, hints, ignores_case = "private-key", ("private",), True

    def find(self, text: Text) -> Iterator[Span]:
        """Where such keys are, their first and last lines with them."""
        for begin in _KEY_BEGIN.finditer(text.text):
            end = _KEY_END.search(text.text, begin.end(), begin.end() + KEY_LIMIT_CHARS)
            rest = _KEY_REST.match(text.text, begin.end(), begin.end() + KEY_LIMIT_CHARS)
            last = end.end() if end else rest.end() if rest else begin.end()
            body = text.text[begin.end() : end.start() if end else last]
            if sum(map(str.isalnum, body)) >= _MIN_KEY_CHARS or MASK in body:
                yield begin.start(), last, self.name
        for match in _PUTTY_LINES.finditer(text.text):
            yield *match.span(1), self.name


class Addresses:
    """Passwords in addresses: ``scheme://user:password@host``; of a user alone, one that is no name."""

    name, hints, ignores_case = "url-credentials", ("://",), False
    _FORM = re.compile(r"://([^\s/?#\"'<>`:@\\]{0,256})(?::([^\s/\"'<>`\\]{1,1024}))?@(?=[\w\[{$%.-])", re.ASCII)

    def find(self, text: Text) -> Iterator[Span]:
        """Where they are."""
        if "@" not in text.text:
            return
        for match in self._FORM.finditer(text.text):
            user, password = match.group(1, 2)
            if password is None:
                if len(user) >= 20 and any(map(str.isdigit, user)) and not is_template(user):
                    yield *match.span(1), self.name
            elif not (is_template(password) or is_dummy(password)):
                yield *match.span(2), self.name


class Headers:
    """What ``Authorization``, ``Cookie`` and ``curl -u`` carry, and bearer tokens anywhere."""

    name, hints, ignores_case = "header", ("authorization", "bearer", "cookie", "curl "), True
    _AUTHORIZATION = re.compile(
        r"authorization\\*[\"'`]?\s*[:=,]\s*\\*[\"'`]?(?:(?:bearer|basic|token|digest|negotiate|apikey|bot)\s+)?"
        r"([A-Za-z0-9._~+/=:|\ufdd0-]{8,})",
        re.ASCII | re.IGNORECASE,
    )
    _BEARER = re.compile(r"bearer\s+([A-Za-z0-9._~+/=-]{16,})", re.ASCII | re.IGNORECASE)
    _COOKIES = re.compile(r"cookie\\*[\"'`]?\s*[:,=]\s*\\*[\"'`]?([^\r\n\"'\\]{8,8192})", re.ASCII | re.IGNORECASE)
    _COOKIE = re.compile(r"=([^\s;,=]{16,})")
    _CURL = re.compile(r"(?:-u\s?|--(?:proxy-)?user[ =])[\"']?[^\s:\"'$]{1,128}:([^\s\"'$]{4,512})", re.ASCII)

    def find(self, text: Text) -> Iterator[Span]:
        """Where they are."""
        if "authorization" in text.lower:
            yield from self._likely(self._AUTHORIZATION, text, 0, len(text.text))
        if "bearer" in text.lower:
            yield from self._likely(self._BEARER, text, 0, len(text.text))
        if "cookie" in text.lower:
            for header in self._COOKIES.finditer(text.text):
                yield from self._likely(self._COOKIE, text, *header.span(1))
        for at in occurrences(text.lower, "curl "):
            for match in self._CURL.finditer(text.text, at, at + 2_048):
                if not is_dummy(match.group(1)):
                    yield *match.span(1), self.name

    def _likely(self, form: re.Pattern[str], text: Text, start: int, end: int) -> Iterator[Span]:
        for match in form.finditer(text.text, start, end):
            value = match.group(1)
            is_called = text.text[match.end(1) : match.end(1) + 1] in ("(", "[", "{")
            if not is_called and any(map(str.isdigit, value)) and any(map(str.isalpha, value)):
                yield *match.span(1), self.name


def credential_rules() -> list[Rule]:
    """The rules of this module."""
    return [PrivateKeys(), Addresses(), Headers()]
