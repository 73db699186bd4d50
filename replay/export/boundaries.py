"""Where commits end in a project's own order, and the checkpoints that can name one."""

from __future__ import annotations

from bisect import bisect_right

from nervous_system.contract import SwarmEvent
from nervous_system.events import occurred_us
from nervous_system.ledger.versions import Version
from replay.export.commits import EMAIL, NO_NAME, clean_message, clean_name
from replay.export.fast_import import Tag
from replay.export.refs import is_ref_name
from replay.git.commits import Signature


class Boundaries:
    """The commits, each from its first to its last event."""

    def __init__(self) -> None:
        self._firsts: list[Version] = []
        self._lasts: list[Version] = []
        self._marks: list[int] = []

    def add(self, first: Version, last: Version, mark: int) -> None:
        """Takes the next commit in; a mark of 0 is one that does not hold the project's tree."""
        self._firsts.append(first)
        self._lasts.append(last)
        self._marks.append(mark)

    def at(self, version: Version) -> int | None:
        """The commit that holds the tree as it was after the event at ``version``; None where none does."""
        index = bisect_right(self._firsts, version) - 1
        if index < 0 or self._lasts[index] > version:
            return None
        return self._marks[index] or None


class Tags:
    """Checkpoints as tags. Of checkpoints with one name the last counts.

    Args:
        branch: its name, which a tag of that name would hide.
    """

    def __init__(self, branch: str) -> None:
        self._branch = branch
        self._named: dict[str, Tag | None] = {}

    def note(self, event: SwarmEvent, mark: int | None) -> None:
        """Takes the next checkpoint in, and the commit that it names, where there is one."""
        checkpoint = event.checkpoint
        # A fork begins with one that need not have a name.
        if checkpoint.name:
            self._named.pop(checkpoint.name, None)
            self._named[checkpoint.name] = None if mark is None else _tag(event, mark)

    def chosen(self) -> tuple[list[Tag], list[str]]:
        """The tags, and the names of the checkpoints that cannot be one."""
        tags: list[Tag] = []
        refused: list[str] = []
        taken: set[str] = set()
        folders: set[str] = set()
        for name, tag in self._named.items():
            above = {name[:end] for end, character in enumerate(name) if character == "/"}
            fits = is_ref_name(name) and name != self._branch and name not in folders and not above & taken
            if tag is None or not fits:
                refused.append(name)
                continue
            tags.append(tag)
            taken.add(name)
            folders |= above
        return tags, refused


def _tag(event: SwarmEvent, mark: int) -> Tag:
    time_s = max(occurred_us(event) // 1_000_000, 0)
    tagger = Signature(clean_name(event.agent_id) or NO_NAME, EMAIL, time_s, 0)
    description = event.checkpoint.description.strip()
    return Tag(event.checkpoint.name, mark, tagger, clean_message(f"{description}\n") if description else b"")
