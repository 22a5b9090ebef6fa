-- Witnesses: whom we ask, what is published, and our own witness (log.md, sections 2.6, 3.2, 5.7, 5.8).

-- Whom we ask ----------------------------------------------------------------------------------

ALTER TABLE tally.witnesses
  ADD COLUMN conflict jsonb,
  ADD CONSTRAINT conflict_iff_in_conflict CHECK ((status = 'conflict') = (conflict IS NOT NULL));
COMMENT ON COLUMN tally.witnesses.conflict IS
  'Both sides of the conflict, when it was found, and the published size at which the log stands still.';

-- A cosignature without its witness could never be checked. Rows that are older than this rule are left to the audit.
ALTER TABLE tally.cosignatures ADD CONSTRAINT cosignature_has_a_witness
  FOREIGN KEY (log_id, witness_name) REFERENCES tally.witnesses (log_id, name) ON DELETE RESTRICT NOT VALID;
-- The sizes of one witness downwards: the quorum is found by a few probes, however long a witness has been away.
CREATE INDEX cosignatures_by_witness ON tally.cosignatures (log_id, witness_name, tree_size);
CREATE INDEX checkpoints_by_time ON tally.checkpoints (log_id, signed_at, tree_size);

-- Readers see the witnesses of the logs that they see: the published head depends on them.
ALTER TABLE tally.witnesses ENABLE ROW LEVEL SECURITY;
CREATE POLICY app_reads_all ON tally.witnesses TO tally_app, tally_auditor USING (true) WITH CHECK (true);
CREATE POLICY reader_reads_public ON tally.witnesses FOR SELECT TO tally_reader USING (tally.is_public_log(log_id));
GRANT SELECT ON tally.witnesses TO tally_reader;

CREATE FUNCTION tally.quorum_size(p_log_id integer, p_quorum integer) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
  candidate bigint := 9223372036854775807;
  agreed bigint;
BEGIN
  -- No quorum can lie above the p_quorum-th greatest of the sizes that the witnesses reached. If it is that size, so many
  -- cosigned it; else the same is asked below it. Witnesses are asked together, so the first or second step ends it.
  LOOP
    SELECT reached.tree_size INTO agreed
    FROM tally.witnesses AS w
    CROSS JOIN LATERAL (
      SELECT s.tree_size FROM tally.cosignatures AS s
      WHERE s.log_id = p_log_id AND s.witness_name = w.name AND s.tree_size <= candidate
      ORDER BY s.tree_size DESC LIMIT 1
    ) AS reached
    WHERE w.log_id = p_log_id AND w.enabled
    ORDER BY reached.tree_size DESC OFFSET p_quorum - 1 LIMIT 1;
    IF agreed IS NULL OR agreed = candidate THEN
      RETURN agreed;
    END IF;
    candidate := agreed;
  END LOOP;
END $$;
COMMENT ON FUNCTION tally.quorum_size(integer, integer) IS
  'The greatest size that so many of a log''s enabled witnesses cosigned; NULL where there is none.';

-- Changed: it counted names of witnesses that do not exist or are disabled, walked down all checkpoints while the quorum was
-- missed, and knew nothing of conflicts, in which publishing stands still.
CREATE OR REPLACE VIEW tally.published_checkpoints WITH (security_invoker) AS
SELECT l.log_id, l.log_name, l.origin, c.tree_size, c.root_hash, c.note, c.signed_at
FROM tally.verification_logs AS l
CROSS JOIN LATERAL (
  SELECT least(
    CASE WHEN l.witness_quorum = 0 THEN 9223372036854775807
      ELSE coalesce(greatest(
        tally.quorum_size(l.log_id, l.witness_quorum),
        (SELECT k.tree_size FROM tally.checkpoints AS k
         WHERE k.log_id = l.log_id
           AND k.signed_at <= (SELECT tally.clock() - make_interval(secs => l.witness_patience_seconds))
         ORDER BY k.signed_at DESC, k.tree_size DESC LIMIT 1)), 0)
    END,
    (SELECT min((w.conflict ->> 'published_size')::bigint) FROM tally.witnesses AS w
     WHERE w.log_id = l.log_id AND w.status = 'conflict')) AS tree_size
) AS publishable
CROSS JOIN LATERAL (
  SELECT * FROM tally.checkpoints AS k
  WHERE k.log_id = l.log_id AND k.tree_size <= publishable.tree_size
  ORDER BY k.tree_size DESC LIMIT 1
) AS c;
SELECT tally.describe('tally.published_checkpoints',
  'The greatest checkpoint of each log that its quorum cosigned or its patience lets pass; in a conflict, the one published then.', '{
  "log_id": "The log.", "log_name": "Its name.", "origin": "Its origin.",
  "tree_size": "Size of the published head.", "root_hash": "Its root.", "note": "The signed note.",
  "signed_at": "When it was signed."}');

