"""``archive``: bytes an event takes in the archive, and how fast and in how much memory a siphon writes it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from google.protobuf.json_format import MessageToDict

from infrastructure.local.stack import running_stack
from ingestors.reading import LogMessage, read
from ingestors.siphon import files
from ingestors.siphon.compaction import merged_tables
from nervous_system import columns, parquet, subjects
from nervous_system.contract import SwarmEvent
from nervous_system.events import encode_batch, now_us, occurred_us
from nervous_system.landed import wait_until_landed
from nervous_system.landing import LandedMessage
from nervous_system.parquet import Expected
from nervous_system.projects import ProjectName
from nervous_system.publisher import Publisher
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity
from replay.git.importer import import_commits
from replay.git.repository import Repository
from tests.benchmarks.imports import OWN_REPOSITORY
from tests.benchmarks.material import PROJECT, events

EVENTS = 120_000
PROJECTS = 16
MESSAGE_BYTES, MESSAGE_EVENTS = 400_000, 128
STREAM = StreamIdentity("BENCH", 1)
GZIP_LEVEL = 6


def run(folder: Path) -> None:
    """Histories of the repositories in BENCH_REPO (several: with colons), or of this one; then made-up events."""
    names = os.environ.get("BENCH_REPO")
    for path in [Path(name).resolve() for name in names.split(":")] if names else [OWN_REPOSITORY]:
        _sizes(f"the history of {path.name} as imported", _recorded(path), folder)
    _sizes("decisions, tool calls and small files of random words", events(30_000), folder)
    _siphon(folder / "home")


class _Kept:
    """Keeps the events of an import; the parts of large contents are no events."""

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def put(self, event: bytes) -> None:
        self.events.append(event)

    def put_part(self, part: bytes) -> bytes:
        return hashlib.sha256(part).digest()


def _recorded(path: Path) -> list[bytes]:
    kept = _Kept()
    repository = Repository(path)
    import_commits(repository, repository.branch(None), PROJECT, kept, skip_unsafe=True)
    return kept.events


def _sizes(title: str, data: Sequence[bytes], folder: Path) -> None:
    raw = sum(map(len, data))
    lines, raw_lines = _json_lines(data, _fields), _json_lines(data, _own_bytes)
    rolled = [_file(folder / f"rolled-{number}", share, parquet.FAST) for number, share in enumerate(_rolls(data))]
    began_s = time.perf_counter()
    merged = _merged(folder / "merged", rolled)
    merging_s = time.perf_counter() - began_s
    print(f"\narchive: {title}, {len(data):,} events (bytes an event, to raw, to each JSON)")
    kinds = [
        ("raw protobuf", raw),
        (f"JSON lines of the fields, gzip -{GZIP_LEVEL}", lines),
        (f"JSON lines of id, time and the event's own bytes, gzip -{GZIP_LEVEL}", raw_lines),
        (f"Parquet as the siphon rolls it, {len(rolled)} files", sum(file.entry.size_bytes for file in rolled)),
        ("Parquet once merged", merged.entry.size_bytes),
    ]
    for name, size_bytes in kinds:
        print(
            f"  {name:<65} {size_bytes / len(data):>9,.1f}  {size_bytes / raw:>6.3f} x  {size_bytes / lines:>6.3f} x  "
            f"{size_bytes / raw_lines:>6.3f} x"
        )
    print(f"  merged at {len(data) / merging_s:,.0f} events/s, {raw / merging_s / 1e6:,.1f} MB/s of raw protobuf")


def _rolls(data: Sequence[bytes]) -> list[list[LandedMessage]]:
    """The messages of each file that a siphon at full load rolls by its default settings."""
    limit_bytes = Settings.load({}).siphon_roll_bytes
    rolls: list[list[LandedMessage]] = [[]]
    size_bytes = 0
    for message in _messages(data):
        if size_bytes >= limit_bytes:
            rolls.append([])
            size_bytes = 0
        rolls[-1].append(message)
        size_bytes += message.size_bytes
    return rolls


def _messages(data: Sequence[bytes]) -> list[LandedMessage]:
    """As a publisher cuts them."""
    found: list[LandedMessage] = []
    held: list[bytes] = []
    size_bytes = 0
    for event in [*data, None]:
        if held and (event is None or size_bytes + len(event) > MESSAGE_BYTES or len(held) == MESSAGE_EVENTS):
            subject = subjects.stored(PROJECT, subjects.EVENTS, 0)
            message, refusals = read(LogMessage(subject, len(found) + 1, now_us(), {}, encode_batch(held)), 0)
            assert not refusals, refusals[0].reason
            found.append(message)
            held, size_bytes = [], 0
        if event is not None:
            held.append(event)
            size_bytes += len(event)
    return found


def _file(path: Path, messages: Sequence[LandedMessage], level: int) -> files.LocalFile:
    table = columns.table(columns.in_order(columns.located(messages)), STREAM, 0)
    return files.write(path, [table], Expected.of(table), level)


def _merged(path: Path, rolled: Sequence[files.LocalFile]) -> files.LocalFile:
    opened = [pq.ParquetFile(file.path) for file in rolled]
    whole = Expected.of(pq.read_table([file.path for file in rolled], columns=["event_bytes", "new_state_hash"]))
    return files.write(path, merged_tables(opened), whole, parquet.DENSE)


def _json_lines(data: Sequence[bytes], form: Callable[[bytes], object]) -> int:
    lines = "\n".join(json.dumps(form(event), ensure_ascii=False) for event in data)
    return len(gzip.compress(lines.encode(), GZIP_LEVEL))


def _fields(data: bytes) -> object:
    """What can be read; the event's own bytes cannot be had from it again."""
    return MessageToDict(SwarmEvent.FromString(data), preserving_proto_field_name=True)


def _own_bytes(data: bytes) -> object:
    """What keeps the event verbatim, as the archive does."""
    event = SwarmEvent.FromString(data)
    return {"id": event.event_id, "time": occurred_us(event), "data_base64": base64.b64encode(data).decode()}


def _siphon(home: Path) -> None:
    """The process as it is deployed, on a backlog that it can take as fast as it is able to."""
    with running_stack(home, ["nats", "s3"]) as settings:
        made = [ProjectName("bench", f"p{number}") for number in range(PROJECTS)]
        data = {project: events(EVENTS // PROJECTS, project, seed) for seed, project in enumerate(made)}
        sequence = 0
        for project, share in data.items():
            publisher = Publisher(settings, project)
            for event in share:
                publisher.put(event)
            publisher.flush()
            publisher.close()
            sequence = publisher.last_sequence
        began_s = time.perf_counter()
        peak_bytes = _ingested(settings, sequence, began_s)
    print(f"  peak memory of the process {peak_bytes / 1e6:>56,.0f} MB")


def _ingested(settings: Settings, sequence: int, began_s: float) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ENCHANTED_")}
    environment = {**clean, "ENCHANTED_HOME": str(settings.home), "ENCHANTED_SIPHON_ROLL_AGE_S": "5"}
    command = [sys.executable, "-m", "infrastructure.cli.main", "ingest", "siphon"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until_landed(settings, ["siphon"], sequence)
        rate = EVENTS / (time.perf_counter() - began_s)
    finally:
        process.terminate()
        _, _, usage = os.wait4(process.pid, 0)
    print(f"\narchive: `enchanted ingest siphon`, {EVENTS:,} waiting events of {PROJECTS} projects, its start included")
    print(f"  landed {rate:>78,.0f} events/s")
    return int(usage.ru_maxrss) * 1024
