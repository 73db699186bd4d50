-- How each agent was at a moment, by its heartbeats, which are its signals: one every 5 s. Three missed make it degraded, 30 s of
-- silence offline; who says STOPPED has left. Agents without a signal in the day before are not listed.
--
-- A heartbeat counts from when it happened, or from when the log had it where the agent's clock says later: what an outbox
-- held back is no sign of life, nor is a clock that runs ahead. Landed twice it tells the same, so FINAL is not needed.
CREATE OR REPLACE VIEW swarm_agents_at AS
WITH least(timestamp, recorded) AS beat
SELECT
    tenant_id,
    project_id,
    agent_id,
    argMax(agent_role, beat) AS agent_role,
    argMax(system_signal_status, beat) AS status,
    max(beat) AS last_heartbeat,
    dateDiff('millisecond', last_heartbeat, {moment:DateTime64(6, 'UTC')}) / 1000 AS silent_s,
    toUInt32(intDiv(silent_s, 5)) AS missed_heartbeats,
    multiIf(status = 'STOPPED', 'stopped', silent_s >= 30, 'offline', missed_heartbeats >= 3, 'degraded', 'healthy') AS health,
    argMax(system_signal_cpu_load_percent, beat) AS cpu_load_percent,
    argMax(system_signal_memory_usage_mb, beat) AS memory_usage_mb,
    argMax(system_signal_detail, beat) AS signal_detail
FROM events
WHERE event_type = 'SYSTEM_SIGNAL'
    AND timestamp > {moment:DateTime64(6, 'UTC')} - INTERVAL 1 DAY
    AND beat <= {moment:DateTime64(6, 'UTC')}
GROUP BY tenant_id, project_id, agent_id;
-- The same as of now.
CREATE OR REPLACE VIEW swarm_agents AS SELECT * FROM swarm_agents_at(moment = now64(6, 'UTC'));
