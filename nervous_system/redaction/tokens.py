"""Tokens that are known by their form: the library's, and those that it lacks."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator

from nervous_system.generated.token_formats import TOKEN_FORMATS
from nervous_system.redaction.patterns import required_literals
from nervous_system.redaction.rules import Expression, Rule, Span, Text

_FURTHER_FORMATS = (
    ("anthropic", r"sk-ant-[\w-]{20,}"),
    ("openai", r"sk-(?:proj|svcacct|admin|None)-[\w-]{20,}"),
    ("openai", r"sk-[A-Za-z0-9]{32,}"),
    ("openrouter", r"sk-or-v1-[0-9a-f]{32,}"),
    ("google-key", r"AIza[\w-]{35}"),
    ("google-oauth", r"ya29\.[\w-]{20,}"),
    ("google-oauth", r"GOCSPX-[\w-]{28}"),
    ("github", r"github_pat_\w{22,}"),
    ("hugging-face", r"hf_[A-Za-z0-9]{30,}"),
    ("npm", r"npm_[A-Za-z0-9]{36}"),
    ("slack", r"xox[a-z]-[\w-]{10,}"),
    ("slack", r"xapp-\d-[\w-]{20,}"),
    ("stripe", r"sk_(?:live|test)_[0-9a-zA-Z]{16,}"),
    ("stripe", r"rk_(?:live|test)_[0-9a-zA-Z]{16,}"),
    ("webhook-secret", r"whsec_[A-Za-z0-9+/=]{24,}"),
    ("shopify", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("docker", r"dckr_pat_[\w-]{20,}"),
    ("atlassian", r"ATATT3[\w=-]{60,}"),
    ("digital-ocean", r"do[opr]_v1_[0-9a-f]{64}"),
    ("databricks", r"dapi[0-9a-f]{32}"),
    ("linear", r"lin_api_\w{32,}"),
    ("groq", r"gsk_\w{40,}"),
    ("replicate", r"r8_\w{30,}"),
    ("perplexity", r"pplx-\w{40,}"),
    ("xai", r"xai-\w{60,}"),
    ("vault", r"hv[sb]\.[\w-]{24,}"),
    ("age", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    ("postman", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("supabase", r"sbp_[0-9a-f]{40}"),
)
# What is cheaper to look for, where a form has no text that is always the same.
_GUARDS = {"discord": re.compile(r"\.[\w-]{6}\.[\w-]{27}", re.ASCII)}
# Forms that a name in code may have; it has no digits.
_NAME_LIKE = frozenset(("artifactory", "discord"))
_DIGIT = re.compile(r"[0-9]")
_REST = re.compile(r"[A-Za-z0-9_-]*")
_AROUND = " \t\r\n=:\"'"


class Token(Expression):
    """A token's form. What follows in the token's own letters belongs to it."""

    def find(self, text: Text) -> Iterator[Span]:
        """Where such tokens are."""
        guard = _GUARDS.get(self.name)
        if guard is not None and guard.search(text.text) is None:
            return
        for first, last, name in Expression.find(self, text):
            found = text.text[first:last]
            start = first + len(found) - len(found.lstrip(_AROUND))
            end = last - (len(found) - len(found.rstrip(_AROUND)))
            rest = _REST.match(text.text, end)
            if self.name not in _NAME_LIKE or _DIGIT.search(found):
                yield start, rest.end() if rest and end == last else end, name


class WebToken:
    """JSON Web Tokens (RFC 7519), whole, known by a first part that is a JSON object."""

    name, hints, ignores_case = "jwt", ("eyJ",), False
    _FORM = re.compile(r"eyJ[\w=-]{5,}\.[\w=-]{4,}(?:\.[\w=-]*){0,3}", re.ASCII)

    def find(self, text: Text) -> Iterator[Span]:
        """Where such tokens are."""
        for match in self._FORM.finditer(text.text):
            if _is_object(match.group().partition(".")[0].rstrip("=")):
                yield *match.span(), self.name


def _is_object(part: str) -> bool:
    try:
        return isinstance(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))), dict)
    except (binascii.Error, ValueError):
        return False


def token_rules() -> list[Rule]:
    """One rule for each form."""
    library = [Token(name, pattern, flags, hints, _group(pattern)) for name, pattern, flags, hints in TOKEN_FORMATS]
    further = [Token(name, pattern, 0, required_literals(pattern)) for name, pattern in _FURTHER_FORMATS]
    return [*library, *further, WebToken()]


def _group(pattern: str) -> int:
    # Of the library's, only this one has the secret in a group and other text around it.
    return 1 if pattern.startswith("aws.{") else 0
