"""The id of what was recorded, and what is recorded because of it."""

from __future__ import annotations

from contextvars import ContextVar, Token

from nervous_system.projects import ProjectName


class Recorded(str):
    """An event's id. As a context manager, it is the cause of what the same thread or task records in the block.

    Attributes:
        project: of the event.
        correlation_id: the task that the event serves, which the events in the block then serve too.
    """

    project: ProjectName
    correlation_id: str
    _tokens: list[Token[Recorded | None]]

    @classmethod
    def of(cls, event_id: str, project: ProjectName, correlation_id: str) -> Recorded:
        """The id of an event of this project."""
        made = cls(event_id)
        made.project, made.correlation_id = project, correlation_id
        return made

    def __enter__(self) -> Recorded:
        token = _cause.set(self)
        self._tokens = [*getattr(self, "_tokens", ()), token]
        return self

    def __exit__(self, *_: object) -> None:
        _cause.reset(self._tokens.pop())


_cause: ContextVar[Recorded | None] = ContextVar("enchanted_cause", default=None)


def cause_in(project: ProjectName) -> Recorded | None:
    """The event of this project in whose block this thread or task is."""
    cause = _cause.get()
    return cause if cause is not None and cause.project == project else None
