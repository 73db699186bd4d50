"""Changing a JSON text where it must change, and leaving every other byte as it stands. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nervous_system.errors import EnchantedError

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
DEFAULT_INDENT = "  "


class JsonTextError(EnchantedError):
    """The text is not JSON, or not of the shape that is asked for."""


@dataclass(slots=True)
class Node:
    """A value and where it stands: text[start:end]. Of a container, each child starts where its key does."""

    start: int
    end: int
    keys: list[str] | None = None
    children: list[Node] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    is_container: bool = False

    def child(self, key: str) -> Node | None:
        """An object's value of that name; the last one counts, as JSON readers have it."""
        places = [index for index, name in enumerate(self.keys or ()) if name == key]
        return self.children[places[-1]] if places else None


def parse(text: str) -> Node:
    """The places of a text's values; raises JsonTextError where it is not JSON."""
    try:
        start = _skip(text, 1 if text.startswith("\ufeff") else 0)
        node = _value(text, start)
        if _skip(text, node.end) != len(text):
            raise ValueError(f"something follows at character {node.end}")
    except (ValueError, IndexError, RecursionError) as error:
        raise JsonTextError(f"it is not plain JSON ({error})") from error
    return node


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int) -> Node:
    if text[at] not in "{[":
        _, end = _DECODER.raw_decode(text, at)
        return Node(at, end)
    node = Node(at, at + 1, [] if text[at] == "{" else None, is_container=True)
    close = "}" if text[at] == "{" else "]"
    at = _skip(text, at + 1)
    while text[at] != close:
        if node.children:
            at = _skip(text, _expect(text, at, ","))
        node.starts.append(at)
        if node.keys is not None:
            key, at = _DECODER.raw_decode(text, at)
            if not isinstance(key, str):
                raise ValueError(f"a name is expected at character {at}")
            node.keys.append(key)
            at = _skip(text, _expect(text, _skip(text, at), ":"))
        node.children.append(_value(text, at))
        at = _skip(text, node.children[-1].end)
    node.end = at + 1
    return node


def _expect(text: str, at: int, sign: str) -> int:
    if text[at] != sign:
        raise ValueError(f"{sign!r} is expected at character {at}")
    return at + 1


def with_item(text: str, path: Sequence[str], item: Any) -> str:
    """The text with ``item`` at the end of the array at ``path``, which is made where it is missing.

    Raises:
        JsonTextError: the text is not JSON, or what stands on the way is no object, or at its end no array.
    """
    node, value = parse(text), [item]
    for depth, key in enumerate(path):
        if node.keys is None:
            raise JsonTextError(f"{'.'.join(path[:depth]) or 'the whole'} is no object")
        child = node.child(key)
        if child is None:
            for name in reversed(path[depth + 1 :]):
                value = {name: value}  # type: ignore[assignment]
            return _put(text, node, value, key)
        node = child
    if node.keys is not None or not node.is_container:
        raise JsonTextError(f"{'.'.join(path)} is no array")
    return _put(text, node, item)


def _put(text: str, container: Node, value: Any, key: str | None = None) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    outer = _indent(text, container.start)
    step = _step(text)
    inner = _indent(text, container.starts[0]) if container.starts else outer + step
    several_lines = not container.starts or "\n" in text[container.start : container.starts[0]]
    written = json.dumps(value, ensure_ascii=False, indent=step if several_lines else None)
    written = written.replace("\n", newline + inner)
    if key is not None:
        written = f"{json.dumps(key, ensure_ascii=False)}: {written}"
    if not container.children:
        return f"{text[: container.start + 1]}{newline}{inner}{written}{newline}{outer}{text[container.end - 1 :]}"
    last = container.children[-1].end
    between = f",{newline}{inner}" if several_lines else ", "
    return f"{text[:last]}{between}{written}{text[last:]}"


def _indent(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _step(text: str) -> str:
    match = re.search(r"\n([ \t]+)\S", text)
    return match[1] if match else DEFAULT_INDENT


def without(text: str, container: Node, index: int) -> str:
    """The text without one of a container's values, and without the comma that set it apart."""
    start, end = container.starts[index], container.children[index].end
    if len(container.children) == 1:
        return text[: container.start + 1] + text[container.end - 1 :]
    if index + 1 < len(container.children):
        return text[:start] + text[container.starts[index + 1] :]
    return text[: container.children[index - 1].end] + text[end:]
