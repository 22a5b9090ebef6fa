-- Capture by logical decoding: the third way (log.md, sections 2.2, 2.3, 4.5; docs/adr/0016).
--
-- A reader streams pgoutput's messages from one slot, cuts them at commits, and runs on each batch the statements that are
-- generated here. They take a message apart where it lies, so no row passes through anything but SQL. Whoever reads, and
-- where he stands, is `wal_positions`; the position moves in the transaction that queues the rows before it.
--
-- Changed here: via_word knows `w`, wanted_triggers wants none for sources that have another capture, rebind_source_v1 knows a
-- restored table that has no triggers by its publication.

ALTER TYPE tally.capture_mode ADD VALUE IF NOT EXISTS 'wal';

ALTER TABLE tally.verification_sources
  ADD COLUMN wal_epoch integer,
  ADD COLUMN wal_from pg_lsn,
  ADD COLUMN wal_until pg_lsn;
COMMENT ON COLUMN tally.verification_sources.wal_epoch IS 'For wal: the life of the slot that reads its changes; NULL until a reader has taken it.';
COMMENT ON COLUMN tally.verification_sources.wal_from IS 'For wal: changes that committed before it are in the rows that were queued otherwise; NULL: none is read yet.';
COMMENT ON COLUMN tally.verification_sources.wal_until IS 'For wal: where a detached source ended; what committed before it is still read.';

CREATE TABLE tally.wal_positions (
  slot_name text COLLATE "C" PRIMARY KEY,
  epoch integer NOT NULL CONSTRAINT epoch_is_counted CHECK (epoch > 0),
  system_identifier text COLLATE "C" NOT NULL,
  position pg_lsn NOT NULL,
  publication oid,
  moved_at timestamptz NOT NULL DEFAULT tally.clock(),
  opened_at timestamptz NOT NULL DEFAULT tally.clock()
);
SELECT tally.describe('tally.wal_positions', 'How far the WAL has been read: one row, for this database''s slot.', '{
  "slot_name": "The slot; its name holds the database''s oid, because slots belong to a server.",
  "epoch": "How often the slot has been made; a new one leaves a gap in every source.",
  "system_identifier": "The server on which the slot was made.",
  "position": "End of the last commit whose rows are queued: in the same transaction as they.",
  "publication": "The publication that the slot is read through; NULL: there was none.",
  "moved_at": "When it moved.",
  "opened_at": "When this slot was made."}');

CREATE TABLE tally.wal_tables (
  relation oid PRIMARY KEY,
  identity_before text COLLATE "C" NOT NULL,
  membership oid,
  noted_at timestamptz NOT NULL DEFAULT tally.clock()
);
SELECT tally.describe('tally.wal_tables', 'Tables captured from the WAL: their replica identity before, and their place in the publication.', '{
  "relation": "The table, or a descendant.",
  "identity_before": "DEFAULT, NOTHING, FULL or USING INDEX name: what detaching gives back.",
  "membership": "Its row in pg_publication_rel: a table that left the publication and came back has another.",
  "noted_at": "When it was noted."}');

CREATE TABLE tally.wal_breaks (
  source_no integer NOT NULL REFERENCES tally.verification_sources (source_no) ON DELETE RESTRICT,
  code text COLLATE "C" NOT NULL,
  message text NOT NULL,
  noted_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (source_no, code)
);
SELECT tally.describe('tally.wal_breaks', 'Sources that reading has broken, until their rows say so: whoever waits for the reader may hold those.', '{
  "source_no": "The source.",
  "code": "What broke it.",
  "message": "The same in words: the gap leaf says them.",
  "noted_at": "When it was noted, in the transaction that left the changes out."}');

