"""The dashboard of the costs: by mission, agent, model or tool, and day."""

from __future__ import annotations

from infrastructure.grafana.choices import CHOICES, MEANWHILE
from infrastructure.grafana.panels import Dashboard, Panel, Row, Sql

_UNITS = {"cost_usd": "currencyUSD", "tokens": "short", "duration_ms": "ms"}


def _total(title: str, column: str, unit: str) -> Panel:
    query = Sql(f"SELECT {column} AS total FROM swarm_events WHERE event_type = 'TOOL_CALL' AND {MEANWHILE}")
    return Panel(title=title, kind="stat", unit=unit, queries=[query], width=6, height=4)


def _daily(title: str, name: str) -> Panel:
    return Panel(
        title=title,
        unit="currencyUSD",
        queries=[
            Sql(
                f"SELECT toStartOfDay(timestamp) AS time, {name} AS name, sum(swarm_events.cost_usd) AS cost\n"
                f"FROM swarm_events WHERE event_type = 'TOOL_CALL' AND {MEANWHILE}\nGROUP BY time, name ORDER BY time"
            )
        ],
        stacked=True,
        description="Days of the zone in which ClickHouse keeps times, which is UTC.",
    )


def _by(title: str, columns: str, where: str = "") -> Panel:
    return Panel(
        title=title,
        kind="table",
        queries=[
            Sql(
                f"SELECT {columns}, sum(swarm_events.cost_usd) AS cost_usd, "
                "sum(swarm_events.input_tokens) AS input_tokens, "
                "sum(swarm_events.output_tokens) AS output_tokens, count() AS calls, "
                "sum(swarm_events.duration_ms) AS duration_ms\n"
                f"FROM swarm_events WHERE event_type = 'TOOL_CALL' AND {MEANWHILE}{where}\n"
                f"GROUP BY {columns} ORDER BY cost_usd DESC, calls DESC LIMIT 1000"
            )
        ],
        units=_UNITS,
    )


DASHBOARD = Dashboard(
    uid="costs",
    title="costs",
    description="What agents spent, by mission, agent, model or tool, and day. docs/dashboards.md",
    rows=[
        Row(
            "In the time range",
            [
                _total("Cost", "sum(cost_usd)", "currencyUSD"),
                _total("Input tokens", "sum(input_tokens)", "short"),
                _total("Output tokens", "sum(output_tokens)", "short"),
                _total("Calls", "count()", "short"),
            ],
        ),
        Row("Each day", [_daily("By project", "project_id"), _daily("By model or tool", "tool_name")]),
        Row(
            "Where it went",
            [
                _by("By mission", "tenant_id, project_id, correlation_id", " AND correlation_id != ''"),
                _by("By agent", "tenant_id, project_id, agent_id"),
                _by("By model or tool", "tool_name"),
                _by("By person", "tenant_id, user_id"),
            ],
        ),
    ],
    variables=CHOICES,
    since="now-7d",
    refresh="5m",
)
