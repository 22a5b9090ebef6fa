-- The outbox: effects leave through events written in the transaction of the fact (log.md, section 2.9).

CREATE TYPE tally.sink_kind AS ENUM ('sse', 'webhook', 'file', 'notify', 'firestore');
COMMENT ON TYPE tally.sink_kind IS 'How a sink delivers.';
CREATE TYPE tally.sink_status AS ENUM ('active', 'failing', 'paused');
COMMENT ON TYPE tally.sink_status IS 'Whether a sink delivers, tries again, or was stopped by an operator.';

CREATE TABLE tally.outbox_events (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  position bigint CONSTRAINT position_is_given_once UNIQUE CONSTRAINT position_counts_from_one CHECK (position >= 1),
  topic text COLLATE "C" NOT NULL CONSTRAINT topic_is_dotted CHECK (topic ~ '^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$')
    CONSTRAINT topic_is_short CHECK (octet_length(topic) <= 100),
  key text COLLATE "C" NOT NULL CONSTRAINT key_is_short CHECK (octet_length(key) BETWEEN 1 AND 1000),
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

-- Operations: what changes a status -----------------------------------------------------------------

CREATE FUNCTION tally.add_sink_v1(
  p_sink text, p_kind tally.sink_kind, p_config jsonb, p_topics text[], p_position bigint
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  newest bigint;
BEGIN
  SELECT greatest(
    (SELECT coalesce(max(e.position), 0) FROM tally.outbox_events AS e),
    (SELECT coalesce(max(c.position), 0) FROM tally.outbox_cursors AS c)) INTO newest;
  -- A cursor beyond the newest position would pass over events that nobody has written yet.
  INSERT INTO tally.outbox_cursors (sink, kind, config, topics, position)
  VALUES (p_sink, p_kind, p_config, p_topics, least(coalesce(p_position, newest), newest))
  ON CONFLICT (sink) DO NOTHING;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION tally.add_sink_v1(text, tally.sink_kind, jsonb, text[], bigint) IS
  'Adds a sink, behind the newest position unless it is told another; false where the name is taken.';

CREATE FUNCTION tally.sink_result_v1(p_sink text, p_from bigint, p_to bigint, p_error text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  cursor_row tally.outbox_cursors;
  failures integer;
BEGIN
  SELECT * INTO cursor_row FROM tally.outbox_cursors WHERE sink = p_sink FOR UPDATE;
  -- A cursor that somebody else moved in the meantime never goes back.
  IF NOT FOUND OR cursor_row.position <> p_from OR p_to < p_from THEN
    RETURN false;
  END IF;
  IF p_error IS NOT NULL THEN
    failures := CASE WHEN p_to > p_from THEN 1 ELSE cursor_row.attempts + 1 END;
    UPDATE tally.outbox_cursors SET
      position = p_to, attempts = failures, last_error = p_error,
      status = CASE WHEN status = 'active' THEN 'failing' ELSE status END,
      next_try_at = tally.clock() + make_interval(secs => least(600, 2 ^ least(failures - 1, 30)))
    WHERE sink = p_sink;
  ELSE
    UPDATE tally.outbox_cursors SET
      position = p_to, attempts = 0, last_error = NULL,
      status = CASE WHEN status = 'failing' THEN 'active' ELSE status END
    WHERE sink = p_sink;
  END IF;
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.sink_result_v1(text, bigint, bigint, text) IS
  'Moves a cursor behind what was delivered; an error sets the next try to 1 s, doubling to 10 min. False where the cursor was moved by somebody else.';

CREATE FUNCTION tally.pause_sink_v1(p_sink text, p_pause boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  UPDATE tally.outbox_cursors SET
    status = CASE
      WHEN p_pause THEN 'paused'
      WHEN status <> 'paused' THEN status
      WHEN attempts > 0 THEN 'failing'
      ELSE 'active'
    END::tally.sink_status,
    next_try_at = CASE WHEN p_pause THEN next_try_at ELSE tally.clock() END
  WHERE sink = p_sink;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION tally.pause_sink_v1(text, boolean) IS
  'Stops a sink, or lets it go on and try at once; false where there is no such sink.';
