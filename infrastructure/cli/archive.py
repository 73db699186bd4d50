"""``enchanted archive``: proofs that an event is archived, and the keys that manifests are signed with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from infrastructure.cli.compacting import compact, files
from infrastructure.cli.options import PROJECT
from nervous_system.archive import proof as proofs
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import Verifier, read_verify_key, signer_of, verifier_of, write_key_pair
from nervous_system.errors import NotFoundError, SettingsError
from nervous_system.events import decode
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from replay.export.new_file import new_file


@click.group()
def archive() -> None:
    """What is in the archive, and proofs of it."""


archive.add_command(compact)
archive.add_command(files)


@archive.command("proof")
@click.argument("event_id")
@click.option("--project", type=PROJECT, help="Whose event it is; where not given, the ledger is asked.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to; standard output else.")
def proof(*, event_id: str, project: ProjectName | None, output: Path | None) -> None:
    """Export a proof that EVENT_ID is in the archive: one JSON object, checked without any server.

    `enchanted archive check-proof` checks it, and so do a few lines of any language: see docs/archive.md.
    """
    settings = Settings.load()
    settings.require("s3_endpoint")
    event_id = event_id.lower()
    with _opened(settings) as (log, objects):
        made = proofs.prove(log, objects, project or _owner(settings, event_id), event_id)
    text = proofs.encode(made)
    if output is None:
        sys.stdout.write(text)
        return
    with new_file(output) as target:
        target.write(text.encode())
    click.echo(f"Proof that event {event_id} is in the archive: {output}.")


@archive.command("check-proof")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The archive's public key as PEM; where not given, the one in the settings.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check_proof(context: click.Context, *, file: Path, key: Path | None, as_json: bool) -> None:
    """Check the proof in FILE. Needs no server.

    Exits with 0 where it holds, and 1 where it does not. Without a key it shows that the event is in the archive whose
    manifest has the hash printed; with one, that whoever has the key signed that manifest.
    """
    verifier = Verifier(read_verify_key(key)) if key else verifier_of(Settings.load())
    try:
        checked = proofs.check(_document(file), verifier)
    except proofs.ProofError as error:
        click.echo(json.dumps({"holds": False, "reason": str(error)}) if as_json else str(error))
        context.exit(1)
    event = decode(checked.event)
    facts = {
        "holds": True,
        "event_id": event.event_id,
        "project": f"{event.tenant_id}/{event.project_id}",
        "file": checked.file.key,
        "manifest": checked.header.number,
        "manifest_hash": checked.manifest_hash,
        "signed_by": checked.signed_by or None,
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    signed = f"signed by the key {checked.signed_by}" if checked.signed_by else "not checked against any key"
    click.echo(
        f"The proof holds: event {event.event_id} of {facts['project']} is in {checked.file.key}, which manifest "
        f"{checked.header.number} names. Its hash is {checked.manifest_hash}; it is {signed}."
    )


@archive.group("key")
def key() -> None:
    """Keys that manifests are signed with."""


@key.command("new")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def new_key(*, file: Path) -> None:
    """Make a pair of Ed25519 keys: the private half in FILE, the public one beside it in FILE.pub."""
    public = write_key_pair(file)
    click.echo(
        f"Set ENCHANTED_ARCHIVE_SIGNING_KEY_FILE={file.resolve()} for the siphon and the janitor, and "
        f"ENCHANTED_ARCHIVE_VERIFY_KEY_FILE={public.resolve()} for all who read. Keep a copy of the private half apart."
    )


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[ArchiveLog, ObjectStore]]:
    objects = ObjectStore(settings)
    try:
        yield ArchiveLog(objects, signer_of(settings), verifier_of(settings)), objects
    finally:
        objects.close()


def _owner(settings: Settings, event_id: str) -> ProjectName:
    """The project that has the event, by the ledger's indexes."""
    ledger = Ledger.open(settings, create=False)
    try:
        for project in ledger.projects():
            if ledger.own_history(project).version_of_event(event_id) is not None:
                return project
    finally:
        ledger.close()
    raise NotFoundError(f"The ledger has no event {event_id}: name its project with --project to look in the archive.")


def _document(file: Path) -> dict[str, object]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise proofs.ProofError(f"{file} is no proof: it is not JSON.") from error
    if not isinstance(document, dict):
        raise proofs.ProofError(f"{file} is no proof: it is not one JSON object.")
    return document
