"""What the janitor remembers from one round to the next: a small file, without which it only reads more."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nervous_system.errors import SettingsError
from nervous_system.settings import Settings

FOLDER = "janitor"
VERSION = 2


@dataclass(frozen=True, slots=True)
class Portion:
    """What a file of the archive has of one tenant."""

    tenant: str
    events: int
    size_bytes: int


@dataclass(slots=True)
class FileNote:
    """What is known of one file of the archive.

    Args:
        sha256: of the object that was read and found good, hex.
        portions: what is in it, by tenant.
    """

    sha256: str
    portions: list[Portion]


@dataclass(slots=True)
class Notes:
    """See the module.

    Args:
        path: where they are kept; nowhere where it is None.
        manifest: the last manifest up to which the chain was walked: number and hash, hex; 0 before the first.
        files: by object name.
        unnamed: objects that no manifest names, and when each was seen first, microseconds since 1970.
    """

    path: Path | None = None
    manifest: tuple[int, str] = (0, "")
    files: dict[str, FileNote] = field(default_factory=dict)
    unnamed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Notes:
        """Those of the archive and the ledger in the settings."""
        about = f"{settings.s3_endpoint}\n{settings.s3_bucket}\n{settings.ledger}"
        name = hashlib.sha256(about.encode()).hexdigest()[:16]
        return cls.read(settings.home / FOLDER / f"{name}.json")

    @classmethod
    def read(cls, path: Path) -> Notes:
        """What ``write`` wrote; none where there is no file, or one that cannot be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["version"] == VERSION:
                return cls(
                    path,
                    (int(document["manifest"][0]), str(document["manifest"][1])),
                    {key: _file_note(note) for key, note in document["files"].items()},
                    {key: int(seen_us) for key, seen_us in document["unnamed"].items()},
                )
        return cls(path)

    def write(self) -> None:
        """Replaces the file; raises SettingsError where it cannot."""
        if self.path is None:
            return
        document = {
            "version": VERSION,
            "manifest": list(self.manifest),
            "files": {
                key: [note.sha256, [[p.tenant, p.events, p.size_bytes] for p in note.portions]]
                for key, note in self.files.items()
            },
            "unnamed": self.unnamed,
        }
        # Of its own, for another janitor may write at the same time.
        temporary = self.path.with_suffix(f".{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            raise SettingsError(
                f"The janitor's notes {self.path} cannot be written: {error.strerror}. Nothing is lost."
            ) from error

    def forget_all_but(self, keys: set[str]) -> None:
        """Forgets files that are no longer in the archive."""
        self.files = {key: note for key, note in self.files.items() if key in keys}


def _file_note(note: Any) -> FileNote:
    sha256, portions = note
    return FileNote(str(sha256), [Portion(str(tenant), int(events), int(size)) for tenant, events, size in portions])
