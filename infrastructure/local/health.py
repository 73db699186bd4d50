"""Asking a component how it is. Every probe answers within a few seconds and changes nothing."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infrastructure.local.ports import LOOPBACK
from infrastructure.local.state import Phase

TIMEOUT_S = 3.0
# A running worker reports every second.
SILENCE_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Health:
    """RUNNING, STARTING or UNHEALTHY, and why."""

    phase: Phase
    reason: str = ""


RUNNING = Health(Phase.RUNNING)


def unhealthy(reason: str) -> Health:
    return Health(Phase.UNHEALTHY, reason)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server said."""

    status: int
    body: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object in the body; empty where it is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def nats_health(monitor_port: int, server_name: str) -> Health:
    """Healthy where this very server takes messages to disk before it acknowledges them."""
    health = ask(monitor_port, "/healthz")
    if isinstance(health, Health):
        return health
    if health.status != 200 or health.document().get("status") != "ok":
        return unhealthy(f"NATS says: {health.document().get('error') or health.status}")
    variables = ask(monitor_port, "/varz")
    if isinstance(variables, Health):
        return variables
    document = variables.document()
    if document.get("server_name") != server_name:
        return unhealthy("another NATS server answers at its port")
    if document.get("jetstream", {}).get("config", {}).get("sync_always") is not True:
        return unhealthy("JetStream acknowledges before it has written to disk (sync_always is not true)")
    return RUNNING


def clickhouse_health(port: int) -> Health:
    answer = ask(port, "/ping")
    if isinstance(answer, Health):
        return answer
    return RUNNING if answer == Answer(200, b"Ok.\n") else unhealthy(f"/ping answered {answer.status}")


def s3_health(port: int, *, access_key: str, secret_key: str, bucket: str) -> Health:
    """Healthy where a request signed with the stack's key finds the bucket."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    # Signed by hand, because a client of boto3 heeds AWS_PROFILE, ~/.aws and HTTP_PROXY.
    request = AWSRequest("HEAD", f"http://{LOOPBACK}:{port}/{bucket}")
    S3SigV4Auth(Credentials(access_key, secret_key), "s3", "us-east-1").add_auth(request)
    answer = ask(port, f"/{bucket}", method="HEAD", headers=dict(request.headers.items()))
    if isinstance(answer, Health):
        return answer
    known = {404: f"the bucket {bucket} is missing", 403: "S3 refuses the stack's own key"}
    return RUNNING if answer.status == 200 else unhealthy(known.get(answer.status, f"S3 answered {answer.status}"))


def reported_health(path: Path) -> Health:
    """What a worker says of itself in its health file, ``{"state": …, "detail": …, "updated": ISO 8601}``."""
    try:
        document = json.loads(path.read_bytes())
        state, detail = str(document["state"]), str(document.get("detail") or "")
        silent_s = (datetime.now(UTC) - datetime.fromisoformat(document["updated"])).total_seconds()
    except (OSError, ValueError, KeyError, TypeError):
        return Health(Phase.STARTING, "it has not reported yet")
    if state == Phase.RUNNING and silent_s > SILENCE_LIMIT_S:
        return unhealthy(f"it has not reported for {silent_s:.0f} s")
    if state in {Phase.RUNNING, Phase.STARTING}:
        return Health(Phase(state), detail)
    return unhealthy(f"{state}: {detail}" if detail else state)


def ask(port: int, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer | Health:
    """The answer of the HTTP server at ``port`` of loopback; STARTING where none listens."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except ConnectionRefusedError:
        return Health(Phase.STARTING, f"nothing listens at port {port} yet")
    except (OSError, http.client.HTTPException) as error:
        return unhealthy(f"port {port} does not answer: {error or type(error).__name__}")
    finally:
        connection.close()
