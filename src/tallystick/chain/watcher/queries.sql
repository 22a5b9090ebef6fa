-- name: read_network
-- A network with what its watcher needs of it; is_priced says whether an inclusion could be priced.
SELECT n.chain_id, n.status, n.confirmations, n.finality_mode, n.finality_quorum, n.block_seconds, n.scanned_block, n.scanned_hash,
  n.finalized_block, EXISTS (SELECT FROM tally.price_snapshots AS p WHERE p.symbol = n.native_symbol)
FROM tally.networks AS n WHERE n.chain_id = %(chain_id)s::bigint;

-- name: read_contracts
-- Every registered contract of a network, those that a newer one replaced too, and how far each was followed.
SELECT c.id, c.contract_name, c.contract_address, c.block_number, f.read_block,
  f.joined_at IS NOT NULL
FROM tally.contract_deployments AS c LEFT JOIN tally.contracts_followed AS f ON f.contract_id = c.id
WHERE c.chain_id = %(chain_id)s::bigint ORDER BY c.id;

-- name: read_abi
-- The interface of a registered contract.
SELECT c.abi FROM tally.contract_deployments AS c WHERE c.id = %(contract_id)s;

-- name: awaited_of
-- Those of the given hashes that belong to transactions of ours that are not mined.
SELECT a.transaction_hash FROM tally.blockchain_transaction_attempts AS a
JOIN tally.blockchain_transactions AS t ON t.id = a.transaction_id
WHERE a.chain_id = %(chain_id)s::bigint AND a.transaction_hash = ANY (%(hashes)s::text[]) AND t.state IN ('signed', 'broadcast', 'dropped')
UNION
SELECT t.transaction_hash FROM tally.blockchain_transactions AS t
WHERE t.chain_id = %(chain_id)s::bigint AND t.transaction_hash = ANY (%(hashes)s::text[]) AND t.origin = 'observed'
  AND t.state IN ('broadcast', 'dropped');

-- name: read_awaited
-- Transactions that are not mined, oldest first, each with all of its hashes.
SELECT t.id, t.origin, t.state, t.submitted_at <= tally.clock() - make_interval(secs => %(aged_seconds)s),
  array_remove(array_agg(coalesce(a.transaction_hash, t.transaction_hash)::text ORDER BY a.attempt), NULL)
FROM tally.blockchain_transactions AS t
LEFT JOIN tally.blockchain_transaction_attempts AS a ON a.transaction_id = t.id
WHERE t.chain_id = %(chain_id)s::bigint AND t.state IN ('signed', 'broadcast', 'dropped') AND t.id > %(after)s
GROUP BY t.id ORDER BY t.id LIMIT %(limit)s;

-- name: read_blocks
-- The canonical blocks of a range of numbers, lowest first.
SELECT b.chain_id, b.block_number, b.block_hash, b.block_time FROM tally.chain_blocks AS b
WHERE b.chain_id = %(chain_id)s::bigint AND b.is_canonical AND b.block_number BETWEEN %(first)s AND %(last)s ORDER BY b.block_number;

-- name: read_blocks_at
-- The canonical blocks of some numbers that are kept.
SELECT b.chain_id, b.block_number, b.block_hash, b.block_time FROM tally.chain_blocks AS b
WHERE b.chain_id = %(chain_id)s::bigint AND b.is_canonical AND b.block_number = ANY (%(numbers)s::bigint[]);

-- name: advance
-- Records blocks and what they bring, and returns whom to tell what.
SELECT r.told, r.block_number, r.place, r.transaction_id, r.block_hash
FROM tally.chain_advance_v1(%(chain_id)s::bigint, %(scanned_hash)s::text, %(finalized_block)s::bigint, %(blocks)s, %(inclusions)s, %(events)s,
  %(followed)s, %(final_block)s::bigint) AS r;

-- name: reorganise
-- Takes back what lies above the common ancestor, and returns whom to tell what.
SELECT r.told, r.block_number, r.place, r.transaction_id, r.block_hash
FROM tally.chain_reorg_v1(%(chain_id)s::bigint, %(scanned_hash)s::text, %(finalized_block)s::bigint, %(ancestor_hash)s::text) AS r;

