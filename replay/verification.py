"""Whether a project's ledger is what was landed: chain, ids, indexes, and every content's hash, recomputed.

Of a fork its own events are looked at, and that the past it shares still ends in the chain that it was made with; the
shared events are for the verification of the project that they belong to.

Whoever alters an event must also alter its id's record, where its hash and the chain up to it are kept, and then those
of every event after it: a verification that meets the first event at fault names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from nervous_system.contract import Origin, SwarmEvent
from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.events import decode, occurred_us
from nervous_system.inspection import inspect
from nervous_system.ledger.append import path_rows
from nervous_system.ledger.audit import Audit
from nervous_system.ledger.history import History, StoredEvent
from nervous_system.ledger.lineage import ForkedHistory, own_part
from nervous_system.ledger.records import GENESIS_CHAIN, IdRecord, extend_chain
from nervous_system.ledger.versions import Version
from replay import patches
from replay.contents import ContentError, Contents
from replay.merging import Merger
from replay.snapshots import unsound

GROUP_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was landed.

    Args:
        version: of the event at fault, or where one is missing.
        event_id: its id, where it can be read.
        reason: a sentence.
    """

    version: Version | None
    event_id: str
    reason: str


@dataclass(slots=True)
class Tally:
    """What has been counted on the way."""

    events: int = 0
    path_rows: int = 0
    chain: bytes = GENESIS_CHAIN
    last: Version | None = None


