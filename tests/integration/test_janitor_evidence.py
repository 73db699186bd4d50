"""What the janitor reads of the archive: row by row, and no more at once than a row group."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ingestors.janitor import evidence
from ingestors.janitor.evidence import Evidence, archived_rows, counted
from ingestors.janitor.notes import Notes, Portion
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.filerows import FileRow
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import signer_of, verifier_of
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests import archives
from tests.integration.hubs import OLD, new_hub
from tests.samples import PROJECT, STREAM, event, in_parts, message

SECOND = ProjectName("acme", "site")
STRANGER = ProjectName("zenith", "shop")
MISSING = b"a part that the archive lacks"


def file_row(number: int, project: ProjectName = PROJECT, data: bytes | None = None) -> FileRow:
    data = event(number, project).SerializeToString() if data is None else data
    return FileRow(project.tenant, project.project, str(STREAM), number + 1, 0, 0, 0, data)


def test_the_ledger_is_told_of_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "ROWS_AT_ONCE", 4)
    projects = [*itertools.repeat(PROJECT, 10), *itertools.repeat(SECOND, 3), STRANGER]
    read: list[int] = []

    def rows() -> Iterator[FileRow]:
        for number, project in enumerate(projects):
            read.append(number)
            yield file_row(number, project)
        yield file_row(99, data=event(99, state_change=in_parts("lacks", MISSING)).SerializeToString())

    told, ahead = [], []
    for project, several in archived_rows(rows(), {"acme"}, lambda *_: False):
        told.append((project, [row.event_id for row in several]))
        ahead.append(len(read) - sum(len(ids) for _, ids in told))
    ids = [event(number).event_id for number in range(13)]
    assert told == [(PROJECT, ids[:4]), (PROJECT, ids[4:8]), (PROJECT, ids[8:10]), (SECOND, ids[10:])]
    assert max(ahead) <= 1


def test_rows_that_are_not_the_named_ones_are_found() -> None:
    entry, rows = archives.entry(1), [file_row(number) for number in range(3)]
    with pytest.raises(ArchiveDamagedError, match="does not have the events"):
        counted(entry, rows)


def test_a_file_is_read_in_pieces_and_once(servers: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = new_hub(servers, tmp_path)
    landed = [message(number + 1, [event(number)]) for number in range(12)]
    hub.land(OLD, 0, landed, "siphon")
    with closing(ObjectStore(hub.settings)) as store:
        state = ArchiveLog(store, signer_of(hub.settings), verifier_of(hub.settings)).state()
        [entry] = state.files.values()
        monkeypatch.setattr(ObjectStore, "get", lambda _, key: pytest.fail(f"{key} is read whole"))
        found = Evidence(store, Notes())
        assert [found.check(entry), found.check(entry)] == [True, False]
        assert found.notes.files[entry.key].portions == [Portion("acme", 12, sum(m.size_bytes for m in landed))]
        with found.rows(entry) as rows:
            assert [row.data for row in rows] == [each.events[0].data for each in landed]
        monkeypatch.undo()
        store.put(entry.key, store.get(entry.key)[::-1])
        with pytest.raises(ArchiveDamagedError, match="SHA-256"), found.rows(entry):
            pass
