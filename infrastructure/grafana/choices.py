"""What is chosen above the dashboards that ask ClickHouse: whose events."""

from __future__ import annotations

from infrastructure.grafana.panels import Variable

TENANT = Variable("tenant", "SELECT DISTINCT tenant_id FROM events ORDER BY tenant_id")
PROJECT = Variable(
    "project",
    "SELECT DISTINCT project_id FROM events WHERE tenant_id IN (${tenant:singlequote}) ORDER BY project_id",
)
CHOICES = (TENANT, PROJECT)
CHOSEN = "tenant_id IN (${tenant:singlequote}) AND project_id IN (${project:singlequote})"
MEANWHILE = f"$__timeFilter(timestamp) AND {CHOSEN}"
