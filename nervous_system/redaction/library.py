"""Takes the known token formats over from detect-secrets into ``nervous_system/generated/token_formats.py``.

Run as ``python -m nervous_system.redaction.library`` after a new version of detect-secrets was taken in; a test holds
the two equal. The library itself is not loaded when an agent records: it takes 0.3 s and a client of HTTP with it, and
redaction must not depend on what is installed.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nervous_system.redaction.patterns import required_literals

DESTINATION = Path(__file__).resolve().parent.parent / "generated" / "token_formats.py"

# Left out: what goes by entropy or is no secret (hashes and addresses would be hit), and what this package has in a
# form of its own, because the library's finds only where a secret is and not where it ends, or goes by key names.
LEFT_OUT = frozenset(
    (
        "BasicAuthDetector",
        "CloudantDetector",
        "IbmCloudIamDetector",
        "IbmCosHmacDetector",
        "JwtTokenDetector",
        "KeywordDetector",
        "NpmDetector",
        "PrivateKeyDetector",
        "SoftlayerDetector",
        "IPPublicDetector",
        "Base64HighEntropyString",
        "HexHighEntropyString",
    )
)
# What the parser cannot see: each of these formats has it in practice.
HINTS = {"TelegramBotTokenDetector": (":AA",)}


def source() -> str:
    """The module that the installed version gives."""
    lines = [
        f'"""Token formats of detect-secrets {version("detect-secrets")} (Yelp, Apache-2.0)."""',
        "",
        "# Rule, expression, flags, texts of which at least one is in whatever matches.",
        "TOKEN_FORMATS: tuple[tuple[str, str, int, tuple[str, ...]], ...] = (",
    ]
    for name, detector in sorted(_detectors().items()):
        for regex in detector.denylist:
            pattern, flags = _anchored(regex.pattern), int(regex.flags & ~re.UNICODE)
            hints = HINTS.get(name, required_literals(pattern, flags))
            lines.append(f"    ({_rule(name)!r}, {pattern!r}, {flags}, {hints!r}),")
    return "\n".join([*lines, ")", ""])


def _detectors() -> dict[str, Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    known: Any = get_mapping_from_secret_type_to_class()
    found = {each.__name__: each for each in known.values()}
    return {name: each for name, each in found.items() if name not in LEFT_OUT and issubclass(each, RegexBasedDetector)}


def _anchored(pattern: str) -> str:
    """The same with a text at its beginning that can be searched for, where it looks for what is around that text."""
    around = re.fullmatch(r'\(\?:\\s\|=\|:\|"\|\^\)([A-Z]+)(.*)\(\?:\\s\|"\|\$\)', pattern)
    if around is None:
        return pattern
    text, rest = around.groups()
    return rf'{text}(?<![^\s=:"]{text}){rest}(?=\s|"|$)'


def _rule(name: str) -> str:
    words = name.removesuffix("Detector").removesuffix("Token").removesuffix("Bot")
    words = words.replace("OAuth", "Oauth").replace("GitHub", "Github").replace("GitLab", "Gitlab")
    return "-".join(re.findall(r"[A-Z]{2,}(?![a-z])|[A-Z][a-z]+", words.replace("OpenAI", "Openai"))).lower()


if __name__ == "__main__":
    DESTINATION.write_text(source(), encoding="utf-8")
