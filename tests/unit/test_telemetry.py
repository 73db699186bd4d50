"""What a service tells of itself: hops, condition, pages, log lines, meters, the rules for alerts."""

from __future__ import annotations

import itertools
import json
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from infrastructure.local.ports import PortWish, assign
from ingestors.meters import SAMPLES, PartitionMeter
from ingestors.progress import COLUMNS, ProgressTable, taken
from nervous_system.errors import SettingsError, UnavailableError
from nervous_system.events import now_us
from nervous_system.landing import Refusal
from nervous_system.settings import Settings
from nervous_system.telemetry import hops, logs
from nervous_system.telemetry.condition import Condition
from nervous_system.telemetry.hops import Passage
from nervous_system.telemetry.pages import Pages
from tests.samples import STREAM, event, message

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "infrastructure" / "alerts.yml").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]


def test_a_hop_is_known_where_both_its_ends_are() -> None:
    assert Passage(1_000_000, 1_500_000, 1_400_000, 4_000_000).hops_s() == pytest.approx(
        {"occurred_published": 0.5, "published_recorded": -0.1, "occurred_recorded": 0.4, "recorded_landed": 2.6}
    )
    assert Passage(1_000_000, 0, 1_400_000, 4_000_000).hops_s().keys() == {"occurred_recorded", "recorded_landed"}
    assert Passage(0, 0, 1_400_000, 4_000_000).hops_s().keys() == {"recorded_landed"}


@given(st.text() | st.from_regex(r"[0-9]{1,5000}", fullmatch=True))
def test_whatever_a_producer_writes_is_read_as_a_time_or_as_none(header: str) -> None:
    assert 0 <= hops.published_us(header) <= 1 << 62


def test_a_producers_time_is_read() -> None:
    assert hops.published_us("1763000000000000") == 1_763_000_000_000_000
    assert hops.published_us("") == hops.published_us("-1") == hops.published_us("１") == 0


@given(st.integers(0, 200), st.integers(2, 20))
def test_a_sample_is_spread_over_all_and_has_both_ends(count: int, most: int) -> None:
    taken = hops.sample(range(count), most)
    assert len(taken) == min(count, most)
    assert taken == sorted(set(taken))
    if count:
        assert (taken[0], taken[-1]) == (0, count - 1)
        widest = max((after - before for before, after in itertools.pairwise(taken)), default=0)
        assert widest <= count // (most - 1) + 1


def test_a_condition_is_alive_while_its_loop_beats_and_ready_once_nothing_is_in_the_way() -> None:
    now = [0.0]
    condition = Condition(10, clock=lambda: now[0])
    assert condition.alive
    assert list(condition.reasons) == ["starting"]
    condition.settle()
    assert list(condition.reasons) == []
    now[0] = 10.5
    assert not condition.alive
    assert list(condition.reasons) == ["its loop stands still"]
    condition.beat()
    condition.settle("the log is not connected")
    assert list(condition.reasons) == ["the log is not connected"]


def ask(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://{address}{path}", method=method), timeout=10
        ) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{assign([PortWish('pages')], pinned={}, remembered={})['pages']}"


def test_pages_tell_the_condition_and_nothing_else(address: str) -> None:
    now = [0.0]
    condition = Condition(10, clock=lambda: now[0])
    with Pages(address, condition):
        assert ask(address, "/healthz") == (200, "alive\n")
        assert ask(address, "/readyz") == (503, "starting\n")
        assert "enchanted_ready 0.0" in ask(address, "/metrics")[1]
        condition.settle()
        assert ask(address, "/readyz?verbose") == (200, "ready\n")
        assert "enchanted_ready 1.0" in ask(address, "/metrics")[1]
        assert ask(address, "/readyz", "HEAD") == (200, "")
        assert ask(address, "/readyz", "POST")[0] == 501
        for path in ("/", "/metrics/", "/etc/passwd"):
            assert ask(address, path)[0] == 404
        now[0] = 11.0
        assert ask(address, "/healthz") == (503, "the loop stands still\n")
    with pytest.raises(OSError, match="refused"):
        ask(address, "/healthz")


def test_an_address_that_is_none_or_taken_is_named(address: str) -> None:
    for wrong in ("9464", "host:", "127.0.0.1:port", "127.0.0.1:99999"):
        with pytest.raises(SettingsError, match=f"ENCHANTED_METRICS_ADDRESS={wrong} "):
            Pages(wrong, Condition())
    with Pages(address, Condition()), pytest.raises(SettingsError, match="cannot be listened at"):
        Pages(address, Condition())
    with Pages("", Condition()):
        pass


@pytest.fixture
def record() -> logging.LogRecord:
    return logging.makeLogRecord({"name": "pump", "levelname": "WARNING", "msg": "refused %d", "args": (7,)})


def test_a_line_of_json_says_what_it_concerns(record: logging.LogRecord) -> None:
    record.trace_id, record.stream_sequence, record.secret = "abc", 7, "hidden"
    with logs.concerning(sink="ledger"), logs.concerning(partition=3):
        line = json.loads(logs.JsonFormatter().format(record))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {
        "level": "WARNING",
        "logger": "pump",
        "message": "refused 7",
        "sink": "ledger",
        "partition": 3,
        "stream_sequence": 7,
        "trace_id": "abc",
    }
    assert "sink" not in json.loads(logs.JsonFormatter().format(record))


def test_a_line_of_json_is_one_line_whatever_is_in_it(record: logging.LogRecord) -> None:
    try:
        raise UnavailableError("two\nlines")
    except UnavailableError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    record.msg, record.args = 'a "quoted"\nline \u2028 %s', ("\x00",)
    text = logs.JsonFormatter().format(record)
    assert len(text.splitlines()) == 1
    assert json.loads(text)["message"] == 'a "quoted"\nline \u2028 \x00'
    assert "UnavailableError: two\nlines" in json.loads(text)["exception"]


