-- name: successor
-- The log that continues a log.
SELECT log_name FROM tally.verification_logs WHERE predecessor_log_id = %(log_id)s;

-- name: continues
-- Whether a log continues another one, at whatever distance, and takes leaves of the same forms.
WITH RECURSIVE chain AS (
  SELECT l.log_id, l.predecessor_log_id, l.mode FROM tally.verification_logs AS l WHERE l.log_id = %(to_id)s
  UNION ALL
  SELECT l.log_id, l.predecessor_log_id, l.mode
  FROM chain AS c INNER JOIN tally.verification_logs AS l ON l.log_id = c.predecessor_log_id AND l.mode = c.mode
)
SELECT EXISTS (SELECT FROM chain AS c WHERE c.log_id = %(from_id)s) AND %(to_id)s <> %(from_id)s;

-- name: attached_sources
-- The sources that feed a log, each with its table, in the order in which they are locked. What is polled is not to be touched,
-- and often cannot be locked: its poller looks at the source's row before it queues.
SELECT s.source_no, CASE WHEN s.capture <> 'poll' THEN c.oid::bigint END
FROM tally.verification_sources AS s LEFT JOIN pg_catalog.pg_class AS c ON c.oid = s.relation
WHERE s.log_id = %(log_id)s AND s.status <> 'detached'
ORDER BY s.source_no;

-- name: read_from_wal
-- Whether some of these sources are served by the slot.
SELECT EXISTS (
  SELECT FROM tally.verification_sources AS s
  WHERE s.source_no = ANY (%(source_nos)s) AND s.capture::text = 'wal' AND s.wal_epoch IS NOT NULL);

-- name: lock_tables
-- Holds the writers of tables back.
SELECT tally.lock_tables(%(relations)s::bigint[]::oid[]);

-- name: hold_pushes
-- Waits for the pushes in flight, and keeps later ones out until the transaction ends.
SELECT pg_advisory_xact_lock(1952541818, %(log_id)s);

-- name: lock_log
-- Nobody freezes the log, fails it, or adds a source to it until the transaction ends.
SELECT status::text FROM tally.verification_logs WHERE log_id = %(log_id)s FOR UPDATE;

-- name: move_source
-- Continues a source in another log; returns the number that it has there.
SELECT tally.move_source_v1(%(source_no)s, %(log_id)s);

-- name: carry_queue
-- Hands the queue of a failed log to its successor.
SELECT tally.carry_queue_v1(%(from_id)s, %(to_id)s);

-- name: moved_triggers
-- Sources that ended and still have triggers, which are off.
SELECT DISTINCT s.source_no
FROM tally.verification_sources AS s
INNER JOIN pg_catalog.pg_trigger AS t ON t.tgname = 'tally_' || s.source_no || '_insert'
WHERE s.status = 'detached' ORDER BY s.source_no;

-- name: give_way
-- Statements of this transaction wait for no lock longer than others would notice.
SELECT set_config('lock_timeout', '50ms', true);

-- name: families
-- Every family of logs, by name.
SELECT f.family, f.log_id, l.log_name, f.period, f.next_at, f.enabled, f.created_at
FROM tally.log_shards AS f INNER JOIN tally.verification_logs AS l ON l.log_id = f.log_id
ORDER BY f.family;

-- name: due_families
-- The families whose next shard is due.
SELECT family FROM tally.log_shards WHERE enabled AND next_at <= tally.clock() ORDER BY next_at, family;

-- name: lock_due_family
-- One of them with what the time is, unless another process turns it just now.
SELECT f.family, f.log_id, l.log_name, f.period, tally.clock()
FROM tally.log_shards AS f INNER JOIN tally.verification_logs AS l ON l.log_id = f.log_id
WHERE f.family = %(family)s AND f.enabled AND f.next_at <= tally.clock()
FOR UPDATE OF f SKIP LOCKED;

-- name: family_of
-- The family whose current shard a log is.
SELECT family, next_at FROM tally.log_shards WHERE log_id = %(log_id)s;

-- name: now
-- What the time is.
SELECT tally.clock();

-- name: shard_log
-- Makes a log the first shard of a family, or gives a family another period.
SELECT tally.shard_log_v1(%(family)s, %(log_id)s, %(period)s, %(next_at)s, %(enabled)s);

-- name: turn_shard
-- Lets a family know its newest shard, and when the next one is due.
SELECT tally.turn_shard_v1(%(family)s, %(next_at)s);
