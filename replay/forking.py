"""Forks: a new project whose past is another's, up to a moment."""

from __future__ import annotations

from nervous_system.contract import Checkpoint, Origin
from nervous_system.errors import EnchantedError
from nervous_system.events import decode
from nervous_system.ledger.history import History
from nervous_system.ledger.versions import MAX_INCARNATION
from replay.moments import Moment


class ForkError(EnchantedError):
    """A project cannot be forked so."""


def opening(history: History, moment: Moment) -> Checkpoint:
    """What the first event of a fork says: that its past is ``history`` up to ``moment``.

    Raises ForkError where the project is a fork of too many forks.
    """
    # Above all that the other project has, not only what is shared: of forks, each is younger than where it comes from.
    incarnation = history.head().version.incarnation + 1
    if incarnation > MAX_INCARNATION:
        raise ForkError(f"{history.name} has been forked or moved {MAX_INCARNATION - 1} times over: fork an older one.")
    event = decode(history.event(moment.through).data)
    return Checkpoint(
        name=f"forked-from-{history.name.project}",
        description=f"The past of this project is that of {history.name}: {moment.meaning}.",
        origin=Origin(
            project_id=history.name.project,
            through_event_id=event.event_id,
            chain=history.chain(event.event_id),
            incarnation=incarnation,
            occurred_by_us=moment.at_us,
            recorded_by_us=moment.known_at_us,
        ),
    )
