"""Contents for a restore: each checked against its hash, read ahead by threads where that is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from replay.restoring.steps import Step
from replay.tree import SUBMODULE, Contents, Entry, verified_content


def entry_of(step: Step) -> Entry:
    """What a step writes."""
    assert step.entry is not None, step
    return step.entry


def read(steps: Sequence[Step], contents: Contents, readers: int) -> Generator[tuple[Step, bytes], None, None]:
    """Each step with its content, in order, read ahead by as many as there are readers."""
    if readers <= 1:
        for step in steps:
            yield step, _content(step, contents)
        return
    ahead: deque[tuple[Step, Future[bytes]]] = deque()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="contents")
    try:
        for step in steps:
            ahead.append((step, pool.submit(_content, step, contents)))
            if len(ahead) > 2 * readers:
                first, content = ahead.popleft()
                yield first, content.result()
        for first, content in ahead:
            yield first, content.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _content(step: Step, contents: Contents) -> bytes:
    entry = entry_of(step)
    # A submodule is an empty folder, as `git archive` has it.
    return b"" if entry.mode == SUBMODULE else verified_content(step.resource, entry.content_hash, contents)
