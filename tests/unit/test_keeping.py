"""What the keeper of findings lets through: once, the same each time, and without secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from nervous_system.capture.findings import FileState, Finding, found_id
from nervous_system.capture.keeping import Keeper, ids_in_outbox
from nervous_system.contract import AgentMessage, SwarmEvent, ToolCall
from nervous_system.errors import ContractError
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings

PROJECT = ProjectName("acme", "shop")
NOW_US = 1_700_000_000_000_000
# Made up, in GitHub's form, and written so that no scanner takes this file for its place.
TOKEN = "ghp_" + "0Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1St0Uv9Wx"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"ENCHANTED_HOME": str(tmp_path)})


def finding(payload: AgentMessage | ToolCall | FileState, key: str = "a") -> Finding:
    return Finding(event_id=found_id(NOW_US, "test", key), occurred_us=NOW_US, payload=payload, agent="coder")


def kept(settings: Settings) -> list[bytes]:
    connection = apsw.Connection(str(settings.outbox_folder / "acme" / "shop.db"))
    try:
        return [row[0] for row in connection.execute("SELECT data FROM rows WHERE kind = 'event' ORDER BY number")]
    finally:
        connection.close()


def test_a_finding_is_kept_once_and_the_same_each_time(settings: Settings) -> None:
    call = finding(ToolCall(name="x", attributes={str(number): "y" for number in range(20)}))
    with Keeper(settings, PROJECT) as keeper:
        assert keeper.keep(call) is not None
        assert keeper.keep(call) is None
    with Keeper(settings, PROJECT) as again:
        assert again.keep(call) is not None
    with Keeper(settings, PROJECT) as informed:
        informed.passes_over(ids_in_outbox(settings, PROJECT))
        assert informed.keep(call) is None
        assert (informed.kept_count, informed.known_count) == (0, 1)
    first, second = kept(settings)
    assert first == second


def test_secrets_are_taken_out_of_texts_and_files(settings: Settings) -> None:
    secret = f"token = '{TOKEN}'\n".encode()
    findings = [
        finding(ToolCall(name="sh", arguments=f"curl -H 'Authorization: Bearer {TOKEN}'"), "call"),
        finding(FileState("a.py", secret), "file"),
        finding(FileState("a.py", secret + b"x = 1\n", secret), "edit"),
    ]
    with Keeper(settings, PROJECT) as keeper:
        for each in findings:
            keeper.keep(each)
    events = [SwarmEvent.FromString(data) for data in kept(settings)]
    assert not [data for data in kept(settings) if TOKEN.encode() in data]
    assert all(event.redactions for event in events)
    # The edit is made to what was recorded, not to what stood on the disk.
    assert events[2].state_change.previous_state_hash == events[1].state_change.new_state_hash


def test_what_no_store_keeps_is_refused_and_the_next_is_kept(settings: Settings) -> None:
    good = finding(AgentMessage(content="x"))
    with Keeper(settings, PROJECT) as keeper:
        for wrong in (
            finding(FileState("../a", b"")),
            finding(ToolCall(result="x" * 1_000_000)),
            replace(good, occurred_us=2**62),
            replace(good, causation_id="\ud800"),
        ):
            with pytest.raises(ContractError):
                keeper.keep(wrong)
        keeper.keep(good)
    assert len(kept(settings)) == 1