CREATE FUNCTION tally.add_witness_v1(
  p_log_id integer, p_name text, p_vkey text, p_public_key bytea, p_key_id bytea, p_url text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  -- The same witness again is asked again, at the address that is given now; any other row is left as it is.
  UPDATE tally.witnesses SET enabled = true, url = p_url
  WHERE log_id = p_log_id AND name = p_name AND vkey = p_vkey AND (NOT enabled OR url <> p_url);
  INSERT INTO tally.witnesses (log_id, name, vkey, public_key, key_id, url)
  VALUES (p_log_id, p_name, p_vkey, p_public_key, p_key_id, p_url)
  ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION tally.add_witness_v1(integer, text, text, bytea, bytea, text) IS
  'Lets a log ask a witness, from its next checkpoint on; a name or key that another witness of the log has is left alone.';

CREATE FUNCTION tally.remove_witness_v1(p_log_id integer, p_name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  witness tally.witnesses;
BEGIN
  SELECT * INTO witness FROM tally.witnesses WHERE log_id = p_log_id AND name = p_name FOR UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  -- What it cosigned is checked by its key for ever; a conflict is ended by clearing it, not by looking away.
  IF witness.status = 'conflict'
     OR EXISTS (SELECT FROM tally.cosignatures AS s WHERE s.log_id = p_log_id AND s.witness_name = p_name) THEN
    UPDATE tally.witnesses SET enabled = false WHERE log_id = p_log_id AND name = p_name;
  ELSE
    DELETE FROM tally.witnesses WHERE log_id = p_log_id AND name = p_name;
  END IF;
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.remove_witness_v1(integer, text) IS
  'A witness is asked no more and counts no more; its row stays where it cosigned or is in conflict. False: there is none.';

CREATE FUNCTION tally.witness_conflict_v1(p_log_id integer, p_name text, p_conflict jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  witness tally.witnesses;
  published record;
BEGIN
  SELECT * INTO witness FROM tally.witnesses WHERE log_id = p_log_id AND name = p_name FOR UPDATE;
  IF NOT FOUND OR witness.status = 'conflict' THEN
    RETURN false;
  END IF;
  SELECT p.log_name, p.tree_size INTO STRICT published FROM tally.published_checkpoints AS p WHERE p.log_id = p_log_id;
  UPDATE tally.witnesses
  SET status = 'conflict', last_seen_at = tally.clock(), last_error = p_conflict ->> 'message',
      conflict = p_conflict || jsonb_build_object('at', tally.clock(), 'published_size', published.tree_size)
  WHERE log_id = p_log_id AND name = p_name;
  INSERT INTO tally.outbox_events (topic, key, payload)
  VALUES ('witness.conflict', published.log_name, jsonb_build_object(
    'log', published.log_name, 'witness', p_name, 'problem', p_conflict -> 'message', 'published_size', published.tree_size));
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.witness_conflict_v1(integer, text, jsonb) IS
  'A witness contradicts the log: publishing stands still from now on. False where it was in conflict before.';

CREATE FUNCTION tally.clear_witness_v1(p_log_id integer, p_name text, p_actor text, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  witness tally.witnesses;
BEGIN
  SELECT * INTO witness FROM tally.witnesses WHERE log_id = p_log_id AND name = p_name FOR UPDATE;
  IF witness.status IS DISTINCT FROM 'conflict' THEN
    RETURN true;
  END IF;
  IF NOT EXISTS (SELECT FROM tally.audits AS a WHERE a.log_id = p_log_id AND a.kind = 'audit' AND a.verdict = 'clean'
                 AND a.started_at > (witness.conflict ->> 'at')::timestamptz) THEN
    RETURN false;
  END IF;
  -- What it knows now it will say itself: it is asked from size 0.
  UPDATE tally.witnesses SET status = 'active', conflict = NULL, last_size = NULL, last_error = NULL
  WHERE log_id = p_log_id AND name = p_name;
  INSERT INTO tally.outbox_events (topic, key, payload)
  SELECT 'witness.cleared', l.log_name, jsonb_build_object(
    'log', l.log_name, 'witness', p_name, 'actor', p_actor, 'reason', p_reason)
  FROM tally.verification_logs AS l WHERE l.log_id = p_log_id;
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.clear_witness_v1(integer, text, text, text) IS
  'Ends a conflict; false where no clean audit of the log has begun since it was found.';

-- Our own witness --------------------------------------------------------------------------------

ALTER TABLE tally.witnessed_logs ADD COLUMN origin_hash bytea;
UPDATE tally.witnessed_logs SET origin_hash = sha256(convert_to(origin, 'UTF8'));
ALTER TABLE tally.witnessed_logs
  ALTER COLUMN origin_hash SET NOT NULL,
  ADD CONSTRAINT origin_hash_is_sha256 CHECK (octet_length(origin_hash) = 32),
  ADD CONSTRAINT one_origin_has_one_hash UNIQUE (origin_hash),
  ADD CONSTRAINT cosigned_iff_noted CHECK (
    (cosigned_at IS NULL) = (note IS NULL) AND (cosigned_at IS NULL) = (root_hash IS NULL)),
  ADD CONSTRAINT root_hash_is_sha256 CHECK (octet_length(root_hash) = 32);
COMMENT ON COLUMN tally.witnessed_logs.origin_hash IS 'SHA-256 of the origin, by which monitors ask.';
COMMENT ON COLUMN tally.witnessed_logs.note IS 'The checkpoint that was cosigned last, with the log''s signatures that were verified and our cosignature.';
-- A witness that forgot a log would cosign its fork.
SELECT tally.keep_evidence('tally.witnessed_logs', 'DELETE OR TRUNCATE');

-- Changed: it let the root of a size change, and the memory of a cosignature be taken away.
CREATE OR REPLACE FUNCTION tally.guard_witnessed_size() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  IF NEW.origin <> OLD.origin OR NEW.tree_size < OLD.tree_size OR (OLD.cosigned_at IS NOT NULL AND (
       NEW.cosigned_at IS NULL OR (NEW.tree_size = OLD.tree_size AND NEW.root_hash IS DISTINCT FROM OLD.root_hash))) THEN
    PERFORM tally.refuse('TS106', format('%s was cosigned at size %s', OLD.origin, OLD.tree_size),
      jsonb_build_object('origin', OLD.origin, 'known', OLD.tree_size, 'offered', NEW.tree_size));
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION tally.guard_witnessed_size() IS 'A witness never goes back, and never knows two roots of one size (TS106).';

CREATE FUNCTION tally.watch_log_v1(p_origin text, p_vkeys text[], p_contact text, p_enabled boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  INSERT INTO tally.witnessed_logs AS w (origin, origin_hash, vkeys, contact, enabled)
  VALUES (p_origin, sha256(convert_to(p_origin, 'UTF8')), p_vkeys, p_contact, p_enabled)
  ON CONFLICT (origin) DO UPDATE
  SET vkeys = excluded.vkeys, contact = coalesce(excluded.contact, w.contact), enabled = excluded.enabled;
$$;
COMMENT ON FUNCTION tally.watch_log_v1(text, text[], text, boolean) IS
  'Lets our own witness watch a log, or changes its keys, contact and whether it is cosigned; what was cosigned stays.';

-- Rights -----------------------------------------------------------------------------------------

GRANT UPDATE (tree_size, root_hash, note, cosigned_at) ON tally.witnessed_logs TO tally_app;
REVOKE EXECUTE ON FUNCTION
  tally.quorum_size(integer, integer), tally.add_witness_v1(integer, text, text, bytea, bytea, text),
  tally.remove_witness_v1(integer, text), tally.witness_conflict_v1(integer, text, jsonb),
  tally.clear_witness_v1(integer, text, text, text), tally.watch_log_v1(text, text[], text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.quorum_size(integer, integer), tally.add_witness_v1(integer, text, text, bytea, bytea, text),
  tally.remove_witness_v1(integer, text), tally.witness_conflict_v1(integer, text, jsonb),
  tally.clear_witness_v1(integer, text, text, text), tally.watch_log_v1(text, text[], text, boolean) TO tally_app;
GRANT EXECUTE ON FUNCTION tally.quorum_size(integer, integer) TO tally_reader, tally_auditor;
