"""What a project has ever known, asked of its history."""

from __future__ import annotations

from collections.abc import Sequence

from nervous_system.ledger.history import History

ASKED_CONTENTS = 500


class Knowledge:
    """What was ever recorded of a project: see ``replay.restoring.survey.Known``. Every method may raise LedgerError.

    Args:
        history: the project.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def knows_path(self, resource: str) -> bool:
        """Whether something was recorded at this path."""
        return self._history.has_path(resource)

    def knows_below(self, folder: str) -> bool:
        """Whether something was recorded below this folder."""
        return self._history.has_paths_below(folder)

    def knows_contents(self, content_hashes: Sequence[str]) -> list[bool]:
        """For each SHA-256, in hex, whether such a content was recorded."""
        known = []
        for start in range(0, len(content_hashes), ASKED_CONTENTS):
            digests = [bytes.fromhex(each) for each in content_hashes[start : start + ASKED_CONTENTS]]
            known += [source is not None for source in self._history.content_sources(digests)]
        return known
