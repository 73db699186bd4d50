-- How far each partition had landed when rows of it were removed: the sink's cursor is the greater of this and the
-- highest row.
CREATE TABLE IF NOT EXISTS swarm_cursors
(
    log_stream LowCardinality(String),
    log_partition UInt16,
    sequence UInt64,
    recorded DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(sequence)
ORDER BY (log_stream, log_partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
-- The ids of what was removed, so that an event which is sent once more is not taken for a new one. `doubled` are those
-- that had landed again before they were removed: all their rows go.
CREATE TABLE IF NOT EXISTS swarm_removed
(
    tenant_id LowCardinality(String),
    project_id LowCardinality(String),
    event_id UUID CODEC(ZSTD),
    doubled UInt8,
    removed DateTime CODEC(DoubleDelta, ZSTD)
)
ENGINE = ReplacingMergeTree(doubled)
ORDER BY (tenant_id, project_id, UUIDv7ToDateTime(event_id, 'UTC'), event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
