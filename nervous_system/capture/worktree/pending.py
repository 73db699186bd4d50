"""What is known to have changed and was not looked at yet: bursts become one look, and no last change is lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# A burst is over when nothing was noticed for this long; one that does not end is looked at this often.
QUIET_S = 0.02
BURST_LIMIT_S = 0.1
# A file that is being written is left alone for this long, unless its writer closes it.
WRITING_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Notice:
    """That something may have changed.

    Args:
        path: relative to the work tree.
        is_tree: whether anything below it may have changed as well.
        is_open: whether its writer has not closed it.
    """

    path: bytes
    is_tree: bool = False
    is_open: bool = False


@dataclass(slots=True)
class _Wait:
    first_s: float
    not_before_s: float
    is_tree: bool
    is_open: bool


class Pending:
    """Notices that wait. All times are one monotonic clock's, in seconds."""

    def __init__(self) -> None:
        self._waits: dict[bytes, _Wait] = {}
        self._first_s = self._last_s = 0.0

    def __len__(self) -> int:
        return len(self._waits)

    def add(self, notice: Notice, now_s: float, *, not_before_s: float = 0.0) -> None:
        """Takes a notice; ``not_before_s`` holds a path back that costs much to look at."""
        if not self._waits:
            self._first_s = now_s
        self._last_s = now_s
        wait = self._waits.get(notice.path)
        if wait is None:
            self._waits[notice.path] = _Wait(now_s, not_before_s, notice.is_tree, notice.is_open)
        else:
            wait.is_tree = wait.is_tree or notice.is_tree
            wait.is_open = notice.is_open
            wait.not_before_s = max(wait.not_before_s, not_before_s)

    def due_s(self) -> float | None:
        """When ``take`` will next give something, if nothing else is noticed; None where nothing waits."""
        if not self._waits:
            return None
        burst_s = min(self._last_s + QUIET_S, self._first_s + BURST_LIMIT_S)
        return max(burst_s, min(map(_ready_s, self._waits.values())))

    def take(self, now_s: float) -> list[Notice]:
        """What is due by now, in the order in which it was first noticed."""
        if not self._waits or now_s < min(self._last_s + QUIET_S, self._first_s + BURST_LIMIT_S):
            return []
        taken = [path for path, wait in self._waits.items() if _ready_s(wait) <= now_s]
        notices = [Notice(path, self._waits.pop(path).is_tree) for path in taken]
        self._first_s = now_s
        return notices

    def discard(self, path: bytes) -> None:
        """Drops what was noticed of a path that is looked at now."""
        self._waits.pop(path, None)

    def take_all(self) -> list[Notice]:
        """Everything, due or not."""
        notices = [Notice(path, wait.is_tree) for path, wait in self._waits.items()]
        self._waits.clear()
        return notices


def _ready_s(wait: _Wait) -> float:
    return max(wait.not_before_s, wait.first_s + WRITING_LIMIT_S if wait.is_open else 0.0)
