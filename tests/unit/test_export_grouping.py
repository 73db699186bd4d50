"""Which events make one commit."""

from __future__ import annotations

from collections.abc import Sequence

from nervous_system.contract import AgentDecision, AgentMessage, Checkpoint, SwarmEvent, SystemSignal
from nervous_system.ledger.versions import Version
from replay.export.grouping import Group, Grouper
from tests.samples import event, write


def version(number: int) -> Version:
    return Version(1, number.to_bytes(12, "big"))


def change(number: int, *, agent: str = "ada", session: str = "s", cause: str = "", commit: str = "") -> SwarmEvent:
    made = event(number, state_change=write(f"{number}.txt", b"x"))
    made.agent_id, made.session_id, made.causation_id, made.related_commit_hash = agent, session, cause, commit
    return made


def decision(number: int, *, agent: str = "ada", session: str = "s", commit: str = "") -> SwarmEvent:
    made = event(number, decision=AgentDecision(rationale=f"because {number}"))
    made.agent_id, made.session_id, made.related_commit_hash = agent, session, commit
    return made


def groups(*events: SwarmEvent) -> list[Group]:
    """Grouped, where an event's cause is always a decision."""
    grouper = Grouper(lambda _, each: each.causation_id)
    found: list[Group] = []
    for number, each in enumerate(events):
        found += filter(None, [grouper.take(version(number), each)])
    return found + list(filter(None, [grouper.end()]))


def sizes(found: Sequence[Group]) -> list[int]:
    return [group.changes for group in found]


def test_changes_of_one_cause_are_one_group_whatever_comes_between() -> None:
    (group,) = groups(
        decision(1),
        change(2, cause="d"),
        event(3, system_signal=SystemSignal()),
        decision(4, agent="bob"),
        event(5, message=AgentMessage(content="hi")),
        change(3_600_000, cause="d"),
    )
    assert group.changes == 2
    assert (group.first, group.last) == (version(1), version(5))
    assert (group.resource, group.decision_id) == ("2.txt", "d")
    assert (group.first_id, group.last_id) == (event(2).event_id, event(3_600_000).event_id)
    assert group.occurred_us == 1_700_000_000_000_000 + 3_600_000 * 1_000_000


def test_another_cause_agent_session_or_commit_makes_another_group() -> None:
    assert sizes(groups(change(1, cause="d"), change(2, cause="e"))) == [1, 1]
    assert sizes(groups(change(1), change(2, agent="bob"), change(3))) == [1, 1, 1]
    assert sizes(groups(change(1), change(2, session="t"))) == [1, 1]
    assert sizes(groups(change(1, commit="aa"), change(2, commit="bb"))) == [1, 1]
    assert sizes(groups(change(1, cause="d"), change(2, cause="d", commit="bb"))) == [1, 1]


def test_what_names_one_commit_stays_together_whatever_its_causes() -> None:
    assert sizes(groups(change(1, cause="d", commit="aa"), change(2, cause="e", commit="aa"))) == [2]


def test_a_decision_ends_its_agent_s_group_only() -> None:
    assert sizes(groups(change(1, cause="d"), decision(2), change(3, cause="d"))) == [1, 1]
    assert sizes(groups(change(1, cause="d"), decision(2, agent="bob"), change(3, cause="d"))) == [2]
    assert sizes(groups(change(1, cause="d"), decision(2, session="t"), change(3, cause="d"))) == [2]


def test_a_checkpoint_ends_a_group() -> None:
    assert sizes(groups(change(1), event(2, checkpoint=Checkpoint(name="c")), change(3))) == [1, 1]


def test_a_decision_without_changes_is_a_group_where_it_names_a_commit() -> None:
    assert groups(decision(1), decision(2)) == []
    found = groups(decision(1, commit="aa"), decision(2, commit="bb"), change(3, commit="bb"), decision(4, commit="cc"))
    assert [(group.commit_hash, group.changes) for group in found] == [("aa", 0), ("bb", 1), ("cc", 0)]
    assert found[1].decision_id == event(2).event_id
