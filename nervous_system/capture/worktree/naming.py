"""Which paths of a work tree can be recorded beside each other: those that any machine can restore.

Of two paths that some file system takes for one, the one that was there first is recorded; a link that would lead out
of the project, alone or by way of others, is not.
"""

from __future__ import annotations

from nervous_system.paths import (
    PathError,
    check_link_target,
    check_links,
    check_resource,
    folded,
    resource_from_bytes,
)


class Names:
    """The names that are recorded."""

    def __init__(self) -> None:
        # Folded place: its spelling, and how many recorded paths go through it.
        self._held: dict[str, tuple[str, int]] = {}
        self._links: dict[str, bytes] = {}

    def add(self, resource: str, target: bytes | None = None) -> None:
        """Takes a path that ``check`` let pass; ``target`` where it is a link."""
        for place, spelling in _places(resource):
            self._held[place] = (spelling, self._held.get(place, ("", 0))[1] + 1)
        if target is not None:
            self._links[resource] = target

    def remove(self, resource: str) -> None:
        """Gives a path's names free."""
        for place, _ in _places(resource):
            spelling, count = self._held.pop(place)
            if count > 1:
                self._held[place] = (spelling, count - 1)
        self._links.pop(resource, None)

    def check(self, resource: str, *, without: str = "") -> None:
        """Raises PathError where another recorded path, except ``without``, has a name that this one is taken for."""
        if without:
            target = self._links.get(without)
            self.remove(without)
            try:
                self.check(resource)
            finally:
                self.add(without, target)
            return
        for place, spelling in _places(resource):
            held = self._held.get(place)
            if held is not None and held[0] != spelling:
                raise PathError(resource, f"it cannot stand beside {held[0]!r} where case or form is ignored")

    def check_link(self, resource: str, target: bytes) -> None:
        """Raises PathError where a link leads out of the project, or makes another one do so."""
        check_link_target(resource, target)
        check_links({**self._links, resource: target})


def resource_of(path: bytes) -> str:
    """The text form of a path of a work tree; raises PathError where it must not be recorded."""
    resource = resource_from_bytes(path)
    check_resource(resource)
    return resource


def _places(resource: str) -> list[tuple[str, str]]:
    """A path's folders and itself: each as it is compared, and as it is spelled."""
    places, whole = folded(resource), resource
    ends = [index for index, character in enumerate(places) if character == "/"]
    if len(places) == len(whole):
        return [(places[:end], whole[:end]) for end in ends] + [(places, whole)]
    # Folding changed the length: cut both by their parts.
    parts, spelled = places.split("/"), whole.split("/")
    return [("/".join(parts[: n + 1]), "/".join(spelled[: n + 1])) for n in range(len(parts))]
