"""Verifying the archive by itself, and proofs from it: what was changed is found, a proof needs no server."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nervous_system.archive import layout, proof
from nervous_system.archive.audit import Audit, Counted, audit
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import Change, FileEntry, ProjectHead
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.proof import ProofError
from nervous_system.archive.signing import Signer, signer_of, write_key_pair
from nervous_system.archive.state import ArchiveState
from nervous_system.contract import Operation, StateChange
from nervous_system.errors import NotFoundError
from nervous_system.events import content_hash
from nervous_system.landing import Cursor
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.siphoning import PARTS, batches, opened, own_bucket, with_parts
from tests.samples import BEGAN_US, FILE_MODE, PROJECT, STREAM, batch, event, event_id, message

DOCUMENT = Path(__file__).parents[2] / "docs" / "archive.md"
LARGE, NEXT_DAY_US = 777, BEGAN_US + 86_400_000_000
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))


@pytest.fixture
def settings(servers: Settings, tmp_path: Path) -> Settings:
    write_key_pair(tmp_path / "key")
    return replace(own_bucket(servers, tmp_path / "files"), archive_signing_key_file=str(tmp_path / "key"))


@pytest.fixture
def store(settings: Settings) -> Iterator[ObjectStore]:
    """The bucket of a signed archive: events of several tenants, of two days, one of which names parts of a content."""
    whole = b"".join(PARTS)
    large = StateChange(
        target_resource="large",
        operation=Operation.OPERATION_MODIFY,
        mode=FILE_MODE,
        new_state_hash=content_hash(whole),
        blob_hash=content_hash(whole),
        blob_parts=[hashlib.sha256(part).digest() for part in PARTS],
    )
    first = with_parts(batches(1)[0])
    last = first.cursor.sequence
    messages = [
        message(last + 1, [event(LARGE, state_change=large)], recorded_us=NEXT_DAY_US),
        message(last + 2, [event(778), event(779)], recorded_us=NEXT_DAY_US),
    ]
    with opened(settings) as sink:
        sink.land(first)
        sink.land(batch(*messages, after=last))
    store = ObjectStore(settings)
    yield store
    store.close()


@pytest.fixture
def log(settings: Settings, store: ObjectStore) -> ArchiveLog:
    return ArchiveLog(store, signer_of(settings))


def audited(settings: Settings, store: ObjectStore) -> Audit:
    return audit(ArchiveLog(store, signer_of(settings)), store)


def test_a_whole_archive_is_found_whole(settings: Settings, store: ObjectStore, log: ArchiveLog) -> None:
    told: list[int] = []

    def progress(counted: Counted) -> None:
        told.append(counted.manifests + counted.objects + counted.parts)

    found = audit(log, store, progress)
    assert found.good, [str(each) for each in found.findings]
    assert found.state == log.state()
    counted = found.counted
    assert (counted.manifests, counted.objects, counted.objects_in_all, counted.parts) == (2, 4, 4, 2)
    assert counted.events == sum(head.events for head in found.state.heads.values()) == 15
    assert counted.bytes == sum(entry.size_bytes for entry in found.state.files.values()) + sum(map(len, PARTS))
    assert told == list(range(1, 9))


def test_whatever_is_changed_is_named(settings: Settings, store: ObjectStore, log: ArchiveLog) -> None:
    file = min(log.state().files)
    part = layout.blob_key("acme", hashlib.sha256(PARTS[1]).digest())
    first, second = layout.manifest_key(1), layout.manifest_key(2)
    body = store.get(file)
    lines = store.get(second).split(b"\n")
    for key, changed, sentence in (
        (file, body[:-100] + bytes([body[-100] ^ 1]) + body[-99:], f"{file}: it has other bytes|{file}: .*SHA-256"),
        (file, body[:-1], f"{file}: .* bytes or more instead of"),
        (file, body + b"x", f"{file}: .* bytes or more instead of"),
        (file, None, f"{file}: .*is missing"),
        (part, b"other", f"{part}: it has other bytes than were archived"),
        (part, None, f"{part}: an event names it, and it is missing"),
        (first, None, "manifest 1: it is missing, and there are later ones up to 2"),
        (second, lines[0].replace(b'"files":4', b'"files":5') + b"\n" + b"\n".join(lines[1:]), "manifest 2: .*no good"),
        (second, b"\n".join([*lines[:2], OTHER.line(lines[0]), b""]), "manifest 2: .*no good signature by the key"),
        (second, b"\n".join([lines[0], lines[1][:-8], *lines[2:]]), "manifest 2: the body of manifest 2"),
        (second, store.get(first), "manifest 2: manifest 1 stands where 2 should"),
    ):
        before = store.get(key)
        store.delete([key]) if changed is None else store.put(key, changed)
        found = audited(settings, store).findings
        assert re.match(sentence, str(found[0])), (key, sentence, [str(each) for each in found])
        store.put(key, before)
    assert audited(settings, store).good


def given(change: Change, _: ArchiveState) -> Change:
    return change


def lie(entry: FileEntry, **facts: Any) -> Change:
    return Change((replace(entry, **facts),), (entry.key,))


def test_manifests_that_lie_are_found_out(settings: Settings, store: ObjectStore, log: ArchiveLog) -> None:
    state = log.state()
    entry = min(state.files.values(), key=lambda each: each.key)
    span = entry.spans[0]
    lies: list[tuple[Change, str]] = [
        (lie(entry, rows=entry.rows + 1), "rows instead of"),
        (lie(entry, events_root=bytes(32)), "the root of its events"),
        (lie(entry, spans=(replace(span, last=span.last - 1),)), "other sequences"),
        (lie(entry, spans=(replace(span, last=span.last + 1000),)), "other sequences"),
        (lie(entry, recorded_us=(0, entry.recorded_us[1])), "other times or tenants"),
        (lie(entry, tenants=("a", "z")), "other times or tenants"),
        (
            Change(heads={PROJECT: replace(state.head(PROJECT), chain=bytes(32))}),
            "the chain over the events of acme/shop",
        ),
        (Change(removed=(entry.key,)), "has .* events, and the manifests say"),
        (Change(heads={PROJECT: ProjectHead(99, bytes(32))}), "acme/shop has .* events, and the manifests say 99"),
    ]
    for change, sentence in lies:
        log.append(partial(given, change))
        found = audited(settings, store)
        assert re.search(sentence, str(found.findings[0])), [str(each) for each in found.findings]
        # Told again as it is, until the next one.
        log.append(lambda now: undone(now, state))
    assert str(audited(settings, store).findings[0]) == "manifest 20: the number of events of acme/shop falls."


def undone(now: ArchiveState, then: ArchiveState) -> Change:
    """What leads back to a state."""
    changed = [entry for key, entry in then.files.items() if now.files.get(key) != entry]
    return Change(tuple(changed), tuple(entry.key for entry in changed if entry.key in now.files), {}, then.heads)


def test_a_cursor_that_falls_is_found(settings: Settings, store: ObjectStore, log: ArchiveLog) -> None:
    log.append(lambda _: Change(cursors={(STREAM, 0): Cursor(1, 1)}))
    assert str(audited(settings, store).findings[0]) == f"manifest 3: the cursor of partition 0 of {STREAM} falls."


def test_an_event_is_proven(settings: Settings, store: ObjectStore, log: ArchiveLog, tmp_path: Path) -> None:
    signer = signer_of(settings)
    assert signer is not None
    for number in (1, 5, LARGE, 779):
        project = PROJECT if number > 100 else owner(log, store, event_id(number))
        made = json.loads(proof.encode(proof.prove(log, store, project, event_id(number))))
        checked = proof.check(made, signer.verifier)
        assert checked.event == event(number).SerializeToString() or number != 779
        assert event_id(number).encode() in checked.event
        assert (checked.header.number, checked.signed_by) == (2, signer.verifier.key_id)
        assert checked.manifest_hash == log.manifest(2).hash.hex()
        told = plain_check(made, tmp_path)
        assert told.returncode == 0, told.stderr
        assert checked.manifest_hash in told.stdout
        for spoilt, sentence in spoiled(made):
            with pytest.raises(ProofError, match=sentence):
                proof.check(spoilt, signer.verifier)
        assert plain_check(next(spoiled(made))[0], tmp_path).returncode != 0
    with pytest.raises(ProofError, match="not signed by the key"):
        proof.check(made, OTHER.verifier)
    with pytest.raises(ProofError, match="not signed by the key"):
        proof.check({**made, "signature": None}, signer.verifier)
    assert proof.check({**made, "signature": None}).signed_by == ""


def owner(log: ArchiveLog, store: ObjectStore, wanted: str) -> ProjectName:
    for project in log.state().heads:
        try:
            proof.prove(log, store, project, wanted)
        except NotFoundError:
            continue
        return project
    raise AssertionError(wanted)


def test_of_another_project_nothing_is_proven(log: ArchiveLog, store: ObjectStore) -> None:
    for project, wanted in ((ProjectName("acme", "site"), event_id(779)), (PROJECT, event_id(5_000))):
        with pytest.raises(NotFoundError, match=f"no event {wanted} of {project}"):
            proof.prove(log, store, project, wanted)


def spoiled(made: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The same proof with one thing changed each time, and how it fails."""
    yield {**made, "event": "AAAA"}, "the event does not lead to the root of its file"
    yield {**made, "row": made["row"] + 1}, "the event does not lead"
    yield {**made, "file": {**made["file"], "size_bytes": 1}}, "the file does not lead to the root of manifest 2"
    yield {**made, "file_index": made["file_index"] ^ 1}, "the file does not lead"
    yield {**made, "manifest_path": made["manifest_path"][:-1]}, "the file does not lead"
    yield {**made, "header": made["header"].replace('"created_us":', '"created_us":1')}, "not signed by the key"
    yield {**made, "header": "{}"}, "cannot be read"
    yield {key: value for key, value in made.items() if key != "event"}, "cannot be read"


def plain_check(made: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """The check that the documentation prints, run as it is printed."""
    block = next(
        each for each in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "hashlib" in each
    )
    assert len(block.splitlines()) <= 25
    (folder / "check.py").write_text(block)
    (folder / "proof.json").write_text(json.dumps(made))
    command = [sys.executable, "-I", "check.py", "proof.json"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
