-- The watcher: blocks, inclusions, events and finality, and how they are taken back (chain.md, 3 and 4.4).
-- Locks in the order of the chain's tables: the network, then its transactions by id; events and blocks nobody else locks.
-- The functions of single transitions take the network as given: their callers hold its lock.

CREATE TABLE tally.contracts_followed (
  contract_id bigint PRIMARY KEY REFERENCES tally.contract_deployments ON DELETE RESTRICT,
  read_block bigint NOT NULL CONSTRAINT read_block_is_a_height CHECK (read_block >= 0),
  joined_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT tally.clock()
);
SELECT tally.describe('tally.contracts_followed', 'How far the past of each contract was read: its events from before it was registered.', '{
  "contract_id": "The contract.",
  "read_block": "Up to where its past was read.",
  "joined_at": "When its past was read in full; from then on each block is recorded with its events.",
  "created_at": "When it was first looked at."}');

-- The watcher reads both at each look, whatever backlog is queued and whatever history is final.
CREATE INDEX blockchain_transactions_awaited ON tally.blockchain_transactions (chain_id, id)
  WHERE state IN ('signed', 'broadcast', 'dropped');
CREATE INDEX blockchain_transactions_unsettled ON tally.blockchain_transactions (chain_id, block_number)
  WHERE state IN ('mined', 'confirmed');

-- Transitions of transactions, each for all rows of one network at once ---------------------------------------------

