-- The log of logs: the note of each log's new published head is a leaf of one log (log.md, section 9.2).

CREATE TABLE tally.taken_heads (
  log_id integer PRIMARY KEY REFERENCES tally.verification_logs ON DELETE RESTRICT,
  tree_size bigint NOT NULL CONSTRAINT tree_size_is_a_size CHECK (tree_size > 0),
  taken_at timestamptz NOT NULL DEFAULT tally.clock()
) WITH (fillfactor = 50);
SELECT tally.describe('tally.taken_heads', 'How far the log of logs has come with each log; the notes themselves are its leaves.', '{
  "log_id": "The log.",
  "tree_size": "Greatest published size whose note was queued.",
  "taken_at": "When it was."}');

-- A note begins with its origin: as a leaf it must not begin like a record.
ALTER TABLE tally.verification_logs ADD CONSTRAINT origin_is_no_tag CHECK (NOT starts_with(origin, 'tallystick/'));

CREATE FUNCTION tally.take_heads_v1(p_log_name text, p_pause interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  heads tally.verification_logs;
  queued bigint;
BEGIN
  SELECT * INTO heads FROM tally.verification_logs WHERE log_name = p_log_name;
  -- One at a time, and not sooner than the pause, however many workers look.
  IF heads.log_id IS NULL OR NOT heads.enabled OR heads.status <> 'active' OR NOT pg_try_advisory_xact_lock(1952541817, -7)
     OR EXISTS (SELECT FROM tally.taken_heads AS t WHERE t.taken_at > tally.clock() - p_pause) THEN
    RETURN 0;
  END IF;
  -- As pushes do: a freeze waits for us, or we see that it was asked for.
  PERFORM pg_advisory_xact_lock_shared(1952541818, heads.log_id);
  IF EXISTS (SELECT FROM tally.verification_logs AS l WHERE l.log_id = heads.log_id AND l.freeze_requested_at IS NOT NULL) THEN
    RETURN 0;
  END IF;
  WITH fresh AS MATERIALIZED (
    SELECT p.log_id, p.tree_size, p.note
    FROM tally.published_checkpoints AS p LEFT JOIN tally.taken_heads AS t ON t.log_id = p.log_id
    -- Its own head is none of its leaves: it would feed itself for ever.
    WHERE p.log_id <> heads.log_id AND p.tree_size > coalesce(t.tree_size, 0)
  ), taken AS (
    INSERT INTO tally.taken_heads AS k (log_id, tree_size) SELECT f.log_id, f.tree_size FROM fresh AS f
    ON CONFLICT (log_id) DO UPDATE SET tree_size = excluded.tree_size, taken_at = excluded.taken_at
  )
  INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)
  SELECT heads.log_id, 'A', 'a', '[]', convert_to(f.note, 'UTF8'), (SELECT tally.clock()) FROM fresh AS f ORDER BY f.log_id;
  GET DIAGNOSTICS queued = ROW_COUNT;
  RETURN queued;
END $$;
COMMENT ON FUNCTION tally.take_heads_v1(text, interval) IS
  'Queues the note of every log whose published head is new as a leaf of the log of logs; 0 where there is none, or it was looked a moment ago.';

GRANT SELECT ON tally.taken_heads TO tally_app, tally_auditor;
REVOKE EXECUTE ON FUNCTION tally.take_heads_v1(text, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tally.take_heads_v1(text, interval) TO tally_app;
