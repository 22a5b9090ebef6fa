-- name: list_networks
-- Every network, or the one that is named.
SELECT n.chain_id, n.name, n.native_symbol, n.is_testnet, n.has_l1_fee, n.confirmations, n.finality_mode, n.finality_quorum,
  n.block_seconds, n.resubmit_seconds, n.max_fee_per_gas_wei, n.min_tip_wei, n.status, n.halted_reason, n.status_reason,
  n.scanned_block, n.scanned_hash, n.finalized_block, n.finalized_time, n.created_at
FROM tally.networks AS n
WHERE %(chain_id)s::bigint IS NULL OR n.chain_id = %(chain_id)s::bigint
ORDER BY n.chain_id;

-- name: add_network
-- Adds a network, paused; false where its chain id is taken.
SELECT tally.network_add_v1(%(chain_id)s, %(name)s, %(native_symbol)s, %(is_testnet)s, %(has_l1_fee)s, %(confirmations)s,
  %(finality_mode)s, %(finality_quorum)s, %(block_seconds)s, %(resubmit_seconds)s, %(max_fee_per_gas_wei)s, %(min_tip_wei)s);

-- name: set_network
-- Pauses a network or lets it be active, and changes its settings; true where the status changed.
SELECT tally.network_set_v1(%(chain_id)s, %(status)s, %(reason)s, %(confirmations)s, %(finality_mode)s, %(finality_quorum)s,
  %(block_seconds)s, %(resubmit_seconds)s, %(max_fee_per_gas_wei)s, %(min_tip_wei)s);

-- name: resume_network
-- Lets a halted network go on.
SELECT tally.network_resume_v1(%(chain_id)s, %(reason)s);

-- name: list_accounts
-- The accounts of one network, or of all.
SELECT a.chain_id, a.address, a.purpose, a.signer_name, a.next_nonce, a.minimum_balance_wei, a.is_paused, a.created_at
FROM tally.chain_accounts AS a
WHERE %(chain_id)s::bigint IS NULL OR a.chain_id = %(chain_id)s::bigint
ORDER BY a.chain_id, a.purpose;

-- name: add_account
-- Adds an account; false where its address or purpose is taken on the network.
SELECT tally.account_add_v1(%(chain_id)s, %(address)s, %(purpose)s, %(signer_name)s, %(minimum_balance_wei)s);

-- name: set_account
-- Changes an account; false where there is none.
SELECT tally.account_set_v1(%(chain_id)s, %(address)s, %(signer_name)s, %(minimum_balance_wei)s, %(is_paused)s);

-- name: block_at
-- The canonical block of a number.
SELECT b.chain_id, b.block_number, b.block_hash, b.block_time FROM tally.chain_blocks AS b
WHERE b.chain_id = %(chain_id)s AND b.block_number = %(number)s AND b.is_canonical;
