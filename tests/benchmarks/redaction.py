"""What redaction costs, in microseconds per kilobyte, on this repository's own sources."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from nervous_system.contract import AgentDecision, SwarmEvent, ToolCall
from nervous_system.redaction.redactor import Redactor
from nervous_system.redaction.vault import Vault

_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("nervous_system", "replay", "ingestors", "infrastructure", "tests")
_ROUNDS = 5


def run(folder: Path) -> None:
    """Prints the best of some rounds, in the processor's time."""
    paths = (path for name in _FOLDERS for path in sorted((_ROOT / name).rglob("*.py")))
    sources = {str(path.relative_to(_ROOT)): path.read_bytes() for path in paths}
    size_kb = sum(map(len, sources.values())) / 1000
    number = 0

    def contents() -> None:
        nonlocal number
        number += 1
        redactor = Redactor(Vault(folder / f"{number}.db"))
        for resource, content in sources.items():
            redactor.content(content, resource)

    redactor = Redactor(Vault(folder / "vault.db"))
    decision = SwarmEvent(
        agent_id="ada", session_id="s", decision=AgentDecision(rationale="Polls, so that the writer never waits. " * 4)
    )
    call = SwarmEvent(
        tool_call=ToolCall(name="bash", arguments='{"command": "ls"}', result="src/queue.py  1,204\n" * 200)
    )
    print("\nRedaction, on")
    print(
        f"  {'contents of files, first seen':<50} {_best_s(contents) * 1e6 / size_kb:>8.1f} µs/KB ({size_kb:,.0f} KB)"
    )
    for name, event in (("a decision of 160 bytes", decision), ("a tool call of 4 KB", call)):
        took_us = _best_s(lambda event=event: [redactor.event(event) for _ in range(200)]) * 1e6 / 200  # type: ignore[misc]
        print(f"  {name:<50} {took_us:>8.1f} µs ({took_us * 1000 / event.ByteSize():.1f} µs/KB)", flush=True)


def _best_s(work: Callable[[], object]) -> float:
    best_s = float("inf")
    for _ in range(_ROUNDS):
        began_s = time.thread_time()
        work()
        best_s = min(best_s, time.thread_time() - began_s)
    return best_s
