"""Names that Git takes for a branch or a tag (git-check-ref-format(1)). Pure."""

from __future__ import annotations

import re

# A reference is a file, and while it is written one with ".lock" behind its name.
PART_LIMIT_BYTES = 250
NAME_LIMIT_BYTES = 1_024

_REFUSED = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|\.$|^-")


def is_ref_name(name: str) -> bool:
    """Whether a branch or a tag may be called so, and a file as well."""
    return (
        name != "HEAD"
        and not _REFUSED.search(name)
        and len(name.encode()) <= NAME_LIMIT_BYTES
        and all(_is_part(part) for part in name.split("/"))
    )


def _is_part(part: str) -> bool:
    fits = 0 < len(part.encode()) <= PART_LIMIT_BYTES
    return fits and not part.startswith(".") and not part.endswith(".lock")
