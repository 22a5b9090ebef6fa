-- What capture and sealing pay for, made less (log.md, sections 2.3, 2.4, 5.1; docs/adr/0017).
--
-- A writer of one row pays, at each statement, for starting the plan of the trigger's INSERT: for each function that it names, each
-- query in it. Leaf bytes stay what they were.
--
-- Changed here: queue_rows_sql, record_sql, capture_branch and create_capture, as their comments say.

-- The generator --------------------------------------------------------------------------------

CREATE FUNCTION tally.tail_sql(p_source_no integer, p_via text, p_with_private boolean, p_tx text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT format('concat(%L, %s, %L)',
    w.trail || ',"table":' || to_json(tally.record_table(p_source_no))::text || ',"tx":"', p_tx, '","via":"' || tally.via_word(p_via) || '"}')
  FROM tally.split_words(tally.row_pieces(p_source_no, 'r', '{}', p_with_private)) AS w
$$;
COMMENT ON FUNCTION tally.tail_sql(integer, text, boolean, text) IS
  'The expression of what stands in a record behind its last value, the same for all rows of a statement; p_tx is an expression of the transaction.';
REVOKE EXECUTE ON FUNCTION tally.tail_sql(integer, text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tally.tail_sql(integer, text, boolean, text) TO tally_app;

-- As before, but that a trigger's tail is a variable: a query for it costs its start at each statement.
CREATE OR REPLACE FUNCTION tally.record_sql(
  p_source_no integer, p_op text, p_via text, p_at text, p_in_trigger boolean, p_places text[], p_private text, p_with_private boolean
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT 'convert_to(' || tally.joined_sql(
    ARRAY['=' || CASE WHEN p_in_trigger THEN 'here.head' ELSE '(SELECT ' || tally.head_sql(p_source_no, p_at) || ')' END]
    || k.rest
    || CASE WHEN length(p_op) = 1 AND p_private IS NULL THEN '{}' ELSE
      ARRAY[k.trail || ',"log":' || to_json(s.log_name)::text || ',"op":"',
            format('=CASE %s WHEN ''I'' THEN ''insert'' WHEN ''U'' THEN ''update'' ELSE ''delete'' END', CASE WHEN length(p_op) = 1 THEN quote_literal(p_op) ELSE p_op END),
            '",']
      || CASE WHEN p_private IS NULL THEN '{}' ELSE ARRAY['"private":', '=' || p_private, ','] END END
    || ARRAY['=' || CASE WHEN p_in_trigger AND NOT p_with_private THEN 'here.middle'
                         ELSE '(SELECT ' || tally.middle_sql(p_source_no, p_op, p_private IS NOT NULL, p_with_private) || ')' END]
    || w.rest
    || ARRAY['=' || CASE WHEN p_in_trigger AND NOT p_with_private THEN 'here.tail'
                         ELSE '(SELECT ' || tally.tail_sql(p_source_no, p_via, p_with_private, 'pg_current_xact_id()') || ')' END])
    || ', ''UTF8'')'
  FROM tally.verification_sources AS s
  CROSS JOIN tally.split_words(tally.key_pieces(p_source_no, 'r', p_places)) AS k
  CROSS JOIN tally.split_words(tally.row_pieces(p_source_no, 'r', p_places, p_with_private)) AS w
  WHERE s.source_no = p_source_no
$$;

-- As before, but that no expression holds another twice.
CREATE OR REPLACE FUNCTION tally.queue_rows_sql(
  p_source_no integer, p_op text, p_via text, p_rows text, p_at text, p_in_trigger boolean DEFAULT false
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
-- p_rows is a FROM item with the columns c1, c2, ... (and `op`, if p_op is not one letter) under the alias r.
DECLARE
  source tally.verification_sources;
  places CONSTANT text[] := tally.needed_columns(p_source_no);
  private CONSTANT text := tally.private_sql(p_source_no, 'r', 'r.salt', places);
  op CONSTANT text := CASE WHEN length(p_op) = 1 THEN quote_literal(p_op) ELSE p_op END;
  is_delete CONSTANT text := op || ' = ''D''';
  too_large CONSTANT text := 'the record does not fit a leaf';
  needs_record boolean;
  needs_salt boolean;
  may_be_large boolean;
  source_id text;
  hash text;
  leaf text;
  salt text := 'NULL::bytea';
  record text := 'NULL::bytea';
  problem text := 'NULL::text';
  fitted text := 'tally.fit_leaf(r.plain)';
  rows_sql text := p_rows;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  -- A dump that is restored brings the triggers, but its tables have other oids than those that were sealed.
  IF places IS NULL THEN
    PERFORM tally.refuse('TS103', format('the table that log %s seals as %s is gone, and this one was not added', source.log_name, source.source_table),
      jsonb_build_object('table', source.source_table, 'log', source.log_name));
  END IF;
  IF NOT source.key_columns <@ places THEN
    PERFORM tally.refuse('TS109', format('a key column of %s is gone: the source must be detached and added anew', source.source_table),
      jsonb_build_object('table', source.source_table, 'columns', to_jsonb(source.key_columns)));
  END IF;
  SELECT CASE WHEN count(*) = 1 AND bool_and(tally.base_type(c.type) IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype))
    THEN min(tally.column_reference('r', c.name, places)) || '::bigint' ELSE 'NULL::bigint' END
  INTO source_id FROM tally.recorded_columns(p_source_no) AS c WHERE c.name = ANY (source.key_columns);
  SELECT count(*) > 40 OR bool_or(NOT tally.fits_always(c.type)) INTO may_be_large FROM tally.recorded_columns(p_source_no) AS c;
  needs_record := source.leaf_form <> 'column' OR p_op NOT IN ('I', 'U');
  needs_salt := needs_record AND (private IS NOT NULL OR source.leaf_form <> 'record');

  -- Levels of subqueries, each computed once per row (OFFSET 0): the salt, the record, the record with large values taken out.
  IF needs_salt THEN
    rows_sql := format('(SELECT r.*, %s AS salt FROM %s OFFSET 0) AS r', tally.salt_sql(), rows_sql);
    salt := 'r.salt';
  END IF;
  leaf := CASE WHEN needs_record THEN tally.record_sql(p_source_no, p_op, p_via, p_at, p_in_trigger, places, private, false) END;
  IF needs_record AND (may_be_large OR needs_salt) THEN
    rows_sql := format('(SELECT r.*, %s AS plain FROM %s OFFSET 0) AS r', leaf, rows_sql);
    leaf := 'r.plain';
    IF may_be_large THEN
      -- What is short as a whole holds nothing large; only the others are looked at value by value.
      IF needs_salt THEN
        rows_sql := format('(SELECT r.*, CASE WHEN octet_length(r.plain) <= 8192 THEN r.plain ELSE tally.fit_leaf(r.plain) END AS fitted FROM %s OFFSET 0) AS r',
          rows_sql);
        fitted := 'r.fitted';
        leaf := fitted;
      ELSE
        -- A writer of one row pays for each function that a statement names, called or not: hence no function twice.
        leaf := 'CASE WHEN octet_length(r.plain) <= 8192 THEN r.plain ELSE tally.fit_leaf(r.plain) END';
      END IF;
      problem := format('CASE WHEN octet_length(r.plain) > 8192 AND %s IS NULL THEN %L END', fitted, too_large);
    END IF;
  END IF;

  IF source.leaf_form = 'record' AND private IS NOT NULL THEN
    record := tally.record_sql(p_source_no, p_op, p_via, p_at, p_in_trigger, places, NULL, true);
  ELSIF source.leaf_form = 'record' AND may_be_large THEN
    record := format('CASE WHEN octet_length(r.plain) > 8192 THEN nullif(r.plain, %s) END', fitted);
  ELSIF needs_record AND source.leaf_form <> 'record' THEN
    record := leaf;
    leaf := tally.salted_sql(leaf);
  END IF;
  IF source.leaf_form = 'column' THEN
    hash := CASE WHEN (SELECT tally.base_type(a.atttypid) = 'bytea'::regtype FROM pg_attribute AS a
                       WHERE a.attrelid = source.relation AND a.attname = source.hash_column AND NOT a.attisdropped)
      THEN tally.column_reference('r', source.hash_column, places) ELSE 'NULL::bytea' END;
    leaf := format('CASE WHEN %s THEN %s WHEN octet_length(%3$s) BETWEEN 16 AND 64 THEN %3$s END', is_delete, coalesce(leaf, 'NULL::bytea'), hash);
    problem := format(
      'CASE WHEN %s THEN %s WHEN octet_length(%3$s) BETWEEN 16 AND 64 THEN NULL WHEN %3$s IS NULL THEN %4$L ELSE ''the hash has '' || octet_length(%3$s) || '' bytes, not 16 to 64'' END',
      is_delete, problem, hash, CASE hash WHEN 'NULL::bytea' THEN 'the hash column is missing or no bytea' ELSE 'the hash is null' END);
    salt := format('CASE WHEN %s THEN %s END', is_delete, salt);
    record := format('CASE WHEN %s THEN %s END', is_delete, record);
  END IF;
  RETURN format(
    'SELECT %s, %s, %s::"char", %L::"char", %s, %s, %s, %s, %s, %s, %s FROM %s',
    source.log_id, source.source_no, op, p_via, tally.key_sql(p_source_no, 'r', places), source_id, leaf, salt, record, problem, p_at, rows_sql);
END $$;

-- As before, and sets the tail.
CREATE OR REPLACE FUNCTION tally.capture_branch(p_source_no integer, p_op text, p_rule tally.capture_rule) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  static_sql text;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF p_rule = 'refuse' THEN
    RETURN format($f$
  IF TG_OP = %L THEN
    IF EXISTS (SELECT FROM tally_old) THEN
      PERFORM tally.refuse('TS101', %L, %L);
    END IF;
    RETURN NULL;
  END IF;$f$, p_op, format('%s is sealed in log %s, which refuses %s', source.source_table, source.log_name, p_op),
      jsonb_build_object('table', source.source_table, 'log', source.log_name, 'operation', p_op));
  ELSIF p_rule = 'ignore' THEN
    RETURN '';
  END IF;
  -- Whoever changed a row of a local table has a transaction id; a statement that changed nothing must not get one.
  static_sql := format(
    E'IF here.tx IS NULL THEN\n      IF EXISTS (SELECT FROM %s) THEN\n        here.tx := pg_current_xact_id();\n      END IF;\n    END IF;\n'
    '    here.middle := %s;\n    here.tail := %s;\n    %s',
    CASE p_op WHEN 'INSERT' THEN 'tally_new' WHEN 'DELETE' THEN 'tally_old' ELSE 'tally_new' END,
    tally.middle_sql(p_source_no, CASE p_op WHEN 'INSERT' THEN 'I' WHEN 'DELETE' THEN 'D' ELSE 'r.op' END,
      tally.private_sql(p_source_no, 'r', 'r.salt', '{}') IS NOT NULL, false),
    tally.tail_sql(p_source_no, 't', false, 'here.tx'),
    tally.capture_insert_sql(p_source_no, p_op, 'here.at', true, source.key_columns = '{}'));
  IF p_op = 'UPDATE' AND source.key_columns <> '{}' THEN
    RETURN format($f$
  IF here.is_current AND TG_OP = 'UPDATE' THEN
    -- Only a cascade, or what ran inside this statement, can make one key occur twice. The two questions are apart because an
    -- expression with a query in it costs its start even where it need not be asked.
    IF here.entry > 0 OR NOT here.is_fresh OR tally.planned_cascades(%1$L::regclass) THEN
      here.has_doubles := EXISTS (SELECT FROM (SELECT %2$s FROM tally_old AS t) AS o GROUP BY %3$s HAVING count(*) > 1)
        OR EXISTS (SELECT FROM (SELECT %2$s FROM tally_new AS t) AS o GROUP BY %3$s HAVING count(*) > 1);
    END IF;
    IF here.has_doubles THEN
      EXECUTE tally.capture_insert_sql(%4$s, 'UPDATE', '$1', false, true) USING here.at;
    ELSE
      %5$s;
    END IF;
  END IF;$f$,
      source.relation, tally.source_columns(p_source_no, 't'),
      array_to_string(tally.key_comparables(p_source_no, 'o'), ', '), p_source_no, static_sql);
  END IF;
  RETURN format($f$
  IF here.is_current AND TG_OP = %L THEN
    %s;
  END IF;$f$, p_op, static_sql);
END $$;

-- As before, with the tail, and with one plan for all statements of a session.
CREATE OR REPLACE FUNCTION tally.create_capture(source_no integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $body$
DECLARE
  source tally.verification_sources;
  fingerprint bigint;
  body text;
BEGIN
  SELECT s.* INTO STRICT source FROM tally.verification_sources AS s WHERE s.source_no = create_capture.source_no;
  fingerprint := tally.table_fingerprint(source.relation);
  body := format($f$
<<here>>
DECLARE
  at CONSTANT timestamptz := tally.clock();
  head CONSTANT text := %8$s;
  tx xid8 := pg_current_xact_id_if_assigned();
  middle text;
  tail text;
  is_fresh CONSTANT boolean := current_setting('transaction_isolation') NOT IN ('repeatable read', 'serializable');
  is_current boolean;
  has_doubles boolean := false;
  mine CONSTANT text := ' ' || TG_RELID || '.' || TG_OP || '=';
  stack text := current_setting('tally.nest_%1$s', true);
  entry bigint := 0;
  first bigint;
  formats text[];
BEGIN
%3$s
  IF here.stack = here.mine || '0' THEN
    here.stack := set_config('tally.nest_%1$s', '', true);
  ELSE
    SELECT s.stack, s.entry INTO here.stack, here.entry FROM tally.end_statement(here.stack, here.mine) AS s;
    here.first := nextval('tally.capture_seq');
    here.stack := set_config('tally.nest_%1$s', replace(here.stack, '=0', '=' || here.first), true);
  END IF;
  -- Under READ COMMITTED the columns are compared once per plan, and DDL makes a new plan. A snapshot older than the
  -- DDL must not decide for later transactions, so the others compare each time.
  IF here.is_fresh THEN
    here.is_current := tally.planned_shape(%4$L::regclass) = %5$s;
  ELSE
    here.is_current := tally.table_shape(%4$s) = %5$s;
  END IF;
%6$s
  IF NOT here.is_current THEN
    -- The settings of this function are those of the columns that it was generated for.
    here.formats := tally.pin_output_formats();
    EXECUTE tally.capture_insert_sql(%1$s, TG_OP, '$1', false, true) USING here.at;
  END IF;
  IF here.entry > 0 AND %7$L THEN
    PERFORM tally.merge_nested(%1$s, here.entry, here.first, here.at);
  END IF;
  IF NOT here.is_current THEN
    here.formats := tally.set_output_formats(here.formats);
  END IF;
  RETURN NULL;
END $f$,
    source.source_no, NULL,
    CASE WHEN source.on_update = 'refuse' THEN tally.capture_branch(source.source_no, 'UPDATE', 'refuse') ELSE '' END
    || CASE WHEN source.on_delete = 'refuse' THEN tally.capture_branch(source.source_no, 'DELETE', 'refuse') ELSE '' END,
    source.relation, tally.table_shape(source.relation),
    tally.capture_branch(source.source_no, 'INSERT', 'record')
    || CASE WHEN source.on_update = 'record' THEN tally.capture_branch(source.source_no, 'UPDATE', 'record') ELSE '' END
    || CASE WHEN source.on_delete = 'record' THEN tally.capture_branch(source.source_no, 'DELETE', 'record') ELSE '' END,
    source.key_columns <> '{}', tally.head_sql(source.source_no, 'here.at'));
  -- The plan is made once: after a large statement the planner would take a plan for each small one to be cheaper than that of
  -- the large one, and make it anew, at three times what the statement costs otherwise, for the rest of the session.
  EXECUTE format('CREATE OR REPLACE FUNCTION tally.capture_%s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET plan_cache_mode = force_generic_plan %s AS %L',
    source.source_no, tally.capture_settings(source.source_no), body);
  EXECUTE format($f$
CREATE OR REPLACE FUNCTION tally.truncate_%1$s() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $capture$
DECLARE
  formats text[] := tally.pin_output_formats();
BEGIN
  PERFORM tally.capture_truncate(%1$s, TG_RELID);
  formats := tally.set_output_formats(formats);
  RETURN NULL;
END $capture$$f$, source.source_no);
  EXECUTE format('REVOKE EXECUTE ON FUNCTION tally.capture_%1$s(), tally.truncate_%1$s() FROM PUBLIC', source.source_no);
  -- Only who may create triggers on the table may use them there; on a table of his own he could queue rows in its name.
  EXECUTE format('GRANT EXECUTE ON FUNCTION tally.capture_%1$s(), tally.truncate_%1$s(), tally.begin_capture() TO %2$s',
    source.source_no, (SELECT c.relowner::regrole FROM pg_class AS c WHERE c.oid = source.relation));
  UPDATE tally.verification_sources AS s SET schema_fingerprint = fingerprint WHERE s.source_no = source.source_no;
END $body$;

-- Capture functions that stand are made anew, where their columns are still those that they were made for; the others are when
-- their source is validated next, which adds the `schema` leaf.
SELECT tally.create_capture(s.source_no)
FROM tally.verification_sources AS s
WHERE to_regprocedure(format('tally.capture_%s()', s.source_no)) IS NOT NULL
  AND s.schema_fingerprint = tally.table_fingerprint(s.relation)
ORDER BY s.source_no;
