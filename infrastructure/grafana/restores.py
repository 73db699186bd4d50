"""The dashboard of what led projects back: undo, rollback, forks, and the moments that were given names.

``enchanted restore`` is not among them. It only reads, so that it works where nobody may write and while the log is
away; what it did is in the journal of the folder that it wrote.
"""

from __future__ import annotations

from infrastructure.grafana.choices import CHOICES, CHOSEN, MEANWHILE
from infrastructure.grafana.panels import Dashboard, Panel, Row, Sql

_ACTS = f"""
SELECT timestamp, tenant_id, project_id, agent_id, event_id, rationale, attributes,
    checkpoint_name, checkpoint_description, checkpoint_origin_project_id,
    multiIf(
        event_type = 'DECISION' AND mapContains(attributes, 'undone_changes'), 'undo',
        input_trigger = 'enchanted checkpoint rollback', 'rollback',
        checkpoint_origin_project_id != '', 'fork',
        event_type = 'CHECKPOINT', 'checkpoint',
        '') AS act
FROM swarm_events
WHERE event_type IN ('DECISION', 'CHECKPOINT') AND {MEANWHILE} AND act != ''
""".strip()


def _count(act: str, title: str) -> Panel:
    query = Sql(f"SELECT countIf(act = '{act}') AS times FROM (\n{_ACTS})")
    return Panel(title=title, kind="stat", queries=[query], width=6, height=4)


DASHBOARD = Dashboard(
    uid="restores",
    title="restores",
    description="What led projects back, and to which moment. A plain restore only reads. docs/dashboards.md",
    rows=[
        Row(
            "In the time range",
            [
                _count("undo", "Undone"),
                _count("rollback", "Rolled back"),
                _count("fork", "Forked"),
                _count("checkpoint", "Named"),
            ],
        ),
        Row(
            "Which",
            [
                Panel(
                    title="Over time",
                    queries=[
                        Sql(
                            "SELECT $__timeInterval(timestamp) AS time, act AS name, count() AS times\n"
                            f"FROM (\n{_ACTS})\nGROUP BY time, name ORDER BY time"
                        )
                    ],
                    width=24,
                ),
                Panel(
                    title="What led back",
                    kind="table",
                    queries=[
                        Sql(
                            "SELECT timestamp, act, tenant_id, project_id, agent_id, "
                            "if(act IN ('undo', 'rollback'), rationale, "
                            "concat(checkpoint_name, ' ', checkpoint_description)) AS words, "
                            "attributes['undone_changes'] AS changes_taken_back, "
                            "attributes['undone_files'] AS files, checkpoint_origin_project_id AS forked_from, "
                            f"event_id\nFROM (\n{_ACTS})\nORDER BY timestamp DESC LIMIT 500"
                        )
                    ],
                    width=24,
                    height=10,
                ),
                Panel(
                    title="Changes that were written to lead back",
                    kind="table",
                    queries=[
                        Sql(
                            "SELECT project_id, target_resource, operation, count() AS times, max(timestamp) AS last\n"
                            "FROM swarm_events WHERE event_type = 'STATE_CHANGE' AND agent_id = 'enchanted' "
                            f"AND {MEANWHILE}\nGROUP BY tenant_id, project_id, target_resource, operation\n"
                            "ORDER BY last DESC LIMIT 500"
                        )
                    ],
                ),
                Panel(
                    title="Moments to go back to",
                    kind="table",
                    queries=[
                        Sql(
                            "SELECT project_id, checkpoint_name, max(timestamp) AS named_at, "
                            "argMax(checkpoint_description, timestamp) AS description\n"
                            "FROM swarm_events WHERE event_type = 'CHECKPOINT' AND checkpoint_name != '' "
                            f"AND {CHOSEN}\n"
                            "GROUP BY tenant_id, project_id, checkpoint_name ORDER BY named_at DESC LIMIT 500"
                        )
                    ],
                ),
            ],
        ),
    ],
    variables=CHOICES,
    since="now-7d",
    refresh="5m",
)
