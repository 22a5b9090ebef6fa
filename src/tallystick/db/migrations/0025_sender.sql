-- The sender: what signs, sends, replaces and puts back (chain.md, sections 3.1 and 4.3).
--
-- One sender of each account holds a session lock, and every function below would be right without it: nonces are taken by
-- comparison under the account's row lock. Locks in the order of 0024: chain_accounts, then blockchain_transactions by id.

CREATE FUNCTION tally.transaction_sign_v1(
  p_chain_id bigint, p_address text, p_first_nonce bigint, p_ids bigint[], p_raws bytea[], p_hashes text[], p_caps numeric[],
  p_tips numeric[], p_gas_limits bigint[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  account tally.chain_accounts;
  locked bigint;
BEGIN
  SELECT * INTO account FROM tally.chain_accounts AS a
  WHERE a.chain_id = p_chain_id AND a.address = p_address FOR NO KEY UPDATE;
  -- The bytes were signed for these nonces: with any other they are worth nothing, and have gone nowhere yet.
  IF NOT FOUND OR account.is_paused OR account.next_nonce <> p_first_nonce
    OR NOT EXISTS (SELECT FROM tally.networks AS n WHERE n.chain_id = p_chain_id AND n.status = 'active')
  THEN
    RETURN false;
  END IF;
  PERFORM FROM tally.blockchain_transactions AS b
  WHERE b.id = ANY (p_ids) AND b.state = 'queued' AND b.chain_id = p_chain_id AND b.from_address = p_address
  ORDER BY b.id FOR UPDATE;
  GET DIAGNOSTICS locked = ROW_COUNT;
  IF locked <> cardinality(p_ids) THEN
    RETURN false;
  END IF;
  INSERT INTO tally.blockchain_transaction_attempts
    (chain_id, transaction_hash, transaction_id, attempt, kind, raw, max_fee_per_gas, max_priority_fee_per_gas, gas_limit)
  SELECT p_chain_id, i.hash, i.id,
    -- One that was put back goes on counting.
    1 + (SELECT coalesce(max(a.attempt), 0) FROM tally.blockchain_transaction_attempts AS a WHERE a.transaction_id = i.id),
    'send', i.raw, i.cap, i.tip, i.gas_limit
  FROM unnest(p_ids, p_raws, p_hashes, p_caps, p_tips, p_gas_limits) AS i (id, raw, hash, cap, tip, gas_limit);
  UPDATE tally.blockchain_transactions AS b SET
    state = 'signed', nonce = p_first_nonce + i.place - 1, transaction_hash = i.hash, gas_limit = i.gas_limit
  FROM unnest(p_ids, p_hashes, p_gas_limits) WITH ORDINALITY AS i (id, hash, gas_limit, place)
  WHERE b.id = i.id;
  UPDATE tally.chain_accounts AS a SET next_nonce = p_first_nonce + cardinality(p_ids)
  WHERE a.chain_id = p_chain_id AND a.address = p_address;
  RETURN true;
END $$;
COMMENT ON FUNCTION tally.transaction_sign_v1(bigint, text, bigint, bigint[], bytea[], text[], numeric[], numeric[], bigint[]) IS
  'Takes nonces from p_first_nonce on and stores the bytes signed for them; false, and nothing, where the next nonce is another or an intent is not queued.';

CREATE FUNCTION tally.transaction_refuse_v1(p_ids bigint[], p_messages text[], p_data bytea[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  PERFORM FROM tally.blockchain_transactions AS b WHERE b.id = ANY (p_ids) AND b.state = 'queued' ORDER BY b.id FOR UPDATE;
  -- There is room for the next intents.
  PERFORM tally.wake_chain(c.chain_id) FROM (SELECT DISTINCT b.chain_id FROM tally.blockchain_transactions AS b WHERE b.id = ANY (p_ids)) AS c;
  RETURN QUERY UPDATE tally.blockchain_transactions AS b SET state = 'failed', error_message = i.message, revert_data = i.data
    FROM unnest(p_ids, p_messages, p_data) AS i (id, message, data) WHERE b.id = i.id AND b.state = 'queued' RETURNING b.id;
END $$;
COMMENT ON FUNCTION tally.transaction_refuse_v1(bigint[], text[], bytea[]) IS
  'Fails queued intents whose estimate reverts, no nonce spent; returns those that were still queued.';

CREATE FUNCTION tally.transaction_broadcast_v1(p_chain_id bigint, p_hashes text[], p_errors text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  taken CONSTANT text[] := (SELECT array_agg(i.hash) FROM unnest(p_hashes, p_errors) AS i (hash, error) WHERE i.error IS NULL);
BEGIN
  PERFORM FROM tally.blockchain_transactions AS b
  WHERE b.id IN (SELECT a.transaction_id FROM tally.blockchain_transaction_attempts AS a
                 WHERE a.chain_id = p_chain_id AND a.transaction_hash = ANY (taken))
    -- No others: the watcher locks what is mined in another order than what it includes.
    AND b.state = 'signed'
  ORDER BY b.id FOR UPDATE;
  UPDATE tally.blockchain_transaction_attempts AS a SET
    broadcast_at = CASE WHEN i.error IS NULL THEN coalesce(a.broadcast_at, tally.clock()) ELSE a.broadcast_at END,
    last_error = i.error
  FROM unnest(p_hashes, p_errors) AS i (hash, error)
  WHERE a.chain_id = p_chain_id AND a.transaction_hash = i.hash
    AND ((i.error IS NULL AND a.broadcast_at IS NULL) OR a.last_error IS DISTINCT FROM i.error);
  -- The watcher may have been faster: what is mined already stays so.
  UPDATE tally.blockchain_transactions AS b SET state = 'broadcast'
  FROM tally.blockchain_transaction_attempts AS a
  WHERE a.chain_id = p_chain_id AND a.transaction_hash = ANY (taken) AND b.id = a.transaction_id AND b.state = 'signed';
  -- Only for what is new: the sender itself is woken too, and sends some bytes again and again.
  IF FOUND THEN
    PERFORM tally.wake_chain(p_chain_id);
  END IF;
END $$;
COMMENT ON FUNCTION tally.transaction_broadcast_v1(bigint, text[], text[]) IS
  'Records what a node said to the bytes of attempts: nothing (it has them), or why it does not take them.';

CREATE FUNCTION tally.transaction_replace_v1(
  p_chain_id bigint, p_ids bigint[], p_kinds text[], p_raws bytea[], p_hashes text[], p_caps numeric[], p_tips numeric[],
  p_gas_limits bigint[]
) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  open_ids bigint[];
BEGIN
  IF NOT EXISTS (SELECT FROM tally.networks AS n WHERE n.chain_id = p_chain_id AND n.status = 'active') THEN
    RETURN;
  END IF;
  SELECT array_agg(o.id) INTO open_ids FROM (
    SELECT b.id FROM tally.blockchain_transactions AS b
    WHERE b.id = ANY (p_ids) AND b.chain_id = p_chain_id AND b.origin = 'managed' AND b.state IN ('signed', 'broadcast')
    ORDER BY b.id FOR UPDATE
  ) AS o;
  INSERT INTO tally.blockchain_transaction_attempts
    (chain_id, transaction_hash, transaction_id, attempt, kind, raw, max_fee_per_gas, max_priority_fee_per_gas, gas_limit)
  SELECT p_chain_id, i.hash, i.id,
    1 + (SELECT max(a.attempt) FROM tally.blockchain_transaction_attempts AS a WHERE a.transaction_id = i.id),
    i.kind, i.raw, i.cap, i.tip, i.gas_limit
  FROM unnest(p_ids, p_kinds, p_raws, p_hashes, p_caps, p_tips, p_gas_limits) AS i (id, kind, raw, hash, cap, tip, gas_limit)
  WHERE i.id = ANY (open_ids);
  RETURN QUERY UPDATE tally.blockchain_transactions AS b SET
      transaction_hash = i.hash, gas_limit = i.gas_limit,
      -- A cancel that was asked for while a higher fee was signed is still to be done.
      asked = CASE WHEN b.asked = 'cancel' AND i.kind = 'send' THEN 'cancel' END
    FROM unnest(p_ids, p_kinds, p_hashes, p_gas_limits) AS i (id, kind, hash, gas_limit)
    WHERE b.id = i.id AND b.id = ANY (open_ids) RETURNING i.hash;
END $$;
COMMENT ON FUNCTION tally.transaction_replace_v1(bigint, bigint[], text[], bytea[], text[], numeric[], numeric[], bigint[]) IS
  'Stores further attempts, with higher fees or as cancels, at transactions that are in no block yet; returns the hashes that were stored.';

CREATE FUNCTION tally.transaction_requeue_v1(p_chain_id bigint, p_address text, p_ids bigint[], p_chain_nonce bigint)
RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  back bigint[];
  unwanted bigint[];
BEGIN
  UPDATE tally.chain_accounts AS a SET next_nonce = greatest(a.next_nonce, p_chain_nonce)
  WHERE a.chain_id = p_chain_id AND a.address = p_address;
  SELECT array_agg(o.id), array_agg(o.id) FILTER (WHERE o.is_unwanted) INTO back, unwanted FROM (
    SELECT b.id, b.asked IS NOT DISTINCT FROM 'cancel' OR EXISTS (
        SELECT FROM tally.blockchain_transaction_attempts AS a WHERE a.transaction_id = b.id AND a.kind = 'cancel') AS is_unwanted
    FROM tally.blockchain_transactions AS b
    WHERE b.id = ANY (p_ids) AND b.chain_id = p_chain_id AND b.from_address = p_address AND b.origin = 'managed'
      AND b.state IN ('signed', 'broadcast') AND b.nonce < p_chain_nonce
    ORDER BY b.id FOR UPDATE
  ) AS o;
  UPDATE tally.blockchain_transactions AS b SET
    state = 'queued', nonce = NULL, transaction_hash = NULL, gas_limit = NULL, asked = NULL
  WHERE b.id = ANY (back);
  -- What an operator was about to cancel is not sent anew on another nonce.
  PERFORM tally.transaction_cancel_v1(u.id) FROM unnest(unwanted) AS u (id);
  IF back IS NOT NULL THEN
    PERFORM tally.wake_chain(p_chain_id);
  END IF;
  RETURN QUERY SELECT u.id FROM unnest(unwanted) AS u (id);
END $$;
COMMENT ON FUNCTION tally.transaction_requeue_v1(bigint, text, bigint[], bigint) IS
  'Queues transactions again whose nonce lies below the final one of the chain and was taken by a foreign one; returns those that were to be cancelled, and are.';

CREATE FUNCTION tally.account_catch_up_v1(p_chain_id bigint, p_address text, p_chain_nonce bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  UPDATE tally.chain_accounts AS a SET next_nonce = p_chain_nonce
  WHERE a.chain_id = p_chain_id AND a.address = p_address AND a.next_nonce < p_chain_nonce;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION tally.account_catch_up_v1(bigint, text, bigint) IS
  'Raises an account''s next nonce to the one that is final on the chain; true where it was below.';

-- The sender reads both at each of its rounds: a backlog of intents must not stand between it and what it has signed. What is queued
-- has no nonce. It stands in the order all the same, so that no plan walks the whole history by id to find the oldest of a backlog.
CREATE INDEX blockchain_transactions_queued ON tally.blockchain_transactions (chain_id, from_address, nonce, id)
  WHERE origin = 'managed' AND state = 'queued';
CREATE INDEX blockchain_transactions_unmined ON tally.blockchain_transactions (chain_id, from_address, nonce)
  WHERE origin = 'managed' AND state IN ('signed', 'broadcast');

REVOKE EXECUTE ON FUNCTION
  tally.transaction_sign_v1(bigint, text, bigint, bigint[], bytea[], text[], numeric[], numeric[], bigint[]),
  tally.transaction_refuse_v1(bigint[], text[], bytea[]),
  tally.transaction_broadcast_v1(bigint, text[], text[]),
  tally.transaction_replace_v1(bigint, bigint[], text[], bytea[], text[], numeric[], numeric[], bigint[]),
  tally.transaction_requeue_v1(bigint, text, bigint[], bigint),
  tally.account_catch_up_v1(bigint, text, bigint)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.transaction_sign_v1(bigint, text, bigint, bigint[], bytea[], text[], numeric[], numeric[], bigint[]),
  tally.transaction_refuse_v1(bigint[], text[], bytea[]),
  tally.transaction_broadcast_v1(bigint, text[], text[]),
  tally.transaction_replace_v1(bigint, bigint[], text[], bytea[], text[], numeric[], numeric[], bigint[]),
  tally.transaction_requeue_v1(bigint, text, bigint[], bigint),
  tally.account_catch_up_v1(bigint, text, bigint)
  TO tally_app;
