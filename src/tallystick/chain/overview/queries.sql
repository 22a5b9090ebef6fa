-- name: list_standings
-- How each network that is used stands: its newest recorded block and its oldest intent that is in no block.
SELECT n.chain_id, n.status, n.scanned_block, n.finalized_block,
  extract(epoch FROM tally.clock() - k.block_time)::float8,
  (SELECT extract(epoch FROM tally.clock() - min(b.submitted_at))::float8 FROM tally.blockchain_transactions AS b
   WHERE b.chain_id = n.chain_id AND b.origin = 'managed' AND b.state IN ('queued', 'signed', 'broadcast')
     AND b.state NOT IN ('finalized', 'failed', 'cancelled'))
FROM tally.networks AS n
LEFT JOIN tally.chain_blocks AS k ON k.chain_id = n.chain_id AND k.block_hash = n.scanned_hash
WHERE n.status <> 'paused' OR n.scanned_block IS NOT NULL
ORDER BY n.chain_id;

-- name: count_unfinished
-- How many transactions of each network stand in each state that is not the last.
SELECT b.chain_id, b.state, count(*) FROM tally.blockchain_transactions AS b
WHERE b.state NOT IN ('finalized', 'failed', 'cancelled')
GROUP BY b.chain_id, b.state ORDER BY b.chain_id, b.state;

-- name: list_unfinished
-- The oldest transactions that are in no final state, by network and number.
SELECT b.chain_id, b.id, b.transaction_type, b.state, b.from_address, b.to_address, b.function_name, b.nonce, b.transaction_hash,
  b.submitted_at
FROM tally.blockchain_transactions AS b
WHERE b.state NOT IN ('finalized', 'failed', 'cancelled')
ORDER BY b.chain_id, b.id LIMIT %(limit)s;

-- name: chains_of
-- On which networks a hash is that of a transaction, or of one of its attempts.
SELECT n.chain_id FROM tally.networks AS n
WHERE EXISTS (SELECT FROM tally.blockchain_transaction_attempts AS a
              WHERE a.chain_id = n.chain_id AND a.transaction_hash = %(transaction_hash)s)
   OR EXISTS (SELECT FROM tally.blockchain_transactions AS b
              WHERE b.chain_id = n.chain_id AND b.transaction_hash = %(transaction_hash)s)
ORDER BY n.chain_id;
