-- What each agent did in each minute, by type of event.
--
-- A view, so that it is exact at every moment: what a materialized view adds up on insert counts an event twice that was
-- landed twice, and states that know the events apart hold every id and every number once more, to be no faster
-- (docs/sql.md has the figures).
CREATE OR REPLACE VIEW swarm_minutes AS
SELECT
    tenant_id,
    project_id,
    toStartOfMinute(timestamp) AS minute,
    agent_id,
    event_type,
    count() AS events,
    countIf(is_error) AS errors,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd,
    sum(duration_ms) AS duration_ms,
    sum(ifNull(lines_added, 0)) AS lines_added,
    sum(ifNull(lines_removed, 0)) AS lines_removed
FROM swarm_events
GROUP BY tenant_id, project_id, minute, agent_id, event_type;
