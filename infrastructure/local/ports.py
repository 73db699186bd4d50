"""Ports on the loopback interface: the usual one where it is free, else another that stays the same from then on."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nervous_system.errors import SettingsError

LOOPBACK = "127.0.0.1"
# Below what Linux hands out to outgoing connections (32768), even with a twin's offset added.
CANDIDATES = range(20_000, 22_700)


class PortTakenError(SettingsError):
    """A port that the user named is in use."""


@dataclass(frozen=True, slots=True)
class PortWish:
    """A port that a component needs.

    Args:
        name: by which it is remembered and pinned.
        usual: tried first; 0 where nobody expects a certain one.
        twin_offset: the port that lies this far above is needed as well; 0 for none.
    """

    name: str
    usual: int = 0
    twin_offset: int = 0


def is_free(port: int) -> bool:
    """Whether a server could listen at ``port`` on loopback and on every interface."""
    return all(_can_bind(host, port) for host in (LOOPBACK, ""))


def assign(
    wishes: Iterable[PortWish],
    *,
    pinned: Mapping[str, int],
    remembered: Mapping[str, int],
    reserved: Iterable[int] = (),
    free: Callable[[int], bool] = is_free,
) -> dict[str, int]:
    """A port for every wish: the pinned one, else the remembered, else the usual, else any that is free.

    Raises:
        PortTakenError: a pinned port is taken, or was pinned twice.
    """
    wishes = tuple(wishes)
    chosen: dict[str, int] = {}
    used = set(reserved)

    def available(port: int) -> bool:
        return port not in used and free(port)

    # Pinned ones first, so that no other wish takes what the user asked for.
    for wish in sorted(wishes, key=lambda wish: wish.name not in pinned):
        port = _pick(wish, pinned, remembered, available)
        chosen[wish.name] = port
        used |= {port, port + wish.twin_offset}
    return chosen


def _pick(wish: PortWish, pinned: Mapping[str, int], remembered: Mapping[str, int], free: Callable[[int], bool]) -> int:
    if wish.name in pinned:
        if not free(pinned[wish.name]):
            raise _taken(wish.name, pinned[wish.name])
        return pinned[wish.name]
    first = [port for port in (remembered.get(wish.name, 0), wish.usual) if port]
    others = random.sample(CANDIDATES, len(CANDIDATES))
    for port in [*first, *others]:
        if free(port) and (not wish.twin_offset or free(port + wish.twin_offset)):
            return port
    raise SettingsError(f"No port is free for {wish.name} between {CANDIDATES.start} and {CANDIDATES.stop - 1}.")


def _taken(name: str, port: int) -> PortTakenError:
    option = name.replace("_", "-")
    return PortTakenError(
        f"Port {port}, which was asked for {option}, is taken: give another with --{option}-port (or "
        f"ENCHANTED_{name.upper()}_PORT), or leave it out to have a free one chosen."
    )


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port whose last connections are only waiting to be forgotten counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError):
            return False
    return True
