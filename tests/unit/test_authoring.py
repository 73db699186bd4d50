"""What every event of an author has, and how its events are numbered."""

from __future__ import annotations

import os
import threading
import uuid

import pytest

from nervous_system.authoring import Author
from nervous_system.contract import AgentRole, Checkpoint, SwarmEvent
from nervous_system.events import now_us, occurred_us
from nervous_system.projects import ProjectName

PROJECT = ProjectName("acme", "shop")


@pytest.fixture
def author() -> Author:
    return Author(PROJECT, "ada", AgentRole.ROLE_REVIEWER, "s1", "u1")


def payload(name: str = "c") -> SwarmEvent:
    return SwarmEvent(checkpoint=Checkpoint(name=name))


def test_what_every_event_has(author: Author) -> None:
    before_us = now_us()
    first, second = author.event(payload("a")), author.event(payload("b"))
    after_us = now_us()
    assert (first.tenant_id, first.project_id) == ("acme", "shop")
    assert (first.agent_id, first.agent_role, first.session_id, first.user_id) == (
        "ada",
        AgentRole.ROLE_REVIEWER,
        "s1",
        "u1",
    )
    assert before_us <= occurred_us(first) <= occurred_us(second) <= after_us
    assert [uuid.UUID(event.event_id).version for event in (first, second)] == [7, 7]
    assert first.event_id != second.event_id
    assert [first.agent_sequence, second.agent_sequence] == [1, 2]
    assert [first.checkpoint.name, second.checkpoint.name] == ["a", "b"]


def test_what_may_be_said_of_an_event(author: Author) -> None:
    event = author.event(
        payload(),
        occurred_us=-1,
        causation_id="cause",
        correlation_id="task",
        trace_id="ab",
        span_id="cd",
        related_commit_hash="beef",
    )
    assert occurred_us(event) == -1
    assert (event.causation_id, event.correlation_id, event.related_commit_hash) == ("cause", "task", "beef")
    assert (event.trace_id, event.span_id) == ("ab", "cd")


def test_an_event_that_is_not_taken_leaves_no_gap(author: Author) -> None:
    refused: list[int] = []

    def refuse(event: SwarmEvent) -> None:
        refused.append(event.agent_sequence)
        raise OverflowError

    for _ in range(2):
        with pytest.raises(OverflowError):
            author.event(payload(), take=refuse)
    assert refused == [1, 1]
    assert author.event(payload()).agent_sequence == 1


def test_threads_take_events_in_the_order_of_their_numbers(author: Author) -> None:
    taken: list[int] = []

    def take(event: SwarmEvent) -> None:
        os.sched_yield()
        taken.append(event.agent_sequence)

    threads = [
        threading.Thread(target=lambda: [author.event(payload(), take=take) for _ in range(200)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == list(range(1, 801))
