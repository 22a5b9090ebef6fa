-- Who may do what (log.md, section 2.7). tally_owner owns everything and has no members; no role below may
-- change evidence or write a status column, and no session setting authorises anything.

-- tally_app: what the workers and the server log in as (through a role that is granted it).
GRANT USAGE ON SCHEMA tally TO tally_app, tally_reader, tally_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA tally TO tally_app, tally_auditor;
GRANT INSERT ON
  tally.merkle_log, tally.log_tiles, tally.checkpoints, tally.cosignatures, tally.leaf_records, tally.capture,
  tally.capture_quarantine, tally.redactions, tally.prunings, tally.audits, tally.audit_findings, tally.outbox_events
  TO tally_app;
GRANT DELETE ON tally.capture, tally.outbox_events TO tally_app;
GRANT UPDATE (hashes) ON tally.log_tiles TO tally_app;
GRANT UPDATE (resolved_at) ON tally.capture_quarantine TO tally_app;
GRANT UPDATE (position) ON tally.outbox_events TO tally_app;
GRANT UPDATE (position, attempts, next_try_at, last_error) ON tally.outbox_cursors TO tally_app;
GRANT UPDATE (last_size, last_seen_at, last_error, enabled) ON tally.witnesses TO tally_app;
GRANT SELECT, USAGE ON SEQUENCE tally.capture_seq TO tally_app;

-- The earlier log service's SQL: plain INSERT of both tables' configuration, UPDATE of these columns. What states and
-- validation write (status, relation, failure, minimum_index, ...) is for functions alone.
GRANT INSERT (log_name, origin, created_at, description, enabled, mode, visibility, batch_size, batch_interval_ms, witness_quorum,
              witness_patience_seconds, accepts_entries, control_leaves, predecessor_log_id, retain_until)
  ON tally.verification_logs TO tally_app;
GRANT INSERT (source_table, log_name, log_id, capture, leaf_form, hash_column, order_column, timestamp_column, key_columns,
              include_columns, exclude_columns, private_columns, on_update, on_delete, on_truncate, enabled, poll_cursor,
              poll_lookback, reconcile_interval_seconds, created_at)
  ON tally.verification_sources TO tally_app;
GRANT UPDATE (enabled, description, visibility, batch_size, batch_interval_ms, witness_quorum, witness_patience_seconds,
              accepts_entries, retain_until) ON tally.verification_logs TO tally_app;
GRANT UPDATE (enabled, poll_cursor, poll_lookback, reconcile_interval_seconds, backfill_after, checked_at, reconciled_at)
  ON tally.verification_sources TO tally_app;

-- tally_reader: public logs only, row by row.
GRANT SELECT ON
  tally.verification_logs, tally.checkpoints, tally.cosignatures, tally.log_tiles, tally.merkle_log, tally.log_keys,
  tally.log_heads, tally.published_checkpoints, tally.row_history, tally.status_transitions
  TO tally_reader;

CREATE FUNCTION tally.is_public_log(p_log_id integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$ SELECT EXISTS (SELECT FROM tally.verification_logs AS l WHERE l.log_id = p_log_id AND l.visibility = 'public') $$;
COMMENT ON FUNCTION tally.is_public_log(integer) IS 'Whether everybody may read the log; row-level security asks it.';

DO $$
DECLARE
  evidence text;
BEGIN
  FOREACH evidence IN ARRAY ARRAY['verification_logs', 'checkpoints', 'cosignatures', 'log_tiles', 'merkle_log', 'log_keys'] LOOP
    EXECUTE format('ALTER TABLE tally.%I ENABLE ROW LEVEL SECURITY', evidence);
    EXECUTE format('CREATE POLICY app_reads_all ON tally.%I TO tally_app, tally_auditor USING (true) WITH CHECK (true)', evidence);
    EXECUTE format('CREATE POLICY reader_reads_public ON tally.%I FOR SELECT TO tally_reader USING (%s)', evidence,
      CASE WHEN evidence = 'verification_logs' THEN 'visibility = ''public''' ELSE 'tally.is_public_log(log_id)' END);
  END LOOP;
END $$;

-- Functions: what changes a state is for the server's role alone; the rest is harmless.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA tally FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tally TO tally_app;
REVOKE EXECUTE ON FUNCTION tally.guard_status(regclass, text), tally.keep_evidence(regclass, text),
  tally.describe(regclass, text, jsonb) FROM tally_app;
GRANT EXECUTE ON FUNCTION
  tally.clock(), tally.leaf_hash(bytea), tally.node_hash(bytea, bytea), tally.hash_prefix(bytea), tally.empty_root(),
  tally.leaf_record(bytea), tally.is_public_log(integer)
  TO PUBLIC;
