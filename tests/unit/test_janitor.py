"""What may go, and up to where: pure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.cli.janitor_metrics import Rounds, collector
from ingestors.janitor.bounds import bounds
from ingestors.janitor.clickhouse import condition
from ingestors.janitor.notes import FileNote, Notes, Portion
from ingestors.janitor.plan import Done, Report
from ingestors.janitor.policy import DAY_US, Policy
from nervous_system.archive.manifest import FileEntry, Place, Span
from nervous_system.errors import SettingsError
from nervous_system.settings import Settings
from nervous_system.streams import StreamIdentity

STREAM = StreamIdentity("SWARM", 1)
NOW_US = 1_000 * DAY_US


def entry(number: int, recorded_us: tuple[int, int], *spans: Span) -> FileEntry:
    return FileEntry(f"file {number}", 1, bytes(32), 1, bytes(32), spans, recorded_us, ("acme", "beta"))


@st.composite
def archives(draw: st.DrawFn) -> tuple[list[FileEntry], dict[tuple[int, int], int], dict[Place, int]]:
    """Files of a log, the time of each message of it by partition and sequence, and how far the stores are."""
    times, now_us = {}, 990 * DAY_US
    for sequence in range(1, draw(st.integers(2, 30))):
        now_us += draw(st.integers(0, DAY_US))
        times[draw(st.integers(0, 2)), sequence] = now_us
    shared = {place: draw(st.integers(0, 5)) for place in times}
    files = []
    for number in set(shared.values()):
        mine = [place for place, file in shared.items() if file == number]
        spans = []
        for partition in {partition for partition, _ in mine}:
            sequences = [sequence for each, sequence in mine if each == partition]
            spans.append(Span(str(STREAM), partition, min(sequences), max(sequences)))
        recorded = [times[place] for place in mine]
        files.append(entry(number, (min(recorded), max(recorded)), *spans))
    passed: dict[Place, int] = {(STREAM, partition): draw(st.integers(0, 30)) for partition in range(3)}
    return files, times, passed


@given(archives(), st.integers(1, 12), st.integers(0, 12))
def test_nothing_goes_that_is_young_or_that_a_store_lacks(
    archive: tuple[list[FileEntry], dict[tuple[int, int], int], dict[Place, int]], days: int, acme_days: int
) -> None:
    files, times, passed = archive
    policy = Policy(days, {"acme": acme_days})
    found = bounds(policy, NOW_US, files, passed.__getitem__)
    for (partition, sequence), recorded_us in times.items():
        place = (STREAM, partition)
        for tenant in ("acme", "zeta"):
            if sequence <= found.through(place, tenant).sequence:
                assert recorded_us < policy.cutoff_us(tenant, NOW_US)
                assert sequence <= passed[place]
                assert sequence <= found.farthest(place)
                assert place in found.places
    for file in files:
        if found.covers(file, "acme"):
            assert found.concerns(file)
            assert file.recorded_us[1] < policy.cutoff_us("acme", NOW_US)


def test_a_file_that_is_young_in_part_stays_whole() -> None:
    place = (STREAM, 0)
    old = entry(1, (1, 2 * DAY_US), Span(str(STREAM), 0, 1, 5))
    both = entry(2, (DAY_US, NOW_US), Span(str(STREAM), 0, 3, 9))
    found = bounds(Policy(1), NOW_US, [old, both], lambda _: 100)
    assert found.through(place, "acme").sequence == 5
    assert (found.covers(old, "acme"), found.covers(both, "acme"), found.concerns(both)) == (True, False, True)


def test_a_tenant_has_its_own_days() -> None:
    policy = Policy.of(replace(Settings(home=Path()), hot_days=30, hot_days_by_tenant=" acme=7, beta = 0,"))
    assert (policy.days, policy.by_tenant, policy.removes) == (30, {"acme": 7, "beta": 0}, True)
    cutoffs = [policy.cutoff_us(tenant, NOW_US) for tenant in ("acme", "beta", "other")]
    assert cutoffs == [NOW_US - 7 * DAY_US, 0, NOW_US - 30 * DAY_US]
    assert policy.cutoffs_us(NOW_US) == set(cutoffs)
    assert not Policy.of(Settings(home=Path())).removes
    assert not Policy(0, {"acme": 0}).removes


@pytest.mark.parametrize("text", ["acme", "acme=", "acme=-1", "acme=x", "=7", "a b=7", "acme=7=8", "acme'=7"])
def test_a_policy_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not tenant=days"):
        Policy.of(replace(Settings(home=Path()), hot_days_by_tenant=text))
    with pytest.raises(SettingsError, match="below 0"):
        Policy.of(replace(Settings(home=Path()), hot_days=-1))


def test_the_condition_names_every_place_and_tenant() -> None:
    stream = StreamIdentity("it's", 1)
    file = entry(1, (1, 2), Span(str(stream), 3, 1, 5))
    found = bounds(Policy(1, {"beta": 0}), NOW_US, [file], lambda _: 4)
    assert condition(found) == (
        r"(log_stream = 'it\'s@1' AND log_partition = 3 AND log_sequence <= multiIf(tenant_id = 'beta', 0, 4))"
    )
    assert condition(bounds(Policy(1), NOW_US, [], lambda _: 4)) == "0"


def test_notes_are_what_was_written_and_none_where_they_are_spoilt(tmp_path: Path) -> None:
    path = tmp_path / "janitor" / "notes.json"
    notes = Notes.read(path)
    notes.manifest = (3, "ab")
    notes.files["key"] = FileNote("cd", [Portion("acme", 1, 2)])
    notes.unnamed["other"] = 7
    notes.write()
    assert Notes.read(path) == notes
    notes.forget_all_but(set())
    assert notes.files == {}
    path.write_text('{"version": 1, "manifest": 5}')
    assert Notes.read(path) == Notes(path)


def test_a_report_adds_up_what_was_given_back() -> None:
    report = Report((Done("ledger", 1, 10, 4), Done("stream", 1, 3, 4)), 2)
    assert report.freed_bytes == 5
    assert report.document()["stores"][0]["freed_bytes"] == 6


def test_the_metrics_add_rounds_up() -> None:
    rounds = Rounds()
    # More was landed in the stream meanwhile than given back.
    rounds.add(Report((Done("ledger", 2, 10, 4), Done("stream", 1, 3, 4))))
    rounds.add(Report((Done("ledger", 1, 4, 4),)))
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in collector(rounds).collect()
        for sample in metric.samples
    }
    assert found["enchanted_janitor_rounds_total",] == 2
    assert found["enchanted_janitor_removed_total", "ledger"] == 3
    assert found["enchanted_janitor_freed_bytes_total", "ledger"] == rounds.freed_bytes == 6
    assert found["enchanted_janitor_freed_bytes_total", "stream"] == 0
