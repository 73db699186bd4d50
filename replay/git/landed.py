"""Where an earlier import of a branch got to, as the ledger knows it."""

from __future__ import annotations

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
    last = _last_imported(history)
    if last is None:
        return None
    if last.session_id != session_of(branch):
        other = last.session_id.removeprefix(SESSION_PREFIX)
        raise GitError(f"{history.name} holds the history of branch {other}: import {branch} into another project.")
    first, _ = history.commit_versions(last.related_commit_hash)
    decision = decode(history.event(first).data)
    return ImportedCommit(
        sha=last.related_commit_hash,
        base=decision.decision.attributes.get(BASE_ATTRIBUTE) or None,
        first_sequence=decision.agent_sequence,
        occurred_us=occurred_us(decision),
    )


def _last_imported(history: History) -> SwarmEvent | None:
    try:
        events = (decode(stored.data) for stored in history.events(reverse=True))
        return next((event for event in events if event.session_id.startswith(SESSION_PREFIX)), None)
    except NotFoundError:
        return None
