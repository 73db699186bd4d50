"""Seeing inside real services: their pages, the rows that SQL can ask, their log lines."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from infrastructure.cli import janitor_metrics
from infrastructure.cli.janitor_metrics import Rounds
from infrastructure.local.stack import running_stack
from infrastructure.local.status import stack_status
from ingestors import clickhouse
from nervous_system import bus, subjects
from nervous_system.contract import SwarmEvent
from nervous_system.events import encode_batch, now_us, set_occurred, uuid7
from nervous_system.landed import wait_until_landed
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.stack_process import StackCommands, wait_until
from tests.integration.test_pump import publish

RULES = Path(__file__).parents[2] / "infrastructure" / "alerts.yml"
SINKS = ("ledger", "clickhouse", "siphon")
SERVICES = (*(f"ingest-{sink}" for sink in SINKS), "sync", "snapshots", "clickhouse")
LABELS = {"sink", "partition", "hop", "kind", "outcome", "code", "le"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
EARLIER = ProjectName("earlier", "landed")
EVENTS = 50
# Prometheus makes it itself.
OWN = {"up"}


@dataclass(frozen=True, slots=True)
class Watched:
    """A whole stack, and where its services tell how they are."""

    settings: Settings
    addresses: dict[str, str]
    sequence: int = 0
    """Of the last message that was landed before any test."""

    def page(self, worker: str, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.addresses[worker] + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def samples(self, worker: str) -> dict[str, float]:
        """The values of enchanted's metrics, each summed over its labels."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.page(worker, "/metrics")[1]):
            for sample in family.samples:
                if not sample.name.startswith("enchanted_"):
                    continue
                assert sample.labels.keys() <= LABELS
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    def log_lines(self, worker: str) -> list[dict[str, Any]]:
        text = (self.settings.home / "logs" / f"{worker}.log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home = tmp_path_factory.mktemp("watched") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCHANTED_SIPHON_ROLL_AGE_S", "1")
        patch.setenv("ENCHANTED_LOG_FORMAT", "json")
        with running_stack(home) as settings:
            found = {entry.component: entry.address for entry in stack_status(home).components}
            _, sequence = publish(settings, EARLIER, EVENTS)
            stack = Watched(settings, {service: found[service] for service in SERVICES}, sequence)
            for sink in SINKS:
                wait_for(stack, f"ingest-{sink}", "enchanted_sink_events_total", EVENTS)
            yield stack


@pytest.fixture
def project() -> ProjectName:
    """A project that no other test writes to, by names that are found wherever they leak."""
    return ProjectName(f"tenant{random.randrange(10**9)}", f"project{random.randrange(10**9)}")


def ready(watched: Watched, worker: str) -> bool:
    return watched.page(worker, "/readyz") == (200, "ready\n")


def wait_for(watched: Watched, worker: str, name: str, value: float) -> None:
    """Waits until a metric of a worker has that value."""
    wait_until(lambda: watched.samples(worker).get(name) == value, f"{name} of {worker} at {value}")


@pytest.mark.parametrize("worker", SERVICES)
def test_every_service_is_alive_and_ready(watched: Watched, worker: str) -> None:
    assert watched.page(worker, "/healthz") == (200, "alive\n")
    wait_until(lambda: ready(watched, worker), f"{worker} ready")
    assert watched.page(worker, "/elsewhere")[0] == 404


def test_every_metric_that_a_rule_names_is_on_a_page(watched: Watched) -> None:
    on_pages: set[str] = set()
    for worker in SERVICES:
        text = watched.page(worker, "/metrics")[1]
        on_pages |= set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) | set(watched.samples(worker))
    rules = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    named = {name for rule in rules for name in re.findall(r"(?<![\w:])enchanted_\w+", rule["expr"])}
    # The janitor runs only where there is a retention policy.
    janitors = {sample.name for metric in janitor_metrics.collector(Rounds()).collect() for sample in metric.samples}
    assert len(named) > 8
    assert named - OWN <= on_pages | janitors


