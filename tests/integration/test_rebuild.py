"""Stores that are filled from the archive alone: the same events and moments, and the pipeline goes on from there."""

from __future__ import annotations

import base64
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from infrastructure.cli.main import cli
from ingestors import clickhouse
from ingestors.ledger import LedgerSink
from ingestors.precedence import check_precedence
from nervous_system.archive.objects import ObjectStore
from nervous_system.contract import Checkpoint, Origin
from nervous_system.errors import EnchantedError, UnavailableError
from nervous_system.events import now_us
from nervous_system.landing import LandedMessage
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from replay.moments import resolve
from tests.integration.harm import CLICKHOUSE_HARMS, harm_archive, harmed_clickhouse, harmed_ledger
from tests.integration.hubs import NEW, OLD, OwnHub, new_hub
from tests.integration.stores import in_clickhouse, in_ledger
from tests.samples import PROJECT, event, event_id, message, write

FORK = ProjectName("acme", "fork")
OTHER = ProjectName("zenith", "site")
PROJECTS = (PROJECT, FORK, OTHER)
SMALL = {"ENCHANTED_BATCH_MAX_EVENTS": "10"}
MOMENTS = ["now", "2023-11-14T22:13:50Z", "commit:c0ffee", "v1", event_id(33)]


def written(number: int, project: ProjectName = PROJECT) -> bytes:
    commit = "c0ffee" * 4 if number in range(1, 60, 2) else ""
    change = write(f"f{number % 7}.txt", f"content {number} of {project}\n".encode() * (1 + number % 40))
    return event(number, project, state_change=change, related_commit_hash=commit).SerializeToString()


def first_stream() -> dict[int, list[LandedMessage]]:
    """Of partition 0 the fork, whose past is in partition 1; there also another tenant, repetitions, a clash of ids."""
    origin = Origin(project_id=PROJECT.project, through_event_id=event_id(20), chain=bytes(32), incarnation=2)
    forked = event(500, FORK, checkpoint=Checkpoint(name="fork", origin=origin)).SerializeToString()
    fork = [message(1, [forked], FORK), *(message(2 + n, [written(501 + n, FORK)], FORK) for n in range(20))]
    own = [message(100 + n, [written(2 * n), written(2 * n + 1)]) for n in range(30)]
    again = message(200, [written(3), written(7), written(60)])
    clash = message(
        201, [event(9, checkpoint=Checkpoint(name="other bytes")), event(61, checkpoint=Checkpoint(name="v1"))]
    )
    other = [message(300 + n, [written(700 + n, OTHER)], OTHER) for n in range(10)]
    return {0: fork, 1: [*own, again, clash, *other]}


def second_stream() -> dict[int, list[LandedMessage]]:
    """A stream that was made anew: sequences from 1, and what outboxes sent again."""
    return {1: [message(1, [written(59), event(61, checkpoint=Checkpoint(name="v1"))]), message(2, [written(62)])]}


@dataclass(frozen=True, slots=True)
class Known:
    """What a ledger knows, by all that does not change when it is filled anew."""

    events: tuple[list[bytes], ...]
    moments: dict[str, str]
    contents: dict[str, bytes]


def known(hub: OwnHub) -> Known:
    moments, contents = {}, {}
    with hub.ledger() as ledger:
        for project in PROJECTS:
            history = ledger.history(project)
            for text in MOMENTS if project == PROJECT else ["now"]:
                through = resolve(history, text).through
                moments[f"{project} {text}"] = history.event(through).data.hex()
                for path, version, change in history.path_changes(through=through):
                    contents[f"{project} {text} {path} {change.recorded_us}"] = history.event(version).data
    return Known(tuple(in_ledger(hub.settings, project) for project in PROJECTS), moments, contents)


