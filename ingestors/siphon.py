"""The sink for the archive: Parquet on S3, an object's name saying what of the log it holds."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

import boto3
import pyarrow.parquet as pq
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ingestors.sink import Limits
from nervous_system import archive, columns
from nervous_system.archive import EventsObject
from nervous_system.errors import AccessError, UnavailableError
from nervous_system.failpoints import failpoint
from nervous_system.landing import Batch, Cursor, LandedMessage, Refusal
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ROW_GROUP_ROWS = 64_000
MAX_FILE_EVENTS = 250_000
_EXISTS = ("PreconditionFailed", "412")
_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403")


class SiphonSink:
    """Archives batches, one object a day and batch; the newest object's name is the cursor."""

    name = "siphon"

    def __init__(self, settings: Settings) -> None:
        self.limits = Limits(MAX_FILE_EVENTS, settings.siphon_roll_bytes, settings.siphon_roll_age_s)
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._client: S3Client | None = None

    def open(self) -> None:
        """Connects and makes the bucket where it is missing.

        Raises:
            AccessError: the keys are refused.
            UnavailableError: no S3 answers.
        """
        client = connect(self._settings)
        try:
            client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
                raise _failure(self._settings, error) from error
            client.create_bucket(Bucket=self._bucket)
        except BotoCoreError as error:
            raise _failure(self._settings, error) from error
        self._client = client

    def cursor(self, stream: StreamIdentity, partition: int) -> Cursor:
        """How far the archive has a partition of the stream: the last sequence that an object's name gives."""
        for day in self._days_newest_first():
            newest = self._newest(day, stream, partition)
            if newest is not None:
                metadata = self._opened().head_object(Bucket=self._bucket, Key=newest.key)["Metadata"]
                return Cursor(newest.last_sequence, int(metadata[archive.RECORDED_METADATA]))
        return Cursor()

    def land(self, batch: Batch) -> Sequence[Refusal]:
        """Uploads the batch, parts of large contents first; days in order, so that each object moves the cursor."""
        for message in batch.messages:
            if message.part is not None and message.project is not None:
                self._upload_part(message.project.tenant, message.part)
                failpoint("after-part")
        for day, group in itertools.groupby(batch.messages, key=lambda message: archive.day_of(message.recorded_us)):
            self._upload_events(batch, day, list(group))
        return ()

    def check(self) -> None:
        """Raises AccessError or UnavailableError where the bucket cannot be reached."""
        try:
            self._opened().head_bucket(Bucket=self._bucket)
        except (ClientError, BotoCoreError) as error:
            raise _failure(self._settings, error) from error

    def close(self) -> None:
        """Disconnects."""
        if self._client is not None:
            self._client.close()

    def _upload_part(self, tenant: str, part: bytes) -> None:
        digest = hashlib.sha256(part).digest()
        self._put(archive.blob_key(tenant, digest), part, {})

    def _upload_events(self, batch: Batch, day: date, messages: list[LandedMessage]) -> None:
        rows = list(columns.located(messages))
        if not rows:
            return
        rows.sort(key=lambda row: (row[1].event.tenant_id, row[1].event.project_id, row[0].sequence, row[1].index))
        target = EventsObject(day, batch.partition, batch.stream, messages[0].sequence, messages[-1].sequence)
        body = parquet(rows)
        failpoint("before-upload")
        self._put(target.key, body, {archive.RECORDED_METADATA: str(messages[-1].recorded_us)})
        failpoint("after-upload")

    def _put(self, key: str, body: bytes, metadata: dict[str, str]) -> None:
        try:
            self._opened().put_object(Bucket=self._bucket, Key=key, Body=body, Metadata=metadata, IfNoneMatch="*")
        except ClientError as error:
            # An object's name says what is in it: one that is there already, from an attempt that was cut off, is it.
            if error.response["Error"]["Code"] not in _EXISTS:
                raise _failure(self._settings, error) from error
        except BotoCoreError as error:
            raise _failure(self._settings, error) from error

    def _days_newest_first(self) -> list[date]:
        pages = self._opened().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self._bucket, Prefix=archive.EVENTS, Delimiter="/")
        prefixes = (entry["Prefix"] for page in found for entry in page.get("CommonPrefixes", []))
        return sorted((day for prefix in prefixes if (day := archive.parse_day_folder(prefix))), reverse=True)

    def _newest(self, day: date, stream: StreamIdentity, partition: int) -> EventsObject | None:
        objects = (
            EventsObject.parse(key) for key in self._keys(f"{archive.partition_folder(day, partition)}{stream}.")
        )
        ours = [found for found in objects if found is not None and found.stream == stream]
        return max(ours, key=lambda found: found.last_sequence, default=None)

    def _keys(self, prefix: str) -> Iterator[str]:
        for page in self._opened().get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            yield from (entry["Key"] for entry in page.get("Contents", []))

    def _opened(self) -> S3Client:
        assert self._client is not None, "open() comes first"
        return self._client


def connect(settings: Settings) -> S3Client:
    """A client for the S3 in the settings; raises SettingsError where no address is set."""
    return boto3.client(
        "s3",
        endpoint_url=settings.require("s3_endpoint"),
        aws_access_key_id=settings.s3_access_key or None,
        aws_secret_access_key=settings.s3_secret_key or None,
        region_name=settings.s3_region,
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 3},
            s3={"addressing_style": "path"},
        ),
    )


def parquet(rows: list[columns.Located]) -> bytes:
    """A Parquet file of the rows, read back before it is given out.

    Raises:
        UnavailableError: what was written cannot be read again; memory or the library is at fault.
    """
    buffer = io.BytesIO()
    pq.write_table(
        columns.table(rows),
        buffer,
        compression="zstd",
        compression_level=3,
        row_group_size=ROW_GROUP_ROWS,
        # Of ids, hashes and bytes a dictionary finds nothing twice, costs as much as all else, and takes more room.
        use_dictionary=columns.WORDS,
    )
    body = buffer.getvalue()
    if pq.read_metadata(io.BytesIO(body)).num_rows != len(rows):
        raise UnavailableError("A Parquet file did not read back as it was written: it was not uploaded.")
    return body


def _failure(settings: Settings, error: ClientError | BotoCoreError) -> AccessError | UnavailableError:
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in _DENIED:
        return AccessError(
            f"S3 at {settings.s3_endpoint} refuses the keys: set ENCHANTED_S3_ACCESS_KEY and ENCHANTED_S3_SECRET_KEY."
        )
    return UnavailableError(f"S3 at {settings.s3_endpoint} does not take what is archived: {error}")
