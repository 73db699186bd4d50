"""``enchanted archive compact`` and ``archive files``: merging small files, and naming those that count."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ingestors.siphon.compaction import Compacted, Compactor
from ingestors.siphon.workspace import Workspace
from nervous_system.archive import layout
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import FileEntry
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import signer_of, verifier_of
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import NotFoundError
from nervous_system.settings import Settings
from replay import moments

FORMS = ("s3", "http", "key")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def compact(*, as_json: bool) -> None:
    """Merge small files of one day and bucket into larger ones, until none are left to merge.

    The siphon does this by itself; this does it now. It may be stopped at any moment, and may run beside the siphon and
    beside itself. What it replaces stays an object until the janitor removes it.
    """
    settings = Settings.load()
    with _opened(settings) as (store, log):
        workspace = Workspace(settings.siphon_files)
        try:
            compactor = Compactor(store, log, workspace, settings.siphon_target_bytes, threading.Event())
            done = compactor.run(lambda so_far: click.echo(_told(so_far), err=True))
        finally:
            workspace.close()
    if as_json:
        facts = {"merges": done.merges, "files": done.files}
        click.echo(json.dumps({**facts, "bytes_before": done.bytes_before, "bytes_after": done.bytes_after}))
    else:
        click.echo(_told(done) if done.merges else "Nothing is left to merge.")


@click.command("files")
@click.option("--since", metavar="TIME", help="Only files with events that were recorded at this time or later.")
@click.option("--until", metavar="TIME", help="Only files with events that were recorded at this time or before.")
@click.option("--tenant", help="Only files that may hold this tenant's events.")
@click.option(
    "--as",
    "form",
    type=click.Choice(FORMS),
    default="s3",
    show_default=True,
    help="How each is named: s3://bucket/key, http://endpoint/bucket/key, or the key alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the manifest says of each, one JSON object a line.")
def files(*, since: str | None, until: str | None, tenant: str | None, form: str, as_json: bool) -> None:
    """Name the archive's files that count, for tools that read Parquet: one a line, oldest first.

    Other objects of the bucket were replaced or never named; to read them too would count events twice.
    """
    settings = Settings.load()
    with _opened(settings) as (_, log):
        found = chosen(log.state(), _time_us(since), _time_us(until), tenant)
    for entry in found:
        click.echo(json.dumps(entry.document(), ensure_ascii=False) if as_json else _name(settings, entry, form))


def chosen(
    state: ArchiveState, since_us: int | None = None, until_us: int | None = None, tenant: str | None = None
) -> list[FileEntry]:
    """The files that count and may hold events recorded in this span, of this tenant; oldest first. Pure."""
    found = [
        entry
        for entry in state.files.values()
        if (since_us is None or entry.recorded_us[1] >= since_us)
        and (until_us is None or entry.recorded_us[0] <= until_us)
        and (tenant is None or _may_hold(entry, tenant))
    ]
    return sorted(found, key=lambda entry: (entry.recorded_us, entry.key))


def _may_hold(entry: FileEntry, tenant: str) -> bool:
    bucket = f"/bucket={layout.bucket_of(tenant):02d}/"
    return bucket in entry.key and entry.tenants[0] <= tenant <= entry.tenants[1]


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[ObjectStore, ArchiveLog]]:
    settings.require("s3_endpoint")
    store = ObjectStore(settings)
    try:
        yield store, ArchiveLog(store, signer_of(settings), verifier_of(settings))
    finally:
        store.close()


def _time_us(text: str | None) -> int | None:
    if text is None:
        return None
    moment_us = moments.parse_time(text)
    if moment_us is None:
        raise NotFoundError(f"{text!r} is no time: write it as 2026-11-21, 2026-11-21T09:30 or '2 hours ago'.")
    return moment_us


def _name(settings: Settings, entry: FileEntry, form: str) -> str:
    place = f"{settings.s3_bucket}/{entry.key}"
    return {"s3": f"s3://{place}", "http": f"{settings.s3_endpoint.rstrip('/')}/{place}", "key": entry.key}[form]


def _told(done: Compacted) -> str:
    return (
        f"merged {done.files:,} files of {done.bytes_before:,} bytes into {done.merges:,} of {done.bytes_after:,} bytes"
    )
