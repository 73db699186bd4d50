"""The log: connection, version, permission to publish, the stream, its clock, and whether it writes through to disk."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js.api import Header, StreamInfo
from nats.js.errors import APIError, NotFoundError

from infrastructure.doctor import lag
from infrastructure.doctor.clocks import skew
from infrastructure.doctor.findings import ROLES, Finding, Patient, failure, ok, warning
from nervous_system import bus, subjects
from nervous_system.errors import EnchantedError
from nervous_system.projects import ProjectName

CHECK = "log"
LEAST_VERSION = (2, 12)
ANSWER_WITHIN_S = 3.0
# Nobody's: what is sent there is refused by a condition before it is kept.
PROBE = ProjectName("enchanted", "doctor")
NO_STREAM = "none-has-this-name"
_WRONG_STREAM = 10060


def look(patient: Patient) -> Iterator[Finding]:
    """All about the log; raises EnchantedError where it cannot be reached."""
    if not patient.settings.nats_url:
        yield failure(CHECK, "No log is set: start the embedded stack with `enchanted up`, or set ENCHANTED_NATS_URL.")
        return
    yield from asyncio.run(_collect(patient))
    yield _durability(patient.monitor_url)


async def _collect(patient: Patient) -> list[Finding]:
    client = await bus.connect(patient.settings)
    try:
        return [finding async for finding in _examine(client, patient)]
    finally:
        await client.close()


async def _examine(client: Client, patient: Patient) -> AsyncIterator[Finding]:
    settings = patient.settings
    yield ok(f"{CHECK}: connection", f"NATS answers at {settings.nats_url}.")
    yield _version(client)
    yield await _publishing(client, patient)
    if "look" not in ROLES[patient.role]:
        return
    try:
        info = await client.jetstream().stream_info(settings.stream)
    except TimeoutError:
        yield failure(
            f"{CHECK}: stream",
            "Nothing can be told of the stream: JetStream is off, has no leader, or these credentials may not ask. "
            "Name with --role whose they are.",
        )
        return
    except NotFoundError:
        yield failure(
            f"{CHECK}: stream",
            f"There is no stream {settings.stream}: start an ingestor, which makes it, or correct ENCHANTED_STREAM.",
        )
        return
    yield _partitions(info, patient)
    yield _replicas(info, patient)
    yield await _clock(client, patient)
    yield await _dead_letters(client)
    for finding in await lag.look(client, patient):
        yield finding


def _version(client: Client) -> Finding:
    version = client.connected_server_version
    words = f"nats-server {version.major}.{version.minor}.{version.patch}"
    if (version.major, version.minor) < LEAST_VERSION:
        return warning(
            f"{CHECK}: version",
            f"{words} is older than 2.12, which keeps several messages all or nothing: upgrade it, or rollbacks of "
            "several projects may be cut off in the middle.",
        )
    return ok(f"{CHECK}: version", f"{words}.")


async def _publishing(client: Client, patient: Patient) -> Finding:
    """Whether we may publish: a message that is refused for its condition, once permissions let it through."""
    probe = ProjectName(patient.settings.nats_tenant or PROBE.tenant, PROBE.project)
    check, subject = f"{CHECK}: publish", subjects.published(probe, subjects.EVENTS)
    headers = {Header.EXPECTED_STREAM.value: NO_STREAM}
    try:
        await client.jetstream().publish(subject, b"", timeout=ANSWER_WITHIN_S, headers=headers)
    except APIError as error:
        if error.err_code == _WRONG_STREAM:
            return ok(check, "May publish; nothing was kept.")
        return failure(check, f"The log refuses to keep a message on {subject}: {error.description}.")
    except (TimeoutError, nats.errors.Error) as error:
        words = (
            f"A message on {subject} was not answered ({type(error).__name__}): these credentials may not publish "
            "there, or no stream takes it. Those of a tenant's agents need ENCHANTED_NATS_TENANT."
        )
        return patient.refused("publish", check, words)
    return failure(
        check, "The log does not heed Nats-Expected-Stream, and kept an empty message: it is no NATS server."
    )


def _partitions(info: StreamInfo, patient: Patient) -> Finding:
    settings, transform = patient.settings, info.config.subject_transform
    if transform is None or transform.dest != subjects.partitioning(settings.partitions):
        return failure(
            f"{CHECK}: stream",
            f"Stream {settings.stream} was made with another number of partitions than ENCHANTED_PARTITIONS="
            f"{settings.partitions}: set it to the number the stream was made with.",
        )
    held = f"{info.state.messages:,} messages, {info.state.bytes:,} bytes"
    return ok(f"{CHECK}: stream", f"{settings.stream} has {settings.partitions} partitions and holds {held}.")


def _replicas(info: StreamInfo, patient: Patient) -> Finding:
    check, copies = f"{CHECK}: copies", info.config.num_replicas or 1
    peers = (info.cluster.replicas or []) if info.cluster else []
    away = [peer.name for peer in peers if peer.offline or not peer.current]
    if away:
        return warning(check, f"Copies on {', '.join(map(str, away))} are away or behind: bring those servers back.")
    if copies != patient.settings.replicas:
        return warning(
            check,
            f"The stream has {copies} copies and ENCHANTED_REPLICAS={patient.settings.replicas}: change one of them "
            "(`nats stream edit --replicas`).",
        )
    return ok(check, f"{copies} of {copies}.")


async def _clock(client: Client, patient: Patient) -> Finding:
    before = patient.clock()
    answer = await client.request(f"$JS.API.STREAM.INFO.{patient.settings.stream}", b"", timeout=ANSWER_WITHIN_S)
    after = patient.clock()
    told = json.loads(answer.data).get("ts")
    if not told:
        return warning(f"{CHECK}: clock", "NATS does not tell its time before 2.10: upgrade it.")
    return skew(f"{CHECK}: clock", int(datetime.fromisoformat(told).timestamp() * 1e6), (before, after))


async def _dead_letters(client: Client) -> Finding:
    check = f"{CHECK}: dead letters"
    try:
        kept = (await client.jetstream().stream_info(subjects.DEAD_LETTER_STREAM)).state.messages
    except NotFoundError:
        return failure(check, f"There is no stream {subjects.DEAD_LETTER_STREAM}: start an ingestor, which makes it.")
    if kept:
        return warning(
            check, f"{kept:,} are kept: `enchanted dlq list` says why, `enchanted dlq retry` or `drop` ends it."
        )
    return ok(check, "None.")


def _durability(monitor_url: str) -> Finding:
    check = f"{CHECK}: fsync"
    if not monitor_url:
        return warning(
            check,
            "Whether NATS writes through to disk before it acknowledges cannot be told: name its monitor with "
            "--nats-monitor http://host:8222.",
        )
    try:
        document = _asked(monitor_url)
    except (OSError, ValueError) as error:
        return warning(check, f"The monitor at {monitor_url} does not answer ({error}): correct --nats-monitor.")
    if document.get("jetstream", {}).get("config", {}).get("sync_always") is not True:
        return failure(
            check,
            "NATS acknowledges before it has written to disk, so that a power cut loses events: set "
            "`sync_interval: always` in the jetstream block of its configuration, and restart it.",
        )
    return ok(check, "Written through to disk before it is acknowledged (sync_always).")


def _asked(monitor_url: str) -> dict[str, Any]:
    # Whatever proxy the environment names, the monitor is near.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{monitor_url.rstrip('/')}/varz", timeout=ANSWER_WITHIN_S) as answer:
        document = json.loads(answer.read())
    if not isinstance(document, dict):
        raise EnchantedError(f"What answers at {monitor_url} is no monitor of NATS: correct --nats-monitor.")
    return document
