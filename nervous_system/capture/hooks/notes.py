"""What one call of a hook leaves for the next: each is a process of its own. Small files, one folder a session."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

# What a session that never ended leaves is cleared away after this time.
FORGOTTEN_AFTER_S = 7 * 24 * 3600.0


class Notes:
    """One session's notes. Several processes at once may use them.

    Args:
        home: the recorder's folder on this machine.
        agent: the agent's name.
        session: the session's id.
    """

    def __init__(self, home: Path, agent: str, session: str) -> None:
        self._all = home / "hooks"
        self._folder = self._all / _name(f"{agent} {session}")

    def put(self, key: str, value: bytes) -> None:
        """Notes a value under a key."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._folder / f".{_name(key)}.{os.getpid()}"
        temporary.write_bytes(value)
        temporary.replace(self._folder / _name(key))

    def get(self, key: str) -> bytes | None:
        """What is noted under a key; None where nothing is."""
        try:
            return (self._folder / _name(key)).read_bytes()
        except FileNotFoundError:
            return None

    def take(self, key: str) -> bytes | None:
        """As ``get``, and forgets it."""
        value = self.get(key)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / _name(key)).unlink()
        return value

    def put_json(self, key: str, value: Any) -> None:
        """Notes a value as JSON."""
        self.put(key, json.dumps(value).encode())

    def take_json(self, key: str) -> Any:
        """What ``put_json`` noted, forgotten at once; None where nothing is."""
        value = self.take(key)
        return None if value is None else json.loads(value)

    def take_all_json(self, prefix: str) -> list[Any]:
        """Every value noted under a key that starts with the word ``prefix``, forgotten at once; in no order."""
        values = []
        for path in sorted(self._folder.glob(f"{prefix}-*")):
            with contextlib.suppress(FileNotFoundError, ValueError):
                values.append(json.loads(path.read_bytes()))
                path.unlink()
        return values

    def text(self, key: str) -> str:
        """What is noted under a key as text; empty where nothing is."""
        return (self.get(key) or b"").decode()

    def forget(self) -> None:
        """Forgets the session, and those that have not been heard of for long."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            for folder in self._all.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - folder.stat().st_mtime > FORGOTTEN_AFTER_S:
                        shutil.rmtree(folder, ignore_errors=True)


def _name(key: str) -> str:
    word, _, rest = key.partition(" ")
    digest = hashlib.sha256(rest.encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return f"{word}-{digest}" if rest else word
