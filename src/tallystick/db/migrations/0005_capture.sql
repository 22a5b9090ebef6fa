-- Capture: the SQL that turns changed rows into queue rows (log.md, sections 4.5, 5.1 to 5.4).
--
-- Everything that becomes a leaf is written by one generator. `record_sql` makes the expressions of a record from the
-- catalogue; `capture_select` puts them into the SELECT that yields queue rows; `create_capture` compiles it into the trigger
-- function of a source. Backfill, reconcile and audit ask the same generator, so their bytes cannot differ.

-- RFC 8785 -------------------------------------------------------------------------------------

CREATE FUNCTION tally.utf16_order(name text) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
  -- UTF-8 bytes sort like UTF-16 code units, but that U+E000 to U+FFFF must come behind the surrogate pairs: 0xFF puts them there.
  SELECT CASE
    WHEN octet_length(name) = char_length(name) THEN convert_to(name, 'UTF8')
    ELSE (
      SELECT string_agg(
        CASE WHEN ascii(c.letter) BETWEEN 57344 AND 65535 THEN '\xff'::bytea ELSE ''::bytea END || convert_to(c.letter, 'UTF8'),
        ''::bytea ORDER BY c.place)
      FROM regexp_split_to_table(name, '') WITH ORDINALITY AS c (letter, place))
  END
$$;
COMMENT ON FUNCTION tally.utf16_order(text) IS 'Sorts names as RFC 8785 sorts the members of an object.';

