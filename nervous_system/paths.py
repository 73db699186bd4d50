"""What a project's paths may be: checked when a path is recorded, and again before anything is written to disk.

A *resource* is a path relative to the project's root as text: parts joined by "/", each byte that is not valid UTF-8
written ``\\xHH`` in lower-case hex. A literal backslash is refused, so the text has exactly one reading.

The rules hold for every file system at once, so that what one machine recorded any other can restore.
Sources: Git's ``verify_path``, ``is_ntfs_dotgit`` and ``is_hfs_dotgit`` (read-cache.c, path.c, utf8.c); Microsoft,
"Naming Files, Paths, and Namespaces"; Unicode 16.0, section 3.13, D145 (canonical caseless matching).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from unicodedata import normalize

from nervous_system.errors import ContractError

MAX_PART_BYTES = 255
MAX_PATH_BYTES = 4096
MAX_DEPTH_PARTS = 128
# As many as Linux follows in one path (path_resolution(7)).
MAX_LINK_HOPS = 40

_ESCAPE = re.compile(rb"\\x([89a-f][0-9a-f])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³])", re.IGNORECASE)
_GIT = re.compile(r"(\.git|git~[0-9]+)[. ]*", re.IGNORECASE)
# Default_Ignorable_Code_Point (DerivedCoreProperties.txt). HFS+ skips some of them when it compares names, ext4 and
# f2fs with case folding skip all.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


class PathError(ContractError):
    """A path that must not be recorded or restored.

    Args:
        resource: the path, in text form.
        reason: what is wrong with it, as the end of a sentence: "it has a part '..'".
    """

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"The path {_shown(resource)} is refused: {reason}. Rename it, or leave it out.")
        self.resource = resource
        self.reason = reason


def resource_from_bytes(raw: bytes) -> str:
    """The text form of a path as the file system gives it; raises PathError where it has a literal backslash."""
    text = raw.decode("utf-8", "backslashreplace")
    if b"\\" in raw:
        raise PathError(text, "it has a backslash")
    return text


def resource_to_bytes(resource: str) -> bytes:
    """The path as the file system takes it: the exact inverse of ``resource_from_bytes``.

    Raises PathError for text that ``resource_from_bytes`` would not have written: a stray backslash, an escape in
    capitals, or one that hides bytes which are valid UTF-8.
    """
    try:
        encoded = resource.encode("utf-8")
    except UnicodeEncodeError:
        raise PathError(resource, "it has half of a surrogate pair, which is no character") from None
    if b"\\" not in encoded:
        return encoded
    raw = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), encoded)
    if b"\\" in raw:
        raise PathError(resource, r"it has a backslash that is not an escape of the form \xHH for a byte above 7f")
    if raw.decode("utf-8", "backslashreplace") != resource:
        raise PathError(resource, "it escapes bytes that are valid UTF-8")
    return raw


def check_resource(resource: str) -> None:
    """Raises PathError where ``resource`` breaks a rule that can be told from the path alone."""
    if len(resource) > 4 * MAX_PATH_BYTES or len(resource_to_bytes(resource)) > MAX_PATH_BYTES:
        raise PathError(resource, f"it is longer than {MAX_PATH_BYTES} bytes")
    parts = resource.split("/")
    if len(parts) > MAX_DEPTH_PARTS:
        raise PathError(resource, f"it is deeper than {MAX_DEPTH_PARTS} parts")
    for part in parts:
        if problem := _part_problem(part):
            raise PathError(resource, problem)


def check_link_target(resource: str, target: bytes) -> None:
    """Raises PathError where a symlink at ``resource`` may not point at ``target``.

    A target is relative, and read from the link's folder never leaves the root, not even on its way. What lies behind
    other links is for ``check_links``, which sees the whole tree.
    """
    if not target or b"\0" in target or b"\\" in target or target.startswith(b"/"):
        raise PathError(resource, "it is a link whose target is empty, absolute, or has a backslash or NUL")
    if len(target) >= MAX_PATH_BYTES:
        raise PathError(resource, f"it is a link whose target is longer than {MAX_PATH_BYTES - 1} bytes")
    parts, depth_parts = _target_parts(target), resource.count("/")
    if len(parts) > 2 * MAX_DEPTH_PARTS:
        raise PathError(resource, f"it is a link whose target has more than {2 * MAX_DEPTH_PARTS} parts")
    for part in parts:
        depth_parts += -1 if part == ".." else 1
        if depth_parts < 0:
            raise PathError(resource, "it is a link that leads out of the project")
        if part != ".." and (problem := _part_problem(part)):
            raise PathError(resource, f"it is a link to a path that no project may have: {problem}")


def check_links(targets: Mapping[str, bytes]) -> None:
    """Raises PathError where one of a tree's links leads out of the project by way of other links.

    Each target alone may look harmless: with ``a/up -> ..`` the link ``out -> a/up/..`` reads as ``a``, and is the
    root's parent. Links that lead in a circle are dead and do no harm.

    Args:
        targets: each link's resource and its target, all of them accepted by ``check_link_target``.
    """
    links = _Links(targets)
    for resource in sorted(targets):
        links.follow(resource, 0)


def collisions(resources: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of resources that cannot both exist on every file system, each cause once.

    They are equal after normalisation and case folding, or have folders that are, or one is a folder of the other.
    """
    # Folded path: its spelling, and the resource that brought it (the same for a file, another for a folder).
    owners: dict[str, tuple[str, str]] = {}
    folders: set[str] = set()
    for resource in resources:
        place = folded(resource)
        if place in owners:
            yield owners[place][1], resource
        else:
            owners[place] = (resource, resource)
        folder = resource.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            spelling, other = owners.setdefault(folded(folder), (folder, resource))
            if spelling != folder or spelling == other:
                yield other, resource
            folder = folder.rpartition("/")[0]