CREATE OR REPLACE FUNCTION tally.via_word(p_via text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  SELECT CASE p_via WHEN 't' THEN 'trigger' WHEN 'p' THEN 'poll' WHEN 'b' THEN 'backfill' WHEN 'r' THEN 'reconcile'
                    WHEN 'c' THEN 'control' WHEN 'w' THEN 'wal' END
$$;

CREATE OR REPLACE FUNCTION tally.wanted_triggers(p_source_no integer)
RETURNS TABLE (relation oid, trigger_name text, definition text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$
  WITH RECURSIVE members AS (
    SELECT s.relation FROM tally.verification_sources AS s WHERE s.source_no = p_source_no
    UNION
    SELECT i.inhrelid FROM members AS m INNER JOIN pg_inherits AS i ON i.inhparent = m.relation
  )
  SELECT m.relation, t.name, format('CREATE TRIGGER %I %s', t.name, t.definition)
  FROM tally.verification_sources AS s
  CROSS JOIN members AS m
  INNER JOIN pg_class AS c ON c.oid = m.relation
  CROSS JOIN LATERAL (VALUES
    (format('tally_%s_begin', s.source_no), true,
     format('BEFORE INSERT%s%s ON %s FOR EACH STATEMENT EXECUTE FUNCTION tally.begin_capture(%L)',
       CASE WHEN s.on_update = 'record' THEN ' OR UPDATE' ELSE '' END, CASE WHEN s.on_delete = 'record' THEN ' OR DELETE' ELSE '' END,
       m.relation::regclass, s.source_no::text)),
    (format('tally_%s_insert', s.source_no), true,
     format('AFTER INSERT ON %s REFERENCING NEW TABLE AS tally_new FOR EACH STATEMENT EXECUTE FUNCTION tally.capture_%s()',
       m.relation::regclass, s.source_no)),
    (format('tally_%s_update', s.source_no), s.on_update <> 'ignore',
     format('AFTER UPDATE ON %s REFERENCING OLD TABLE AS tally_old NEW TABLE AS tally_new FOR EACH STATEMENT EXECUTE FUNCTION tally.capture_%s()',
       m.relation::regclass, s.source_no)),
    (format('tally_%s_delete', s.source_no), s.on_delete <> 'ignore',
     format('AFTER DELETE ON %s REFERENCING OLD TABLE AS tally_old FOR EACH STATEMENT EXECUTE FUNCTION tally.capture_%s()',
       m.relation::regclass, s.source_no)),
    -- TRUNCATE of a partitioned table fires the triggers of its leaves too.
    (format('tally_%s_truncate', s.source_no), s.on_truncate <> 'ignore' AND c.relkind = 'r',
     format('BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION tally.truncate_%s()', m.relation::regclass, s.source_no))
  ) AS t (name, is_wanted, definition)
  WHERE s.source_no = p_source_no AND s.capture = 'trigger' AND t.is_wanted AND c.relkind IN ('r', 'p')
$$;

-- Messages as queue rows -------------------------------------------------------------------------

CREATE FUNCTION tally.wal_columns(p_source_no integer, p_names text[], p_types oid[])
RETURNS TABLE (nth integer, attribute integer, name text, type oid, is_recorded boolean, is_private boolean, is_key boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- As recorded_columns, but of the columns that a relation message names: the table as it was at that place in the WAL.
  SELECT
    (row_number() OVER (ORDER BY r.is_recorded DESC, tally.utf16_order(r.name)))::integer, r.attribute::integer, r.name, r.type, r.is_recorded,
    r.name = ANY (r.private_columns), r.name = ANY (r.key_columns)
  FROM (
    SELECT a.attribute, a.name, a.type, s.key_columns, s.private_columns, s.hash_column,
      a.name = ANY (s.key_columns)
      OR CASE WHEN s.include_columns IS NOT NULL THEN a.name = ANY (s.include_columns)
              ELSE a.name <> ALL (coalesce(s.exclude_columns, '{}')) END AS is_recorded
    FROM tally.verification_sources AS s
    CROSS JOIN unnest(p_names, p_types) WITH ORDINALITY AS a (name, type, attribute)
    WHERE s.source_no = p_source_no
  ) AS r
  WHERE r.is_recorded OR r.name = r.hash_column
  ORDER BY 1
$$;
COMMENT ON FUNCTION tally.wal_columns(integer, text[], oid[]) IS
  'Which columns of a relation message a source needs: the recorded ones in the order of RFC 8785, then its hash column; nth names them c1, c2, ...';

CREATE FUNCTION tally.wal_tuple_sql(p_rows text, p_start text, p_mark text, p_count integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog
AS $$
DECLARE
  rows_sql text := format('(SELECT p.*, %s AS %s0 FROM %s OFFSET 0) AS p', p_start, p_mark, p_rows);
BEGIN
  -- Each level finds where one column ends: a letter, and behind a t (116) four bytes of length and the text.
  FOR i IN 1 .. p_count LOOP
    rows_sql := format(
      '(SELECT p.*, p.%1$s%2$s + CASE WHEN get_byte(p.d, p.%1$s%2$s) = 116 THEN 5 + ('
      '(get_byte(p.d, p.%1$s%2$s + 1) << 24) + (get_byte(p.d, p.%1$s%2$s + 2) << 16) + (get_byte(p.d, p.%1$s%2$s + 3) << 8)'
      ' + get_byte(p.d, p.%1$s%2$s + 4)) ELSE 1 END AS %1$s%3$s FROM %4$s OFFSET 0) AS p', p_mark, i - 1, i, rows_sql);
  END LOOP;
  RETURN rows_sql;
END $$;
COMMENT ON FUNCTION tally.wal_tuple_sql(text, text, text, integer) IS
  'A FROM item that adds to messages d the ends of a tuple''s columns: mark0 where the first begins, mark1 where it ends, ...';

CREATE FUNCTION tally.wal_value_sql(p_mark text, p_attribute integer, p_unchanged text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  -- u (117): a value out of line that the statement left alone; the old row holds it.
  SELECT format(
    'CASE get_byte(p.d, p.%1$s%2$s) WHEN 116 THEN convert_from(substr(p.d, p.%1$s%2$s + 6, p.%1$s%3$s - p.%1$s%2$s - 5), ''UTF8'')%4$s END',
    p_mark, p_attribute - 1, p_attribute, coalesce(' WHEN 117 THEN ' || p_unchanged, ''))
$$;
COMMENT ON FUNCTION tally.wal_value_sql(text, integer, text) IS 'The expression of a column''s output text in a tuple, or NULL.';

CREATE FUNCTION tally.wal_value_pieces(p_type oid, p_reference text, p_never_null boolean) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- The text is the output text already; a type that was dropped since is escaped like any other.
  SELECT CASE
    WHEN tally.needs_no_escape(tally.base_type(p_type)) AND p_never_null THEN ARRAY['"', '=' || p_reference, '"']
    WHEN tally.needs_no_escape(tally.base_type(p_type)) THEN ARRAY[format('=coalesce(''"'' || %s || ''"'', ''null'')', p_reference)]
    WHEN p_never_null THEN ARRAY['=to_json(' || p_reference || ')']
    ELSE ARRAY[format('=coalesce(to_json(%s)::text, ''null'')', p_reference)]
  END
$$;
COMMENT ON FUNCTION tally.wal_value_pieces(oid, text, boolean) IS 'An output text as JSON, in pieces for joined_sql.';

CREATE FUNCTION tally.wal_row_pieces(p_source_no integer, p_names text[], p_types oid[], p_with_private boolean) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT ARRAY['{'] || coalesce(array_agg(v.piece ORDER BY m.nth, v.place), '{}') || ARRAY['}']
  FROM (
    SELECT c.*, row_number() OVER (ORDER BY c.nth) AS place
    FROM tally.wal_columns(p_source_no, p_names, p_types) AS c WHERE c.is_recorded AND (p_with_private OR NOT c.is_private)
  ) AS m
  CROSS JOIN LATERAL unnest(
    ARRAY[CASE WHEN m.place = 1 THEN '' ELSE ',' END || to_json(m.name)::text || ':']
    || tally.wal_value_pieces(m.type, 'r.c' || m.nth, m.is_key)) WITH ORDINALITY AS v (piece, place)
$$;
COMMENT ON FUNCTION tally.wal_row_pieces(integer, text[], oid[], boolean) IS 'As row_pieces, over output texts.';

CREATE FUNCTION tally.wal_key_pieces(p_source_no integer, p_names text[], p_types oid[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT CASE WHEN s.key_columns = '{}' THEN
    ARRAY['["', format('=encode(sha256(%L::bytea || convert_to(%s, ''UTF8'')), ''hex'')',
      convert_to(E'tallystick/seal-row-key/v1\n', 'UTF8'), tally.joined_sql(tally.wal_row_pieces(p_source_no, p_names, p_types, false))), '"]']
  ELSE (
    SELECT ARRAY['['] || array_agg(v.piece ORDER BY k.nth, v.place) || ARRAY[']']
    FROM unnest(s.key_columns) WITH ORDINALITY AS k (name, nth)
    INNER JOIN tally.wal_columns(p_source_no, p_names, p_types) AS c ON c.name = k.name
    CROSS JOIN LATERAL unnest(
      ARRAY[CASE WHEN k.nth = 1 THEN '' ELSE ',' END] || tally.wal_value_pieces(c.type, 'r.c' || c.nth, true)
    ) WITH ORDINALITY AS v (piece, place))
  END
  FROM tally.verification_sources AS s WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.wal_key_pieces(integer, text[], oid[]) IS 'As key_pieces, over output texts.';

CREATE FUNCTION tally.wal_private_sql(p_source_no integer, p_names text[], p_types oid[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT string_agg(
    format(
      $f$%1$L || encode(sha256(%2$L::bytea || sha256(%3$L::bytea || r.salt || %4$L::bytea) || CASE WHEN %5$s IS NULL THEN '\x00'::bytea ELSE '\x01'::bytea || convert_to(%5$s, 'UTF8') END), 'hex') || '"'$f$,
      CASE WHEN m.place = 1 THEN '{' ELSE ',' END || to_json(m.name)::text || ':"',
      convert_to(E'tallystick/seal-field/v1\n', 'UTF8') || '\x00'::bytea,
      convert_to(E'tallystick/seal-field-key/v1\n', 'UTF8') || '\x00'::bytea,
      convert_to(m.name, 'UTF8'), 'r.c' || m.nth),
    ' || ' ORDER BY m.place) || ' || ''}'''
  FROM (
    SELECT c.*, row_number() OVER (ORDER BY c.nth) AS place
    FROM tally.wal_columns(p_source_no, p_names, p_types) AS c WHERE c.is_private
  ) AS m
$$;
COMMENT ON FUNCTION tally.wal_private_sql(integer, text[], oid[]) IS 'As private_sql, over output texts.';

CREATE FUNCTION tally.wal_record_sql(
  p_source_no integer, p_names text[], p_types oid[], p_private text, p_with_private boolean
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- What is the same for all rows of a transaction comes with it: r.head up to the key, r.tail from the row on.
  SELECT 'convert_to(' || tally.joined_sql(
    ARRAY['=r.head']
    || tally.wal_key_pieces(p_source_no, p_names, p_types)
    || ARRAY[',"log":' || to_json(s.log_name)::text || ',"op":"',
             '=CASE r.op WHEN ''I'' THEN ''insert'' WHEN ''U'' THEN ''update'' ELSE ''delete'' END', '",']
    || CASE WHEN p_private IS NULL THEN '{}' ELSE ARRAY['"private":', '=' || p_private, ','] END
    || ARRAY['"role":null,"row":']
    || tally.wal_row_pieces(p_source_no, p_names, p_types, p_with_private)
    || ARRAY['=r.tail']) || ', ''UTF8'')'
  FROM tally.verification_sources AS s WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.wal_record_sql(integer, text[], oid[], text, boolean) IS 'As record_sql, over output texts.';

CREATE FUNCTION tally.wal_changes_sql(p_source_no integer, p_names text[], p_types oid[], p_is_update boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  read_until CONSTANT integer := (SELECT max(c.attribute) FROM tally.wal_columns(p_source_no, p_names, p_types) AS c);
  rows_sql text;
  old_values text;
  new_values text;
  chosen text;
  has_new_key text;
  differs text;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  -- Byte 0 is the operation, 1 to 4 the relation, 5 says which tuple follows, 6 and 7 how many columns.
  rows_sql := format($f$(
    SELECT u.d, u.seq, u.second_seq, t.at, t.head, t.tail
    FROM unnest($1::bytea[], $2::integer[], $3::bigint[], $4::bigint[]) AS u (d, tx, seq, second_seq)
    INNER JOIN (
      SELECT f.tx, f.at,
        concat(%L, coalesce(to_json(f.actor)::text, 'null'), ',"at":"', to_char(f.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), 'Z","key":') AS head,
        concat(%L, f.xid, '","via":"wal"}') AS tail
      FROM unnest($5::timestamptz[], $6::bigint[], $7::text[]) WITH ORDINALITY AS f (at, xid, actor, tx)
    ) AS t ON t.tx = u.tx OFFSET 0) AS p$f$,
    E'tallystick/seal-record/v1\n{"actor":', ',"table":' || to_json(tally.record_table(p_source_no))::text || ',"tx":"');
  SELECT string_agg(tally.wal_value_sql('o', c.attribute, NULL) || ' AS o_c' || c.nth, ', ' ORDER BY c.nth),
         string_agg(tally.wal_value_sql('n', c.attribute, 'p.o_c' || c.nth) || ' AS n_c' || c.nth, ', ' ORDER BY c.nth),
         string_agg(format('CASE WHEN q.op = ''D'' THEN q.o_c%1$s ELSE q.n_c%1$s END AS c%1$s', c.nth), ', ' ORDER BY c.nth),
         coalesce(string_agg(format('p.o_c%1$s IS DISTINCT FROM p.n_c%1$s', c.nth), ' OR ' ORDER BY c.nth) FILTER (WHERE c.is_key OR source.key_columns = '{}'), 'false'),
         string_agg(format('p.o_c%1$s IS DISTINCT FROM p.n_c%1$s', c.nth), ' OR ' ORDER BY c.nth)
  INTO old_values, new_values, chosen, has_new_key, differs FROM tally.wal_columns(p_source_no, p_names, p_types) AS c;
  IF NOT p_is_update THEN
    -- K (75) in place of a row: only its key was written, because the replica identity is not full.
    RETURN format(
      '(SELECT CASE get_byte(p.d, 0) WHEN 73 THEN ''I'' ELSE ''D'' END AS op, get_byte(p.d, 5) <> 75 AS is_whole, p.seq, p.at, p.head, p.tail, %s FROM %s OFFSET 0) AS r',
      replace(old_values, ' AS o_c', ' AS c'), tally.wal_tuple_sql(rows_sql, '8', 'o', read_until));
  END IF;
  -- O (79): the old row, and behind it an N, a number of columns, and the new row.
  rows_sql := tally.wal_tuple_sql(rows_sql, 'CASE get_byte(p.d, 5) WHEN 78 THEN NULL ELSE 8 END', 'o', cardinality(p_names));
  rows_sql := tally.wal_tuple_sql(rows_sql, format('coalesce(p.o%s + 3, 8)', cardinality(p_names)), 'n', read_until);
  rows_sql := format('(SELECT p.*, get_byte(p.d, 5) = 79 AS is_whole, %s FROM %s OFFSET 0) AS p', old_values, rows_sql);
  rows_sql := format('(SELECT p.*, %s FROM %s OFFSET 0) AS p', new_values, rows_sql);
  rows_sql := format('(SELECT p.*, p.is_whole AND (%s) AS has_new_key FROM %s OFFSET 0) AS p', has_new_key, rows_sql);
  rows_sql := format(
    '(SELECT p.*, CASE WHEN NOT p.has_new_key THEN ''U'' WHEN v.place = 1 THEN ''D'' ELSE ''I'' END AS op, v.place'
    ' FROM %s INNER JOIN (VALUES (1), (2)) AS v (place) ON v.place = 1 OR p.has_new_key WHERE NOT p.is_whole OR %s OFFSET 0) AS q', rows_sql, differs);
  RETURN format('(SELECT q.op, q.is_whole, CASE q.place WHEN 1 THEN q.seq ELSE q.second_seq END AS seq, q.at, q.head, q.tail, %s FROM %s OFFSET 0) AS r',
    chosen, rows_sql);
END $$;
COMMENT ON FUNCTION tally.wal_changes_sql(integer, text[], oid[], boolean) IS
  'A FROM item: what insert and delete messages, or update messages, did to the rows of a source, as op, seq, at, head, tail, c1, c2, ...';

CREATE FUNCTION tally.wal_statement(p_source_no integer, p_names text[], p_types oid[], p_is_update boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  not_whole CONSTANT text := 'the row before is not in the WAL: the replica identity of its table is not full';
  too_large CONSTANT text := 'the record does not fit a leaf';
  private CONSTANT text := tally.wal_private_sql(p_source_no, p_names, p_types);
  missing text[];
  rows_sql text;
  needs_salt boolean;
  leaf text;
  fitted text := 'r.plain';
  salt text := 'NULL::bytea';
  record text := 'NULL::bytea';
  problem text;
  hash text;
  source_id text;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  -- A private column that is not there may have been renamed, and would stand in clear.
  missing := ARRAY(SELECT n.name FROM unnest(source.key_columns || source.private_columns || source.hash_column) AS n (name)
                   WHERE n.name <> ALL (p_names));
  IF missing <> '{}' THEN
    PERFORM tally.refuse('TS109', format('%s has no column %s any more', source.source_table, array_to_string(missing, ', ')),
      jsonb_build_object('table', source.source_table, 'columns', to_jsonb(missing)));
  END IF;
  SELECT CASE WHEN count(*) = 1 AND bool_and(coalesce(tally.base_type(c.type) IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype), false))
    THEN min('r.c' || c.nth) || '::bigint' ELSE 'NULL::bigint' END
  INTO source_id FROM tally.wal_columns(p_source_no, p_names, p_types) AS c WHERE c.is_key;
  needs_salt := private IS NOT NULL OR source.leaf_form <> 'record';
  rows_sql := tally.wal_changes_sql(p_source_no, p_names, p_types, p_is_update);
  IF needs_salt THEN
    rows_sql := format('(SELECT r.*, %s AS salt FROM %s OFFSET 0) AS r', tally.salt_sql(), rows_sql);
    salt := 'r.salt';
  END IF;
  rows_sql := format('(SELECT r.*, %s AS plain FROM %s OFFSET 0) AS r', tally.wal_record_sql(p_source_no, p_names, p_types, private, false), rows_sql);
  -- What is short as a whole holds nothing large; only the others are looked at value by value.
  rows_sql := format('(SELECT r.*, CASE WHEN octet_length(r.plain) <= 8192 THEN r.plain ELSE tally.fit_leaf(r.plain) END AS fitted FROM %s OFFSET 0) AS r', rows_sql);
  leaf := 'r.fitted';
  problem := format('CASE WHEN NOT r.is_whole THEN %L WHEN r.fitted IS NULL THEN %L END', not_whole, too_large);
  IF source.leaf_form = 'record' THEN
    record := CASE WHEN private IS NULL THEN 'CASE WHEN octet_length(r.plain) > 8192 THEN nullif(r.plain, r.fitted) END'
                   ELSE tally.wal_record_sql(p_source_no, p_names, p_types, NULL, true) END;
  ELSE
    record := leaf;
    leaf := tally.salted_sql(leaf);
  END IF;
  IF source.leaf_form = 'column' THEN
    SELECT CASE WHEN c.type = 'bytea'::regtype THEN format('decode(substr(r.c%s, 3), ''hex'')', c.nth) ELSE 'NULL::bytea' END INTO hash
    FROM tally.wal_columns(p_source_no, p_names, p_types) AS c WHERE c.name = source.hash_column;
    problem := format(
      'CASE WHEN NOT r.is_whole THEN %5$L WHEN r.op = ''D'' THEN %1$s WHEN octet_length(%2$s) BETWEEN 16 AND 64 THEN NULL WHEN %2$s IS NULL THEN %3$L'
      ' ELSE %4$L || octet_length(%2$s) || '' bytes, not 16 to 64'' END', problem, hash,
      CASE hash WHEN 'NULL::bytea' THEN 'the hash column is missing or no bytea' ELSE 'the hash is null' END, 'the hash has ', not_whole);
    leaf := format('CASE WHEN r.op = ''D'' THEN %s WHEN octet_length(%2$s) BETWEEN 16 AND 64 THEN %2$s END', leaf, hash);
    salt := format('CASE WHEN r.op = ''D'' THEN %s END', salt);
    record := format('CASE WHEN r.op = ''D'' THEN %s END', record);
  END IF;
  RETURN format(
    'INSERT INTO tally.capture (log_id, seq, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at)'
    ' SELECT %s, r.seq, %s, r.op::"char", ''w''::"char", %s, %s, CASE WHEN r.is_whole THEN %s END, %s, %s, %s, r.at FROM %s',
    source.log_id, source.source_no, tally.joined_sql(tally.wal_key_pieces(p_source_no, p_names, p_types)), source_id, leaf, salt, record, problem, rows_sql);
END $$;
COMMENT ON FUNCTION tally.wal_statement(integer, text[], oid[], boolean) IS
  'The statement that queues messages of one relation for a source: $1 messages, $2 their transactions, $3 and $4 their seqs, then of each transaction $5 its time, $6 its id, $7 its actor. Insert and delete messages, or update messages.';

CREATE FUNCTION tally.queue_wal_truncate_v1(p_source_no integer, p_seq bigint, p_at timestamptz, p_xid text, p_actor text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  record_bytes bytea;
  salt bytea;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  record_bytes := convert_to(E'tallystick/seal-record/v1\n' || tally.canonical(jsonb_build_object(
    'actor', p_actor, 'at', tally.time_text(p_at), 'key', '[]'::jsonb, 'log', source.log_name, 'op', 'truncate', 'role', NULL,
    'row', NULL, 'table', tally.record_table(p_source_no), 'tx', p_xid, 'via', 'wal')), 'UTF8');
  IF source.leaf_form <> 'record' THEN
    EXECUTE 'SELECT ' || tally.salt_sql() INTO salt;
  END IF;
  INSERT INTO tally.capture (log_id, seq, source_no, op, via, source_key, leaf, salt, record, captured_at)
  VALUES (
    source.log_id, p_seq, p_source_no, 'T', 'w', '[]',
    CASE WHEN salt IS NULL THEN record_bytes
         ELSE sha256(convert_to(E'tallystick/seal-salted-record/v1\n', 'UTF8') || '\x00'::bytea || salt || record_bytes) END,
    salt, CASE WHEN salt IS NOT NULL THEN record_bytes END, p_at);
END $$;
COMMENT ON FUNCTION tally.queue_wal_truncate_v1(integer, bigint, timestamptz, text, text) IS 'Queues the leaf of a TRUNCATE that emptied a source.';

-- Who reads, and where he stands -------------------------------------------------------------------

CREATE FUNCTION tally.wal_slot() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$ SELECT 'tally_' || d.oid FROM pg_database AS d WHERE d.datname = current_database() $$;
COMMENT ON FUNCTION tally.wal_slot() IS 'The name of this database''s slot.';

CREATE FUNCTION tally.note_wal_break_v1(p_source_no integer, p_code text, p_message text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  INSERT INTO tally.wal_breaks (source_no, code, message) VALUES (p_source_no, p_code, p_message) ON CONFLICT (source_no, code) DO NOTHING
$$;
COMMENT ON FUNCTION tally.note_wal_break_v1(integer, text, text) IS
  'Notes that changes of a source were read and left out, without a lock on its row: who waits for the reader may hold that.';

CREATE FUNCTION tally.apply_wal_breaks_v1() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  found record;
  applied bigint := 0;
BEGIN
  FOR found IN
    SELECT s.source_no, s.log_id, s.status, b.code, b.message FROM tally.wal_breaks AS b
    INNER JOIN tally.verification_sources AS s ON s.source_no = b.source_no
    ORDER BY b.source_no, b.noted_at FOR NO KEY UPDATE OF s SKIP LOCKED
  LOOP
    IF found.status <> 'detached' THEN
      PERFORM tally.break_source_v1(found.source_no, jsonb_build_object('code', found.code, 'message', found.message), found.message);
    ELSE
      -- A source that ended stays so; its log has not frozen yet, for that waits for us.
      PERFORM tally.queue_control(found.log_id, found.source_no, 'gap', jsonb_build_object(
        'problem', found.message, 'since', NULL, 'found', tally.time_text(tally.clock())));
    END IF;
    IF found.code = 'wal_lost' THEN
      UPDATE tally.verification_sources AS s SET wal_epoch = w.epoch, wal_from = '0/0', wal_until = CASE WHEN found.status = 'detached' THEN '0/0'::pg_lsn END
      FROM tally.wal_positions AS w WHERE s.source_no = found.source_no AND w.slot_name = tally.wal_slot();
    END IF;
    DELETE FROM tally.wal_breaks AS b WHERE b.source_no = found.source_no AND b.code = found.code;
    applied := applied + 1;
  END LOOP;
  RETURN applied;
END $$;
COMMENT ON FUNCTION tally.apply_wal_breaks_v1() IS 'Breaks the sources of which that was noted, but for those that somebody holds just now; how many.';

CREATE FUNCTION tally.wal_publication() RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$ SELECT p.oid FROM pg_publication AS p WHERE p.pubname = 'tally' $$;
COMMENT ON FUNCTION tally.wal_publication() IS 'The publication that changes are read through; NULL where there is none.';

CREATE FUNCTION tally.open_wal_v1(p_system text, p_position pg_lsn, p_reason text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  -- A restored dump brings the row of the database that it was made of.
  is_copy CONSTANT boolean := EXISTS (SELECT FROM tally.wal_positions AS w WHERE w.slot_name <> tally.wal_slot());
  position_before CONSTANT pg_lsn := (SELECT max(w.position) FROM tally.wal_positions AS w);
  new_epoch integer;
BEGIN
  INSERT INTO tally.wal_positions AS w (slot_name, epoch, system_identifier, position, publication)
  VALUES (tally.wal_slot(), (SELECT coalesce(max(o.epoch), 0) + 1 FROM tally.wal_positions AS o), p_system, p_position, tally.wal_publication())
  ON CONFLICT (slot_name) DO UPDATE
  SET epoch = excluded.epoch, system_identifier = p_system, position = p_position, publication = excluded.publication,
      moved_at = tally.clock(), opened_at = tally.clock()
  RETURNING w.epoch INTO new_epoch;
  DELETE FROM tally.wal_positions AS w WHERE w.slot_name <> tally.wal_slot();
  DELETE FROM tally.wal_tables AS t WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation);
  PERFORM tally.note_wal_break_v1(s.source_no, 'wal_lost',
    CASE WHEN is_copy THEN 'the database was copied or restored, and its replication slot stayed behind' ELSE p_reason END)
  FROM tally.verification_sources AS s
  WHERE s.capture::text = 'wal' AND s.wal_epoch < new_epoch AND (
    s.status IN ('backfilling', 'active', 'broken')
    -- One that ended, and whose last changes were still to be read.
    OR s.status = 'detached' AND s.wal_until > position_before);
  -- Places of another server mean nothing here.
  UPDATE tally.verification_sources AS s SET wal_from = '0/0'
  WHERE s.capture::text = 'wal' AND s.wal_epoch IS NULL AND s.wal_from IS NOT NULL AND s.status <> 'detached';
  PERFORM tally.apply_wal_breaks_v1();
  PERFORM tally.adopt_wal_v1();
  RETURN new_epoch;
END $$;
COMMENT ON FUNCTION tally.open_wal_v1(text, pg_lsn, text) IS
  'Notes a slot that was made just now. What committed before it is not read: each source that an earlier slot served breaks with a gap leaf.';

CREATE FUNCTION tally.adopt_wal_v1() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  source record;
  adopted bigint := 0;
BEGIN
  -- Who holds a source may be waiting for the reader that calls us: such a one is adopted at the next look.
  FOR source IN
    SELECT s.source_no, s.status, s.key_columns FROM tally.verification_sources AS s
    WHERE s.capture::text = 'wal' AND s.relation IS NOT NULL AND s.wal_epoch IS NULL AND s.status <> 'detached'
    ORDER BY s.source_no FOR NO KEY UPDATE SKIP LOCKED
  LOOP
    -- Rows keyed by themselves are counted, so those start where their table was locked and queued (start_wal_v1).
    UPDATE tally.verification_sources AS s
    SET wal_epoch = w.epoch,
        wal_from = CASE WHEN s.key_columns = '{}' AND s.status = 'backfilling' THEN NULL ELSE coalesce(s.wal_from, '0/0') END
    FROM tally.wal_positions AS w WHERE w.slot_name = tally.wal_slot() AND s.source_no = source.source_no;
    IF FOUND THEN
      adopted := adopted + 1;
      IF source.status <> 'backfilling' THEN
        -- It broke before any slot served it, so no backfill will come to its rows.
        PERFORM tally.note_wal_break_v1(source.source_no, 'wal_lost', 'no replication slot served it yet');
      END IF;
    END IF;
  END LOOP;
  RETURN adopted;
END $$;
COMMENT ON FUNCTION tally.adopt_wal_v1() IS 'From now on the slot serves the sources that were added since it was made; how many.';

CREATE FUNCTION tally.start_wal_v1(p_source_no integer, p_from pg_lsn) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$ UPDATE tally.verification_sources SET wal_from = p_from WHERE source_no = p_source_no AND capture::text = 'wal' $$;
COMMENT ON FUNCTION tally.start_wal_v1(integer, pg_lsn) IS
  'Changes that committed before this place are among the rows that were queued under the table''s lock.';

CREATE FUNCTION tally.stop_wal_v1(p_source_no integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  UPDATE tally.verification_sources SET wal_until = least(wal_until, pg_current_wal_insert_lsn()) WHERE source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.stop_wal_v1(integer) IS 'A detached source ends here; the caller holds the lock that keeps its table''s writers out.';

CREATE FUNCTION tally.choose_wal_v1(p_source_no integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  -- What committed before is among its rows, or another source's to record; rows without a key begin in start_wal_v1.
  UPDATE tally.verification_sources SET capture = 'wal', wal_from = pg_current_wal_insert_lsn()
  WHERE source_no = p_source_no AND relation IS NULL;
END $$;
COMMENT ON FUNCTION tally.choose_wal_v1(integer) IS
  'A source that is not installed yet is to be captured from the WAL, from here on; the caller holds the lock that keeps its table''s writers out.';

CREATE OR REPLACE FUNCTION tally.rebind_source_v1(p_source_no integer, p_relation oid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  -- A dump that is restored gives every table another oid. Its triggers come with it, or its place in the publication, and only
  -- a table that carries this source's own is the one that was sealed: another under the name stays what it is.
  UPDATE tally.verification_sources AS s
  SET relation = p_relation, covered_relations = ARRAY(SELECT tally.table_members(p_relation))
  WHERE s.source_no = p_source_no AND s.status = 'broken'
    AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = s.relation)
    AND tally.table_name(p_relation) = s.source_table
    AND CASE WHEN s.capture::text = 'wal' THEN
      EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prrelid = p_relation AND r.prpubid = tally.wal_publication())
    ELSE EXISTS (
      SELECT FROM pg_trigger AS t INNER JOIN pg_proc AS f ON f.oid = t.tgfoid
      WHERE t.tgrelid = p_relation AND NOT t.tgisinternal AND starts_with(t.tgname, format('tally_%s_', p_source_no))
        AND f.pronamespace = 'tally'::regnamespace) END;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION tally.rebind_source_v1(integer, oid) IS
  'Binds a broken source to its table as a restored dump made it; false where that table carries neither the source''s triggers nor its publication.';

CREATE FUNCTION tally.mark_wal() RETURNS pg_lsn
LANGUAGE sql SET search_path = pg_catalog
-- The commit must reach the disk: what is not flushed is not read. A function's own SET would be over before it.
AS $$
  SELECT pg_logical_emit_message(true, 'tally.mark', '') FROM (SELECT set_config('synchronous_commit', 'local', true) OFFSET 0) AS s
$$;
COMMENT ON FUNCTION tally.mark_wal() IS 'Writes a mark and returns its place: a reader that has passed it has read all that committed before.';

CREATE FUNCTION tally.sign_as(p_actor text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog
AS $$ SELECT set_config('tally.actor', p_actor, true), pg_logical_emit_message(true, 'tally.actor', p_actor) $$;
COMMENT ON FUNCTION tally.sign_as(text) IS
  'States who acts in the rest of the transaction, for every capture: a claim. Whoever may not use it sets tally.actor and emits a transactional message with the prefix tally.actor.';

-- Tables, with the rights of their owner -----------------------------------------------------------

CREATE FUNCTION tally.identity_of(p_relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT CASE c.relreplident WHEN 'd' THEN 'DEFAULT' WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL' ELSE 'USING INDEX ' || (
    SELECT quote_ident(x.relname) FROM pg_index AS i INNER JOIN pg_class AS x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident) END
  FROM pg_class AS c WHERE c.oid = p_relation
$$;
COMMENT ON FUNCTION tally.identity_of(oid) IS 'A table''s replica identity, as ALTER TABLE spells it.';

CREATE FUNCTION tally.wal_membership(p_relation oid) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$ SELECT r.oid FROM pg_publication_rel AS r WHERE r.prpubid = tally.wal_publication() AND r.prrelid = p_relation $$;
COMMENT ON FUNCTION tally.wal_membership(oid) IS 'A table''s row in pg_publication_rel; NULL where the publication does not name it.';

CREATE FUNCTION tally.note_identity_v1(p_relation oid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  INSERT INTO tally.wal_tables (relation, identity_before, membership)
  SELECT p_relation, tally.identity_of(p_relation), tally.wal_membership(p_relation)
  ON CONFLICT (relation) DO UPDATE SET membership = excluded.membership
$$;
COMMENT ON FUNCTION tally.note_identity_v1(oid) IS
  'Keeps a table''s replica identity, so that detaching gives it back, and its membership in the publication as it is now.';

CREATE FUNCTION tally.forget_identity_v1(p_relation oid) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$ DELETE FROM tally.wal_tables WHERE relation = p_relation RETURNING identity_before $$;
COMMENT ON FUNCTION tally.forget_identity_v1(oid) IS 'Takes the noted replica identity of a table away and returns it.';

CREATE FUNCTION tally.is_read_from_wal(p_relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT EXISTS (
    SELECT FROM tally.verification_sources AS s
    WHERE s.capture::text = 'wal' AND s.status IN ('backfilling', 'active', 'broken') AND s.relation IS NOT NULL
      AND p_relation IN (SELECT tally.table_members(s.relation)))
$$;
COMMENT ON FUNCTION tally.is_read_from_wal(oid) IS 'Whether a source that is attached is captured from this table''s WAL.';

CREATE FUNCTION tally.is_whole_publication() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- Through to_jsonb: older servers do not have the last column, and publish no generated columns.
  SELECT coalesce(bool_and(p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND NOT p.pubviaroot
    AND coalesce(to_jsonb(p) ->> 'pubgencols', 's') = 's'), false)
  FROM pg_publication AS p WHERE p.pubname = 'tally'
$$;
COMMENT ON FUNCTION tally.is_whole_publication() IS 'Whether the publication is there and publishes every change, partitions as themselves.';

CREATE FUNCTION tally.is_published(p_relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT EXISTS (
    SELECT FROM pg_publication_rel AS r
    WHERE r.prpubid = tally.wal_publication() AND r.prrelid = p_relation AND r.prqual IS NULL AND r.prattrs IS NULL)
  OR tally.wal_membership(p_relation) IS NULL AND EXISTS (
    SELECT FROM pg_publication AS p WHERE p.oid = tally.wal_publication() AND (p.puballtables OR EXISTS (
      SELECT FROM pg_publication_namespace AS n INNER JOIN pg_class AS c ON c.relnamespace = n.pnnspid WHERE n.pnpubid = p.oid AND c.oid = p_relation)))
$$;
COMMENT ON FUNCTION tally.is_published(oid) IS 'Whether the publication holds a table, with all of its rows and columns.';

CREATE FUNCTION tally.attach_wal(p_source_no integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  member record;
  publishes_generated CONSTANT boolean := current_setting('server_version_num')::integer >= 180000;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF current_setting('wal_level') <> 'logical' THEN
    PERFORM tally.refuse('TS103', format('wal_level is %s: set it to logical and restart the server, or capture %s by triggers',
      current_setting('wal_level'), source.source_table), jsonb_build_object('table', source.source_table, 'reason', 'wal_level'));
  ELSIF NOT publishes_generated AND EXISTS (
    SELECT FROM pg_attribute AS a INNER JOIN tally.recorded_columns(p_source_no) AS c ON c.name = a.attname
    WHERE a.attrelid = source.relation AND a.attgenerated = 's' AND NOT a.attisdropped)
  THEN
    PERFORM tally.refuse('TS103', format('%s records a generated column, which the WAL''s messages hold from PostgreSQL 18 on: exclude it, or capture by triggers',
      source.source_table), jsonb_build_object('table', source.source_table, 'reason', 'generated columns'));
  END IF;
  -- Partitions are published as themselves: so it is seen which of them was emptied.
  IF tally.wal_publication() IS NULL THEN
    EXECUTE 'CREATE PUBLICATION tally' || CASE WHEN publishes_generated THEN ' WITH (publish_generated_columns = stored)' ELSE '' END;
  ELSIF NOT tally.is_whole_publication() THEN
    ALTER PUBLICATION tally SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = false);
    IF publishes_generated THEN
      EXECUTE 'ALTER PUBLICATION tally SET (publish_generated_columns = stored)';
    END IF;
  END IF;
  FOR member IN
    SELECT c.oid, c.oid::regclass AS name, c.relkind, c.relreplident, tally.is_published(c.oid) AS is_published,
      tally.wal_membership(c.oid) IS NOT NULL AS is_named
    FROM tally.table_members(source.relation) AS m (relation)
    INNER JOIN pg_class AS c ON c.oid = m.relation WHERE c.relkind IN ('r', 'p') ORDER BY c.oid
  LOOP
    IF member.relkind = 'r' THEN
      PERFORM tally.note_identity_v1(member.oid);
    END IF;
    IF member.relkind = 'r' AND member.relreplident <> 'f' THEN
      EXECUTE format('ALTER TABLE ONLY %s REPLICA IDENTITY FULL', member.name);
    END IF;
    IF NOT member.is_published THEN
      IF member.is_named THEN -- with a filter, or some of its columns
        EXECUTE format('ALTER PUBLICATION tally DROP TABLE ONLY %s', member.name);
      END IF;
      EXECUTE format('ALTER PUBLICATION tally ADD TABLE ONLY %s', member.name);
    END IF;
    IF member.relkind = 'r' THEN
      PERFORM tally.note_identity_v1(member.oid);
    END IF;
  END LOOP;
END $$;
COMMENT ON FUNCTION tally.attach_wal(integer) IS
  'Publishes a source''s table and its descendants, with the whole old row in the WAL; the caller owns the tables and the publication tally.';

CREATE FUNCTION tally.detach_wal(p_source_no integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  source tally.verification_sources;
  member record;
  identity text;
BEGIN
  -- The source is detached already: whoever else reads the table keeps it as it is.
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  PERFORM tally.stop_wal_v1(p_source_no);
  FOR member IN
    SELECT c.oid, c.oid::regclass AS name, EXISTS (
      SELECT FROM pg_publication_rel AS r INNER JOIN pg_publication AS p ON p.oid = r.prpubid WHERE p.pubname = 'tally' AND r.prrelid = c.oid) AS is_published
    FROM tally.table_members(source.relation) AS m (relation) INNER JOIN pg_class AS c ON c.oid = m.relation WHERE c.relkind IN ('r', 'p')
  LOOP
    CONTINUE WHEN tally.is_read_from_wal(member.oid);
    IF member.is_published THEN
      EXECUTE format('ALTER PUBLICATION tally DROP TABLE ONLY %s', member.name);
    END IF;
    identity := tally.forget_identity_v1(member.oid);
    IF identity IS NOT NULL THEN
      EXECUTE format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', member.name, identity);
    END IF;
  END LOOP;
END $$;
COMMENT ON FUNCTION tally.detach_wal(integer) IS
  'Takes a detached source''s tables out of the publication and gives them their replica identities back; the caller owns both.';

-- Rows that are there already ----------------------------------------------------------------------

CREATE FUNCTION tally.lock_page_v1(p_source_no integer, p_page_rows integer, OUT last_key text[], OUT keys text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
-- As backfill_page_v1, which does in one call what here stands apart: between the lock and the queueing the WAL is read.
SET lock_timeout = '500ms' SET row_security = off
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C'
AS $$
DECLARE
  source tally.verification_sources;
  table_sql text;
  order_sql text;
  keys_sql text;
  after_sql text;
BEGIN
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  keys := '{}';
  SELECT format('%I.%I', n.nspname, c.relname) INTO table_sql
  FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = source.backfill_relations[1];
  IF table_sql IS NULL THEN
    RETURN; -- a partition that was dropped since
  END IF;
  SELECT string_agg(o.expression || o.direction, ', ' ORDER BY o.place), string_agg(format('concat(%s)', o.reference), ', ' ORDER BY o.place)
  INTO order_sql, keys_sql FROM tally.key_order(source.relation, source.key_columns) AS o;
  IF order_sql IS NULL THEN
    PERFORM tally.refuse('TS102', format('%s has no unique index on its key any more', source.source_table),
      jsonb_build_object('table', source.source_table, 'candidates', '[]'::jsonb));
  END IF;
  after_sql := tally.key_bound(source.relation, source.key_columns, source.backfill_after, true);
  EXECUTE format('SELECT ARRAY[%s] FROM %s AS s WHERE %s ORDER BY %s OFFSET %s LIMIT 1',
    keys_sql, table_sql, after_sql, order_sql, p_page_rows - 1) INTO last_key;
  EXECUTE format('SELECT coalesce(array_agg(l.key), ''{}'') FROM (SELECT %s AS key FROM %s AS s WHERE %s AND %s ORDER BY %s FOR SHARE OF s) AS l',
    tally.key_expression(p_source_no, 's'), table_sql, after_sql, tally.key_bound(source.relation, source.key_columns, last_key, false), order_sql) INTO keys;
END $$;
COMMENT ON FUNCTION tally.lock_page_v1(integer, integer) IS
  'Locks the next page of rows of a source FOR SHARE and returns their keys, and where the page ends; NULL: it was the last.';

CREATE FUNCTION tally.queue_page_v1(p_source_no integer, p_last_key text[], p_keys text[], OUT rows_queued bigint, OUT finished boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
SET row_security = off SET work_mem = '1GB' SET jit = off
SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex'
SET extra_float_digits = 1 SET lc_monetary = 'C'
AS $$
DECLARE
  source tally.verification_sources;
  table_sql text;
  key_sql text;
BEGIN
  SELECT * INTO source FROM tally.verification_sources WHERE source_no = p_source_no FOR NO KEY UPDATE;
  key_sql := tally.key_expression(p_source_no, 's');
  rows_queued := 0;
  SELECT format('%I.%I', n.nspname, c.relname) INTO table_sql
  FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = source.backfill_relations[1];
  IF table_sql IS NOT NULL AND p_keys <> '{}' THEN
    -- Only what was locked: a row that came since is in the WAL behind the place that was read.
    EXECUTE 'INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) '
      || tally.capture_select(p_source_no, 'I', 'b', format(
        '%s AS s WHERE %s AND %s AND %s = ANY ($1) AND %s', table_sql,
        tally.key_bound(source.relation, source.key_columns, source.backfill_after, true),
        tally.key_bound(source.relation, source.key_columns, p_last_key, false), key_sql, tally.unknown_key(source, key_sql)), 's')
      USING p_keys;
    GET DIAGNOSTICS rows_queued = ROW_COUNT;
  END IF;
  UPDATE tally.verification_sources AS s
  SET backfill_after = p_last_key, backfill_relations = CASE WHEN p_last_key IS NULL THEN s.backfill_relations[2:] ELSE s.backfill_relations END
  WHERE s.source_no = p_source_no
  RETURNING s.backfill_relations = '{}' INTO finished;
END $$;
COMMENT ON FUNCTION tally.queue_page_v1(integer, text[], text[]) IS
  'Queues those of the locked rows that have neither leaf nor queue row; the WAL was read past their lock.';

CREATE FUNCTION tally.wal_problems(p_source_no integer) RETURNS TABLE (code text, message text)
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT v.code, v.message
  FROM tally.verification_sources AS s
  CROSS JOIN LATERAL (
    SELECT 'wal_unpublished' AS code, format('wal_level is %s: its changes cannot be read', current_setting('wal_level')) AS message
    WHERE current_setting('wal_level') <> 'logical'
    UNION ALL
    SELECT 'wal_unpublished', 'the publication tally is gone, or leaves changes out' WHERE NOT tally.is_whole_publication()
    UNION ALL
    SELECT 'wal_unpublished', format('changes of %s are not in the publication tally, or not all', tally.table_name(c.oid))
    FROM pg_class AS c
    WHERE c.oid = ANY (s.covered_relations) AND c.oid IN (SELECT tally.table_members(s.relation)) AND c.relkind = 'r' AND NOT tally.is_published(c.oid)
    UNION ALL
    SELECT 'wal_unpublished', format('%s left the publication tally and came back: changes between are not in it', tally.table_name(c.oid))
    FROM pg_class AS c INNER JOIN tally.wal_tables AS t ON t.relation = c.oid
    WHERE c.oid = ANY (s.covered_relations) AND c.oid IN (SELECT tally.table_members(s.relation)) AND c.relkind = 'r'
      AND tally.is_published(c.oid) AND tally.wal_membership(c.oid) IS DISTINCT FROM t.membership
    UNION ALL
    SELECT 'identity_changed', format('the replica identity of %s is not full: old rows are not in the WAL', tally.table_name(c.oid))
    FROM pg_class AS c
    WHERE c.oid = ANY (s.covered_relations) AND c.oid IN (SELECT tally.table_members(s.relation)) AND c.relkind = 'r' AND c.relreplident <> 'f'
    UNION ALL
    SELECT 'disabled', 'it is disabled: its changes are read and left out' WHERE NOT s.enabled
    UNION ALL
    -- Its backfill is the slot's to begin with; a source that broke before that must not be ready before it either.
    SELECT 'wal_lost', 'no replication slot serves it yet' WHERE s.wal_epoch IS NULL AND s.status <> 'backfilling'
  ) AS v
  WHERE s.source_no = p_source_no AND s.capture::text = 'wal' AND s.relation IS NOT NULL
$$;
COMMENT ON FUNCTION tally.wal_problems(integer) IS 'What keeps changes of a source out of the WAL''s messages, or their old rows.';

CREATE VIEW tally.wal_sources WITH (security_invoker) AS
SELECT s.source_no, s.log_id, s.source_table, s.relation, m.relation AS member, s.on_update::text AS on_update, s.on_delete::text AS on_delete,
  s.on_truncate::text AS on_truncate, s.wal_from, s.wal_until, c.relkind::text AS relkind,
  hashtextextended(concat_ws(' ', s.source_table, s.log_name, s.leaf_form, s.hash_column, s.key_columns, s.include_columns,
    s.exclude_columns, s.private_columns), 0) AS version
FROM tally.verification_sources AS s
CROSS JOIN LATERAL (
  SELECT t.relation FROM tally.table_members(s.relation) AS t (relation)
  UNION
  -- A table that was dropped since may still stand in the WAL.
  SELECT unnest(s.covered_relations)
) AS m
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = m.relation
WHERE s.capture::text = 'wal' AND s.enabled AND s.wal_from IS NOT NULL AND (
  s.status IN ('backfilling', 'active', 'broken')
  OR EXISTS (SELECT FROM tally.wal_positions AS w WHERE w.position < s.wal_until));
SELECT tally.describe('tally.wal_sources', 'Which tables are read from the WAL, and for which sources.', '{
  "source_no": "The source.",
  "log_id": "The log that it feeds.",
  "source_table": "Its table, as in verification_sources.",
  "relation": "The oid of its table.",
  "member": "The table that is read: its own, or a descendant.",
  "on_update": "What an update of a row does.",
  "on_delete": "What a delete of a row does.",
  "on_truncate": "What a truncate of the table does.",
  "wal_from": "Changes that committed before it are not read for this source.",
  "wal_until": "For a detached source: changes that committed behind it are not read any more.",
  "relkind": "The kind of the member; NULL where it was dropped.",
  "version": "A hash of all that generated statements build on."}');
COMMENT ON COLUMN tally.capture.via IS 't trigger, p poll, w wal, b backfill, r reconcile, a API, c control.';
COMMENT ON COLUMN tally.merkle_log.via IS 't trigger, p poll, w wal, b backfill, r reconcile, a API, c control.';

GRANT SELECT ON tally.wal_positions, tally.wal_tables, tally.wal_breaks, tally.wal_sources TO tally_app, tally_auditor;
GRANT UPDATE (position, moved_at) ON tally.wal_positions TO tally_app;
GRANT INSERT (capture) ON tally.verification_sources TO tally_app;

REVOKE EXECUTE ON FUNCTION
  tally.wal_columns(integer, text[], oid[]), tally.wal_tuple_sql(text, text, text, integer), tally.wal_value_sql(text, integer, text),
  tally.wal_value_pieces(oid, text, boolean), tally.wal_row_pieces(integer, text[], oid[], boolean), tally.wal_key_pieces(integer, text[], oid[]),
  tally.wal_private_sql(integer, text[], oid[]), tally.wal_record_sql(integer, text[], oid[], text, boolean),
  tally.wal_changes_sql(integer, text[], oid[], boolean), tally.wal_statement(integer, text[], oid[], boolean),
  tally.queue_wal_truncate_v1(integer, bigint, timestamptz, text, text), tally.wal_slot(), tally.open_wal_v1(text, pg_lsn, text),
  tally.adopt_wal_v1(), tally.note_wal_break_v1(integer, text, text), tally.apply_wal_breaks_v1(),
  tally.wal_publication(), tally.wal_membership(oid), tally.is_whole_publication(), tally.is_published(oid),
  tally.start_wal_v1(integer, pg_lsn), tally.stop_wal_v1(integer), tally.choose_wal_v1(integer),
  tally.lock_page_v1(integer, integer), tally.queue_page_v1(integer, text[], text[]), tally.mark_wal(), tally.sign_as(text),
  tally.identity_of(oid), tally.note_identity_v1(oid), tally.forget_identity_v1(oid), tally.is_read_from_wal(oid), tally.attach_wal(integer),
  tally.detach_wal(integer), tally.wal_problems(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.wal_columns(integer, text[], oid[]), tally.wal_tuple_sql(text, text, text, integer), tally.wal_value_sql(text, integer, text),
  tally.wal_value_pieces(oid, text, boolean), tally.wal_row_pieces(integer, text[], oid[], boolean), tally.wal_key_pieces(integer, text[], oid[]),
  tally.wal_private_sql(integer, text[], oid[]), tally.wal_record_sql(integer, text[], oid[], text, boolean),
  tally.wal_changes_sql(integer, text[], oid[], boolean), tally.wal_statement(integer, text[], oid[], boolean),
  tally.queue_wal_truncate_v1(integer, bigint, timestamptz, text, text), tally.wal_slot(), tally.open_wal_v1(text, pg_lsn, text),
  tally.adopt_wal_v1(), tally.note_wal_break_v1(integer, text, text), tally.apply_wal_breaks_v1(),
  tally.wal_publication(), tally.wal_membership(oid), tally.is_whole_publication(), tally.is_published(oid),
  tally.start_wal_v1(integer, pg_lsn), tally.stop_wal_v1(integer), tally.choose_wal_v1(integer),
  tally.lock_page_v1(integer, integer), tally.queue_page_v1(integer, text[], text[]), tally.mark_wal(),
  tally.identity_of(oid), tally.note_identity_v1(oid), tally.forget_identity_v1(oid), tally.is_read_from_wal(oid), tally.attach_wal(integer),
  tally.detach_wal(integer), tally.wal_problems(integer) TO tally_app;
GRANT EXECUTE ON FUNCTION tally.mark_wal(), tally.wal_slot() TO tally_auditor;
GRANT EXECUTE ON FUNCTION tally.sign_as(text) TO PUBLIC;
