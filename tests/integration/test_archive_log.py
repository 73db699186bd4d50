"""The archive's log on a real S3: dense, chained and whole, whoever writes beside whom and whatever answer is lost."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nervous_system.archive import layout, log, objects
from nervous_system.archive.errors import ArchiveDamagedError
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import FULL_EVERY, Change, Manifest
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import Signer
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.settings import Settings
from tests.archives import entry
from tests.integration import archive_writers
from tests.integration.archive_writers import adding
from tests.integration.s3_spoiling import LosingAnswers, Refusing
from tests.integration.wire import Wire
from tests.samples import STREAM

WRITERS = 3
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
_names = itertools.count(1)


@pytest.fixture
def settings(servers: Settings) -> Settings:
    return replace(servers, s3_bucket=f"log-{os.getpid()}-{next(_names)}")


@pytest.fixture
def store(settings: Settings) -> Iterator[ObjectStore]:
    store = ObjectStore(settings)
    store.open()
    yield store
    store.close()


def appended(store: ObjectStore, count: int, signer: Signer | None = None) -> ArchiveLog:
    found = ArchiveLog(store, signer)
    for number in range(1, count + 1):
        found.append(adding(number))
    return found


def test_of_many_writers_no_change_is_lost_or_doubled(settings: Settings, store: ObjectStore) -> None:
    archive_writers.run("append", [(settings, writer) for writer in range(WRITERS)])
    total = WRITERS * archive_writers.THREADS * archive_writers.CHANGES
    found = list(ArchiveLog(store).manifests())
    assert [each.number for each in found] == list(range(1, total + 1))
    assert [each.number for each in found if each.is_full] == [1, *range(FULL_EVERY, total + 1, FULL_EVERY)]
    assert Counter(added.key for each in found for added in each.change.added) == {
        entry(number).key: 1 for number in range(total)
    }
    state = ArchiveLog(store).state()
    assert (state.number, len(state.files), state.cursor(STREAM, 0).sequence) == (total, total, total)
    folded = ArchiveState()
    for read in found:
        folded = folded.apply(read)
        folded.check(read)
    assert folded == state


@pytest.mark.parametrize(("attempts", "losses"), [(6, 2), (1, 1)])
def test_a_lost_answer_does_not_double_a_change(
    settings: Settings, store: ObjectStore, attempts: int, losses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", attempts)
    losing = LosingAnswers(lambda head: head.startswith(b"PUT ") and b".json" in head.split(b"\r\n")[0], losses)
    asked: list[int] = []

    def counted(number: int, state: ArchiveState) -> Change:
        asked.append(number)
        return adding(number)(state)

    with Wire(settings.s3_endpoint, losing.request, losing.reply) as wire:
        writer = ArchiveLog(ObjectStore(replace(settings, s3_endpoint=wire.url)))
        states = [writer.append(partial(counted, number)) for number in (1, 2, 3)]
    assert losing.lost == losses
    assert asked == [1, 2, 3]
    assert [state.number for state in states] == [1, 2, 3]
    assert ArchiveLog(store).state() == states[-1]


def test_a_write_that_did_not_land_is_told(
    settings: Settings, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    with Wire(settings.s3_endpoint, lambda link, _: link.cut()) as wire, pytest.raises(UnavailableError):
        ArchiveLog(ObjectStore(replace(settings, s3_endpoint=wire.url))).append(adding(1))
    assert ArchiveLog(store).state() == ArchiveState()


def test_what_make_raises_ends_the_attempt(store: ObjectStore) -> None:
    written = appended(store, 1)

    def refuse(_: ArchiveState) -> Change:
        raise LookupError("no")

    with pytest.raises(LookupError):
        written.append(refuse)
    assert written.state().number == 1
    with pytest.raises(ArchiveDamagedError, match="is there already"):
        written.append(adding(1))
    assert written.append(adding(2)).number == 2


@pytest.mark.parametrize("hint", [b"", b"999", b"2", b"-1", b"\xff", b"9" * 40, None])
def test_the_hint_is_never_trusted(store: ObjectStore, hint: bytes | None) -> None:
    written = appended(store, 5)
    store.delete([layout.NEWEST]) if hint is None else store.put(layout.NEWEST, hint)
    assert ArchiveLog(store).state() == written.state()


def test_readers_read_from_the_last_full_one(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FULL_EVERY", 4)
    written = appended(store, 10)
    before = store.reads
    reader = ArchiveLog(store)
    assert reader.state() == written.state()
    # The hint, and manifests 8, 9 and 10.
    assert store.reads - before == 4
    written.append(adding(11))
    before = store.reads
    assert reader.state() == written.state()
    assert store.reads - before == 1
    assert [each.number for each in reader.manifests(9)] == [9, 10, 11]


def test_only_manifests_signed_by_the_key_are_read(store: ObjectStore) -> None:
    written = appended(store, 2, SIGNER)
    verifier = SIGNER.verifier
    assert ArchiveLog(store, verifier=verifier).state() == written.state()
    assert ArchiveLog(store).append(adding(3)).number == 3
    for refused in (ArchiveLog(store, verifier=verifier), ArchiveLog(store, SIGNER), written):
        with pytest.raises(ArchiveDamagedError, match=f"manifest 3 is not signed by the key {verifier.key_id}"):
            refused.state()
    with pytest.raises(ArchiveDamagedError, match="manifest 1 has no good signature"):
        list(ArchiveLog(store, Signer(Ed25519PrivateKey.generate())).manifests())


def test_manifests_that_do_not_fit_are_refused(store: ObjectStore) -> None:
    written = appended(store, 3)
    state, bodies = written.state(), [each.encode() for each in written.manifests()]
    first, second = layout.manifest_key(1), layout.manifest_key(2)
    for key, body, sentence in (
        (second, bodies[2], "manifest 3 stands where 2 should"),
        (second, None, "manifest 2 is missing"),
        (second, bodies[1].replace(b'"files":2', b'"files":3'), "manifest 3 does not follow"),
        (first, bodies[0].replace(b'"full":1', b'"full":0'), "does not list what its header says"),
        (layout.manifest_key(3), bodies[2].replace(b'"full":1', b'"full":2'), "does not list what|as the last that"),
        (layout.manifest_key(3), bodies[2].replace(b'"files":3', b'"files":4'), "the root of manifest 3"),
        (layout.manifest_key(3), bodies[2][:-9] + b"\n", "the body of manifest 3"),
    ):
        before = store.get(key)
        store.delete([key]) if body is None else store.put(key, body)
        store.put(layout.NEWEST, b"3")
        with pytest.raises(ArchiveDamagedError, match=sentence):
            ArchiveLog(store).state()
        store.put(key, before)
    assert ArchiveLog(store).state() == state
    assert Manifest.decode(bodies[2]).number == 3


def test_a_bucket_that_is_missing_is_no_empty_archive(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="is missing"):
        ArchiveLog(ObjectStore(settings)).state()
    with pytest.raises(SettingsError, match="is missing"):
        ArchiveLog(ObjectStore(settings)).append(adding(1))


def test_a_server_that_ignores_conditions_is_refused(settings: Settings, store: ObjectStore) -> None:
    written = appended(store, 2)

    taken = Refusing(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 9, lambda head: head.startswith(b"PUT "))
    with (
        Wire(settings.s3_endpoint, taken) as wire,
        pytest.raises(SettingsError, match="two siphons could both write the same manifest"),
    ):
        ArchiveLog(ObjectStore(replace(settings, s3_endpoint=wire.url))).append(adding(3))
    assert ArchiveLog(store).state() == written.state()
