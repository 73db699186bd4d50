"""Panels and dashboards as values, and the JSON that Grafana reads of them. Pure.

Source: Grafana's dashboard model (schema version 39), and the queries of its ClickHouse data source, version 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "clickhouse"}
SCHEMA_VERSION = 39
GRID_WIDTH = 24
_GREEN, _YELLOW, _RED = "green", "#EAB839", "red"
_SERIES, _TABLE = 0, 1


@dataclass(frozen=True, slots=True)
class Metric:
    """A question to Prometheus.

    Args:
        expression: PromQL.
        legend: names a series by its labels, such as ``{{sink}}``.
    """

    expression: str
    legend: str = ""

    def target(self, reference: str, *, over_time: bool) -> dict[str, Any]:
        """As a panel asks it."""
        return {
            "datasource": PROMETHEUS,
            "expr": self.expression,
            "legendFormat": self.legend or "__auto",
            "range": over_time,
            "instant": not over_time,
            "refId": reference,
        }


@dataclass(frozen=True, slots=True)
class Sql:
    """A question to ClickHouse, with the macros of its data source and Grafana's variables."""

    text: str

    def target(self, reference: str, *, over_time: bool) -> dict[str, Any]:
        """As a panel asks it."""
        return {
            "datasource": CLICKHOUSE,
            "editorType": "sql",
            "format": _SERIES if over_time else _TABLE,
            "queryType": "timeseries" if over_time else "table",
            "rawSql": self.text,
            "refId": reference,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture.

    Args:
        title: what it shows, in a few words.
        queries: all of one data source.
        kind: Grafana's name, ``timeseries``, ``stat`` or ``table``.
        unit: Grafana's name of it, such as ``s``, ``short``, ``currencyUSD``.
        description: what a person has to know to read it.
        width, height: in cells of the grid, which is 24 wide.
        warn_at, fail_at: values from which it is yellow, red.
        colors: of values that are words.
        stacked: whether series add up.
        units: of single columns of a table.
    """

    title: str
    queries: Sequence[Metric | Sql]
    kind: str = "timeseries"
    unit: str = "short"
    description: str = ""
    width: int = 12
    height: int = 8
    warn_at: float | None = None
    fail_at: float | None = None
    colors: Mapping[str, str] = field(default_factory=dict)
    stacked: bool = False
    units: Mapping[str, str] = field(default_factory=dict)

    def document(self, number: int, x: int, y: int) -> dict[str, Any]:
        """The panel at a place of the grid."""
        over_time = self.kind == "timeseries"
        targets = [query.target(chr(ord("A") + index), over_time=over_time) for index, query in enumerate(self.queries)]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": targets[0]["datasource"],
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": targets,
            "fieldConfig": {"defaults": self._defaults(), "overrides": [_unit(*each) for each in self.units.items()]},
            "options": self._options(),
        }

    def _defaults(self) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"color": _GREEN, "value": None}]
        steps += [{"color": _YELLOW, "value": self.warn_at}] if self.warn_at is not None else []
        steps += [{"color": _RED, "value": self.fail_at}] if self.fail_at is not None else []
        mapped = {word: {"color": color, "index": index} for index, (word, color) in enumerate(self.colors.items())}
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [{"type": "value", "options": mapped}] if mapped else [],
        }
        if len(steps) > 1:
            defaults["color"] = {"mode": "thresholds"}
        if self.kind == "timeseries":
            stacking = {"mode": "normal" if self.stacked else "none", "group": "A"}
            defaults["custom"] = {"fillOpacity": 30 if self.stacked else 5, "showPoints": "never", "stacking": stacking}
            defaults["color"] = {"mode": "palette-classic"}
        elif self.kind == "table" and mapped:
            defaults["custom"] = {"cellOptions": {"type": "color-text"}}
        return defaults

    def _options(self) -> dict[str, Any]:
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        match self.kind:
            case "stat":
                return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none"}
            case "timeseries":
                return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
            case _:
                return {}


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, and the panels below it from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """What a person chooses above the panels: any of the answers to a question, all of them at first."""

    name: str
    question: str
    of_prometheus: bool = False

    def document(self) -> dict[str, Any]:
        """As Grafana keeps it."""
        return {
            "type": "query",
            "name": self.name,
            "datasource": PROMETHEUS if self.of_prometheus else CLICKHOUSE,
            "query": {"query": self.question, "refId": "variable"} if self.of_prometheus else self.question,
            "definition": self.question,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "current": {"text": ["All"], "value": ["$__all"]},
            "sort": 1,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A page.

    Args:
        uid: its lasting name, also its file's.
        title, description: for people.
        rows: from top to bottom.
        variables: what a person chooses.
        since: where its time range begins, such as ``now-1h``.
        refresh: how often it asks again.
    """

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()
    since: str = "now-1h"
    refresh: str = "30s"

    def document(self) -> dict[str, Any]:
        """What Grafana reads."""
        return {
            "uid": f"enchanted-{self.uid}",
            "title": f"Enchanted: {self.title}",
            "description": self.description,
            "tags": ["enchanted"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "graphTooltip": 1,
            "refresh": self.refresh,
            "timezone": "browser",
            "time": {"from": self.since, "to": "now"},
            "templating": {"list": [variable.document() for variable in self.variables]},
            "links": [_LINKS],
            "panels": _placed(self.rows),
        }


_LINKS = {"type": "dashboards", "title": "Enchanted", "tags": ["enchanted"], "asDropdown": True, "keepTime": True}


def _placed(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The panels of all rows on the grid, each line as high as its highest panel."""
    placed: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        heading = {"id": len(placed) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": []}
        placed.append({**heading, "gridPos": {"x": 0, "y": y, "w": GRID_WIDTH, "h": 1}})
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > GRID_WIDTH:
                x, y, height = 0, y + height, 0
            placed.append(panel.document(len(placed) + 1, x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return placed


def _unit(column: str, unit: str) -> dict[str, Any]:
    return {"matcher": {"id": "byName", "options": column}, "properties": [{"id": "unit", "value": unit}]}
