"""What the recorder's methods record, read back from the ledger; and what its publisher does when things go wrong."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from nervous_system import bus
from nervous_system.contract import (
    EXECUTABLE_MODE,
    SYMLINK_MODE,
    AgentRole,
    AgentStatus,
    MessageKind,
    Operation,
    SwarmEvent,
    TargetType,
)
from nervous_system.errors import ContractError, UnavailableError
from nervous_system.events import BATCH_LIMIT_EVENTS, INLINE_LIMIT_BYTES, content_hash, decode, occurred_us
from nervous_system.landed import last_sequence, wait_until_landed
from nervous_system.ledger.ledger import Ledger
from nervous_system.projects import ProjectName
from nervous_system.recorder import Recorder
from nervous_system.settings import Settings
from replay.contents import Contents
from tests.integration.command import Enchanted
from tests.integration.stores import in_ledger


@pytest.fixture(scope="module")
def landing(servers: Settings) -> Iterator[Settings]:
    """The servers with a worker that lands in the ledger."""
    worker = Enchanted(servers.home, {"ENCHANTED_BATCH_MAX_AGE_S": "0.05"}).start("ingest", "ledger")
    yield servers
    worker.terminate()
    worker.communicate(timeout=30)


@pytest.fixture
def project() -> ProjectName:
    return ProjectName("recorder", f"p{random.randrange(10**12)}")


def recorder(settings: Settings, project: ProjectName, **options: str) -> Recorder:
    return Recorder(str(project), agent="ada", settings=settings, **options, direct=True)


def landed(settings: Settings, project: ProjectName) -> list[SwarmEvent]:
    """The project's events in the ledger, once all that was acknowledged has landed."""
    wait_until_landed(settings, ["ledger"], last_sequence(settings, project))
    return [decode(data) for data in in_ledger(settings, project)]


def test_what_is_known_of_every_event(landing: Settings, project: ProjectName) -> None:
    then = datetime(2024, 2, 29, 12, 0, 0, 123_456, tzinfo=UTC)
    with recorder(landing, project, role="reviewer", session="s1", user="u1") as made:
        first = made.signal("idle", cpu_load_percent=1.5, memory_usage_mb=2.5, detail="d")
        made.decision(
            "because",
            occurred=then,
            causation_id=first,
            correlation_id="task",
            trace_id="ab",
            span_id="cd",
            related_commit_hash="beef",
        )
    signal, decision = landed(landing, project)
    assert (signal.event_id, signal.agent_id, signal.agent_role) == (first, "ada", AgentRole.ROLE_REVIEWER)
    assert (signal.session_id, signal.user_id, signal.agent_sequence) == ("s1", "u1", 1)
    assert signal.system_signal.status == AgentStatus.AGENT_STATUS_IDLE
    assert (signal.system_signal.cpu_load_percent, signal.system_signal.memory_usage_mb) == (1.5, 2.5)
    assert occurred_us(decision) == 1_709_208_000_123_456
    assert (decision.causation_id, decision.correlation_id, decision.agent_sequence) == (first, "task", 2)
    assert (decision.trace_id, decision.span_id, decision.related_commit_hash) == ("ab", "cd", "beef")


def test_payloads_arrive_as_they_were_given(landing: Settings, project: ProjectName) -> None:
    with recorder(landing, project) as made:
        made.decision("plain")
        made.decision("full", confidence=0.0, rejected_alternatives=["a", ""], memory_ids=["m"], attributes={"k": ""})
        made.message("hello", to="bob", kind="warning")
        made.tool_call("ls", arguments="{}", result="r", exit_code=0, duration_ms=1.5, input_tokens=2**63)
        made.tool_call("pwd")
        made.checkpoint("v1", description="d")
    plain, full, message, call, bare, checkpoint = landed(landing, project)
    assert not plain.decision.HasField("confidence_score")
    assert not plain.decision.attributes
    assert full.decision.HasField("confidence_score")
    assert full.decision.confidence_score == 0.0
    assert list(full.decision.rejected_alternatives) == ["a", ""]
    assert dict(full.decision.attributes) == {"k": ""}
    assert (message.message.kind, message.message.to_agent_id) == (MessageKind.MESSAGE_KIND_WARNING, "bob")
    assert call.tool_call.HasField("exit_code")
    assert call.tool_call.input_tokens == 2**63
    assert not bare.tool_call.HasField("exit_code")
    assert (checkpoint.checkpoint.name, checkpoint.checkpoint.description) == ("v1", "d")


