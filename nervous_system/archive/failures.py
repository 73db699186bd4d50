"""What S3 and the way to it can answer, as sentences that say what is wrong and what to do. Pure."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from nervous_system.errors import AccessError, EnchantedError, NotFoundError, SettingsError, UnavailableError
from nervous_system.settings import Settings

EXISTS = frozenset({"PreconditionFailed", "412"})
# Two conditional writes at one instant: S3 asks for another try.
CONFLICT = frozenset({"ConditionalRequestConflict", "409"})
MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
NO_BUCKET = frozenset({"NoSuchBucket"})
BUCKET_EXISTS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "OperationAborted"})
NOT_VALID = frozenset({"InvalidRequest", "ObjectLockConfigurationNotFoundError"})
NO_UPLOAD = frozenset({"NoSuchUpload"})
PAST_THE_END = frozenset({"InvalidRange", "416"})
_OF_OBJECTS = frozenset({"GetObject", "HeadObject"})
_WRONG_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "AuthFailure"})
_DENIED = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"})
_BUSY = frozenset(
    {"SlowDown", "503", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
)
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_UNKNOWN = frozenset({"NotImplemented", "501", "MethodNotAllowed", "405"})
_WRONG_REGION = frozenset(
    {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


def code_of(error: Exception) -> str:
    """S3's own word for a failure; empty where it said none."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def lasting(error: Exception) -> bool:
    """Whether trying again would find the same, of failures that are no answer of S3's."""
    return isinstance(error, SSLError | NoCredentialsError | PartialCredentialsError | ResponseParserError)


def explained(settings: Settings, doing: str, error: Exception) -> EnchantedError:
    """The failure as an error of ours.

    Args:
        settings: of the S3 that failed.
        doing: what was asked of it, such as ``read manifests/v1/newest``.
        error: what the client raised.
    """
    if isinstance(error, ClientError):
        return _answered(settings, doing, error)
    where = f"S3 at {settings.s3_endpoint}"
    if isinstance(error, SSLError):
        return SettingsError(
            f"{where} shows a certificate that is not trusted, or speaks no TLS: set ENCHANTED_S3_CA_FILE to the "
            f"authority that signed it, and check https:// in ENCHANTED_S3_ENDPOINT ({_short(error)})."
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return AccessError(f"There are no keys for {where}: set ENCHANTED_S3_ACCESS_KEY and ENCHANTED_S3_SECRET_KEY.")
    if isinstance(error, ResponseParserError):
        return no_s3(settings)
    if isinstance(error, ConnectionError | HTTPClientError | BotoCoreError):
        return UnavailableError(
            f"{where} does not answer: check ENCHANTED_S3_ENDPOINT and that it runs. It was asked to {doing} "
            f"({_short(error)})."
        )
    raise error


def no_bucket(settings: Settings) -> AccessError:
    """The bucket is missing, and the keys may not make it."""
    return AccessError(
        f"The bucket {settings.s3_bucket} is missing at {settings.s3_endpoint}, and these keys may not make it: make "
        "it, or set ENCHANTED_S3_BUCKET to one that is there."
    )


def no_s3(settings: Settings) -> SettingsError:
    """Something else answers."""
    return SettingsError(f"What answers at {settings.s3_endpoint} is no S3: check ENCHANTED_S3_ENDPOINT.")


def _answered(settings: Settings, doing: str, error: ClientError) -> EnchantedError:
    code, bucket, endpoint = code_of(error), settings.s3_bucket, settings.s3_endpoint
    where = f"S3 at {endpoint}"
    if code in MISSING and error.operation_name in _OF_OBJECTS:
        return NotFoundError(f"{where} has nothing there: it was asked to {doing} in the bucket {bucket}.")
    sentences: list[tuple[frozenset[str], type[EnchantedError], str]] = [
        (
            _WRONG_KEYS,
            AccessError,
            f"{where} refuses the keys: set ENCHANTED_S3_ACCESS_KEY and ENCHANTED_S3_SECRET_KEY.",
        ),
        (
            _DENIED,
            AccessError,
            f"{where} does not let these keys {doing} in the bucket {bucket}: give them the right, or set "
            "ENCHANTED_S3_ACCESS_KEY and ENCHANTED_S3_SECRET_KEY to keys that have it.",
        ),
        (
            NO_BUCKET,
            SettingsError,
            f"The bucket {bucket} is missing at {endpoint}: the siphon makes it where its keys may; else make it, or "
            "set ENCHANTED_S3_BUCKET.",
        ),
        (
            _SKEWED,
            UnavailableError,
            f"The clocks of this machine and of {where} differ by more than it allows: set the one that is wrong.",
        ),
        (
            _BUSY,
            UnavailableError,
            f"{where} asks to slow down, and went on doing so: it was asked to {doing}. Try later.",
        ),
        (
            _WRONG_REGION,
            SettingsError,
            f"{where} says that the bucket {bucket} is elsewhere ({code}): check ENCHANTED_S3_REGION and "
            "ENCHANTED_S3_ENDPOINT.",
        ),
        (_UNKNOWN, SettingsError, f"{where} cannot {doing} ({code}): the archive needs an S3 with conditional writes."),
    ]
    if code in NOT_VALID and settings.s3_object_lock_days:
        return SettingsError(
            f"{where} did not {doing} under a lock: make the bucket {bucket} with Object Lock, or set "
            f"ENCHANTED_S3_OBJECT_LOCK_DAYS=0 ({_said(error.response['Error'])})."
        )
    for codes, kind, sentence in sentences:
        if code in codes:
            return kind(sentence)
    if not code or code.isdigit():
        return UnavailableError(
            f"{where} did not answer as S3 does when asked to {doing} ({_said(error.response['Error'])}): check "
            "ENCHANTED_S3_ENDPOINT, and what stands before it."
        )
    return UnavailableError(f"{where} failed when asked to {doing}: {_said(error.response.get('Error', {}))}.")


def _said(error: Any) -> str:
    return (
        " ".join(str(error[name]) for name in ("Code", "Message") if error.get(name)).rstrip(".") or "it said nothing"
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
