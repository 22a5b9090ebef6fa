-- One effect for one Idempotency-Key: a write's row and its answer commit with the write (identity.md, sections 2 and 7.13).

CREATE TABLE tally.idempotency_keys (
  principal tally.principal NOT NULL,
  key text COLLATE "C" NOT NULL CONSTRAINT key_is_visible_ascii CHECK (key ~ '^[!-~]{1,255}$'),
  request_digest tally.sha256 NOT NULL,
  status smallint CONSTRAINT status_is_of_an_answer CHECK (status BETWEEN 200 AND 499),
  body jsonb,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (principal, key),
  CONSTRAINT answer_is_whole CHECK ((status IS NULL) = (body IS NULL)),
  CONSTRAINT body_is_a_small_object CHECK (jsonb_typeof(body) = 'object' AND octet_length(body::text) <= 65536)
);
SELECT tally.describe('tally.idempotency_keys', 'Writes that were answered under an Idempotency-Key, for 24 hours; not sealed.', '{
  "principal": "Whose key it is: callers cannot meet each other''s.",
  "key": "What the caller sent as Idempotency-Key.",
  "request_digest": "SHA-256 of the message identity-request: method, path with query, body.",
  "status": "HTTP status of the answer; null only within the transaction of the write.",
  "body": "The answer, its secrets null.",
  "created_at": "When the request came."}');
CREATE INDEX idempotency_keys_created_at ON tally.idempotency_keys (created_at);

-- A row without its answer would refuse the key for a day: no commit leaves one.
CREATE FUNCTION tally.check_answer_is_kept() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  IF EXISTS (SELECT FROM tally.idempotency_keys AS k
             WHERE k.principal = NEW.principal AND k.key = NEW.key AND k.status IS NULL) THEN
    RAISE EXCEPTION 'an idempotency key is committed without its answer' USING ERRCODE = 'check_violation', CONSTRAINT = 'answer_is_kept';
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION tally.check_answer_is_kept() IS 'Refuses the commit of an idempotency key whose write kept no answer.';
CREATE CONSTRAINT TRIGGER answer_is_kept AFTER INSERT ON tally.idempotency_keys
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tally.check_answer_is_kept();