def test_files_as_they_change(landing: Settings, project: ProjectName) -> None:
    before = b"".join(b"line %d\n" % number for number in range(100))
    after = before.replace(b"line 50\n", b"line fifty\n")
    large = os.urandom(3 * INLINE_LIMIT_BYTES)
    with recorder(landing, project) as made:
        made.file_changed("a", before)
        made.file_changed("a", after, previous=before, executable=True)
        made.file_changed("b", after, previous=after, renamed_from="a")
        made.file_changed("c", b"never seen", renamed_from="d")
        made.file_changed("empty", b"")
        made.file_changed("empty", b"x", previous=b"")
        made.file_changed("link", b"b", symlink=True)
        made.file_changed("large", large)
        made.file_changed("b", None, previous=after)
        made.file_changed("gone", None)
    changes = [event.state_change for event in landed(landing, project)]
    a, patched, renamed, moved, empty, filled, link, parted, deleted, gone = changes
    assert (a.operation, a.content) == (Operation.OPERATION_CREATE, before)
    assert (patched.operation, patched.mode) == (Operation.OPERATION_MODIFY, EXECUTABLE_MODE)
    assert patched.diff_patch
    assert not patched.HasField("content")
    assert (renamed.operation, renamed.renamed_from) == (Operation.OPERATION_RENAME, "a")
    assert not renamed.HasField("content")
    assert (moved.content, moved.previous_state_hash) == (b"never seen", "")
    assert empty.HasField("content")
    assert (filled.content, filled.previous_state_hash) == (b"x", content_hash(b""))
    assert (link.target_type, link.mode, link.content) == (TargetType.TARGET_TYPE_SYMLINK, SYMLINK_MODE, b"b")
    assert parted.blob_hash == content_hash(large)
    assert (deleted.operation, deleted.previous_state_hash) == (Operation.OPERATION_DELETE, content_hash(after))
    assert gone.previous_state_hash == gone.new_state_hash == ""
    ledger = Ledger.open(landing)
    contents = Contents(ledger.history(project))
    assert [contents(content_hash(each)) for each in (after, large, b"")] == [after, large, b""]
    ledger.close()


def test_what_cannot_be_kept_is_refused_and_leaves_no_gap(landing: Settings, project: ProjectName) -> None:
    with recorder(landing, project) as made:
        refusals: list[Callable[[], str]] = [
            lambda: made.decision("x", occurred=datetime(2024, 1, 1)),  # noqa: DTZ001 - that is the fault
            lambda: made.decision("x", confidence=float("nan")),
            lambda: made.decision("x" * 1_000_000),
            lambda: made.message("x", kind="gossip"),
            lambda: made.signal("asleep"),
            lambda: made.file_changed("../x", b""),
            lambda: made.file_changed("x", None, renamed_from="y"),
            lambda: made.file_changed("x", b"/etc/passwd", symlink=True),
            lambda: made.checkpoint("a:b"),
            lambda: made.checkpoint("ü" * 129),
        ]
        for refused in refusals:
            with pytest.raises(ContractError):
                refused()
        made.decision("at last")
    assert [event.agent_sequence for event in landed(landing, project)] == [1]
    with pytest.raises(ContractError):
        recorder(landing, project, role="jester")


def test_what_was_recorded_before_a_failure_is_kept(landing: Settings, project: ProjectName) -> None:
    with suppress(KeyboardInterrupt), recorder(landing, project) as made:
        made.decision("before")
        raise KeyboardInterrupt
    assert [event.decision.rationale for event in landed(landing, project)] == ["before"]


def test_threads_share_a_recorder_without_a_gap(landing: Settings, project: ProjectName) -> None:
    count = BATCH_LIMIT_EVENTS
    with recorder(landing, project) as made:
        threads = [
            threading.Thread(target=lambda: [made.signal() for _ in range(count)], daemon=True) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [event.agent_sequence for event in landed(landing, project)] == list(range(1, 3 * count + 1))


def test_a_closed_recorder_says_so(servers: Settings, project: ProjectName) -> None:
    made = recorder(servers, project)
    made.close()
    made.close()
    with pytest.raises(UnavailableError, match="closed"):
        made.signal()
    with pytest.raises(UnavailableError, match="closed"):
        made.flush()


FORKING = """
import os, sys
from nervous_system.errors import EnchantedError
from nervous_system.recorder import Recorder
made = Recorder(sys.argv[1], agent="ada", direct=True)
made.signal()
child = os.fork()
if not child:
    try:
        made.flush()
    except EnchantedError:
        os._exit(7)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
made.flush()
made.close()
sys.exit(code)
"""


def test_a_forked_process_is_told_to_make_its_own(servers: Settings, project: ProjectName) -> None:
    environment = {**os.environ, "ENCHANTED_HOME": str(servers.home)}
    done = subprocess.run([sys.executable, "-c", FORKING, str(project)], env=environment, timeout=60, check=False)
    assert done.returncode == 7
    assert last_sequence(servers, project) > 0


def test_a_part_is_kept_whoever_used_its_hash_as_a_message_id(landing: Settings, project: ProjectName) -> None:
    large = os.urandom(INLINE_LIMIT_BYTES + 1)

    async def take_the_id() -> None:
        client = await bus.connect(landing)
        name = f"{project.tenant}/{project.project}/{content_hash(large)}"
        await bus.publish(client.jetstream(), "swarm.mallory.elsewhere.blobs", b"", name)
        await client.close()

    asyncio.run(take_the_id())
    with recorder(landing, project) as made:
        made.file_changed("large", large)
    landed(landing, project)
    ledger = Ledger.open(landing)
    assert Contents(ledger.history(project))(content_hash(large)) == large
    ledger.close()
