"""Dead letters: every reason through the whole pipeline, and what people see of each."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from nervous_system import subjects
from nervous_system.contract import Checkpoint, Origin, SwarmEvent
from nervous_system.events import BATCH_LIMIT_EVENTS, MESSAGE_LIMIT_BYTES, encode_batch
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.burying import Sent, dlq, listed, new_project, run_workers, send, send_events
from tests.integration.stores import in_archive, in_clickhouse, in_ledger
from tests.samples import event, write

STORES = {"ledger": in_ledger, "clickhouse": in_clickhouse, "siphon": in_archive}
BEYOND_ALL_CALENDARS_S = 10**12


def edited(number: int, project: ProjectName, edit: Callable[[SwarmEvent], object]) -> bytes:
    made = event(number, project, state_change=write(f"file-{number}", b"content"))
    edit(made)
    return made.SerializeToString()


def breaches(project: ProjectName) -> dict[str, bytes]:
    """An event for each reason for which one alone is refused; where one comes twice, with a word before it."""
    fork = Checkpoint(name="fork", origin=Origin(project_id=project.project))
    return {
        "undecodable": event(10, project).SerializeToString() + b"\xff",
        "bad_form": event(11, project).SerializeToString() + b"\xa2\x01\x04dead",
        "bad_id": edited(12, project, lambda e: setattr(e, "event_id", e.event_id.upper())),
        "bad_time": edited(13, project, lambda e: setattr(e.timestamp, "seconds", BEYOND_ALL_CALENDARS_S)),
        "wrong_project": edited(14, project, lambda e: setattr(e, "project_id", "another")),
        "tenant wrong_project": edited(21, project, lambda e: setattr(e, "tenant_id", "victim")),
        "unknown_payload": edited(15, project, lambda e: e.ClearField("state_change")),
        "unknown_operation": edited(16, project, lambda e: setattr(e.state_change, "operation", 77)),
        "bad_path": edited(17, project, lambda e: setattr(e.state_change, "target_resource", "../\x1b[31m.git")),
        "bad_mode": edited(18, project, lambda e: setattr(e.state_change, "mode", 0o100666)),
        "bad_hash": edited(19, project, lambda e: setattr(e.state_change, "content", b"other")),
        "promised bad_hash": edited(22, project, lambda e: setattr(e.state_change, "new_state_hash", "A" * 64)),
        "bad_checkpoint": event(20, project, checkpoint=fork).SerializeToString(),
    }


def messages(project: ProjectName) -> dict[str, tuple[str, bytes]]:
    """A message for each reason for which it is refused whole, and the subject that it comes on."""
    events = subjects.published(project, subjects.EVENTS)
    return {
        "message undecodable": (events, b"\xff\xff not protobuf"),
        "unknown_kind": (subjects.published(project, "gossip"), b"psst"),
        "too_large": (events, random.Random(1).randbytes(MESSAGE_LIMIT_BYTES + 1)),
        "too_many_events": (events, encode_batch([b""] * (BATCH_LIMIT_EVENTS + 1))),
        "part bad_hash": (subjects.published(project, subjects.BLOBS), b"a part that names no hash"),
    }


def code_of(name: str) -> str:
    return name.rpartition(" ")[2]


@dataclass(frozen=True, slots=True)
class Landed:
    """What all three workers have met.

    Args:
        good: the events that are to be kept, in order.
        refused: the others, by the code and, where one comes twice, a word before it.
    """

    settings: Settings
    project: ProjectName
    good: list[bytes]
    refused: dict[str, Sent]


def of_a_newer_version(made: SwarmEvent) -> None:
    """Gives it a role that this version does not know, and its payload fields that it does not know either."""
    made.agent_role = 77  # type: ignore[assignment]
    made.state_change.MergeFromString(NEWER)


# Two fields that this version does not know, a text and a number.
NEWER = b"\xa2\x1f\x03new" + b"\xa8\x1f\x07"
CODES = [*breaches(ProjectName("a", "b")), *messages(ProjectName("a", "b")), "same_id_other_bytes"]


@pytest.fixture(scope="module")
def landed(servers: Settings) -> Landed:
    """Everything that can be wrong, between events that are sound, landed by one run of each worker."""
    project = new_project()
    newer = edited(2, project, of_a_newer_version) + NEWER
    good = [event(1, project).SerializeToString(), newer, event(3, project).SerializeToString()]
    wrong = breaches(project)
    sequence = send_events(servers, project, [*good[:2], *wrong.values()])
    refused = {code: Sent(sequence, index, data) for index, (code, data) in enumerate(wrong.items(), start=2)}
    for name, (subject, payload) in messages(project).items():
        refused[name] = Sent(send(servers, subject, payload), None, payload)
    again = event(1, project, session_id="another").SerializeToString()
    refused["same_id_other_bytes"] = Sent(send_events(servers, project, [again, good[2]]), 0, again)
    run_workers(servers, list(STORES), refused["same_id_other_bytes"].sequence)
    return Landed(servers, project, good, refused)


@pytest.mark.parametrize("name", CODES)
def test_each_refusal_is_listed_once_with_its_reason_place_and_bytes(landed: Landed, name: str) -> None:
    code, sent = code_of(name), landed.refused[name]
    found = [
        each
        for each in listed(landed.settings, landed.project, "--code", code)
        if (each["sequence"], each["index"]) == (sent.sequence, sent.index)
    ]
    assert [each["code"] for each in found] == [code]
    assert found[0]["size_bytes"] == len(sent.data)
    assert found[0]["reason"]
    number = str(found[0]["id"])
    assert dlq(landed.settings, "show", number, "--raw") == sent.data
    facts = json.loads(dlq(landed.settings, "show", number, "--json", "--all"))
    assert bytes.fromhex(facts["hex"]) == sent.data
    assert facts["reason"] == found[0]["reason"]
    told = dlq(landed.settings, "show", number).decode()
    assert code in told
    assert "\x1b" not in told


def test_what_lies_beside_a_refusal_is_kept_in_every_store_with_fields_yet_to_come(landed: Landed) -> None:
    """Fields that this version does not know are kept byte for byte."""
    assert landed.good[1].count(NEWER) == 2
    for store, held in STORES.items():
        kept = held(landed.settings, landed.project)
        assert [data for data in kept if data != landed.refused["same_id_other_bytes"].data] == landed.good, store


def test_a_count_by_code_and_a_list_that_is_cut(landed: Landed) -> None:
    counts = json.loads(dlq(landed.settings, "list", "--count", "--json", "--project", str(landed.project)))
    assert counts == Counter(map(code_of, CODES))
    everything = listed(landed.settings, landed.project)
    assert [each["id"] for each in everything] == sorted(each["id"] for each in everything)
    assert listed(landed.settings, landed.project, "--limit", "3") == everything[-3:]
    last = everything[-1]
    assert last in listed(landed.settings, landed.project, "--since", last["buried_at"])
    assert not listed(landed.settings, landed.project, "--since", "2999-01-01")
    plain = dlq(landed.settings, "list", "--project", str(landed.project)).decode()
    assert len(plain.splitlines()) == len(everything) + 1
    assert "\x1b" not in plain


def test_an_event_is_shown_as_far_as_it_decodes(landed: Landed) -> None:
    def decoded(name: str) -> Any:
        code, sent = code_of(name), landed.refused[name]
        found = listed(landed.settings, landed.project, "--code", code)
        number = next(str(each["id"]) for each in found if each["index"] == sent.index)
        return json.loads(dlq(landed.settings, "show", number, "--json"))["decoded"]

    assert decoded("undecodable")["checkpoint"] == {"name": "c10"}
    assert decoded("bad_time")["timestamp"]["seconds"] == BEYOND_ALL_CALENDARS_S
    assert decoded("bad_time")["state_change"]["target_resource"] == "file-13"
    assert decoded("too_many_events") == {"events": BATCH_LIMIT_EVENTS + 1}
    assert decoded("too_large") is None


def test_what_is_still_refused_stays_and_says_why(landed: Landed) -> None:
    before = listed(landed.settings, landed.project)
    outcomes = json.loads(
        dlq(landed.settings, "retry", "--all", "--project", str(landed.project), "--json", code=1).decode()
    )
    assert len(outcomes) == len(before)
    assert not any(outcome["retried"] for outcome in outcomes)
    reasons = {outcome["code"]: outcome["reason"] for outcome in outcomes}
    assert "an id of its own" in reasons["same_id_other_bytes"]
    assert "came on the subject of" in reasons["wrong_project"]
    assert listed(landed.settings, landed.project) == before