CREATE FUNCTION tally.idempotency_claim_v1(p_principal text, p_key text, p_request_digest bytea)
RETURNS TABLE (status smallint, body jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '10s'
AS $$
#variable_conflict use_column
DECLARE
  known tally.idempotency_keys;
BEGIN
  LOOP
    -- Waits for the transaction that holds the same key: what it left is then seen, or nothing if it was rolled back.
    INSERT INTO tally.idempotency_keys (principal, key, request_digest) VALUES (p_principal, p_key, p_request_digest)
    ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING;
    IF FOUND THEN
      RETURN;
    END IF;
    SELECT k.* INTO known FROM tally.idempotency_keys AS k WHERE k.principal = p_principal AND k.key = p_key FOR UPDATE;
    -- Gone between the two statements, swept as old: once more.
    CONTINUE WHEN NOT FOUND;
    IF known.created_at <= tally.clock() - interval '24 hours' THEN
      DELETE FROM tally.idempotency_keys AS k WHERE k.principal = p_principal AND k.key = p_key;
      CONTINUE;
    END IF;
    IF known.request_digest <> p_request_digest THEN
      PERFORM tally.refuse('TSI17', 'this Idempotency-Key came before with another request', '{}'::jsonb);
    END IF;
    RETURN QUERY SELECT known.status, known.body;
    RETURN;
  END LOOP;
END $$;
COMMENT ON FUNCTION tally.idempotency_claim_v1(text, text, bytea) IS
  'Takes the key for this transaction, or returns the answer that the same request got; another request under it is refused.';

CREATE FUNCTION tally.idempotency_answer_v1(p_principal text, p_key text, p_request_digest bytea)
RETURNS TABLE (status smallint, body jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$
#variable_conflict use_column
DECLARE
  known tally.idempotency_keys;
BEGIN
  SELECT k.* INTO known FROM tally.idempotency_keys AS k
  WHERE k.principal = p_principal AND k.key = p_key AND k.created_at > tally.clock() - interval '24 hours';
  IF known.request_digest <> p_request_digest THEN
    PERFORM tally.refuse('TSI17', 'this Idempotency-Key came before with another request', '{}'::jsonb);
  END IF;
  RETURN QUERY SELECT known.status, known.body WHERE known.status IS NOT NULL;
END $$;
COMMENT ON FUNCTION tally.idempotency_answer_v1(text, text, bytea) IS
  'The answer that the same request got under the key, if it came before; for what is done ahead of the write.';

CREATE FUNCTION tally.idempotency_keep_v1(p_principal text, p_key text, p_status smallint, p_body jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  UPDATE tally.idempotency_keys AS k SET status = p_status, body = p_body
  WHERE k.principal = p_principal AND k.key = p_key AND k.status IS NULL
$$;
COMMENT ON FUNCTION tally.idempotency_keep_v1(text, text, smallint, jsonb) IS 'Keeps the answer of the write that took the key; once.';

CREATE FUNCTION tally.idempotency_sweep_v1(p_limit integer DEFAULT 10000) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  WITH old AS (
    SELECT k.principal, k.key FROM tally.idempotency_keys AS k
    -- Read once, so that the index finds the old ones.
    WHERE k.created_at <= (SELECT tally.clock()) - interval '24 hours'
    ORDER BY k.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM tally.idempotency_keys AS k USING old AS o WHERE k.principal = o.principal AND k.key = o.key RETURNING 1
  )
  SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION tally.idempotency_sweep_v1(integer) IS 'Deletes keys older than 24 hours and returns how many there were.';

-- Erasing a user ---------------------------------------------------------------------------------

CREATE FUNCTION tally.user_leaves_v1(p_user_id text) RETURNS TABLE (log_name text, indexes bigint[], waiting bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$
  WITH RECURSIVE rows_of_user (source_table, source_key) AS (
    SELECT 'tally.users', tally.canonical(jsonb_build_array(p_user_id))
    UNION ALL
    SELECT 'tally.api_keys', tally.canonical(jsonb_build_array(k.id)) FROM tally.api_keys AS k WHERE k.user_id = p_user_id
    UNION ALL
    SELECT 'tally.human_proofs', tally.canonical(jsonb_build_array(p.id)) FROM tally.human_proofs AS p WHERE p.user_id = p_user_id
  ), mark (bytes, tables) AS (
    -- Of a key or proof that was deleted, its records alone still say whose it was.
    SELECT convert_to('"user_id":' || to_json(p_user_id)::text, 'UTF8'), ARRAY['tally.api_keys', 'tally.human_proofs']
  ), logs_of_user AS (
    SELECT s.log_id FROM tally.verification_sources AS s WHERE s.source_table IN (SELECT r.source_table FROM rows_of_user AS r)
    UNION
    -- What a log continues keeps the older records.
    SELECT l.predecessor_log_id FROM logs_of_user AS f INNER JOIN tally.verification_logs AS l ON l.log_id = f.log_id
    WHERE l.predecessor_log_id IS NOT NULL
  )
  SELECT l.log_name,
    ARRAY(
      SELECT m.leaf_index
      FROM rows_of_user AS r
      INNER JOIN tally.merkle_log AS m ON m.log_id = l.log_id AND m.source_table = r.source_table AND m.source_key = r.source_key
      INNER JOIN tally.leaf_records AS k ON k.log_id = m.log_id AND k.leaf_index = m.leaf_index
      UNION
      SELECT m.leaf_index
      FROM mark
      INNER JOIN tally.merkle_log AS m ON m.log_id = l.log_id AND m.source_table = ANY (mark.tables)
      INNER JOIN tally.leaf_records AS k ON k.log_id = m.log_id AND k.leaf_index = m.leaf_index
      WHERE position(mark.bytes IN k.record) > 0
      ORDER BY leaf_index),
    -- What another transaction queued would be sealed with its record a moment later; what this one wrote is erased already.
    (SELECT count(*)
     FROM mark
     INNER JOIN tally.verification_sources AS s ON s.log_id = l.log_id
     INNER JOIN tally.capture AS q ON q.log_id = s.log_id AND q.source_no = s.source_no
     WHERE q.record IS NOT NULL AND q.xid IS DISTINCT FROM pg_current_xact_id_if_assigned() AND (
       (s.source_table, q.source_key) IN (SELECT r.source_table, r.source_key FROM rows_of_user AS r)
       OR (s.source_table = ANY (mark.tables) AND position(mark.bytes IN q.record) > 0)))
  FROM logs_of_user AS f INNER JOIN tally.verification_logs AS l ON l.log_id = f.log_id
  ORDER BY l.log_name
$$;
COMMENT ON FUNCTION tally.user_leaves_v1(text) IS
  'Leaves that hide something of a user''s own rows, deleted ones too, by log, and how many rows of his wait to be sealed by other transactions.';

CREATE FUNCTION tally.idempotency_erase_user_v1(p_user_id text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  WITH erased AS (
    UPDATE tally.idempotency_keys AS k SET body = '{}'
    WHERE k.body <> '{}' AND (
      strpos(k.body::text, to_json(p_user_id)::text) > 0
      OR k.principal IN (SELECT 'key:' || a.id FROM tally.api_keys AS a WHERE a.user_id = p_user_id))
    RETURNING 1
  )
  SELECT count(*) FROM erased
$$;
COMMENT ON FUNCTION tally.idempotency_erase_user_v1(text) IS
  'Empties the stored answers that name a user or were given to his keys; their requests still have their one effect.';

-- ANALYZE would copy sampled values into the planner's statistics, where no erasure finds them; those of tags, which lists
-- need, are sampled anew by each.
ALTER TABLE tally.users ALTER COLUMN wallet_address SET STATISTICS 0, ALTER COLUMN username SET STATISTICS 0;
ALTER TABLE tally.api_keys
  ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN client_name SET STATISTICS 0,
  ALTER COLUMN description SET STATISTICS 0, ALTER COLUMN contact_email SET STATISTICS 0;
ALTER TABLE tally.human_proofs ALTER COLUMN proof_data SET STATISTICS 0;
ALTER TABLE tally.human_proof_challenges ALTER COLUMN message SET STATISTICS 0;
ALTER TABLE tally.idempotency_keys ALTER COLUMN body SET STATISTICS 0;

-- Who may do what ---------------------------------------------------------------------------------

-- Answers hold what their callers alone may read: nobody has the table, the server has these functions.
REVOKE EXECUTE ON FUNCTION tally.check_answer_is_kept(), tally.idempotency_claim_v1(text, text, bytea),
  tally.idempotency_answer_v1(text, text, bytea), tally.idempotency_keep_v1(text, text, smallint, jsonb),
  tally.idempotency_sweep_v1(integer), tally.idempotency_erase_user_v1(text), tally.user_leaves_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tally.idempotency_claim_v1(text, text, bytea), tally.idempotency_answer_v1(text, text, bytea),
  tally.idempotency_keep_v1(text, text, smallint, jsonb), tally.idempotency_sweep_v1(integer),
  tally.idempotency_erase_user_v1(text), tally.user_leaves_v1(text) TO tally_app;
