"""Each alert fires on numbers that give reason to, and on no others. Needs promtool, of Debian's package prometheus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = Path(__file__).parents[2] / "infrastructure" / "alerts.yml"
AT = "20m"
_SINK = '{job="enchanted",instance="w",sink="ledger",partition="1"}'
_ARCHIVE = '{job="enchanted",instance="w",sink="siphon",partition="1"}'
_OF_ARCHIVE = '{job="enchanted",instance="w",sink="siphon"}'


def hops(hop: str, bucket: str) -> dict[str, str]:
    """A message a second, all of them slower than every bucket but ``bucket`` and the last."""
    labels = f'sink="ledger",hop="{hop}",instance="w"'
    return {
        f'enchanted_hop_seconds_bucket{{{labels},le="0.1"}}': "0+0x100",
        f'enchanted_hop_seconds_bucket{{{labels},le="{bucket}"}}': "0+60x100",
        f'enchanted_hop_seconds_bucket{{{labels},le="+Inf"}}': "0+60x100",
    }


def with_labels(name: str, labels: str, values: str) -> dict[str, str]:
    return {name + labels: values}


# What makes each fire, and what is the same but well: values once a minute.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "EnchantedWorkerDown": (
        {'up{job="enchanted"}': "0x100"},
        {'up{job="enchanted"}': "1x100", 'up{job="other"}': "0x100"},
    ),
    "EnchantedWorkerNotReady": ({"enchanted_ready": "0x100"}, {"enchanted_ready": "1x100"}),
    "EnchantedSinkNotLanding": (
        with_labels("enchanted_sink_oldest_unlanded_seconds", _SINK, "0+60x100")
        | with_labels("enchanted_sink_last_landed_timestamp_seconds", _SINK, "5x100"),
        with_labels("enchanted_sink_oldest_unlanded_seconds", _SINK, "300x100")
        | with_labels("enchanted_sink_last_landed_timestamp_seconds", _SINK, "0+60x100"),
    ),
    "EnchantedSinkFallingBehind": (
        with_labels("enchanted_sink_lag_messages", _SINK, "20000+500x100"),
        with_labels("enchanted_sink_lag_messages", _SINK, "90000-500x100"),
    ),
    "EnchantedDeadLetters": (
        with_labels("enchanted_dead_letters_total", _SINK, "0x15 3x100"),
        with_labels("enchanted_dead_letters_total", _SINK, "3x100"),
    ),
    "EnchantedRetryStorm": (
        with_labels("enchanted_sink_retries_total", _SINK, "0+20x100"),
        with_labels("enchanted_sink_retries_total", _SINK, "0+1x100"),
    ),
    "EnchantedArchiveLate": (
        with_labels("enchanted_sink_oldest_unlanded_seconds", _ARCHIVE, "0+60x100")
        | with_labels("enchanted_sink_max_age_seconds", _OF_ARCHIVE, "30x100"),
        with_labels("enchanted_sink_oldest_unlanded_seconds", _ARCHIVE, "40x100")
        | with_labels("enchanted_sink_max_age_seconds", _OF_ARCHIVE, "30x100"),
    ),
    "EnchantedLandingSlow": (hops("recorded_landed", "60"), hops("recorded_landed", "1")),
    "EnchantedLogSlow": (hops("published_recorded", "60"), hops("published_recorded", "1")),
    "EnchantedClocksDisagree": (
        {
            'enchanted_hop_negative_total{sink="a",hop="b"}': "0+30x100",
            'enchanted_hop_seconds_count{sink="a",hop="b"}': "0+60x100",
        },
        {
            'enchanted_hop_negative_total{sink="a",hop="b"}': "0+1x100",
            'enchanted_hop_seconds_count{sink="a",hop="b"}': "0+60x100",
        },
    ),
    "EnchantedSnapshotsBehind": (
        {"enchanted_snapshots_projects_behind": "5x100", "enchanted_snapshots_rounds_total": "7x100"},
        {"enchanted_snapshots_projects_behind": "5x100", "enchanted_snapshots_rounds_total": "0+1x100"},
    ),
    "EnchantedOutboxWaits": (
        {"enchanted_outbox_oldest_waiting_seconds": "1000+60x100", "enchanted_outbox_waiting_rows": "5x100"},
        {"enchanted_outbox_oldest_waiting_seconds": "30x100", "enchanted_outbox_waiting_rows": "5x100"},
    ),
    "EnchantedSnapshotsPassedOver": (
        {"enchanted_snapshots_projects_passed_over": "1x100"},
        {"enchanted_snapshots_projects_passed_over": "0x100"},
    ),
    "EnchantedJanitorIdle": (
        {"enchanted_janitor_failures_total": "0+1x100", "enchanted_janitor_rounds_total": "3x100"},
        {"enchanted_janitor_failures_total": "0+1x100", "enchanted_janitor_rounds_total": "0+1x100"},
    ),
}


def alerts() -> set[str]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def trial(alert: str, series: dict[str, str], fires: bool) -> dict[str, Any]:
    asked = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": asked, "eval_time": AT, "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}
        ],
    }


def test_every_alert_is_tried() -> None:
    assert alerts() <= CASES.keys()


def test_each_alert_fires_with_reason_and_only_then(tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if not program:
        pytest.skip("no promtool is installed")
    trials = [
        trial(alert, series, fires)
        for alert, both in CASES.items()
        for series, fires in zip(both, (True, False), strict=True)
    ]
    path = tmp_path / "trials.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": trials}))
    done = subprocess.run([program, "test", "rules", path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
