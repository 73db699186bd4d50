"""What a project is at a moment, by an independent model: a list of what was told, folded into a plain dictionary.

Nothing here is taken from the time machine. Texts are made so that merging them needs no search: every line begins with
its number, so that a line can only ever be where it was, and two versions are compared place by place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby, zip_longest

from nervous_system.ledger.versions import Version

AGENTS = ("ada", "bob", "eve")
OPERATOR = "enchanted"
SLOTS = 8
FILE, EXECUTABLE, SYMLINK = 0o100644, 0o100755, 0o120000
FILES = (FILE, EXECUTABLE)

Held = tuple[int, bytes]
"""Mode and content."""

Files = dict[str, Held]


def sha(content: bytes | None) -> str:
    """SHA-256, hex; empty for nothing."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Change:
    """What an event did to one path.

    Args:
        claimed: the hash of what it says was there before; empty: it says nothing.
        after: what it leaves; None: nothing.
        mode: None: as it was.
    """

    path: str
    claimed: str
    after: bytes | None
    mode: int | None


@dataclass(slots=True)
class Told:
    """An event.

    Args:
        data: its bytes.
        carried: the content that it brings, whole or as a diff.
        moved: the old and the new name, where it renames.
        version: where it landed; None until then.
    """

    event_id: str
    agent: str
    occurred_us: int
    recorded_us: int
    data: bytes
    changes: tuple[Change, ...] = ()
    carried: bytes | None = None
    moved: tuple[str, str] | None = None
    version: Version | None = None


@dataclass(frozen=True, slots=True)
class When:
    """A moment: so many events of a project, and of those only what both clocks had by then."""

    count: int
    at_us: int | None = None
    known_at_us: int | None = None

    def takes(self, told: Told) -> bool:
        return (self.at_us is None or told.occurred_us <= self.at_us) and (
            self.known_at_us is None or told.recorded_us <= self.known_at_us
        )


@dataclass(slots=True)
class Standing:
    """What stands at a moment.

    Args:
        disputes: for each path how many changes did not fit.
        unmerged: every event that met something it could not be merged with, settled since or not.
    """

    files: Files = field(default_factory=dict)
    disputes: dict[str, int] = field(default_factory=dict)
    unmerged: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Project:
    """A project, and what its forks and origins have carried."""

    told: list[Told] = field(default_factory=list)
    parent: Project | None = None

    def now(self) -> When:
        return When(len(self.told))

    def at(self, when: When) -> list[Told]:
        """What belongs to a moment, in order."""
        return [each for each in self.told[: when.count] if when.takes(each)]

    def recorded(self) -> dict[str, bytes]:
        """Every content that an event of the project, or of where it comes from, brings."""
        found = self.parent.recorded() if self.parent else {}
        return found | {sha(each.carried): each.carried for each in self.told if each.carried is not None}

    def standing(self, when: When, policy: str = "fail") -> Standing:
        return fold(self.at(when), self.recorded(), policy)


def fold(events: Iterable[Told], recorded: Mapping[str, bytes], policy: str = "fail") -> Standing:
    """What stands after these events."""
    result, known = Standing(), dict(recorded)
    for told in events:
        for change in told.changes:
            _apply(result, known, told, change, policy)
    return result


def _apply(result: Standing, known: dict[str, bytes], told: Told, change: Change, policy: str) -> None:
    mode, found = result.files.get(change.path, (0, None))
    left, new_mode = change.after, mode if change.mode is None else change.mode
    if not change.claimed:
        result.disputes.pop(change.path, None)
    elif change.claimed != sha(found) and found != change.after:
        merged = None
        if mode in FILES and new_mode in FILES and found is not None and left is not None:
            merged = merge_known(known.get(change.claimed), found, left)
        if merged is not None:
            left = known[sha(merged)] = merged
        else:
            result.unmerged.append(told.event_id)
            left = found if policy == "ours" else left
            if policy == "fail":
                result.disputes[change.path] = result.disputes.get(change.path, 0) + 1
    if left is None:
        result.files.pop(change.path, None)
    else:
        result.files[change.path] = new_mode, left


