-- name: lock_log
-- One sequencer a log; the lock ends with the transaction. A full batch may take longer than a request, and sorts in memory.
-- The guard remembers what was committed, so a head must not be lost with the server: it waits for the disk where others do not.
-- Statistics of a queue are always old: without bitmaps the planner walks its index in order, and never reads all that waits.
SELECT
  pg_try_advisory_xact_lock(1952541817, %(log_id)s), set_config('statement_timeout', '300s', true),
  set_config('work_mem', '256MB', true), set_config('jit', 'off', true),
  set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true),
  set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'local'), true);

-- name: read_head
-- The log, its last checkpoint, and how far the queue's sequence has come; nothing here takes a transaction id.
-- Its place is one run of one server, one database and one table: within it seqs and transaction ids only rise.
SELECT
  l.log_name, l.origin, l.status::text, l.enabled, l.batch_size, l.freeze_requested_at IS NOT NULL,
  c.tree_size, c.root_hash, c.note,
  CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END,
  (SELECT q.seqcache FROM pg_catalog.pg_sequence AS q WHERE q.seqrelid = 'tally.capture_seq'::regclass),
  (SELECT concat_ws(' ', pg_postmaster_start_time(), d.oid, 'tally.capture'::regclass::oid)
   FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
FROM tally.verification_logs AS l
CROSS JOIN tally.capture_seq AS s
CROSS JOIN LATERAL (
  SELECT k.tree_size, k.root_hash, k.note FROM tally.checkpoints AS k
  WHERE k.log_id = l.log_id ORDER BY k.tree_size DESC LIMIT 1
) AS c
WHERE l.log_id = %(log_id)s;

-- name: active_key_ids
-- The keys that sign this log's next checkpoint.
SELECT key_id FROM tally.log_keys WHERE log_id = %(log_id)s AND status = 'active' ORDER BY created_at, key_id;

-- name: read_tiles
-- The rows of some tiles, each cut to the width asked for.
SELECT t.level, t.tile_index, substr(t.hashes, 1, w.width * 32)
FROM unnest(%(levels)s::smallint[], %(indexes)s::bigint[], %(widths)s::integer[]) AS w (level, tile_index, width)
INNER JOIN tally.log_tiles AS t ON t.log_id = %(log_id)s AND t.level = w.level AND t.tile_index = w.tile_index;

-- name: take_batch
-- Takes a batch from the queue, writes its leaves and deletes it, as one statement: one snapshot, so no row slips between.
-- What merkle_log or its index would refuse is quarantined: one such row must not stop its log.
WITH taken AS MATERIALIZED (
  DELETE FROM tally.capture
  WHERE ctid = ANY (ARRAY(
    SELECT q.ctid FROM tally.capture AS q
    WHERE q.log_id = %(log_id)s AND q.seq > %(floor)s
    ORDER BY q.seq LIMIT %(batch_size)s))
  RETURNING *, coalesce(problem, CASE
    WHEN octet_length(leaf) NOT BETWEEN 1 AND 65535 THEN 'the leaf has ' || octet_length(leaf) || ' bytes, not 1 to 65,535'
    WHEN octet_length(source_key) > 2300 THEN 'the key has ' || octet_length(source_key) || ' bytes, over 2,300'
  END) AS verdict
), appended AS (
  INSERT INTO tally.merkle_log (
    log_id, leaf_index, log_name, source_table, source_id, source_key, op, via, seq, leaf, leaf_hash, processed_at)
  SELECT
    t.log_id, %(tree_size)s::bigint + row_number() OVER (ORDER BY t.seq) - 1, %(log_name)s, s.source_table, t.source_id,
    t.source_key, t.op, t.via, t.seq, t.leaf, sha256('\x00'::bytea || t.leaf), (SELECT tally.clock())
  FROM taken AS t LEFT JOIN tally.verification_sources AS s ON s.source_no = t.source_no
  WHERE t.verdict IS NULL
  RETURNING seq, leaf_index, leaf_hash
), kept AS (
  INSERT INTO tally.leaf_records (log_id, leaf_index, salt, record)
  SELECT t.log_id, a.leaf_index, t.salt, t.record
  FROM taken AS t INNER JOIN appended AS a ON a.seq = t.seq
  WHERE t.record IS NOT NULL
), quarantined AS (
  INSERT INTO tally.capture_quarantine (
    log_id, xid, seq, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at, source_table)
  SELECT
    t.log_id, t.xid, t.seq, t.source_no, t.op, t.via, t.source_key, t.source_id, t.leaf, t.salt, t.record, t.verdict,
    t.captured_at, s.source_table
  FROM taken AS t LEFT JOIN tally.verification_sources AS s ON s.source_no = t.source_no
  WHERE t.verdict IS NOT NULL
)
SELECT
  (SELECT count(*) FROM taken),
  (SELECT count(*) FROM appended),
  (SELECT max(t.seq) FROM taken AS t),
  (SELECT min(t.captured_at) FROM taken AS t),
  coalesce((SELECT string_agg(a.leaf_hash, ''::bytea ORDER BY a.leaf_index) FROM appended AS a), ''::bytea),
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
  pg_current_xact_id()::text::bigint;

-- name: new_tiles
-- Tiles that had no hash before.
INSERT INTO tally.log_tiles (log_id, level, tile_index, hashes)
SELECT %(log_id)s, w.level, w.tile_index, w.hashes
FROM unnest(%(levels)s::smallint[], %(indexes)s::bigint[], %(hashes)s::bytea[]) AS w (level, tile_index, hashes);

-- name: grown_tiles
-- Tiles of the right edge: each must have exactly the width that the edge in memory says.
UPDATE tally.log_tiles AS t SET hashes = t.hashes || w.hashes
FROM unnest(%(levels)s::smallint[], %(indexes)s::bigint[], %(offsets)s::integer[], %(hashes)s::bytea[])
  AS w (level, tile_index, width, hashes)
WHERE t.log_id = %(log_id)s AND t.level = w.level AND t.tile_index = w.tile_index
  AND octet_length(t.hashes) = w.width * 32;

-- name: insert_checkpoint
-- The new head.
INSERT INTO tally.checkpoints (log_id, tree_size, root_hash, note, batch_rows, seal_ms)
VALUES (%(log_id)s, %(tree_size)s, %(root_hash)s, %(note)s, %(batch_rows)s, %(seal_ms)s)
RETURNING signed_at;

-- name: notify
-- Tells readers of a new head, in a transaction of its own: NOTIFY serialises commits.
SELECT pg_notify('tally_checkpoint', %(log_id)s::text || ':' || %(tree_size)s::text);

-- name: attached_sources
-- What a freeze waits for: sources that still feed the log, also those whose last changes are still to be read from the WAL, and
-- the genesis of the log that continues it, for the freeze leaf names a head that holds it.
SELECT
  (SELECT count(*) FROM tally.verification_sources AS s
   WHERE s.log_id = %(log_id)s AND (s.status <> 'detached' OR EXISTS (
     SELECT FROM tally.wal_positions AS w WHERE w.position < s.wal_until AND s.wal_epoch IS NOT NULL)
     OR EXISTS (SELECT FROM tally.wal_breaks AS b WHERE b.source_no = s.source_no)))
  + (SELECT count(*) FROM tally.verification_logs AS s
     WHERE s.predecessor_log_id = %(log_id)s AND s.control_leaves AND s.enabled AND s.status = 'active'
       AND NOT EXISTS (SELECT FROM tally.checkpoints AS c WHERE c.log_id = s.log_id AND c.tree_size > 0));

-- name: queue_freeze_leaf
-- The last leaf of a log; it names the successor, where there is one.
SELECT tally.queue_control(%(log_id)s, NULL, 'freeze', coalesce(
  (SELECT jsonb_build_object('origin', h.origin, 'size', h.tree_size, 'root', encode(h.root_hash, 'hex'))
   FROM tally.verification_logs AS s INNER JOIN tally.log_heads AS h ON h.log_id = s.log_id
   WHERE s.predecessor_log_id = %(log_id)s LIMIT 1),
  '{"origin": null, "size": null, "root": null}'::jsonb));

-- name: freeze_log
-- Ends the log, in the transaction that seals its freeze leaf.
SELECT tally.freeze_log_v1(%(log_id)s);

-- name: sealable_logs
-- The logs that a sequencer looks at.
SELECT l.log_id, l.log_name, l.batch_interval_ms, l.freeze_requested_at IS NOT NULL
FROM tally.verification_logs AS l
WHERE l.enabled AND l.status = 'active' AND l.origin IS NOT NULL
ORDER BY l.log_id;

-- name: probe
-- For every log at once: whether a row waits above its floor, and since when.
SELECT w.log_id, (
  SELECT q.captured_at FROM tally.capture AS q
  WHERE q.log_id = w.log_id AND q.seq > w.floor ORDER BY q.seq LIMIT 1
), pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
  (SELECT concat_ws(' ', pg_postmaster_start_time(), d.oid, 'tally.capture'::regclass::oid)
   FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
FROM unnest(%(log_ids)s::integer[], %(floors)s::bigint[]) AS w (log_id, floor);

-- name: listen
-- From now on this session hears into which logs entries were pushed.
LISTEN tally_push;

-- name: sealing_status
-- Whether sequencers seal, and since when.
SELECT status::text, changed_at FROM tally.sealing;

-- name: set_sealing
-- Pauses, resumes or stops sealing in every process.
SELECT tally.set_sealing_v1(%(status)s::tally.sealing_status, %(actor)s)::text;
