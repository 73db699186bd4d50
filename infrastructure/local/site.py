"""Where one stack stands, and what it takes to start a process there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template

from infrastructure.local.errors import StackError
from infrastructure.local.home import Home, write_private


@dataclass(frozen=True, slots=True)
class Site:
    """The folder, ports and secrets of a stack, and the lines of its ``stack.env``."""

    home: Home
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start: its command, its whole environment and its working directory."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


def program(name: str) -> str:
    """The path of a program that a wheel put beside this Python. Raises StackError."""
    beside = str(Path(sys.executable).parent)
    path = shutil.which(name, path=beside) or shutil.which(name)
    if path is None:
        raise StackError(f"{name} is not installed: run `pip install 'enchanted-swarm[local]'`.")
    return path


def server_environment(folder: Path) -> dict[str, str]:
    """The environment of a server of others: none of the user's settings, keys or files reach it."""
    kept = ("PATH", "LANG", "TMPDIR", "TZ")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "HOME": str(folder)}


def write_template(name: str, path: Path, values: Mapping[str, object]) -> None:
    """Writes this package's file ``name`` to ``path``, mode 0600, with its ``$words`` filled in."""
    text = (files("infrastructure.local") / name).read_text(encoding="utf-8")
    write_private(path, Template(text).substitute(values))
