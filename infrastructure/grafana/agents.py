"""The dashboard of the agents: who lives, by heartbeats, what each does, and what went wrong."""

from __future__ import annotations

from infrastructure.grafana.choices import CHOICES, CHOSEN, MEANWHILE
from infrastructure.grafana.panels import Dashboard, Panel, Row, Sql

COLORS = {"healthy": "green", "degraded": "#EAB839", "offline": "red", "stopped": "text"}
# As of the end of the time range, so that a past moment can be looked at.
_AT = "swarm_agents_at(moment = toDateTime64($__toTime, 6, 'UTC'))"


def _count(health: str) -> Panel:
    return Panel(
        title=health.capitalize(),
        kind="stat",
        queries=[Sql(f"SELECT countIf(health = '{health}') AS agents FROM {_AT} WHERE {CHOSEN}")],
        width=6,
        height=4,
        warn_at=1 if health == "degraded" else None,
        fail_at=1 if health == "offline" else None,
    )


_HEALTH = Row(
    "Health, at the end of the time range",
    [
        *(_count(health) for health in COLORS),
        Panel(
            title="Agents",
            kind="table",
            queries=[
                Sql(
                    "SELECT health, tenant_id, project_id, agent_id, agent_role, status, last_heartbeat, silent_s, "
                    f"missed_heartbeats, cpu_load_percent, memory_usage_mb, signal_detail\nFROM {_AT} WHERE {CHOSEN}\n"
                    "ORDER BY indexOf(['offline', 'degraded', 'healthy', 'stopped'], health), silent_s DESC LIMIT 1000"
                )
            ],
            description="A heartbeat is a signal, one every 5 s; 3 missed: degraded; 30 s of silence: offline. "
            "Agents that never send one are below only.",
            colors=COLORS,
            units={"silent_s": "s", "cpu_load_percent": "percent", "memory_usage_mb": "decmbytes"},
            width=24,
            height=10,
        ),
        Panel(
            title="Agents that beat",
            queries=[
                Sql(
                    "SELECT $__timeInterval(timestamp) AS time, uniqExact(tenant_id, project_id, agent_id) AS agents\n"
                    f"FROM events WHERE event_type = 'SYSTEM_SIGNAL' AND {MEANWHILE}\nGROUP BY time ORDER BY time"
                )
            ],
        ),
        Panel(
            title="CPU load",
            unit="percent",
            queries=[
                Sql(
                    "SELECT $__timeInterval(timestamp) AS time, agent_id AS name, avg(cpu_load_percent) AS load\n"
                    f"FROM swarm_events WHERE event_type = 'SYSTEM_SIGNAL' AND {MEANWHILE}\n"
                    "GROUP BY time, name ORDER BY time"
                )
            ],
        ),
    ],
)

_WORK = Row(
    "Work",
    [
        Panel(
            title="Events by agent",
            queries=[
                Sql(
                    "SELECT $__timeInterval(minute) AS time, agent_id AS name, sum(swarm_minutes.events) AS events\n"
                    f"FROM swarm_minutes WHERE $__timeFilter(minute) AND {CHOSEN}\nGROUP BY time, name ORDER BY time"
                )
            ],
            stacked=True,
        ),
        Panel(
            title="Events by type",
            queries=[
                Sql(
                    "SELECT $__timeInterval(minute) AS time, event_type AS name, sum(swarm_minutes.events) AS events\n"
                    f"FROM swarm_minutes WHERE $__timeFilter(minute) AND {CHOSEN}\nGROUP BY time, name ORDER BY time"
                )
            ],
            stacked=True,
        ),
        Panel(
            title="What each agent did",
            kind="table",
            queries=[
                Sql(
                    "SELECT tenant_id, project_id, agent_id, sum(swarm_minutes.events) AS events, "
                    "sum(swarm_minutes.errors) AS errors, sum(swarm_minutes.lines_added) AS lines_added, "
                    "sum(swarm_minutes.lines_removed) AS lines_removed, max(minute) AS last_minute\n"
                    f"FROM swarm_minutes WHERE $__timeFilter(minute) AND {CHOSEN}\n"
                    "GROUP BY tenant_id, project_id, agent_id ORDER BY events DESC LIMIT 1000"
                )
            ],
            width=24,
        ),
    ],
)

_WRONG = Row(
    "What went wrong",
    [
        Panel(
            title="Errors",
            kind="table",
            queries=[
                Sql(
                    "SELECT timestamp, project_id, agent_id, tool_name, exit_code, "
                    "substring(if(signal_detail != '', signal_detail, tool_result), 1, 200) AS words\n"
                    f"FROM swarm_events WHERE is_error AND {MEANWHILE}\nORDER BY timestamp DESC LIMIT 100"
                )
            ],
        ),
        Panel(
            title="Conflicts",
            kind="table",
            queries=[
                Sql(
                    "SELECT timestamp, project_id, message_content AS what, causation_id AS later_change\n"
                    f"FROM swarm_events WHERE message_kind = 'CONFLICT' AND {MEANWHILE}\n"
                    "ORDER BY timestamp DESC LIMIT 100"
                )
            ],
        ),
        Panel(
            title="Numbers that are missing",
            kind="table",
            queries=[
                Sql(
                    "SELECT project_id, agent_id, session_id, "
                    "max(agent_sequence) - uniqExact(agent_sequence) AS missing\n"
                    f"FROM swarm_events WHERE agent_sequence > 0 AND {CHOSEN}\n"
                    "AND (tenant_id, project_id, agent_id, session_id) IN "
                    f"(SELECT tenant_id, project_id, agent_id, session_id FROM events WHERE {MEANWHILE})\n"
                    "GROUP BY tenant_id, project_id, agent_id, session_id HAVING missing > 0\n"
                    "ORDER BY missing DESC LIMIT 100"
                )
            ],
            description="A recorder counts 1, 2, 3 …: a gap is a loss, signals that made room, or what is on its way.",
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="agents",
    title="agents",
    description="Who lives, what each does, and what went wrong. docs/dashboards.md",
    rows=[_HEALTH, _WORK, _WRONG],
    variables=CHOICES,
    refresh="10s",
)
