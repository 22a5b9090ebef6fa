-- name: list_accounts
-- Every account of ours on a network that is not halted.
SELECT a.chain_id, a.address, a.signer_name
FROM tally.chain_accounts AS a JOIN tally.networks AS n ON n.chain_id = a.chain_id
WHERE n.status <> 'halted' AND a.chain_id = ANY (%(chain_ids)s::bigint[]) ORDER BY a.chain_id, a.address;

-- name: read_place
-- What the sender needs of an account and its network.
SELECT n.status, n.block_seconds, n.resubmit_seconds, n.max_fee_per_gas_wei, n.min_tip_wei, n.confirmations, n.finality_mode,
  n.finality_quorum, n.finalized_block, a.next_nonce, a.minimum_balance_wei, a.is_paused
FROM tally.chain_accounts AS a JOIN tally.networks AS n ON n.chain_id = a.chain_id
WHERE a.chain_id = %(chain_id)s AND a.address = %(address)s;

-- name: read_queued
-- The oldest intents of an account; none has a nonce, by which the index of what is queued is chosen.
SELECT t.id, t.to_address, t.call_data, t.value_transferred
FROM tally.blockchain_transactions AS t
WHERE t.chain_id = %(chain_id)s AND t.from_address = %(address)s AND t.origin = 'managed' AND t.state = 'queued'
ORDER BY t.nonce, t.id LIMIT %(limit)s;

-- name: read_unmined
-- Transactions of an account that are signed and in no block, each with its newest attempt.
SELECT t.id, t.state, t.nonce, t.to_address, t.call_data, t.value_transferred, t.asked, a.transaction_hash, a.kind,
  a.max_fee_per_gas, a.max_priority_fee_per_gas, a.gas_limit, a.broadcast_at IS NOT NULL,
  extract(epoch FROM tally.clock() - a.signed_at)::float8
FROM tally.blockchain_transactions AS t
CROSS JOIN LATERAL (
  SELECT b.* FROM tally.blockchain_transaction_attempts AS b WHERE b.transaction_id = t.id ORDER BY b.attempt DESC LIMIT 1
) AS a
WHERE t.chain_id = %(chain_id)s AND t.from_address = %(address)s AND t.origin = 'managed' AND t.state IN ('signed', 'broadcast')
ORDER BY t.nonce;

-- name: read_raw
-- The signed bytes of attempts.
SELECT a.transaction_hash, a.raw FROM tally.blockchain_transaction_attempts AS a
WHERE a.chain_id = %(chain_id)s AND a.transaction_hash = ANY (%(attempt_hashes)s::text[]);

-- name: read_hashes
-- The hash of every attempt of transactions.
SELECT a.transaction_id, a.transaction_hash FROM tally.blockchain_transaction_attempts AS a
WHERE a.transaction_id = ANY (%(ids)s::bigint[]) ORDER BY a.transaction_id, a.attempt;

-- name: sign
-- Takes nonces and stores first attempts; false where somebody was there before, and nothing is stored.
SELECT r.is_stored FROM tally.transaction_sign_v1(%(chain_id)s, %(address)s, %(first_nonce)s, %(ids)s::bigint[], %(raws)s::bytea[],
  %(attempt_hashes)s::text[], %(caps)s::numeric[], %(tips)s::numeric[], %(gas_limits)s::bigint[]) AS r (is_stored);

-- name: refuse
-- Fails intents that the EVM would not carry out, and returns those that were still queued.
SELECT r.id FROM tally.transaction_refuse_v1(%(ids)s::bigint[], %(messages)s::text[], %(data)s::bytea[]) AS r (id);

-- name: broadcast
-- Records what the node said to each of the attempts that it was sent; no error means that it has the bytes.
SELECT FROM tally.transaction_broadcast_v1(%(chain_id)s, %(attempt_hashes)s::text[], %(errors)s::text[]);

-- name: replace
-- Stores further attempts at transactions that are still in no block, and returns the hashes that were stored.
SELECT r.stored FROM tally.transaction_replace_v1(%(chain_id)s, %(ids)s::bigint[], %(kinds)s::text[], %(raws)s::bytea[],
  %(attempt_hashes)s::text[], %(caps)s::numeric[], %(tips)s::numeric[], %(gas_limits)s::bigint[]) AS r (stored);

-- name: requeue
-- Puts transactions back whose nonce a foreign one took, and returns those that were to be cancelled, and are.
SELECT r.id FROM tally.transaction_requeue_v1(%(chain_id)s, %(address)s, %(ids)s::bigint[], %(chain_nonce)s) AS r (id);

-- name: take_lock
-- The lock of the one sender of an account, until the session ends.
SELECT pg_try_advisory_lock(hashtextextended('tallystick.chain.sender ' || %(address)s, %(chain_id)s));

-- name: listen
-- Wakes the session when there may be something to send.
LISTEN tally_chain;
