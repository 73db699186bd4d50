-- Every event once, as typed columns beside its verbatim bytes.
--
-- Columns named as the contract's fields are filled by ClickHouse's own protobuf reader; those marked EPHEMERAL are only
-- read to compute others. A block holds whole messages of one partition of the log, so that its highest log_sequence is
-- the sink's cursor. Of what was landed twice the earliest wins: _rank falls as the log goes on, and from a stream to one
-- that was made anew, whose sequences start at 1 again (its time of making stands behind the "@" of its name).
CREATE TABLE IF NOT EXISTS events
(
    log_stream LowCardinality(String),
    log_partition UInt16,
    log_sequence UInt64 CODEC(Delta, ZSTD),
    log_index UInt32,
    _rank UInt128 MATERIALIZED bitNot(
        bitShiftLeft(toUInt128(toUInt64OrZero(splitByChar('@', log_stream)[-1])), 64)
        + bitShiftLeft(log_sequence, 20) + log_index) CODEC(ZSTD),
    recorded_us Int64 EPHEMERAL,
    recorded DateTime64(6, 'UTC') DEFAULT fromUnixTimestamp64Micro(recorded_us, 'UTC') CODEC(DoubleDelta, ZSTD),
    occurred_seconds Int64 EPHEMERAL,
    occurred_nanos Int32 EPHEMERAL,
    timestamp DateTime64(6, 'UTC')
        DEFAULT fromUnixTimestamp64Micro(occurred_seconds * 1000000 + intDiv(occurred_nanos, 1000), 'UTC')
        CODEC(DoubleDelta, ZSTD),
    event_type LowCardinality(String),
    event_id UUID,
    trace_id String CODEC(ZSTD),
    span_id String CODEC(ZSTD),
    agent_role_number Int32 EPHEMERAL,
    agent_role LowCardinality(String) DEFAULT transform(
        agent_role_number, [0, 1, 2, 3, 4, 5, 6],
        ['UNSPECIFIED', 'ARCHITECT', 'CODER', 'REVIEWER', 'OPERATOR', 'TESTER', 'RESEARCHER'],
        toString(agent_role_number)),
    agent_id LowCardinality(String),
    tenant_id LowCardinality(String),
    user_id LowCardinality(String),
    is_encrypted Bool,
    project_id LowCardinality(String),
    session_id LowCardinality(String),
    causation_id String CODEC(ZSTD),
    correlation_id String CODEC(ZSTD),
    agent_sequence UInt64 CODEC(Delta, ZSTD),
    related_commit_hash String CODEC(ZSTD),

    decision_context_hash String CODEC(ZSTD),
    decision_input_trigger String CODEC(ZSTD),
    decision_rationale String CODEC(ZSTD),
    decision_rejected_alternatives Array(String) CODEC(ZSTD),
    decision_memory_ids Array(String) CODEC(ZSTD),
    decision_confidence_score Nullable(Float64),
    decision_attributes Map(String, String) CODEC(ZSTD),

    state_change_target_type_number Int32 EPHEMERAL,
    state_change_target_type LowCardinality(String) DEFAULT transform(
        state_change_target_type_number, [0, 1, 2, 3], ['', 'FILE', 'SYMLINK', 'SUBMODULE'],
        toString(state_change_target_type_number)),
    state_change_target_resource String CODEC(ZSTD),
    state_change_previous_state_hash String CODEC(ZSTD),
    state_change_new_state_hash String CODEC(ZSTD),
    state_change_diff_patch String CODEC(ZSTD),
    state_change_is_reversible Bool,
    state_change_operation_number Int32 EPHEMERAL,
    state_change_operation LowCardinality(String) DEFAULT transform(
        state_change_operation_number, [0, 1, 2, 3, 4], ['', 'CREATE', 'MODIFY', 'DELETE', 'RENAME'],
        toString(state_change_operation_number)),
    state_change_mode UInt32,
    state_change_renamed_from String CODEC(ZSTD),
    state_change_blob_hash String CODEC(ZSTD),

    system_signal_status_number Int32 EPHEMERAL,
    system_signal_status LowCardinality(String) DEFAULT transform(
        system_signal_status_number, [0, 1, 2, 3, 4, 5],
        ['', 'IDLE', 'BUSY', 'BLOCKED', 'ERROR', 'STOPPED'], toString(system_signal_status_number)),
    system_signal_cpu_load_percent Float64,
    system_signal_memory_usage_mb Float64,
    system_signal_detail String CODEC(ZSTD),

    message_kind_number Int32 EPHEMERAL,
    message_kind LowCardinality(String) DEFAULT transform(
        message_kind_number, [0, 1, 2, 3, 4], ['', 'NEGOTIATION', 'WARNING', 'ORDER', 'INFORMATION'],
        toString(message_kind_number)),
    message_to_agent_id String CODEC(ZSTD),
    message_content String CODEC(ZSTD),

    tool_call_name LowCardinality(String),
    tool_call_arguments String CODEC(ZSTD),
    tool_call_result String CODEC(ZSTD),
    tool_call_exit_code Nullable(Int32),
    tool_call_duration_ms Float64,
    tool_call_input_tokens UInt64,
    tool_call_output_tokens UInt64,
    tool_call_cost_usd Float64,

    checkpoint_name String,
    checkpoint_description String CODEC(ZSTD),

    event_bytes String CODEC(ZSTD(3)),

    INDEX occurred_range timestamp TYPE minmax,
    INDEX recorded_range recorded TYPE minmax
)
ENGINE = ReplacingMergeTree(_rank)
-- A function of the id alone, so that one id is one event whatever else is said of it; in UUIDv7 order it is time order.
ORDER BY (tenant_id, project_id, UUIDv7ToDateTime(event_id, 'UTC'), event_id)
SETTINGS
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000;
