-- When each row landed: the time at which its block's insert began. Rows from before this column was there have
-- 1970: they are told by recorded_us, which every insert gives and no stored row has.
ALTER TABLE events ADD COLUMN IF NOT EXISTS landed DateTime64(6, 'UTC') MATERIALIZED
    if(recorded_us > 0, now64(6, 'UTC'), fromUnixTimestamp64Micro(toInt64(0), 'UTC')) CODEC(DoubleDelta, ZSTD);
-- How each worker gets on, written by the workers themselves: a row for each hop, partition and interval in which
-- something landed. The digest is of a sample of the messages, so that intervals can be added up.
CREATE TABLE IF NOT EXISTS sink_progress
(
    at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD),
    sink LowCardinality(String),
    partition UInt16,
    hop LowCardinality(String),
    log_stream LowCardinality(String),
    last_sequence UInt64,
    recorded DateTime64(6, 'UTC'),
    landed DateTime64(6, 'UTC'),
    lag_messages UInt64,
    messages UInt64,
    events UInt64,
    samples_ms Array(Float32) EPHEMERAL,
    samples UInt32 DEFAULT length(samples_ms),
    p50_ms Float32 DEFAULT arrayReduce('quantileExact(0.5)', samples_ms),
    p90_ms Float32 DEFAULT arrayReduce('quantileExact(0.9)', samples_ms),
    p99_ms Float32 DEFAULT arrayReduce('quantileExact(0.99)', samples_ms),
    max_ms Float32 DEFAULT arrayMax(samples_ms),
    digest AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99), Float32)
        DEFAULT arrayReduce('quantilesTDigestState(0.5, 0.9, 0.99)', samples_ms)
)
ENGINE = MergeTree
ORDER BY (sink, hop, partition, at)
TTL toDateTime(at) + INTERVAL 7 DAY
SETTINGS non_replicated_deduplication_window = 1000;
-- Each hop's times a minute, over all partitions.
CREATE OR REPLACE VIEW swarm_hops AS
SELECT
    toStartOfMinute(at) AS minute,
    hop,
    sink,
    sum(samples) AS samples,
    arrayElement(quantilesTDigestMerge(0.5, 0.9, 0.99)(digest) AS quantiles_ms, 1) AS p50_ms,
    quantiles_ms[2] AS p90_ms,
    quantiles_ms[3] AS p99_ms,
    max(max_ms) AS max_ms
FROM sink_progress
GROUP BY minute, hop, sink;