-- name: read_transactions
-- Rows of transactions by id.
SELECT
  t.id, t.chain_id, t.transaction_type, t.origin, t.idempotency_key, t.intent_digest, t.from_address, t.to_address,
  t.contract_address, t.contract_name, t.function_name, t.parameters, t.call_data, t.value_transferred, t.gas_limit, t.nonce,
  t.transaction_hash, t.state, t.status, t.receipt_status, t.block_number, t.block_hash, t.transaction_index, t.gas_used,
  t.gas_price, t.l1_fee_wei, t.fee_wei, t.transaction_fee, t.price_id, t.cost_usd, t.challenge_id, t.user_id, t.error_message,
  t.revert_data, t.metadata, t.asked, t.submitted_at, t.mined_at, t.confirmed_at, t.finalized_at, t.created_at
FROM tally.blockchain_transactions AS t WHERE t.id = ANY (%(ids)s::bigint[]);

-- name: read_events
-- Events by block and place, each with the time of its block and the name of its contract.
SELECT e.chain_id, e.block_hash, e.log_index, e.block_number, b.block_time, e.transaction_hash, e.contract_id, c.contract_name,
  c.contract_address, e.event_name, e.topics, e.data, e.args, e.state
FROM tally.contract_events AS e
JOIN tally.chain_blocks AS b ON b.chain_id = e.chain_id AND b.block_hash = e.block_hash
JOIN tally.contract_deployments AS c ON c.id = e.contract_id
WHERE e.chain_id = %(chain_id)s::bigint AND (e.block_hash, e.log_index) IN (
  SELECT unnest(%(hashes)s::text[]), unnest(%(places)s::integer[]));

-- name: halt
-- Stops a network until somebody resumes it.
SELECT tally.network_halt_v1(%(chain_id)s::bigint, %(reason)s::text);

-- name: drop_unseen
-- Drops observed transactions that no node knows, where they were submitted a day ago.
SELECT tally.transaction_drop_v1(%(ids)s::bigint[]);

-- name: take_lock
-- The lock of the one watcher of a network, until the session ends.
SELECT pg_try_advisory_lock(hashtextextended('tallystick.chain.watcher', %(chain_id)s::bigint));

-- name: listen
-- Wakes the session when there is something to look for.
LISTEN tally_chain;

-- name: read_addresses
-- The accounts of ours on a network.
SELECT a.address FROM tally.chain_accounts AS a WHERE a.chain_id = %(chain_id)s::bigint ORDER BY a.address;

-- name: read_account
-- An account's next nonce, since when the oldest of its intents waits for a block, and the unmined ones by nonce with all their hashes.
SELECT a.next_nonce, least((
    SELECT t.submitted_at FROM tally.blockchain_transactions AS t
    WHERE t.chain_id = a.chain_id AND t.from_address = a.address AND t.origin = 'managed' AND t.state = 'queued'
    ORDER BY t.nonce, t.id LIMIT 1), (
    SELECT min(t.submitted_at) FROM tally.blockchain_transactions AS t
    WHERE t.chain_id = a.chain_id AND t.from_address = a.address AND t.origin = 'managed' AND t.state IN ('signed', 'broadcast'))),
  ARRAY(
    SELECT jsonb_build_array(t.nonce, (
      SELECT jsonb_agg(k.transaction_hash ORDER BY k.attempt) FROM tally.blockchain_transaction_attempts AS k
      WHERE k.transaction_id = t.id))
    FROM tally.blockchain_transactions AS t
    WHERE t.chain_id = a.chain_id AND t.from_address = a.address AND t.origin = 'managed' AND t.state IN ('signed', 'broadcast')
    ORDER BY t.nonce)
FROM tally.chain_accounts AS a WHERE a.chain_id = %(chain_id)s::bigint AND a.address = %(address)s::text;

-- name: read_block_before
-- The block of the last mined transaction of an account before a nonce.
SELECT t.block_number FROM tally.blockchain_transactions AS t
WHERE t.chain_id = %(chain_id)s::bigint AND t.from_address = %(address)s::text AND t.origin = 'managed' AND t.nonce < %(nonce)s::bigint
  AND t.block_number IS NOT NULL
ORDER BY t.nonce DESC LIMIT 1;

-- name: adopt
-- Gives transactions that the chain has to the intents that they carry out; returns those.
SELECT a.id FROM tally.chain_adopt_v1(%(chain_id)s::bigint, %(address)s::text, %(found)s) AS a (id);

-- name: catch_up
-- Raises an account's next nonce to the one that is final on the chain.
SELECT tally.account_catch_up_v1(%(chain_id)s::bigint, %(address)s::text, %(final_nonce)s::bigint);
