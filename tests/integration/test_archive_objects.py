"""The archive's bucket on a real S3, and on ways to it that are spoilt: every failure is a sentence."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from nervous_system.archive import layout, objects
from nervous_system.archive.objects import ObjectStore
from nervous_system.errors import AccessError, EnchantedError, NotFoundError, SettingsError, UnavailableError
from nervous_system.settings import Settings
from tests.integration import archive_writers
from tests.integration.s3_spoiling import READER, LosingAnswers, Refusing, answer, second_gateway
from tests.integration.wire import Link, Wire, to_client

_names = itertools.count(1)


@pytest.fixture
def settings(servers: Settings) -> Settings:
    return replace(servers, s3_bucket=f"objects-{os.getpid()}-{next(_names)}")


@pytest.fixture
def store(settings: Settings) -> Iterator[ObjectStore]:
    store = ObjectStore(settings)
    store.open()
    yield store
    store.close()


def test_objects_are_written_once_and_read_back(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "LISTED_AT_ONCE", 2)
    monkeypatch.setattr(objects, "DELETED_AT_ONCE", 2)
    (tmp_path / "file").write_bytes(b"0123456789")
    assert store.put_new("a/1", tmp_path / "file")
    assert not store.put_new("a/1", b"other")
    assert store.get("a/1") == b"0123456789"
    assert [store.get_range("a/1", *span) for span in ((0, 3), (8, 9), (10, 5), (4, 0))] == [b"012", b"89", b"", b""]
    assert (store.size_bytes("a/1"), store.size_bytes("a/2")) == (10, None)
    assert store.reads == 3
    for number in range(2, 6):
        store.put(f"a/{number}", b"")
    store.put("b", b"x")
    assert list(store.keys("a/")) == [f"a/{number}" for number in range(1, 6)]
    store.delete(["a/1", "a/2", "a/7", "a/3"])
    assert list(store.keys("")) == ["a/4", "a/5", "b"]
    with pytest.raises(NotFoundError, match="read a/1"):
        store.get("a/1")


def test_of_writers_at_one_instant_one_wins(settings: Settings, store: ObjectStore, tmp_path: Path) -> None:
    with second_gateway(settings, tmp_path) as other:
        start_s = time.time() + archive_writers.STARTING_S
        told = archive_writers.run("race", [(settings, start_s), (other, start_s)])
    won = [tuple(pair) for pairs in told for pair in pairs]
    assert Counter(name for name, _ in won) == {f"race/{number}": 1 for number in range(archive_writers.ROUNDS)}
    assert all(store.get(name) == body.encode() for name, body in won)


def test_large_files_go_up_in_parts_and_are_whole(
    settings: Settings, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MULTIPART_FROM_BYTES", 1)
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    files = [tmp_path / str(number) for number in range(4)]
    for file in files:
        file.write_bytes(b"x" * ((5 << 20) + 1000))
    together = threading.Barrier(len(files))

    def put(file: Path) -> bool:
        together.wait()
        return store.put_new("large", file)

    with ThreadPoolExecutor(len(files)) as threads:
        won = list(threads.map(put, files))
    # SeaweedFS may let several win at one instant, which is why a large file's name must have one content.
    assert any(won)
    assert store.get("large") == files[0].read_bytes()
    assert not store.put_new("large", files[0])
    client = objects.connect(settings)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=settings.s3_bucket)
    client.close()


def test_a_lost_answer_to_the_end_of_an_upload_is_no_failure(
    settings: Settings, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MULTIPART_FROM_BYTES", 1)
    (tmp_path / "file").write_bytes(b"content")
    losing = LosingAnswers(lambda head: head.startswith(b"POST ") and b"uploadId" in head.split(b"\r\n")[0], 1)
    with Wire(settings.s3_endpoint, losing.request, losing.reply) as wire:
        assert not ObjectStore(replace(settings, s3_endpoint=wire.url)).put_new("large", tmp_path / "file")
    assert losing.lost == 1
    assert store.get("large") == b"content"


def test_manifests_alone_are_locked(settings: Settings) -> None:
    locked = replace(settings, s3_object_lock_days=2)
    store, key = ObjectStore(locked), layout.manifest_key(1)
    store.open()
    assert [store.put_new(key, body) for body in (b"one", b"other")] == [True, False]
    assert store.put_new("events/v2/other", b"x")
    store.put(layout.NEWEST, b"1")
    client = objects.connect(locked)
    heads = [client.head_object(Bucket=locked.s3_bucket, Key=name) for name in (key, "events/v2/other", layout.NEWEST)]
    assert [head.get("ObjectLockMode") for head in heads] == ["COMPLIANCE", None, None]
    assert heads[0]["ObjectLockRetainUntilDate"] > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.delete_object(Bucket=locked.s3_bucket, Key=key, VersionId=heads[0]["VersionId"])
    client.close()


def test_a_bucket_without_locks_is_told(settings: Settings, store: ObjectStore) -> None:
    with pytest.raises(SettingsError, match=r"with Object Lock, or set ENCHANTED_S3_OBJECT_LOCK_DAYS=0"):
        ObjectStore(replace(settings, s3_object_lock_days=2)).put_new(layout.manifest_key(1), b"x")


def check(store: ObjectStore) -> None:
    store.check()


def write(store: ObjectStore) -> None:
    store.put_new("x", b"x")


def test_keys_that_only_read_are_told_what_they_may_not(settings: Settings, store: ObjectStore, tmp_path: Path) -> None:
    store.put("there", b"content")
    with second_gateway(settings, tmp_path) as other:
        own = replace(other, s3_access_key=READER[0], s3_secret_key=READER[1])
        reader = ObjectStore(own)
        reader.open()
        assert reader.get("there") == b"content"
        for forbidden in (write, lambda store: store.put("y", b""), lambda store: store.delete(["there"])):
            with pytest.raises(AccessError, match=r"does not let these keys (write|delete) .*give them the right"):
                forbidden(reader)
        with pytest.raises(AccessError, match=r"is missing at .* these keys may not make it"):
            ObjectStore(replace(own, s3_bucket="missing")).open()
    assert list(store.keys("")) == ["there"]


@pytest.mark.parametrize(
    ("changed", "kind", "sentence"),
    [
        ({"s3_secret_key": "wrong"}, AccessError, "refuses the keys: set ENCHANTED_S3_ACCESS_KEY"),
        ({"s3_access_key": "nobody"}, AccessError, "refuses the keys: set ENCHANTED_S3_ACCESS_KEY"),
        ({"s3_bucket": "missing"}, SettingsError, "bucket missing is missing .* set ENCHANTED_S3_BUCKET"),
        ({"s3_endpoint": "http://127.0.0.1:1"}, UnavailableError, "does not answer: check ENCHANTED_S3_ENDPOINT"),
        ({"s3_endpoint": "s3"}, SettingsError, "ENCHANTED_S3_ENDPOINT=s3 is no address"),
        ({"s3_endpoint": ""}, SettingsError, "ENCHANTED_S3_ENDPOINT is not set"),
        ({"s3_ca_file": "/no/such"}, SettingsError, "ENCHANTED_S3_CA_FILE=/no/such is no file"),
    ],
)
def test_wrong_settings_are_told(
    settings: Settings,
    changed: dict[str, str],
    kind: type[EnchantedError],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    store = ObjectStore(replace(settings, **changed))  # type: ignore[arg-type]
    for asked in (check, write, lambda store: store.get("x")):
        with pytest.raises(kind, match=sentence):
            asked(store)


def test_what_is_no_s3_is_told(servers: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    page = b"Content-Type: text/html\r\nContent-Length: 12\r\nConnection: close\r\n\r\n<p>Hello</p>"
    for reply in (b"HTTP/1.1 200 OK\r\n" + page, b"HTTP/1.1 404 Not Found\r\n" + page, b"HTTP/1.1 502 X\r\n" + page):
        with (
            Wire(settings.s3_endpoint, Refusing(reply, 9)) as wire,
            pytest.raises(EnchantedError, match=r"(did not answer as S3 does|is no S3).*check ENCHANTED_S3_ENDPOINT"),
        ):
            ObjectStore(replace(settings, s3_endpoint=wire.url)).check()
    with pytest.raises(EnchantedError, match="check ENCHANTED_S3_ENDPOINT"):
        ObjectStore(replace(settings, s3_endpoint=servers.clickhouse_url)).check()


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("OperationAborted", 409)])
def test_what_passes_is_tried_again(settings: Settings, store: ObjectStore, code: str, status: int) -> None:
    refusing = Refusing(answer(code if status != 409 else "ConditionalRequestConflict", status), 2)
    with Wire(settings.s3_endpoint, refusing) as wire:
        assert ObjectStore(replace(settings, s3_endpoint=wire.url)).put_new("x", b"content")
    assert len(refusing.seen) == 2
    assert store.get("x") == b"content"


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        (("SlowDown", 503), UnavailableError, "asks to slow down"),
        (("RequestTimeTooSkewed", 403), UnavailableError, "clocks of this machine and of .* set the one that is wrong"),
        (("PermanentRedirect", 301), SettingsError, "elsewhere .* check ENCHANTED_S3_REGION"),
        (("NotImplemented", 501), SettingsError, "needs an S3 with conditional writes"),
        (("InternalError", 500), UnavailableError, "failed when asked to write x: InternalError as told"),
    ],
)
def test_what_does_not_pass_is_told(
    settings: Settings,
    reply: tuple[str, int],
    kind: type[EnchantedError],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 2)
    refusing = Refusing(answer(*reply), 99, lambda head: head.startswith(b"PUT "))
    with Wire(settings.s3_endpoint, refusing) as wire, pytest.raises(kind, match=sentence):
        write(ObjectStore(replace(settings, s3_endpoint=wire.url)))


def test_an_answer_that_breaks_off_is_asked_for_again(settings: Settings, store: ObjectStore) -> None:
    content = os.urandom(3_000_000)
    store.put("x", content)
    cuts: list[int] = []

    def cut(link: Link, data: bytes) -> None:
        to_client(link, data)
        if len(cuts) < 2:
            cuts.append(len(data))
            link.cut()

    with Wire(settings.s3_endpoint, reply=cut) as wire:
        assert ObjectStore(replace(settings, s3_endpoint=wire.url)).get("x") == content
    assert len(cuts) == 2


def test_the_buckets_name_stands_where_the_settings_say(
    settings: Settings, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a client of an HTTP proxy, which is asked for whole addresses, so that no name need be known here.
    refusing = Refusing(answer("AccessDenied", 403), 9)
    with Wire(settings.s3_endpoint, refusing) as wire:
        monkeypatch.setenv("HTTP_PROXY", wire.url)
        for addressing in ("path", "virtual"):
            there = replace(settings, s3_endpoint="http://s3.example", s3_bucket="archive", s3_addressing=addressing)
            with pytest.raises(AccessError):
                ObjectStore(there).get("x")
    asked = [head.split(b" ")[1] for head in refusing.seen]
    assert asked == [b"http://s3.example/archive/x", b"http://archive.s3.example/x"]


def test_a_servers_certificate_must_be_of_the_authority_in_the_settings(
    settings: Settings, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    with Wire(settings.s3_endpoint, tls=certificate(tmp_path / "own.pem")) as wire:
        there = replace(settings, s3_endpoint=wire.url.replace("http:", "https:"))
        known = ObjectStore(replace(there, s3_ca_file=str(tmp_path / "own.pem")))
        assert known.put_new("x", b"content")
        assert known.get("x") == b"content"
        certificate(tmp_path / "other.pem")
        for stranger in (there, replace(there, s3_ca_file=str(tmp_path / "other.pem"))):
            with pytest.raises(SettingsError, match=r"not trusted.*set ENCHANTED_S3_CA_FILE"):
                ObjectStore(stranger).check()
    with pytest.raises(SettingsError, match="speaks no TLS"):
        ObjectStore(replace(settings, s3_endpoint=settings.s3_endpoint.replace("http:", "https:"))).check()


def certificate(path: Path) -> ssl.SSLContext:
    """Makes a certificate for loopback that is its own authority, at ``path``; what a server shows it with."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    builder = builder.add_extension(address, False).add_extension(x509.BasicConstraints(True, None), True)
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    private = path.with_suffix(".key")
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, private)
    return context
