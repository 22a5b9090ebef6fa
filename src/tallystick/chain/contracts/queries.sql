-- name: register_contract
-- Registers a contract as the active one of its name, and returns its number.
SELECT tally.contract_register_v1(%(chain_id)s, %(name)s, %(address)s, %(version)s, %(constructor_args)s, %(compiled_bytecode)s,
  %(abi)s, %(abi_hash)s, %(code_hash)s, %(source_hash)s, %(compiler_version)s, %(transaction_id)s);

-- name: list_contracts
-- Contracts, active and newest first, behind one; of one network and of one name where they are given.
SELECT d.id, d.chain_id, d.contract_name, d.contract_address, d.contract_version, d.deployment_tx_hash, d.deployer_address,
  d.block_number, d.constructor_args, d.abi, d.abi_hash, d.code_hash, d.source_hash, d.compiler_version, d.is_active, d.deployed_at,
  d.created_at
FROM tally.contract_deployments AS d
WHERE (%(chain_id)s::bigint IS NULL OR d.chain_id = %(chain_id)s::bigint)
  AND (%(name)s::text IS NULL OR d.contract_name = %(name)s::text)
  AND (%(address)s::text IS NULL OR d.contract_address = %(address)s::text)
  AND (d.is_active OR NOT %(only_active)s)
  AND (%(after)s::bigint IS NULL OR (d.is_active, d.id) <
       (SELECT a.is_active, a.id FROM tally.contract_deployments AS a WHERE a.id = %(after)s::bigint))
ORDER BY d.is_active DESC, d.id DESC LIMIT %(limit)s::bigint;