class Verification:
    """One passage over a project's ledger.

    Args:
        history: the project.
        audit: of the same project.
    """

    def __init__(self, history: History, audit: Audit) -> None:
        self._whole = history
        self._history = own_part(history)
        self._fork = history if isinstance(history, ForkedHistory) else None
        self._audit = audit
        self._contents = Contents(history)
        self.tally = Tally()

    def faults(self) -> Iterator[Fault]:
        """Every fault, those of events first and in their order."""
        yield from self._past()
        yield from self._events()
        yield from self._lost()
        yield from self._strays()
        yield from self._head()
        yield from self._snapshots()

    def faults_through(self, version: Version) -> Iterator[Fault]:
        """Every fault in what leads to ``version``, the last event that is looked at."""
        yield from self._past()
        yield from self._events(version)
        yield from self._lost(version)

    def _past(self) -> Iterator[Fault]:
        """Where a fork's past is not the one that it was made with."""
        first = next(self._history.events(), None)
        if first is not None and _declared_origin(first) != (self._fork.origin if self._fork else None):
            yield Fault(first.version, "", "the ledger has its past elsewhere than this first event says")
        if self._fork is not None and self._chain_at_parting(self._fork) != self._fork.origin.chain:
            reason = f"the chain of {self._fork.parent.name} is not the one that this fork was made with: their common"
            yield Fault(self._fork.parted_at, self._fork.origin.through_event_id, f"{reason} past was altered")

    def _chain_at_parting(self, fork: ForkedHistory) -> bytes:
        try:
            return fork.parent.chain(fork.origin.through_event_id)
        except NotFoundError:
            return b""

    def _events(self, through: Version | None = None) -> Iterator[Fault]:
        events = self._history.events(through=through)
        while group := list(islice(events, GROUP_EVENTS)):
            yield from self._group(group)

    def _group(self, group: list[StoredEvent]) -> Iterator[Fault]:
        read = [(stored, self._read(stored)) for stored in group]
        sound = [(stored, event) for stored, event in read if isinstance(event, SwarmEvent)]
        known = dict(
            zip(
                (event.event_id for _, event in sound),
                self._audit.id_records([event.event_id for _, event in sound]),
                strict=True,
            )
        )
        for stored, event in read:
            self.tally.events += 1
            self.tally.last = stored.version
            if isinstance(event, Fault):
                yield event
                continue
            reason = self._fault_of_id(stored, known[event.event_id])
            reason = reason or self._fault_of_indexes(stored, event) or self._fault_of_content(event)
            if reason:
                yield Fault(stored.version, event.event_id, reason)

    def _read(self, stored: StoredEvent) -> SwarmEvent | Fault:
        try:
            return inspect(stored.data, self._history.name)
        except EnchantedError as error:
            return Fault(stored.version, "", f"its bytes are not a sound event: {error}")

    def _fault_of_id(self, stored: StoredEvent, record: IdRecord | None) -> str:
        chain = extend_chain(self.tally.chain, stored.data)
        # From here on the chain is taken as it is kept, so that the next fault is found on its own.
        self.tally.chain = chain if record is None else record.chain
        if record is None:
            return "its id was never landed: it was inserted"
        if record.version != stored.version:
            return f"its id was landed at version {record.version}: it was moved or copied"
        if record.digest != hashlib.sha256(stored.data).digest():
            return "its bytes are not those that were landed"
        if record.chain != chain:
            return "the chain does not lead to it: an event before it is missing, was inserted, or was altered"
        return ""

    def _fault_of_indexes(self, stored: StoredEvent, event: SwarmEvent) -> str:
        if not self._audit.time_rows(stored.version, occurred_us(event), stored.recorded_us):
            return "the time indexes do not have it"
        if event.WhichOneof("payload") != "state_change":
            return ""
        expected = path_rows(event.state_change, occurred_us(event), stored.recorded_us)
        self.tally.path_rows += len(expected)
        found = self._audit.path_rows([(resource, stored.version) for resource, _ in expected])
        return "" if found == [value for _, value in expected] else "the path index says something else of it"

    def _fault_of_content(self, event: SwarmEvent) -> str:
        change = event.state_change
        if event.WhichOneof("payload") != "state_change" or not change.new_state_hash:
            return ""
        try:
            if change.diff_patch:
                content = patches.apply(change.diff_patch, self._contents(change.previous_state_hash))
            else:
                content = self._contents(change.new_state_hash)
        except EnchantedError as error:
            return f"its content cannot be put together: {error}"
        if hashlib.sha256(content).hexdigest() != change.new_state_hash:
            return "its diff does not lead to the content that it promises"
        self._contents.keep(change.new_state_hash, content)
        return ""

    def _lost(self, through: Version | None = None) -> Iterator[Fault]:
        """Events of which only their ids are left."""
        lost = [
            (record.version, event_id)
            for event_id, record in self._audit.ids()
            if (through is None or record.version <= through) and self._absent(record.version)
        ]
        for version, event_id in sorted(lost):
            yield Fault(version, event_id, "the event is missing: only its id is left")

    def _strays(self) -> Iterator[Fault]:
        """Rows that no event has."""
        if sum(1 for _ in self._audit.times()) != 2 * self.tally.events:
            strays = sorted({version for version in self._audit.times() if self._absent(version)})
            yield Fault(strays[0] if strays else None, "", "the time indexes have rows of no event")
        if sum(1 for _ in self._audit.paths()) != self.tally.path_rows:
            stray = next((version for _, version in self._audit.paths() if self._absent(version)), None)
            yield Fault(stray, "", "the path index has rows of no event")

    def _absent(self, version: Version) -> bool:
        return not self._history.has(version)

    def _snapshots(self) -> Iterator[Fault]:
        # What cannot be merged because a content cannot be put together has been told of.
        with suppress(ContentError):
            for version, reason in unsound(self._whole, Merger(self._contents)):
                yield Fault(version, "", f"{reason}: run `enchanted snapshots --once --rebuild {self._whole.name}`")

    def _head(self) -> Iterator[Fault]:
        head = self._history.head()
        tally = self.tally
        if (head.count, head.version, head.chain) != (tally.events, tally.last, tally.chain):
            yield Fault(
                head.version,
                "",
                f"the head says {head.count:,} events up to version {head.version}, and there are {tally.events:,} up "
                f"to {tally.last}, or the chain ends differently",
            )


def _declared_origin(first: StoredEvent) -> Origin | None:
    """Where a project's first event says that its past is; None where it is no fork."""
    try:
        checkpoint = decode(first.data).checkpoint
    except EnchantedError:
        return None
    return checkpoint.origin if checkpoint.HasField("origin") else None


def first(faults: list[Fault]) -> Fault:
    """The fault that comes first in the project's order."""
    return min(faults, key=lambda fault: (fault.version is None, fault.version or Version(0, b"")))