def test_what_is_published_shows_on_the_pages_and_says_nothing_of_whom(watched: Watched, project: ProjectName) -> None:
    before = {sink: watched.samples(f"ingest-{sink}") for sink in SINKS}
    _, sequence = publish(watched.settings, project, 200)
    wait_until_landed(watched.settings, list(SINKS), sequence)
    for sink in SINKS:
        worker = f"ingest-{sink}"
        # A store tells of a landing a moment before its worker has counted it.
        wait_for(watched, worker, "enchanted_sink_events_total", before[sink]["enchanted_sink_events_total"] + 200)
        wait_until(lambda w=worker: watched.samples(w)["enchanted_stream_messages"] >= 20, "a look at the log")  # type: ignore[misc]
        after = watched.samples(worker)
        grown = {name: after[name] - value for name, value in before[sink].items()}
        assert grown["enchanted_sink_messages_total"] == 20
        assert grown["enchanted_sink_bytes_total"] > 200 * 50
        assert 1 <= grown["enchanted_sink_batches_total"] <= 20
        assert grown["enchanted_sink_batch_events_sum"] == 200
        # Each of four hops of each sampled message.
        assert 4 <= grown["enchanted_hop_seconds_count"] <= 80
        assert grown["enchanted_hop_seconds_count"] % 4 == 0
    for worker in SERVICES:
        text = watched.page(worker, "/metrics")[1] + watched.page(worker, "/readyz")[1]
        secrets = json.loads((watched.settings.home / "secrets.json").read_text())
        for hidden in (project.tenant, project.project, *secrets.values()):
            assert hidden not in text


def test_a_refusal_is_counted_and_logged_with_its_trace(watched: Watched, project: ProjectName) -> None:
    refused = SwarmEvent(
        event_id=uuid7(now_us() // 1_000), tenant_id="someone", project_id="else", agent_id="a", trace_id=TRACE
    )
    set_occurred(refused, now_us())
    refused.system_signal.detail = "secret words"

    async def send() -> int:
        client = await bus.connect(watched.settings)
        subject = subjects.published(project, subjects.EVENTS)
        batch = encode_batch([refused.SerializeToString()])
        acknowledgement = await bus.publish(client.jetstream(), subject, batch, uuid7(1))
        await client.close()
        return acknowledgement.seq

    name = "enchanted_dead_letters_total"
    before = {sink: watched.samples(f"ingest-{sink}")[name] for sink in SINKS}
    sequence = asyncio.run(send())
    for sink in SINKS:
        worker = f"ingest-{sink}"
        wait_for(watched, worker, name, before[sink] + 1)
        assert f'enchanted_refusals_total{{code="wrong_project",sink="{sink}"}}' in watched.page(worker, "/metrics")[1]
        line = line_about(watched, worker, sequence)
        assert (line["level"], line["sink"], line["trace_id"]) == ("WARNING", sink, TRACE)
        assert (line["reason_code"], line["event_index"]) == ("wrong_project", 0)
        assert line["partition"] in range(4)
        assert "secret words" not in json.dumps(watched.log_lines(worker))


def line_about(watched: Watched, worker: str, sequence: int) -> dict[str, Any]:
    """What the worker's log says of a message, once it does."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in watched.log_lines(worker) if line.get("stream_sequence") == sequence]

    wait_until(lambda: bool(lines()), f"a line of {worker} about message {sequence}")
    return lines()[0]


def test_a_query_that_fails_is_counted_and_logged_with_its_trace(watched: Watched) -> None:
    def failed() -> float:
        return samples_with(watched, 'enchanted_gateway_queries_total{kind="select",outcome="refused"}')

    before = failed()
    url = f"{watched.settings.clickhouse_url}/?query=SELECT+1+FROM+secret_words"
    headers = {
        "X-ClickHouse-User": watched.settings.clickhouse_user,
        "X-ClickHouse-Key": watched.settings.clickhouse_password,
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    }
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30)
    wait_until(lambda: failed() == before + 1, "the query counted")
    assert samples_with(watched, 'enchanted_gateway_queries_total{kind="insert",outcome="ok"}') > 0
    lines = [line for line in watched.log_lines("clickhouse") if line.get("trace_id") == TRACE]
    assert [(line["level"], line["reason_code"]) for line in lines] == [("INFO", "UNKNOWN_TABLE")]
    assert lines[0]["query_id"]
    assert "secret_words" not in json.dumps(lines)


def samples_with(watched: Watched, name: str) -> float:
    """What the gateway's page says of exactly this metric; 0 where it says nothing."""
    lines = watched.page("clickhouse", "/metrics")[1].splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(f"{name} "))


