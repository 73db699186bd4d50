"""Where an earlier import of a branch got to, as the ledger knows it."""

from __future__ import annotations

from nervous_system.errors import NotFoundError
from nervous_system.events import decode, occurred_us
from nervous_system.ledger.history import History, StoredEvent
from replay.git.events import BASE_ATTRIBUTE, session_of
from replay.git.importer import ImportedCommit


def find_imported(history: History, branch: str) -> ImportedCommit | None:
    """The last commit of ``branch`` of which the decision has landed; None where there is none."""
    session = session_of(branch)
    last = _last_of_session(history, session)
    if last is None:
        return None
    commit = decode(last.data).related_commit_hash
    first, _ = history.commit_versions(commit)
    decision = decode(history.event(first).data)
    return ImportedCommit(
        sha=commit,
        base=decision.decision.attributes.get(BASE_ATTRIBUTE) or None,
        first_sequence=decision.agent_sequence,
        occurred_us=occurred_us(decision),
    )


def _last_of_session(history: History, session: str) -> StoredEvent | None:
    try:
        return next(
            (stored for stored in history.events(reverse=True) if decode(stored.data).session_id == session), None
        )
    except NotFoundError:
        return None
