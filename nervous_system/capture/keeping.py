"""Where findings go: through a taker, as events that are the same however often they are found."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self

from nervous_system.capture.findings import FileState, Finding, to_event
from nervous_system.contract import AgentRole, SwarmEvent
from nervous_system.errors import ContractError
from nervous_system.events import EVENT_LIMIT_BYTES
from nervous_system.inspection import EventRefusedError, inspect
from nervous_system.outbox.opening import connect, outbox_path
from nervous_system.projects import ProjectName
from nervous_system.recording import payloads
from nervous_system.recording.takers import LogTaker, OutboxTaker, Taker
from nervous_system.redaction.fields import add_marks
from nervous_system.redaction.placeholders import Mark
from nervous_system.redaction.redactor import CONTENT_FIELD, Redactor
from nervous_system.settings import Settings

REMEMBERED_IDS = 200_000


class Keeper:
    """Keeps what is found in another tool's record. For one thread at a time.

    Args:
        settings: folders and addresses.
        project: whose events they become.
        direct: sends them straight to the log, and not into the outbox of this machine.
        role: of the agents that are found.

    Raises, from every method: SettingsError where the outbox cannot be used, UnavailableError where nothing more can be
    kept.
    """

    def __init__(
        self,
        settings: Settings,
        project: ProjectName,
        *,
        direct: bool = False,
        role: AgentRole = AgentRole.ROLE_CODER,
    ) -> None:
        self._project, self._role = project, role
        self._redactor = Redactor.of(settings)
        self._taker: Taker = LogTaker(settings, project) if direct else OutboxTaker(settings, project)
        self._known: OrderedDict[str, None] = OrderedDict()
        self.kept_count = self.known_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taker.close()

    @property
    def has_room(self) -> bool:
        """Whether ``keep`` would return at once, and not wait for the outbox to be drained."""
        return self._taker.has_room

    def passes_over(self, event_ids: Iterable[str]) -> None:
        """Makes these known: whatever is found of them again is passed over."""
        self._known.update(dict.fromkeys(event_ids))

    def keep(self, finding: Finding) -> SwarmEvent | None:
        """Takes a finding.

        Returns:
            The event; None where it is known already.

        Raises:
            ContractError: no store would keep such an event; the next finding can be kept all the same.
        """
        if finding.event_id in self._known:
            self.known_count += 1
            return None
        self._taker.await_room()
        event = self._event(finding)
        # Maps in the order of their keys, so that the same finding is the same bytes.
        data = event.SerializeToString(deterministic=True)
        if len(data) > EVENT_LIMIT_BYTES:
            raise ContractError(f"Its {len(data):,} bytes are above the {EVENT_LIMIT_BYTES:,} that an event may have.")
        try:
            inspect(data, self._project)
        except EventRefusedError as error:
            raise ContractError(str(error)) from error
        self._taker.put(data, event)
        self.kept_count += 1
        self._known[finding.event_id] = None
        if len(self._known) > REMEMBERED_IDS:
            self._known.popitem(last=False)
        return event

    def _event(self, finding: Finding) -> SwarmEvent:
        """The event without its secrets, which the redactor takes out the same way each time."""
        marks: tuple[Mark, ...] = ()
        state = finding.payload
        if isinstance(state, FileState):
            left = self._redactor.content(state.content or b"", state.resource)
            earlier = self._redactor.content(state.previous or b"", state.resource)
            marks = left.marks
            content = None if state.content is None else left.content
            previous = None if state.previous is None else earlier.content
            finding = replace(finding, payload=replace(state, content=content, previous=previous))
        try:
            event = to_event(finding, self._project, self._taker.put_part, self._role)
            add_marks(event, CONTENT_FIELD, marks)
            return self._redactor.event(event)
        except (TypeError, ValueError) as error:
            raise payloads.unacceptable(error) from error

    def flush(self, timeout_s: float | None = None) -> None:
        """Returns once everything that was taken is kept for good; raises UnavailableError after ``timeout_s``.

        What took too long is kept all the same, once there is room or the disk is well again.
        """
        if isinstance(self._taker, OutboxTaker):
            self._taker.flush(timeout_s)
        else:
            self._taker.flush()


def ids_in_outbox(settings: Settings, project: ProjectName) -> list[str]:
    """The ids of the project's events that this machine's outbox still holds."""
    path = outbox_path(settings, project)
    if not path.exists():
        return []
    connection = connect(path)
    try:
        return [str(row[0]) for row in connection.execute("SELECT event_id FROM rows WHERE kind = 'event'")]
    finally:
        connection.close()