def merge_known(base: bytes | None, ours: bytes, theirs: bytes) -> bytes | None:
    """Merges numbered lines; None where changes meet, which those of neighbouring lines do, or cannot be merged."""
    if base is None or theirs == base:
        return None if base is None else ours
    if b"\0" in base + ours + theirs:
        return None
    rows = list(zip_longest(*(each.splitlines(keepends=True) for each in (base, ours, theirs))))
    merged: list[bytes] = []
    for _, group in groupby(rows, key=lambda row: len({*row}) > 1):
        sides = [list(side) for side in zip(*group, strict=True)]
        if sides[0] not in (sides[1], sides[2]) and sides[1] != sides[2]:
            return None
        merged += [line for line in (sides[2] if sides[1] == sides[0] else sides[1]) if line is not None]
    return b"".join(merged)


def fresh(agent: str, serial: int, style: int) -> bytes:
    """A text whose every line is numbered; ``style`` says how long it is and how it ends."""
    divider = "=" * (3, 30, 80)[style % 3]
    lines = []
    for slot in range(SLOTS):
        lines += [
            f"{2 * slot} {agent} {serial}" if owner(slot) == agent else f"{2 * slot} -",
            f"{2 * slot + 1} {divider}",
        ]
    return "\n".join(lines).encode() + (b"" if style > 3 else b"\n")


def owner(slot: int) -> str:
    """Whose line a slot is."""
    return AGENTS[slot % len(AGENTS)]


def edited(content: bytes, agent: str, serial: int, bits: int) -> bytes:
    """The content with some of an agent's own lines written anew; what is no text is replaced."""
    lines = content.decode().splitlines(keepends=True)
    if b"\0" in content:
        return b"\0%d" % serial
    if len(lines) != 2 * SLOTS:
        return fresh(agent, serial, bits)
    own = [slot for slot in range(SLOTS) if owner(slot) == agent]
    for index, slot in enumerate(own):
        if bits >> index & 1 or (index == 0 and bits & 0b111 == 0):
            lines[2 * slot] = f"{2 * slot} {agent} {serial}\n"
    return "".join(lines).encode()


def plain_undone(project: Project, count: int, agent: str, begin: When | None, past: Files) -> dict[str, bytes]:
    """What plain texts are once an agent's changes are taken back.

    A text is plain where somebody else wrote it first and all that came of it since were lines, each changed by the one
    who owns it, who said what was there before.

    Args:
        count: how many events of the project there were.
        begin: only later changes are taken back.
        past: what stood at that moment.
    """
    now = project.standing(When(count)).files
    found = {}
    for path, (mode, content) in now.items():
        life = [(told, change) for told in project.told[:count] for change in told.changes if change.path == path]
        first, written = life[0]
        is_plain = first.agent != agent and not first.moved and len((written.after or b"").splitlines()) == 2 * SLOTS
        for told, change in life[1:]:
            lines = (change.after or b"").splitlines()
            is_plain &= bool(change.claimed) and len(lines) == 2 * SLOTS and change.mode == mode
            is_plain &= told.agent in AGENTS
        if is_plain and written.after is not None and mode == written.mode and len(content.splitlines()) == 2 * SLOTS:
            then = past[path][1] if path in past else written.after
            found[path] = _with_lines_of(content, then, agent)
    return found


def _with_lines_of(content: bytes, then: bytes, agent: str) -> bytes:
    """The content, an agent's own lines as they were."""
    lines, old = content.splitlines(keepends=True), then.splitlines(keepends=True)
    own = {2 * slot for slot in range(SLOTS) if owner(slot) == agent}
    return b"".join(old[index] if index in own else line for index, line in enumerate(lines))