def check_tree(resources: Iterable[str]) -> None:
    """Raises PathError where one of a tree's paths breaks a rule, or two of them collide."""
    known = list(resources)
    for resource in known:
        check_resource(resource)
    for first, second in collisions(known):
        raise PathError(
            second, f"it cannot stand beside {_shown(first)} on a file system that ignores case or normalises names"
        )


@lru_cache(maxsize=16_384)
def is_git_part(part: str) -> bool:
    """Whether some file system takes this part of a path for ``.git``."""
    return _GIT.fullmatch(part if part.isascii() else folded(_IGNORABLE.sub("", part))) is not None


@lru_cache(maxsize=16_384)
def _part_problem(part: str) -> str:  # noqa: PLR0911 - one return a rule
    """The rule that a part of a path breaks; empty where it breaks none."""
    if part in ("", ".", ".."):
        return f"it has a part {part!r}" if part else "it has an empty part"
    if _CONTROL.search(part):
        return "it has a control character"
    if ":" in part:
        return "it has a colon"
    if part[-1] in ". ":
        return f"its part {part!r} ends in a dot or a space"
    if _RESERVED.fullmatch(part.partition(".")[0].rstrip(" ")):
        return f"its part {part!r} is a device's name on Windows"
    if is_git_part(part):
        return f"its part {part!r} is Git's own folder, or taken for it by some file system"
    if len(part) * 4 > MAX_PART_BYTES and len(resource_to_bytes(part)) > MAX_PART_BYTES:
        return f"it has a part longer than {MAX_PART_BYTES} bytes"
    return ""


def _target_parts(target: bytes) -> list[str]:
    """The parts of a link's target that move: POSIX skips empty ones and single dots."""
    text = target.decode("utf-8", "backslashreplace")
    return [part for part in text.split("/") if part not in ("", ".")]


def folded(text: str) -> str:
    """What two names have in common that some file system takes for one (D145)."""
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFD", text).casefold())


def _shown(resource: str) -> str:
    """A path as it can be printed on any terminal, cut where it is very long."""
    text = resource if len(resource) <= 200 else f"{resource[:200]}…"
    return repr(text).replace(r"\\x", r"\x")


class _Links:
    """Where each link of a tree leads, through the others, as a kernel would walk it."""

    def __init__(self, targets: Mapping[str, bytes]) -> None:
        self._targets = {folded(resource): (resource, target) for resource, target in targets.items()}
        # Folded path of a link: where it leads (None: nowhere, a circle), and over how many links.
        self._ends: dict[str, tuple[list[str] | None, int]] = {}

    def follow(self, resource: str, depth_hops: int) -> tuple[list[str] | None, int]:
        """The folded parts of the place that the link at ``resource`` leads to, and the links passed on the way."""
        key = folded(resource)
        if key not in self._ends:
            # Met again before it is known, the link is part of a circle.
            self._ends[key] = (None, 0)
            self._ends[key] = self._walk(*self._targets[key], depth_hops)
        return self._ends[key]

    def _walk(self, resource: str, target: bytes, depth_hops: int) -> tuple[list[str] | None, int]:
        place, hops = folded(resource).split("/")[:-1], 1
        for part in _target_parts(target):
            if part != "..":
                place.append(folded(part))
            elif place:
                place.pop()
            else:
                raise PathError(resource, "it is a link that leads out of the project by way of another link")
            if "/".join(place) in self._targets:
                end, more = self._follow_within(resource, "/".join(place), depth_hops)
                if end is None:
                    return None, hops
                place, hops = list(end), hops + more
            if hops > MAX_LINK_HOPS:
                raise PathError(resource, f"it is a link that leads through more than {MAX_LINK_HOPS} others")
        return place, hops

    def _follow_within(self, resource: str, link: str, depth_hops: int) -> tuple[list[str] | None, int]:
        if depth_hops >= MAX_LINK_HOPS:
            raise PathError(resource, f"it is a link that leads through more than {MAX_LINK_HOPS} others")
        return self.follow(link, depth_hops + 1)
