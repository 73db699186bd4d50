-- What analysts ask: every event exactly once, under short names, with the payload as JSON computed only where it is read.
-- FINAL, because it beats LIMIT 1 BY in nearly every question (docs/sql.md has the figures).
CREATE OR REPLACE VIEW swarm_events AS
SELECT
    event_id,
    timestamp,
    recorded AS recorded_at,
    (toUnixTimestamp64Micro(recorded) - toUnixTimestamp64Micro(timestamp)) / 1000 AS recording_delay_ms,
    event_type,
    tenant_id,
    project_id,
    session_id,
    user_id,
    agent_id,
    agent_role,
    agent_sequence,
    trace_id,
    span_id,
    causation_id,
    correlation_id,
    related_commit_hash,
    is_encrypted,
    (ifNull(tool_call_exit_code, 0) != 0 OR system_signal_status = 'ERROR')::Bool AS is_error,

    decision_context_hash AS context_hash,
    decision_input_trigger AS input_trigger,
    decision_rationale AS rationale,
    decision_rejected_alternatives AS rejected_alternatives,
    decision_memory_ids AS memory_ids,
    decision_confidence_score AS confidence_score,
    decision_attributes AS attributes,
    decision_attributes['undone_event'] AS undone_event,
    decision_attributes['undone_agent'] AS undone_agent,

    state_change_target_type AS target_type,
    state_change_target_resource AS target_resource,
    state_change_operation AS operation,
    state_change_mode AS mode,
    state_change_previous_state_hash AS previous_state_hash,
    state_change_new_state_hash AS new_state_hash,
    state_change_diff_patch AS diff_patch,
    state_change_renamed_from AS renamed_from,
    state_change_is_reversible AS is_reversible,
    state_change_blob_hash AS blob_hash,
    state_change_lines_added AS lines_added,
    state_change_lines_removed AS lines_removed,

    system_signal_status AS status,
    system_signal_cpu_load_percent AS cpu_load_percent,
    system_signal_memory_usage_mb AS memory_usage_mb,
    system_signal_detail AS signal_detail,

    message_kind,
    message_to_agent_id AS to_agent_id,
    message_content,

    tool_call_name AS tool_name,
    tool_call_arguments AS tool_arguments,
    tool_call_result AS tool_result,
    tool_call_exit_code AS exit_code,
    tool_call_duration_ms AS duration_ms,
    tool_call_input_tokens AS input_tokens,
    tool_call_output_tokens AS output_tokens,
    tool_call_input_tokens + tool_call_output_tokens AS tokens,
    tool_call_cost_usd AS cost_usd,

    checkpoint_name,
    checkpoint_description,
    checkpoint_through_event_id,
    checkpoint_project_ids,
    checkpoint_origin_project_id,

    multiIf(
        event_type = 'DECISION', concat('{"decision":', toJSONString(CAST(tuple(
            decision_context_hash, decision_input_trigger, decision_rationale, decision_rejected_alternatives,
            decision_memory_ids, decision_confidence_score, decision_attributes),
            'Tuple(context_hash String, input_trigger String, rationale String, rejected_alternatives Array(String), memory_ids Array(String), confidence_score Nullable(Float64), attributes Map(String, String))')), '}'),
        event_type = 'STATE_CHANGE', concat('{"state_change":', toJSONString(CAST(tuple(
            toString(state_change_target_type), state_change_target_resource, toString(state_change_operation),
            state_change_mode, state_change_previous_state_hash, state_change_new_state_hash, state_change_diff_patch,
            state_change_renamed_from, state_change_is_reversible, state_change_blob_hash),
            'Tuple(target_type String, target_resource String, operation String, mode UInt32, previous_state_hash String, new_state_hash String, diff_patch String, renamed_from String, is_reversible Bool, blob_hash String)')), '}'),
        event_type = 'SYSTEM_SIGNAL', concat('{"system_signal":', toJSONString(CAST(tuple(
            toString(system_signal_status), system_signal_cpu_load_percent, system_signal_memory_usage_mb,
            system_signal_detail),
            'Tuple(status String, cpu_load_percent Float64, memory_usage_mb Float64, detail String)')), '}'),
        event_type = 'MESSAGE', concat('{"message":', toJSONString(CAST(tuple(
            toString(message_kind), message_to_agent_id, message_content),
            'Tuple(kind String, to_agent_id String, content String)')), '}'),
        event_type = 'TOOL_CALL', concat('{"tool_call":', toJSONString(CAST(tuple(
            toString(tool_call_name), tool_call_arguments, tool_call_result, tool_call_exit_code, tool_call_duration_ms,
            tool_call_input_tokens, tool_call_output_tokens, tool_call_cost_usd),
            'Tuple(name String, arguments String, result String, exit_code Nullable(Int32), duration_ms Float64, input_tokens UInt64, output_tokens UInt64, cost_usd Float64)')), '}'),
        event_type = 'CHECKPOINT', concat('{"checkpoint":', toJSONString(CAST(tuple(
            checkpoint_name, checkpoint_description, checkpoint_through_event_id, checkpoint_project_ids,
            checkpoint_origin_project_id),
            'Tuple(name String, description String, through_event_id String, project_ids Array(String), origin_project_id String)')), '}'),
        '{}') AS payload_json,

    event_bytes,
    log_stream,
    log_partition,
    log_sequence,
    log_index
FROM events FINAL;
