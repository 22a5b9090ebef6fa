-- Pruning: raising a log's minimum_index, and deleting the leaves below it (log.md, sections 2.1, 2.4, 4.8).

CREATE FUNCTION tally.refuse_pruning(p_log_name text, p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  PERFORM tally.refuse('TS105', format('log %s is not pruned: %s', p_log_name, p_reason),
    jsonb_build_object('log', p_log_name, 'reason', p_reason));
END $$;
COMMENT ON FUNCTION tally.refuse_pruning(text, text) IS 'Raises TS105 with the reason.';

CREATE FUNCTION tally.prune_log_v1(
  p_log_id integer, p_to_index bigint, p_export_url text, p_manifest_sha256 bytea, p_actor text, p_reason text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  log tally.verification_logs;
BEGIN
  SELECT * INTO STRICT log FROM tally.verification_logs WHERE log_id = p_log_id FOR NO KEY UPDATE;
  IF log.status = 'failed' THEN
    PERFORM tally.refuse('TS108', format('log %s contradicts itself: nothing of it is deleted', log.log_name),
      jsonb_build_object('log', log.log_name));
  END IF;
  IF p_to_index = log.minimum_index THEN
    RETURN log.minimum_index; -- said before: what is left to delete may still be deleted
  END IF;
  IF p_to_index < log.minimum_index THEN
    PERFORM tally.refuse_pruning(log.log_name, format('its minimum index is %s and only grows', log.minimum_index));
  END IF;
  -- A bundle holds 256 entries, and is served and exported whole or not at all.
  IF p_to_index % 256 <> 0 THEN
    PERFORM tally.refuse_pruning(log.log_name, format('%s is no multiple of 256, the entries of one bundle', p_to_index));
  END IF;
  -- A log without a retention policy is not pruned (C2SP tlog-tiles, "Retention Policies").
  IF log.retain_until IS NULL THEN
    PERFORM tally.refuse_pruning(log.log_name, 'nobody has said until when it is retained');
  END IF;
  IF log.retain_until > tally.clock() THEN
    PERFORM tally.refuse_pruning(log.log_name, format('it is retained until %s', to_char(
      log.retain_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')));
  END IF;
  -- The export must have been found clean, must be of this very tree, and must hold every entry that goes.
  IF NOT EXISTS (
    SELECT FROM tally.audits AS a
    INNER JOIN tally.checkpoints AS c ON c.log_id = a.log_id AND c.tree_size = a.tree_size AND c.root_hash = a.root_hash
    WHERE a.log_id = p_log_id AND a.kind = 'export' AND a.verdict = 'clean' AND a.tree_size >= p_to_index
      AND a.counts #>> '{export,url}' = p_export_url
      AND a.counts #>> '{export,manifest_sha256}' = encode(p_manifest_sha256, 'hex')
      AND (a.counts #>> '{export,minimum_index}')::bigint <= log.minimum_index
  ) THEN
    PERFORM tally.refuse_pruning(log.log_name, format(
      'no clean check of the export %s, as it is now, with the entries %s to %s is recorded',
      p_export_url, log.minimum_index, p_to_index - 1));
  END IF;
  INSERT INTO tally.prunings (log_id, from_index, to_index, export_url, manifest_sha256, actor, reason)
  VALUES (p_log_id, log.minimum_index, p_to_index, p_export_url, p_manifest_sha256, p_actor, p_reason);
  UPDATE tally.verification_logs SET minimum_index = p_to_index WHERE log_id = p_log_id;
  RETURN log.minimum_index;
END $$;
COMMENT ON FUNCTION tally.prune_log_v1(integer, bigint, text, bytea, text, text) IS
  'Raises a log''s minimum index, once a verified export holds what goes and nothing of it must be retained; returns the index before.';

CREATE FUNCTION tally.delete_pruned_v1(p_log_id integer, p_from_index bigint, p_leaves integer)
RETURNS TABLE (next_index bigint, leaves_deleted bigint, leaves_kept bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET jit = off
AS $$
BEGIN
  -- What the log last said of a row that still stands is what its table is compared with: it stays. A delete ends a key, a
  -- truncate every key of its table before it. Rows of a table without a key are counted, so each of their leaves counts.
  RETURN QUERY
  WITH seen AS MATERIALIZED (
    SELECT m.leaf_index, m.source_table, m.source_key, m.op
    FROM tally.merkle_log AS m
    WHERE m.log_id = p_log_id AND m.leaf_index >= p_from_index
      AND m.leaf_index < (SELECT l.minimum_index FROM tally.verification_logs AS l WHERE l.log_id = p_log_id)
    ORDER BY m.leaf_index LIMIT p_leaves
  ), ends AS MATERIALIZED (
    SELECT t.source_table, t.is_counted, (
      SELECT max(m.leaf_index) FROM tally.merkle_log AS m
      WHERE m.log_id = p_log_id AND m.source_table = t.source_table AND m.source_key = '[]' AND m.op = 'T') AS truncated_at
    FROM (
      SELECT s.source_table, (SELECT v.key_columns = '{}' FROM tally.verification_sources AS v
                              WHERE v.log_id = p_log_id AND v.source_table = s.source_table) AS is_counted
      FROM seen AS s WHERE s.source_table IS NOT NULL GROUP BY s.source_table) AS t
  ), unneeded AS MATERIALIZED (
    SELECT s.leaf_index
    FROM seen AS s LEFT JOIN ends AS e ON e.source_table = s.source_table
    WHERE CASE
      WHEN s.source_table IS NULL OR s.op NOT IN ('I', 'U', 'D') THEN true
      WHEN s.leaf_index < e.truncated_at THEN true
      WHEN e.is_counted THEN false
      WHEN s.op = 'D' THEN true
      ELSE EXISTS (
        SELECT FROM tally.merkle_log AS later
        WHERE later.log_id = p_log_id AND later.source_table = s.source_table AND later.source_key = s.source_key
          AND later.leaf_index > s.leaf_index AND later.op IN ('I', 'U', 'D'))
    END
  ), records AS (
    DELETE FROM tally.leaf_records AS k USING unneeded AS u WHERE k.log_id = p_log_id AND k.leaf_index = u.leaf_index
  ), leaves AS (
    DELETE FROM tally.merkle_log AS m USING unneeded AS u WHERE m.log_id = p_log_id AND m.leaf_index = u.leaf_index
    RETURNING m.leaf_index
  )
  SELECT (SELECT max(s.leaf_index) + 1 FROM seen AS s), (SELECT count(*) FROM leaves),
         (SELECT count(*) FROM seen) - (SELECT count(*) FROM leaves);
END $$;
COMMENT ON FUNCTION tally.delete_pruned_v1(integer, bigint, integer) IS
  'Deletes, of the next leaves below the minimum index, those that no row of a table needs; next_index is NULL once there are none.';

REVOKE EXECUTE ON FUNCTION
  tally.refuse_pruning(text, text), tally.prune_log_v1(integer, bigint, text, bytea, text, text),
  tally.delete_pruned_v1(integer, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.prune_log_v1(integer, bigint, text, bytea, text, text), tally.delete_pruned_v1(integer, bigint, integer) TO tally_app;
