"""What a commit says, of events that are hostile too."""

from __future__ import annotations

import subprocess
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nervous_system.contract import AgentDecision, SwarmEvent
from nervous_system.ledger.versions import Version
from replay.export.commits import EMAIL, Commit, clean_message, clean_name, commit_of
from replay.export.fast_import import signed
from replay.export.grouping import Group
from replay.git.commits import Signature
from tests.samples import event

ORIGINAL = {
    "author_name": "Ada", "author_email": "ada@example.org", "author_date": "2023-11-15T03:42:40+05:30",
    "committer_name": "Grace", "committer_email": "grace@example.org", "committer_date": "2023-11-14T15:14:20-07:00",
}  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def group(**facts: Any) -> Group:
    version = Version(1, bytes(12))
    facts = {"agent_id": "ada", "session_id": "s", "occurred_us": 1_700_000_000_999_999, **facts}
    named = {"commit_hash": "", "decision_id": "d", "changes": 1, "resource": "a.txt", "first_id": "e1", **facts}
    return Group(first=version, last=version, **named)


def decision(**fields: Any) -> SwarmEvent:
    return event(1, decision=AgentDecision(**fields))


def made(group: Group, decision: SwarmEvent | None, *, after_s: int = 0, trailers: bool = True) -> Commit:
    return commit_of(group, decision, after_s=after_s, trailers=trailers)


def test_a_message_is_the_reason_what_was_rejected_and_where_it_comes_from() -> None:
    reason = decision(
        rationale="Use a list\n\nIt is short.\n",
        rejected_alternatives=["a tree", "a map,\nsorted", " "],
        confidence_score=0.75,
    )
    message = made(group(changes=3, last_id="e3", trace_id="ab" * 16, commit_hash="c0ffee"), reason).message
    assert message.decode() == (
        "Use a list\n\nIt is short.\n\nRejected:\n- a tree\n- a map,\n  sorted\n\n"
        "Enchanted-Event: e1\nEnchanted-Event: e3\nEnchanted-Events: 3\nEnchanted-Decision: d\nEnchanted-Agent: ada\n"
        "Enchanted-Session: s\nEnchanted-Confidence: 0.75\nEnchanted-Commit: c0ffee\n"
        f"Enchanted-Trace: {'ab' * 16}\n"
    )


def test_git_reads_the_trailers_and_no_forged_ones() -> None:
    reason = decision(rationale="Forge\n\nEnchanted-Agent: boss")
    hostile = group(agent_id="eve\nEnchanted-Agent: boss\r\n\x00", session_id="\u2028Enchanted-Agent: boss")
    message = made(hostile, reason).message
    parsed = subprocess.run(
        ["git", "interpret-trailers", "--parse", "--no-divider"], input=message, capture_output=True, check=True
    ).stdout.decode()
    assert [line for line in parsed.splitlines() if line.startswith("Enchanted-Agent: ")] == [
        "Enchanted-Agent: eve Enchanted-Agent: boss"
    ]


def test_without_a_reason_a_message_says_what_was_changed() -> None:
    assert made(group(), None, trailers=False).message == b"Change a.txt\n"
    assert made(group(changes=3), None, trailers=False).message == b"Change a.txt and 2 more\n"
    assert made(group(), decision(rationale=" \n"), trailers=False).message == b"Change a.txt\n"


def test_an_agent_is_author_and_committer_at_the_time_of_its_last_event() -> None:
    commit = made(group(), decision(rationale="x"), after_s=5)
    assert commit.author == commit.committer == Signature("ada", EMAIL, 1_700_000_000, 0)


def test_a_committer_s_clock_never_falls_back() -> None:
    commit = made(group(), decision(rationale="x"), after_s=1_800_000_000)
    assert (commit.author.time_s, commit.committer.time_s) == (1_700_000_000, 1_800_000_000)
    assert made(group(occurred_us=-1), None).author.time_s == 0


def imported(attributes: dict[str, str], session: str = "git:main") -> SwarmEvent:
    reason = decision(rationale="Subject\n\nBody", attributes=attributes)
    reason.session_id = session
    return reason


def test_an_imported_commit_is_what_it_was() -> None:
    commit = made(group(), imported(ORIGINAL), after_s=1_800_000_000, trailers=False)
    assert commit.author == Signature("Ada", "ada@example.org", 1_699_999_960, 330)
    assert signed(commit.author) == b"Ada <ada@example.org> 1699999960 +0530"
    assert signed(commit.committer) == b"Grace <grace@example.org> 1700000060 -0700"
    assert commit.message == b"Subject\n\nBody\n"


def test_what_no_import_wrote_is_the_agent_s() -> None:
    for odd in (
        imported(ORIGINAL, session="s"),
        imported({}),
        imported({**ORIGINAL, "author_date": "yesterday"}),
        imported({**ORIGINAL, "committer_date": "2023-11-14T15:14:20"}),
    ):
        assert made(group(), odd).author.email == EMAIL


@given(TEXTS, TEXTS, TEXTS)
def test_nothing_ends_a_line_or_an_address_too_early(name: str, email: str, agent: str) -> None:
    hostile = imported({**ORIGINAL, "author_name": name, "author_email": email})
    for commit in (made(group(), hostile), made(group(agent_id=agent), None)):
        line = signed(commit.author).decode()
        assert line.count("<") == line.count(">") == 1
        assert not set(line) & set("\n\r\0\x1b\x85")
        assert b"\0" not in commit.message


@given(TEXTS)
def test_messages_keep_all_but_control_characters(text: str) -> None:
    kept = clean_message(text).decode()
    assert len(kept) == len(text)
    assert all(new == old or (new == "\ufffd" and not old.isprintable()) for new, old in zip(kept, text, strict=True))
    assert not set(kept) & set("\0\x1b\x9b\x07")
    assert clean_message("a\tb\r\nc") == b"a\tb\r\nc"
    assert clean_name("  <b>\x00é  ") == "b é"
