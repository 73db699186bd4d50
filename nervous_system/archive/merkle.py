"""Merkle trees as RFC 6962 has them: a leaf is H(0x00 ‖ data), a node H(0x01 ‖ left ‖ right), H is SHA-256.

A tree of n leaves is split at the largest power of two below n; the root of none is H(). Leaves and nodes begin
differently, so that no node can be passed off as a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def leaf_hash(data: bytes) -> bytes:
    """What stands at the bottom of a tree for ``data``."""
    return hashlib.sha256(b"\x00" + data).digest()


def root(leaves: Iterable[bytes]) -> bytes:
    """The root over the leaves' data, in order; 32 bytes. Keeps only the logarithm of their number in memory."""
    return root_of_hashes(map(leaf_hash, leaves))


def root_of_hashes(hashes: Iterable[bytes]) -> bytes:
    """The root over leaves that ``leaf_hash`` has been through already."""
    # Complete subtrees, largest first, each with its number of leaves: as the ones in a binary number.
    subtrees: list[tuple[int, bytes]] = []
    for found in hashes:
        size, subtree = 1, found
        while subtrees and subtrees[-1][0] == size:
            subtree = _node(subtrees.pop()[1], subtree)
            size *= 2
        subtrees.append((size, subtree))
    if not subtrees:
        return hashlib.sha256().digest()
    found = subtrees.pop()[1]
    while subtrees:
        found = _node(subtrees.pop()[1], found)
    return found


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from leaf ``index`` to the root, from the bottom up (RFC 6962, 2.1.1).

    Raises:
        IndexError: there is no such leaf.
    """
    return path_of_hashes([leaf_hash(leaf) for leaf in leaves], index)


def path_of_hashes(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """As ``path``, of leaves that ``leaf_hash`` has been through already."""
    if not 0 <= index < len(hashes):
        raise IndexError(f"no leaf {index} among {len(hashes)}")
    found: list[bytes] = []
    low, high = 0, len(hashes)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            found.append(root_of_hashes(hashes[middle:high]))
            high = middle
        else:
            found.append(root_of_hashes(hashes[low:middle]))
            low = middle
    return found[::-1]


def root_of_path(leaf: bytes, index: int, count: int, hashes: Sequence[bytes]) -> bytes | None:
    """The root that a path leads to; None where no path from leaf ``index`` of ``count`` is that long.

    The way of RFC 9162, 2.1.3.2: ``index`` and ``count`` say at each step on which side the neighbour stands.
    """
    if not 0 <= index < count:
        return None
    place, last, found = index, count - 1, leaf_hash(leaf)
    for neighbour in hashes:
        if last == 0:
            return None
        if place % 2 or place == last:
            found = _node(neighbour, found)
            # A node without a neighbour rises until it has one.
            while place % 2 == 0 and place:
                place, last = place // 2, last // 2
        else:
            found = _node(found, neighbour)
        place, last = place // 2, last // 2
    return found if last == 0 else None


def _split(count: int) -> int:
    """The largest power of two below ``count``, which is at least 2."""
    return int(1 << (count - 1).bit_length() - 1)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
