-- Statements of the runtime: what `tally status` and `tally doctor` look at.

-- name: database_exists
-- Whether the server has the database.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = %(name)s)

-- name: schema_exists
-- Whether the database was ever migrated.
SELECT to_regclass('tally.schema_migrations') IS NOT NULL

-- name: logs
-- Every log with its head, what waits in its queue, and how its sources do.
SELECT l.log_name, l.origin, l.status::text, l.enabled, l.mode::text, l.visibility::text,
       coalesce(h.tree_size, 0) AS size, encode(h.root_hash, 'hex') AS root, h.signed_at AS last_checkpoint,
       q.rows_waiting, greatest(extract(epoch FROM tally.clock() - q.oldest_captured_at), 0)::double precision AS lag_seconds,
       count(s.source_no) FILTER (WHERE s.status IN ('backfilling', 'active', 'broken'))::integer AS sources,
       count(s.source_no) FILTER (WHERE s.status = 'broken')::integer AS broken_sources,
       (SELECT count(*) FROM tally.capture_quarantine AS c WHERE c.log_id = l.log_id AND c.resolved_at IS NULL)::integer
         AS quarantined
FROM tally.verification_logs AS l
LEFT JOIN tally.log_heads AS h ON h.log_id = l.log_id
INNER JOIN tally.log_lag AS q ON q.log_id = l.log_id
LEFT JOIN tally.verification_sources AS s ON s.log_id = l.log_id
GROUP BY l.log_id, h.tree_size, h.root_hash, h.signed_at, q.rows_waiting, q.oldest_captured_at
ORDER BY l.log_name

-- name: sealing_state
-- Whether the sequencers of this database seal.
SELECT status::text FROM tally.sealing

-- name: outbox_lag
-- Events that have no position yet, and how old the oldest of them is, in seconds.
SELECT count(*)::integer AS unnumbered,
       coalesce(extract(epoch FROM tally.clock() - min(created_at)), 0)::double precision AS oldest_seconds
FROM (SELECT created_at FROM tally.outbox_events WHERE position IS NULL LIMIT 100000) AS waiting

-- name: server_facts
-- Who we are, what the server is, and how far its clock is from ours.
SELECT current_user::text, current_setting('server_version'), current_setting('fsync') = 'on',
       pg_is_in_recovery(), clock_timestamp(), to_regproc('tally.set_test_clock') IS NOT NULL,
       (SELECT seqcache FROM pg_sequence WHERE seqrelid = 'tally.capture_seq'::regclass)

-- name: missing_rights
-- Rights that a worker needs and our role lacks.
SELECT wanted.privilege || ' on ' || wanted.relation
FROM (VALUES ('tally.merkle_log', 'INSERT'), ('tally.log_tiles', 'INSERT'), ('tally.checkpoints', 'INSERT'),
             ('tally.capture', 'SELECT'), ('tally.capture', 'INSERT'), ('tally.capture', 'DELETE'),
             ('tally.leaf_records', 'INSERT'), ('tally.capture_quarantine', 'INSERT'),
             ('tally.outbox_events', 'INSERT'), ('tally.outbox_events', 'DELETE')) AS wanted (relation, privilege)
WHERE NOT has_table_privilege(wanted.relation, wanted.privilege)

-- name: active_keys
-- The keys whose private halves a worker must find.
SELECT k.name, k.key_id, k.public_key FROM tally.log_keys AS k WHERE k.status = 'active' ORDER BY k.name

-- name: failed_logs
-- Logs that contradict themselves, with the reason.
SELECT l.log_name, coalesce(l.failure ->> 'code', '') FROM tally.verification_logs AS l
WHERE l.status = 'failed' ORDER BY l.log_name

-- name: source_facts
-- Every attached source with the number of its triggers, and of those that a replica's session would silence.
SELECT s.log_name, s.source_table, s.capture::text, s.status::text, s.enabled, s.problem,
       to_regclass(s.source_table)::oid IS NOT DISTINCT FROM s.relation AS same_table,
       (SELECT count(*) FROM pg_trigger AS t
        WHERE t.tgrelid = s.relation AND starts_with(t.tgname, 'tally_' || s.source_no || '_'))::integer AS triggers,
       (SELECT count(*) FROM pg_trigger AS t
        WHERE t.tgrelid = s.relation AND starts_with(t.tgname, 'tally_' || s.source_no || '_')
          AND t.tgenabled <> 'A')::integer AS silenced,
       (SELECT count(*) FROM tally.capture_quarantine AS q
        WHERE q.source_no = s.source_no AND q.resolved_at IS NULL)::integer AS quarantined
FROM tally.verification_sources AS s
WHERE s.status <> 'detached'
ORDER BY s.log_name, s.source_table

-- name: queue_facts
-- The queue's live and dead rows, the size of its index in bytes, and when it was last vacuumed.
SELECT s.n_live_tup, s.n_dead_tup, pg_relation_size('tally.capture_pkey'),
       greatest(s.last_vacuum, s.last_autovacuum)
FROM pg_stat_user_tables AS s WHERE s.relid = 'tally.capture'::regclass

-- name: empty_look
-- An empty look from below every seq: what dead rows in front of the queue cost.
SELECT EXISTS (SELECT FROM tally.capture AS c WHERE c.log_id = 0 AND c.seq > 0)

-- name: long_transactions
-- Transactions that are older than so many seconds, with who holds them.
SELECT t.pid, t.role, t.application, t.state, t.prepared, t.has_written,
       extract(epoch FROM clock_timestamp() - t.xact_start)::double precision
FROM tally.long_transactions AS t
WHERE t.xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY t.xact_start

-- name: source_place
-- Where a source's rows are: schema, table and key columns; nothing where it has no table or no key.
SELECT n.nspname::text, c.relname::text, s.key_columns
FROM tally.verification_sources AS s
INNER JOIN pg_class AS c ON c.oid = s.relation
INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE s.log_name = %(log_name)s AND s.source_table = %(source_table)s AND s.key_columns <> '{}'

-- name: is_backfilling
-- Whether a table of the log still has rows from before its triggers that are not queued.
SELECT EXISTS (SELECT FROM tally.verification_sources AS s WHERE s.log_name = %(log_name)s AND s.status = 'backfilling')

-- name: last_waiting
-- The highest seq that waits in a log's queue now; NULL where nothing does.
SELECT max(c.seq) FROM tally.capture AS c
WHERE c.log_id = (SELECT l.log_id FROM tally.verification_logs AS l WHERE l.log_name = %(log_name)s)

-- name: is_waiting
-- Whether anything up to this seq still waits in a log's queue.
SELECT EXISTS (SELECT FROM tally.capture AS c
               WHERE c.log_id = (SELECT l.log_id FROM tally.verification_logs AS l WHERE l.log_name = %(log_name)s)
                 AND c.seq <= %(seq)s)

-- name: wal_facts
-- What reading the WAL needs of the server and of our role.
SELECT current_setting('wal_level'), r.rolname::text, r.rolsuper OR r.rolreplication,
       EXISTS (SELECT FROM pg_publication AS p WHERE p.pubname = 'tally'), current_setting('max_slot_wal_keep_size') = '-1'
FROM pg_roles AS r WHERE r.rolname = current_user

-- name: purposes
-- What accounts are for: each purpose that a type of transaction has.
SELECT DISTINCT t.purpose FROM tally.blockchain_transaction_types AS t ORDER BY t.purpose