def test_a_worker_is_not_ready_while_its_store_hangs_and_is_again_after(watched: Watched, project: ProjectName) -> None:
    pid = StackCommands(watched.settings.home).pid("clickhouse")
    wait_until(lambda: ready(watched, "ingest-clickhouse"), "ready before")
    os.kill(pid, signal.SIGSTOP)
    try:
        publish(watched.settings, project, 200)
        wait_until(lambda: not ready(watched, "ingest-clickhouse"), "not ready")
        status, reason = watched.page("ingest-clickhouse", "/readyz")
        assert status == 503
        assert "the store does not answer" in reason
        assert "127.0.0.1" not in reason
        # It only waits, and the others go on.
        assert watched.page("ingest-clickhouse", "/healthz") == (200, "alive\n")
        assert watched.samples("ingest-clickhouse")["enchanted_ready"] == 0
        wait_for(watched, "ingest-clickhouse", "enchanted_sink_lag_messages", 20)
        assert ready(watched, "ingest-ledger")
        assert ready(watched, "ingest-siphon")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: ready(watched, "ingest-clickhouse"), "ready again")
    wait_for(watched, "ingest-clickhouse", "enchanted_sink_lag_messages", 0)


def test_every_hop_is_a_row_that_sql_can_ask(watched: Watched) -> None:
    client = clickhouse.connect(watched.settings)
    try:

        def told_of() -> set[str]:
            asked = "SELECT sink FROM sink_progress GROUP BY sink HAVING max(last_sequence) >= {sequence:UInt64}"
            return {row[0] for row in client.query(asked, parameters={"sequence": watched.sequence}).result_rows}

        wait_until(lambda: told_of() == set(SINKS), "rows of every sink")
        rows = client.query("SELECT sink, hop, samples, p50_ms, p90_ms, p99_ms, max_ms FROM swarm_hops").result_rows
        assert {(row[0], row[1]) for row in rows} == {
            (sink, hop)
            for sink in SINKS
            for hop in ("occurred_published", "published_recorded", "occurred_recorded", "recorded_landed")
        }
        for _, _, samples, p50, p90, p99, most in rows:
            assert samples > 0
            assert 0 <= p50 <= p90 <= p99 <= most
        answer = client.query(
            "SELECT count(), min(landed > recorded), max(landed) <= now64(6) FROM events "
            "WHERE tenant_id = {tenant:String}",
            parameters={"tenant": EARLIER.tenant},
        )
        assert answer.result_rows == [(EVENTS, 1, 1)]
    finally:
        client.close()


def test_an_address_that_is_taken_is_refused_in_a_sentence(sandbox: Enchanted) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ledger = f"embedded://{sandbox.home}/ledger.sqlite"
        for command in (("ingest", "ledger"), ("snapshots",)):
            told = sandbox.refuse(
                *command,
                ENCHANTED_METRICS_ADDRESS=address,
                ENCHANTED_LEDGER=ledger,
                ENCHANTED_NATS_URL="nats://127.0.0.1:1",
            )
            assert f"ENCHANTED_METRICS_ADDRESS={address} cannot be listened at" in told
