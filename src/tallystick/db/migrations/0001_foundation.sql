-- What every slice stands on: roles, time, types, state machines, append-only tables.
-- Runs as tally_owner with search_path = pg_catalog.

-- Roles belong to the cluster; another database of it may have made them already.
-- tally_owner cannot create roles, so the session's own role does, for these statements alone.
RESET ROLE;
DO $$
DECLARE
  role text;
BEGIN
  FOREACH role IN ARRAY ARRAY['tally_app', 'tally_reader', 'tally_auditor'] LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role);
      END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END LOOP;
END $$;
SET LOCAL ROLE tally_owner;
GRANT USAGE ON SCHEMA tally TO PUBLIC;

-- Comments -------------------------------------------------------------------------------------

CREATE FUNCTION tally.describe(relation regclass, comment text, columns jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  kind text := CASE (SELECT relkind FROM pg_class WHERE oid = relation) WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END;
  name text;
BEGIN
  EXECUTE format('COMMENT ON %s %s IS %L', kind, relation, comment);
  FOR name IN
    SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
  LOOP
    ASSERT columns ? name, format('column %s of %s has no comment', name, relation);
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', relation, name, columns ->> name);
  END LOOP;
END $$;
COMMENT ON FUNCTION tally.describe(regclass, text, jsonb) IS 'Comments a table or view and each of its columns; a column left out is an error.';

SELECT tally.describe('tally.schema_migrations', 'Applied migrations, each with the checksum of the file that was applied.', '{
  "number": "Number of the migration, gapless from 1.",
  "name": "File name without its ending.",
  "sha256": "SHA-256 of the file as it was applied.",
  "applied_at": "When it was applied.",
  "duration_ms": "How long it took, in milliseconds."}');

-- Time -----------------------------------------------------------------------------------------

CREATE FUNCTION tally.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
BEGIN ATOMIC
  SELECT clock_timestamp();
END;
COMMENT ON FUNCTION tally.clock() IS 'The time of facts; it moves within a transaction. Test databases may set it, others cannot.';

-- Types ----------------------------------------------------------------------------------------

CREATE DOMAIN tally.uint256 AS numeric(78, 0)
  CONSTRAINT amount_is_a_uint256 CHECK (VALUE >= 0 AND VALUE < 2::numeric ^ 256);
COMMENT ON DOMAIN tally.uint256 IS 'An amount in base units, 0 to 2^256 - 1.';

CREATE DOMAIN tally.sha256 AS bytea CONSTRAINT hash_is_sha256 CHECK (octet_length(VALUE) = 32);
COMMENT ON DOMAIN tally.sha256 IS 'A SHA-256 digest, 32 bytes.';

-- State machines -------------------------------------------------------------------------------

CREATE TABLE tally.status_transitions (
  table_name text COLLATE "C" NOT NULL,
  column_name text COLLATE "C" NOT NULL,
  from_status text COLLATE "C",
  to_status text COLLATE "C" NOT NULL,
  function_name text COLLATE "C" NOT NULL,
  condition text NOT NULL,
  CONSTRAINT transition_stands_once UNIQUE NULLS NOT DISTINCT (table_name, column_name, from_status, to_status)
);
SELECT tally.describe('tally.status_transitions', 'Every legal change of every status column; triggers, documents and tests read it.', '{
  "table_name": "Table in schema tally.",
  "column_name": "Its status column.",
  "from_status": "Status before; NULL is birth.",
  "to_status": "Status after.",
  "function_name": "The function that makes this transition.",
  "condition": "When it is allowed and what it does, in words."}');

CREATE FUNCTION tally.refuse(state text, message text, evidence jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = evidence::text;
END $$;
COMMENT ON FUNCTION tally.refuse(text, text, jsonb) IS 'Raises a reserved SQLSTATE with its evidence as JSON in DETAIL.';

CREATE FUNCTION tally.guard_transition() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  status_column CONSTANT text := TG_ARGV[0];
  status_before text;
  status_after text := to_jsonb(NEW) ->> status_column;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    status_before := to_jsonb(OLD) ->> status_column;
    IF status_before IS NOT DISTINCT FROM status_after THEN
      RETURN NEW;
    END IF;
  END IF;
  IF NOT EXISTS (
    SELECT FROM tally.status_transitions AS t
    WHERE t.table_name = TG_TABLE_NAME AND t.column_name = status_column
      AND t.from_status IS NOT DISTINCT FROM status_before AND t.to_status = status_after
  ) THEN
    PERFORM tally.refuse('TS001',
      format('%s.%s cannot go from %s to %s', TG_TABLE_NAME, status_column,
             coalesce(status_before, 'birth'), coalesce(status_after, 'null')),
      jsonb_build_object('table', TG_TABLE_NAME, 'column', status_column,
                         'from', status_before, 'to', status_after));
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.guard_transition() IS 'Refuses every change of a status column that is no row of status_transitions (TS001).';

CREATE FUNCTION tally.guard_status(guarded regclass, status_column text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  EXECUTE format(
    'CREATE TRIGGER guard_%1$s BEFORE INSERT OR UPDATE OF %1$I ON %2$s
     FOR EACH ROW EXECUTE FUNCTION tally.guard_transition(%1$L)', status_column, guarded);
END $$;
COMMENT ON FUNCTION tally.guard_status(regclass, text) IS 'Puts a status column under status_transitions.';

-- Append-only ----------------------------------------------------------------------------------

CREATE FUNCTION tally.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  PERFORM tally.refuse('TS002',
    format('%s is append-only: %s is refused', TG_TABLE_NAME, TG_OP),
    jsonb_build_object('table', TG_TABLE_NAME, 'operation', TG_OP));
  RETURN NULL;
END $$;
COMMENT ON FUNCTION tally.refuse_change() IS 'Refuses UPDATE, DELETE and TRUNCATE on evidence (TS002).';

CREATE FUNCTION tally.keep_evidence(evidence regclass, refused text DEFAULT 'UPDATE OR DELETE OR TRUNCATE')
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  EXECUTE format(
    'CREATE TRIGGER keep_evidence BEFORE %s ON %s FOR EACH STATEMENT EXECUTE FUNCTION tally.refuse_change()',
    refused, evidence);
  EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER keep_evidence', evidence);
END $$;
COMMENT ON FUNCTION tally.keep_evidence(regclass, text) IS 'Makes a table append-only, also for replication roles.';

SELECT tally.keep_evidence('tally.schema_migrations');
SELECT tally.keep_evidence('tally.status_transitions');

-- Hashes (RFC 6962, section 2.1) ---------------------------------------------------------------

CREATE FUNCTION tally.leaf_hash(leaf bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT pg_catalog.sha256('\x00'::bytea OPERATOR(pg_catalog.||) leaf) $$;
COMMENT ON FUNCTION tally.leaf_hash(bytea) IS 'RFC 6962 leaf hash: SHA-256(0x00 || leaf).';

CREATE FUNCTION tally.node_hash(left_hash bytea, right_hash bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT pg_catalog.sha256('\x01'::bytea OPERATOR(pg_catalog.||) left_hash OPERATOR(pg_catalog.||) right_hash) $$;
COMMENT ON FUNCTION tally.node_hash(bytea, bytea) IS 'RFC 6962 node hash: SHA-256(0x01 || left || right).';

CREATE FUNCTION tally.empty_root() RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.sha256('') $$;
COMMENT ON FUNCTION tally.empty_root() IS 'The root of the tree of size 0: SHA-256 of nothing.';

CREATE FUNCTION tally.hash_prefix(hash bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT ('x' OPERATOR(pg_catalog.||) pg_catalog.encode(pg_catalog.substr(hash, 1, 8), 'hex'))::pg_catalog.bit(64)::pg_catalog.int8 $$;
COMMENT ON FUNCTION tally.hash_prefix(bytea) IS 'The first 8 bytes of a hash as a bigint, for an index that is narrow.';
