"""Where an earlier import of a branch got to, as the ledger knows it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from nervous_system.contract import SwarmEvent
from nervous_system.errors import NotFoundError
from nervous_system.events import decode, occurred_us
from nervous_system.ledger.history import History
from replay.git.events import BASE_ATTRIBUTE, SESSION_PREFIX, session_of
from replay.git.importer import ImportedCommit
from replay.git.repository import GitError


def find_imported(history: History, branch: str) -> ImportedCommit | None:
    """The last commit of ``branch`` of which the decision has landed; None where there is none.

    Raises:
        GitError: the project holds another branch's history: two in one project would undo each other's changes.
    """
    imported = _imported_newest_first(history)
    last = next(imported, None)
    if last is None:
        return None
    if last.session_id != session_of(branch):
        other = last.session_id.removeprefix(SESSION_PREFIX)
        raise GitError(f"{history.name} holds the history of branch {other}: import {branch} into another project.")
    # A commit's decision comes before its changes, so the first decision met on the way back is its own.
    decision = next(event for event in chain([last], imported) if event.WhichOneof("payload") == "decision")
    return ImportedCommit(
        sha=decision.related_commit_hash,
        base=decision.decision.attributes.get(BASE_ATTRIBUTE) or None,
        first_sequence=decision.agent_sequence,
        occurred_us=occurred_us(decision),
    )


def _imported_newest_first(history: History) -> Iterator[SwarmEvent]:
    try:
        for stored in history.events(reverse=True):
            event = decode(stored.data)
            if event.session_id.startswith(SESSION_PREFIX):
                yield event
    except NotFoundError:
        return
