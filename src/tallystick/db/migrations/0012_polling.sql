-- Polling: tables that must not be touched, views, foreign tables (log.md, sections 4.4, 4.5, 4.7).
--
-- A view's expressions run as whoever reads it. tally_owner owns the evidence, so it never reads one: what is polled is read by
-- tally_poller, a role that may read polled tables and do nothing else, and whatever they do to the session while they are read
-- is taken back. Everything it returns is treated as values.
--
-- Changed here: refresh_source_v1 (a polled source has no functions to generate), compare_rows, compare_counts,
-- compare_line_counts and count_rows (they read through rows_sql, and name the columns that they need).

RESET ROLE;
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tally_poller') THEN
    CREATE ROLE tally_poller NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- another database's migration made it in this very moment
END $$;
DO $$
BEGIN
  -- Only who can act as a role can give it a function; the membership ends below.
  IF NOT pg_has_role(current_user, 'tally_poller',
                     CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
    EXECUTE format('GRANT tally_poller TO %I', current_user);
  END IF;
END $$;
SET LOCAL ROLE tally_owner;
GRANT USAGE, CREATE ON SCHEMA tally TO tally_poller;
RESET ROLE;
SET LOCAL ROLE tally_poller;

CREATE FUNCTION tally.leave_session(p_prepared text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  name text;
BEGIN
  PERFORM pg_advisory_unlock_all();
  FOR name IN SELECT p.name FROM pg_prepared_statements AS p WHERE p.from_sql AND p.name <> ALL (p_prepared) LOOP
    EXECUTE format('DEALLOCATE %I', name);
  END LOOP;
END $$;
COMMENT ON FUNCTION tally.leave_session(text[]) IS
  'Takes back what outlives a rollback: advisory locks of the session, and statements that SQL prepared beside the named ones.';
REVOKE EXECUTE ON FUNCTION tally.leave_session(text[]) FROM PUBLIC;

CREATE FUNCTION tally.read_polled(p_query text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET row_security = off
AS $$
DECLARE
  prepared CONSTANT text[] := ARRAY(SELECT p.name FROM pg_prepared_statements AS p WHERE p.from_sql);
  has_read boolean := false;
BEGIN
  -- STABLE: it reads in its caller's snapshot. What a view calls may be volatile and set whatever a session may set, search_path
  -- too, and not only until this function ends: behind us our own statements would find its operators, with the rights of
  -- tally_owner. So it runs in a block that is always rolled back, settings and all, and that can write nothing; the rows that
  -- were returned stay.
  BEGIN
    PERFORM set_config('transaction_read_only', 'on', true);
    RETURN QUERY EXECUTE p_query;
    has_read := true;
    RAISE EXCEPTION 'take back what it did';
  EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN
    -- A statement that it prepared under a name that a driver made would be run with the session's rights.
    PERFORM tally.leave_session(prepared);
    IF NOT has_read THEN
      RAISE;
    END IF;
  END;
END $$;
COMMENT ON FUNCTION tally.read_polled(text) IS 'The rows of a query over one polled table, read as tally_poller; for tally_owner''s functions alone.';
REVOKE EXECUTE ON FUNCTION tally.read_polled(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tally.read_polled(text) TO tally_owner;

RESET ROLE;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_auth_members AS m
             WHERE m.roleid = 'tally_poller'::regrole AND m.member = current_user::regrole AND m.grantor = current_user::regrole) THEN
    EXECUTE format('REVOKE tally_poller FROM %I', current_user);
  END IF;
END $$;
SET LOCAL ROLE tally_owner;
REVOKE CREATE ON SCHEMA tally FROM tally_poller;

-- Sources ----------------------------------------------------------------------------------------

CREATE FUNCTION tally.grant_polling(p_relation oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  schema_name CONSTANT text := (SELECT n.nspname FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = p_relation);
  reader text;
BEGIN
  -- tally_owner needs the schema for the names of its types, and nothing of the table.
  FOREACH reader IN ARRAY ARRAY['tally_poller', 'tally_owner'] LOOP
    IF NOT has_schema_privilege(reader, schema_name, 'USAGE') THEN
      EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema_name, reader);
    END IF;
  END LOOP;
  IF NOT has_table_privilege('tally_poller', p_relation, 'SELECT') THEN
    EXECUTE format('GRANT SELECT ON TABLE %s TO tally_poller', p_relation::regclass);
  END IF;
  -- Who may not grant at all is told so by a warning only.
  RETURN has_table_privilege('tally_poller', p_relation, 'SELECT');
END $$;
COMMENT ON FUNCTION tally.grant_polling(oid) IS
  'Lets tally_poller read a table, with the caller''s rights and only where it may not yet; whether it may now.';

CREATE FUNCTION tally.install_poll_v1(
  p_source_no integer, p_relation oid, p_key_columns text[], p_key_types text[], p_leaf_form tally.leaf_form,
  p_order_column text, p_timestamp_column text, p_poll_lookback integer, p_reconcile_interval_seconds integer
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  name CONSTANT text := tally.table_name(p_relation);
BEGIN
  UPDATE tally.verification_sources
  SET relation = p_relation, source_table = name, key_columns = p_key_columns, key_types = p_key_types,
      leaf_form = p_leaf_form, capture = 'poll', order_column = p_order_column, timestamp_column = p_timestamp_column,
      poll_lookback = p_poll_lookback, reconcile_interval_seconds = p_reconcile_interval_seconds,
      covered_relations = ARRAY[p_relation], schema_fingerprint = tally.table_fingerprint(p_relation),
      checked_at = tally.clock()
  WHERE source_no = p_source_no AND relation IS NULL;
  ASSERT FOUND, 'a source is installed once';
EXCEPTION WHEN unique_violation THEN
  PERFORM tally.refuse('TS112', format('table %s feeds this log already', name), jsonb_build_object('table', name));
END $$;
COMMENT ON FUNCTION tally.install_poll_v1(integer, oid, text[], text[], tally.leaf_form, text, text, integer, integer) IS
  'Binds a source that is polled to its table, key and order, once they have been validated.';

CREATE OR REPLACE FUNCTION tally.refresh_source_v1(p_source_no integer) RETURNS boolean
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
  IF source.capture <> 'poll' THEN
    PERFORM tally.create_capture(p_source_no);
  ELSE
    UPDATE tally.verification_sources AS s SET schema_fingerprint = tally.table_fingerprint(s.relation)
    WHERE s.source_no = p_source_no;
  END IF;
  IF has_changed THEN
    PERFORM tally.queue_control(source.log_id, p_source_no, 'schema', jsonb_build_object(
      'columns', (SELECT coalesce(jsonb_agg(jsonb_build_array(c.name, format_type(c.type, NULL)) ORDER BY c.place), '[]')
                  FROM tally.recorded_columns(p_source_no) AS c),
      'key', to_jsonb(source.key_columns), 'private', to_jsonb(source.private_columns)));
  END IF;
  RETURN has_changed;
END $$;

-- Reading ----------------------------------------------------------------------------------------

CREATE FUNCTION tally.poll_order(p_source_no integer, OUT name text, OUT type_name text)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT a.attname::text, CASE tally.base_type(a.atttypid)
    WHEN 'timestamptz'::regtype THEN 'timestamptz' WHEN 'timestamp'::regtype THEN 'timestamp' ELSE 'bigint' END
  FROM tally.verification_sources AS s
  INNER JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = coalesce(s.order_column, s.timestamp_column) AND NOT a.attisdropped
  WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.poll_order(integer) IS 'The column that a poll follows, and the type in which its values are compared.';

CREATE FUNCTION tally.polled_columns(p_source_no integer, OUT names text, OUT definitions text)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT string_agg(format('s.%I', a.attname), ', ' ORDER BY c.place),
         string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY c.place)
  FROM tally.verification_sources AS s
  CROSS JOIN LATERAL unnest(tally.needed_columns(p_source_no)) WITH ORDINALITY AS c (name, place)
  INNER JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = c.name AND NOT a.attisdropped
  WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.polled_columns(integer) IS 'The needed columns of a polled source: a select list over s, and their definitions for read_polled.';

CREATE FUNCTION tally.rows_sql(p_source_no integer, p_alias text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  columns record;
  rows text;
  -- Of no column that it stands beside: it is made of all their names.
  own CONSTANT text := 'tally_' || md5(array_to_string(tally.needed_columns(p_source_no), ' '));
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF source.capture <> 'poll' THEN
    -- PostgreSQL 15 still lets an empty table become a view, whose functions would run as tally_owner.
    IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = source.relation AND c.relkind NOT IN ('r', 'p')) THEN
      PERFORM tally.refuse('TS103', format('%s is a table no more', source.source_table),
        jsonb_build_object('table', source.source_table, 'reason', 'kind'));
    END IF;
    RETURN format('%s AS %I', source.relation::regclass, p_alias);
  END IF;
  SELECT * INTO columns FROM tally.polled_columns(p_source_no);
  rows := format('tally.read_polled(%L) AS v (%s)',
    format('SELECT %s FROM %s AS s', columns.names, source.relation::regclass), columns.definitions);
  -- Nothing keeps the key of a view unique: of rows that share one, the last in order is the row.
  IF source.key_columns <> '{}' AND NOT EXISTS (SELECT FROM tally.key_order(source.relation, source.key_columns)) THEN
    rows := format('(SELECT DISTINCT ON (%5$s) * FROM (SELECT v.*, (%1$s) COLLATE "C" AS %5$s FROM tally.read_polled(%2$L) AS v (%3$s, %5$s_order %4$s)) AS k'
                   ' ORDER BY %5$s, %5$s_order DESC NULLS LAST) AS v',
      tally.key_expression(p_source_no, 'v'),
      (SELECT format('SELECT %s, s.%I::%s FROM %s AS s', columns.names, o.name, o.type_name, source.relation::regclass)
       FROM tally.poll_order(p_source_no) AS o),
      columns.definitions, (SELECT o.type_name FROM tally.poll_order(p_source_no) AS o), own);
  END IF;
  -- Those who ask whether there is a row ask for its tableoid, which a function's rows do not have.
  RETURN format('(SELECT 0::oid AS tableoid, v.* FROM %s) AS %I', rows, p_alias);
END $$;
COMMENT ON FUNCTION tally.rows_sql(integer, text) IS 'The FROM item of a source''s rows as they are now: its table, or what tally_poller reads of it.';

CREATE FUNCTION tally.poll_page_v1(p_source_no integer, p_after text, p_page_rows integer)
RETURNS TABLE (rows_read bigint, rows_queued bigint, last_order text, finished boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
SET row_security = off SET work_mem = '256MB' SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C'
AS $$
DECLARE
  source tally.verification_sources;
  key_sql text;
  follows record;
  bound text;
  page_query text;
BEGIN
  -- One poller a source. The statements behind the lock see all that the one before it queued.
  IF NOT pg_try_advisory_xact_lock(1952541819, p_source_no) THEN
    RETURN;
  END IF;
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  IF source.capture <> 'poll' OR source.relation IS NULL OR NOT source.enabled OR source.status NOT IN ('backfilling', 'active') THEN
    RETURN;
  END IF;
  SELECT * INTO follows FROM tally.poll_order(p_source_no);
  IF p_after IS NOT NULL THEN
    bound := format('s.%I > %L::%s', follows.name, p_after, follows.type_name);
  ELSIF source.poll_cursor IS NULL THEN
    bound := format('s.%I IS NOT NULL', follows.name);
  ELSIF follows.type_name = 'bigint' THEN
    bound := format('s.%I >= %s', follows.name, greatest(source.poll_cursor::numeric - source.poll_lookback, -9223372036854775808));
  ELSE
    EXECUTE format('SELECT %L::%s - make_interval(secs => %s)', source.poll_cursor, follows.type_name, source.poll_lookback) INTO bound;
    bound := format('s.%I >= %L::%s', follows.name, bound, follows.type_name);
  END IF;
  IF follows.type_name <> 'bigint' THEN
    bound := bound || format(' AND s.%1$I > ''-infinity'' AND s.%1$I < ''infinity''', follows.name);
  END IF;
  -- With ties: a page never ends between two rows of one value, so the next one can begin behind it.
  page_query := format('SELECT %1$s, s.%2$I::%3$s FROM %4$s AS s WHERE %5$s ORDER BY s.%2$I FETCH FIRST %6$s ROWS WITH TIES',
    (SELECT c.names FROM tally.polled_columns(p_source_no) AS c), follows.name, follows.type_name, source.relation::regclass,
    bound, p_page_rows);
  key_sql := tally.key_sql(p_source_no, 'p', tally.needed_columns(p_source_no));
  EXECUTE format($f$
    WITH page AS MATERIALIZED (
      SELECT * FROM tally.read_polled(%1$L) AS p (%2$s, follows %3$s)
    ), fresh AS MATERIALIZED (
      SELECT DISTINCT ON (tally_key) * FROM (SELECT p.*, (%4$s) COLLATE "C" AS tally_key FROM page AS p WHERE %5$s) AS k
      ORDER BY tally_key, follows DESC
    ), queued AS (
      INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) %6$s
      RETURNING true
    )
    SELECT (SELECT count(*) FROM page), (SELECT count(*) FROM queued), (SELECT max(p.follows)::text FROM page AS p)$f$,
    page_query,
    (SELECT string_agg(format('c%s %s', c.place, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY c.place)
     FROM unnest(tally.needed_columns(p_source_no)) WITH ORDINALITY AS c (name, place)
     INNER JOIN pg_attribute AS a ON a.attrelid = source.relation AND a.attname = c.name AND NOT a.attisdropped),
    follows.type_name, key_sql, tally.unknown_key(source, key_sql),
    tally.queue_rows_sql(p_source_no, 'I', 'p', '(SELECT f.* FROM fresh AS f ORDER BY f.follows, f.tally_key) AS r', '$1'))
  INTO rows_read, rows_queued, last_order USING tally.clock();

  IF last_order IS NOT NULL THEN
    -- A time that has not come yet must not carry the cursor past the rows of today; no clock is ahead of UTC+14.
    EXECUTE format('SELECT greatest(%1$L::%2$s, least(%3$L::%2$s, %4$s))::text', source.poll_cursor, follows.type_name, last_order,
      CASE follows.type_name WHEN 'timestamptz' THEN 'tally.clock()'
        WHEN 'timestamp' THEN '(tally.clock() AT TIME ZONE ''UTC'' + interval ''14 hours'')' ELSE 'NULL' END)
    INTO source.poll_cursor;
    UPDATE tally.verification_sources AS s SET poll_cursor = source.poll_cursor
    WHERE s.source_no = p_source_no AND s.poll_cursor IS DISTINCT FROM source.poll_cursor;
  END IF;
  finished := rows_read < p_page_rows;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION tally.poll_page_v1(integer, text, integer) IS
  'Reads a page of a polled table behind an order value, or from the lookback on, and queues what has neither leaf nor queue row; no row where another polls it or it is not to be polled.';

-- Reconcile --------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION tally.compare_rows(p_source_no integer, p_keys text[] DEFAULT NULL)
RETURNS TABLE (kind text, source_key text, leaf_index bigint, expected bytea, actual bytea, columns text[], surplus bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' SET jit = off SET row_security = off
AS $$
DECLARE
  source tally.verification_sources;
  found text;
  said text;
  -- Whether the record holds exactly this row and nothing large, without taking the record apart. A quote inside of a
  -- JSON string follows a backslash, so what begins with a comma and a quote stands where it seems to stand.
  is_plainly_same text := 'false';
  -- These stand in the template itself, and names of a user's columns may hold what format reads.
  rows_sql CONSTANT text := replace(tally.rows_sql(p_source_no, 't'), '%', '%%');
  columns_sql CONSTANT text := (
    SELECT string_agg(replace(format('t.%I', c.name), '%', '%%'), ', ' ORDER BY c.place)
    FROM unnest(tally.needed_columns(p_source_no)) WITH ORDINALITY AS c (name, place));
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF source.key_columns = '{}' AND source.continues_source_no IS NOT NULL THEN
    RETURN QUERY SELECT * FROM tally.compare_line_counts(p_source_no, p_keys);
    RETURN;
  ELSIF source.key_columns = '{}' THEN
    RETURN QUERY SELECT * FROM tally.compare_counts(p_source_no, p_keys);
    RETURN;
  END IF;
  IF source.leaf_form = 'column' THEN
    said := 'encode(s.leaf, ''hex'')';
    found := format('encode(t.%I, ''hex'')', source.hash_column);
  ELSE
    said := CASE source.leaf_form WHEN 'salted' THEN 'tally.record_members(s.record)' ELSE 'tally.record_members(s.leaf)' END;
    found := tally.row_expression(p_source_no, 't', 's.salt');
    IF source.private_columns = '{}' THEN
      is_plainly_same := format(
        $q$position(convert_to(',"row":' || %1$s || ',"table":', 'UTF8') IN %2$s) > 0 AND position(%3$L::bytea IN %2$s) = 0$q$,
        tally.row_sql(p_source_no, 't'), CASE source.leaf_form WHEN 'salted' THEN 's.record' ELSE 's.leaf' END,
        convert_to(',"large":{', 'UTF8'));
    END IF;
  END IF;
  RETURN QUERY EXECUTE format($f$
    SELECT d.kind, d.source_key, d.leaf_index, sha256(convert_to(d.said, 'UTF8')), sha256(convert_to(d.found, 'UTF8')),
           d.columns, 1::bigint
    FROM (
      SELECT
        CASE
          WHEN t.tableoid IS NULL THEN CASE WHEN s.is_present THEN 'row_missing' END
          WHEN s.source_key IS NULL THEN 'row_unlogged'
          WHEN NOT s.is_present THEN 'row_resurrected'
          WHEN %2$s THEN NULL
          WHEN %1$s IS DISTINCT FROM %4$s THEN 'row_changed'
        END AS kind,
        coalesce(s.source_key, %3$s) AS source_key, s.leaf_index, %1$s AS said,
        CASE WHEN t.tableoid IS NOT NULL THEN %4$s END AS found, %5$s AS columns
      FROM (%6$s) AS s
      FULL JOIN (SELECT t.tableoid, $f$ || columns_sql || ' FROM ' || rows_sql || $f$ WHERE $1 IS NULL OR %3$s = ANY ($1)) AS t ON %3$s = s.source_key
    ) AS d
    WHERE d.kind IS NOT NULL AND (d.kind <> 'row_changed' OR d.columns <> '{}')$f$,
    said, is_plainly_same, tally.key_expression(p_source_no, 't'), found,
    CASE source.leaf_form WHEN 'column'
      THEN format('CASE WHEN t.tableoid IS NOT NULL AND s.is_present AND s.leaf IS DISTINCT FROM t.%I THEN ARRAY[%L] END',
                  source.hash_column, source.hash_column)
      ELSE format('CASE WHEN t.tableoid IS NOT NULL AND s.is_present THEN tally.differing_columns(%s, %s, %L) END',
                  said, found, tally.unrecorded_columns(p_source_no)) END,
    tally.said_sql(p_source_no), source.relation::regclass)
    USING p_keys;
END $$;

CREATE OR REPLACE FUNCTION tally.compare_counts(p_source_no integer, p_keys text[])
RETURNS TABLE (kind text, source_key text, leaf_index bigint, expected bytea, actual bytea, columns text[], surplus bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF source.continues_source_no IS NOT NULL THEN
    RETURN QUERY SELECT * FROM tally.compare_line_counts(p_source_no, p_keys);
    RETURN;
  END IF;
  -- Keyed by full row: equal rows are counted, inserts minus deletes against rows.
  RETURN QUERY EXECUTE format($f$
    WITH ends AS (
      SELECT
        coalesce((SELECT max(m.leaf_index) FROM tally.merkle_log AS m
                  WHERE m.log_id = %1$s AND m.source_table = %2$L AND m.source_key = '[]' AND m.op = 'T'), -1) AS leaf_index,
        coalesce((SELECT max(c.seq) FROM tally.capture AS c WHERE c.log_id = %1$s AND c.source_no = %3$s AND c.op = 'T'), -1) AS seq
    ), said AS (
      SELECT u.source_key, sum(CASE u.op WHEN 'I' THEN 1 ELSE -1 END) AS rows, max(u.leaf_index) AS leaf_index
      FROM (
        SELECT m.source_key, m.op, m.leaf_index FROM tally.merkle_log AS m CROSS JOIN ends
        WHERE m.log_id = %1$s AND m.source_table = %2$L AND m.op IN ('I', 'D') AND m.leaf_index > ends.leaf_index AND ends.seq = -1
        UNION ALL
        SELECT c.source_key, c.op, NULL FROM tally.capture AS c CROSS JOIN ends
        WHERE c.log_id = %1$s AND c.source_no = %3$s AND c.op IN ('I', 'D') AND c.seq > ends.seq AND c.problem IS NULL
      ) AS u
      WHERE $1 IS NULL OR u.source_key = ANY ($1)
      GROUP BY u.source_key
    ), found AS (
      SELECT %4$s AS source_key, count(*) AS rows FROM %5$s WHERE $1 IS NULL OR %4$s = ANY ($1) GROUP BY 1
    )
    SELECT
      CASE WHEN coalesce(f.rows, 0) < coalesce(s.rows, 0) THEN 'row_missing' ELSE 'row_unlogged' END,
      coalesce(s.source_key, f.source_key), s.leaf_index, NULL::bytea, NULL::bytea, NULL::text[],
      abs(coalesce(f.rows, 0) - coalesce(s.rows, 0))::bigint
    FROM said AS s FULL JOIN found AS f ON f.source_key = s.source_key
    WHERE coalesce(f.rows, 0) <> coalesce(s.rows, 0)$f$,
    source.log_id, source.source_table, source.source_no, tally.key_expression(p_source_no, 't'), tally.rows_sql(p_source_no, 't'))
    USING p_keys;
END $$;

DO $patch$
DECLARE
  definition text := pg_get_functiondef('tally.compare_line_counts(integer,text[])'::regprocedure);
  change text[];
BEGIN
  FOREACH change SLICE 1 IN ARRAY ARRAY[
    ['FROM %4$s AS t WHERE', 'FROM %4$s WHERE'],
    ['(SELECT s.relation::regclass FROM tally.verification_sources AS s WHERE s.source_no = p_source_no)', 'tally.rows_sql(p_source_no, ''t'')']
  ] LOOP
    ASSERT position(change[1] IN definition) > 0, change[1];
    definition := replace(definition, change[1], change[2]);
  END LOOP;
  EXECUTE definition;
END $patch$;

CREATE OR REPLACE FUNCTION tally.count_rows(p_source_no integer) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET row_security = off
AS $$
DECLARE
  counted bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM %s', tally.rows_sql(p_source_no, 't')) INTO counted;
  RETURN counted;
END $$;

CREATE FUNCTION tally.hold_records(p_source_no integer) RETURNS void
LANGUAGE sql SET search_path = pg_catalog
AS $$
  SELECT FROM tally.verification_logs AS l
  WHERE l.log_id IN (SELECT s.log_id FROM tally.source_line(p_source_no) AS s) ORDER BY l.log_id FOR SHARE
$$;
COMMENT ON FUNCTION tally.hold_records(integer) IS
  'Keeps what a source and those that it continues have recorded from being erased until the transaction ends; the next statement sees what is left.';

CREATE FUNCTION tally.queue_missing_rows(p_source_no integer, p_keys text[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  queued bigint;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF p_keys <> '{}' THEN
    -- A redaction waits for us, and refuses then, or we for it: else these copies of records would outlive it.
    PERFORM tally.hold_records(p_source_no);
  END IF;
  -- The rows are gone: what the log last said of each is what is deleted. A leaf of form column tells nothing but the key.
  EXECUTE format($f$
    INSERT INTO tally.capture (log_id, source_no, op, via, source_key, leaf, salt, record, captured_at)
    SELECT %1$s, %2$s, 'D', 'r', d.key, %3$s
    FROM (
      SELECT k.key, s.salt AS said_salt, s.record AS said_record, %4$s AS salt, convert_to(concat(
        %5$L, (SELECT coalesce(to_json(nullif(current_setting('tally.actor', true), ''))::text, 'null')),
        ',"at":"', to_char($2 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '","key":', k.key,
        ',"large":' || (r.record -> 'large')::text, %6$L, ',"private":' || (r.record -> 'private')::text,
        ',"role":', to_json(session_user::text)::text, ',"row":', coalesce((r.record -> 'row')::text, 'null'),
        %7$L, pg_current_xact_id()::text, '","via":"reconcile"}'), 'UTF8') AS leaf
      FROM unnest($1) AS k (key)
      INNER JOIN (%8$s) AS s ON s.source_key = k.key
      CROSS JOIN LATERAL (SELECT %9$s AS record) AS r
      OFFSET 0
    ) AS d$f$,
    source.log_id, p_source_no,
    CASE source.leaf_form WHEN 'record' THEN 'd.leaf, d.said_salt, d.said_record, $2'
      ELSE format('sha256(%L::bytea || d.salt || d.leaf), d.salt, d.leaf, $2',
                  convert_to(E'tallystick/seal-salted-record/v1\n', 'UTF8') || '\x00'::bytea) END,
    CASE source.leaf_form WHEN 'record' THEN 'NULL::bytea' ELSE tally.salt_sql() END,
    E'tallystick/seal-record/v1\n{"actor":',
    ',"log":' || to_json(source.log_name)::text || ',"op":"delete"',
    ',"table":' || to_json(tally.record_table(p_source_no))::text || ',"tx":"',
    tally.said_sql(p_source_no),
    CASE source.leaf_form
      WHEN 'record' THEN 'convert_from(substr(s.leaf, 27), ''UTF8'')::json'
      -- So does one whose record was erased.
      ELSE format(CASE source.leaf_form WHEN 'salted' THEN 'CASE WHEN s.record IS NOT NULL THEN convert_from(substr(s.record, 27), ''UTF8'')::json ELSE %s END'
                  ELSE '%s' END, format('json_build_object(''row'', (SELECT tally.canonical(coalesce(jsonb_object_agg(c.name, v.value), ''{}''))::json '
                  'FROM json_array_elements_text(k.key::json) WITH ORDINALITY AS v (value, nth) '
                  'INNER JOIN unnest(%L::text[]) WITH ORDINALITY AS c (name, nth) ON c.nth = v.nth))', source.key_columns)) END)
  USING p_keys, tally.clock();
  GET DIAGNOSTICS queued = ROW_COUNT;
  RETURN queued;
END $$;
COMMENT ON FUNCTION tally.queue_missing_rows(integer, text[]) IS 'Queues the deletes, via reconcile, of keys whose rows are gone without one; a key as often as it is given.';

CREATE FUNCTION tally.repair_polled_v1(p_source_no integer, p_limit integer)
RETURNS TABLE (differences bigint, rows_queued bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
SET lock_timeout = '5s' SET row_security = off SET work_mem = '256MB' SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C'
AS $$
DECLARE
  source tally.verification_sources;
  gone text[];
  keys text[];
  ops text[];
  copies bigint[];
  sound text[];
  added bigint;
  from_sql text;
BEGIN
  -- The table is not ours to lock. Whoever else queues its rows takes this lock, and what a writer does behind the comparison
  -- is found by the next one.
  PERFORM pg_advisory_xact_lock(1952541819, p_source_no);
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  SELECT count(*),
         array_agg(d.source_key) FILTER (WHERE d.kind = 'row_missing'), array_agg(d.source_key) FILTER (WHERE d.kind <> 'row_missing'),
         array_agg(CASE d.kind WHEN 'row_changed' THEN 'U' ELSE 'I' END) FILTER (WHERE d.kind <> 'row_missing'),
         array_agg(d.surplus) FILTER (WHERE d.kind <> 'row_missing')
  INTO differences, gone, keys, ops, copies
  FROM (
    -- A key as often as a row of it is gone, where rows are keyed by all that they hold.
    SELECT c.kind, c.source_key, c.surplus FROM tally.compare_rows(p_source_no) AS c
    CROSS JOIN LATERAL generate_series(1, CASE c.kind WHEN 'row_missing' THEN c.surplus ELSE 1 END)
    WHERE CASE c.kind WHEN 'row_missing' THEN source.on_delete WHEN 'row_changed' THEN source.on_update ELSE 'record' END <> 'ignore'
    -- Poison differs each time until somebody mends it: it must not take the place of what can be sealed.
    ORDER BY c.source_key IN (
      SELECT z.source_key FROM tally.capture_quarantine AS z
      WHERE z.log_id = source.log_id AND z.source_no = p_source_no AND z.resolved_at IS NULL)
    LIMIT p_limit
  ) AS d;
  rows_queued := 0;
  -- A move waits for us, or we for it: behind it nothing is queued here, where the log may be frozen. Not held while we compare.
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  IF differences = 0 OR source.status = 'detached' THEN
    RETURN NEXT;
    RETURN;
  END IF;
  rows_queued := tally.queue_missing_rows(p_source_no, coalesce(gone, '{}'));
  IF source.key_columns <> '{}' THEN
    from_sql := format('unnest($1, $2) AS w (key, op) INNER JOIN %s ON %s = w.key',
      tally.rows_sql(p_source_no, 't'), tally.key_expression(p_source_no, 't'));
  ELSE
    -- As many of the equal rows as the log does not know.
    from_sql := format('unnest($1, $2, $3) AS w (key, op, surplus) INNER JOIN (SELECT t.*, row_number() OVER (PARTITION BY %2$s) AS %3$s FROM %1$s) AS t'
                       ' ON %2$s = w.key AND t.%3$s <= w.surplus',
      tally.rows_sql(p_source_no, 't'), tally.key_expression(p_source_no, 't'),
      'tally_' || md5(array_to_string(tally.needed_columns(p_source_no), ' ')));
  END IF;
  EXECUTE format($f$
    WITH present AS MATERIALIZED (
      SELECT * FROM (%1$s) AS p (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at)
    ), queued AS (
      INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at)
      SELECT p.log_id, p.source_no, p.op, p.via, p.source_key, p.source_id, p.leaf, p.salt, p.record, p.problem, p.captured_at
      FROM present AS p
      WHERE p.problem IS NULL OR p.source_key NOT IN (
        SELECT q.source_key FROM tally.capture AS q WHERE q.log_id = %2$s AND q.source_no = %3$s AND q.problem IS NOT NULL
        UNION ALL
        SELECT z.source_key FROM tally.capture_quarantine AS z WHERE z.log_id = %2$s AND z.source_no = %3$s AND z.resolved_at IS NULL)
      RETURNING true
    )
    SELECT (SELECT count(*) FROM queued), array_agg(p.source_key) FILTER (WHERE p.problem IS NULL) FROM present AS p$f$,
    tally.capture_select(p_source_no, 'w.op', 'r', from_sql, 't'), source.log_id, p_source_no)
  INTO added, sound USING coalesce(keys, '{}'), coalesce(ops, '{}'), coalesce(copies, '{}');
  rows_queued := rows_queued + added;
  UPDATE tally.capture_quarantine AS z SET resolved_at = tally.clock()
  WHERE z.log_id = source.log_id AND z.source_no = p_source_no AND z.resolved_at IS NULL AND z.source_key = ANY (sound || gone);
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION tally.repair_polled_v1(integer, integer) IS
  'Queues, via reconcile, up to so many differences between a polled table and its log: late, changed and deleted rows.';

CREATE FUNCTION tally.requeue_polled_v1(p_source_no integer)
RETURNS TABLE (keys_queued bigint, rows_resolved bigint, rows_left bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
SET lock_timeout = '5s' SET row_security = off SET work_mem = '256MB' SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C'
AS $$
DECLARE
  source tally.verification_sources;
  key_sql CONSTANT text := tally.key_expression(p_source_no, 't');
  poison text[];
BEGIN
  PERFORM pg_advisory_xact_lock(1952541819, p_source_no);
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  IF source.status = 'detached' THEN
    -- It was moved or ended meanwhile; what waits stays in quarantine.
    SELECT 0, 0, count(*) INTO keys_queued, rows_resolved, rows_left FROM tally.capture_quarantine AS z
    WHERE z.log_id = source.log_id AND z.source_no = p_source_no AND z.resolved_at IS NULL;
    RETURN NEXT;
    RETURN;
  END IF;
  EXECUTE format(
    'WITH present AS MATERIALIZED (SELECT * FROM (%s) AS p (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at)),'
    ' queued AS (INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at)'
    '   SELECT p.log_id, p.source_no, p.op, p.via, p.source_key, p.source_id, p.leaf, p.salt, p.record, p.problem, p.captured_at'
    '   FROM present AS p WHERE p.problem IS NULL)'
    ' SELECT count(*) FILTER (WHERE p.problem IS NULL), coalesce(array_agg(p.source_key) FILTER (WHERE p.problem IS NOT NULL), ''{}'') FROM present AS p',
    tally.capture_select(p_source_no, tally.next_op(source, key_sql), 'r', format(
      '%s WHERE %s IN (SELECT z.source_key FROM tally.capture_quarantine AS z WHERE z.log_id = %s AND z.source_no = %s AND z.resolved_at IS NULL)',
      tally.rows_sql(p_source_no, 't'), key_sql, source.log_id, p_source_no), 't')) INTO keys_queued, poison;

  UPDATE tally.capture_quarantine AS z SET resolved_at = tally.clock()
  WHERE z.log_id = source.log_id AND z.source_no = p_source_no AND z.resolved_at IS NULL AND z.source_key <> ALL (poison);
  GET DIAGNOSTICS rows_resolved = ROW_COUNT;
  SELECT count(*) INTO rows_left FROM tally.capture_quarantine AS z
  WHERE z.log_id = source.log_id AND z.source_no = p_source_no AND z.resolved_at IS NULL;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION tally.requeue_polled_v1(integer) IS
  'As requeue_v1 for a source that is polled: its rows cannot be locked, so its poller is kept away instead.';

REVOKE EXECUTE ON FUNCTION
  tally.grant_polling(oid), tally.install_poll_v1(integer, oid, text[], text[], tally.leaf_form, text, text, integer, integer),
  tally.poll_order(integer), tally.polled_columns(integer), tally.rows_sql(integer, text), tally.poll_page_v1(integer, text, integer),
  tally.hold_records(integer), tally.queue_missing_rows(integer, text[]), tally.repair_polled_v1(integer, integer),
  tally.requeue_polled_v1(integer)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.grant_polling(oid), tally.install_poll_v1(integer, oid, text[], text[], tally.leaf_form, text, text, integer, integer),
  tally.poll_page_v1(integer, text, integer), tally.repair_polled_v1(integer, integer), tally.requeue_polled_v1(integer)
  TO tally_app;
