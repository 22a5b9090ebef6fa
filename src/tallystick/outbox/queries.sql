-- name: insert_event
-- Writes an event in the transaction of its fact; it has no position yet.
INSERT INTO tally.outbox_events (topic, key, user_id, payload)
VALUES (%(topic)s, %(key)s, %(user_id)s, %(payload)s::jsonb) RETURNING event_id;

-- name: insert_events
-- Writes events in their order in the transaction of their fact; they have no positions yet.
INSERT INTO tally.outbox_events (topic, key, user_id, payload)
SELECT i.topic, i.key, i.user_id, i.payload::jsonb
FROM unnest(%(topics)s::text[], %(keys)s::text[], %(user_ids)s::text[], %(payloads)s::text[])
  WITH ORDINALITY AS i (topic, key, user_id, payload, place)
ORDER BY i.place;

-- name: newest_position
-- The position that was given last; cursors remember it where an operator removed events.
SELECT greatest(
  (SELECT coalesce(max(e.position), 0) FROM tally.outbox_events AS e),
  (SELECT coalesce(max(c.position), 0) FROM tally.outbox_cursors AS c));

-- name: read_events
-- Selected events between two positions; a reader sees what his scopes open and what is his own.
SELECT e.event_id, e.position, e.topic, e.key, e.user_id, e.payload::text, e.created_at
FROM tally.outbox_events AS e
WHERE e.position > %(after)s AND e.position <= %(through)s
  AND (%(topics)s::text[] IS NULL OR e.topic = ANY (%(topics)s::text[]))
  AND (%(key)s::text IS NULL OR e.key = %(key)s::text)
  AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s::text)
  AND (%(readable)s::text[] IS NULL OR e.topic = ANY (%(readable)s::text[]) OR e.user_id = %(reader_id)s::text)
ORDER BY e.position LIMIT %(limit)s;

-- name: take_lock
-- The lock of the one worker, until the session ends.
SELECT pg_try_advisory_lock(%(lock_class)s::integer, %(lock_object)s::integer);

-- name: number_events
-- Numbers what this statement sees, in event_id order, behind the newest position.
WITH unnumbered AS MATERIALIZED (
  -- Locked first: a row that is deleted meanwhile drops out before the rows are counted.
  SELECT e.event_id FROM tally.outbox_events AS e
  WHERE e.position IS NULL ORDER BY e.event_id LIMIT %(limit)s FOR UPDATE
), counted AS (
  SELECT u.event_id, row_number() OVER (ORDER BY u.event_id) AS place FROM unnumbered AS u
), newest AS (
  SELECT greatest(
    (SELECT coalesce(max(e.position), 0) FROM tally.outbox_events AS e),
    (SELECT coalesce(max(c.position), 0) FROM tally.outbox_cursors AS c)) AS position
)
UPDATE tally.outbox_events AS e SET position = n.position + c.place
FROM counted AS c CROSS JOIN newest AS n WHERE e.event_id = c.event_id;

-- name: notify
-- Tells the listeners of a channel.
SELECT pg_notify(%(channel)s, %(message)s);

-- name: listen
-- Hears of new positions; the channel is `WAKE_CHANNEL` of numbering.py.
LISTEN tally_outbox;

-- name: add_sink
-- Adds a sink; false where the name is taken.
SELECT tally.add_sink_v1(%(sink)s, %(kind)s::tally.sink_kind, %(config)s, %(topics)s::text[], %(position)s::bigint);

-- name: pause_sink
-- Stops a sink or lets it go on; false where there is none.
SELECT tally.pause_sink_v1(%(sink)s, %(pause)s);

-- name: sink_result
-- Records what a sink took or why it did not; false where the cursor was moved by somebody else.
SELECT tally.sink_result_v1(%(sink)s, %(before)s::bigint, %(after)s::bigint, %(error)s);

-- name: read_cursor
-- One sink.
SELECT c.sink, c.kind::text, c.config, c.topics, c.position, c.status::text, c.next_try_at <= tally.clock()
FROM tally.outbox_cursors AS c WHERE c.sink = %(sink)s;

-- name: lock_cursor
-- One sink, kept where it is until the transaction ends.
SELECT c.sink, c.kind::text, c.config, c.topics, c.position, c.status::text, c.next_try_at <= tally.clock()
FROM tally.outbox_cursors AS c WHERE c.sink = %(sink)s FOR UPDATE;

-- name: due_sinks
-- Sinks that may be tried now and have not got to the newest position.
SELECT c.sink FROM tally.outbox_cursors AS c
WHERE c.status <> 'paused' AND c.next_try_at <= tally.clock()
  AND c.position < (SELECT max(e.position) FROM tally.outbox_events AS e)
ORDER BY c.sink;

-- name: skip_to
-- Puts a cursor behind the skipped event; the status waits for the next delivery's result.
UPDATE tally.outbox_cursors SET position = %(position)s, attempts = 0, next_try_at = tally.clock()
WHERE sink = %(sink)s;

-- name: list_sinks
-- Every sink with what it gets next and how far it is behind; events that nobody numbers count as lag.
SELECT
  c.sink, c.kind::text, c.config, c.topics, c.position, c.status::text, c.attempts, c.next_try_at, c.last_error,
  c.created_at, newest.position - c.position,
  coalesce(greatest(extract(epoch FROM tally.clock() - coalesce(next.created_at, unnumbered.created_at)), 0), 0)::float8,
  next.event_id
FROM tally.outbox_cursors AS c
CROSS JOIN (
  SELECT greatest(
    (SELECT coalesce(max(e.position), 0) FROM tally.outbox_events AS e),
    (SELECT coalesce(max(k.position), 0) FROM tally.outbox_cursors AS k)) AS position
) AS newest
LEFT JOIN LATERAL (
  SELECT e.event_id, e.created_at FROM tally.outbox_events AS e
  WHERE e.position > c.position AND (c.topics = '{}' OR e.topic = ANY (c.topics))
  ORDER BY e.position LIMIT 1
) AS next ON true
LEFT JOIN LATERAL (
  SELECT e.created_at FROM tally.outbox_events AS e
  WHERE e.position IS NULL AND (c.topics = '{}' OR e.topic = ANY (c.topics))
  ORDER BY e.event_id LIMIT 1
) AS unnumbered ON true
ORDER BY c.sink;

-- name: delete_events
-- Deletes what is old among the oldest events that every cursor passed; the newest stays, because numbering goes on from it.
DELETE FROM tally.outbox_events AS gone
USING (
  SELECT e.event_id, e.created_at FROM tally.outbox_events AS e
  WHERE e.position < (SELECT max(n.position) FROM tally.outbox_events AS n)
    AND e.position <= (SELECT coalesce(min(c.position), 9223372036854775807) FROM tally.outbox_cursors AS c)
  ORDER BY e.position LIMIT %(limit)s
) AS oldest
WHERE gone.event_id = oldest.event_id
  AND oldest.created_at < (SELECT tally.clock() - make_interval(days => %(retention_days)s));
