"""The dashboard of the pipeline's health: rates, lag, each hop's latency, dead letters, the archive's age."""

from __future__ import annotations

from infrastructure.grafana.panels import Dashboard, Metric, Panel, Row, Sql, Variable

HOPS = {
    "occurred_published": "Happened → put on the wire",
    "published_recorded": "Put on the wire → taken by the log",
    "occurred_recorded": "Happened → taken by the log",
    "recorded_landed": "Taken by the log → in the store",
}


def _hop(hop: str, title: str) -> Panel:
    return Panel(
        title=title,
        unit="s",
        queries=[
            Metric(f'enchanted:hop_seconds:{each}{{hop="{hop}",sink=~"$sink"}}', f"{{{{sink}}}} {each}")
            for each in ("p50", "p90", "p99")
        ],
    )


def _rate(metric: str, labels: str) -> str:
    return f'sum by ({labels}) (rate(enchanted_{metric}{{sink=~"$sink"}}[$__rate_interval]))'


_NOW = Row(
    "Now",
    [
        Panel(
            title="Services that are not ready",
            kind="stat",
            queries=[Metric('count(up{job="enchanted"} == 0 or enchanted_ready == 0) or vector(0)')],
            description="Their page /readyz says what is in the way.",
            width=4,
            height=4,
            fail_at=1,
        ),
        Panel(
            title="Events landed",
            kind="stat",
            unit="eps",
            queries=[Metric("sum by (sink) (rate(enchanted_sink_events_total[$__rate_interval]))", "{{sink}}")],
            width=6,
            height=4,
        ),
        Panel(
            title="Messages that wait",
            kind="stat",
            queries=[Metric("sum by (sink) (enchanted_sink_lag_messages)", "{{sink}}")],
            width=6,
            height=4,
            warn_at=1_000,
            fail_at=10_000,
        ),
        Panel(
            title="Dead letters kept",
            kind="stat",
            queries=[Metric("max(enchanted_dead_letter_stream_messages)")],
            description="What was refused, with the reason: `enchanted dlq list`.",
            width=4,
            height=4,
            warn_at=1,
        ),
        Panel(
            title="Age of what is not archived",
            kind="stat",
            unit="s",
            queries=[Metric('max(enchanted_sink_oldest_unlanded_seconds{sink="siphon"})')],
            description="How long the log has had the oldest message that no file of the archive has.",
            width=4,
            height=4,
            warn_at=150,
            fail_at=900,
        ),
    ],
)

_RATES = Row(
    "Rates",
    [
        Panel(
            title="Events landed a second",
            unit="eps",
            queries=[Metric(_rate("sink_events_total", "sink"), "{{sink}}")],
            width=8,
        ),
        Panel(
            title="Bytes landed a second",
            unit="Bps",
            queries=[Metric(_rate("sink_bytes_total", "sink"), "{{sink}}")],
            width=8,
        ),
        Panel(
            title="Events of a batch, p50",
            queries=[
                Metric(f"histogram_quantile(0.5, {_rate('sink_batch_events_bucket', 'sink, le')})", "{{sink}}"),
            ],
            width=8,
        ),
    ],
)

_LAG = Row(
    "Lag",
    [
        Panel(
            title="Messages that wait",
            queries=[
                Metric(
                    'max by (sink, partition) (enchanted_sink_lag_messages{sink=~"$sink"})', "{{sink}} {{partition}}"
                )
            ],
            description="A partition without a line has no worker.",
        ),
        Panel(
            title="Age of the oldest message that waits",
            unit="s",
            queries=[
                Metric(
                    'max by (sink, partition) (enchanted_sink_oldest_unlanded_seconds{sink=~"$sink"})',
                    "{{sink}} {{partition}}",
                )
            ],
        ),
        Panel(
            title="Where each partition stands",
            kind="table",
            queries=[
                Sql(
                    "SELECT sink, partition, argMax(lag_messages, at) AS lag, "
                    "max(sink_progress.recorded) AS landed_up_to, max(at) AS told_at\n"
                    "FROM sink_progress WHERE $__timeFilter(at)\n"
                    "GROUP BY sink, partition ORDER BY sink, partition"
                )
            ],
        ),
        Panel(
            title="The log",
            unit="decbytes",
            queries=[Metric("max(enchanted_stream_bytes)", "bytes held")],
        ),
    ],
)

_LATENCY = Row(
    "Latency at each hop",
    [
        *(_hop(hop, title) for hop, title in HOPS.items()),
        Panel(
            title="How long a store takes a batch, p99",
            unit="s",
            queries=[
                Metric(f"histogram_quantile(0.99, {_rate('sink_land_seconds_bucket', 'sink, le')})", "{{sink}}"),
            ],
        ),
        Panel(
            title="The last seven days, p99 by the minute",
            unit="ms",
            queries=[
                Sql(
                    "SELECT minute AS time, concat(sink, ' ', hop) AS name, p99_ms AS p99\nFROM swarm_hops "
                    "WHERE $__timeFilter(minute) AND sink IN (${sink:singlequote})\nORDER BY time"
                )
            ],
            description="As ClickHouse keeps it, also where no Prometheus was.",
        ),
    ],
)

_TROUBLE = Row(
    "Trouble",
    [
        Panel(
            title="Refusals a minute, by reason",
            queries=[Metric(f"60 * {_rate('refusals_total', 'sink, code')}", "{{sink}} {{code}}")],
            width=8,
        ),
        Panel(
            title="Failures that were tried again, a minute",
            queries=[Metric(f"60 * {_rate('sink_retries_total', 'sink, kind')}", "{{sink}} {{kind}}")],
            width=8,
        ),
        Panel(
            title="Hops that clocks made negative, a minute",
            queries=[Metric(f"60 * {_rate('hop_negative_total', 'sink, hop')}", "{{sink}} {{hop}}")],
            width=8,
        ),
        Panel(
            title="Waiting in outboxes of this monitoring's machines",
            unit="decbytes",
            queries=[Metric("sum(enchanted_outbox_waiting_bytes)", "bytes")],
            width=8,
        ),
        Panel(
            title="Snapshots behind",
            queries=[
                Metric("max(enchanted_snapshots_projects_behind)", "projects that wait"),
                Metric("max(enchanted_snapshots_projects_passed_over)", "projects passed over"),
            ],
            width=8,
        ),
        Panel(
            title="Queries of the embedded ClickHouse, a minute",
            queries=[
                Metric(
                    "60 * sum by (kind, outcome) (rate(enchanted_gateway_queries_total[$__rate_interval]))",
                    "{{kind}} {{outcome}}",
                )
            ],
            width=8,
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="pipeline",
    title="pipeline",
    description="Whether every event lands, how fast, and what is in the way. docs/dashboards.md",
    rows=[_NOW, _RATES, _LAG, _LATENCY, _TROUBLE],
    variables=[Variable("sink", "label_values(enchanted_sink_max_age_seconds, sink)", of_prometheus=True)],
)
