-- How many lines a change added and removed, and indexes for what is looked for: words of a rationale, one event, its
-- consequences, its task, one file's life.
--
-- Lines are counted while the content is at hand, and absent where they cannot be known: a content that replaced another
-- one whole, that travelled apart, or that is no text; what a deletion took away; and, of whole contents, whatever was
-- landed before this migration.
ALTER TABLE events
    ADD COLUMN IF NOT EXISTS state_change_content String EPHEMERAL '' AFTER state_change_blob_hash,
    ADD COLUMN IF NOT EXISTS state_change_lines_added Nullable(UInt32) DEFAULT multiIf(
        event_type != 'STATE_CHANGE', NULL,
        state_change_diff_patch != '', countSubstrings(concat('\n', state_change_diff_patch), '\n+'),
        state_change_operation = 'DELETE' OR state_change_previous_state_hash = state_change_new_state_hash, 0,
        state_change_new_state_hash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 0,
        state_change_operation = 'CREATE' AND state_change_content != '' AND position(state_change_content, '\0') = 0,
        countSubstrings(state_change_content, '\n') + NOT endsWith(state_change_content, '\n'),
        NULL) CODEC(ZSTD) AFTER state_change_content,
    ADD COLUMN IF NOT EXISTS state_change_lines_removed Nullable(UInt32) DEFAULT multiIf(
        event_type != 'STATE_CHANGE', NULL,
        state_change_diff_patch != '', countSubstrings(concat('\n', state_change_diff_patch), '\n-'),
        state_change_operation = 'CREATE' OR state_change_previous_state_hash = state_change_new_state_hash, 0,
        NULL) CODEC(ZSTD) AFTER state_change_lines_added,
    ADD INDEX IF NOT EXISTS rationale_words lower(decision_rationale) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS event_ids event_id TYPE bloom_filter(0.001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS causes causation_id TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS tasks correlation_id TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS resources state_change_target_resource TYPE bloom_filter(0.01) GRANULARITY 1;
-- For what was landed before; it goes on after the answer.
ALTER TABLE events
    MATERIALIZE INDEX rationale_words,
    MATERIALIZE INDEX event_ids,
    MATERIALIZE INDEX causes,
    MATERIALIZE INDEX tasks,
    MATERIALIZE INDEX resources;
