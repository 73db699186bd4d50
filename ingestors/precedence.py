"""What must come first: a ledger lands nothing that is newer than what the archive alone still has."""

from __future__ import annotations

from ingestors.ledger import LedgerSink
from ingestors.sink import Sink
from nervous_system.errors import NotFoundError, UnavailableError
from nervous_system.landing import Cursor
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity


def check_precedence(settings: Settings, sink: Sink, stream: StreamIdentity, first_sequence: int) -> None:
    """Raises where the ledger was lost, and would begin with what the log has now: events fold in the order of landing.

    So may one that was put back from a copy older than the log, which was made anew since: what the log before it had
    last is in the archive only.

    Args:
        settings: say where the archive is.
        sink: open; any but the ledger's lands in any order.
        stream: the log as it is now.
        first_sequence: of the first message that it still has.

    Raises:
        UnavailableError: the ledger has landed nothing of this log, and lacks what the archive alone still has.
        EnchantedError: the ledger has landed nothing of this log, and the archive cannot be asked.
    """
    if not isinstance(sink, LedgerSink) or not settings.s3_endpoint:
        return
    standing = sink.ledger.cursors()
    if any(each == stream for _, each, _ in standing) or not (standing or sink.ledger.is_empty()):
        return
    # Loaded where it is needed: a ledger begins with a log once.
    from nervous_system.archive.log import ArchiveLog
    from nervous_system.archive.objects import ObjectStore
    from nervous_system.archive.signing import signer_of, verifier_of

    objects = ObjectStore(settings)
    try:
        archived = ArchiveLog(objects, signer_of(settings), verifier_of(settings)).state().cursors
    except NotFoundError:
        # There is no bucket yet, and so no archive.
        return
    finally:
        objects.close()
    if any(
        first_sequence > 1
        if each == stream
        else standing.get((sink.name, each, partition), Cursor()).sequence < cursor.sequence
        for (each, partition), cursor in archived.items()
    ):
        raise UnavailableError(
            "The ledger lacks events that the archive has, and that the log does not have any more: run "
            "`enchanted rebuild ledger --from-archive` first. This goes on by itself then."
        )
