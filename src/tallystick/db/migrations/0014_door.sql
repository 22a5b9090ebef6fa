-- The push door: entries that no table holds go straight into the queue (log.md, sections 3.3, 4.4, 5.2).

-- Pushes that look for their double look by hash, as proofs by hash do: 4 bytes of it find a leaf as well as 8, and whoever looks
-- compares the hash itself. The index takes 28 bytes a leaf instead of 42 (docs/adr/0017).
CREATE FUNCTION tally.hash_start(hash bytea) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT (pg_catalog.get_byte(hash, 0) OPERATOR(pg_catalog.<<) 24) OPERATOR(pg_catalog.|) (pg_catalog.get_byte(hash, 1) OPERATOR(pg_catalog.<<) 16)
    OPERATOR(pg_catalog.|) (pg_catalog.get_byte(hash, 2) OPERATOR(pg_catalog.<<) 8) OPERATOR(pg_catalog.|) pg_catalog.get_byte(hash, 3)
$$;
COMMENT ON FUNCTION tally.hash_start(bytea) IS 'The first 4 bytes of a hash as an integer, for an index that is narrow; whoever uses it compares the hash too.';
GRANT EXECUTE ON FUNCTION tally.hash_start(bytea) TO PUBLIC;

DROP INDEX tally.merkle_log_by_hash;
CREATE INDEX merkle_log_by_hash ON tally.merkle_log (log_id, tally.hash_start(leaf_hash));

