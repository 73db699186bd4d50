"""Transcripts as findings: every kind of fixture, what its edits leave, and that reading again finds the same."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from nervous_system.capture.findings import FileState, Finding, to_event
from nervous_system.capture.transcripts import claude_code, codex, openhands, swe_agent
from nervous_system.capture.transcripts.files import FOUND, ORIGIN, Files
from nervous_system.capture.transcripts.reading import TranscriptError, text_of, time_us
from nervous_system.contract import AgentDecision, AgentMessage, MessageKind, ToolCall
from nervous_system.errors import ContractError, NotFoundError
from nervous_system.events import content_hash
from nervous_system.inspection import inspect
from nervous_system.projects import ProjectName

T = TypeVar("T")
FIXTURES = Path(__file__).parent.parent / "transcripts"
PROJECT = ProjectName("acme", "shop")
READERS: dict[str, tuple[Any, str]] = {
    "claude-code": (claude_code, "claude-code.jsonl"),
    "codex": (codex, "codex.jsonl"),
    "openhands": (openhands, "openhands"),
    "openhands-sdk": (openhands, "openhands-sdk.json"),
    "swe-agent": (swe_agent, "swe-agent.traj"),
}


def silent(_: str) -> None:
    """Hears nothing."""


def found(kind: str, told: list[str] | None = None) -> list[Finding]:
    """What the fixture of a kind tells."""
    reader, name = READERS[kind]
    began = {"began_us": 1_700_000_000_000_000} if kind == "swe-agent" else {}
    return list(reader.read(FIXTURES / name, root="", tell=silent if told is None else told.append, **began))


def of(findings: Iterable[Finding], kind: type[T]) -> list[T]:
    """The payloads of one type."""
    return [finding.payload for finding in findings if isinstance(finding.payload, kind)]


def folded(findings: Iterable[Finding]) -> dict[str, bytes]:
    """The files that are left; each change must be made to what stands there, as the ledger's fold demands."""
    tree: dict[str, bytes] = {}
    for state in of(findings, FileState):
        origin = state.renamed_from or state.resource
        if state.previous is not None:
            assert tree[origin] == state.previous
        tree.pop(origin, None)
        if state.content is not None:
            tree[state.resource] = state.content
    return tree


@pytest.mark.parametrize("kind", READERS)
def test_events_are_kept_and_the_same_each_time(kind: str) -> None:
    first, second = found(kind), found(kind)
    assert first == second
    ids = [finding.event_id for finding in first]
    assert len(set(ids)) == len(ids)
    for finding in first:
        event = to_event(finding, PROJECT, lambda part: bytes.fromhex(content_hash(part)))
        assert inspect(event.SerializeToString(deterministic=True), PROJECT).event_id == finding.event_id
        assert not finding.causation_id or finding.causation_id in ids


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        (
            "claude-code",
            {
                "price.py": b"def price(net, vat=0.2):\n\treturn net * (1 + vat)\n",
                "tests/test_price.py": b"from price import price\n\n\n"
                b"def test_price():\n    assert price(100) == 120\n",
            },
        ),
        ("codex", {"src/areas.py": b'def area(w, h):\n    """Of a rectangle."""\n    return w * h\n'}),
        ("openhands", {"greet.py": b"print('Hello')\n", "new.txt": b"new\n"}),
        ("openhands-sdk", {"FACTS.txt": b"One.\n"}),
        ("swe-agent", {"three.py": b"def count():\n        return [1, 2, 3]\n"}),
    ],
)
def test_edits_leave_the_files_as_the_tools_did(kind: str, files: dict[str, bytes]) -> None:
    assert folded(found(kind)) == files


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (
            "claude-code",
            ["claude-code.jsonl:10: left out", "README.md is kept as a tool call alone", "/etc/motd is outside"],
        ),
        ("codex", ["codex.jsonl:13: the change of setup.cfg", "codex.jsonl:17: left out"]),
        ("openhands", ["gone.txt is kept as a tool call alone", "11.json: left out"]),
        ("openhands-sdk", []),
        ("swe-agent", ["step 6", "step 7"]),
    ],
)
def test_what_cannot_be_taken_over_is_told(kind: str, parts: list[str]) -> None:
    told: list[str] = []
    found(kind, told)
    assert len(told) == len(parts)
    for sentence, part in zip(told, parts, strict=True):
        assert part in sentence


def test_claude_code_tells_who_said_what_and_why() -> None:
    findings = found("claude-code")
    order, answer = of(findings, AgentMessage)
    assert (order.kind, order.content) == (MessageKind.MESSAGE_KIND_ORDER, "Add value added tax to the price.")
    assert answer.content == "Prices now include tax."
    assert [decision.rationale for decision in of(findings, AgentDecision)] == [
        "The price has one place; a default keeps callers working.",
        "I will give the rate a default.",
    ]
    prompt = next(finding for finding in findings if finding.payload is order)
    assert prompt.agent == "user"
    assert prompt.occurred_us == time_us("2026-02-03T10:00:01.500Z")
    assert all(finding.correlation_id == prompt.event_id for finding in findings if finding is not prompt)


