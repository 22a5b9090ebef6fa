-- Erasing what a leaf hides, while leaf, proofs and root stay valid (log.md, sections 2.5, 4.4, 5.3).

-- A record leaves only with its redaction, or with its pruned leaf: facts decide, not the caller.
CREATE FUNCTION tally.guard_erasure() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM tally.redactions AS r WHERE r.log_id = OLD.log_id AND r.leaf_index = OLD.leaf_index)
     AND OLD.leaf_index >= (SELECT l.minimum_index FROM tally.verification_logs AS l WHERE l.log_id = OLD.log_id) THEN
    PERFORM tally.refuse('TS002', format('%s is append-only: DELETE is refused', TG_TABLE_NAME),
      jsonb_build_object('table', TG_TABLE_NAME, 'operation', 'DELETE'));
  END IF;
  RETURN OLD;
END $$;
COMMENT ON FUNCTION tally.guard_erasure() IS 'Lets plain records go only with their redaction or with their pruned leaves.';
SELECT tally.keep_evidence('tally.leaf_records', 'UPDATE OR TRUNCATE');
CREATE TRIGGER guard_erasure BEFORE DELETE ON tally.leaf_records FOR EACH ROW EXECUTE FUNCTION tally.guard_erasure();
ALTER TABLE tally.leaf_records ENABLE ALWAYS TRIGGER guard_erasure;

-- ANALYZE would copy sampled values into the planner's statistics, where no redaction finds them.
ALTER TABLE tally.leaf_records ALTER COLUMN salt SET STATISTICS 0, ALTER COLUMN record SET STATISTICS 0;
ALTER TABLE tally.capture ALTER COLUMN leaf SET STATISTICS 0, ALTER COLUMN salt SET STATISTICS 0, ALTER COLUMN record SET STATISTICS 0;
ALTER TABLE tally.capture_quarantine
  ALTER COLUMN leaf SET STATISTICS 0, ALTER COLUMN salt SET STATISTICS 0, ALTER COLUMN record SET STATISTICS 0;

