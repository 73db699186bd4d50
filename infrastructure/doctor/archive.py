"""The archive: connection, permission to write objects, clock. Its age is told with the log's lag."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from infrastructure.doctor.clocks import skew
from infrastructure.doctor.findings import Finding, Patient, failure, ok, warning

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CHECK = "archive"
PROBE = "doctor/probe"
# No object has it: the write is refused by this condition, once permissions let it through.
NO_OBJECT = '"00000000000000000000000000000000"'
_CONDITION_FAILED = ("PreconditionFailed", "NoSuchKey", "412", "404")


def look(patient: Patient) -> Iterator[Finding]:
    """All about S3; raises EnchantedError where it cannot be reached."""
    settings = patient.settings
    if not settings.s3_endpoint:
        yield warning(CHECK, "None is set, so the log is the only lasting copy of all: set ENCHANTED_S3_ENDPOINT.")
        return
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    from nervous_system.archive.failures import explained
    from nervous_system.archive.objects import connect

    client = connect(settings)
    try:
        before = patient.clock()
        answer = client.list_objects_v2(Bucket=settings.s3_bucket, MaxKeys=1)
        after = patient.clock()
        yield ok(f"{CHECK}: connection", f"The bucket {settings.s3_bucket} answers at {settings.s3_endpoint}.")
        yield from _clock(answer, (before, after))
        yield _writing(client, patient)
    except (ClientError, BotoCoreError, ResponseParserError) as error:
        raise explained(settings, "list the bucket", error) from error
    finally:
        client.close()


def _clock(answer: Any, asked: tuple[int, int]) -> Iterator[Finding]:
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if told:
        yield skew(f"{CHECK}: clock", int(parsedate_to_datetime(told).timestamp() * 1e6), asked, resolution_s=1.0)


def _writing(client: S3Client, patient: Patient) -> Finding:
    from botocore.exceptions import ClientError

    check, bucket = f"{CHECK}: write", patient.settings.s3_bucket
    try:
        client.put_object(Bucket=bucket, Key=PROBE, Body=b"", IfMatch=NO_OBJECT)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _CONDITION_FAILED:
            return ok(check, "May write objects; nothing was.")
        return patient.refused(
            "write",
            check,
            f"S3 refuses to write an object ({code}): a siphon's keys need PutObject in {bucket}; who only reads needs "
            "none. Name with --role whose keys these are.",
        )
    client.delete_object(Bucket=bucket, Key=PROBE)
    return failure(
        check,
        "S3 does not heed If-Match, so that two writers could overwrite each other's manifests: use an S3 with "
        "conditional writes.",
    )
