"""What becomes of dead letters: tried again, and dropped."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infrastructure.local.stack import running_stack
from ingestors import deadletters, pump, reading
from nervous_system import bus, subjects
from nervous_system.events import MESSAGE_LIMIT_BYTES, encode_batch, uuid7
from nervous_system.landed import wait_until_landed
from nervous_system.landing import LandedMessage, Refusal
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.burying import dlq, listed, new_project, run_workers, send, send_events
from tests.integration.command import Enchanted
from tests.integration.stores import in_ledger
from tests.integration.submitting import on_log, stored
from tests.integration.test_odd_messages import working
from tests.samples import event, write


@pytest.fixture
def project() -> ProjectName:
    return new_project()


def read_as_before(message: reading.LogMessage, recorded_us: int) -> tuple[LandedMessage, list[Refusal]]:
    """Reads by the rules of a version that knew no checkpoints and no parts."""
    landed, refusals = reading.read(message, recorded_us)
    if landed.part is not None:
        refusal = Refusal("bad_hash", "No parts are known.", message.data, message.sequence, subject=message.subject)
        return replace(landed, project=None, part=None), [refusal]
    unknown = [each for each in landed.events if each.event.WhichOneof("payload") == "checkpoint"]
    refusals += [
        Refusal(
            "unknown_payload", "No checkpoints are known.", each.data, message.sequence, each.index, message.subject
        )
        for each in unknown
    ]
    return replace(landed, events=tuple(each for each in landed.events if each not in unknown)), refusals


@pytest.fixture
def worker_of_an_earlier_version(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings, int], None]:
    """Lands in the ledger up to a sequence."""

    def run(settings: Settings, sequence: int) -> None:
        async def work(context: Any) -> None:
            async with working(context, settings):
                await asyncio.to_thread(wait_until_landed, settings, ["ledger"], sequence)

        with monkeypatch.context() as patch:
            patch.setattr(pump, "read", read_as_before)
            on_log(settings, work)

    return run


def test_what_a_newer_version_accepts_is_landed_once_and_no_longer_listed(
    servers: Settings, project: ProjectName, worker_of_an_earlier_version: Callable[[Settings, int], None]
) -> None:
    known = event(1, project, state_change=write("a", b"a")).SerializeToString()
    news = [event(number, project).SerializeToString() for number in (2, 3)]
    sequence = send_events(servers, project, [known, *news])
    worker_of_an_earlier_version(servers, sequence)
    assert in_ledger(servers, project) == [known]
    letters = listed(servers, project)
    assert [each["code"] for each in letters] == ["unknown_payload"] * 2

    first = json.loads(dlq(servers, "retry", str(letters[0]["id"]), "--json"))
    assert first[0]["retried"]
    assert [each["id"] for each in listed(servers, project)] == [letters[1]["id"]]
    # As after a kill between publishing and removing.
    bury_again(servers, letters[0], news[0])
    bury_again(servers, letters[0], news[0])
    assert len(listed(servers, project)) == 2
    outcomes = json.loads(dlq(servers, "retry", "--all", "--project", str(project), "--json"))
    assert [outcome["retried"] for outcome in outcomes] == [True, True]
    assert outcomes[0]["sequence"] == first[0]["sequence"]
    assert listed(servers, project) == []
    assert [message.data for message in stored(servers, project)][1:] == [encode_batch([data]) for data in news]
    run_workers(servers, ["ledger"], outcomes[1]["sequence"])
    assert in_ledger(servers, project) == [known, *news]
    assert listed(servers, project) == []


def test_a_part_goes_again_with_the_hash_that_it_names(
    servers: Settings, project: ProjectName, worker_of_an_earlier_version: Callable[[Settings, int], None]
) -> None:
    part = random.randbytes(100)
    name = {subjects.PART_HASH_HEADER: hashlib.sha256(part).hexdigest()}
    sequence = send(servers, subjects.published(project, subjects.BLOBS), part, name)
    worker_of_an_earlier_version(servers, sequence)
    [letter] = listed(servers, project)
    dlq(servers, "retry", str(letter["id"]))
    first, again = stored(servers, project, subjects.BLOBS)
    assert again.data == first.data == part
    assert (again.headers or {})[subjects.PART_HASH_HEADER] == name[subjects.PART_HASH_HEADER]
    assert listed(servers, project) == []


def bury_again(settings: Settings, letter: dict[str, Any], data: bytes) -> None:
    """Buries as a sink does that meets it when the log has forgotten the message id, with the headers of before."""

    async def run(context: Any) -> None:
        headers = {
            deadletters.CODE_HEADER: letter["code"],
            deadletters.REASON_HEADER: letter["reason"],
            deadletters.SIZE_HEADER: str(len(data)),
            deadletters.STREAM_HEADER: str(bus.identity(await context.stream_info(settings.stream))),
            deadletters.SEQUENCE_HEADER: str(letter["sequence"]),
            deadletters.INDEX_HEADER: str(letter["index"]),
        }
        await bus.publish(context, subjects.dead_letter("siphon", 0), data, uuid7(1), headers)

    on_log(settings, run)


def test_a_refusal_that_is_there_several_times_is_one_and_goes_as_one(servers: Settings, project: ProjectName) -> None:
    """Also where an earlier version buried it, which did not keep its subject."""
    data = event(1, ProjectName("dead", "another")).SerializeToString()
    sequence = send_events(servers, project, [data])
    letter = {"code": "wrong_project", "reason": "Elsewhere.", "sequence": sequence, "index": 0}
    bury_again(servers, letter, data)
    bury_again(servers, letter, data)
    run_workers(servers, ["ledger"], sequence)
    [found] = listed(servers, project)
    assert found["sinks"] == ["siphon", "ledger"]
    dlq(servers, "drop", str(found["id"]), "--yes")
    assert listed(servers, project) == []


def test_what_is_cut_and_gone_from_the_log_is_not_given_for_whole(servers: Settings, project: ProjectName) -> None:
    payload = bytes(MESSAGE_LIMIT_BYTES + 1)
    subject = subjects.stored(project, subjects.EVENTS, 0)

    async def run(context: Any) -> None:
        stream = replace(await bus.ensure_stream(context, servers), created_us=1)
        await deadletters.bury(
            context, "ledger", 0, stream, Refusal("too_large", "Too large.", payload, 1, subject=subject)
        )

    on_log(servers, run)
    [letter] = listed(servers, project)
    told = Enchanted(servers.home).refuse("dlq", "show", str(letter["id"]), "--raw")
    assert "no longer has message 1" in told
    assert b"more bytes" in dlq(servers, "show", str(letter["id"]))
    assert b"no longer has" in dlq(servers, "retry", str(letter["id"]), code=1)


def test_dropping_asks_first_and_leaves_the_log_alone(servers: Settings, project: ProjectName) -> None:
    sequence = send_events(servers, project, [b"\xff", b"\xfe"])
    run_workers(servers, ["ledger"], sequence)
    first, second = listed(servers, project)
    dlq(servers, "drop", "--all", "--project", str(project), code=2)
    assert len(listed(servers, project)) == 2
    assert b"1 dead letter removed; the log still has" in dlq(servers, "drop", str(first["id"]), "--yes")
    assert listed(servers, project) == [second]
    dlq(servers, "drop", "--all", "--project", str(project), "--code", "undecodable", "--yes")
    assert listed(servers, project) == []
    assert [message.seq for message in stored(servers, project)] == [sequence]


def test_dropping_everything_leaves_nothing_and_a_list_of_nothing(tmp_path: Path, project: ProjectName) -> None:
    with running_stack(tmp_path / "home", ["nats"]) as settings:
        assert dlq(settings, "list", "--json") == b""
        run_workers(settings, ["ledger"], send_events(settings, project, [b"\xff", b"\xfe"]))
        assert len(listed(settings, project)) == 2
        dlq(settings, "drop", "--all", "--yes")
        assert json.loads(dlq(settings, "list", "--count", "--json")) == {}
        run_workers(settings, ["ledger"], send_events(settings, project, [b"\xfd"]))
        assert [each["id"] for each in listed(settings, project)] == [3]


@pytest.mark.parametrize(
    "arguments",
    [
        ("retry",),
        ("drop", "--yes"),
        ("retry", "1", "--all"),
        ("drop", "1", "--code", "bad_path"),
        ("list", "--since", "soon"),
        ("show", "x"),
    ],
)
def test_wrong_input_is_a_usage_error(servers: Settings, arguments: tuple[str, ...]) -> None:
    dlq(servers, *arguments, code=2)


def test_an_unknown_id_is_told(servers: Settings) -> None:
    assert "no dead letter 999999999" in Enchanted(servers.home).refuse("dlq", "retry", "999999999")