@pytest.fixture(scope="module")
def lived(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> OwnHub:
    """A hub in which two streams have landed."""
    hub = new_hub(servers, tmp_path_factory.mktemp("hub"))
    for stream, partitions in ((OLD, first_stream()), (NEW, second_stream())):
        for partition, messages in partitions.items():
            hub.land(stream, partition, messages)
    return hub


def rebuild(hub: OwnHub, store: str, **variables: str) -> dict[str, object]:
    code, said = hub.run("rebuild", store, "--from-archive", "--json", **variables)
    assert code == 0, said
    document = json.loads(said)
    assert isinstance(document, dict)
    return document


def test_a_rebuilt_ledger_answers_as_before(lived: OwnHub) -> None:
    hub = lived.emptied("ledger")
    done = rebuild(hub, "ledger")
    assert done["refused"] == 1
    assert known(hub) == known(lived)
    with lived.ledger() as before, hub.ledger() as after:
        for place in ((OLD, 0), (OLD, 1), (NEW, 1)):
            assert after.cursor("ledger", *place) == before.cursor("ledger", *place)
        old, new = (each.history(PROJECT).head() for each in (before, after))
        assert (new.chain, new.count) == (old.chain, old.count)
        # No version that was written down before names an event now.
        assert not any(after.history(PROJECT).has(each.version) for each in before.history(PROJECT).events())
    assert rebuild(hub, "ledger")["events"] == 0


def killed(hub: OwnHub, store: str, place: str, *options: str) -> None:
    done = hub.enchanted.run("rebuild", store, "--from-archive", *options, ENCHANTED_FAILPOINT=place, **SMALL)
    assert done.returncode == -signal.SIGKILL
    again = rebuild(hub, store, **SMALL)
    assert 0 < int(str(again["events"])) < int(str(again["archived"]))


def test_a_rebuilt_clickhouse_answers_as_before(lived: OwnHub) -> None:
    hub = lived.emptied("clickhouse")
    hub.land(NEW, 3, [message(5, [written(900)])], "clickhouse")
    refuse(hub, "clickhouse")
    killed(hub, "clickhouse", "after-rebuild-land:4", "--beneath")
    assert written(900) in in_clickhouse(hub.settings, PROJECT)
    for project in PROJECTS:
        found = [data for data in in_clickhouse(hub.settings, project) if data != written(900)]
        assert found == in_clickhouse(lived.settings, project)
    assert rebuild(hub, "clickhouse")["events"] == 0


@pytest.mark.parametrize("place", ["before-rebuild-land:4", "after-rebuild-land:4"])
def test_killed_it_goes_on_from_there(lived: OwnHub, place: str) -> None:
    hub = lived.emptied("ledger")
    killed(hub, "ledger", place)
    assert known(hub) == known(lived)


def refuse(hub: OwnHub, store: str) -> None:
    code, said = hub.run("rebuild", store, "--from-archive")
    assert code == 2
    assert "is not empty" in said


def test_a_ledger_that_is_not_empty_is_refused(lived: OwnHub) -> None:
    hub = lived.emptied("ledger")
    hub.land(NEW, 3, [message(5, [written(900)])], "ledger")
    refuse(hub, "ledger")


def test_a_ledger_from_an_older_copy_goes_on_from_there(lived: OwnHub) -> None:
    hub = lived.emptied("ledger")
    for partition, messages in first_stream().items():
        hub.land(OLD, partition, messages[:20], "ledger")
    done = rebuild(hub, "ledger")
    assert 0 < int(str(done["events"])) < int(str(done["archived"]))
    assert known(hub) == known(lived)


def test_no_other_lands_in_a_ledger_that_is_being_rebuilt(lived: OwnHub, tmp_path: Path) -> None:
    hub = lived.emptied("ledger")
    with hub.ledger() as ledger:
        ledger.begin_rebuild()
    with pytest.raises(Exception, match="being rebuilt"):
        hub.land(NEW, 0, [message(1, [written(901)])], "ledger")
    rebuild(hub, "ledger")
    hub.land(NEW, 0, [message(1, [written(901)])], "ledger")
    assert in_ledger(hub.settings, PROJECT)[-1] == written(901)


def test_an_ingestor_does_not_begin_an_empty_ledger_behind_the_archive(lived: OwnHub) -> None:
    hub = lived.emptied("ledger")
    sink = LedgerSink(hub.settings)
    sink.open()
    with pytest.raises(UnavailableError, match="rebuild ledger --from-archive"):
        check_precedence(hub.settings, sink, NEW, 1)
    rebuild(hub, "ledger")
    check_precedence(hub.settings, sink, NEW, 1)
    sink.close()


def test_an_ingestor_does_not_begin_a_new_log_on_an_older_copy(lived: OwnHub) -> None:
    hub = lived.emptied("ledger")
    for partition, messages in first_stream().items():
        hub.land(OLD, partition, messages[:20], "ledger")
    sink = LedgerSink(hub.settings)
    sink.open()
    check_precedence(hub.settings, sink, OLD, 1)
    with pytest.raises(UnavailableError, match="rebuild ledger --from-archive"):
        check_precedence(hub.settings, sink, NEW, 1)
    rebuild(hub, "ledger")
    check_precedence(hub.settings, sink, NEW, 1)
    sink.close()


def test_an_ingestor_begins_a_new_log_behind_all_of_the_one_before(lived: OwnHub) -> None:
    hub = lived.emptied("ledger")
    for partition, messages in first_stream().items():
        hub.land(OLD, partition, messages, "ledger")
    sink = LedgerSink(hub.settings)
    sink.open()
    check_precedence(hub.settings, sink, NEW, 1)
    sink.close()


def test_versions_of_a_rebuilt_ledger_begin_behind_the_archive_whatever_the_clock_says(
    servers: Settings, tmp_path: Path
) -> None:
    hub = new_hub(servers, tmp_path)
    ahead_us = now_us() + 365 * 86_400_000_000
    hub.land(OLD, 0, [message(1, [written(1)], recorded_us=ahead_us)], "ledger", "siphon")
    hub = hub.emptied("ledger")
    rebuild(hub, "ledger")
    with hub.ledger() as ledger:
        [stored] = ledger.history(PROJECT).events()
    assert int.from_bytes(stored.version.stamp[:8], "big") >= ahead_us


def test_an_empty_archive_rebuilds_nothing(servers: Settings, tmp_path: Path) -> None:
    hub = new_hub(servers, tmp_path)
    store = ObjectStore(hub.settings)
    store.open()
    store.close()
    code, said = hub.run("rebuild", "ledger", "--from-archive")
    assert code == 2
    assert "is empty" in said


def verdict(hub: OwnHub) -> dict[str, Any]:
    code, said = hub.run("verify", "--archive", "--json")
    document = json.loads(said)
    assert isinstance(document, dict)
    assert code == (0 if document["agrees"] else 1)
    return document


def only_difference(hub: OwnHub) -> dict[str, str]:
    [found] = verdict(hub)["differences"]
    assert isinstance(found, dict)
    return found


def test_stores_that_agree_are_said_to(lived: OwnHub) -> None:
    found = verdict(lived)
    assert found["agrees"], found["differences"]
    assert (found["stores"], found["events"]) == (["ledger", "clickhouse"], 99)
    assert "the ledger and ClickHouse agree with it" in lived.run("verify", "--archive")[1]


@pytest.mark.parametrize("harm", ["flip", "drop", "swap", "insert"])
def test_a_ledger_that_differs_is_found(lived: OwnHub, tmp_path: Path, harm: str) -> None:
    found = only_difference(harmed_ledger(lived, PROJECT, 20, harm, tmp_path / "ledger.sqlite"))
    assert (found["store"], found["project"]) == ("ledger", str(PROJECT))
    if harm != "insert":
        assert found["event_id"] == event_id(20)
        assert found["position"] == f"{OLD}/1/110/0"


@pytest.mark.parametrize("harm", ["flip", "drop", "swap", "insert"])
def test_a_clickhouse_that_differs_is_found(lived: OwnHub, harm: str) -> None:
    question = CLICKHOUSE_HARMS[harm].format(events="{events}", one=event_id(0), other=event_id(2))
    found = only_difference(harmed_clickhouse(lived, question))
    assert (found["store"], found["project"]) == ("clickhouse", str(PROJECT))
    if harm != "insert":
        assert found["event_id"] == event_id(0)
        assert found["position"] == f"{OLD}/1/100/0"


@pytest.mark.parametrize(
    "harm", ["flip an object", "drop an object", "flip a manifest", "drop a manifest", "swap manifests"]
)
def test_an_archive_that_differs_is_found(lived: OwnHub, harm: str) -> None:
    store = ObjectStore(lived.settings)
    undo = harm_archive(store, harm)
    try:
        found = verdict(lived)["differences"]
    finally:
        undo()
        store.close()
    assert found[0]["store"] == "archive"
    assert ("manifest 2" if "manifest" in harm else "events/v2/") in found[0]["position"]


def test_what_the_janitor_took_out_of_clickhouse_is_no_difference(lived: OwnHub) -> None:
    gone = f"tenant_id = 'acme' AND log_sequence <= 110 AND log_partition = 1 AND log_stream LIKE '%@{OLD.created_us}'"
    hub = harmed_clickhouse(lived, f"SELECT * FROM {{events}} WHERE NOT ({gone})")
    assert only_difference(hub)["project"] == str(PROJECT)
    client, source = clickhouse.connect(hub.settings), lived.settings.clickhouse_database
    client.command(
        f"INSERT INTO swarm_removed SELECT tenant_id, project_id, event_id, 0, now() FROM {source}.events WHERE {gone}"
    )
    client.close()
    assert verdict(hub)["differences"] == []


def test_a_proof_holds_without_any_server(lived: OwnHub, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    assert lived.run("archive", "proof", event_id(33), "-o", str(file))[0] == 0
    elsewhere = {"ENCHANTED_HOME": str(tmp_path / "nowhere")}
    checked = CliRunner(env=elsewhere).invoke(cli, ["archive", "check-proof", str(file), "--json"])
    assert checked.exit_code == 0
    assert json.loads(checked.output)["event_id"] == event_id(33)
    assert json.loads(checked.output)["project"] == str(PROJECT)
    document = json.loads(file.read_text())
    document["event"] = base64.b64encode(written(34)).decode()
    file.write_text(json.dumps(document))
    assert CliRunner(env=elsewhere).invoke(cli, ["archive", "check-proof", str(file)]).exit_code == 1


def test_a_key_pair_is_made_once(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    assert CliRunner().invoke(cli, ["archive", "key", "new", str(key)]).exit_code == 0
    assert (key.stat().st_mode & 0o777, (tmp_path / "key.pem.pub").exists()) == (0o600, True)
    assert isinstance(CliRunner().invoke(cli, ["archive", "key", "new", str(key)]).exception, EnchantedError)
