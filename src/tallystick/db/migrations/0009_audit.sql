-- Comparing a table with what its log last said of each key, and queueing what differs (log.md, section 4.7, step 5).
--
-- row_security is off wherever a user's table is read: a policy would hide rows, and run its owner's code as tally_owner.

CREATE FUNCTION tally.record_members(p_record bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
DECLARE
  record json;
BEGIN
  -- 26 bytes of tag; json, not jsonb, keeps the text of a member as it was hashed. What fails in DECLARE is not caught.
  record := convert_from(substr(p_record, 27), 'UTF8')::json;
  RETURN concat('{', '"large":' || (record -> 'large')::text || ',', '"private":' || (record -> 'private')::text || ',',
                '"row":', (record -> 'row')::text, '}');
EXCEPTION WHEN data_exception THEN
  RETURN ''; -- no record, hence equal to no row
END $$;
COMMENT ON FUNCTION tally.record_members(bytea) IS 'The text of {large, private, row} of a record, to compare with a row of its table.';

CREATE FUNCTION tally.said_sql(p_source_no integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  -- The last leaf of each key, or, if there is one, its last queue row; a truncate ends all keys before it.
  RETURN format($f$
    SELECT
      coalesce(q.source_key, l.source_key) AS source_key, l.leaf_index,
      CASE WHEN q.source_key IS NULL THEN l.leaf ELSE q.leaf END AS leaf,
      CASE WHEN q.source_key IS NULL THEN l.salt ELSE q.salt END AS salt,
      CASE WHEN q.source_key IS NULL THEN l.record ELSE q.record END AS record,
      CASE WHEN q.source_key IS NOT NULL THEN q.op <> 'D' AND q.seq > ends.seq
           ELSE l.op <> 'D' AND l.leaf_index > ends.leaf_index AND ends.seq = -1 END AS is_present
    FROM (
      SELECT DISTINCT ON (m.source_key) m.source_key, m.leaf_index, m.op, m.leaf, k.salt, k.record
      FROM tally.merkle_log AS m LEFT JOIN tally.leaf_records AS k ON k.log_id = m.log_id AND k.leaf_index = m.leaf_index
      WHERE m.log_id = %1$s AND m.source_table = %2$L AND m.op IN ('I', 'U', 'D') AND ($1 IS NULL OR m.source_key = ANY ($1))
      ORDER BY m.source_key DESC, m.leaf_index DESC
    ) AS l
    FULL JOIN (
      SELECT DISTINCT ON (c.source_key) c.source_key, c.seq, c.op, c.leaf, c.salt, c.record
      FROM tally.capture AS c
      WHERE c.log_id = %1$s AND c.source_no = %3$s AND c.op IN ('I', 'U', 'D') AND c.problem IS NULL
        AND ($1 IS NULL OR c.source_key = ANY ($1))
      ORDER BY c.source_key DESC, c.seq DESC
    ) AS q ON q.source_key = l.source_key
    CROSS JOIN (
      SELECT
        coalesce((SELECT max(m.leaf_index) FROM tally.merkle_log AS m
                  WHERE m.log_id = %1$s AND m.source_table = %2$L AND m.source_key = '[]' AND m.op = 'T'), -1) AS leaf_index,
        coalesce((SELECT max(c.seq) FROM tally.capture AS c WHERE c.log_id = %1$s AND c.source_no = %3$s AND c.op = 'T'), -1) AS seq
    ) AS ends$f$, source.log_id, source.source_table, source.source_no);
END $$;
COMMENT ON FUNCTION tally.said_sql(integer) IS 'The query of what log and queue last say of each key of a source; $1 limits it to some keys.';

CREATE FUNCTION tally.member_values(p_members text) RETURNS TABLE (column_name text, said text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  -- One text for each column, wherever the record holds it: large before private before row.
  SELECT DISTINCT ON (v.key) v.key, v.value
  FROM (
    SELECT 1 AS rank, e.key, e.value::text FROM json_each(p_members::json -> 'large') AS e
    UNION ALL
    SELECT 2, e.key, e.value::text FROM json_each(p_members::json -> 'private') AS e
    UNION ALL
    SELECT 3, e.key, e.value::text FROM json_each(nullif((p_members::json -> 'row')::text, 'null')::json) AS e
  ) AS v ORDER BY v.key, v.rank
$$;
COMMENT ON FUNCTION tally.member_values(text) IS 'The value, commitment or digest of each column in the text of {large, private, row}.';

CREATE FUNCTION tally.differing_columns(p_said text, p_found text, p_unrecorded text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  -- A column that only one side has was added or dropped since: the schema leaf is the evidence of that. One that was recorded,
  -- is there, and is recorded no more was taken out of the source's row, which nothing but tampering does.
  SELECT coalesce(array_agg(s.column_name ORDER BY s.column_name COLLATE "C"), '{}')
  FROM tally.member_values(nullif(p_said, '')) AS s
  LEFT JOIN tally.member_values(p_found) AS f ON f.column_name = s.column_name
  WHERE CASE WHEN f.column_name IS NULL THEN s.column_name = ANY (p_unrecorded) ELSE s.said IS DISTINCT FROM f.said END
$$;
COMMENT ON FUNCTION tally.differing_columns(text, text, text[]) IS
  'The columns on which two texts of {large, private, row} do not agree, and those that only the first has though the table has them.';

CREATE FUNCTION tally.unrecorded_columns(p_source_no integer) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT coalesce(array_agg(a.attname::text), '{}')
  FROM tally.verification_sources AS s
  INNER JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
  WHERE s.source_no = p_source_no AND a.attname <> ALL (ARRAY(SELECT c.name FROM tally.recorded_columns(p_source_no) AS c))
$$;
COMMENT ON FUNCTION tally.unrecorded_columns(integer) IS 'The columns of a source''s table that it does not record.';

CREATE FUNCTION tally.compare_rows(p_source_no integer, p_keys text[] DEFAULT NULL)
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
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF source.key_columns = '{}' THEN
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
      FULL JOIN (SELECT t.tableoid, t.* FROM %7$s AS t WHERE $1 IS NULL OR %3$s = ANY ($1)) AS t ON %3$s = s.source_key
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
COMMENT ON FUNCTION tally.compare_rows(integer, text[]) IS
  'Every row of a source that its log does not bear out, with digests and columns; keys limit it to some rows.';

CREATE FUNCTION tally.compare_counts(p_source_no integer, p_keys text[])
RETURNS TABLE (kind text, source_key text, leaf_index bigint, expected bytea, actual bytea, columns text[], surplus bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
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
      SELECT %4$s AS source_key, count(*) AS rows FROM %5$s AS t WHERE $1 IS NULL OR %4$s = ANY ($1) GROUP BY 1
    )
    SELECT
      CASE WHEN coalesce(f.rows, 0) < coalesce(s.rows, 0) THEN 'row_missing' ELSE 'row_unlogged' END,
      coalesce(s.source_key, f.source_key), s.leaf_index, NULL::bytea, NULL::bytea, NULL::text[],
      abs(coalesce(f.rows, 0) - coalesce(s.rows, 0))::bigint
    FROM said AS s FULL JOIN found AS f ON f.source_key = s.source_key
    WHERE coalesce(f.rows, 0) <> coalesce(s.rows, 0)$f$,
    source.log_id, source.source_table, source.source_no, tally.key_expression(p_source_no, 't'), source.relation::regclass)
    USING p_keys;
END $$;
COMMENT ON FUNCTION tally.compare_counts(integer, text[]) IS 'As compare_rows, for a source keyed by full row.';

CREATE FUNCTION tally.count_rows(p_source_no integer) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET row_security = off
AS $$
DECLARE
  counted bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM %s',
    (SELECT s.relation::regclass FROM tally.verification_sources AS s WHERE s.source_no = p_source_no)) INTO counted;
  RETURN counted;
END $$;
COMMENT ON FUNCTION tally.count_rows(integer) IS 'How many rows a source''s table has.';

-- Repair ---------------------------------------------------------------------------------------

CREATE FUNCTION tally.queue_missing_row(p_source_no integer, p_key text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  said record;
  record json;
  leaf bytea;
  salt bytea;
  at CONSTANT timestamptz := tally.clock();
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  -- The row is gone: what the log last said of it is what is deleted.
  EXECUTE 'SELECT s.leaf, s.salt, s.record FROM (' || tally.said_sql(p_source_no) || ') AS s' INTO said USING ARRAY[p_key];
  record := CASE source.leaf_form
    WHEN 'record' THEN convert_from(substr(said.leaf, 27), 'UTF8')::json
    WHEN 'salted' THEN convert_from(substr(said.record, 27), 'UTF8')::json
    -- A leaf of form column tells nothing of its row but the key.
    ELSE json_build_object('row', (SELECT json_object_agg(c.name, k.value ORDER BY tally.utf16_order(c.name))
      FROM json_array_elements_text(p_key::json) WITH ORDINALITY AS k (value, nth)
      INNER JOIN unnest(source.key_columns) WITH ORDINALITY AS c (name, nth) ON c.nth = k.nth))
  END;
  leaf := convert_to(concat(
    E'tallystick/seal-record/v1\n{"actor":', coalesce(to_json(nullif(current_setting('tally.actor', true), ''))::text, 'null'),
    ',"at":"', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '","key":', p_key,
    ',"large":' || (record -> 'large')::text, ',"log":', to_json(source.log_name)::text, ',"op":"delete"',
    ',"private":' || (record -> 'private')::text, ',"role":', to_json(session_user::text)::text,
    ',"row":', CASE source.leaf_form WHEN 'column' THEN tally.canonical((record -> 'row')::jsonb) ELSE (record -> 'row')::text END,
    ',"table":', to_json(tally.record_table(p_source_no))::text, ',"tx":"', pg_current_xact_id()::text, '","via":"reconcile"}'), 'UTF8');
  IF source.leaf_form <> 'record' THEN
    EXECUTE 'SELECT ' || tally.salt_sql() INTO salt;
  END IF;
  INSERT INTO tally.capture (log_id, source_no, op, via, source_key, leaf, salt, record, captured_at)
  VALUES (
    source.log_id, p_source_no, 'D', 'r', p_key,
    CASE source.leaf_form WHEN 'record' THEN leaf
      ELSE sha256(convert_to(E'tallystick/seal-salted-record/v1\n', 'UTF8') || '\x00'::bytea || salt || leaf) END,
    CASE source.leaf_form WHEN 'record' THEN said.salt ELSE salt END,
    CASE source.leaf_form WHEN 'record' THEN said.record ELSE leaf END, at);
END $$;
COMMENT ON FUNCTION tally.queue_missing_row(integer, text) IS 'Queues the delete, via reconcile, of a key whose row is gone without one.';

CREATE FUNCTION tally.repair_rows_v1(p_source_no integer, p_keys text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C' SET row_security = off
AS $$
DECLARE
  source tally.verification_sources;
  finding record;
  copy bigint;
  keys text[] := '{}';
  ops text[] := '{}';
  queued bigint := 0;
  added bigint;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  FOR finding IN SELECT * FROM tally.compare_rows(p_source_no, p_keys) LOOP
    IF finding.kind = 'row_missing' THEN
      IF source.on_delete <> 'ignore' THEN
        FOR copy IN 1 .. finding.surplus LOOP
          PERFORM tally.queue_missing_row(p_source_no, finding.source_key);
          queued := queued + 1;
        END LOOP;
      END IF;
    ELSE
      keys := keys || finding.source_key;
      ops := ops || CASE finding.kind WHEN 'row_changed' THEN 'U' ELSE 'I' END;
    END IF;
  END LOOP;
  IF source.key_columns <> '{}' THEN
    EXECUTE 'INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) '
      || tally.capture_select(p_source_no, 'w.op', 'r', format(
        'unnest($1, $2) AS w (key, op) INNER JOIN %s AS t ON %s = w.key',
        source.relation::regclass, tally.key_expression(p_source_no, 't')), 't')
      USING keys, ops;
  ELSE
    -- As many of the equal rows as the log does not know.
    EXECUTE 'INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) '
      || tally.capture_select(p_source_no, 'I', 'r', format(
        '(SELECT t.*, %2$s AS tally_key, row_number() OVER (PARTITION BY %2$s) AS tally_nth FROM %1$s AS t WHERE %2$s = ANY ($1)) AS t
         INNER JOIN tally.compare_rows(%3$s, $1) AS d ON d.source_key = t.tally_key AND d.kind = ''row_unlogged'' AND t.tally_nth <= d.surplus',
        source.relation::regclass, tally.key_expression(p_source_no, 't'), p_source_no), 't')
      USING keys;
  END IF;
  GET DIAGNOSTICS added = ROW_COUNT;
  RETURN queued + added;
END $$;
COMMENT ON FUNCTION tally.repair_rows_v1(integer, text[]) IS
  'Queues, via reconcile, what differs between some keys'' rows and the log; the caller holds a lock on the table.';

REVOKE EXECUTE ON FUNCTION
  tally.record_members(bytea), tally.said_sql(integer), tally.member_values(text), tally.differing_columns(text, text, text[]),
  tally.unrecorded_columns(integer),
  tally.compare_rows(integer, text[]), tally.compare_counts(integer, text[]), tally.count_rows(integer),
  tally.queue_missing_row(integer, text), tally.repair_rows_v1(integer, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.record_members(bytea), tally.member_values(text), tally.differing_columns(text, text, text[]),
  tally.compare_rows(integer, text[]), tally.count_rows(integer), tally.repair_rows_v1(integer, text[]) TO tally_app;
GRANT EXECUTE ON FUNCTION tally.record_members(bytea), tally.compare_rows(integer, text[]), tally.count_rows(integer) TO tally_auditor;
