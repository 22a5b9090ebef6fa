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

CREATE FUNCTION tally.break_source_v1(p_source_no integer, p_problem jsonb, p_gap text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  has_gap boolean;
BEGIN
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  has_gap := source.status = 'broken' AND coalesce((source.problem ->> 'gap')::boolean, false);
  UPDATE tally.verification_sources
  SET status = 'broken',
      problem = p_problem || jsonb_build_object('gap', has_gap OR p_gap IS NOT NULL, 'since',
        CASE WHEN source.status = 'broken' THEN source.problem -> 'since' ELSE to_jsonb(tally.time_text(tally.clock())) END)
  WHERE source_no = p_source_no;
  IF p_gap IS NOT NULL AND NOT has_gap THEN
    PERFORM tally.queue_control(source.log_id, p_source_no, 'gap', jsonb_build_object(
      'problem', p_gap, 'since', tally.time_text(source.checked_at),
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
COMMENT ON FUNCTION tally.break_source_v1(integer, jsonb, text) IS
  'Marks a source broken; where capture was off a gap leaf says so, once. False where it was broken before.';

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

-- Key order --------------------------------------------------------------------------------------

CREATE FUNCTION tally.key_order(p_relation oid, p_key_columns text[])
RETURNS TABLE (place bigint, reference text, expression text, type_name text, direction text, operators text[])
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT
    k.place,
    format('s.%I', a.attname),
    format('s.%I', a.attname) || coalesce((
      SELECT format(' COLLATE %I.%I', n.nspname, c.collname)
      FROM pg_collation AS c INNER JOIN pg_namespace AS n ON n.oid = c.collnamespace WHERE c.oid = k.collation_id), ''),
    format_type(tally.base_type(a.atttypid), -1),
    CASE WHEN k.option & 1 = 1 THEN ' DESC' ELSE ' ASC' END || CASE WHEN k.option & 2 = 2 THEN ' NULLS FIRST' ELSE ' NULLS LAST' END,
    -- In the index's own order: before, up to, equal, from, after.
    ARRAY(
      SELECT format('OPERATOR(%I.%s)', n.nspname, r.oprname)
      FROM pg_amop AS p
      INNER JOIN pg_operator AS r ON r.oid = p.amopopr
      INNER JOIN pg_namespace AS n ON n.oid = r.oprnamespace
      WHERE p.amopfamily = o.opcfamily AND p.amoplefttype = o.opcintype AND p.amoprighttype = o.opcintype
        AND p.amopstrategy BETWEEN 1 AND 5 AND p.amoppurpose = 's'
      ORDER BY CASE WHEN k.option & 1 = 1 THEN -p.amopstrategy ELSE p.amopstrategy END)
  FROM (
    SELECT i.indrelid, i.indnkeyatts, i.indkey, i.indclass, i.indcollation, i.indoption
    FROM pg_index AS i
    WHERE i.indrelid = p_relation AND i.indisunique AND i.indimmediate AND i.indisvalid
      AND i.indpred IS NULL AND i.indexprs IS NULL
      AND p_key_columns = ARRAY(
        SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS u (attnum, place)
        INNER JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
        WHERE u.place <= i.indnkeyatts ORDER BY u.place)
    ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1
  ) AS i
  CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[], i.indcollation::oid[], i.indoption::smallint[])
    WITH ORDINALITY AS k (attnum, opclass, collation_id, option, place)
  INNER JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  INNER JOIN pg_opclass AS o ON o.oid = k.opclass
  WHERE k.place <= i.indnkeyatts
  ORDER BY k.place
$$;
COMMENT ON FUNCTION tally.key_order(oid, text[]) IS
  'How the key''s index orders rows (as s): expressions, types, directions, and its own operators, so that pages follow it whatever the types.';

CREATE FUNCTION tally.key_bound(p_relation oid, p_key_columns text[], p_values text[], p_after boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  expressions text[] := '{}';
  literals text[] := '{}';
  beyond text[] := '{}';
  reaching text[] := '{}';
  bound text;
BEGIN
  -- A literal is read by the type's input function; a cast could be anybody's.
  SELECT array_agg(o.expression ORDER BY o.place), array_agg(format('%L::%s', p_values[o.place], o.type_name) ORDER BY o.place),
         array_agg(o.operators[CASE WHEN p_after THEN 5 ELSE 1 END] ORDER BY o.place),
         array_agg(o.operators[CASE WHEN p_after THEN 4 ELSE 2 END] ORDER BY o.place)
  INTO expressions, literals, beyond, reaching
  FROM tally.key_order(p_relation, p_key_columns) AS o;
  IF p_values IS NULL THEN
    RETURN 'true';
  END IF;
  IF beyond[1] = ALL (beyond) THEN
    RETURN format('ROW(%s) %s ROW(%s)', array_to_string(expressions, ', '),
      CASE WHEN p_after THEN beyond[1] ELSE reaching[1] END, array_to_string(literals, ', '));
  END IF;
  -- The index mixes directions, or types whose operators are in several schemas: written out.
  FOR place IN REVERSE cardinality(p_key_columns)..1 LOOP
    bound := CASE WHEN bound IS NULL
      THEN format('%s %s %s', expressions[place], CASE WHEN p_after THEN beyond[place] ELSE reaching[place] END, literals[place])
      ELSE format('%1$s %2$s %3$s AND (%1$s %4$s %3$s OR %5$s)', expressions[place], reaching[place], literals[place], beyond[place], bound)
    END;
  END LOOP;
  RETURN '(' || bound || ')';
END $$;
COMMENT ON FUNCTION tally.key_bound(oid, text[], text[], boolean) IS
  'The condition on a row s that its key stands after the given one, or up to it, in the order of the key''s index; true where none is given.';

-- Rights and triggers, with the rights of the table's owner ---------------------------------------

CREATE FUNCTION tally.grant_reading(p_relation oid, p_key_columns text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  schema_name text := (SELECT n.nspname FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = p_relation);
BEGIN
  IF NOT has_schema_privilege('tally_owner', schema_name, 'USAGE') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO tally_owner', schema_name);
  END IF;
  EXECUTE format('GRANT SELECT ON TABLE %s TO tally_owner', p_relation::regclass);
  -- FOR SHARE needs UPDATE of some column; nothing else is ever done with it.
  IF cardinality(p_key_columns) > 0 THEN
    EXECUTE format('GRANT UPDATE (%I) ON TABLE %s TO tally_owner', p_key_columns[1], p_relation::regclass);
  END IF;
END $$;
COMMENT ON FUNCTION tally.grant_reading(oid, text[]) IS 'Lets tally_owner read a table and lock its rows FOR SHARE.';

CREATE FUNCTION tally.cover_members_v1(p_source_no integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  members oid[];
BEGIN
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  members := ARRAY(SELECT tally.table_members(source.relation));
  UPDATE tally.verification_sources
  SET covered_relations = members,
      -- Of a new subtree its top: a query on it reads all below.
      backfill_relations = backfill_relations || ARRAY(
        SELECT m.relation FROM unnest(members) AS m (relation)
        WHERE m.relation <> ALL (source.covered_relations) AND NOT EXISTS (
          SELECT FROM pg_inherits AS i
          WHERE i.inhrelid = m.relation AND i.inhparent = ANY (members) AND i.inhparent <> ALL (source.covered_relations))
        ORDER BY m.relation)
  WHERE source_no = p_source_no;
END $$;
COMMENT ON FUNCTION tally.cover_members_v1(integer) IS 'Notes which tables of a source have triggers now; the rows of new ones are still to be queued.';

CREATE FUNCTION tally.refresh_source_v1(p_source_no integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  has_changed boolean;
BEGIN
  UPDATE tally.verification_sources AS s
  -- A private column that was dropped is none; whether it was renamed, and would stand in clear, the caller has looked at.
  SET private_columns = ARRAY(
    SELECT p.name FROM unnest(s.private_columns) WITH ORDINALITY AS p (name, place)
    WHERE EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = s.relation AND a.attname = p.name AND NOT a.attisdropped)
    ORDER BY p.place)
  WHERE s.source_no = p_source_no RETURNING * INTO source;
  has_changed := source.schema_fingerprint IS DISTINCT FROM tally.table_fingerprint(source.relation);
  PERFORM tally.create_capture(p_source_no);
  IF has_changed THEN
    PERFORM tally.queue_control(source.log_id, p_source_no, 'schema', jsonb_build_object(
      'columns', (SELECT coalesce(jsonb_agg(jsonb_build_array(c.name, format_type(c.type, NULL)) ORDER BY c.place), '[]')
                  FROM tally.recorded_columns(p_source_no) AS c),
      'key', to_jsonb(source.key_columns), 'private', to_jsonb(source.private_columns)));
  END IF;
  RETURN has_changed;
END $$;
COMMENT ON FUNCTION tally.refresh_source_v1(integer) IS 'Generates the functions anew; a changed column set becomes a schema leaf. Whether it had changed.';

CREATE FUNCTION tally.rebind_source_v1(p_source_no integer, p_relation oid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  -- A dump that is restored gives every table another oid. Its triggers come with it, and only a table that carries this
  -- source's own is the one that was sealed: another under the name stays what it is.
  UPDATE tally.verification_sources AS s
  SET relation = p_relation, covered_relations = ARRAY(SELECT tally.table_members(p_relation))
  WHERE s.source_no = p_source_no AND s.status = 'broken'
    AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = s.relation)
    AND tally.table_name(p_relation) = s.source_table
    AND EXISTS (
      SELECT FROM pg_trigger AS t INNER JOIN pg_proc AS f ON f.oid = t.tgfoid
      WHERE t.tgrelid = p_relation AND NOT t.tgisinternal AND starts_with(t.tgname, format('tally_%s_', p_source_no))
        AND f.pronamespace = 'tally'::regnamespace);
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION tally.rebind_source_v1(integer, oid) IS
  'Binds a broken source to its table as a restored dump made it; false where that table does not carry the source''s triggers.';

-- Rows that are there already ----------------------------------------------------------------------

CREATE FUNCTION tally.backfill_page_v1(p_source_no integer, p_page_rows integer)
RETURNS TABLE (rows_read bigint, rows_queued bigint, finished boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
-- Shorter than deadlock_timeout: where a writer and a page wait for each other, the page is what gives way.
SET lock_timeout = '500ms'
SET row_security = off SET work_mem = '1GB' SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C'
AS $$
DECLARE
  source tally.verification_sources;
  table_sql text;
  key_sql text;
  order_sql text;
  keys_sql text;
  after_sql text;
  up_to_sql text;
  last_key text[];
BEGIN
  -- Locks are taken in this order everywhere: the source's row, then rows of the table.
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  rows_read := 0;
  rows_queued := 0;
  finished := source.status NOT IN ('backfilling', 'active') OR source.backfill_relations = '{}';
  IF finished THEN
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT format('%I.%I', n.nspname, c.relname) INTO table_sql
  FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = source.backfill_relations[1];

  IF table_sql IS NULL THEN
    NULL; -- a partition that was dropped since
  ELSIF source.key_columns = '{}' THEN
    -- Rows without a key cannot be told apart: all are queued at once, while nobody can write.
    ASSERT EXISTS (
      SELECT FROM pg_locks AS l
      WHERE l.pid = pg_backend_pid() AND l.relation = source.backfill_relations[1] AND l.granted
        AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    ), 'the caller holds the lock that keeps writers out';
    EXECUTE 'INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) '
      || tally.capture_select(p_source_no, 'I', 'b', table_sql || ' AS s', 's');
    GET DIAGNOSTICS rows_queued = ROW_COUNT;
    rows_read := rows_queued;
  ELSE
    key_sql := tally.key_expression(p_source_no, 's');
    SELECT string_agg(o.expression || o.direction, ', ' ORDER BY o.place), string_agg(format('concat(%s)', o.reference), ', ' ORDER BY o.place)
    INTO order_sql, keys_sql FROM tally.key_order(source.relation, source.key_columns) AS o;
    IF order_sql IS NULL THEN
      PERFORM tally.refuse('TS102', format('%s has no unique index on its key any more', source.source_table),
        jsonb_build_object('table', source.source_table, 'candidates', '[]'::jsonb));
    END IF;
    -- The page's end is read before its rows are locked: a row that is waited for may come back with another key.
    after_sql := tally.key_bound(source.relation, source.key_columns, source.backfill_after, true);
    EXECUTE format('SELECT ARRAY[%s] FROM %s AS s WHERE %s ORDER BY %s OFFSET %s LIMIT 1',
      keys_sql, table_sql, after_sql, order_sql, p_page_rows - 1) INTO last_key;
    up_to_sql := tally.key_bound(source.relation, source.key_columns, last_key, false);

    -- First statement: no update of these rows can draw its seq from here until we have committed.
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %s AS s WHERE %s AND %s ORDER BY %s FOR SHARE OF s) AS locked',
      table_sql, after_sql, up_to_sql, order_sql) INTO rows_read;
    -- Second statement, with its newer snapshot: it sees the queue rows of whoever had these rows before.
    EXECUTE 'INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) '
      || tally.capture_select(p_source_no, 'I', 'b', format(
        '%s AS s WHERE %s AND %s AND %s ORDER BY %s', table_sql, after_sql, up_to_sql,
        tally.unknown_key(source, key_sql), order_sql), 's');
    GET DIAGNOSTICS rows_queued = ROW_COUNT;
  END IF;

  UPDATE tally.verification_sources AS s
  SET backfill_after = last_key,
      backfill_relations = CASE WHEN last_key IS NULL THEN s.backfill_relations[2:] ELSE s.backfill_relations END
  WHERE s.source_no = p_source_no
  RETURNING s.backfill_relations = '{}' INTO finished;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION tally.backfill_page_v1(integer, integer) IS
  'Queues the next page, in key order, of rows that have neither leaf nor queue row; in a READ COMMITTED transaction of its own.';

CREATE FUNCTION tally.unknown_key(p_source tally.verification_sources, p_key_sql text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- NOT IN, because its set is always hashed: the queue is read once a page, whatever the planner knows of it. The leaves
  -- are asked by index, key by key. Pages ascend, so at first none of the backfill's own rows can be met again.
  SELECT format(
    '%1$s NOT IN (SELECT q.source_key FROM tally.capture AS q WHERE q.log_id = %2$s AND q.source_no = %3$s%5$s)'
    ' AND (SELECT m.leaf_index FROM tally.merkle_log AS m WHERE m.log_id = %2$s AND m.source_table = %4$L AND m.source_key = %1$s LIMIT 1) IS NULL'
    ' AND (SELECT z.seq FROM tally.capture_quarantine AS z WHERE z.log_id = %2$s AND z.source_no = %3$s AND z.source_key = %1$s'
    ' AND z.resolved_at IS NULL LIMIT 1) IS NULL',
    '(' || p_key_sql || ')', p_source.log_id, p_source.source_no, p_source.source_table,
    CASE WHEN p_source.status = 'backfilling' THEN ' AND q.via <> ''b''' ELSE '' END)
$$;
COMMENT ON FUNCTION tally.unknown_key(tally.verification_sources, text) IS
  'The condition that a key has neither leaf nor queue row, nor waits in quarantine.';

CREATE FUNCTION tally.requeue_v1(p_source_no integer)
RETURNS TABLE (keys_queued bigint, rows_resolved bigint, rows_left bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
SET lock_timeout = '5s'
SET row_security = off SET work_mem = '1GB' SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C'
AS $$
DECLARE
  source tally.verification_sources;
  table_sql text;
  key_sql CONSTANT text := tally.key_expression(p_source_no, 's');
  from_sql text;
  poison text[];
BEGIN
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  SELECT format('%I.%I', n.nspname, c.relname) INTO table_sql
  FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = source.relation;
  -- The quarantined keys as arrays of the columns' types, read by their input functions, joined by the index's operators.
  SELECT format('%s AS s INNER JOIN unnest(%s) AS k (%s) ON %s', table_sql,
    string_agg(format('%L::%s[]', (
      SELECT array_agg(z.source_key::jsonb ->> (o.place - 1)::integer ORDER BY z.source_key)
      FROM (SELECT DISTINCT q.source_key FROM tally.capture_quarantine AS q
            WHERE q.log_id = source.log_id AND q.source_no = p_source_no AND q.resolved_at IS NULL) AS z)::text, o.type_name), ', ' ORDER BY o.place),
    string_agg('k' || o.place, ', ' ORDER BY o.place),
    string_agg(format('%s %s k.k%s', o.expression, o.operators[3], o.place), ' AND ' ORDER BY o.place))
  INTO from_sql FROM tally.key_order(source.relation, source.key_columns) AS o;

  EXECUTE format('SELECT count(*) FROM (SELECT FROM %s FOR SHARE OF s) AS locked', from_sql) INTO keys_queued;
  EXECUTE format(
    'WITH present AS MATERIALIZED (SELECT * FROM (%s) AS p (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at)),'
    ' queued AS (INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at)'
    '   SELECT p.log_id, p.source_no, p.op, p.via, p.source_key, p.source_id, p.leaf, p.salt, p.record, p.problem, p.captured_at'
    '   FROM present AS p WHERE p.problem IS NULL)'
    ' SELECT count(*) FILTER (WHERE p.problem IS NULL), coalesce(array_agg(p.source_key) FILTER (WHERE p.problem IS NOT NULL), ''{}'') FROM present AS p',
    tally.capture_select(p_source_no, tally.next_op(source, key_sql), 'r', from_sql, 's')) INTO keys_queued, poison;

  UPDATE tally.capture_quarantine AS z SET resolved_at = tally.clock()
  WHERE z.log_id = source.log_id AND z.source_no = p_source_no AND z.resolved_at IS NULL AND z.source_key <> ALL (poison);
  GET DIAGNOSTICS rows_resolved = ROW_COUNT;
  SELECT count(*) INTO rows_left FROM tally.capture_quarantine AS z
  WHERE z.log_id = source.log_id AND z.source_no = p_source_no AND z.resolved_at IS NULL;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION tally.requeue_v1(integer) IS
  'Queues the present state of quarantined rows'' keys, under the rows'' locks; what cannot be sealed even now stays in quarantine.';

CREATE FUNCTION tally.next_op(p_source tally.verification_sources, p_key_sql text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- A truncate, whose key is [], ends every key before it.
  SELECT format(
    'CASE WHEN coalesce('
    '(SELECT q.op FROM tally.capture AS q WHERE q.log_id = %2$s AND q.source_no = %3$s AND q.problem IS NULL AND q.op <> ''C'''
    ' AND q.source_key IN (%1$s, ''[]'') ORDER BY q.seq DESC LIMIT 1),'
    '(SELECT m.op FROM tally.merkle_log AS m WHERE m.log_id = %2$s AND m.source_table = %4$L AND m.op <> ''C'''
    ' AND m.source_key IN (%1$s, ''[]'') ORDER BY m.leaf_index DESC LIMIT 1)) IN (''I'', ''U'') THEN ''U''::"char" ELSE ''I''::"char" END',
    '(' || p_key_sql || ')', p_source.log_id, p_source.source_no, p_source.source_table)
$$;
COMMENT ON FUNCTION tally.next_op(tally.verification_sources, text) IS
  'The expression of the operation that continues a key which has a row now: an update of what the log knows, else an insert.';
