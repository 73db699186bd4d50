"""Every panel's question has an answer: of ClickHouse over a known swarm, of Prometheus from the services' pages."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from infrastructure.cli.janitor_metrics import Rounds, collector
from infrastructure.grafana.__main__ import stale
from infrastructure.local.status import stack_status
from ingestors.clickhouse import ClickHouseSink, connect
from ingestors.meters import PartitionMeter
from nervous_system.contract import AgentStatus, SystemSignal
from nervous_system.landing import Refusal
from nervous_system.projects import ProjectName
from nervous_system.settings import Settings
from tests.integration.command import Enchanted
from tests.integration.known_swarm import KNOWN_HOPS, known_swarm
from tests.integration.panels import (
    SINKS,
    Chosen,
    Question,
    documents,
    promql_questions,
    sql_questions,
    variable_questions,
)
from tests.integration.stack_process import wait_until
from tests.samples import BEGAN_US, batch, event, message

DATABASE = "panels"
BEGAN = datetime.fromtimestamp(BEGAN_US / 1e6, UTC)
RULES = Path(__file__).parents[2] / "infrastructure" / "alerts.yml"
FLEET = ProjectName("acme", "fleet")
# Whose labels are Prometheus's own, or of a histogram's samples.
OWN_LABELS = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def client(whole_stack: Enchanted) -> Iterator[Client]:
    """A database of which everything is known."""
    settings = Settings.load({"ENCHANTED_HOME": str(whole_stack.home)})
    with connect(settings) as outside:
        outside.command(f"CREATE DATABASE {DATABASE}")
        own = replace(settings, clickhouse_database=DATABASE)
        sink = ClickHouseSink(own)
        sink.open()
        assert not sink.land(batch(*known_swarm()))
        with connect(own) as opened:
            opened.command(KNOWN_HOPS)
            beat(sink)
            yield opened
        sink.close()
        outside.command(f"DROP DATABASE {DATABASE}")


def beat(sink: ClickHouseSink) -> None:
    """Signals of a fleet, by seconds after BEGAN: when they happened, when the log had them, what they say."""
    idle, stopped = AgentStatus.AGENT_STATUS_IDLE, AgentStatus.AGENT_STATUS_STOPPED
    beats = [
        ("steady", 0, 0, idle),
        ("steady", 5, 5, idle),
        ("leaver", 0, 0, idle),
        ("leaver", 5, 5, stopped),
        ("late", 0, 40, idle),  # an outbox held it back
        ("ahead", 600, 5, idle),  # its clock runs ahead
        ("returned", 0, 0, stopped),
        ("returned", 5, 5, idle),
    ]
    messages = []
    for number, (agent, happened_s, recorded_s, status) in enumerate(beats, start=5_000):
        signal = SystemSignal(status=status)
        made = event(number, FLEET, occurred_us=BEGAN_US + happened_s * 1_000_000, system_signal=signal)
        made.agent_id = agent
        messages.append(message(number, [made], FLEET, recorded_us=BEGAN_US + recorded_s * 1_000_000))
    assert not sink.land(batch(*messages, partition=1))


def chosen(question: Question) -> Chosen:
    """All that there is, in the time in which it happened."""
    values = {"tenant": ("acme",), "project": ("shop", "shop-2", "fleet"), "sink": SINKS}
    if re.search(r"\b(sink_progress|swarm_hops)\b", question.text):
        return Chosen(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), values)
    return Chosen(BEGAN - timedelta(hours=1), BEGAN + timedelta(seconds=3_720), values)


def rows(client: Client, question: Question) -> list[dict[str, Any]]:
    return list(client.query(chosen(question).sql(question.text)).named_results())


def one(client: Client, dashboard: str, panel: str) -> list[dict[str, Any]]:
    [question] = [each for each in sql_questions() if (each.dashboard, each.panel) == (dashboard, panel)]
    return rows(client, question)


def test_the_files_are_what_the_modules_say() -> None:
    assert stale() == []
    assert [name for name, _ in documents()] == ["agents", "costs", "pipeline", "restores"]


def test_panels_stand_beside_each_other_and_ask_one_provisioned_source_each() -> None:
    for _, document in documents():
        cells: set[tuple[int, int]] = set()
        for panel in document["panels"]:
            place = panel["gridPos"]
            own = {
                (place["x"] + column, place["y"] + line) for column in range(place["w"]) for line in range(place["h"])
            }
            assert not cells & own, panel["title"]
            assert max(x for x, _ in own) < 24
            cells |= own
            sources = {target["datasource"]["uid"] for target in panel.get("targets", ())}
            assert panel["type"] == "row" or sources in ({"prometheus"}, {"clickhouse"}), panel["title"]
        assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


@pytest.mark.parametrize("question", [*sql_questions(), *variable_questions()], ids=lambda each: each.label)
def test_clickhouse_answers(client: Client, question: Question) -> None:
    found = rows(client, question)
    assert found, question.text
    if question.over_time:
        assert all(isinstance(row["time"], datetime) for row in found)
        assert [row["time"] for row in found] == sorted(row["time"] for row in found)
        assert len(found[0]) in (2, 3)


def test_costs_are_those_of_the_swarm(client: Client) -> None:
    assert one(client, "costs", "Cost")[0]["total"] == pytest.approx(0.031)
    missions = {row["correlation_id"]: row["cost_usd"] for row in one(client, "costs", "By mission")}
    assert missions == pytest.approx({"mission-1": 0.03, "mission-2": 0.001})
    agents = {row["agent_id"]: row["input_tokens"] for row in one(client, "costs", "By agent")}
    assert agents == {"bob": 1000, "eve": 300, "ada": 50}


def test_what_led_back_is_told_apart(client: Client) -> None:
    counts = {title: one(client, "restores", title)[0]["times"] for title in ("Undone", "Forked", "Named")}
    assert counts == {"Undone": 1, "Forked": 1, "Named": 1}
    [forked, named, undone] = one(client, "restores", "What led back")
    assert (undone["act"], undone["changes_taken_back"]) == ("undo", "3")
    assert (named["act"], named["words"].strip()) == ("checkpoint", "before-release")
    assert (forked["act"], forked["forked_from"]) == ("fork", "shop")


def test_missing_numbers_are_seen(client: Client) -> None:
    found = {row["agent_id"]: row["missing"] for row in one(client, "agents", "Numbers that are missing")}
    assert found["bob"] == 2


@pytest.mark.parametrize(
    ("after_s", "expected"),
    [
        (-1, {}),
        (5, {"steady": "healthy", "leaver": "stopped", "late": "healthy", "ahead": "healthy", "returned": "healthy"}),
        (19.999, {"steady": "healthy", "leaver": "stopped", "late": "degraded"}),
        (20, {"steady": "degraded", "ahead": "degraded", "returned": "degraded"}),
        (30, {"steady": "degraded", "late": "offline"}),
        (34.999, {"steady": "degraded", "ahead": "degraded"}),
        (35, {"steady": "offline", "leaver": "stopped", "ahead": "offline", "returned": "offline"}),
        (600, {"steady": "offline", "late": "offline", "ahead": "offline"}),
        (24 * 3600 + 2, {"steady": "offline", "ahead": "offline", "leaver": "stopped", "returned": "offline"}),
        (24 * 3600 + 601, {}),
    ],
)
def test_an_agent_is_degraded_after_three_missed_heartbeats_and_offline_after_30_s(
    client: Client, after_s: float, expected: dict[str, str]
) -> None:
    moment = datetime.fromtimestamp(BEGAN_US / 1e6 + after_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    asked = "SELECT agent_id, health FROM swarm_agents_at(moment = {moment:DateTime64(6)}) WHERE project_id = 'fleet'"
    answer = client.query(asked.replace("{moment:DateTime64(6)}", f"'{moment}'")).result_rows
    found = {str(agent): str(health) for agent, health in answer}
    assert {agent: found.get(agent) for agent in expected} == expected
    assert expected or not found


def test_agents_as_of_now_are_those_of_the_last_day(client: Client) -> None:
    assert client.query("SELECT count() FROM swarm_agents").result_rows == [(0,)]


@pytest.fixture(scope="module")
def pages(whole_stack: Enchanted) -> list[str]:
    """What Prometheus is given: the page of every service."""
    addresses = scraped(whole_stack)
    workers = [address for name, address in addresses.items() if name.startswith("ingest-")]
    wait_until(lambda: all("enchanted_sink_lag_messages{" in page(each) for each in workers), "a look at the log")
    return [page(each) for each in addresses.values()]


def scraped(stack: Enchanted) -> dict[str, str]:
    """Where each service has its page."""
    found = {entry.component: entry.address for entry in stack_status(stack.home).components}
    return {name: address for name, address in found.items() if name not in ("nats", "s3")}


def page(address: str) -> str:
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def known(pages: list[str]) -> dict[str, set[str]]:
    """The labels of each metric of the pages; of trouble that there is not, of the same meters in this process."""
    meter = PartitionMeter("panels", 0)
    meter.failed(RuntimeError())
    meter.buried(Refusal("code", "A reason.", b"", 1, 0))
    found: dict[str, set[str]] = {name: set() for text in pages for name in re.findall(r"^# TYPE (\w+)", text, re.M)}
    # The janitor runs only where there is a retention policy.
    janitors = CollectorRegistry()
    janitors.register(collector(Rounds()))
    for text in (*pages, generate_latest().decode(), generate_latest(janitors).decode()):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = {"sink", "hop"}
    return {**found, "up": OWN_LABELS}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """Every PromQL of the dashboards and of the rules, by where it stands."""
    asked = {f"{each.label} {index}": chosen(each).promql(each.text) for index, each in enumerate(promql_questions())}
    return asked | {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}


def test_every_metric_and_label_that_is_asked_for_is_on_a_page(known: dict[str, set[str]]) -> None:
    for place, expression in expressions().items():
        bare = re.sub(r'"[^"]*"', '""', expression)
        names = re.findall(r"(?<![\w:])(?:enchanted[_:][\w:]+|up(?=\{))", bare)
        assert names, place
        assert set(names) <= known.keys(), place
        labels = {word for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare) for word in re.split(r",\s*", group)}
        labels |= set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*""', bare))
        assert labels - OWN_LABELS <= set.union(*(known[name] for name in names)), place


def test_legends_name_labels_that_the_answer_has() -> None:
    for _, document in documents():
        for panel in document["panels"]:
            for target in panel.get("targets", ()):
                named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
                grouped = re.search(r"by \(([^)]*)\)", target.get("expr", ""))
                assert not grouped or named <= set(grouped[1].split(", ")), panel["title"]


def test_a_parser_of_promql_reads_each_of_them(known: dict[str, set[str]]) -> None:
    parser = pytest.importorskip("promql_parser")
    for place, expression in expressions().items():
        selectors: list[Any] = []

        def visit(node: Any, found: list[Any] = selectors) -> None:
            if isinstance(node, parser.VectorSelector):
                found.append(node)

        parser.walk(parser.parse(expression), visit)
        assert selectors, place
        for selector in selectors:
            labels = {matcher.name for matcher in selector.matchers.matchers} - OWN_LABELS
            assert labels <= known[selector.name], place


def test_a_prometheus_takes_the_rules_and_answers_every_panel(whole_stack: Enchanted, tmp_path: Path) -> None:
    """Only where one is installed: Debian has it as the package ``prometheus``."""
    program, tool = shutil.which("prometheus"), shutil.which("promtool")
    if not program or not tool:
        pytest.skip("no Prometheus is installed")
    checked = subprocess.run([tool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config, data = configured(whole_stack, tmp_path), tmp_path / "data"
    options = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        services = len(scraped(whole_stack))
        wait_until(lambda: bool(ask(port, f"count(up) == {services} and sum(up) == {services}")), "each page looked at")
        empty = [place for place, expression in expressions().items() if not ask(port, expression)]
    finally:
        process.terminate()
        process.wait(30)
    # Where all is well no alert has an answer; a rate needs two looks, and trouble does not come by itself.
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    for place in set(empty) - alerts:
        assert re.search(r"rate\(|hop_seconds|outbox", expressions()[place]), place


def configured(stack: Enchanted, folder: Path) -> Path:
    targets = [address.removeprefix("http://") for address in scraped(stack).values()]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "enchanted", "static_configs": [{"targets": targets}]}],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def ask(port: int, expression: str) -> list[Any]:
    """What Prometheus answers; nothing while it does not listen yet."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            document = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{expression}: {error.read().decode()}") from error
    except urllib.error.URLError:
        return []
    assert document["status"] == "success", expression
    result: list[Any] = document["data"]["result"]
    return result
