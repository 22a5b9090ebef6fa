-- Operations on sources (log.md, sections 3.2, 4.4, 4.5). Status changes only here.

ALTER TABLE tally.verification_sources
  ADD COLUMN key_types text[] COLLATE "C",
  ADD COLUMN covered_relations oid[] NOT NULL DEFAULT '{}',
  ADD COLUMN backfill_relations oid[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN tally.verification_sources.key_types IS 'Types of the key columns when it was installed; a retyped key breaks the source.';
COMMENT ON COLUMN tally.verification_sources.covered_relations IS 'The table and its descendants that validation has seen with triggers; a descendant not among them is new.';
COMMENT ON COLUMN tally.verification_sources.backfill_relations IS 'Tables whose rows are still to be queued: the table itself at first, later new partitions.';

-- Names of tables --------------------------------------------------------------------------------

CREATE FUNCTION tally.table_name(p_relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = public, pg_temp
AS $$ SELECT p_relation::pg_catalog.regclass::pg_catalog.text $$;
COMMENT ON FUNCTION tally.table_name(oid) IS 'The table''s name as regclass prints it under search_path = public; NULL-safe only for existing tables.';

CREATE FUNCTION tally.find_table(p_name text) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- As printed first; then the bare words, quoted or not, so that "; DROP and Größe need no quoting by the caller.
  SELECT c.oid
  FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (SELECT CASE
    WHEN quote_ident(n.nspname) || '.' || quote_ident(c.relname) = p_name THEN 1
    WHEN n.nspname = 'public' AND quote_ident(c.relname) = p_name THEN 2
    WHEN n.nspname = 'public' AND c.relname = p_name THEN 3
    WHEN n.nspname || '.' || c.relname = p_name THEN 4
    WHEN p_name ~ '^[A-Za-z_][A-Za-z0-9_$]*$' AND n.nspname = 'public' AND c.relname = lower(p_name) THEN 5
    WHEN p_name ~ '^[A-Za-z_][A-Za-z0-9_$]*[.][A-Za-z_][A-Za-z0-9_$]*$' AND n.nspname || '.' || c.relname = lower(p_name) THEN 6
    WHEN n.oid = pg_my_temp_schema() AND c.relname = p_name THEN 7
  END AS rank) AS match
  WHERE match.rank IS NOT NULL AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  ORDER BY match.rank, c.oid LIMIT 1
$$;
COMMENT ON FUNCTION tally.find_table(text) IS 'The table that a caller means by a name: as printed, or in bare words, in schema public where none is named; else NULL.';

CREATE FUNCTION tally.table_members(p_relation oid) RETURNS SETOF oid
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  WITH RECURSIVE members AS (
    SELECT p_relation AS relation
    UNION
    SELECT i.inhrelid FROM members AS m INNER JOIN pg_inherits AS i ON i.inhparent = m.relation
  )
  SELECT m.relation FROM members AS m INNER JOIN pg_class AS c ON c.oid = m.relation
$$;
COMMENT ON FUNCTION tally.table_members(oid) IS 'The table and all its descendants: partitions and inheritance children.';

CREATE FUNCTION tally.lock_table(p_relation oid, p_exclusively boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '2s'
AS $$
BEGIN
  -- Whoever waits for a lock makes all others wait behind it: so 2 seconds, and the caller tries again.
  EXECUTE format('LOCK TABLE %s IN %s MODE', p_relation::regclass,
    CASE WHEN p_exclusively THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END);
END $$;
COMMENT ON FUNCTION tally.lock_table(oid, boolean) IS 'Locks a table and its descendants with the caller''s rights; waits 2 seconds.';

-- States -----------------------------------------------------------------------------------------

CREATE FUNCTION tally.add_source_v1(
  p_log_name text, p_source_table text, p_key_columns text[] DEFAULT NULL, p_include_columns text[] DEFAULT NULL,
  p_exclude_columns text[] DEFAULT NULL, p_private_columns text[] DEFAULT '{}', p_leaf_form tally.leaf_form DEFAULT NULL,
  p_hash_column text DEFAULT NULL, p_on_update tally.capture_rule DEFAULT 'record',
  p_on_delete tally.capture_rule DEFAULT 'record', p_on_truncate tally.truncate_rule DEFAULT 'record'
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
  new_source_no integer;
BEGIN
  -- The lock keeps the log from freezing while a source comes to it.
  SELECT * INTO log FROM tally.verification_logs WHERE log_name = p_log_name FOR SHARE;
  IF log.status = 'frozen' OR log.freeze_requested_at IS NOT NULL THEN
    PERFORM tally.refuse('TS107', format('log %s takes no more sources', p_log_name), jsonb_build_object('log', p_log_name));
  ELSIF log.status = 'failed' THEN
    PERFORM tally.refuse('TS108', format('log %s has failed; recover it first', p_log_name), jsonb_build_object('log', p_log_name));
  END IF;
  INSERT INTO tally.verification_sources (
    source_table, log_name, key_columns, include_columns, exclude_columns, private_columns, leaf_form, hash_column,
    on_update, on_delete, on_truncate)
  VALUES (
    p_source_table, p_log_name, p_key_columns, p_include_columns, p_exclude_columns, p_private_columns, p_leaf_form,
    p_hash_column, p_on_update, p_on_delete, p_on_truncate)
  RETURNING source_no INTO new_source_no;
  RETURN new_source_no;
EXCEPTION WHEN unique_violation THEN
  PERFORM tally.refuse('TS112', format('table %s feeds log %s already', p_source_table, p_log_name),
    jsonb_build_object('table', p_source_table, 'log', p_log_name));
END $$;
COMMENT ON FUNCTION tally.add_source_v1(
  text, text, text[], text[], text[], text[], tally.leaf_form, text, tally.capture_rule, tally.capture_rule,
  tally.truncate_rule) IS 'Writes down a new source; it is validated and installed by add_source or at the next look.';

CREATE FUNCTION tally.install_source_v1(
  p_source_no integer, p_relation oid, p_key_columns text[], p_key_types text[], p_leaf_form tally.leaf_form,
  p_on_truncate tally.truncate_rule
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  name text := tally.table_name(p_relation);
BEGIN
  UPDATE tally.verification_sources
  SET relation = p_relation, source_table = name, key_columns = p_key_columns, key_types = p_key_types,
      leaf_form = p_leaf_form, on_truncate = p_on_truncate, backfill_relations = ARRAY[p_relation],
      covered_relations = ARRAY(SELECT tally.table_members(p_relation)), checked_at = tally.clock()
  WHERE source_no = p_source_no AND relation IS NULL;
  ASSERT FOUND, 'a source is installed once';
EXCEPTION WHEN unique_violation THEN
  PERFORM tally.refuse('TS112', format('table %s feeds this log already', name), jsonb_build_object('table', name));
END $$;
COMMENT ON FUNCTION tally.install_source_v1(integer, oid, text[], text[], tally.leaf_form, tally.truncate_rule) IS
  'Binds a source to its table and key, once they have been validated.';

CREATE FUNCTION tally.time_text(p_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog
AS $$ SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
COMMENT ON FUNCTION tally.time_text(timestamptz) IS 'A time as messages have it.';

CREATE FUNCTION tally.break_source_v1(p_source_no integer, p_problem jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  is_gap CONSTANT boolean := p_problem ->> 'code' IN ('trigger_missing', 'trigger_disabled', 'disabled');
  has_gap boolean;
BEGIN
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  has_gap := source.status = 'broken' AND coalesce((source.problem ->> 'gap')::boolean, false);
  UPDATE tally.verification_sources
  SET status = 'broken',
      problem = p_problem || jsonb_build_object('gap', has_gap OR is_gap, 'since',
        CASE WHEN source.status = 'broken' THEN source.problem -> 'since' ELSE to_jsonb(tally.time_text(tally.clock())) END)
  WHERE source_no = p_source_no;
  IF is_gap AND NOT has_gap
     AND (SELECT l.control_leaves FROM tally.verification_logs AS l WHERE l.log_id = source.log_id) THEN
    PERFORM tally.queue_control(source.log_id, p_source_no, 'gap', jsonb_build_object(
      'problem', p_problem ->> 'message', 'since', tally.time_text(source.checked_at),
      'found', tally.time_text(tally.clock())));
  END IF;
  IF source.status = 'broken' THEN
    RETURN false;
  END IF;
  INSERT INTO tally.outbox_events (topic, key, payload)
  VALUES ('source.broken', source.log_name, jsonb_build_object(
    'log', source.log_name, 'table', source.source_table, 'code', p_problem -> 'code', 'message', p_problem -> 'message'));
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.break_source_v1(integer, jsonb) IS
  'Marks a source broken; where triggers were off a gap leaf says so, once. False where it was broken before.';

CREATE FUNCTION tally.source_ready_v1(p_source_no integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
BEGIN
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  -- Facts decide: whatever changed while the source was broken is only known once a reconcile has looked.
  IF source.status = 'broken' AND NOT coalesce(source.reconciled_at > (source.problem ->> 'since')::timestamptz, false) THEN
    PERFORM tally.refuse('TS001', format('source %s must be reconciled before it is active again', source.source_table),
      jsonb_build_object('table', 'verification_sources', 'column', 'status', 'from', 'broken', 'to', 'active'));
  END IF;
  UPDATE tally.verification_sources
  SET status = 'active', problem = NULL, backfill_relations = '{}', backfill_after = NULL
  WHERE source_no = p_source_no;
END $$;
COMMENT ON FUNCTION tally.source_ready_v1(integer) IS 'Every row of the source has a leaf or queue row: backfilled, or reconciled since it broke.';

CREATE FUNCTION tally.detach_source_v1(p_source_no integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  UPDATE tally.verification_sources SET status = 'detached', backfill_relations = '{}', backfill_after = NULL
  WHERE source_no = p_source_no;
$$;
COMMENT ON FUNCTION tally.detach_source_v1(integer) IS 'Ends a source after its triggers were dropped; the row and its leaves stay.';
