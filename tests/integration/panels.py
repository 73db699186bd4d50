"""Dashboards read as Grafana reads them, for tests: their questions, with macros and variables put in.

Source: pkg/macros/macros.go of Grafana's ClickHouse data source, version 4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "infrastructure" / "grafana" / "dashboards"
SINKS = ("ledger", "clickhouse", "siphon")


@dataclass(frozen=True, slots=True)
class Question:
    """One query of one panel."""

    dashboard: str
    panel: str
    text: str
    over_time: bool

    @property
    def label(self) -> str:
        return f"{self.dashboard}: {self.panel}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a person chose: the time range, and values of variables."""

    begin: datetime
    end: datetime
    values: dict[str, tuple[str, ...]]
    interval_s: int = 60

    def sql(self, text: str) -> str:
        """A question as ClickHouse is asked it."""
        begin, end = (f"toDateTime({int(moment.timestamp())})" for moment in (self.begin, self.end))
        text = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {begin} AND \1 <= {end}", text)
        interval = rf"toStartOfInterval(toDateTime(\1), INTERVAL {self.interval_s} second)"
        text = re.sub(r"\$__timeInterval\((\w+)\)", interval, text)
        text = text.replace("$__fromTime", begin).replace("$__toTime", end)
        return self._without_leftovers(re.sub(r"\$\{(\w+):singlequote\}", self._quoted, text))

    def promql(self, text: str) -> str:
        """A question as Prometheus is asked it."""
        text = text.replace("$__rate_interval", "5m")
        return self._without_leftovers(re.sub(r"\$(\w+)", lambda match: "|".join(self.values[match[1]]), text))

    def _quoted(self, match: re.Match[str]) -> str:
        return ",".join(f"'{value}'" for value in self.values[match[1]])

    def _without_leftovers(self, text: str) -> str:
        assert "$" not in text, text
        return text


def sql_questions() -> list[Question]:
    return [Question(*place, target["rawSql"], target["format"] == 0) for place, target in _targets("rawSql")]


def promql_questions() -> list[Question]:
    return [Question(*place, target["expr"], target["range"]) for place, target in _targets("expr")]


def variable_questions() -> list[Question]:
    """Those of ClickHouse."""
    return [
        Question(name, variable["name"], variable["query"], False)
        for name, document in documents()
        for variable in document["templating"]["list"]
        if variable["datasource"]["uid"] == "clickhouse"
    ]


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.json")):
        yield path.stem, json.loads(path.read_text("utf-8"))


def _targets(key: str) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """The targets that have ``key``, each with its dashboard's and its panel's name."""
    for name, document in documents():
        for panel in document["panels"]:
            for target in panel.get("targets", ()):
                if key in target:
                    yield (name, panel["title"]), target
