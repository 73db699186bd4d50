-- How far a rebuild from the archive has come in each partition of each stream; empty while there is none. The cursor
-- does not tell: it is the highest sequence there is, and ingestors may land beside a rebuild.
CREATE TABLE IF NOT EXISTS swarm_rebuilds
(
    log_stream LowCardinality(String),
    log_partition UInt16,
    sequence UInt64,
    at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(sequence)
ORDER BY (log_stream, log_partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