def test_a_trace_is_taken_from_an_event_only_where_it_is_one() -> None:
    assert logs.trace_id(event(1, trace_id="4bf92f3577b34da6a3ce929d0e0e4736").SerializeToString()) == (
        "4bf92f3577b34da6a3ce929d0e0e4736"
    )
    for strange in ("", "a\nlevel=ERROR", "0" * 33, "Ünicode"):
        assert logs.trace_id(event(1, trace_id=strange).SerializeToString()) == ""
    assert logs.trace_id(b"\xff\xff") == ""


def test_a_parent_trace_is_taken_from_a_header_only_where_it_is_one() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert logs.parent_trace_id(f"00-{trace}-00f067aa0ba902b7-01") == trace
    for strange in ("", trace, f"00-{trace.upper()}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01"):
        assert logs.parent_trace_id(strange) == ""


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_landed_batch_is_counted_and_its_hops_are_sampled() -> None:
    meter = PartitionMeter("unit-landed", 3)
    recorded_us = now_us() - 2_000_000
    count = SAMPLES + 30
    messages = [
        message(number, [event(number, occurred_us=recorded_us + 1_000_000)], recorded_us=recorded_us)
        for number in range(1, count + 1)
    ]
    meter.holding(5)
    meter.landed(messages, [recorded_us - 500_000] * count, 0.25)
    each = {"sink": "unit-landed", "partition": "3"}
    assert value("enchanted_sink_events_total", **each) == value("enchanted_sink_messages_total", **each) == count
    assert value("enchanted_sink_held_messages", **each) == 0
    assert value("enchanted_sink_land_seconds_sum", sink="unit-landed") == 0.25
    hop = {"sink": "unit-landed", "hop": "published_recorded"}
    assert value("enchanted_hop_seconds_count", **hop) == SAMPLES
    assert value("enchanted_hop_seconds_sum", **hop) == pytest.approx(0.5 * SAMPLES)
    # The agent's clock is a second ahead.
    hop["hop"] = "occurred_recorded"
    assert value("enchanted_hop_negative_total", **hop) == SAMPLES
    assert value("enchanted_hop_seconds_sum", **hop) == 0
    landed = REGISTRY.get_sample_value("enchanted_hop_seconds_sum", {"sink": "unit-landed", "hop": "recorded_landed"})
    assert landed is not None
    assert landed >= 2 * SAMPLES


def test_what_landed_becomes_rows_once() -> None:
    meter = PartitionMeter("unit-rows", 1)
    assert taken([meter], "unit-rows", STREAM) == []
    meter.waiting(4, now_us())
    meter.landed([message(8, [event(8), event(9)])], [0], 0.1)
    found = [dict(zip(COLUMNS, row, strict=True)) for row in taken([meter], "unit-rows", STREAM)]
    assert {row["hop"] for row in found} == {"occurred_recorded", "recorded_landed"}
    for row in found:
        assert (row["sink"], row["partition"], row["log_stream"]) == ("unit-rows", 1, str(STREAM))
        assert (row["last_sequence"], row["messages"], row["events"], row["lag_messages"]) == (8, 1, 2, 4)
        assert len(row["samples_ms"]) == 1
    assert taken([meter], "unit-rows", STREAM) == []


def test_rows_that_cannot_be_written_are_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = ProgressTable(Settings(home=tmp_path, clickhouse_url="http://127.0.0.1:1"))
    assert table.wanted
    caplog.set_level(logging.INFO, "ingestors.progress")
    for _ in range(2):
        table.keep([["no", "row"]])
        table.write()
    table.close()
    # Once, not again each time.
    assert [record.name for record in caplog.records].count("ingestors.progress") == 1
    assert not ProgressTable(Settings(home=tmp_path)).wanted


def test_failures_refusals_and_what_waits_are_counted() -> None:
    meter = PartitionMeter("unit-failures", 0)
    each = {"sink": "unit-failures", "partition": "0"}
    assert value("enchanted_dead_letters_total", **each) == 0
    meter.failed(UnavailableError("S3 of tenant acme is away"))
    meter.buried(Refusal("bad_path", "..", b"", 1, 0, "swarm.0.acme.shop.events"))
    assert value("enchanted_sink_retries_total", **each, kind="UnavailableError") == 1
    assert value("enchanted_dead_letters_total", **each) == 1
    assert value("enchanted_refusals_total", sink="unit-failures", code="bad_path") == 1
    meter.waiting(7, now_us() - 60_000_000)
    assert value("enchanted_sink_lag_messages", **each) == 7
    assert 60 <= value("enchanted_sink_oldest_unlanded_seconds", **each) < 120
    # A log whose clock is ahead.
    meter.waiting(7, now_us() + 60_000_000)
    assert value("enchanted_sink_oldest_unlanded_seconds", **each) == 0
    meter.waiting(0, 0)
    assert value("enchanted_sink_oldest_unlanded_seconds", **each) == 0


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_it_means_and_the_page_lists_it(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert len(rule["annotations"]["description"].split()) > 10
    assert re.fullmatch(r"\d+[sm]", rule.get("for", "1m"))
    assert rule["expr"].count("(") == rule["expr"].count(")")
    assert f"| `{rule['alert']}` |" in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_each_alert_stands_once() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names)) > 0


def test_every_recorded_series_is_named_as_rules_use_it() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = {name for rule in rules for name in re.findall(r"enchanted:[a-z0-9_:]+", rule["expr"])}
    assert recorded == {f"enchanted:hop_seconds:p{percent}" for percent in (50, 90, 99)}
    assert used <= recorded
