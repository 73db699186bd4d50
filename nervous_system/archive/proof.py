"""A proof that one event is in the archive: one JSON object that needs no server to be checked, only SHA-256.

The event's SHA-256 leads by a Merkle path to the root in its file's entry; the entry's canonical JSON leads by another
to the root in a manifest's header; the header is signed, and its own SHA-256 is what the next manifest names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nervous_system.archive import filerows, merkle
from nervous_system.archive.log import ArchiveLog
from nervous_system.archive.manifest import FileEntry, Header, canonical, read_header
from nervous_system.archive.objects import ObjectStore
from nervous_system.archive.signing import Verifier
from nervous_system.archive.state import ArchiveState
from nervous_system.errors import EnchantedError, NotFoundError
from nervous_system.events import decode
from nervous_system.projects import ProjectName

VERSION = 1


class ProofError(EnchantedError):
    """A proof does not prove what it says."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a proof proves.

    Args:
        event: the event's verbatim bytes.
        file: the entry of the file that holds it.
        header: of the manifest that names the file.
        manifest_hash: SHA-256 of the header's line, hex: to be compared with the archive's, where nothing is signed.
        signed_by: id of the key that signed the header; empty where none was asked for.
    """

    event: bytes
    file: FileEntry
    header: Header
    manifest_hash: str
    signed_by: str


def prove(
    log: ArchiveLog,
    store: ObjectStore,
    project: ProjectName,
    event_id: str,
    entries: Iterable[FileEntry] | None = None,
) -> dict[str, Any]:
    """A proof that an event of a project is in the archive, as a JSON object.

    Args:
        log: the archive's manifests.
        store: its bucket.
        project: whose event it is.
        event_id: of the event.
        entries: the files to look in, where it is known which may have it; else all of the project's, newest first.

    Raises:
        NotFoundError: no file of the project has it.
        ArchiveDamagedError: a file or manifest is not what it should be.
    """
    state = log.state()
    for entry in reversed(state.files_of(project)) if entries is None else entries:
        hashes, found = _hashes(store, entry, project, event_id)
        if found is not None:
            row, event = found
            return _document(log, state, entry, (row, event, hashes))
    raise NotFoundError(f"The archive has no event {event_id} of {project}: it may not be archived yet.")


def check(proof: Mapping[str, Any], verifier: Verifier | None = None) -> Checked:
    """Checks a proof, and the signature where a verifier is given.

    Raises:
        ProofError: it proves nothing, with the step that fails.
    """
    try:
        event, entry = base64.b64decode(proof["event"], validate=True), FileEntry.of(proof["file"])
        line = str(proof["header"]).encode()
        header = read_header(line)
        in_file = _root(hashlib.sha256(event).digest(), int(proof["row"]), entry.rows, proof["file_path"])
        in_manifest = _root(canonical(proof["file"]), int(proof["file_index"]), header.files, proof["manifest_path"])
        signature = proof.get("signature")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ProofError(f"This is no proof of an event in an archive: it cannot be read ({error}).") from error
    if in_file != entry.events_root:
        raise ProofError("The proof fails: the event does not lead to the root of its file.")
    if in_manifest != header.root:
        raise ProofError(f"The proof fails: the file does not lead to the root of manifest {header.number}.")
    if verifier is not None and not verifier.good(line, None if signature is None else str(signature).encode()):
        raise ProofError(f"The proof fails: manifest {header.number} is not signed by the key {verifier.key_id}.")
    manifest_hash = hashlib.sha256(line).hexdigest()
    return Checked(event, entry, header, manifest_hash, verifier.key_id if verifier else "")


def _document(
    log: ArchiveLog, state: ArchiveState, entry: FileEntry, found: tuple[int, bytes, list[bytes]]
) -> dict[str, Any]:
    row, event, hashes = found
    if entry.key not in state.files:
        raise NotFoundError(f"{entry.key} was replaced while the proof was made: ask again.")
    manifest = log.manifest(state.number)
    place = sorted(state.files).index(entry.key)
    return {
        "version": VERSION,
        "event": base64.b64encode(event).decode(),
        "row": row,
        "file_path": [node.hex() for node in merkle.path_of_hashes(hashes, row)],
        "file": entry.document(),
        "file_index": place,
        "manifest_path": [node.hex() for node in merkle.path_of_hashes(state.leaf_hashes(), place)],
        "header": manifest.lines[0].decode(),
        "signature": manifest.signature.decode() if manifest.signature else None,
    }


def _hashes(
    store: ObjectStore, entry: FileEntry, project: ProjectName, event_id: str
) -> tuple[list[bytes], tuple[int, bytes] | None]:
    """The leaves of a file's events, and the row and bytes of the one looked for."""
    wanted, found = event_id.encode(), None
    hashes: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="enchanted-proof-") as folder:
        path = Path(folder) / "events.parquet"
        filerows.fetch(store, entry, path)
        for place, row in enumerate(filerows.rows(path, entry.key)):
            # An id stands in its event as it is: few events need be read.
            ours = (row.tenant, row.project) == (project.tenant, project.project)
            if ours and wanted in row.data and decode(row.data).event_id == event_id:
                found = (place, row.data)
            hashes.append(merkle.leaf_hash(hashlib.sha256(row.data).digest()))
    return hashes, found


def _root(leaf: bytes, index: int, count: int, path: Iterable[str]) -> bytes | None:
    return merkle.root_of_path(leaf, index, count, [bytes.fromhex(node) for node in path])


def encode(proof: Mapping[str, Any]) -> str:
    """A proof as text."""
    return json.dumps(proof, indent=1, ensure_ascii=False) + "\n"