CREATE FUNCTION tally.transaction_include_v1(p_chain_id bigint, p_inclusions jsonb)
RETURNS TABLE (transaction_id bigint, is_told boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
#variable_conflict use_column
DECLARE
  price record;
BEGIN
  SELECT p.id, p.usd INTO price
  FROM tally.price_snapshots AS p JOIN tally.networks AS n ON n.native_symbol = p.symbol
  WHERE n.chain_id = p_chain_id ORDER BY p.taken_at DESC, p.id DESC LIMIT 1;
  RETURN QUERY
  WITH seen AS MATERIALIZED (
    SELECT i.* FROM jsonb_to_recordset(p_inclusions) AS i (
      transaction_hash text, block_hash text, transaction_index integer, receipt_status smallint, gas_used bigint,
      gas_price numeric, l1_fee_wei numeric, contract_address text, revert_data bytea, error_message text)
  ), named AS (
    -- The node may have mined any attempt of ours; what was observed has one hash and no attempt.
    SELECT a.transaction_id AS id, a.kind = 'send' AS is_send, s.*
    FROM seen AS s
    JOIN tally.blockchain_transaction_attempts AS a ON a.chain_id = p_chain_id AND a.transaction_hash = s.transaction_hash
    UNION ALL
    SELECT t.id, true, s.*
    FROM seen AS s
    JOIN tally.blockchain_transactions AS t ON t.chain_id = p_chain_id AND t.transaction_hash = s.transaction_hash
    WHERE t.origin = 'observed'
  ), locked AS (
    SELECT t.id FROM tally.blockchain_transactions AS t
    WHERE t.id IN (SELECT n.id FROM named AS n) AND t.state IN ('signed', 'broadcast', 'dropped')
    ORDER BY t.id FOR UPDATE
  )
  UPDATE tally.blockchain_transactions AS t SET
    state = 'mined', transaction_hash = n.transaction_hash, receipt_status = n.receipt_status,
    block_number = b.block_number, block_hash = n.block_hash, transaction_index = n.transaction_index,
    gas_used = n.gas_used, gas_price = n.gas_price, l1_fee_wei = n.l1_fee_wei,
    contract_address = coalesce(t.contract_address, n.contract_address),
    price_id = price.id,
    cost_usd = tally.cost_usd(n.gas_used * n.gas_price + n.l1_fee_wei, price.usd), asked = NULL,
    revert_data = n.revert_data, error_message = n.error_message, mined_at = tally.clock()
  FROM locked AS l
  JOIN named AS n ON n.id = l.id
  -- Only what stands in a canonical block is included: the caller records blocks first.
  JOIN tally.chain_blocks AS b ON b.chain_id = p_chain_id AND b.block_hash = n.block_hash AND b.is_canonical
  WHERE t.id = l.id
  RETURNING t.id, n.is_send AND n.receipt_status = 1;
END $$;
COMMENT ON FUNCTION tally.transaction_include_v1(bigint, jsonb) IS
  'Receipts of canonical blocks make their transactions mined, with fee and cost at the newest price; says which are told as included.';

CREATE FUNCTION tally.transaction_confirm_v1(p_chain_id bigint, p_deep_block bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  WITH locked AS (
    SELECT t.id FROM tally.blockchain_transactions AS t
    WHERE t.chain_id = p_chain_id AND t.state = 'mined' AND t.block_number <= p_deep_block
    ORDER BY t.id FOR UPDATE
  )
  UPDATE tally.blockchain_transactions AS t SET state = 'confirmed', confirmed_at = tally.clock()
  FROM locked AS l WHERE t.id = l.id;
$$;
COMMENT ON FUNCTION tally.transaction_confirm_v1(bigint, bigint) IS
  'Confirms the transactions whose blocks are deep enough: up to the number that is given.';

CREATE FUNCTION tally.transaction_finalize_v1(p_chain_id bigint, p_final_block bigint)
RETURNS TABLE (transaction_id bigint, block_number bigint, transaction_index integer, is_failed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH locked AS (
    SELECT t.id, coalesce(a.kind = 'cancel', false) AS is_cancelled
    FROM tally.blockchain_transactions AS t
    LEFT JOIN tally.blockchain_transaction_attempts AS a
      ON a.chain_id = t.chain_id AND a.transaction_hash = t.transaction_hash AND a.transaction_id = t.id
    WHERE t.chain_id = p_chain_id AND t.state = 'confirmed' AND t.block_number <= p_final_block
    ORDER BY t.id FOR UPDATE OF t
  )
  UPDATE tally.blockchain_transactions AS t SET
    -- A cancel's own receipt says nothing of the intent: its nonce is used up either way.
    state = CASE WHEN l.is_cancelled THEN 'cancelled' WHEN t.receipt_status = 0 THEN 'failed' ELSE 'finalized' END,
    error_message = CASE
      WHEN l.is_cancelled THEN 'cancelled'
      WHEN t.receipt_status = 0 THEN coalesce(t.error_message, 'reverted')
    END,
    finalized_at = tally.clock()
  FROM locked AS l WHERE t.id = l.id
  RETURNING t.id, t.block_number, t.transaction_index, t.state <> 'finalized';
END $$;
COMMENT ON FUNCTION tally.transaction_finalize_v1(bigint, bigint) IS
  'Ends the confirmed transactions of final blocks: finalized, failed where reverted, cancelled where a cancel was mined.';

CREATE FUNCTION tally.transaction_roll_back_v1(p_chain_id bigint, p_ancestor bigint)
RETURNS TABLE (transaction_id bigint, block_number bigint, transaction_index integer, is_told boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH locked AS (
    SELECT t.id, t.block_number, t.transaction_index,
      t.receipt_status = 1 AND NOT coalesce(a.kind = 'cancel', false) AS is_told
    FROM tally.blockchain_transactions AS t
    LEFT JOIN tally.blockchain_transaction_attempts AS a
      ON a.chain_id = t.chain_id AND a.transaction_hash = t.transaction_hash AND a.transaction_id = t.id
    WHERE t.chain_id = p_chain_id AND t.state IN ('mined', 'confirmed') AND t.block_number > p_ancestor
    ORDER BY t.id FOR UPDATE OF t
  ), newest AS (
    SELECT DISTINCT ON (a.transaction_id) a.transaction_id AS id, a.transaction_hash
    FROM tally.blockchain_transaction_attempts AS a
    WHERE a.transaction_id IN (SELECT l.id FROM locked AS l) ORDER BY a.transaction_id, a.attempt DESC
  )
  UPDATE tally.blockchain_transactions AS t SET
    state = 'broadcast', transaction_hash = coalesce(n.transaction_hash, t.transaction_hash),
    receipt_status = NULL, block_number = NULL, block_hash = NULL, transaction_index = NULL,
    gas_used = NULL, gas_price = NULL, l1_fee_wei = 0, price_id = NULL, cost_usd = NULL,
    -- A contract that was deployed is nowhere now; one that is called stays.
    contract_address = CASE WHEN t.to_address IS NULL THEN NULL ELSE t.contract_address END,
    error_message = NULL, revert_data = NULL, mined_at = NULL, confirmed_at = NULL
  FROM locked AS l LEFT JOIN newest AS n ON n.id = l.id
  WHERE t.id = l.id
  RETURNING t.id, l.block_number, l.transaction_index, l.is_told;
END $$;
COMMENT ON FUNCTION tally.transaction_roll_back_v1(bigint, bigint) IS
  'Takes back the inclusions above the common ancestor; says which were told as included.';

-- Advance, reorganisation, halt ---------------------------------------------------------------------------------------

CREATE FUNCTION tally.lock_position(p_chain_id bigint, p_scanned_hash text, p_finalized_block bigint) RETURNS tally.networks
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
  network tally.networks;
BEGIN
  SELECT * INTO network FROM tally.networks WHERE chain_id = p_chain_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM tally.refuse_unknown_network(p_chain_id);
  END IF;
  IF network.status = 'halted' THEN
    PERFORM tally.refuse('TSC01', format('network %s is halted: %s', p_chain_id, network.halted_reason),
      jsonb_build_object('chain_id', p_chain_id, 'status', network.status));
  END IF;
  -- Another watcher was here since the position was read: what was read from the node goes with another one.
  IF network.scanned_hash::text IS DISTINCT FROM p_scanned_hash OR network.finalized_block IS DISTINCT FROM p_finalized_block THEN
    RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'the watcher''s position has moved';
  END IF;
  RETURN network;
END $$;
COMMENT ON FUNCTION tally.lock_position(bigint, text, bigint) IS
  'Locks a network''s row for its watcher; refused where the network is halted, or its position is not the one that is named.';

CREATE FUNCTION tally.chain_advance_v1(
  p_chain_id bigint, p_scanned_hash text, p_finalized_block bigint,
  p_blocks jsonb, p_inclusions jsonb, p_events jsonb, p_followed jsonb, p_final_block bigint
) RETURNS TABLE (told text, block_number bigint, place integer, transaction_id bigint, block_hash text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
#variable_conflict use_column
DECLARE
  network tally.networks;
  newest record;
  deep_block bigint;
  final_block bigint;
  included jsonb;
BEGIN
  network := tally.lock_position(p_chain_id, p_scanned_hash, p_finalized_block);
  IF EXISTS (
    SELECT FROM (
      SELECT b.number, b.parent,
        lag(b.number, 1, network.scanned_block) OVER (ORDER BY b.number) AS number_before,
        lag(b.hash, 1, network.scanned_hash::text) OVER (ORDER BY b.number) AS hash_before
      FROM jsonb_to_recordset(p_blocks) AS b (number bigint, hash text, parent text)
      WHERE network.scanned_block IS NULL OR b.number > network.scanned_block
    ) AS chained
    WHERE chained.number <> chained.number_before + 1 OR chained.parent <> chained.hash_before
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'assert_failure', MESSAGE = 'blocks are recorded in an unbroken chain';
  END IF;

  SELECT b.number, b.hash INTO newest
  FROM jsonb_to_recordset(p_blocks) AS b (number bigint, hash text)
  WHERE network.scanned_block IS NULL OR b.number > network.scanned_block
  ORDER BY b.number DESC LIMIT 1;
  -- Where watching begins is final by the depth that the node told, for which there are no blocks of ours to count.
  final_block := CASE WHEN network.scanned_block IS NULL THEN newest.number ELSE p_final_block END;
  deep_block := coalesce(newest.number, network.scanned_block) - network.confirmations + 1;
  IF network.scanned_block IS NOT NULL AND final_block > greatest(deep_block, network.finalized_block) THEN
    RAISE EXCEPTION USING ERRCODE = 'assert_failure', MESSAGE = 'a block is final once it is deep enough';
  END IF;
  final_block := greatest(final_block, network.finalized_block);

  -- Blocks below the position are those of late inclusions; they cannot contradict what is recorded.
  INSERT INTO tally.chain_blocks AS k (chain_id, block_hash, block_number, parent_hash, block_time, is_canonical)
  SELECT p_chain_id, b.hash, b.number, b.parent, to_timestamp(b.time), true
  FROM jsonb_to_recordset(p_blocks) AS b (number bigint, hash text, parent text, time bigint)
  ORDER BY b.number
  ON CONFLICT (chain_id, block_hash) DO UPDATE SET is_canonical = true;
  UPDATE tally.networks AS n SET
    scanned_block = coalesce(newest.number, n.scanned_block),
    scanned_hash = coalesce(newest.hash, n.scanned_hash),
    finalized_block = final_block,
    finalized_time = coalesce((
      SELECT k.block_time FROM tally.chain_blocks AS k
      WHERE k.chain_id = p_chain_id AND k.block_number = final_block AND k.is_canonical), n.finalized_time)
  WHERE n.chain_id = p_chain_id;

  SELECT jsonb_agg(i.transaction_id) FILTER (WHERE i.is_told) INTO included
  FROM tally.transaction_include_v1(p_chain_id, p_inclusions) AS i;
  RETURN QUERY
    SELECT 'included', t.block_number, t.transaction_index, t.id, NULL
    FROM tally.blockchain_transactions AS t
    WHERE t.id IN (SELECT i::bigint FROM jsonb_array_elements_text(included) AS i);

  RETURN QUERY
    INSERT INTO tally.contract_events AS e (
      chain_id, block_hash, log_index, block_number, transaction_hash, contract_id, event_name, topics, data, args, state)
    SELECT p_chain_id, v.block_hash, v.log_index, k.block_number, v.transaction_hash, v.contract_id, v.event_name,
      ARRAY(SELECT decode(t.topic, 'hex') FROM jsonb_array_elements_text(v.topics) WITH ORDINALITY AS t (topic, n) ORDER BY t.n),
      decode(v.data, 'hex'), v.args, 'observed'
    FROM jsonb_to_recordset(p_events) AS v (
      block_hash text, log_index integer, transaction_hash text, contract_id bigint, event_name text, topics jsonb, data text,
      args jsonb)
    JOIN tally.chain_blocks AS k ON k.chain_id = p_chain_id AND k.block_hash = v.block_hash AND k.is_canonical
    ORDER BY k.block_number, v.log_index
    -- The same block again: its events are what they were, and only their state comes back.
    ON CONFLICT (chain_id, block_hash, log_index) DO UPDATE SET state = 'observed' WHERE e.state = 'orphaned'
    RETURNING 'event', e.block_number, e.log_index, NULL::bigint, e.block_hash::text;

  INSERT INTO tally.contracts_followed AS f (contract_id, read_block, joined_at)
  SELECT w.contract_id, w.read_block, CASE WHEN w.read_block >= network.scanned_block THEN tally.clock() END
  FROM jsonb_to_recordset(p_followed) AS w (contract_id bigint, read_block bigint)
  ON CONFLICT (contract_id) DO UPDATE SET read_block = excluded.read_block, joined_at = excluded.joined_at;

  PERFORM tally.transaction_confirm_v1(p_chain_id, greatest(deep_block, final_block));
  RETURN QUERY
    SELECT CASE WHEN f.is_failed THEN 'failed' ELSE 'finalized' END, f.block_number, f.transaction_index, f.transaction_id, NULL
    FROM tally.transaction_finalize_v1(p_chain_id, final_block) AS f;
  RETURN QUERY
    UPDATE tally.contract_events AS e SET state = 'final'
    WHERE e.chain_id = p_chain_id AND e.state = 'observed' AND e.block_number <= final_block
    RETURNING 'event_final', e.block_number, e.log_index, NULL::bigint, e.block_hash::text;

  -- Each block is looked at once, when it comes to lie deep enough; what is referred to then is so for ever.
  DELETE FROM tally.chain_blocks AS k
  WHERE k.chain_id = p_chain_id AND k.block_number < final_block - 256
    AND k.block_number >= coalesce(network.finalized_block, 0) - 256
    AND NOT EXISTS (SELECT FROM tally.blockchain_transactions AS t WHERE t.chain_id = p_chain_id AND t.block_hash = k.block_hash)
    AND NOT EXISTS (SELECT FROM tally.contract_events AS e WHERE e.chain_id = p_chain_id AND e.block_hash = k.block_hash);
END $$;
COMMENT ON FUNCTION tally.chain_advance_v1(bigint, text, bigint, jsonb, jsonb, jsonb, jsonb, bigint) IS
  'Records blocks with their inclusions, events and finality, and says whom to tell what; the same few statements for any number.';

CREATE FUNCTION tally.chain_reorg_v1(
  p_chain_id bigint, p_scanned_hash text, p_finalized_block bigint, p_ancestor_hash text
) RETURNS TABLE (told text, block_number bigint, place integer, transaction_id bigint, block_hash text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
#variable_conflict use_column
DECLARE
  ancestor bigint;
BEGIN
  PERFORM tally.lock_position(p_chain_id, p_scanned_hash, p_finalized_block);
  SELECT k.block_number INTO ancestor FROM tally.chain_blocks AS k
  WHERE k.chain_id = p_chain_id AND k.block_hash = p_ancestor_hash AND k.is_canonical;
  IF ancestor IS NULL OR ancestor < p_finalized_block THEN
    PERFORM tally.refuse('TSC05', format('block %s of network %s was final', p_finalized_block, p_chain_id),
      jsonb_build_object('chain_id', p_chain_id, 'finalized_block', p_finalized_block, 'ancestor', ancestor));
  END IF;
  RETURN QUERY
    SELECT CASE WHEN r.is_told THEN 'rolled_back' ELSE 'untold' END, r.block_number, r.transaction_index, r.transaction_id, NULL
    FROM tally.transaction_roll_back_v1(p_chain_id, ancestor) AS r;
  RETURN QUERY
    UPDATE tally.contract_events AS e SET state = 'orphaned'
    WHERE e.chain_id = p_chain_id AND e.state = 'observed' AND e.block_number > ancestor
    RETURNING 'event_orphaned', e.block_number, e.log_index, NULL::bigint, e.block_hash::text;
  UPDATE tally.chain_blocks AS k SET is_canonical = false
  WHERE k.chain_id = p_chain_id AND k.is_canonical AND k.block_number > ancestor;
  UPDATE tally.networks AS n SET scanned_block = ancestor, scanned_hash = p_ancestor_hash WHERE n.chain_id = p_chain_id;
END $$;
COMMENT ON FUNCTION tally.chain_reorg_v1(bigint, text, bigint, text) IS
  'Takes back every block, inclusion and event above the common ancestor, and says whom to tell; refused below finality (TSC05).';

CREATE FUNCTION tally.network_halt_v1(p_chain_id bigint, p_reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  UPDATE tally.networks SET status = 'halted', halted_reason = p_reason
  WHERE chain_id = p_chain_id AND status <> 'halted';
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION tally.network_halt_v1(bigint, text) IS
  'Stops a network until somebody resumes it: nothing is signed or recorded. False where it is halted, or there is none.';

-- After a restore (section 4.5) -------------------------------------------------------------------------------------

CREATE FUNCTION tally.chain_adopt_v1(p_chain_id bigint, p_address text, p_found jsonb) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
#variable_conflict use_column
DECLARE
  adopted bigint[];
BEGIN
  PERFORM FROM tally.chain_accounts AS a WHERE a.chain_id = p_chain_id AND a.address = p_address FOR NO KEY UPDATE;
  PERFORM FROM tally.blockchain_transactions AS b
  WHERE b.chain_id = p_chain_id AND b.from_address = p_address AND b.origin = 'managed' AND b.state IN ('queued', 'signed', 'broadcast')
  ORDER BY b.id FOR UPDATE;
  WITH found AS MATERIALIZED (
    SELECT f.hash, f.nonce, f.to_address, decode(f.call_data, 'hex') AS call_data, f.value, decode(f.raw, 'hex') AS raw,
      f.cap, f.tip, f.gas_limit
    FROM jsonb_to_recordset(p_found) AS f (
      hash text, nonce bigint, to_address text, call_data text, value numeric, raw text, cap numeric, tip numeric, gas_limit bigint)
    WHERE NOT EXISTS (SELECT FROM tally.blockchain_transaction_attempts AS a WHERE a.chain_id = p_chain_id AND a.transaction_hash = f.hash)
      AND NOT EXISTS (SELECT FROM tally.blockchain_transactions AS t WHERE t.chain_id = p_chain_id AND t.transaction_hash = f.hash)
  ), intents AS MATERIALIZED (
    SELECT b.id, b.nonce, b.to_address, b.call_data, b.value_transferred
    FROM tally.blockchain_transactions AS b
    WHERE b.chain_id = p_chain_id AND b.from_address = p_address AND b.origin = 'managed' AND b.state IN ('queued', 'signed', 'broadcast')
  ), of_nonce AS (
    -- Signed again after the backup: the same nonce, and the same intent or its cancel.
    SELECT i.id, f.hash, CASE
        WHEN f.to_address IS NOT DISTINCT FROM i.to_address AND f.call_data = i.call_data AND f.value = i.value_transferred THEN 'send'
        WHEN f.to_address = p_address AND f.call_data = '' AND f.value = 0 THEN 'cancel'
      END AS kind
    FROM found AS f JOIN intents AS i ON i.nonce = f.nonce
  ), of_content AS (
    -- Signed first after the backup: intents of the same content are sent in the order of their numbers.
    SELECT i.id, f.hash, 'send' AS kind
    FROM (
      SELECT n.*, row_number() OVER (PARTITION BY n.to_address, n.call_data, n.value_transferred ORDER BY n.id) AS place
      FROM intents AS n WHERE n.nonce IS NULL
    ) AS i
    JOIN (
      SELECT n.*, row_number() OVER (PARTITION BY n.to_address, n.call_data, n.value ORDER BY n.nonce) AS place
      FROM found AS n WHERE n.nonce NOT IN (SELECT k.nonce FROM intents AS k WHERE k.nonce IS NOT NULL)
    ) AS f ON f.to_address IS NOT DISTINCT FROM i.to_address AND f.call_data = i.call_data AND f.value = i.value_transferred
      AND f.place = i.place
  ), matched AS (
    SELECT m.id, m.kind, f.* FROM (
      SELECT * FROM of_nonce WHERE kind IS NOT NULL UNION ALL SELECT * FROM of_content
    ) AS m JOIN found AS f ON f.hash = m.hash
  ), kept AS (
    INSERT INTO tally.blockchain_transaction_attempts AS a (
      chain_id, transaction_hash, transaction_id, attempt, kind, raw, max_fee_per_gas, max_priority_fee_per_gas, gas_limit, broadcast_at)
    SELECT p_chain_id, m.hash, m.id,
      1 + (SELECT coalesce(max(k.attempt), 0) FROM tally.blockchain_transaction_attempts AS k WHERE k.transaction_id = m.id),
      m.kind, m.raw, m.cap, m.tip, m.gas_limit, tally.clock()
    FROM matched AS m
  ), signed AS (
    UPDATE tally.blockchain_transactions AS b SET
      state = CASE b.state WHEN 'queued' THEN 'signed' ELSE b.state END,
      nonce = m.nonce, transaction_hash = m.hash, gas_limit = m.gas_limit
    FROM matched AS m WHERE b.id = m.id
    RETURNING b.id
  )
  SELECT array_agg(s.id) INTO adopted FROM signed AS s;
  UPDATE tally.blockchain_transactions AS b SET state = 'broadcast' WHERE b.id = ANY (adopted) AND b.state = 'signed';
  UPDATE tally.chain_accounts AS a SET next_nonce = greatest(a.next_nonce, 1 + (
    SELECT coalesce(max(b.nonce), -1) FROM tally.blockchain_transactions AS b WHERE b.id = ANY (adopted)))
  WHERE a.chain_id = p_chain_id AND a.address = p_address;
  RETURN QUERY SELECT unnest(adopted);
END $$;
COMMENT ON FUNCTION tally.chain_adopt_v1(bigint, text, jsonb) IS
  'Gives transactions of an account that the chain has and the database forgot to the intents that they carry out, and puts the next nonce behind them.';

-- Rights ---------------------------------------------------------------------------------------

GRANT SELECT ON tally.contracts_followed TO tally_app, tally_auditor;
REVOKE EXECUTE ON FUNCTION
  tally.transaction_include_v1(bigint, jsonb), tally.transaction_confirm_v1(bigint, bigint),
  tally.transaction_finalize_v1(bigint, bigint), tally.transaction_roll_back_v1(bigint, bigint),
  tally.lock_position(bigint, text, bigint),
  tally.chain_advance_v1(bigint, text, bigint, jsonb, jsonb, jsonb, jsonb, bigint),
  tally.chain_reorg_v1(bigint, text, bigint, text), tally.network_halt_v1(bigint, text),
  tally.chain_adopt_v1(bigint, text, jsonb) FROM PUBLIC;
-- A single transition is a part of an advance or of a reorganisation, and for nobody else.
GRANT EXECUTE ON FUNCTION
  tally.chain_advance_v1(bigint, text, bigint, jsonb, jsonb, jsonb, jsonb, bigint),
  tally.chain_reorg_v1(bigint, text, bigint, text), tally.network_halt_v1(bigint, text),
  tally.chain_adopt_v1(bigint, text, jsonb) TO tally_app;