CREATE FUNCTION tally.canonical(value jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
DECLARE
  number numeric;
BEGIN
  CASE jsonb_typeof(value)
    WHEN 'object' THEN
      RETURN '{' || coalesce((
        SELECT string_agg(to_json(m.key)::text || ':' || tally.canonical(m.value), ',' ORDER BY tally.utf16_order(m.key))
        FROM jsonb_each(value) AS m), '') || '}';
    WHEN 'array' THEN
      RETURN '[' || coalesce((
        SELECT string_agg(tally.canonical(e.value), ',' ORDER BY e.place)
        FROM jsonb_array_elements(value) WITH ORDINALITY AS e (value, place)), '') || ']';
    WHEN 'string' THEN
      RETURN to_json(value #>> '{}')::text;
    WHEN 'number' THEN
      number := (value #>> '{}')::numeric;
      IF number <> trunc(number) OR abs(number) >= 9007199254740992 THEN
        RAISE EXCEPTION 'messages hold integers below 2^53 only' USING ERRCODE = 'numeric_value_out_of_range';
      END IF;
      RETURN trim_scale(number)::text;
    ELSE
      RETURN value::text;
  END CASE;
END $$;
COMMENT ON FUNCTION tally.canonical(jsonb) IS 'RFC 8785 text of a value whose numbers are integers below 2^53.';

-- Types as text --------------------------------------------------------------------------------

CREATE FUNCTION tally.base_type(p_type oid) RETURNS oid
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  WITH RECURSIVE domains AS (
    SELECT p_type AS type
    UNION ALL
    SELECT t.typbasetype FROM domains AS d INNER JOIN pg_type AS t ON t.oid = d.type WHERE t.typtype = 'd'
  )
  SELECT d.type FROM domains AS d INNER JOIN pg_type AS t ON t.oid = d.type WHERE t.typtype <> 'd'
$$;
COMMENT ON FUNCTION tally.base_type(oid) IS 'The type that a domain is over, or the type itself; PostgreSQL looks up casts by it.';

CREATE FUNCTION tally.output_settings(p_type oid) RETURNS text[]
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  WITH RECURSIVE parts AS (
    SELECT p_type AS type
    UNION
    SELECT inner_type.type
    FROM parts AS p
    INNER JOIN pg_type AS t ON t.oid = p.type
    CROSS JOIN LATERAL (
      SELECT t.typbasetype AS type WHERE t.typtype = 'd'
      UNION ALL
      SELECT t.typelem WHERE t.typcategory = 'A'
      UNION ALL
      SELECT r.rngsubtype FROM pg_range AS r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
      UNION ALL
      SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
    ) AS inner_type
  )
  SELECT coalesce(array_agg(DISTINCT s.setting ORDER BY s.setting), '{}')
  FROM parts AS p
  INNER JOIN pg_type AS t ON t.oid = p.type
  CROSS JOIN LATERAL unnest(CASE
    WHEN t.typtype <> 'b' OR t.typcategory = 'A' THEN '{}'::text[]
    -- The output function of an extension's type may look at any of them.
    WHEN t.typnamespace <> 'pg_catalog'::regnamespace THEN '{bytea_output,datestyle,extra_float_digits,intervalstyle,lc_monetary,timezone}'
    WHEN t.typname IN ('date', 'timestamp') THEN '{datestyle}'
    WHEN t.typname = 'timestamptz' THEN '{datestyle,timezone}'
    WHEN t.typname = 'interval' THEN '{intervalstyle}'
    WHEN t.typname = 'bytea' THEN '{bytea_output}'
    WHEN t.typname = 'money' THEN '{lc_monetary}'
    WHEN t.typname IN ('float4', 'float8') OR t.typcategory = 'G' THEN '{extra_float_digits}'
    ELSE '{}' END) AS s (setting)
$$;
COMMENT ON FUNCTION tally.output_settings(oid) IS 'The settings that decide how values of a type are printed.';

CREATE FUNCTION tally.output_text(p_type oid, p_reference text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  -- A cast to text that has no entry in pg_cast is the type's output function; a domain is cast like its base type.
  -- Whatever has an entry (bool, inet, name, ...), and all types of others, go through concat, which always calls that function.
  SELECT CASE
    WHEN t.typname IN ('text', 'varchar') AND t.typnamespace = 'pg_catalog'::regnamespace THEN p_reference || '::text'
    WHEN t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm') AND NOT EXISTS (
      SELECT FROM pg_cast AS c WHERE c.castsource = t.oid AND c.casttarget = 'text'::regtype)
      THEN p_reference || '::text'
    ELSE format('CASE WHEN %1$s IS NOT DISTINCT FROM NULL THEN NULL ELSE concat(%1$s) END', p_reference)
  END
  FROM pg_type AS t WHERE t.oid = tally.base_type(p_type)
$$;
COMMENT ON FUNCTION tally.output_text(oid, text) IS 'The expression of a value''s output text, or NULL.';

CREATE FUNCTION tally.needs_no_escape(p_base_type oid) RETURNS boolean
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT p_base_type = ANY (ARRAY[
    'int2', 'int4', 'int8', 'oid', 'uuid', 'numeric', 'float4', 'float8', 'date', 'time', 'timetz', 'timestamp',
    'timestamptz', 'interval', 'xid8', 'pg_lsn', 'macaddr', 'macaddr8', 'bit', 'varbit']::regtype[]::oid[])
$$;
COMMENT ON FUNCTION tally.needs_no_escape(oid) IS 'Whether the output text of a type never holds what JSON escapes.';

CREATE FUNCTION tally.output_json(p_type oid, p_reference text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT CASE
    WHEN t.typnamespace <> 'pg_catalog'::regnamespace
      THEN format('CASE WHEN %1$s IS NOT DISTINCT FROM NULL THEN ''null'' ELSE to_json(concat(%1$s))::text END', p_reference)
    WHEN t.typname = 'bool' THEN format('CASE %s WHEN true THEN ''"t"'' WHEN false THEN ''"f"'' ELSE ''null'' END', p_reference)
    WHEN tally.needs_no_escape(t.oid)
      THEN format('coalesce(''"'' || %s || ''"'', ''null'')', tally.output_text(t.oid, p_reference))
    ELSE format('coalesce(to_json(%s)::text, ''null'')', tally.output_text(t.oid, p_reference))
  END
  FROM pg_type AS t WHERE t.oid = tally.base_type(p_type)
$$;
COMMENT ON FUNCTION tally.output_json(oid, text) IS 'The expression of a value''s output text as a JSON string, or null; never NULL.';

CREATE FUNCTION tally.has_exact_equality(p_type oid) RETURNS boolean
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  -- Equal values of these types have equal output text, and hash and sort quickly. Not so numeric (1.0 and 1.00) or float (0 and -0).
  SELECT tally.base_type(p_type) = ANY (ARRAY[
    'int2', 'int4', 'int8', 'oid', 'uuid', 'bool', 'text', 'varchar', 'bytea', 'date', 'time', 'timestamp', 'timestamptz'
  ]::regtype[]::oid[])
$$;
COMMENT ON FUNCTION tally.has_exact_equality(oid) IS 'Whether values are equal if and only if their output texts are.';

CREATE FUNCTION tally.comparable(p_type oid, p_reference text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT CASE
    -- A column's own collation may call different texts equal.
    WHEN tally.base_type(p_type) IN ('text'::regtype, 'varchar'::regtype) THEN format('(%s::text COLLATE "C")', p_reference)
    WHEN tally.has_exact_equality(p_type) THEN p_reference
    ELSE format('((%s) COLLATE "C")', tally.output_text(p_type, p_reference))
  END
$$;
COMMENT ON FUNCTION tally.comparable(oid, text) IS 'The expression by which two values are equal if and only if their output texts are.';

CREATE FUNCTION tally.fits_always(p_type oid) RETURNS boolean
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT t.typtype = 'e' OR (t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b'
                             AND (t.typlen > 0 OR t.typname IN ('inet', 'cidr')) AND t.typname NOT IN ('regprocedure', 'regoperator'))
  FROM pg_type AS t WHERE t.oid = tally.base_type(p_type)
$$;
COMMENT ON FUNCTION tally.fits_always(oid) IS 'Whether no value of the type has an output text of more than a few hundred bytes.';

-- Columns --------------------------------------------------------------------------------------

CREATE FUNCTION tally.table_fingerprint(relation oid) RETURNS bigint
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT tally.hash_prefix(sha256(convert_to(
    coalesce(string_agg(concat_ws(' ', a.atttypid, a.attisdropped, quote_ident(a.attname)), E'\n' ORDER BY a.attnum), ''), 'UTF8')))
  FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0
$$;
COMMENT ON FUNCTION tally.table_fingerprint(oid) IS 'Hash of (attname, atttypid, attisdropped) in attnum order.';

CREATE FUNCTION tally.never_null(p_relation oid, p_name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- Not of inheritance parents: their children may allow what they forbid. From PostgreSQL 18 on a constraint can be unproven.
  SELECT a.attnotnull
    AND NOT EXISTS (SELECT FROM pg_inherits AS i INNER JOIN pg_class AS c ON c.oid = i.inhparent WHERE i.inhparent = p_relation AND c.relkind <> 'p')
    AND NOT EXISTS (SELECT FROM pg_constraint AS k
                    WHERE k.conrelid = p_relation AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated)
  FROM pg_attribute AS a WHERE a.attrelid = p_relation AND a.attname = p_name AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION tally.never_null(oid, text) IS 'Whether no row of the table holds NULL in the column.';

CREATE FUNCTION tally.table_shape(relation oid) RETURNS bigint
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT tally.hash_prefix(sha256(convert_to(concat_ws(' ', tally.table_fingerprint(relation), bool_or(a.attgenerated = 'v'),
    string_agg(tally.never_null(relation, a.attname::text)::text, ' ' ORDER BY a.attnum)), 'UTF8')))
  FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION tally.table_shape(oid) IS 'Hash of what generated statements build on: the fingerprint, and which columns may be NULL.';

CREATE FUNCTION tally.planned_shape(relation regclass) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog
AS $$ SELECT tally.table_shape(relation) $$;
COMMENT ON FUNCTION tally.planned_shape(regclass) IS
  'As table_shape, once per plan: a plan that names a table as a regclass constant is made anew after every DDL on that table.';

CREATE FUNCTION tally.recorded_columns(p_source_no integer)
RETURNS TABLE (place integer, name text, type oid, is_private boolean)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  SELECT
    (row_number() OVER (ORDER BY tally.utf16_order(a.attname)))::integer, a.attname::text, a.atttypid,
    a.attname = ANY (s.private_columns)
  FROM tally.verification_sources AS s
  INNER JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
  WHERE s.source_no = p_source_no AND (
    a.attname = ANY (s.key_columns)
    OR CASE WHEN s.include_columns IS NOT NULL THEN a.attname = ANY (s.include_columns)
            ELSE a.attname <> ALL (coalesce(s.exclude_columns, '{}')) END)
  ORDER BY 1
$$;
COMMENT ON FUNCTION tally.recorded_columns(integer) IS 'The columns that a source records now, in the order of RFC 8785.';

-- Records --------------------------------------------------------------------------------------

CREATE FUNCTION tally.column_reference(p_alias text, p_name text, p_places text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$ SELECT CASE WHEN p_places IS NULL THEN format('%s.%I', p_alias, p_name) ELSE format('%s.c%s', p_alias, array_position(p_places, p_name)) END $$;
COMMENT ON FUNCTION tally.column_reference(text, text, text[]) IS
  'A column of an alias: by its name, or as c1, c2, ... by its place in a list of names, so that no name of a user meets one of ours.';

CREATE FUNCTION tally.joined_sql(p_pieces text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  -- A piece that begins with = is an expression; the others are words, and neighbouring words become one literal. One concat
  -- prints its arguments by their output functions and costs a statement less than as many operators; it takes 100 of them.
  SELECT CASE WHEN count(*) = 1 THEN min(c.sql) ELSE format('concat(%s)', string_agg(c.sql, ', ' ORDER BY c.chunk)) END
  FROM (
    SELECT a.chunk, format('concat(%s)', string_agg(a.sql, ', ' ORDER BY a.run)) AS sql
    FROM (
      SELECT g.run, g.sql, (g.run - 1) / 90 AS chunk
      FROM (
        SELECT r.run, CASE WHEN bool_and(r.is_sql) THEN string_agg(substr(r.piece, 2), ', ' ORDER BY r.place)
                           ELSE quote_literal(string_agg(r.piece, '' ORDER BY r.place)) END AS sql
        FROM (
          SELECT p.piece, p.place, p.is_sql, count(*) FILTER (WHERE p.is_sql IS DISTINCT FROM p.was_sql) OVER (ORDER BY p.place) AS run
          FROM (
            SELECT u.piece, u.place, u.piece LIKE '=%' AS is_sql, lag(u.piece LIKE '=%') OVER (ORDER BY u.place) AS was_sql
            FROM unnest(p_pieces) WITH ORDINALITY AS u (piece, place) WHERE u.piece <> ''
          ) AS p
        ) AS r
        GROUP BY r.run
      ) AS g
    ) AS a
    GROUP BY a.chunk
  ) AS c
$$;
COMMENT ON FUNCTION tally.joined_sql(text[]) IS 'The expression that joins words and expressions (pieces that begin with =); none of them is NULL.';

CREATE FUNCTION tally.split_words(p_pieces text[], OUT lead text, OUT rest text[], OUT trail text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  SELECT
    coalesce(string_agg(p.piece, '' ORDER BY p.place) FILTER (WHERE p.place < coalesce(e.first, p.place + 1)), ''),
    coalesce(array_agg(p.piece ORDER BY p.place) FILTER (WHERE p.place BETWEEN e.first AND e.last), '{}'),
    coalesce(string_agg(p.piece, '' ORDER BY p.place) FILTER (WHERE p.place > e.last), '')
  FROM unnest(p_pieces) WITH ORDINALITY AS p (piece, place)
  CROSS JOIN (SELECT min(u.place) AS first, max(u.place) AS last
              FROM unnest(p_pieces) WITH ORDINALITY AS u (piece, place) WHERE u.piece LIKE '=%') AS e
$$;
COMMENT ON FUNCTION tally.split_words(text[]) IS 'Pieces for joined_sql, taken apart: the words before the first expression, the middle, the words after the last one.';

CREATE FUNCTION tally.output_pieces(p_type oid, p_reference text, p_never_null boolean) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT CASE
    WHEN NOT p_never_null OR t.typnamespace <> 'pg_catalog'::regnamespace THEN ARRAY['=' || tally.output_json(p_type, p_reference)]
    WHEN t.typname = 'bool' OR tally.needs_no_escape(t.oid) THEN ARRAY['"', '=' || p_reference, '"']
    ELSE ARRAY['=to_json(' || tally.output_text(p_type, p_reference) || ')']
  END
  FROM pg_type AS t WHERE t.oid = tally.base_type(p_type)
$$;
COMMENT ON FUNCTION tally.output_pieces(oid, text, boolean) IS 'As output_json, in pieces for joined_sql.';

CREATE FUNCTION tally.row_pieces(p_source_no integer, p_alias text, p_places text[] DEFAULT NULL, p_with_private boolean DEFAULT false)
RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT ARRAY['{'] || coalesce(array_agg(v.piece ORDER BY m.nth, v.place), '{}') || ARRAY['}']
  FROM (
    SELECT c.name, c.type, tally.column_reference(p_alias, c.name, p_places) AS reference,
           tally.never_null(s.relation, c.name) AS never_null, row_number() OVER (ORDER BY c.place) AS nth
    FROM tally.verification_sources AS s CROSS JOIN LATERAL tally.recorded_columns(p_source_no) AS c
    WHERE s.source_no = p_source_no AND (p_with_private OR NOT c.is_private)
  ) AS m
  CROSS JOIN LATERAL unnest(
    ARRAY[CASE WHEN m.nth = 1 THEN '' ELSE ',' END || to_json(m.name)::text || ':']
    || tally.output_pieces(m.type, m.reference, m.never_null)) WITH ORDINALITY AS v (piece, place)
$$;
COMMENT ON FUNCTION tally.row_pieces(integer, text, text[], boolean) IS
  'A record''s `row` in pieces for joined_sql, while no value is large; without or with the private columns.';

CREATE FUNCTION tally.row_sql(p_source_no integer, p_alias text, p_places text[] DEFAULT NULL, p_with_private boolean DEFAULT false)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$ SELECT tally.joined_sql(tally.row_pieces(p_source_no, p_alias, p_places, p_with_private)) $$;
COMMENT ON FUNCTION tally.row_sql(integer, text, text[], boolean) IS
  'The expression of a record''s `row`, as RFC 8785 text, while no value is large; without or with the private columns.';

CREATE FUNCTION tally.private_sql(p_source_no integer, p_alias text, p_salt text, p_places text[] DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT string_agg(
    format(
      $f$%1$L || encode(sha256(%2$L::bytea || sha256(%3$L::bytea || %4$s || %5$L::bytea) || CASE WHEN %6$s IS NOT DISTINCT FROM NULL THEN '\x00'::bytea ELSE '\x01'::bytea || convert_to(%7$s, 'UTF8') END), 'hex') || '"'$f$,
      CASE WHEN m.nth = 1 THEN '{' ELSE ',' END || to_json(m.name)::text || ':"',
      convert_to(E'tallystick/seal-field/v1\n', 'UTF8') || '\x00'::bytea,
      convert_to(E'tallystick/seal-field-key/v1\n', 'UTF8') || '\x00'::bytea,
      p_salt, convert_to(m.name, 'UTF8'), m.reference, tally.output_text(m.type, m.reference)),
    ' || ' ORDER BY m.nth) || ' || ''}'''
  FROM (
    SELECT
      c.name, c.type, tally.column_reference(p_alias, c.name, p_places) AS reference,
      row_number() OVER (ORDER BY c.place) AS nth
    FROM tally.recorded_columns(p_source_no) AS c WHERE c.is_private
  ) AS m
$$;
COMMENT ON FUNCTION tally.private_sql(integer, text, text, text[]) IS
  'The expression of a record''s `private`: the commitments (section 5.3) under a salt; NULL where no column is private.';

CREATE FUNCTION tally.values_sql(p_source_no integer, p_alias text, p_places text[] DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT format('%L::text[], ARRAY[%s]::text[]',
    coalesce(array_agg(c.name ORDER BY c.place), '{}'),
    string_agg(tally.output_text(c.type, tally.column_reference(p_alias, c.name, p_places)), ', ' ORDER BY c.place))
  FROM tally.recorded_columns(p_source_no) AS c WHERE NOT c.is_private
$$;
COMMENT ON FUNCTION tally.values_sql(integer, text, text[]) IS 'Two expressions: the names and the output texts of what stands in `row`.';

CREATE FUNCTION tally.key_pieces(p_source_no integer, p_alias text, p_places text[] DEFAULT NULL) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT CASE WHEN s.key_columns = '{}' THEN
    ARRAY['["', format('=encode(sha256(%L::bytea || convert_to(%s, ''UTF8'')), ''hex'')',
      convert_to(E'tallystick/seal-row-key/v1\n', 'UTF8'), tally.row_sql(p_source_no, p_alias, p_places)), '"]']
  ELSE (
    SELECT ARRAY['['] || array_agg(v.piece ORDER BY k.nth, v.place) || ARRAY[']']
    FROM unnest(s.key_columns) WITH ORDINALITY AS k (name, nth)
    INNER JOIN tally.recorded_columns(p_source_no) AS c ON c.name = k.name
    CROSS JOIN LATERAL unnest(
      ARRAY[CASE WHEN k.nth = 1 THEN '' ELSE ',' END]
      || tally.output_pieces(c.type, tally.column_reference(p_alias, c.name, p_places), tally.never_null(s.relation, c.name))
    ) WITH ORDINALITY AS v (piece, place))
  END
  FROM tally.verification_sources AS s WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.key_pieces(integer, text, text[]) IS 'A row''s source_key in pieces for joined_sql: the RFC 8785 array of its key texts.';

CREATE FUNCTION tally.key_sql(p_source_no integer, p_alias text, p_places text[] DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- Two operators are quicker than concat for the commonest key, one number.
  SELECT CASE WHEN cardinality(w.rest) = 1 AND w.rest[1] !~ '[(]' AND EXISTS (
      SELECT FROM tally.verification_sources AS s INNER JOIN tally.recorded_columns(p_source_no) AS c ON ARRAY[c.name] = s.key_columns
      WHERE s.source_no = p_source_no AND tally.needs_no_escape(tally.base_type(c.type)))
    THEN format('%L || %s::text || %L', w.lead, substr(w.rest[1], 2), w.trail) ELSE tally.joined_sql(k.pieces) END
  FROM (SELECT tally.key_pieces(p_source_no, p_alias, p_places) AS pieces) AS k CROSS JOIN tally.split_words(k.pieces) AS w
$$;
COMMENT ON FUNCTION tally.key_sql(integer, text, text[]) IS 'The expression of a row''s source_key: the RFC 8785 array of its key texts.';

CREATE FUNCTION tally.key_expression(source_no integer, alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$ SELECT tally.key_sql(source_no, alias) $$;
COMMENT ON FUNCTION tally.key_expression(integer, text) IS 'The expression of the source_key of a row of the table under an alias.';

CREATE FUNCTION tally.fit_members(p_names text[], p_values text[], OUT large text, OUT row_text text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  SELECT
    '{' || string_agg(
      to_json(v.name)::text || ':{"bytes":' || octet_length(v.value)
      || ',"sha256":"' || encode(sha256(convert_to(v.value, 'UTF8')), 'hex') || '"}',
      ',' ORDER BY v.place) FILTER (WHERE octet_length(v.value) > 8192) || '}',
    '{' || coalesce(string_agg(
      to_json(v.name)::text || ':'
      || CASE WHEN octet_length(v.value) > 8192 THEN 'null' ELSE coalesce(to_json(v.value)::text, 'null') END,
      ',' ORDER BY v.place), '') || '}'
  FROM unnest(p_names, p_values) WITH ORDINALITY AS v (name, value, place)
$$;
COMMENT ON FUNCTION tally.fit_members(text[], text[]) IS
  'The members `large` (NULL if there is none) and `row` of a record with these columns, which stand in the order of RFC 8785.';

CREATE FUNCTION tally.fit_leaf(p_plain bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog
AS $$
DECLARE
  tag CONSTANT bytea := convert_to(E'tallystick/seal-record/v1\n', 'UTF8');
  -- json keeps each member's text as it stands.
  record CONSTANT json := convert_from(substr(p_plain, octet_length(tag) + 1), 'UTF8')::json;
  before CONSTANT text := concat('{"actor":', record -> 'actor', ',"at":', record -> 'at', ',"key":', record -> 'key');
  middle CONSTANT text := concat(',"log":', record -> 'log', ',"op":', record -> 'op', ',"private":' || (record -> 'private')::text,
    ',"role":', record -> 'role', ',"row":');
  after CONSTANT text := concat(',"table":', record -> 'table', ',"tx":', record -> 'tx', ',"via":', record -> 'via', '}');
  large text;
  row_text text;
  leaf bytea;
BEGIN
  SELECT m.large, m.row_text INTO large, row_text
  FROM (SELECT array_agg(r.key ORDER BY r.place) AS names, array_agg(r.value ORDER BY r.place) AS texts
        FROM json_each_text(record -> 'row') WITH ORDINALITY AS r (key, value, place)) AS c
  CROSS JOIN LATERAL tally.fit_members(c.names, c.texts) AS m;
  leaf := tag || convert_to(concat(before, ',"large":' || large, middle, row_text, after), 'UTF8');
  IF octet_length(leaf) > 65535 THEN
    large := '{"*":{"bytes":' || octet_length(leaf) || ',"sha256":"' || encode(sha256(leaf), 'hex') || '"}}';
    leaf := tag || convert_to(concat(before, ',"large":', large, middle, 'null', after), 'UTF8');
  END IF;
  RETURN CASE WHEN octet_length(leaf) <= 65535 THEN leaf END;
END $$;
COMMENT ON FUNCTION tally.fit_leaf(bytea) IS
  'The leaf bytes of a record whose values all stand in `row`, with large ones taken out; NULL where it does not fit a leaf without its row either.';

CREATE FUNCTION tally.row_expression(source_no integer, alias text, salt text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
BEGIN
  RETURN format(
    $f$(SELECT concat('{', '"large":' || m.large || ',', '"private":' || (%s) || ',', '"row":', m.row_text, '}') FROM tally.fit_members(%s) AS m)$f$,
    coalesce(tally.private_sql(source_no, alias, coalesce(salt, 'NULL::bytea')), 'NULL::text'), tally.values_sql(source_no, alias));
END $$;
COMMENT ON FUNCTION tally.row_expression(integer, text, text) IS
  'The expression of the RFC 8785 text of {large, private, row} of a row of the table under an alias; a bytea expression gives the salt.';

-- The one generator ----------------------------------------------------------------------------

CREATE FUNCTION tally.record_table(p_source_no integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- As the source's row names it, so that leaf and record agree when the table was renamed or dropped meanwhile. That name
  -- leaves out the schema public; a first word that a dot follows is a schema.
  SELECT CASE WHEN s.source_table ~ '^([^".]+|"([^"]|"")+")[.]' THEN s.source_table ELSE 'public.' || s.source_table END
  FROM tally.verification_sources AS s WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.record_table(integer) IS 'The table''s name in records: schema and table, quoted as PostgreSQL quotes them.';

CREATE FUNCTION tally.head_sql(p_source_no integer, p_at text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT format(
    $f$concat(%L, coalesce(to_json(nullif(current_setting('tally.actor', true), '')), 'null'), ',"at":"', to_char(%s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), %L)$f$,
    E'tallystick/seal-record/v1\n{"actor":', p_at, 'Z","key":' || w.lead)
  FROM tally.split_words(tally.key_pieces(p_source_no, 'r', '{}')) AS w
$$;
COMMENT ON FUNCTION tally.head_sql(integer, text) IS
  'The expression of a record''s tag and what follows up to its key, the same for all rows of a statement.';

CREATE FUNCTION tally.middle_sql(p_source_no integer, p_op text, p_has_private boolean, p_with_private boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT format($f$concat(%L, to_json(session_user::text), %L)$f$,
    CASE WHEN length(p_op) = 1 AND NOT p_has_private THEN
      k.trail || ',"log":' || to_json(s.log_name)::text || ',"op":"'
      || CASE p_op WHEN 'I' THEN 'insert' WHEN 'U' THEN 'update' ELSE 'delete' END || '",' ELSE '' END || '"role":',
    ',"row":' || w.lead)
  FROM tally.verification_sources AS s
  CROSS JOIN tally.split_words(tally.key_pieces(p_source_no, 'r', '{}')) AS k
  CROSS JOIN tally.split_words(tally.row_pieces(p_source_no, 'r', '{}', p_with_private)) AS w
  WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.middle_sql(integer, text, boolean, boolean) IS
  'The expression of what stands in a record between its key and its first value, the same for all rows of a statement; from its role on where the operation or commitments differ by row.';

CREATE FUNCTION tally.salt_sql() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  -- Three random UUIDs hold 366 bits from the server's strong source; the digest makes 32 even bytes of them.
  SELECT $f$sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))$f$
$$;
COMMENT ON FUNCTION tally.salt_sql() IS 'The expression of a salt: 32 random bytes.';

CREATE FUNCTION tally.via_word(p_via text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  SELECT CASE p_via WHEN 't' THEN 'trigger' WHEN 'p' THEN 'poll' WHEN 'b' THEN 'backfill' WHEN 'r' THEN 'reconcile' WHEN 'c' THEN 'control' END
$$;
COMMENT ON FUNCTION tally.via_word(text) IS 'The word of a way of capture in records.';

CREATE FUNCTION tally.needed_columns(p_source_no integer) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT array_agg(c.name ORDER BY c.place) || CASE
    WHEN s.hash_column <> ALL (array_agg(c.name)) AND EXISTS (
      SELECT FROM pg_attribute AS a WHERE a.attrelid = s.relation AND a.attname = s.hash_column AND NOT a.attisdropped)
      THEN ARRAY[s.hash_column] ELSE '{}' END
  FROM tally.verification_sources AS s CROSS JOIN LATERAL tally.recorded_columns(s.source_no) AS c
  WHERE s.source_no = p_source_no GROUP BY s.source_no, s.hash_column, s.relation
$$;
COMMENT ON FUNCTION tally.needed_columns(integer) IS 'The recorded columns, and the hash column if it is none of them: c1, c2, ... of the generated statements.';

CREATE FUNCTION tally.source_columns(p_source_no integer, p_alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT string_agg(format('%s.%I AS c%s', p_alias, c.name, c.place), ', ' ORDER BY c.place)
  FROM unnest(tally.needed_columns(p_source_no)) WITH ORDINALITY AS c (name, place)
$$;
COMMENT ON FUNCTION tally.source_columns(integer, text) IS 'A select list: the needed columns of a table''s alias as c1, c2, ...';

CREATE FUNCTION tally.record_sql(
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
    || ARRAY[format('=(SELECT concat(%L, pg_current_xact_id(), %L))',
      w.trail || ',"table":' || to_json(tally.record_table(p_source_no))::text || ',"tx":"', '","via":"' || tally.via_word(p_via) || '"}')])
    || ', ''UTF8'')'
  FROM tally.verification_sources AS s
  CROSS JOIN tally.split_words(tally.key_pieces(p_source_no, 'r', p_places)) AS k
  CROSS JOIN tally.split_words(tally.row_pieces(p_source_no, 'r', p_places, p_with_private)) AS w
  WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.record_sql(integer, text, text, text, boolean, text[], text, boolean) IS
  'The expression of the leaf bytes of a record over c1, c2, ... of the alias r, while no value is large; in a trigger head and middle are variables.';

CREATE FUNCTION tally.salted_sql(p_record text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  SELECT format('sha256(%L::bytea || r.salt || %s)', convert_to(E'tallystick/seal-salted-record/v1\n', 'UTF8') || '\x00'::bytea, p_record)
$$;
COMMENT ON FUNCTION tally.salted_sql(text) IS 'The expression of a salted leaf (section 5.2) of a record.';

CREATE FUNCTION tally.queue_rows_sql(
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
      rows_sql := format('(SELECT r.*, CASE WHEN octet_length(r.plain) <= 8192 THEN r.plain ELSE tally.fit_leaf(r.plain) END AS fitted FROM %s%s) AS r',
        rows_sql, CASE WHEN needs_salt THEN ' OFFSET 0' ELSE '' END);
      leaf := 'r.fitted';
      problem := format('CASE WHEN octet_length(r.plain) > 8192 AND r.fitted IS NULL THEN %L END', too_large);
    END IF;
  END IF;

  IF source.leaf_form = 'record' AND private IS NOT NULL THEN
    record := tally.record_sql(p_source_no, p_op, p_via, p_at, p_in_trigger, places, NULL, true);
  ELSIF source.leaf_form = 'record' AND may_be_large THEN
    record := 'CASE WHEN octet_length(r.plain) > 8192 THEN nullif(r.plain, r.fitted) END';
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
COMMENT ON FUNCTION tally.queue_rows_sql(integer, text, text, text, text, boolean) IS
  'The SELECT that makes queue rows (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) of rows with columns c1, c2, ...';

CREATE FUNCTION tally.capture_select(source_no integer, op text, via text, from_clause text, alias text DEFAULT 'r') RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT 'WITH tally_clock AS MATERIALIZED (SELECT tally.clock() AS at) ' || tally.queue_rows_sql(
    source_no, CASE WHEN length(op) = 1 THEN op ELSE 'r.op' END, via,
    format('(SELECT %s%s FROM %s) AS r', tally.source_columns(source_no, alias),
           CASE WHEN length(op) = 1 THEN '' ELSE format(', (%s) AS op', op) END, from_clause),
    '(SELECT tally_clock.at FROM tally_clock)')
$$;
COMMENT ON FUNCTION tally.capture_select(integer, text, text, text, text) IS
  'The SELECT of queue rows (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) of the table''s rows under an alias in a FROM clause; op is a letter or an expression over it.';

-- Control leaves -------------------------------------------------------------------------------

CREATE FUNCTION tally.queue_control(log_id integer, source_no integer, op text, detail jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
<<here>>
DECLARE
  log tally.verification_logs;
  at CONSTANT timestamptz := tally.clock();
BEGIN
  SELECT l.* INTO STRICT log FROM tally.verification_logs AS l WHERE l.log_id = queue_control.log_id;
  IF NOT log.control_leaves THEN
    RETURN;
  END IF;
  INSERT INTO tally.capture (log_id, source_no, op, via, source_key, leaf, captured_at)
  SELECT
    log.log_id, queue_control.source_no, 'C', 'c', '[]',
    convert_to(E'tallystick/seal-record/v1\n' || tally.canonical(jsonb_build_object(
      'actor', nullif(current_setting('tally.actor', true), ''),
      'at', to_char(here.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'detail', queue_control.detail, 'key', '[]'::jsonb, 'log', log.log_name, 'op', queue_control.op,
      'role', session_user, 'table', tally.record_table(queue_control.source_no),
      'tx', pg_current_xact_id()::text, 'via', 'control')), 'UTF8'),
    here.at;
END $$;
COMMENT ON FUNCTION tally.queue_control(integer, integer, text, jsonb) IS
  'Queues a control leaf (section 5.2) of a log, and of a source unless that is NULL; nothing where the log has no control leaves.';

-- Statements that change one key more than once -------------------------------------------------

CREATE FUNCTION tally.begin_capture() RETURNS trigger
LANGUAGE plpgsql
AS $$
-- Runs with the writer's rights and search_path, hence the qualified names; it touches nothing but a setting of his session.
DECLARE
  name CONSTANT text := pg_catalog.concat('tally.nest_', TG_ARGV[0]);
  pushed text;
BEGIN
  pushed := pg_catalog.set_config(
    name, pg_catalog.concat(pg_catalog.current_setting(name, true), ' ', TG_RELID, '.', TG_OP, '=0'), true);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION tally.begin_capture() IS
  'BEFORE trigger of a source: notes in tally.nest_<n> that a statement began inside which nothing was queued yet (section 5.4).';

CREATE FUNCTION tally.end_statement(INOUT stack text, p_mine text, OUT entry bigint)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
  -- The last of its name: statements on one table end in the reverse order of their beginning. Those on different tables need not,
  -- because a cascade begins its statement when the one that caused it has not ended, and ends after it.
  SELECT coalesce(m.parts[1] || m.parts[3], stack), coalesce(m.parts[2]::bigint, 0)
  FROM (SELECT regexp_match(stack, '^(.*)' || p_mine || '([0-9]+)(.*)$') AS parts) AS m
$$;
COMMENT ON FUNCTION tally.end_statement(text, text) IS
  'Takes a statement off the stack: what is left, and the least seq that was drawn inside it, 0 if none.';

CREATE FUNCTION tally.key_match_sql(p_source_no integer, p_alias text, p_key text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- Typed comparisons let an index find the row; whether it is the row is for the key's text to say.
  SELECT concat_ws(' AND ',
    string_agg(
      format('%s.%I = (%s::json ->> %s)::%s', p_alias, c.name, p_key, k.nth - 1, format_type(tally.base_type(c.type), NULL)),
      ' AND ' ORDER BY k.nth)
      FILTER (WHERE (SELECT t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' FROM pg_type AS t WHERE t.oid = tally.base_type(c.type))),
    format('(%s) COLLATE "C" = %s', tally.key_expression(p_source_no, p_alias), p_key))
  FROM tally.verification_sources AS s
  CROSS JOIN LATERAL unnest(s.key_columns) WITH ORDINALITY AS k (name, nth)
  INNER JOIN tally.recorded_columns(p_source_no) AS c ON c.name = k.name
  WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.key_match_sql(integer, text, text) IS
  'The condition that a row of the table under an alias has the source_key that an expression gives; it can use the key''s index.';

CREATE FUNCTION tally.merge_nested(p_source_no integer, p_entry bigint, p_first bigint, p_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET enable_seqscan = off SET row_security = off
AS $$
-- Rows of the source with seq in [p_entry, p_first) were queued inside the statement that queued those from p_first on.
DECLARE
  source tally.verification_sources;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF NOT EXISTS (
    SELECT FROM tally.capture AS c
    WHERE c.log_id = source.log_id AND c.seq >= p_entry AND c.seq < p_first AND c.source_no = p_source_no
      AND c.xid = pg_current_xact_id_if_assigned()
  ) OR NOT EXISTS (
    SELECT FROM tally.capture AS c
    WHERE c.log_id = source.log_id AND c.seq >= p_entry AND c.source_no = p_source_no AND c.xid = pg_current_xact_id_if_assigned()
    GROUP BY c.source_key HAVING min(c.seq) < p_first AND max(c.seq) >= p_first
  ) THEN
    RETURN;
  END IF;
  EXECUTE format($f$
    WITH queued AS MATERIALIZED (
      SELECT c.ctid AS place, c.seq, c.source_key, c.op FROM tally.capture AS c
      WHERE c.log_id = %1$s AND c.seq >= $1 AND c.source_no = %2$s AND c.xid = pg_current_xact_id_if_assigned()
    ), shared AS MATERIALIZED (
      SELECT q.source_key, count(*) FILTER (WHERE q.op = 'I') AS inserts, count(*) FILTER (WHERE q.op = 'D') AS deletes,
             max(q.seq) FILTER (WHERE q.op = 'D') AS last_delete
      FROM queued AS q GROUP BY q.source_key HAVING min(q.seq) < $2 AND max(q.seq) >= $2
    ), judged AS MATERIALIZED (
      SELECT s.source_key, s.last_delete, t.is_there, (t.is_there IS NOT NULL)::integer - s.inserts + s.deletes AS before, %3$s
      FROM shared AS s LEFT JOIN LATERAL (SELECT true AS is_there, t.* FROM %4$s AS t WHERE %5$s) AS t ON true
    ), replaced AS (
      DELETE FROM tally.capture AS c USING queued AS q, judged AS j
      WHERE c.ctid = q.place AND q.source_key = j.source_key AND j.before IN (0, 1)
        AND (j.before = 0 OR j.is_there OR q.seq <> j.last_delete)
    )
    INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) %6$s
    $f$,
    source.log_id, p_source_no, tally.source_columns(p_source_no, 't'), source.relation::regclass,
    tally.key_match_sql(p_source_no, 't', 's.source_key'),
    tally.queue_rows_sql(p_source_no, 'r.op', 't',
      '(SELECT j.*, CASE j.before WHEN 0 THEN ''I'' ELSE ''U'' END AS op FROM judged AS j WHERE j.is_there AND j.before IN (0, 1)) AS r', '$3'))
  USING p_entry, p_first, p_at;
END $$;
COMMENT ON FUNCTION tally.merge_nested(integer, bigint, bigint, timestamptz) IS
  'Makes one queue row of what a statement and the statements inside it did to one key (section 5.4).';

-- Triggers -------------------------------------------------------------------------------------

CREATE FUNCTION tally.is_changed_by_cascades(p_relation oid) RETURNS boolean
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog
AS $$
  WITH RECURSIVE members AS (
    SELECT p_relation AS relation
    UNION
    SELECT i.inhrelid FROM members AS m INNER JOIN pg_inherits AS i ON i.inhparent = m.relation
  )
  SELECT EXISTS (
    SELECT FROM members AS m INNER JOIN pg_constraint AS c ON c.conrelid = m.relation
    WHERE c.contype = 'f' AND (c.confupdtype IN ('c', 'n', 'd') OR c.confdeltype IN ('n', 'd')))
$$;
COMMENT ON FUNCTION tally.is_changed_by_cascades(oid) IS
  'Whether a foreign key''s action may update rows of the table, and so change one row twice within one statement.';

CREATE FUNCTION tally.planned_cascades(relation regclass) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog
AS $$ SELECT tally.is_changed_by_cascades(relation) $$;
COMMENT ON FUNCTION tally.planned_cascades(regclass) IS 'As is_changed_by_cascades, once per plan; see planned_shape.';

CREATE FUNCTION tally.key_comparables(p_source_no integer, p_alias text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT array_agg(tally.comparable(c.type, tally.column_reference(p_alias, c.name, tally.needed_columns(p_source_no))) ORDER BY k.nth)
  FROM tally.verification_sources AS s
  CROSS JOIN LATERAL unnest(s.key_columns) WITH ORDINALITY AS k (name, nth)
  INNER JOIN tally.recorded_columns(p_source_no) AS c ON c.name = k.name
  WHERE s.source_no = p_source_no
$$;
COMMENT ON FUNCTION tally.key_comparables(integer, text) IS 'The expressions by which keys are compared, over c1, c2, ... of an alias.';

CREATE FUNCTION tally.differs_sql(p_source_no integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- *<> compares the stored bytes: where they are equal the output is, and it calls no function of the type.
  SELECT coalesce(nullif(concat_ws(' OR ',
    string_agg(format('%s IS DISTINCT FROM %s', tally.comparable(d.type, d.old_value), tally.comparable(d.type, d.new_value)), ' OR ' ORDER BY d.place)
      FILTER (WHERE tally.has_exact_equality(d.type)),
    -- Equal numbers of one scale are printed alike.
    string_agg(format('%1$s IS DISTINCT FROM %2$s OR scale(%1$s) IS DISTINCT FROM scale(%2$s)', d.old_value, d.new_value), ' OR ' ORDER BY d.place)
      FILTER (WHERE tally.base_type(d.type) = 'numeric'::regtype),
    'ROW('
      || string_agg(d.old_value, ', ' ORDER BY d.place) FILTER (WHERE NOT tally.has_exact_equality(d.type) AND tally.base_type(d.type) <> 'numeric'::regtype)
      || ')::record *<> ROW('
      || string_agg(d.new_value, ', ' ORDER BY d.place) FILTER (WHERE NOT tally.has_exact_equality(d.type) AND tally.base_type(d.type) <> 'numeric'::regtype)
      || ')::record'), ''), 'false')
  FROM (
    SELECT n.place, a.atttypid AS type, 'o.c' || n.place AS old_value, 'n.c' || n.place AS new_value
    FROM tally.verification_sources AS s
    CROSS JOIN LATERAL unnest(tally.needed_columns(p_source_no)) WITH ORDINALITY AS n (name, place)
    INNER JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = n.name AND NOT a.attisdropped
    WHERE s.source_no = p_source_no AND n.name <> ALL (s.key_columns)
  ) AS d
$$;
COMMENT ON FUNCTION tally.differs_sql(integer) IS 'The condition that a recorded column differs between o and n, beyond the key.';

CREATE FUNCTION tally.updated_rows_sql(p_source_no integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- FULL JOIN, because it is hashed or merged whatever the plan was made for: a cached plan for one row serves a million.
  SELECT format(
    $f$(SELECT CASE WHEN n.present IS NULL THEN 'D' WHEN o.present IS NULL THEN 'I' ELSE 'U' END AS op, %s
    FROM (SELECT true AS present, %s FROM tally_old AS t) AS o
    FULL JOIN (SELECT true AS present, %s FROM tally_new AS t) AS n ON %s
    WHERE n.present IS NULL OR o.present IS NULL OR %s) AS r$f$,
    (SELECT string_agg(format('CASE WHEN n.present IS NULL THEN o.c%1$s ELSE n.c%1$s END AS c%1$s', i.n), ', ' ORDER BY i.n)
     FROM generate_series(1, cardinality(tally.needed_columns(p_source_no))) AS i (n)),
    tally.source_columns(p_source_no, 't'), tally.source_columns(p_source_no, 't'),
    (SELECT string_agg(format('%s = %s', k.old_value, k.new_value), ' AND ')
     FROM unnest(tally.key_comparables(p_source_no, 'o'), tally.key_comparables(p_source_no, 'n')) AS k (old_value, new_value)),
    tally.differs_sql(p_source_no))
$$;
COMMENT ON FUNCTION tally.updated_rows_sql(integer) IS 'What an UPDATE did, for statements that show each key at most once before and once after.';

CREATE FUNCTION tally.counted_rows_sql(p_source_no integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT format(
    $f$(SELECT CASE WHEN w.balance > 0 THEN 'I' WHEN w.balance < 0 THEN 'D' ELSE 'U' END AS op, w.*
    FROM (
      SELECT u.*, sum(CASE WHEN u.is_new THEN 1 ELSE -1 END) OVER keys AS balance,
        min(u.place) FILTER (WHERE NOT u.is_new) OVER keys AS first_old, min(u.place) FILTER (WHERE u.is_new) OVER keys AS first_new,
        first_value(u.row_text) OVER (PARTITION BY u.key ORDER BY u.is_new, u.place) AS old_text,
        row_number() OVER (PARTITION BY u.key, u.is_new ORDER BY u.place) AS nth,
        row_number() OVER (PARTITION BY u.key, u.is_new ORDER BY u.place DESC) AS nth_last
      FROM (
        SELECT v.*, (%s) COLLATE "C" AS key, (%s) COLLATE "C" AS row_text
        FROM (SELECT false AS is_new, row_number() OVER () AS place, %s FROM tally_old AS t
              UNION ALL SELECT true, row_number() OVER (), %s FROM tally_new AS t) AS v
      ) AS u
      WINDOW keys AS (PARTITION BY u.key)
    ) AS w
    WHERE CASE WHEN w.balance > 0 THEN w.is_new AND w.nth_last <= w.balance
               WHEN w.balance < 0 THEN NOT w.is_new AND w.nth <= -w.balance
               ELSE %s AND w.is_new AND w.nth_last = 1 AND w.first_old <= w.first_new AND w.old_text <> w.row_text END) AS r$f$,
    tally.key_sql(p_source_no, 'v', tally.needed_columns(p_source_no)),
    tally.row_sql(p_source_no, 'v', tally.needed_columns(p_source_no), true)
      || coalesce((SELECT format(' || coalesce(%s::text, '''')', tally.column_reference('v', s.hash_column, tally.needed_columns(p_source_no)))
                   FROM tally.verification_sources AS s
                   WHERE s.source_no = p_source_no AND s.hash_column = ANY (tally.needed_columns(p_source_no))), ''),
    tally.source_columns(p_source_no, 't'), tally.source_columns(p_source_no, 't'),
    (SELECT (s.key_columns <> '{}')::text FROM tally.verification_sources AS s WHERE s.source_no = p_source_no))
$$;
COMMENT ON FUNCTION tally.counted_rows_sql(integer) IS
  'What an UPDATE did, for any statement: per key the first old row, the last new one, and their number (section 5.1).';

CREATE FUNCTION tally.capture_insert_sql(p_source_no integer, p_op text, p_at text, p_in_trigger boolean, p_counted boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT 'INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) '
    || CASE p_op
      WHEN 'INSERT' THEN tally.queue_rows_sql(p_source_no, 'I', 't',
        format('(SELECT %s FROM tally_new AS t) AS r', tally.source_columns(p_source_no, 't')), p_at, p_in_trigger)
      WHEN 'DELETE' THEN tally.queue_rows_sql(p_source_no, 'D', 't',
        format('(SELECT %s FROM tally_old AS t) AS r', tally.source_columns(p_source_no, 't')), p_at, p_in_trigger)
      ELSE tally.queue_rows_sql(p_source_no, 'r.op', 't',
        CASE WHEN p_counted THEN tally.counted_rows_sql(p_source_no) ELSE tally.updated_rows_sql(p_source_no) END, p_at, p_in_trigger)
    END
$$;
COMMENT ON FUNCTION tally.capture_insert_sql(integer, text, text, boolean, boolean) IS 'The statement of a trigger: from the transition tables tally_old and tally_new into the queue.';

CREATE FUNCTION tally.capture_settings(p_source_no integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  SELECT coalesce(string_agg(v.clause, ' ' ORDER BY v.setting), '')
  FROM (
    SELECT DISTINCT unnest(tally.output_settings(a.atttypid)) AS setting
    FROM tally.verification_sources AS s
    CROSS JOIN LATERAL unnest(tally.needed_columns(p_source_no)) AS n (name)
    INNER JOIN pg_attribute AS a ON a.attrelid = s.relation AND a.attname = n.name AND NOT a.attisdropped
    WHERE s.source_no = p_source_no
  ) AS d
  INNER JOIN (VALUES
    ('timezone', 'SET timezone = ''UTC'''), ('datestyle', 'SET datestyle = ''ISO, YMD'''),
    ('intervalstyle', 'SET intervalstyle = ''postgres'''), ('bytea_output', 'SET bytea_output = ''hex'''),
    ('extra_float_digits', 'SET extra_float_digits = 1'), ('lc_monetary', 'SET lc_monetary = ''C''')
  ) AS v (setting, clause) USING (setting)
$$;
COMMENT ON FUNCTION tally.capture_settings(integer) IS 'The SET clauses that the output of a source''s columns needs.';

CREATE FUNCTION tally.set_output_formats(p_formats text[]) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  names CONSTANT text[] := '{bytea_output,datestyle,extra_float_digits,intervalstyle,lc_monetary,timezone}';
  before CONSTANT text[] := ARRAY(SELECT current_setting(n.name) FROM unnest(names) WITH ORDINALITY AS n (name, place) ORDER BY n.place);
BEGIN
  PERFORM set_config(f.name, f.value, true) FROM unnest(names, p_formats) AS f (name, value);
  RETURN before;
END $$;
COMMENT ON FUNCTION tally.set_output_formats(text[]) IS
  'Sets bytea_output, datestyle, extra_float_digits, intervalstyle, lc_monetary and timezone for the rest of the transaction; returns what they were.';

CREATE FUNCTION tally.pin_output_formats() RETURNS text[]
LANGUAGE sql SET search_path = pg_catalog
AS $$ SELECT tally.set_output_formats('{hex,"ISO, YMD",1,postgres,C,UTC}') $$;
COMMENT ON FUNCTION tally.pin_output_formats() IS
  'For the rest of the transaction prints values as records hold them; who runs a capture_select outside a trigger calls it first, under search_path = pg_catalog. Returns what the formats were.';

CREATE FUNCTION tally.capture_branch(p_source_no integer, p_op text, p_rule tally.capture_rule) RETURNS text
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
  static_sql := format(E'here.middle := %s;\n    %s',
    tally.middle_sql(p_source_no, CASE p_op WHEN 'INSERT' THEN 'I' WHEN 'DELETE' THEN 'D' ELSE 'r.op' END,
      tally.private_sql(p_source_no, 'r', 'r.salt', '{}') IS NOT NULL, false),
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
COMMENT ON FUNCTION tally.capture_branch(integer, text, tally.capture_rule) IS 'The part of a generated trigger function that one operation needs.';

CREATE FUNCTION tally.create_capture(source_no integer) RETURNS void
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
  middle text;
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
  EXECUTE format('CREATE OR REPLACE FUNCTION tally.capture_%s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog %s AS %L',
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
COMMENT ON FUNCTION tally.create_capture(integer) IS
  'Generates the functions of a source from the catalogue, and notes for which columns: tally.capture_<n>() and tally.truncate_<n>().';

CREATE FUNCTION tally.capture_truncate(p_source_no integer, p_relation oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog SET row_security = off
AS $$
DECLARE
  source tally.verification_sources;
  at CONSTANT timestamptz := tally.clock();
  record_bytes bytea;
  salt bytea;
BEGIN
  SELECT * INTO STRICT source FROM tally.verification_sources WHERE source_no = p_source_no;
  IF source.on_truncate = 'refuse' THEN
    PERFORM tally.refuse('TS101', format('%s is sealed in log %s, which refuses TRUNCATE', source.source_table, source.log_name),
      jsonb_build_object('table', source.source_table, 'log', source.log_name, 'operation', 'TRUNCATE'));
  END IF;
  -- A truncate leaf ends all keys of the source, so it is only for a table that is the whole source.
  IF source.on_truncate = 'expand' OR p_relation <> source.relation
     OR EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = source.relation) THEN
    EXECUTE 'INSERT INTO tally.capture (log_id, source_no, op, via, source_key, source_id, leaf, salt, record, problem, captured_at) '
      || tally.capture_select(p_source_no, 'D', 't', format('ONLY %s AS t', p_relation::regclass), 't');
    RETURN;
  END IF;
  record_bytes := convert_to(E'tallystick/seal-record/v1\n' || tally.canonical(jsonb_build_object(
    'actor', nullif(current_setting('tally.actor', true), ''),
    'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'key', '[]'::jsonb, 'log', source.log_name, 'op', 'truncate', 'role', session_user, 'row', NULL,
    'table', tally.record_table(p_source_no), 'tx', pg_current_xact_id()::text, 'via', 'trigger')), 'UTF8');
  IF source.leaf_form <> 'record' THEN
    EXECUTE 'SELECT ' || tally.salt_sql() INTO salt;
  END IF;
  INSERT INTO tally.capture (log_id, source_no, op, via, source_key, leaf, salt, record, captured_at)
  VALUES (
    source.log_id, p_source_no, 'T', 't', '[]',
    CASE WHEN salt IS NULL THEN record_bytes
         ELSE sha256(convert_to(E'tallystick/seal-salted-record/v1\n', 'UTF8') || '\x00'::bytea || salt || record_bytes) END,
    salt, CASE WHEN salt IS NOT NULL THEN record_bytes END, at);
END $$;
COMMENT ON FUNCTION tally.capture_truncate(integer, oid) IS 'What a TRUNCATE of a table of a source does, as on_truncate says.';

CREATE FUNCTION tally.wanted_triggers(p_source_no integer)
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
  WHERE s.source_no = p_source_no AND t.is_wanted AND c.relkind IN ('r', 'p')
$$;
COMMENT ON FUNCTION tally.wanted_triggers(integer) IS 'The triggers that a source needs on its table and each descendant, with the statements that create them.';

CREATE FUNCTION tally.present_triggers(p_source_no integer)
RETURNS TABLE (relation oid, trigger_name text, is_enabled boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- By name; a name alone may be of another's trigger, so the function must be ours. One that a table's owner made in its
  -- place with a condition, or for other events, does not fire as ours does.
  SELECT t.tgrelid, t.tgname::text, t.tgenabled = 'A' AND t.tgqual IS NULL AND t.tgattr::text = '' AND CASE
    WHEN t.tgname = format('tally_%s_begin', p_source_no) THEN p.proname = 'begin_capture'
    WHEN t.tgname = format('tally_%s_truncate', p_source_no) THEN p.proname = format('truncate_%s', p_source_no) AND t.tgtype = 34
    ELSE p.proname = format('capture_%s', p_source_no) AND t.tgtype = CASE t.tgname
      WHEN format('tally_%s_insert', p_source_no) THEN 4 WHEN format('tally_%s_delete', p_source_no) THEN 8 ELSE 16 END
  END
  FROM pg_trigger AS t
  INNER JOIN pg_proc AS p ON p.oid = t.tgfoid AND p.pronamespace = 'tally'::regnamespace
  WHERE t.tgname = ANY (ARRAY(SELECT format('tally_%s_%s', p_source_no, k.kind) FROM unnest(ARRAY['begin', 'insert', 'update', 'delete', 'truncate']) AS k (kind)))
$$;
COMMENT ON FUNCTION tally.present_triggers(integer) IS 'The triggers that a source has, wherever they stand, and whether they fire always.';

CREATE FUNCTION tally.create_capture_triggers(source_no integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  wanted record;
BEGIN
  FOR wanted IN
    SELECT w.relation::regclass AS relation, w.trigger_name, w.definition
    FROM tally.wanted_triggers(create_capture_triggers.source_no) AS w
    WHERE NOT EXISTS (
      SELECT FROM tally.present_triggers(create_capture_triggers.source_no) AS p
      WHERE p.relation = w.relation AND p.trigger_name = w.trigger_name)
    ORDER BY w.relation, w.trigger_name
  LOOP
    EXECUTE wanted.definition;
    EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', wanted.relation, wanted.trigger_name);
  END LOOP;
END $$;
COMMENT ON FUNCTION tally.create_capture_triggers(integer) IS
  'Creates the triggers that a source lacks on its table and each descendant, ENABLE ALWAYS; the caller owns the tables.';

CREATE FUNCTION tally.switch_capture_triggers(source_no integer, enabled boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  present record;
BEGIN
  FOR present IN
    SELECT p.relation::regclass AS relation, p.trigger_name FROM tally.present_triggers(switch_capture_triggers.source_no) AS p
    WHERE p.is_enabled <> enabled
    ORDER BY p.relation, p.trigger_name
  LOOP
    EXECUTE format('ALTER TABLE ONLY %s %s TRIGGER %I', present.relation,
      CASE WHEN enabled THEN 'ENABLE ALWAYS' ELSE 'DISABLE' END, present.trigger_name);
  END LOOP;
END $$;
COMMENT ON FUNCTION tally.switch_capture_triggers(integer, boolean) IS 'Enables (always) or disables the triggers of a source; the caller owns the tables.';

CREATE FUNCTION tally.drop_capture(source_no integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  EXECUTE format('DROP FUNCTION IF EXISTS tally.capture_%1$s(), tally.truncate_%1$s()', source_no);
END $$;
COMMENT ON FUNCTION tally.drop_capture(integer) IS 'Drops the generated functions of a source, once no trigger uses them.';

CREATE FUNCTION tally.drop_capture_triggers(source_no integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  present record;
BEGIN
  FOR present IN
    SELECT p.relation::regclass AS relation, p.trigger_name FROM tally.present_triggers(drop_capture_triggers.source_no) AS p
    ORDER BY p.relation, p.trigger_name
  LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', present.trigger_name, present.relation);
  END LOOP;
  PERFORM tally.drop_capture(drop_capture_triggers.source_no);
END $$;
COMMENT ON FUNCTION tally.drop_capture_triggers(integer) IS 'Drops the triggers of a source wherever they stand, and its functions; the caller owns the tables.';

REVOKE EXECUTE ON FUNCTION tally.create_capture(integer), tally.drop_capture(integer), tally.queue_control(integer, integer, text, jsonb)
  FROM PUBLIC;
