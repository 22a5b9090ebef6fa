-- name: find_table
-- The table that a caller means by a name.
SELECT tally.find_table(%(name)s)::bigint;

-- name: read_table
-- Everything that decisions about a table are made on, from the catalogue.
SELECT
  c.oid::bigint, tally.table_name(c.oid), n.nspname, c.relname, c.relkind::text, c.relpersistence::text,
  c.relrowsecurity,
  o.rolsuper OR o.rolbypassrls OR (c.relowner = o.oid AND NOT c.relforcerowsecurity),
  EXISTS (SELECT FROM pg_catalog.pg_subscription_rel AS r WHERE r.srrelid = c.oid),
  pg_has_role(current_user, c.relowner, 'USAGE'),
  has_schema_privilege('tally_owner', n.oid, 'USAGE'),
  has_table_privilege('tally_owner', c.oid, 'SELECT'),
  has_any_column_privilege('tally_owner', c.oid, 'UPDATE'),
  tally.table_fingerprint(c.oid),
  (SELECT coalesce(jsonb_agg(jsonb_build_object(
     'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'is_bytea', a.atttypid = 'bytea'::regtype,
     'is_not_null', a.attnotnull, 'is_virtual', a.attgenerated = 'v',
     'base_type', pg_catalog.format_type(tally.base_type(a.atttypid), NULL)) ORDER BY a.attnum), '[]')
   FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT coalesce(jsonb_agg(jsonb_build_object(
     'name', x.relname, 'is_primary', i.indisprimary, 'is_immediate', i.indimmediate, 'is_valid', i.indisvalid,
     'is_partial', i.indpred IS NOT NULL, 'has_expressions', i.indexprs IS NOT NULL,
     'columns', (SELECT coalesce(jsonb_agg(a.attname ORDER BY k.place), '[]')
                 FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
                 INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
                 WHERE k.place <= i.indnkeyatts)) ORDER BY x.relname), '[]')
   FROM pg_catalog.pg_index AS i INNER JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
   WHERE i.indrelid = c.oid AND i.indisunique),
  (SELECT coalesce(jsonb_agg(jsonb_build_object(
     'relation', m.relation::bigint, 'name', tally.table_name(m.relation), 'kind', k.relkind, 'persistence', k.relpersistence)
     ORDER BY m.relation), '[]')
   FROM tally.table_members(c.oid) AS m (relation) INNER JOIN pg_catalog.pg_class AS k ON k.oid = m.relation)
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
INNER JOIN pg_catalog.pg_roles AS o ON o.rolname = 'tally_owner'
WHERE c.oid = %(relation)s::bigint::oid;

-- name: read_triggers
-- Every trigger that the source needs now, with whether it stands and fires; none where it is polled.
SELECT w.relation::bigint, tally.table_name(w.relation), w.trigger_name, p.relation IS NOT NULL, coalesce(p.is_enabled, false)
FROM tally.wanted_triggers(%(source_no)s) AS w
LEFT JOIN tally.present_triggers(%(source_no)s) AS p ON p.relation = w.relation AND p.trigger_name = w.trigger_name
WHERE NOT EXISTS (SELECT FROM tally.verification_sources AS s WHERE s.source_no = %(source_no)s AND s.capture = 'poll')
ORDER BY w.relation, w.trigger_name;

-- name: sources
-- Every source, by log and table.
SELECT
  source_table, log_name, log_id, source_no, relation::bigint, capture::text, leaf_form::text, hash_column, order_column,
  timestamp_column, key_columns, key_types, include_columns, exclude_columns, private_columns, on_update::text,
  on_delete::text, on_truncate::text, enabled, status::text, problem, poll_cursor, poll_lookback,
  reconcile_interval_seconds, covered_relations::bigint[],
  backfill_relations::bigint[], backfill_after, schema_fingerprint, created_at, checked_at, reconciled_at
FROM tally.verification_sources
WHERE (%(log_name)s::text IS NULL OR log_name = %(log_name)s) AND (%(source_no)s::integer IS NULL OR source_no = %(source_no)s)
ORDER BY log_name, source_table;