CREATE FUNCTION tally.append_entries_v1(p_log_id integer, p_entries bytea[], p_deduplicate boolean[], p_max_backlog bigint)
RETURNS TABLE (tree_size bigint, seqs bigint[], indexes bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
  drawn bigint;
  sealed_to bigint;
BEGIN
  -- Shared by pushes; whoever requests a freeze waits for them and keeps later ones out.
  PERFORM pg_advisory_xact_lock_shared(1952541818, p_log_id);
  IF true = ANY (p_deduplicate) THEN
    -- Two of them at once would not see each other's entry. It is let go after the commit is visible.
    PERFORM pg_advisory_xact_lock(1952541821, p_log_id);
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    -- An older snapshot may not show that a freeze was requested; a row that changed since cannot be locked (40001).
    PERFORM FROM tally.verification_logs AS l WHERE l.log_id = p_log_id FOR SHARE;
  END IF;
  SELECT * INTO STRICT log FROM tally.verification_logs AS l WHERE l.log_id = p_log_id;
  IF log.status = 'failed' THEN
    PERFORM tally.refuse('TS108', format('log %s has failed and takes no entries', log.log_name),
      jsonb_build_object('log', log.log_name));
  ELSIF log.status = 'frozen' OR log.freeze_requested_at IS NOT NULL THEN
    PERFORM tally.refuse('TS107', format('log %s is frozen, or its freeze was requested', log.log_name),
      jsonb_build_object('log', log.log_name));
  ELSIF NOT log.accepts_entries THEN
    PERFORM tally.refuse('TS130', format('log %s takes no pushed entries', log.log_name),
      jsonb_build_object('log', log.log_name));
  END IF;
  IF EXISTS (
    SELECT FROM unnest(p_entries) AS e (entry)
    WHERE octet_length(e.entry) NOT BETWEEN 1 AND 65535 OR substr(e.entry, 1, 11) = '\x74616c6c79737469636b2f'
  ) OR array_position(p_entries, NULL) IS NOT NULL OR cardinality(p_entries) IS DISTINCT FROM cardinality(p_deduplicate) THEN
    RAISE EXCEPTION 'an entry has 1 to 65,535 bytes, the first not tallystick/' USING ERRCODE = 'invalid_parameter_value';
  END IF;

  -- What was drawn since the last leaf is at least what waits; only where that is much are the rows counted. Both start
  -- behind the last leaf: entries of sealed rows stand in front of the queue's index, and whoever drew earlier and commits
  -- later is one of few.
  SELECT s.last_value INTO drawn FROM tally.capture_seq AS s;
  sealed_to := coalesce(
    (SELECT m.seq FROM tally.merkle_log AS m WHERE m.log_id = p_log_id ORDER BY m.leaf_index DESC LIMIT 1), 0);
  IF drawn - sealed_to >= p_max_backlog AND EXISTS (
    SELECT FROM tally.capture AS q WHERE q.log_id = p_log_id AND q.seq > sealed_to OFFSET p_max_backlog - 1
  ) THEN
    PERFORM tally.refuse('TS131', format('%s rows wait to be sealed in log %s; try again later', p_max_backlog, log.log_name),
      jsonb_build_object('log', log.log_name, 'max_backlog', p_max_backlog));
  END IF;

  -- A transaction has its id before it draws a seq: the sequencer's floor builds on it.
  PERFORM pg_current_xact_id();
  IF NOT true = ANY (p_deduplicate) THEN
    RETURN QUERY
    WITH placed AS MATERIALIZED (
      SELECT e.place, e.entry, nextval('tally.capture_seq') AS seq
      FROM unnest(p_entries) WITH ORDINALITY AS e (entry, place)
    ), queued AS (
      INSERT INTO tally.capture (log_id, seq, op, via, source_key, leaf, captured_at)
      SELECT p_log_id, p.seq, 'A', 'a', '[]', p.entry, tally.clock() FROM placed AS p
    )
    SELECT
      coalesce((SELECT max(c.tree_size) FROM tally.checkpoints AS c WHERE c.log_id = p_log_id), 0),
      coalesce(array_agg(p.seq ORDER BY p.place), '{}'), coalesce(array_agg(NULL::bigint), '{}')
    FROM placed AS p;
    RETURN;
  END IF;

  -- One statement is one snapshot: what it does not find among the leaves it finds in the queue, and the other way round.
  RETURN QUERY
  WITH wanted AS MATERIALIZED (
    SELECT
      e.place, e.entry, e.deduplicate, tally.leaf_hash(e.entry) AS leaf_hash,
      first_value(e.place) OVER (PARTITION BY e.entry ORDER BY e.place) AS first_place
    FROM unnest(p_entries, p_deduplicate) WITH ORDINALITY AS e (entry, deduplicate, place)
  ), known AS MATERIALIZED (
    SELECT w.place, m.leaf_index, NULL::bigint AS seq
    FROM wanted AS w
    CROSS JOIN LATERAL (
      SELECT l.leaf_index FROM tally.merkle_log AS l
      WHERE l.log_id = p_log_id AND tally.hash_start(l.leaf_hash) = tally.hash_start(w.leaf_hash)
        AND l.leaf_hash = w.leaf_hash AND l.leaf = w.entry
      ORDER BY l.leaf_index LIMIT 1
    ) AS m
    WHERE w.deduplicate
    UNION ALL
    SELECT w.place, NULL, min(q.seq)
    FROM wanted AS w INNER JOIN tally.capture AS q ON q.log_id = p_log_id AND q.leaf = w.entry
    WHERE w.deduplicate
    GROUP BY w.place
  ), earlier AS MATERIALIZED (
    -- A leaf stands before whatever waits.
    SELECT k.place, min(k.leaf_index) AS leaf_index, min(k.seq) AS seq FROM known AS k GROUP BY k.place
  ), placed AS MATERIALIZED (
    SELECT f.place, f.entry, nextval('tally.capture_seq') AS seq
    FROM (
      SELECT w.place, w.entry FROM wanted AS w
      WHERE NOT w.deduplicate
         OR (w.place = w.first_place AND NOT EXISTS (SELECT FROM earlier AS k WHERE k.place = w.place))
      ORDER BY w.place
    ) AS f
  ), queued AS (
    INSERT INTO tally.capture (log_id, seq, op, via, source_key, leaf, captured_at)
    SELECT p_log_id, p.seq, 'A', 'a', '[]', p.entry, tally.clock() FROM placed AS p
  )
  SELECT
    coalesce((SELECT max(c.tree_size) FROM tally.checkpoints AS c WHERE c.log_id = p_log_id), 0),
    array_agg(CASE WHEN k.leaf_index IS NULL THEN coalesce(k.seq, own.seq, first.seq) END ORDER BY w.place),
    array_agg(k.leaf_index ORDER BY w.place)
  FROM wanted AS w
  LEFT JOIN earlier AS k ON k.place = w.place
  LEFT JOIN placed AS own ON own.place = w.place
  LEFT JOIN placed AS first ON first.place = w.first_place;
END $$;
COMMENT ON FUNCTION tally.append_entries_v1(integer, bytea[], boolean[], bigint) IS
  'Queues entries of a log in their order: each one''s seq, or its index where deduplication finds a leaf, and the size to look from.';

CREATE FUNCTION tally.append_entry_v1(p_log_name text, p_entry bytea, p_deduplicate boolean DEFAULT false)
RETURNS TABLE (tree_size bigint, seq bigint, leaf_index bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  SELECT a.tree_size, a.seqs[1], a.indexes[1]
  FROM tally.verification_logs AS l
  CROSS JOIN LATERAL tally.append_entries_v1(l.log_id, ARRAY[p_entry], ARRAY[p_deduplicate], 100000) AS a
  WHERE l.log_name = p_log_name
$$;
COMMENT ON FUNCTION tally.append_entry_v1(text, bytea, boolean) IS
  'Queues one entry, for SQL: its leaf is the one of this seq, at or behind tree_size; or leaf_index is already known. No row: no such log.';

REVOKE EXECUTE ON FUNCTION
  tally.append_entries_v1(integer, bytea[], boolean[], bigint), tally.append_entry_v1(text, bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.append_entries_v1(integer, bytea[], boolean[], bigint), tally.append_entry_v1(text, bytea, boolean) TO tally_app;
