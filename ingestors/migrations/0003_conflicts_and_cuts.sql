-- Messages that tell of conflicts; checkpoints that name another event than their own, several projects, or a fork.
ALTER TABLE events MODIFY COLUMN message_kind LowCardinality(String) DEFAULT transform(
    message_kind_number, [0, 1, 2, 3, 4, 5],
    ['', 'NEGOTIATION', 'WARNING', 'ORDER', 'INFORMATION', 'CONFLICT'], toString(message_kind_number));
ALTER TABLE events
    ADD COLUMN IF NOT EXISTS checkpoint_through_event_id String CODEC(ZSTD) AFTER checkpoint_description,
    ADD COLUMN IF NOT EXISTS checkpoint_project_ids Array(String) CODEC(ZSTD) AFTER checkpoint_through_event_id,
    ADD COLUMN IF NOT EXISTS checkpoint_origin_project_id String CODEC(ZSTD) AFTER checkpoint_project_ids;
