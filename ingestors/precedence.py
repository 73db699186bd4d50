"""What must come first: an empty ledger lands nothing that is newer than what the archive alone still has."""

from __future__ import annotations

from ingestors.ledger import LedgerSink
from ingestors.sink import Sink
from nervous_system.errors import NotFoundError, UnavailableError
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity


def check_precedence(settings: Settings, sink: Sink, stream: StreamIdentity, first_sequence: int) -> None:
    """Raises where the ledger was lost, and would begin with what the log has now: events fold in the order of landing.

    Args:
        settings: say where the archive is.
        sink: open; any but the ledger's lands in any order.
        stream: the log as it is now.
        first_sequence: of the first message that it still has.

    Raises:
        UnavailableError: the ledger is empty, and the archive has what this log does not.
        EnchantedError: the ledger is empty, and the archive cannot be asked.
    """
    if not isinstance(sink, LedgerSink) or not settings.s3_endpoint or not sink.ledger.is_empty():
        return
    # Loaded where it is needed: a ledger is empty once.
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
    if any(each != stream for each, _ in archived) or (archived and first_sequence > 1):
        raise UnavailableError(
            "The ledger is empty, and the archive has events that the log does not have any more: run "
            "`enchanted rebuild ledger --from-archive` first. This goes on by itself then."
        )