-- name: lock_source
-- Holds the source's row, so that two validations of one source never mix.
SELECT source_no FROM tally.verification_sources WHERE source_no = %(source_no)s FOR NO KEY UPDATE;

-- name: new_sources
-- Sources that were plainly inserted, or written down in SQL, and wait to be installed.
SELECT source_no FROM tally.verification_sources
WHERE relation IS NULL AND status = 'backfilling' ORDER BY source_no;

-- name: switched_sources
-- Sources whose `enabled` was changed by plain SQL and not followed yet.
SELECT source_no FROM tally.verification_sources
WHERE relation IS NOT NULL
  AND CASE WHEN enabled THEN status = 'broken' AND problem ->> 'code' = 'disabled'
           ELSE status IN ('backfilling', 'active') END
ORDER BY source_no;

-- name: polled_sources
-- Sources to be polled, with the pause of their logs.
SELECT s.source_no, l.batch_interval_ms
FROM tally.verification_sources AS s INNER JOIN tally.verification_logs AS l ON l.log_id = s.log_id
WHERE s.capture = 'poll' AND s.relation IS NOT NULL AND s.enabled AND s.status IN ('backfilling', 'active')
ORDER BY s.source_no;

-- name: install_poll
-- Binds a source that is polled to its table, key and order.
SELECT tally.install_poll_v1(
  %(source_no)s, %(relation)s::bigint::oid, %(key_columns)s, %(key_types)s, %(leaf_form)s::tally.leaf_form,
  %(order_column)s, %(timestamp_column)s, %(poll_lookback)s, %(reconcile_interval_seconds)s);

-- name: grant_polling
-- Lets tally_poller read a table; whether it may.
SELECT tally.grant_polling(%(relation)s::bigint::oid);

-- name: may_poll
-- Whether tally_poller may read a table.
SELECT has_schema_privilege('tally_poller', c.relnamespace, 'USAGE') AND has_table_privilege('tally_poller', c.oid, 'SELECT')
FROM pg_catalog.pg_class AS c WHERE c.oid = %(relation)s::bigint::oid;

-- name: poll_page
-- Queues what the next page of a polled table has that the log does not know.
SELECT p.rows_read, p.rows_queued, p.last_order, p.finished FROM tally.poll_page_v1(%(source_no)s, %(after)s, %(page_rows)s) AS p;

-- name: unfinished_backfills
-- Sources of which rows are still to be queued, the oldest first.
SELECT source_no FROM tally.verification_sources
WHERE backfill_relations <> '{}' AND status IN ('backfilling', 'active') AND capture = 'trigger' AND enabled
ORDER BY source_no;

-- name: add_source
-- Writes down a new source.
SELECT tally.add_source_v1(
  %(log_name)s, %(source_table)s, %(key_columns)s, %(include_columns)s, %(exclude_columns)s, %(private_columns)s,
  %(leaf_form)s::tally.leaf_form, %(hash_column)s, %(on_update)s::tally.capture_rule, %(on_delete)s::tally.capture_rule,
  %(on_truncate)s::tally.truncate_rule);

-- name: install_source
-- Binds a source to its table and key.
SELECT tally.install_source_v1(
  %(source_no)s, %(relation)s::bigint::oid, %(key_columns)s, %(key_types)s, %(leaf_form)s::tally.leaf_form,
  %(on_truncate)s::tally.truncate_rule);

-- name: grant_reading
-- Lets tally_owner read a table and lock its rows, as the table's owner.
SELECT tally.grant_reading(%(relation)s::bigint::oid, %(key_columns)s);

-- name: create_capture
-- Generates the source's functions from its columns as they are now.
SELECT tally.create_capture(%(source_no)s);

-- name: create_capture_triggers
-- Puts the triggers on the table and its descendants, as the table's owner.
SELECT tally.create_capture_triggers(%(source_no)s);

-- name: drop_capture_triggers
-- Takes them away, as the table's owner.
SELECT tally.drop_capture_triggers(%(source_no)s);

-- name: switch_capture_triggers
-- Turns them on or off, as the table's owner.
SELECT tally.switch_capture_triggers(%(source_no)s, %(enabled)s);

