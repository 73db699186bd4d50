"""What waits in the log, for which sink, for how long, and whether anybody reads it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from infrastructure.doctor.findings import Finding, Patient, failure, ok, warning
from nervous_system import subjects
from nervous_system.settings import Settings

# A worker has no pull on the log for a moment, now and then.
LOOKS, LOOK_EVERY_S = 8, 0.4
LATE_S = 60.0
LATE_ROLLS = 5
SINKS = {"ledger": "ledger", "clickhouse": "clickhouse_url", "siphon": "s3_endpoint"}


async def look(client: Client, patient: Patient) -> list[Finding]:
    """What to tell of each sink that has a store in the settings."""
    settings, context = patient.settings, client.jetstream()
    sinks = [sink for sink, setting in SINKS.items() if getattr(settings, setting)]
    read, consumers = await _readers(context, settings, sinks)
    found = [_readers_of(sink, settings.partitions, read[sink]) for sink in sinks]
    return found + [await _lag_of(context, patient, sink, consumers) for sink in sinks]


async def _readers(
    context: JetStreamContext, settings: Settings, sinks: list[str]
) -> tuple[Mapping[str, set[int]], dict[str, ConsumerInfo]]:
    """The partitions that somebody was seen to read, by sink; and the consumers, by name."""
    read: defaultdict[str, set[int]] = defaultdict(set)
    for attempt in range(LOOKS):
        if attempt:
            await asyncio.sleep(LOOK_EVERY_S)
        consumers = await _consumers(context, settings, sinks)
        for name, info in consumers.items():
            sink, _, partition = name.rpartition("-p")
            if info.num_waiting:
                read[sink].add(int(partition))
        if all(len(read[sink]) >= settings.partitions for sink in sinks):
            break
    return read, consumers


async def _consumers(context: JetStreamContext, settings: Settings, sinks: list[str]) -> dict[str, ConsumerInfo]:
    # One by one: a list of all is more than an ingestor may ask for.
    names = [subjects.consumer(sink, partition) for sink in sinks for partition in range(settings.partitions)]
    found = await asyncio.gather(*(_consumer(context, settings.stream, name) for name in names))
    return {name: info for name, info in zip(names, found, strict=True) if info is not None}


async def _consumer(context: JetStreamContext, stream: str, name: str) -> ConsumerInfo | None:
    try:
        found: ConsumerInfo = await context.consumer_info(stream, name)
    except NotFoundError:
        return None
    return found


def _readers_of(sink: str, partitions: int, read: set[int]) -> Finding:
    check, unread = f"ingestors: {sink}", sorted(set(range(partitions)) - read)
    if not unread:
        return ok(check, f"All {partitions} partitions are read.")
    which = ", ".join(map(str, unread[:20])) + (" …" if len(unread) > 20 else "")
    return failure(
        check,
        f"Nobody reads partition {which} of {partitions}: start `enchanted ingest {sink} --partitions …` for them; "
        "where one runs, its log and its page /readyz say what it waits for. Events wait in the log meanwhile.",
    )


async def _lag_of(
    context: JetStreamContext, patient: Patient, sink: str, consumers: Mapping[str, ConsumerInfo]
) -> Finding:
    check = "archive: age" if sink == "siphon" else f"lag: {sink}"
    waiting, oldest_us = 0, 0
    begun = {number: consumers.get(subjects.consumer(sink, number)) for number in range(patient.settings.partitions)}
    if missing := [str(partition) for partition, info in begun.items() if info is None]:
        return warning(check, f"Cannot be told of partition {', '.join(missing)}: no ingestor has begun there.")
    for partition, info in begun.items():
        messages = (info.num_pending or 0) + (info.num_ack_pending or 0) if info else 0
        if info and messages:
            waiting += messages
            since_us = await _since_us(context, patient.settings, partition, info)
            oldest_us = min(oldest_us or since_us, since_us)
    age_s = max((patient.clock() - oldest_us) / 1e6, 0.0) if oldest_us else 0.0
    limit_s = LATE_ROLLS * patient.settings.siphon_roll_age_s if sink == "siphon" else LATE_S
    words = f"{waiting:,} messages wait, the oldest for {age_s:,.0f} s"
    if age_s > max(limit_s, LATE_S):
        return warning(check, f"{words}: give the sink more workers, or see in their log what its store lacks.")
    return ok(check, f"{words}." if waiting else "Nothing waits.")


async def _since_us(context: JetStreamContext, settings: Settings, partition: int, info: ConsumerInfo) -> int:
    """When the log took the first message that is not landed; now where it has just been landed."""
    mark = info.ack_floor.stream_seq if info.ack_floor else 0
    first = max(mark + 1, info.config.opt_start_seq or 1)
    subject = subjects.partition_filter(partition)
    try:
        message = await context.get_msg(settings.stream, seq=first, subject=subject, next=True)
    except NotFoundError:
        return 0
    return int(message.time.timestamp() * 1e6) if isinstance(message.time, datetime) else 0