def test_claude_code_tells_tokens_once_an_answer_and_results_with_their_calls() -> None:
    findings = found("claude-code")
    calls = of(findings, ToolCall)
    models = [call for call in calls if call.name == "chat claude-sonnet-4-5"]
    # The first answer was written in three parts, with the tokens so far.
    assert (models[0].input_tokens, models[0].output_tokens) == (1_110, 40)
    assert len(models) == 9
    failed = next(call for call in calls if "pytest" in call.arguments)
    assert (failed.exit_code, failed.result) == (3, "Exit code 3\nno tests ran")
    unanswered = next(call for call in calls if "sleep 60" in call.arguments)
    assert not unanswered.HasField("exit_code")
    edit = next(
        finding for finding in findings if isinstance(finding.payload, ToolCall) and finding.payload.name == "Edit"
    )
    states = [
        finding
        for finding in findings
        if finding.causation_id == edit.event_id and isinstance(finding.payload, FileState)
    ]
    assert [state.payload.attributes.get(ORIGIN, "") for state in states if isinstance(state.payload, FileState)] == [
        FOUND,
        "",
    ]


def test_a_session_that_goes_on_adds_to_what_was_found(tmp_path: Path) -> None:
    lines = (FIXTURES / "claude-code.jsonl").read_bytes().splitlines(keepends=True)
    cut = tmp_path / "claude-code.jsonl"
    cut.write_bytes(b"".join(lines[:13]))
    earlier = {finding.event_id: finding for finding in claude_code.read(cut, root="", tell=silent)}
    later = {finding.event_id: finding for finding in found("claude-code")}
    lasting = {key for key, finding in earlier.items() if key in later}
    assert all(earlier[key] == later[key] for key in lasting)
    # What alone is told anew is the call that had no answer yet.
    assert [earlier[key].payload.name for key in earlier.keys() - lasting] == ["Write"]  # type: ignore[union-attr]


def test_codex_tells_outcomes_tokens_and_reasons() -> None:
    findings = found("codex")
    calls = of(findings, ToolCall)
    assert Counter(call.name for call in calls) == {
        "apply_patch": 2,
        "chat gpt-5-codex": 1,
        "shell": 1,
        "shell_command": 1,
        "web_search": 1,
    }
    assert next(call.input_tokens for call in calls if call.name.startswith("chat")) == 900
    assert next((call.exit_code, call.duration_ms) for call in calls if call.name == "shell_command") == (5, 1_500.0)
    assert [decision.rationale for decision in of(findings, AgentDecision)] == [
        "**Planning**\n\nA plain function is enough."
    ]
    assert {finding.commit for finding in findings} == {"a" * 40}
    assert {finding.session for finding in findings} == {"0199aaaa-1111-7222-8333-444455556666"}


def test_openhands_tells_what_each_answer_cost() -> None:
    costs = [call.cost_usd for call in of(found("openhands"), ToolCall) if call.name.startswith("chat")]
    assert costs == pytest.approx([0.01, 0.02, 0.01, 0.01, 0.01])


def test_swe_agent_counts_times_from_the_beginning_or_the_file(tmp_path: Path) -> None:
    copy = tmp_path / "run.traj"
    copy.write_bytes((FIXTURES / "swe-agent.traj").read_bytes())
    os.utime(copy, ns=(0, 1_800_000_000_000_000_000))
    last = list(swe_agent.read(copy, root="", tell=silent))[-1]
    assert last.occurred_us == 1_800_000_000_000_000
    assert found("swe-agent")[0].occurred_us == 1_700_000_000_000_000


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_transcript_is_never_fatal(kind: str, tmp_path: Path) -> None:
    reader, name = READERS[kind]
    source = FIXTURES / name
    files = [source] if source.is_file() else sorted(source.rglob("*.json"))
    wrong: tuple[Any, ...] = (None, 7, "x", [], {}, [None], {"type": 3})
    for file in files:
        raw = file.read_text()
        documents = json.loads(raw) if raw.lstrip().startswith("[") else None
        lines = [json.dumps(each) for each in documents] if documents else raw.splitlines()
        for number in range(len(lines)):
            try:
                loaded = json.loads(lines[number])
            except ValueError:
                continue
            if not isinstance(loaded, dict):
                continue
            for index, key in enumerate(loaded):
                mutated = {**loaded, key: wrong[(number + index) % len(wrong)]}
                changed = [*lines[:number], json.dumps(mutated), *lines[number + 1 :]]
                target = tmp_path / file.name
                target.write_text("[" + ",".join(changed) + "]" if documents else "\n".join(changed))
                told: list[str] = []
                try:
                    list(reader.read(target, root="", tell=told.append))
                except TranscriptError:
                    assert kind == "swe-agent"


def test_paths_outside_of_the_root_are_not_the_projects() -> None:
    files = Files("/home/dev/shop")
    assert files.resource("a/../b.py", "/home/dev/shop/sub") == "sub/b.py"
    assert Files("C:\\work").resource("C:\\work\\src\\a.py") == "src/a.py"
    for path in ("/home/dev/shopping/a", "../a", "/home/dev/shop", "/home/dev/shop/.git/config"):
        with pytest.raises(ContractError):
            files.resource(path)


def test_readings_of_small_things(tmp_path: Path) -> None:
    assert time_us("2026-01-01T00:00:00") == time_us("2026-01-01T00:00:00Z") == time_us(1_767_225_600)
    assert time_us("soon") is None
    assert text_of([{"type": "text", "text": "a"}, {"type": "image", "source": {"data": "x" * 99}}]).startswith(
        "a\n[image, "
    )
    with pytest.raises(NotFoundError):
        list(codex.read(tmp_path, root="", tell=silent))
