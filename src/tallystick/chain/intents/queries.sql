-- name: queue
-- Queues intents and returns their numbers in the same order; what is long goes in binary, which needs no escapes.
SELECT tally.transaction_queue_v1( -- noqa: RF01
  %(chain_ids)s::bigint[], %(types)s::text[], %(keys)b::text[], %(to)b::text[], %(call_data)b::bytea[],
  %(values)s::numeric[], %(from)s::text[], %(challenge_ids)s::bigint[], %(user_ids)s::text[], %(function_names)b::text[],
  %(parameters)b::text[]);

-- name: read_interfaces
-- The newest interface that is registered for each of the addresses.
SELECT DISTINCT ON (c.chain_id, c.contract_address) c.chain_id, c.contract_address, c.abi
FROM unnest(%(chain_ids)s::bigint[], %(addresses)s::text[]) AS i (chain_id, address)
INNER JOIN tally.contract_deployments AS c ON c.chain_id = i.chain_id AND c.contract_address = i.address
ORDER BY c.chain_id, c.contract_address, c.id DESC;

-- name: observe
-- Records a transaction that a client sent and that is what was expected.
SELECT tally.transaction_observe_v1(%(chain_id)s, %(transaction_hash)s, %(transaction_type)s, %(from_address)s, %(to_address)s,
  %(call_data)s, %(value)s, %(gas_limit)s, %(nonce)s, %(function_name)s, %(parameters)s, %(challenge_id)s, %(user_id)s);

-- name: cancel
-- Cancels a queued transaction (true), or asks the sender to cancel a signed one (false).
SELECT tally.transaction_cancel_v1(%(id)s);

-- name: ask
-- Asks the sender to do something with a signed transaction.
SELECT tally.transaction_ask_v1(%(id)s, %(asked)s);

-- name: wake
-- Wakes the watcher and the sender of a network when the transaction commits.
SELECT tally.wake_chain(%(chain_id)s);

-- name: read_transaction
-- One transaction.
SELECT b.id, b.chain_id, b.transaction_type, b.origin, b.idempotency_key, b.intent_digest, b.from_address, b.to_address,
  b.contract_address, b.contract_name, b.function_name, b.parameters, b.call_data, b.value_transferred, b.gas_limit, b.nonce,
  b.transaction_hash, b.state, b.status, b.receipt_status, b.block_number, b.block_hash, b.transaction_index, b.gas_used,
  b.gas_price, b.l1_fee_wei, b.fee_wei, b.transaction_fee, b.price_id, b.cost_usd, b.challenge_id, b.user_id, b.error_message,
  b.revert_data, b.metadata, b.asked, b.submitted_at, b.mined_at, b.confirmed_at, b.finalized_at, b.created_at
FROM tally.blockchain_transactions AS b WHERE b.id = %(id)s;

-- name: find_by_hash
-- The transaction that any of its attempts' hashes names.
SELECT coalesce(
  (SELECT a.transaction_id FROM tally.blockchain_transaction_attempts AS a
   WHERE a.chain_id = %(chain_id)s AND a.transaction_hash = %(transaction_hash)s),
  (SELECT b.id FROM tally.blockchain_transactions AS b
   WHERE b.chain_id = %(chain_id)s AND b.transaction_hash = %(transaction_hash)s));

-- name: list_transactions
-- Transactions, newest first, behind a number.
SELECT b.id, b.chain_id, b.transaction_type, b.origin, b.idempotency_key, b.intent_digest, b.from_address, b.to_address,
  b.contract_address, b.contract_name, b.function_name, b.parameters, b.call_data, b.value_transferred, b.gas_limit, b.nonce,
  b.transaction_hash, b.state, b.status, b.receipt_status, b.block_number, b.block_hash, b.transaction_index, b.gas_used,
  b.gas_price, b.l1_fee_wei, b.fee_wei, b.transaction_fee, b.price_id, b.cost_usd, b.challenge_id, b.user_id, b.error_message,
  b.revert_data, b.metadata, b.asked, b.submitted_at, b.mined_at, b.confirmed_at, b.finalized_at, b.created_at
FROM tally.blockchain_transactions AS b
WHERE (%(after)s::bigint IS NULL OR b.id < %(after)s::bigint)
  AND (%(transaction_type)s::text IS NULL OR b.transaction_type = %(transaction_type)s::text)
  AND (%(status)s::text IS NULL OR b.status = %(status)s::text)
  AND (%(chain_id)s::bigint IS NULL OR b.chain_id = %(chain_id)s::bigint)
  AND (%(user_id)s::text IS NULL OR b.user_id = %(user_id)s::text)
ORDER BY b.id DESC LIMIT %(limit)s;

-- name: list_attempts
-- Every signing of a transaction, in order.
SELECT a.chain_id, a.transaction_hash, a.transaction_id, a.attempt, a.kind, a.raw, a.max_fee_per_gas, a.max_priority_fee_per_gas,
  a.gas_limit, a.signed_at, a.broadcast_at, a.last_error
FROM tally.blockchain_transaction_attempts AS a WHERE a.transaction_id = %(id)s ORDER BY a.attempt;

-- name: statistics
-- Sums by network, type and status of what was submitted since a time.
SELECT b.chain_id, b.transaction_type, b.status, count(*), coalesce(sum(b.gas_used), 0), coalesce(sum(b.fee_wei::numeric), 0),
  coalesce(sum(b.cost_usd), 0),
  percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM b.mined_at - b.submitted_at)::float8),
  percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM b.finalized_at - b.submitted_at)::float8)
FROM tally.blockchain_transactions AS b
WHERE (%(chain_id)s::bigint IS NULL OR b.chain_id = %(chain_id)s::bigint) AND b.submitted_at >= %(since)s
GROUP BY b.chain_id, b.transaction_type, b.status ORDER BY b.chain_id, b.transaction_type, b.status;

-- name: list_events
-- Events of a contract's deployments on a network, by block and place, behind one.
SELECT e.chain_id, e.block_hash, e.log_index, e.block_number, k.block_time, e.transaction_hash, e.contract_id, c.contract_name,
  c.contract_address, e.event_name, e.topics, e.data, e.args, e.state
FROM tally.contract_deployments AS c
INNER JOIN tally.contract_events AS e ON e.contract_id = c.id
INNER JOIN tally.chain_blocks AS k ON k.chain_id = e.chain_id AND k.block_hash = e.block_hash
WHERE c.chain_id = %(chain_id)s AND c.contract_name = %(contract_name)s
  AND (%(event_name)s::text IS NULL OR e.event_name = %(event_name)s::text)
  AND (%(state)s::text IS NULL OR e.state = %(state)s::text)
  AND (%(after_block)s::bigint IS NULL
       OR (e.block_number, e.log_index, e.block_hash::text) > (%(after_block)s::bigint, %(after_index)s::integer, %(after_hash)s::text))
ORDER BY e.block_number, e.log_index, e.block_hash::text LIMIT %(limit)s;

-- name: has_contract
-- Whether a contract of this name was ever registered on a network.
SELECT EXISTS (SELECT FROM tally.contract_deployments AS c WHERE c.chain_id = %(chain_id)s AND c.contract_name = %(contract_name)s);