CREATE FUNCTION tally.key_indexes_v1(p_log_id integer, p_source_table text, p_keys text[]) RETURNS bigint[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$
  SELECT coalesce(array_agg(m.leaf_index ORDER BY m.leaf_index), '{}')
  FROM tally.merkle_log AS m
  WHERE m.log_id = p_log_id AND m.source_table = p_source_table AND m.source_key = ANY (p_keys)
    AND (EXISTS (SELECT FROM tally.leaf_records AS k WHERE k.log_id = m.log_id AND k.leaf_index = m.leaf_index)
         OR EXISTS (SELECT FROM tally.redactions AS r WHERE r.log_id = m.log_id AND r.leaf_index = m.leaf_index))
$$;
COMMENT ON FUNCTION tally.key_indexes_v1(integer, text, text[]) IS 'The leaves of some keys that have a record to erase, or had one.';

CREATE FUNCTION tally.redact_leaves_v1(
  p_log_id integer, p_indexes bigint[], p_actor text, p_reason text, p_legal_basis text, p_whole_keys boolean DEFAULT false
) RETURNS TABLE (redacted bigint[], redacted_before bigint[], quarantined bigint, standing bigint, elsewhere text[], is_in_log boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
<<here>>
DECLARE
  log tally.verification_logs;
  wanted bigint[];
  clear bigint[];
  waiting bigint;
BEGIN
  -- In this order, always: a freeze waits for pushes and for us, and one redaction of a log for the other.
  PERFORM pg_advisory_xact_lock_shared(1952541818, p_log_id);
  SELECT l.* INTO STRICT log FROM tally.verification_logs AS l WHERE l.log_id = p_log_id FOR NO KEY UPDATE;

  SELECT coalesce(array_agg(i.leaf_index ORDER BY i.leaf_index), '{}') INTO redacted_before
  FROM (SELECT DISTINCT u.leaf_index FROM unnest(p_indexes) AS u (leaf_index)) AS i
  INNER JOIN tally.redactions AS r ON r.log_id = p_log_id AND r.leaf_index = i.leaf_index;
  -- One statement, because sealing moves rows: by one snapshot each of them is in the queue or in the log, by two it may be in neither.
  WITH asked AS (
    SELECT DISTINCT u.leaf_index FROM unnest(p_indexes) AS u (leaf_index)
  ), keys AS (
    SELECT DISTINCT m.source_table, m.source_key
    FROM asked AS a INNER JOIN tally.merkle_log AS m ON m.log_id = p_log_id AND m.leaf_index = a.leaf_index
    WHERE m.source_table IS NOT NULL
  ), hiding AS (
    SELECT k.leaf_index, k.salt, k.record
    FROM asked AS a INNER JOIN tally.leaf_records AS k ON k.log_id = p_log_id AND k.leaf_index = a.leaf_index
  ), erased AS (
    SELECT h.leaf_index FROM hiding AS h
    UNION
    -- A delete that a reconcile made repeats the record before it, salt and all: one cannot go without the other. Whole keys are
    -- looked up again, for versions may have been sealed since the caller did.
    SELECT k.leaf_index
    FROM keys AS e
    INNER JOIN tally.merkle_log AS m ON m.log_id = p_log_id AND m.source_table = e.source_table AND m.source_key = e.source_key
    INNER JOIN tally.leaf_records AS k ON k.log_id = m.log_id AND k.leaf_index = m.leaf_index
    WHERE p_whole_keys OR EXISTS (SELECT FROM hiding AS h WHERE h.record = k.record AND h.salt IS NOT DISTINCT FROM k.salt)
  )
  SELECT
    (SELECT coalesce(array_agg(r.leaf_index ORDER BY r.leaf_index), '{}') FROM erased AS r),
    (SELECT coalesce(array_agg(a.leaf_index ORDER BY a.leaf_index), '{}') FROM asked AS a
     WHERE a.leaf_index NOT IN (SELECT h.leaf_index FROM hiding AS h) AND a.leaf_index <> ALL (redacted_before)),
    -- What waits would be sealed with its salt a moment later, behind the back of this redaction.
    (SELECT count(*)
     FROM keys AS e
     INNER JOIN tally.verification_sources AS s ON s.log_id = p_log_id AND s.source_table = e.source_table
     INNER JOIN tally.capture AS q ON q.log_id = p_log_id AND q.source_no = s.source_no AND q.source_key = e.source_key
     WHERE q.record IS NOT NULL AND (p_whole_keys OR EXISTS (
       SELECT FROM hiding AS h WHERE h.record = q.record AND h.salt IS NOT DISTINCT FROM q.salt)))
  INTO wanted, clear, waiting;
  IF clear <> '{}' THEN
    PERFORM tally.refuse('TS120', format('log %s has nothing to erase at %s: what stands in clear stays', log.log_name,
        array_to_string(clear[:20], ', ') || CASE WHEN cardinality(clear) > 20 THEN ', ...' ELSE '' END),
      jsonb_build_object('log', log.log_name, 'indexes', to_jsonb(clear)));
  END IF;

  IF waiting > 0 THEN
    PERFORM tally.refuse('TS121', format('%s rows of these keys wait to be sealed in log %s', waiting, log.log_name),
      jsonb_build_object('log', log.log_name, 'rows', waiting));
  END IF;

  INSERT INTO tally.redactions (log_id, leaf_index, actor, reason, legal_basis)
  SELECT p_log_id, w.leaf_index, p_actor, p_reason, p_legal_basis FROM unnest(wanted) AS w (leaf_index) ORDER BY w.leaf_index;
  DELETE FROM tally.leaf_records AS k WHERE k.log_id = p_log_id AND k.leaf_index = ANY (wanted);
  redacted := ARRAY(SELECT w.leaf_index FROM unnest(wanted) AS w (leaf_index) ORDER BY w.leaf_index);

  -- Rows that could not be sealed hold the same person's values, and nobody needs their bytes: a requeue reads the table.
  UPDATE tally.capture_quarantine AS z SET leaf = NULL, salt = NULL, record = NULL
  FROM (SELECT DISTINCT m.source_table, m.source_key FROM tally.merkle_log AS m
        WHERE m.log_id = p_log_id AND m.leaf_index = ANY (wanted || redacted_before)) AS e
  WHERE z.log_id = p_log_id AND z.source_table = e.source_table AND z.source_key = e.source_key
    AND coalesce(z.leaf, z.salt, z.record) IS NOT NULL;
  GET DIAGNOSTICS quarantined = ROW_COUNT;

  SELECT count(*) INTO standing
  FROM (SELECT DISTINCT m.source_table, m.source_key FROM tally.merkle_log AS m
        WHERE m.log_id = p_log_id AND m.leaf_index = ANY (wanted || redacted_before)) AS e
  WHERE (SELECT o.op FROM tally.merkle_log AS o
         WHERE o.log_id = p_log_id AND o.source_table = e.source_table AND o.source_key = e.source_key
         ORDER BY o.leaf_index DESC LIMIT 1) IN ('I', 'U');
  -- Other logs that the table feeds, and those that they continue, keep records of their own, under their own salts.
  WITH RECURSIVE erased AS (
    SELECT DISTINCT m.source_table, m.source_key FROM tally.merkle_log AS m
    WHERE m.log_id = p_log_id AND m.leaf_index = ANY (wanted || redacted_before)
  ), feeding AS (
    SELECT s.log_id FROM tally.verification_sources AS s WHERE s.source_table IN (SELECT e.source_table FROM erased AS e)
    UNION
    SELECT l.predecessor_log_id FROM feeding AS f INNER JOIN tally.verification_logs AS l ON l.log_id = f.log_id
    WHERE l.predecessor_log_id IS NOT NULL
  )
  SELECT coalesce(array_agg(DISTINCT o.log_name), '{}') INTO elsewhere
  FROM feeding AS f CROSS JOIN erased AS e
  INNER JOIN tally.merkle_log AS o ON o.log_id = f.log_id AND o.source_table = e.source_table AND o.source_key = e.source_key
  INNER JOIN tally.leaf_records AS k ON k.log_id = o.log_id AND k.leaf_index = o.leaf_index
  WHERE f.log_id <> p_log_id;

  -- Behind its freeze a log takes no leaf; the house log tells of the redaction in any case.
  is_in_log := redacted <> '{}' AND log.control_leaves AND log.status <> 'frozen' AND log.freeze_requested_at IS NULL;
  IF is_in_log THEN
    PERFORM tally.queue_control(p_log_id, NULL, 'redact', jsonb_build_object('indexes', to_jsonb(redacted), 'reason', p_reason));
  END IF;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION tally.redact_leaves_v1(integer, bigint[], text, text, text, boolean) IS
  'Erases salt and record of some leaves, and of those that repeat them; writes redactions and a redact leaf. What was erased before stays so.';

-- Replaces the one of 0009: a salted leaf whose record was erased leaves nothing of its row but the key.
CREATE OR REPLACE FUNCTION tally.queue_missing_row(p_source_no integer, p_key text) RETURNS void
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
  -- A redaction waits for us, and refuses then, or we for it: else this copy of a record would outlive it.
  PERFORM tally.hold_records(p_source_no);
  -- The row is gone: what the log last said of it is what is deleted.
  EXECUTE 'SELECT s.leaf, s.salt, s.record FROM (' || tally.said_sql(p_source_no) || ') AS s' INTO said USING ARRAY[p_key];
  record := CASE
    WHEN source.leaf_form = 'record' THEN convert_from(substr(said.leaf, 27), 'UTF8')::json
    WHEN source.leaf_form = 'salted' AND said.record IS NOT NULL THEN convert_from(substr(said.record, 27), 'UTF8')::json
    -- A leaf of form column, and one whose record was erased, tells nothing of its row but the key.
    ELSE json_build_object('row', (SELECT json_object_agg(c.name, k.value ORDER BY tally.utf16_order(c.name))
      FROM json_array_elements_text(p_key::json) WITH ORDINALITY AS k (value, nth)
      INNER JOIN unnest(source.key_columns) WITH ORDINALITY AS c (name, nth) ON c.nth = k.nth))
  END;
  leaf := convert_to(concat(
    E'tallystick/seal-record/v1\n{"actor":', coalesce(to_json(nullif(current_setting('tally.actor', true), ''))::text, 'null'),
    ',"at":"', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '","key":', p_key,
    ',"large":' || (record -> 'large')::text, ',"log":', to_json(source.log_name)::text, ',"op":"delete"',
    ',"private":' || (record -> 'private')::text, ',"role":', to_json(session_user::text)::text,
    ',"row":', CASE WHEN source.leaf_form = 'column' OR (source.leaf_form = 'salted' AND said.record IS NULL)
                    THEN tally.canonical((record -> 'row')::jsonb) ELSE (record -> 'row')::text END,
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

-- What findings keep ---------------------------------------------------------------------------

CREATE FUNCTION tally.finding_digest(p_leaf_form text, p_salt bytea, p_text text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
  SELECT CASE WHEN p_leaf_form <> 'salted' THEN sha256(convert_to(p_text, 'UTF8'))
              WHEN p_salt IS NOT NULL THEN sha256(p_salt || convert_to(p_text, 'UTF8')) END
$$;
COMMENT ON FUNCTION tally.finding_digest(text, bytea, text) IS
  'The digest of one side of a finding; of a salted row under its salt, so that none confirms a guess once the salt is erased.';

-- Findings are evidence and stay: compare_rows gives digests of salted rows only under their salt. The rest of it is as it was.
DO $patch$
DECLARE
  definition text := pg_get_functiondef('tally.compare_rows(integer,text[])'::regprocedure);
  change text[];
BEGIN
  FOREACH change SLICE 1 IN ARRAY ARRAY[
    ['sha256(convert_to(d.said, ''UTF8'')), sha256(convert_to(d.found, ''UTF8''))',
     'tally.finding_digest(%8$L, d.salt, d.said), tally.finding_digest(%8$L, d.salt, d.found)'],
    ['s.leaf_index, %1$s AS said', 's.leaf_index, s.salt, %1$s AS said'],
    ['tally.said_sql(p_source_no), source.relation::regclass)', 'tally.said_sql(p_source_no), source.relation::regclass, source.leaf_form)']
  ] LOOP
    ASSERT position(change[1] IN definition) > 0, change[1];
    definition := replace(definition, change[1], change[2]);
  END LOOP;
  EXECUTE definition;
END $patch$;

REVOKE EXECUTE ON FUNCTION tally.guard_erasure(), tally.finding_digest(text, bytea, text),
  tally.key_indexes_v1(integer, text, text[]), tally.redact_leaves_v1(integer, bigint[], text, text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tally.key_indexes_v1(integer, text, text[]),
  tally.redact_leaves_v1(integer, bigint[], text, text, text, boolean) TO tally_app;
