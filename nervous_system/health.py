"""What a worker tells its supervisor of itself."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

HEALTH_FILE_VARIABLE = "ENCHANTED_HEALTH_FILE"


class HealthFile:
    """Where a supervisor reads how the process is; nowhere, where no path is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def from_environment(cls) -> HealthFile:
        """At the path in ENCHANTED_HEALTH_FILE."""
        path = os.environ.get(HEALTH_FILE_VARIABLE)
        return cls(Path(path) if path else None)

    def write(self, state: str, detail: str) -> None:
        """Replaces the file; ``state`` is starting, running or retrying."""
        if self._path is None:
            return
        text = json.dumps({"state": state, "detail": detail, "updated": datetime.now(UTC).isoformat()})
        temporary = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # A full disk must not stop the landing that would say so.
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._path)
