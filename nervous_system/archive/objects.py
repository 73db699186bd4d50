"""The archive's bucket: objects by name, every failure a sentence. Safe to use from several threads."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from nervous_system.archive import failures
from nervous_system.archive.failures import code_of, explained
from nervous_system.archive.layout import MANIFESTS, NEWEST
from nervous_system.errors import AccessError, EnchantedError, NotFoundError, SettingsError
from nervous_system.retries import Backoff
from nervous_system.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# A larger file goes up in parts: S3 takes up to 10,000 of them, and wants 5 MiB at least in each but the last.
MULTIPART_FROM_BYTES = 64 * 1024 * 1024
PART_BYTES = 32 * 1024 * 1024
ATTEMPTS = 6
DELETED_AT_ONCE = 1_000
LISTED_AT_ONCE = 1_000
CONNECTIONS = 32
_FAILURES = (ClientError, BotoCoreError, ResponseParserError)


class ObjectStore:
    """Objects of the bucket in the settings.

    Requests that fail are sent again by the client, with growing, random pauses; answers that break off are asked for
    again here. What fails for good is raised from every method as AccessError, UnavailableError or SettingsError.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._client: S3Client | None = None
        self._connecting = threading.Lock()
        self._counting = threading.Lock()
        self.reads = 0
        """How many objects, or ranges of them, were read so far."""

    def open(self) -> None:
        """Connects, and makes the bucket where it is missing."""
        try:
            self.check()
        except SettingsError as error:
            if _code(error) not in failures.NO_BUCKET:
                raise
            self._make_bucket()

    def check(self) -> None:
        """Asks the bucket whether it can be reached; raises SettingsError where it is missing."""
        # A listing: whoever refuses a HEAD cannot say why, and what is no S3 may well answer one.
        answer = self._ask("list objects", "list_objects_v2", Prefix=MANIFESTS, MaxKeys=1)
        if "Name" not in answer:
            raise failures.no_s3(self._settings)

    def get(self, key: str) -> bytes:
        """An object's bytes; raises NotFoundError where it is not there."""
        return self._read(key)

    def get_range(self, key: str, start: int, size_bytes: int) -> bytes:
        """Bytes of an object from ``start`` on, fewer where it ends before; raises NotFoundError."""
        if size_bytes <= 0:
            return b""
        return self._read(key, Range=f"bytes={start}-{start + size_bytes - 1}")

    def size_bytes(self, key: str) -> int | None:
        """How large an object is; None where it is not there."""
        try:
            return int(self._ask(f"look at {key}", "head_object", Key=key)["ContentLength"])
        except NotFoundError:
            return None

    def put_new(self, key: str, body: bytes | Path) -> bool:
        """Writes an object that is not there yet, whole or not at all, whoever else tries the same.

        Returns:
            False where it is there already: another's, or this very one, where the answer to an earlier try was lost.
            Of writers at one instant one gets True. Not so of files that go up in parts: SeaweedFS does not hold the
            condition on their last step against others at that instant, so the name of a large file must have one
            content, as the archive's have.
        """
        if isinstance(body, Path) and body.stat().st_size >= MULTIPART_FROM_BYTES:
            return self.size_bytes(key) is None and self._put_parts(key, body)
        return self._created(lambda: self._put(key, body, IfNoneMatch="*", **self._lock(key)))

    def put(self, key: str, body: bytes) -> None:
        """Writes an object over whatever is there."""
        self._put(key, body)

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; those that are not there count as deleted."""
        remaining = iter(keys)
        while chunk := list(itertools.islice(remaining, DELETED_AT_ONCE)):
            answer = self._ask(
                f"delete {chunk[0]}",
                "delete_objects",
                Delete={"Objects": [{"Key": key} for key in chunk], "Quiet": True},
            )
            for error in answer.get("Errors", []):
                refusal = ClientError({"Error": error}, "DeleteObjects")
                raise explained(self._settings, f"delete {error.get('Key')}", refusal)

    def keys(self, prefix: str) -> Iterator[str]:
        """The names that begin with ``prefix``, in order."""
        following: dict[str, str] = {}
        while True:
            page = self._ask(f"list {prefix}", "list_objects_v2", Prefix=prefix, MaxKeys=LISTED_AT_ONCE, **following)
            yield from (entry["Key"] for entry in page.get("Contents", []))
            if not page.get("IsTruncated"):
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def close(self) -> None:
        """Disconnects."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> S3Client:
        with self._connecting:
            if self._client is None:
                self._client = connect(self._settings)
            return self._client

    def _ask(self, doing: str, operation: str, **arguments: Any) -> Any:
        client = self._connected()
        try:
            return getattr(client, operation)(Bucket=self._bucket, **arguments)
        except _FAILURES as error:
            raise explained(self._settings, doing, error) from error

    def _make_bucket(self) -> None:
        locked = {"ObjectLockEnabledForBucket": True} if self._settings.s3_object_lock_days else {}
        region = self._settings.s3_region
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._ask("make a bucket", "create_bucket", **locked, **place)
        except AccessError as error:
            raise failures.no_bucket(self._settings) from error
        except EnchantedError as error:
            if _code(error) not in failures.BUCKET_EXISTS:
                raise

    def _read(self, key: str, **options: Any) -> bytes:
        doing = f"read {key}"
        for attempt in itertools.count(1):
            try:
                # Reading the body may fail as the request may, and the client does not try that again.
                body = self._connected().get_object(Bucket=self._bucket, Key=key, **options)["Body"].read()
            except ClientError as error:
                if code_of(error) in failures.PAST_THE_END:
                    return b""
                raise explained(self._settings, doing, error) from error
            except _FAILURES as error:
                if attempt == ATTEMPTS or failures.lasting(error):
                    raise explained(self._settings, doing, error) from error
                _pause(attempt)
            else:
                self._count()
                return body
        raise AssertionError

    def _count(self) -> None:
        with self._counting:
            self.reads += 1

    def _put(self, key: str, body: bytes | Path, **options: Any) -> None:
        if isinstance(body, bytes):
            self._ask(f"write {key}", "put_object", Key=key, Body=body, **options)
            return
        with body.open("rb") as file:
            self._ask(f"write {key}", "put_object", Key=key, Body=file, **options)

    def _created(self, write: Callable[[], object]) -> bool:
        """Whether a conditional write was the first; one that S3 wants again, since others write, is tried again."""
        for attempt in itertools.count(1):
            try:
                write()
            except EnchantedError as error:
                if _code(error) in failures.EXISTS:
                    return False
                if _code(error) not in failures.CONFLICT or attempt == ATTEMPTS:
                    raise
                _pause(attempt)
            else:
                return True
        raise AssertionError

    def _put_parts(self, key: str, body: Path) -> bool:
        doing = f"write {key}"
        upload = self._ask(doing, "create_multipart_upload", Key=key, **self._lock(key))["UploadId"]
        created = False
        try:
            parts = self._upload_parts(key, upload, body)
            created = self._created(
                lambda: self._ask(
                    doing,
                    "complete_multipart_upload",
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                    IfNoneMatch="*",
                )
            )
        except EnchantedError as error:
            # The answer to an earlier try to complete was lost: then it is there.
            if _code(error) not in failures.NO_UPLOAD or self.size_bytes(key) is None:
                raise
        finally:
            if not created:
                self._abandon(key, upload)
        return created

    def _upload_parts(self, key: str, upload: str, body: Path) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        with body.open("rb") as file:
            while data := file.read(PART_BYTES):
                number = len(parts) + 1
                answer = self._ask(
                    f"write {key}", "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=data
                )
                parts.append({"ETag": answer["ETag"], "PartNumber": number})
        return parts

    def _abandon(self, key: str, upload: str) -> None:
        try:
            self._ask(f"give up writing {key}", "abort_multipart_upload", Key=key, UploadId=upload)
        except EnchantedError:
            # Parts of an upload that was never completed are nobody's; a bucket's own rules clear them away.
            return

    def _lock(self, key: str) -> dict[str, Any]:
        days = self._settings.s3_object_lock_days
        if not days or not key.startswith(MANIFESTS) or key == NEWEST:
            return {}
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime.now(UTC) + timedelta(days=days)}


def connect(settings: Settings) -> S3Client:
    """A client for the S3 in the settings; raises SettingsError where its address or authority is no use."""
    endpoint = settings.require("s3_endpoint")
    if settings.s3_ca_file and not Path(settings.s3_ca_file).is_file():
        raise SettingsError(
            f"ENCHANTED_S3_CA_FILE={settings.s3_ca_file} is no file: name the PEM file of the authority."
        )
    try:
        # A session of its own: the one that boto3 shares is not safe to make clients from in several threads.
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=settings.s3_access_key or None,
            aws_secret_access_key=settings.s3_secret_key or None,
            region_name=settings.s3_region,
            verify=settings.s3_ca_file or None,
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=CONNECTIONS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                s3={"addressing_style": settings.s3_addressing},  # type: ignore[arg-type]
            ),
        )
    except ValueError as error:
        raise SettingsError(f"ENCHANTED_S3_ENDPOINT={endpoint} is no address: write it as http://host:port.") from error


def _code(error: EnchantedError) -> str:
    return code_of(error.__cause__) if isinstance(error.__cause__, ClientError) else ""


def _pause(attempt: int) -> None:
    time.sleep(Backoff().wait_s(attempt, random.random()))