-- name: cover_members
-- Notes the descendants that have triggers now; the new ones with rows are still to be queued.
SELECT tally.cover_members_v1(%(source_no)s);

-- name: refresh_source
-- Generates the functions anew after DDL; a changed column set becomes a schema leaf.
SELECT tally.refresh_source_v1(%(source_no)s);

-- name: break_source
-- Marks the source broken; false where it was.
SELECT tally.break_source_v1(%(source_no)s, %(problem)s, %(gap)s);

-- name: source_ready
-- Marks the source active.
SELECT tally.source_ready_v1(%(source_no)s);

-- name: detach_source
-- Ends the source.
SELECT tally.detach_source_v1(%(source_no)s);

-- name: set_enabled
-- Whether the source is to be captured; validation turns its triggers as this says.
UPDATE tally.verification_sources SET enabled = %(enabled)s WHERE source_no = %(source_no)s;

-- name: mark_checked
-- The source was validated now.
UPDATE tally.verification_sources SET checked_at = tally.clock() WHERE source_no = %(source_no)s;

-- name: is_read_committed
-- Whether each statement has its own snapshot, so that one after a lock sees what the lock waited for.
SELECT current_setting('transaction_isolation') = 'read committed';

-- name: lock_table
-- Locks a table and its descendants against writers, or against all; waits 2 seconds.
SELECT tally.lock_table(%(relation)s::bigint::oid, %(exclusively)s);

-- name: statement_patience
-- How long the statements that follow may run; returns what it was.
SELECT current_setting('statement_timeout') AS before, set_config('statement_timeout', %(timeout)s, true);

-- name: rebind_source
-- Binds a broken source to its table as a restored dump made it.
SELECT tally.rebind_source_v1(%(source_no)s, %(relation)s::bigint::oid);

-- name: backfill_page
-- Queues the next page of rows that have neither leaf nor queue row.
SELECT p.rows_read, p.rows_queued, p.finished FROM tally.backfill_page_v1(%(source_no)s, %(page_rows)s) AS p;

-- name: requeue
-- Queues the present state of quarantined rows' keys.
SELECT r.keys_queued, r.rows_resolved, r.rows_left FROM tally.requeue_v1(%(source_no)s) AS r;

-- name: requeue_polled
-- As requeue, for a source that is polled.
SELECT r.keys_queued, r.rows_resolved, r.rows_left FROM tally.requeue_polled_v1(%(source_no)s) AS r;

-- name: choose_wal
-- A source that is not installed yet is captured from the WAL.
SELECT tally.choose_wal_v1(%(source_no)s);

-- name: attach_wal
-- Publishes the table, as its owner, with whole old rows in the WAL.
SELECT tally.attach_wal(%(source_no)s);

-- name: detach_wal
-- Takes the table out of the publication, as its owner, and gives it its replica identity back.
SELECT tally.detach_wal(%(source_no)s);

-- name: wal_problems
-- What keeps the source's changes out of the WAL's messages.
SELECT p.code, p.message FROM tally.wal_problems(%(source_no)s) AS p;

-- name: lock_page
-- Locks the next page of rows, and returns where it ends and their keys.
SELECT p.last_key, p.keys FROM tally.lock_page_v1(%(source_no)s, %(page_rows)s) AS p;

-- name: queue_page
-- Queues those of the locked rows that log and queue do not know.
SELECT p.rows_queued, p.finished FROM tally.queue_page_v1(%(source_no)s, %(last_key)s, %(keys)s) AS p;

-- name: unfinished_wal_backfills
-- Sources that a slot serves and of which rows are still to be queued.
SELECT source_no FROM tally.verification_sources
WHERE backfill_relations <> '{}' AND status IN ('backfilling', 'active') AND capture::text = 'wal' AND enabled AND wal_epoch IS NOT NULL
ORDER BY source_no;

-- name: mendable_wal_sources
-- Sources that reading the WAL broke, and that a reconcile mends.
SELECT log_name, source_table FROM tally.verification_sources
WHERE capture::text = 'wal' AND status = 'broken' AND enabled AND wal_epoch IS NOT NULL
  AND problem ->> 'code' IN ('wal_lost', 'wal_truncated')
ORDER BY source_no;
