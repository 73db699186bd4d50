"""The history of a fork: what it shares with the project that it was forked from, then its own.

Nothing of the shared past is copied. A fork's own events carry an incarnation above that of every event that it shares,
so that versions compare as the events are ordered, whichever was written first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

from nervous_system.contract import Origin
from nervous_system.errors import NotFoundError
from nervous_system.events import decode, occurred_us
from nervous_system.ledger.append import Place
from nervous_system.ledger.history import History, NamedMoment, Outline, StoredEvent
from nervous_system.ledger.records import ContentForm, ContentSource, Head, PathChange
from nervous_system.ledger.snapshots import Manifest, Snapshot
from nervous_system.ledger.transaction import Engine
from nervous_system.ledger.versions import Version
from nervous_system.projects import ProjectName


@dataclass(frozen=True, slots=True)
class Share:
    """How much of another project's history a fork takes for its past.

    Args:
        through: the last version shared.
        occurred_by_us: of those, only events that occurred by then, microseconds since 1970; None: all.
        recorded_by_us: of those, only events that the log had by then; None: all.
    """

    through: Version
    occurred_by_us: int | None
    recorded_by_us: int | None

    def takes(self, occurred_us: int, recorded_us: int) -> bool:
        """Whether an event with these times, at or before ``through``, is shared."""
        return (self.occurred_by_us is None or occurred_us <= self.occurred_by_us) and (
            self.recorded_by_us is None or recorded_us <= self.recorded_by_us
        )

    @property
    def takes_all(self) -> bool:
        """Whether every event up to ``through`` is shared."""
        return self.occurred_by_us is None and self.recorded_by_us is None


class ForkedHistory(History):
    """See ``History``. Answers as if the shared events were the project's own.

    Args:
        engine, name, place: of the fork.
        origin: where its past is.
        parent: the history of the project that the origin names.

    Raises NotFoundError where the last event that is shared is not in the ledger.
    """

    def __init__(self, engine: Engine, name: ProjectName, place: Place, origin: Origin, parent: History) -> None:
        super().__init__(engine, name, place, parent._thawing.cold)
        self.origin = origin
        self.parent = parent
        through = parent.version_of_event(origin.through_event_id)
        if through is None or through.incarnation >= origin.incarnation:
            raise NotFoundError(
                f"{name} is a fork of {parent.name}, of which the ledger lacks event {origin.through_event_id}, where "
                "they part: see `enchanted status`, and try again once everything has landed."
            )
        self._share = Share(
            through,
            origin.occurred_by_us if origin.HasField("occurred_by_us") else None,
            origin.recorded_by_us if origin.HasField("recorded_by_us") else None,
        )

    @property
    def parted_at(self) -> Version:
        """The last version that is shared."""
        return self._share.through

    def owns(self, version: Version) -> bool:
        return version.incarnation >= self.origin.incarnation

    def head(self) -> Head:
        own = super().head()
        first_us = min(own.first_occurred_us, self.parent.head().first_occurred_us)
        return replace(own, first_occurred_us=first_us)

    def events(
        self, *, after: Version | None = None, through: Version | None = None, reverse: bool = False
    ) -> Iterator[StoredEvent]:
        parts = [self._shared_events(after, through, reverse), self._own_events(after, through, reverse)]
        for part in reversed(parts) if reverse else parts:
            yield from part

    def events_at(self, versions: Sequence[Version]) -> Iterator[StoredEvent]:
        for is_own, run in groupby(versions, self.owns):
            wanted = list(run)
            yield from super().events_at(wanted) if is_own else self.parent.events_at(wanted)

    def outlines_here(self, versions: Sequence[Version]) -> list[Outline]:
        own = [version for version in versions if self.owns(version)]
        shared = [version for version in versions if not self.owns(version)]
        return super().outlines_here(own) + (self.parent.outlines_here(shared) if shared else [])

    def has(self, version: Version) -> bool:
        return super().has(version) if self.owns(version) else self._shares(version)

    def version_of_event(self, event_id: str) -> Version | None:
        return super().version_of_event(event_id) or self._shared(self.parent.version_of_event(event_id))

    def versions_of_events(self, event_ids: Sequence[str]) -> list[Version | None]:
        own = super().versions_of_events(event_ids)
        lacking = [event_id for event_id, version in zip(event_ids, own, strict=True) if version is None]
        shared = map(self._shared, self.parent.versions_of_events(lacking) if lacking else [])
        return [next(shared) if version is None else version for version in own]

    def chain(self, event_id: str) -> bytes:
        return super().chain(event_id) if super().version_of_event(event_id) else self.parent.chain(event_id)

    def commits(self, abbreviation: str, *, through: Version | None = None) -> dict[str, Version]:
        shared = {
            commit: version
            for commit, version in self.parent.commits(abbreviation, through=self._bound(through)).items()
            if self._shares(version)
        }
        return {**shared, **super().commits(abbreviation, through=through)}

    def commit_versions(self, commit_hash: str) -> tuple[Version, Version]:
        found = self.commits(commit_hash)
        if commit_hash not in found:
            return super().commit_versions(commit_hash)
        last = found[commit_hash]
        first = super().commit_versions(commit_hash)[0] if self.owns(last) else None
        shared = self._shared(self.parent.commit_versions(commit_hash)[0]) if first is None else None
        return first or shared or last, last

    def checkpoints(self) -> Iterator[NamedMoment]:
        shared = (named for named in self.parent.checkpoints() if self._shares(named.version))
        yield from heapq.merge(shared, super().checkpoints(), key=lambda named: (named.name.encode(), named.version))

    def named(self, name: str) -> NamedMoment | None:
        own = super().named(name)
        if own is not None:
            return own
        shared = [named for named in self.parent.checkpoints() if named.name == name and self._shares(named.version)]
        return shared[-1] if shared else None

    def last_decision(self, agent_id: str, session_id: str, *, before: Version) -> Version | None:
        own = super().last_decision(agent_id, session_id, before=before) if self.owns(before) else None
        if own is not None:
            return own
        end = min(before, self._share.through.next())
        while (shared := self.parent.last_decision(agent_id, session_id, before=end)) and not self._shares(shared):
            end = shared
        return shared

    def last_recorded(self, recorded_us: int) -> Version | None:
        return super().last_recorded(recorded_us) or self._shared(self.parent.last_recorded(recorded_us))

    def has_path(self, resource: str) -> bool:
        return super().has_path(resource) or any(True for _ in self.path_life(resource, through=self._share.through))

    def has_paths_below(self, folder: str) -> bool:
        return super().has_paths_below(folder) or self.parent.has_paths_below(folder)

    def path_changes(self, *, through: Version | None = None) -> Iterator[tuple[str, Version, PathChange]]:
        shared = (
            life
            for life in self.parent.path_changes(through=self._bound(through))
            if self._share.takes(life[2].occurred_us, life[2].recorded_us)
        )
        if through is not None and not self.owns(through):
            yield from shared
            return
        # Keys are in the order of UTF-8, which is that of code points; of one path what is shared comes first.
        yield from heapq.merge(shared, super().path_changes(through=through), key=itemgetter(0))

    def path_life(self, resource: str, *, through: Version) -> Iterator[tuple[Version, PathChange]]:
        if self.owns(through):
            yield from super().path_life(resource, through=through)
        for version, change in self.parent.path_life(resource, through=self._bound(through)):
            if self._share.takes(change.occurred_us, change.recorded_us):
                yield version, change

    def outlines(self, *, after: Version | None = None, through: Version | None = None) -> Iterator[Outline]:
        if after is None or not self.owns(after):
            for outline in self.parent.outlines(after=after, through=self._bound(through)):
                if self._share.takes(occurred_us(outline.event), outline.recorded_us):
                    yield outline
        if through is None or self.owns(through):
            own_after = after if after is not None and self.owns(after) else None
            yield from super().outlines(after=own_after, through=through)

    def snapshots(self) -> list[Snapshot]:
        return [each for each in self.parent.snapshots() if self._shares_all_of(each)] + super().snapshots()

    def manifest(self, snapshot: Snapshot) -> Manifest:
        return super().manifest(snapshot) if self.owns(snapshot.version) else self.parent.manifest(snapshot)

    def content_sources(self, digests: Sequence[bytes]) -> list[ContentSource | None]:
        own = super().content_sources(digests)
        # A fork that goes back to a shared content says so by a diff from its own: of two claims the shared one is
        # taken, which leads to shared contents only, lest the two lead to each other.
        claims = [source is None or source.form == ContentForm.EVENT for source in own]
        wanted = [digest for digest, is_claim in zip(digests, claims, strict=True) if is_claim]
        shared = iter(self.parent.content_sources(wanted) if wanted else [])
        return [(next(shared) or source) if is_claim else source for source, is_claim in zip(own, claims, strict=True)]

    def _shared_events(self, after: Version | None, through: Version | None, reverse: bool) -> Iterator[StoredEvent]:
        if after is not None and self.owns(after):
            return
        for stored in self.parent.events(after=after, through=self._bound(through), reverse=reverse):
            if self._share.takes_all or self._share.takes(occurred_us(decode(stored.data)), stored.recorded_us):
                yield stored

    def _own_events(self, after: Version | None, through: Version | None, reverse: bool) -> Iterator[StoredEvent]:
        if through is None or self.owns(through):
            own_after = after if after is not None and self.owns(after) else None
            yield from super().events(after=own_after, through=through, reverse=reverse)

    def _bound(self, through: Version | None) -> Version:
        """The last version of the parent that counts, where ``through`` is the last that counts here."""
        return self._share.through if through is None else min(through, self._share.through)

    def _shared(self, version: Version | None) -> Version | None:
        return version if version is not None and self._shares(version) else None

    def _shares_all_of(self, snapshot: Snapshot) -> bool:
        return snapshot.version <= self._share.through and self._share.takes(snapshot.latest_us, snapshot.recorded_us)

    def _shares(self, version: Version) -> bool:
        if version > self._share.through or not self.parent.has(version):
            return False
        if self._share.takes_all:
            return True
        stored = self.parent.event(version)
        return self._share.takes(occurred_us(decode(stored.data)), stored.recorded_us)


def own_part(history: History) -> History:
    """A project's own events: of a fork, without what it shares."""
    if not isinstance(history, ForkedHistory):
        return history
    return History(history._engine, history.name, history._place, history._thawing.cold)
