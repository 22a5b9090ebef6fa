-- The outbox: effects leave through events written in the transaction of the fact (log.md, section 2.9).

CREATE TYPE tally.sink_kind AS ENUM ('sse', 'webhook', 'file', 'notify', 'firestore');
COMMENT ON TYPE tally.sink_kind IS 'How a sink delivers.';
CREATE TYPE tally.sink_status AS ENUM ('active', 'failing', 'paused');
COMMENT ON TYPE tally.sink_status IS 'Whether a sink delivers, tries again, or was stopped by an operator.';

CREATE TABLE tally.outbox_events (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  position bigint CONSTRAINT position_is_given_once UNIQUE CONSTRAINT position_counts_from_one CHECK (position >= 1),
  topic text COLLATE "C" NOT NULL CONSTRAINT topic_is_dotted CHECK (topic ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$'),
  key text COLLATE "C" NOT NULL,
  user_id text COLLATE "C",
  payload jsonb NOT NULL CONSTRAINT payload_is_an_object CHECK (jsonb_typeof(payload) = 'object'),
  created_at timestamptz NOT NULL DEFAULT tally.clock()
);
-- The numbering worker looks for events without position ten times a second.
CREATE INDEX outbox_events_unnumbered ON tally.outbox_events (event_id) WHERE position IS NULL;
CREATE INDEX outbox_events_by_topic ON tally.outbox_events (topic, position);
SELECT tally.describe('tally.outbox_events', 'Events, written in the transaction of the fact and numbered when they become visible.', '{
  "event_id": "Identity and idempotency key; drawn before commit, hence not an order of becoming visible.",
  "position": "Place in the order of becoming visible, gapless from 1; NULL until the numbering worker saw it.",
  "topic": "What happened, dotted: log.checkpoint.",
  "key": "What it happened to; events of one key keep their order.",
  "user_id": "Whose event it is; NULL where it is nobody''s.",
  "payload": "The event''s facts, an object.",
  "created_at": "When it was written."}');

CREATE TABLE tally.outbox_cursors (
  sink text COLLATE "C" PRIMARY KEY CONSTRAINT sink_name_is_plain CHECK (sink ~ '^[a-z][a-z0-9_-]{0,62}$'),
  kind tally.sink_kind NOT NULL,
  config jsonb NOT NULL DEFAULT '{}' CONSTRAINT config_is_an_object CHECK (jsonb_typeof(config) = 'object'),
  topics text[] COLLATE "C" NOT NULL DEFAULT '{}',
  position bigint NOT NULL DEFAULT 0 CONSTRAINT cursor_is_a_position CHECK (position >= 0),
  status tally.sink_status NOT NULL DEFAULT 'active',
  attempts integer NOT NULL DEFAULT 0 CONSTRAINT attempts_are_counted CHECK (attempts >= 0),
  next_try_at timestamptz NOT NULL DEFAULT tally.clock(),
  last_error text,
  created_at timestamptz NOT NULL DEFAULT tally.clock()
);
SELECT tally.describe('tally.outbox_cursors', 'Sinks, each with the last position that it has taken.', '{
  "sink": "Name of the sink.",
  "kind": "How it delivers.",
  "config": "What its kind needs: a URL, a path, a channel; never a secret.",
  "topics": "Topics it wants; empty means all.",
  "position": "Last position delivered or passed over.",
  "status": "State; see status_transitions.",
  "attempts": "Failed attempts at the next event, since the last success.",
  "next_try_at": "Not before this time.",
  "last_error": "What the last failed attempt said; NULL after a success.",
  "created_at": "When the sink was added."}');

INSERT INTO tally.status_transitions (table_name, column_name, from_status, to_status, function_name, condition) VALUES
  ('outbox_cursors', 'status', NULL, 'active', 'add_sink_v1', 'a sink begins at the newest position, or where it is told'),
  ('outbox_cursors', 'status', 'active', 'failing', 'sink_result_v1', 'a delivery failed; tried again after 1 s doubling to 10 min'),
  ('outbox_cursors', 'status', 'failing', 'active', 'sink_result_v1', 'a delivery succeeded'),
  ('outbox_cursors', 'status', 'active', 'paused', 'pause_sink_v1', 'an operator stops it'),
  ('outbox_cursors', 'status', 'failing', 'paused', 'pause_sink_v1', 'an operator stops it'),
  ('outbox_cursors', 'status', 'paused', 'active', 'pause_sink_v1', 'an operator resumes it'),
  ('outbox_cursors', 'status', 'paused', 'failing', 'pause_sink_v1', 'an operator resumes a sink that was failing');
SELECT tally.guard_status('tally.outbox_cursors', 'status');
