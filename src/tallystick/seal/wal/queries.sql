-- Statements of the reader of the WAL.

-- name: lock_reader
-- One reader a database; the lock ends with the session.
SELECT pg_try_advisory_lock(1952541817, -3);

-- name: server_state
-- What reading depends on: the server, the slot, the position, and whether anything is to be read.
SELECT
  current_setting('wal_level'), tally.wal_slot(), (SELECT c.system_identifier::text FROM pg_control_system() AS c),
  s.slot_name IS NOT NULL, coalesce(s.wal_status, '') = 'lost', coalesce(s.plugin, '') = 'pgoutput',
  s.confirmed_flush_lsn::text, w.epoch, w.system_identifier, w.position::text,
  tally.wal_publication()::bigint, w.publication::bigint
FROM (SELECT 1) AS one
LEFT JOIN pg_replication_slots AS s ON s.slot_name = tally.wal_slot()
LEFT JOIN tally.wal_positions AS w ON w.slot_name = tally.wal_slot();

-- name: create_slot
-- Makes the slot; waits for the transactions that run now.
SELECT lsn::text FROM pg_create_logical_replication_slot(tally.wal_slot(), 'pgoutput');

-- name: drop_slot
-- Drops the slot, if it is there and nobody reads it.
SELECT pg_drop_replication_slot(s.slot_name) FROM pg_replication_slots AS s WHERE s.slot_name = tally.wal_slot();

-- name: open_wal
-- Notes a slot that was made just now; breaks the sources that an earlier one served.
SELECT tally.open_wal_v1(%(system)s, %(position)s::pg_lsn, %(reason)s);

-- name: adopt_wal
-- The slot serves the sources that were added since.
SELECT tally.adopt_wal_v1();

-- name: move_position
-- All rows of commits up to here are queued, in this transaction or before.
UPDATE tally.wal_positions SET position = %(position)s::pg_lsn, moved_at = tally.clock() WHERE slot_name = tally.wal_slot();

-- name: position
-- How far the WAL has been read.
SELECT position::text FROM tally.wal_positions WHERE slot_name = tally.wal_slot();

-- name: mark
-- Writes a mark and returns its place.
SELECT tally.mark_wal()::text;

-- name: wal_sources
-- Which tables are read, and for which sources.
SELECT
  source_no, log_id, source_table, relation::bigint, member::bigint, on_update, on_delete, on_truncate,
  wal_from::text, wal_until::text, relkind, version
FROM tally.wal_sources;

-- name: statement
-- The statement that queues messages of one relation for a source.
SELECT tally.wal_statement(%(source_no)s, %(names)s, %(types)s::oid[], %(is_update)s);

-- name: draw
-- Our transaction's id first, the sequencer's floor builds on that; then so many places in the queue.
SELECT t.xid::text::bigint, (SELECT array_agg(nextval('tally.capture_seq')) FROM generate_series(1, %(count)s))
FROM (SELECT pg_current_xact_id() AS xid OFFSET 0) AS t;

-- name: queue_truncate
-- The leaf of a TRUNCATE that emptied a source.
SELECT tally.queue_wal_truncate_v1(%(source_no)s, %(seq)s, %(at)s, %(xid)s, %(actor)s);

-- name: note_break
-- Changes were read that cannot be recorded; the source's row is not locked for it.
SELECT tally.note_wal_break_v1(%(source_no)s, %(code)s, %(message)s);

-- name: apply_breaks
-- Breaks the sources of which that was noted.
SELECT tally.apply_wal_breaks_v1();

-- name: is_same_publication
-- Whether the publication is the one with which the slot was opened.
SELECT EXISTS (SELECT FROM tally.wal_positions AS w WHERE w.slot_name = tally.wal_slot() AND w.publication = tally.wal_publication());

-- name: start_wal
-- Changes that committed before this place are among the rows that were queued under the table's lock.
SELECT tally.start_wal_v1(%(source_no)s, %(position)s::pg_lsn);

-- name: is_needed
-- Whether any source's changes are to be read from the WAL: also the last ones of a source that ended.
SELECT EXISTS (SELECT FROM tally.verification_sources AS s
               WHERE s.capture::text = 'wal' AND s.relation IS NOT NULL AND s.status <> 'detached')
  OR EXISTS (SELECT FROM tally.wal_sources) OR EXISTS (SELECT FROM tally.wal_breaks);

-- name: is_from_wal
-- Whether a source's changes are read from the WAL.
SELECT capture::text = 'wal' FROM tally.verification_sources WHERE source_no = %(source_no)s;

-- name: lag
-- How much WAL is still to be read, and how much the server may yet keep for the slot; bytes.
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), w.position)::bigint, s.slot_name IS NOT NULL, coalesce(s.active, false),
       coalesce(s.wal_status, 'lost'), s.safe_wal_size
FROM tally.wal_positions AS w LEFT JOIN pg_replication_slots AS s ON s.slot_name = w.slot_name
WHERE w.slot_name = tally.wal_slot();

-- name: last_said
-- The highest place that log and queue have for each of these keys of a source, and for the truncates that end them all.
SELECT k.source_key, greatest(
  (SELECT max(m.seq) FROM tally.merkle_log AS m
   WHERE m.log_id = s.log_id AND m.source_table = s.source_table AND m.source_key IN (k.source_key, '[]')),
  (SELECT max(c.seq) FROM tally.capture AS c
   WHERE c.log_id = s.log_id AND c.source_no = s.source_no AND c.source_key IN (k.source_key, '[]')))
FROM tally.verification_sources AS s CROSS JOIN unnest(%(keys)s::text[]) AS k (source_key)
WHERE s.source_no = %(source_no)s AND s.capture::text = 'wal';
