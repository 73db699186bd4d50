"""Putting the recorder's hooks into an agent's configuration, and taking exactly them out again."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nervous_system.capture.hooks.agents import HookedAgent
from nervous_system.capture.hooks.jsontext import JsonTextError, Node, parse, with_item, without
from nervous_system.errors import SettingsError

BACKUP_SUFFIX = ".before-enchanted"
HOOKS = "hooks"


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a configuration.

    Args:
        path: of the file.
        changed: whether it was written.
        removed: whether it is gone, because there was none before.
    """

    path: Path
    changed: bool
    removed: bool = False


def added(text: str, agent: HookedAgent, command: str) -> str:
    """A configuration with the hooks; the text itself where it has them. Raises JsonTextError for a foreign shape."""
    if _has(text, agent, command):
        return text
    text = taken_out(text, agent)
    before = _loaded(text)
    for event in agent.events:
        text = with_item(text, (HOOKS, event), agent.entry(event, command))
    if _loaded(taken_out(text, agent)) != _without_empty(before, agent):
        raise JsonTextError("its hooks have a shape that is not known here")
    return text


def _has(text: str, agent: HookedAgent, command: str) -> bool:
    hooks = _loaded(text).get(HOOKS)
    if not isinstance(hooks, dict):
        return False
    ours = {
        event: found
        for event, entries in hooks.items()
        if isinstance(entries, list) and (found := [entry for entry in entries if agent.is_ours(entry)])
    }
    return ours == {event: [agent.entry(event, command)] for event in agent.events}


def taken_out(text: str, agent: HookedAgent) -> str:
    """A configuration without the hooks, and without the lists that they leave empty; its other bytes as they stand."""
    while (place := _ours(text, agent)) is not None:
        hooks, event_index, index = place
        entries = hooks.children[event_index]
        if len(entries.children) > 1:
            text = without(text, entries, index)
        elif len(hooks.children) > 1:
            text = without(text, hooks, event_index)
        else:
            root = parse(text)
            text = without(text, root, (root.keys or []).index(HOOKS))
    return text


def _ours(text: str, agent: HookedAgent) -> tuple[Node, int, int] | None:
    hooks = parse(text).child(HOOKS)
    for event_index, entries in enumerate(hooks.children if hooks and hooks.keys is not None else ()):
        for index, entry in enumerate(entries.children if entries.keys is None else ()):
            if hooks and agent.is_ours(json.loads(text[entry.start : entry.end])):
                return hooks, event_index, index
    return None


def _loaded(text: str) -> dict[str, Any]:
    parse(text)
    loaded = json.loads(text.removeprefix("\ufeff"))
    if not isinstance(loaded, dict):
        raise JsonTextError("the whole is no object")
    return loaded


def _without_empty(before: dict[str, Any], agent: HookedAgent) -> dict[str, Any]:
    """What stands there once what was added is gone: lists that were empty before go with it."""
    hooks = before.get(HOOKS)
    if not isinstance(hooks, dict):
        return before
    kept = {event: entries for event, entries in hooks.items() if entries or event not in agent.events}
    rest = {name: value for name, value in before.items() if name != HOOKS}
    return {**rest, HOOKS: kept} if kept else rest


def install(folder: Path, agent: HookedAgent, command: str) -> Change:
    """Writes the hooks into the configuration below ``folder``; what stood there is kept beside it until uninstalled.

    Raises:
        SettingsError: the configuration cannot be read as what it should be; nothing was written.
    """
    path = folder / agent.file
    old = _read(path)
    base = agent.base if old is None or not old.strip() else old
    new = _explained(path, lambda: added(base, agent, command))
    if new == old:
        return Change(path, changed=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    if old is not None and not _is_installed(path, old, agent):
        _write(_backup(path), old, like=path)
    _write(path, new, like=path)
    return Change(path, changed=True)


def _is_installed(path: Path, text: str, agent: HookedAgent) -> bool:
    return _explained(path, lambda: _ours(text, agent)) is not None if text.strip() else False


def uninstall(folder: Path, agent: HookedAgent) -> Change:
    """Takes the hooks out. Where nothing else was changed since, the file is byte for byte what it was before.

    Raises:
        SettingsError: the configuration cannot be read as what it should be; nothing was written.
    """
    path = folder / agent.file
    text = _read(path)
    if text is None or not text.strip() or _explained(path, lambda: _ours(text, agent)) is None:
        return Change(path, changed=False)
    backup = _backup(path)
    before = _read(backup)
    rest = _explained(path, lambda: taken_out(text, agent))
    if before is not None and _explained(path, lambda: _leads_to(before, text, agent)):
        _write(path, before, like=path)
    elif before is None and _loaded(rest) == json.loads(agent.base):
        path.unlink()
        return Change(path, changed=True, removed=True)
    else:
        _write(path, rest, like=path)
    backup.unlink(missing_ok=True)
    return Change(path, changed=True)


def _leads_to(before: str, text: str, agent: HookedAgent) -> bool:
    """Whether installing is all that happened between the two."""
    place = _ours(text, agent)
    if place is None:
        return False
    hooks, event_index, index = place
    entry = hooks.children[event_index].children[index]
    ours = json.loads(text[entry.start : entry.end])
    command = str((ours[HOOKS][0] if agent.nested else ours)["command"])
    return added(before if before.strip() else agent.base, agent, command) == text


def _backup(path: Path) -> Path:
    return path.with_name(path.name + BACKUP_SUFFIX)


def _explained(path: Path, work: Any) -> Any:
    try:
        return work()
    except JsonTextError as error:
        raise SettingsError(
            f"{path} was left as it is: {error}. Put the hooks in by hand, or mend it first."
        ) from error


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} was left as it is: it is not UTF-8.") from error


def _write(path: Path, text: str, like: Path) -> None:
    """Replaces a file at once, through a link where it is one, with the mode of ``like``."""
    target = Path(os.path.realpath(path))
    mode = like.stat().st_mode & 0o7777 if like.exists() else 0o644
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
