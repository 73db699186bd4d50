"""What differs between two trees, and how."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from nervous_system.textdiff import NO_NEWLINE, as_text, split_lines
from replay.tree import Contents, Entry, Tree


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that differs.

    Args:
        resource: the path; after a rename, the new one.
        before, after: what stands there in each tree; None where nothing does.
        renamed_from: the path before, where the same content left one path and came to another.
    """

    resource: str
    before: Entry | None
    after: Entry | None
    renamed_from: str = ""

    @property
    def kind(self) -> str:
        """added, deleted, renamed, mode (nothing else changed) or modified."""
        if self.renamed_from:
            return "renamed"
        if self.before is None or self.after is None:
            return "added" if self.before is None else "deleted"
        return "mode" if self.before.content_hash == self.after.content_hash else "modified"


def differences(before: Tree, after: Tree) -> list[Difference]:
    """What changed from one tree to the other, in the order of the paths."""
    changed = [resource for resource in before.keys() | after.keys() if before.get(resource) != after.get(resource)]
    gone = {resource for resource in changed if resource not in after}
    came = sorted(resource for resource in changed if resource not in before)
    origins = {before[resource]: resource for resource in sorted(gone, reverse=True)}
    found = [
        Difference(resource, before[resource], after[resource])
        for resource in changed
        if resource in before and resource in after
    ]
    for resource in came:
        origin = origins.pop(after[resource], "")
        gone.discard(origin)
        found.append(Difference(resource, before.get(origin), after[resource], origin))
    found += [Difference(resource, before[resource], None) for resource in gone]
    return sorted(found, key=lambda difference: difference.resource)


def unified(difference: Difference, contents: Contents) -> Iterator[str]:
    """The lines of a unified diff, file headers first, without line feeds; for binary content that it differs."""
    old = contents(difference.before.content_hash) if difference.before else b""
    new = contents(difference.after.content_hash) if difference.after else b""
    origin = difference.renamed_from or difference.resource
    yield f"--- {f'a/{origin}' if difference.before else '/dev/null'}"
    yield f"+++ {f'b/{difference.resource}' if difference.after else '/dev/null'}"
    old_text, new_text = as_text(old), as_text(new)
    if old_text is None or new_text is None:
        yield f"Binary contents differ: {len(old):,} and {len(new):,} bytes."
        return
    lines = difflib.unified_diff(split_lines(old_text), split_lines(new_text), lineterm="")
    for line in list(lines)[2:]:
        yield line.rstrip("\n")
        if line[:1] in (" ", "-", "+") and not line.endswith("\n"):
            yield NO_NEWLINE


def counts(lines: Iterator[str]) -> tuple[int, int]:
    """Added and removed lines of what ``unified`` gave."""
    body = list(lines)[2:]
    return sum(line.startswith("+") for line in body), sum(line.startswith("-") for line in body)
