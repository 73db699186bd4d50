"""Who may do what: the roles of a deployment at each of its servers, as little as each of them works with."""

from __future__ import annotations

from dataclasses import dataclass

DATABASE = "enchanted"
BUCKET = "enchanted"


@dataclass(frozen=True, slots=True)
class NatsRole:
    """What a service may publish and subscribe to. One that ``answers`` may reply to whom it is asked by."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ("_INBOX.>",)
    answers: bool = False


@dataclass(frozen=True, slots=True)
class ClickHouseRole:
    """What a user is granted, and the profile with its limits."""

    grants: tuple[str, ...]
    profile: str = "service"


@dataclass(frozen=True, slots=True)
class S3Role:
    """What an identity may do, in SeaweedFS's words."""

    actions: tuple[str, ...]


_STREAMS = ("SWARM", "SWARM_DEAD")


def _api(*names: str) -> tuple[str, ...]:
    """Subjects of JetStream's API; ``STREAM_NAME`` stands for each of the streams."""
    return tuple(f"$JS.API.{name.replace('STREAM_NAME', stream)}" for name in names for stream in _STREAMS)


_LOOKING = _api("STREAM.INFO.STREAM_NAME", "CONSUMER.INFO.STREAM_NAME.*")
_MAKING = _api("STREAM.CREATE.STREAM_NAME", "STREAM.UPDATE.STREAM_NAME")
_READING = _api(
    "STREAM.MSG.GET.STREAM_NAME",
    "CONSUMER.CREATE.STREAM_NAME.>",
    "CONSUMER.DURABLE.CREATE.STREAM_NAME.*",
    "CONSUMER.DELETE.STREAM_NAME.*",
    "CONSUMER.MSG.NEXT.STREAM_NAME.*",
)
# Where ingestors of one sink hear of each other, to share the partitions.
_ROSTER = "enchanted.ingestors.*"

NATS = {
    # A person with the keys to everything: dead letters, undo, forks.
    "operator": NatsRole((">",), (">",)),
    "ingestor": NatsRole(
        (*_LOOKING, *_MAKING, *_READING, "$JS.ACK.SWARM.>", "dead.>", "enchanted.ingestors.*"),
        # Of one sink they hear each other, to share the partitions.
        ("_INBOX.>", "desk.*.* desk", "enchanted.ingestors.*"),
        answers=True,
    ),
    # Writes the conflicts that it meets into the projects' histories.
    "snapshots": NatsRole((*_LOOKING, "$JS.API.STREAM.MSG.GET.SWARM", "swarm.*.*.events")),
    "janitor": NatsRole((*_LOOKING, *_READING, "$JS.API.STREAM.PURGE.SWARM")),
}

# What is asked about each tenant's events; everything else is of all tenants together.
TENANT_TABLES = ("events",)
TENANT_VIEWS = ("swarm_events", "swarm_minutes", "swarm_agents", "swarm_agents_at")
_OF_INGESTORS = (
    f"INSERT ON {DATABASE}.events",
    f"INSERT, SHOW COLUMNS ON {DATABASE}.sink_progress",
    # Where it stands: the cursor is a column of what it landed.
    f"SELECT(log_stream, log_partition, log_sequence, recorded) ON {DATABASE}.events",
    f"SHOW COLUMNS ON {DATABASE}.events",
    f"SELECT ON {DATABASE}.swarm_cursors",
    f"SELECT ON {DATABASE}.swarm_removed",
    f"SELECT ON {DATABASE}.schema_migrations",
    # Rows that ClickHouse refuses are found on a table of their own.
    f"CREATE TABLE, DROP TABLE, INSERT, SHOW COLUMNS ON {DATABASE}.events_trial_*",
)

CLICKHOUSE = {
    # Makes the tables and changes them: `enchanted prepare`, `enchanted rebuild`.
    "owner": ClickHouseRole((f"ALL ON {DATABASE}.*", "ALL ON scratch_*.*")),
    "ingestor": ClickHouseRole(_OF_INGESTORS),
    "progress": ClickHouseRole((f"INSERT, SHOW COLUMNS ON {DATABASE}.sink_progress",)),
    "janitor": ClickHouseRole(
        (
            f"SELECT ON {DATABASE}.*",
            "SELECT ON system.parts",
            f"INSERT ON {DATABASE}.swarm_cursors",
            f"INSERT ON {DATABASE}.swarm_removed",
            f"ALTER DELETE, OPTIMIZE ON {DATABASE}.events",
            f"OPTIMIZE ON {DATABASE}.swarm_removed",
        )
    ),
    "grafana": ClickHouseRole((f"SELECT ON {DATABASE}.*",), "analyst"),
}

S3 = {
    "owner": S3Role(("Admin", "Read", "Write", "List", "Tagging")),
    "siphon": S3Role((f"Read:{BUCKET}", f"Write:{BUCKET}", f"List:{BUCKET}")),
    "janitor": S3Role((f"Read:{BUCKET}", f"Write:{BUCKET}", f"List:{BUCKET}")),
    "reader": S3Role((f"Read:{BUCKET}", f"List:{BUCKET}")),
}


def nats_tenant(tenant: str) -> NatsRole:
    """Agents of one tenant: they write its events, and ask what became of these."""
    return NatsRole((f"swarm.{tenant}.*.events", f"swarm.{tenant}.*.blobs", f"desk.{tenant}.*"))


def clickhouse_tenant() -> ClickHouseRole:
    """An analyst of one tenant: reads what is asked about events; which rows, the user's filters say."""
    return ClickHouseRole(tuple(f"SELECT ON {DATABASE}.{name}" for name in (*TENANT_TABLES, *TENANT_VIEWS)), "analyst")
