-- Operations on logs and keys (log.md, sections 3.1, 3.2, 5.8). Status changes only here.

CREATE FUNCTION tally.open_log_v1(
  p_log_id integer, p_origin text, p_key_id bytea, p_public_key bytea, p_vkey text, p_note text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
  predecessor jsonb := '{"origin": null, "size": null, "root": null}';
BEGIN
  UPDATE tally.verification_logs SET origin = p_origin WHERE log_id = p_log_id RETURNING * INTO log;
  INSERT INTO tally.log_keys (log_id, purpose, name, key_id, algorithm, public_key, vkey, from_size)
  VALUES (p_log_id, 'log', p_origin, p_key_id, 1, p_public_key, p_vkey, 0);
  UPDATE tally.log_keys SET status = 'active' WHERE name = p_origin AND key_id = p_key_id;
  INSERT INTO tally.checkpoints (log_id, tree_size, root_hash, note, batch_rows, seal_ms)
  VALUES (p_log_id, 0, tally.empty_root(), p_note, 0, 0);
  IF log.control_leaves THEN
    IF log.predecessor_log_id IS NOT NULL THEN
      SELECT jsonb_build_object('origin', h.origin, 'size', h.tree_size, 'root', encode(h.root_hash, 'hex'))
      INTO predecessor FROM tally.log_heads AS h WHERE h.log_id = log.predecessor_log_id;
    END IF;
    PERFORM tally.queue_control(p_log_id, NULL, 'genesis', predecessor);
  END IF;
END $$;
COMMENT ON FUNCTION tally.open_log_v1(integer, text, bytea, bytea, text, text) IS
  'Gives a log its origin, its first key, its checkpoint of size 0 and its genesis leaf.';

CREATE FUNCTION tally.create_log_v1(
  p_log_name text, p_origin text, p_description text, p_mode tally.log_mode, p_visibility tally.log_visibility,
  p_batch_size integer, p_batch_interval_ms integer, p_witness_quorum integer, p_witness_patience_seconds integer,
  p_accepts_entries boolean, p_control_leaves boolean, p_predecessor_log_id integer, p_retain_until timestamptz,
  p_key_id bytea, p_public_key bytea, p_vkey text, p_note text
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  new_log_id integer;
BEGIN
  INSERT INTO tally.verification_logs (
    log_name, origin, description, mode, visibility, batch_size, batch_interval_ms, witness_quorum,
    witness_patience_seconds, accepts_entries, control_leaves, predecessor_log_id, retain_until)
  VALUES (
    p_log_name, p_origin, p_description, p_mode, p_visibility, p_batch_size, p_batch_interval_ms, p_witness_quorum,
    p_witness_patience_seconds, p_accepts_entries, p_control_leaves, p_predecessor_log_id, p_retain_until)
  RETURNING log_id INTO new_log_id;
  PERFORM tally.open_log_v1(new_log_id, p_origin, p_key_id, p_public_key, p_vkey, p_note);
  RETURN new_log_id;
END $$;
COMMENT ON FUNCTION tally.create_log_v1(
  text, text, text, tally.log_mode, tally.log_visibility, integer, integer, integer, integer, boolean, boolean, integer,
  timestamptz, bytea, bytea, text, text) IS 'Makes a log with its first key and its checkpoint of size 0.';

CREATE FUNCTION tally.request_freeze_v1(p_log_id integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  -- Pushes hold this lock shared: when it is granted, all of them are in the queue.
  PERFORM pg_advisory_xact_lock(1952541818, p_log_id);
  UPDATE tally.verification_logs SET freeze_requested_at = coalesce(freeze_requested_at, tally.clock())
  WHERE log_id = p_log_id;
END $$;
COMMENT ON FUNCTION tally.request_freeze_v1(integer) IS 'From now on pushes are refused; the sequencer freezes the log once its queue is empty.';

CREATE FUNCTION tally.freeze_log_v1(p_log_id integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  UPDATE tally.verification_logs SET status = 'frozen' WHERE log_id = p_log_id;
END $$;
COMMENT ON FUNCTION tally.freeze_log_v1(integer) IS 'Ends a log, in the transaction that seals its freeze leaf.';

CREATE FUNCTION tally.fail_log_v1(p_log_id integer, p_failure jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
BEGIN
  SELECT * INTO log FROM tally.verification_logs WHERE log_id = p_log_id FOR UPDATE;
  IF log.status = 'failed' THEN
    RETURN false;
  END IF;
  UPDATE tally.verification_logs
  SET status = 'failed', failure = p_failure || jsonb_build_object('was', log.status, 'at', tally.clock())
  WHERE log_id = p_log_id;
  INSERT INTO tally.outbox_events (topic, key, payload)
  VALUES ('log.failed', log.log_name, jsonb_build_object('log', log.log_name, 'problem', p_failure -> 'code'));
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.fail_log_v1(integer, jsonb) IS 'Stops a log whose own statements contradict each other; false where it had failed before.';

CREATE FUNCTION tally.recover_log_v1(p_log_id integer, p_actor text, p_reason text) RETURNS tally.log_status
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
BEGIN
  SELECT * INTO log FROM tally.verification_logs WHERE log_id = p_log_id FOR UPDATE;
  IF log.status <> 'failed' THEN
    RETURN log.status;
  END IF;
  IF NOT EXISTS (SELECT FROM tally.audits AS a WHERE a.log_id = p_log_id AND a.kind = 'audit' AND a.verdict = 'clean'
                 AND a.started_at > (log.failure ->> 'at')::timestamptz) THEN
    PERFORM tally.refuse('TS108', format('log %s needs a clean audit begun after its failure', log.log_name),
      jsonb_build_object('log', log.log_name));
  END IF;
  UPDATE tally.verification_logs SET status = (log.failure ->> 'was')::tally.log_status, failure = NULL
  WHERE log_id = p_log_id;
  INSERT INTO tally.outbox_events (topic, key, payload)
  VALUES ('log.recovered', log.log_name, jsonb_build_object('log', log.log_name, 'actor', p_actor, 'reason', p_reason));
  RETURN (log.failure ->> 'was')::tally.log_status;
END $$;
COMMENT ON FUNCTION tally.recover_log_v1(integer, text, text) IS 'Takes a failed log back to where it was, after a clean audit begun since.';

-- What waits -----------------------------------------------------------------------------------

CREATE VIEW tally.log_lag WITH (security_invoker) AS
SELECT l.log_id, l.log_name, waiting.rows_waiting, waiting.oldest_captured_at
FROM tally.verification_logs AS l
CROSS JOIN LATERAL (
  SELECT count(*) AS rows_waiting, min(q.captured_at) AS oldest_captured_at
  FROM (SELECT c.captured_at FROM tally.capture AS c WHERE c.log_id = l.log_id ORDER BY c.seq LIMIT 100000) AS q
) AS waiting;
SELECT tally.describe('tally.log_lag', 'What waits to be sealed, counted to 100,000 rows.', '{
  "log_id": "The log.", "log_name": "Its name.", "rows_waiting": "Rows in its queue, at most 100,000.",
  "oldest_captured_at": "When the oldest of them was captured."}');

CREATE VIEW tally.row_history WITH (security_invoker) AS
SELECT m.log_id, m.log_name, m.source_table, m.source_key, m.leaf_index, m.op, m.via, m.leaf_hash, m.processed_at
FROM tally.merkle_log AS m WHERE m.source_table IS NOT NULL;
SELECT tally.describe('tally.row_history', 'The leaves of keys; order a key''s versions by leaf_index.', '{
  "log_id": "The log.", "log_name": "Its name.", "source_table": "The table.", "source_key": "The key.",
  "leaf_index": "Index of the leaf.", "op": "Operation.", "via": "Way of capture.", "leaf_hash": "Leaf hash.",
  "processed_at": "When it was sealed."}');

CREATE VIEW tally.source_state WITH (security_invoker) AS
SELECT s.log_name, s.source_table, s.status, s.problem, s.enabled, s.checked_at, s.reconciled_at,
       (SELECT count(*) FROM tally.capture_quarantine AS q WHERE q.source_no = s.source_no AND q.resolved_at IS NULL)
         AS quarantined
FROM tally.verification_sources AS s;
SELECT tally.describe('tally.source_state', 'How each source does.', '{
  "log_name": "The log.", "source_table": "The table.", "status": "State.", "problem": "Why it is broken.",
  "enabled": "Whether its triggers are on.", "checked_at": "Last validation.", "reconciled_at": "Last reconcile.",
  "quarantined": "Rows of it that cannot be sealed."}');

CREATE VIEW tally.long_transactions WITH (security_invoker) AS
SELECT a.pid, a.usename::text AS role, a.application_name AS application, a.state, a.xact_start,
       NULL::text AS prepared, a.backend_xid IS NOT NULL AS has_written
FROM pg_stat_activity AS a
WHERE a.xact_start IS NOT NULL AND a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND a.backend_type = 'client backend'
UNION ALL
SELECT NULL, p.owner::text, NULL, 'prepared', p.prepared, p.gid, true
FROM pg_prepared_xacts AS p WHERE p.database = current_database();
SELECT tally.describe('tally.long_transactions', 'Open transactions, as far as the caller may see them.', '{
  "pid": "Process; NULL where prepared.", "role": "Its role.", "application": "Its application_name.",
  "state": "What it does.", "xact_start": "When it began.", "prepared": "Name of a prepared transaction.",
  "has_written": "Whether it has a transaction id."}');

CREATE FUNCTION tally.leaf_record(leaf bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
DECLARE
  tag CONSTANT bytea := convert_to(E'tallystick/seal-record/v1\n', 'UTF8');
BEGIN
  IF substr(leaf, 1, octet_length(tag)) <> tag THEN
    RETURN NULL;
  END IF;
  RETURN convert_from(substr(leaf, octet_length(tag) + 1), 'UTF8')::jsonb;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;
COMMENT ON FUNCTION tally.leaf_record(bytea) IS 'The record in a leaf; NULL where the leaf is no record.';

-- Whether sealing runs ---------------------------------------------------------------------------

CREATE TYPE tally.sealing_status AS ENUM ('running', 'paused', 'stopping');
COMMENT ON TYPE tally.sealing_status IS 'Whether the sequencers of this database seal.';
CREATE TABLE tally.sealing (
  only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT sealing_is_one_row CHECK (only_row),
  status tally.sealing_status NOT NULL DEFAULT 'running',
  changed_at timestamptz NOT NULL DEFAULT tally.clock(),
  changed_by text COLLATE "C" NOT NULL
);
SELECT tally.describe('tally.sealing', 'Whether the sequencers of this database seal; capture and reading always go on.', '{
  "only_row": "There is one row.",
  "status": "State; see status_transitions. stopping: what was captured before is sealed, then nothing.",
  "changed_at": "Since when.",
  "changed_by": "The principal who said so."}');
INSERT INTO tally.status_transitions (table_name, column_name, from_status, to_status, function_name, condition) VALUES
  ('sealing', 'status', NULL, 'running', '0007_log_functions', 'once, with the schema'),
  ('sealing', 'status', 'running', 'paused', 'set_sealing_v1', 'an operator; no further batch is taken'),
  ('sealing', 'status', 'running', 'stopping', 'set_sealing_v1', 'an operator; what was captured before is sealed, then nothing'),
  ('sealing', 'status', 'paused', 'running', 'set_sealing_v1', 'an operator'),
  ('sealing', 'status', 'paused', 'stopping', 'set_sealing_v1', 'an operator'),
  ('sealing', 'status', 'stopping', 'running', 'set_sealing_v1', 'an operator');
SELECT tally.guard_status('tally.sealing', 'status');
SELECT tally.keep_evidence('tally.sealing', 'DELETE OR TRUNCATE');
INSERT INTO tally.sealing (changed_by) VALUES ('system:migrate');

CREATE FUNCTION tally.set_sealing_v1(p_status tally.sealing_status, p_actor text) RETURNS tally.sealing_status
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  UPDATE tally.sealing SET status = p_status, changed_at = tally.clock(), changed_by = p_actor WHERE status <> p_status;
  SELECT status FROM tally.sealing;
$$;
COMMENT ON FUNCTION tally.set_sealing_v1(tally.sealing_status, text) IS 'Pauses, resumes or stops sealing in every process that seals this database.';

-- Keys -------------------------------------------------------------------------------------------

CREATE FUNCTION tally.create_key_v1(
  p_purpose tally.key_purpose, p_log_id integer, p_name text, p_key_id bytea, p_algorithm smallint, p_public_key bytea,
  p_vkey text
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  INSERT INTO tally.log_keys (purpose, log_id, name, key_id, algorithm, public_key, vkey)
  VALUES (p_purpose, p_log_id, p_name, p_key_id, p_algorithm, p_public_key, p_vkey);
$$;
COMMENT ON FUNCTION tally.create_key_v1(tally.key_purpose, integer, text, bytea, smallint, bytea, text) IS
  'Makes a key known; it does not sign yet.';

CREATE FUNCTION tally.activate_key_v1(p_name text, p_key_id bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  -- A log's key signs from the next checkpoint on; others have no sizes.
  UPDATE tally.log_keys AS k
  SET status = 'active',
      from_size = CASE WHEN k.purpose = 'log' THEN coalesce(
        (SELECT max(c.tree_size) + 1 FROM tally.checkpoints AS c WHERE c.log_id = k.log_id), 0) END
  WHERE k.name = p_name AND k.key_id = p_key_id AND k.status <> 'active';
END $$;
COMMENT ON FUNCTION tally.activate_key_v1(text, bytea) IS 'Lets a key sign, a log''s from its next checkpoint on.';

CREATE FUNCTION tally.retire_key_v1(p_name text, p_key_id bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  key tally.log_keys;
BEGIN
  SELECT * INTO key FROM tally.log_keys WHERE name = p_name AND key_id = p_key_id FOR UPDATE;
  IF key.purpose = 'log' AND NOT EXISTS (
    SELECT FROM tally.log_keys AS k
    WHERE k.log_id = key.log_id AND k.purpose = 'log' AND k.status = 'active' AND k.key_id <> p_key_id
  ) THEN
    PERFORM tally.refuse('TS104', format('%s keeps an active key', p_name), jsonb_build_object('name', p_name));
  END IF;
  UPDATE tally.log_keys AS k
  SET status = 'retired',
      to_size = CASE WHEN k.purpose = 'log' THEN (SELECT max(c.tree_size) FROM tally.checkpoints AS c WHERE c.log_id = k.log_id) END
  WHERE k.name = p_name AND k.key_id = p_key_id AND k.status <> 'retired';
END $$;
COMMENT ON FUNCTION tally.retire_key_v1(text, bytea) IS 'A key signs no more; a log keeps an active key (TS104).';
