-- An outbox: what agents recorded on this machine, in the order it was recorded. Format 1.

-- Facts about the file, and its counters: held_rows and held_bytes are what `rows` holds, deleted_rows is how many went
-- because the ledger has them, dropped_signals how many signals made room for others.
CREATE TABLE about (key TEXT PRIMARY KEY, value ANY) STRICT;

-- One event, or one part of a large content, which stands before the event that names it.
-- `data` of an event is its SwarmEvent in protobuf, as every store keeps it.
CREATE TABLE rows (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL CHECK (kind IN ('event', 'part')),
  event_id TEXT NOT NULL,
  occurred_us INTEGER NOT NULL,
  agent_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  payload TEXT NOT NULL,
  -- The path of a changed file; the SHA-256 of a part.
  resource TEXT NOT NULL,
  -- The beginning of what was said.
  summary TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;
CREATE INDEX parts ON rows (resource) WHERE kind = 'part';
CREATE INDEX signals ON rows (number) WHERE payload = 'system_signal';

-- What is sent as one message: the rows from `first` to `last`. Stored before it is sent, so that what is sent again is
-- the same message. `stream` and `sequence` say where the log has it, `covered_us` when the ledger was seen to have it.
CREATE TABLE batches (
  batch INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('events', 'part')),
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  row_count INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  stream TEXT,
  sequence INTEGER,
  sent_us INTEGER,
  covered_us INTEGER
) STRICT;
CREATE UNIQUE INDEX ends ON batches (last);
CREATE INDEX unsent ON batches (batch) WHERE sequence IS NULL;
CREATE INDEX uncovered ON batches (sequence) WHERE covered_us IS NULL;

-- Why an agent's numbers have gaps: signals that made room (overflow policy drop_signals).
CREATE TABLE dropped (
  agent_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  signals INTEGER NOT NULL,
  first_us INTEGER NOT NULL,
  last_us INTEGER NOT NULL,
  PRIMARY KEY (agent_id, session_id)
) STRICT;

-- For people.
CREATE VIEW log AS
SELECT
  rows.number,
  strftime('%Y-%m-%dT%H:%M:%fZ', rows.occurred_us / 1e6, 'unixepoch') AS time,
  rows.agent_id AS agent,
  rows.payload AS what,
  trim(rows.resource || ' ' || rows.summary) AS summary,
  rows.size_bytes,
  CASE
    WHEN batches.covered_us IS NOT NULL THEN 'covered'
    WHEN batches.sequence IS NOT NULL THEN 'sent'
    ELSE 'waiting'
  END AS state,
  rows.event_id
FROM rows LEFT JOIN batches ON batches.batch = (
  SELECT batch FROM batches AS each WHERE each.last >= rows.number ORDER BY each.last LIMIT 1
)
WHERE rows.kind = 'event';
