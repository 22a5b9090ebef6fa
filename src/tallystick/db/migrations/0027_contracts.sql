-- Which contracts of ours stand where (chain.md, sections 2 and 4.2). What their code is was read from the chain and compared with
-- the artifact before this runs; a row never changes afterwards, but for being the one that calls by name go to.

CREATE FUNCTION tally.contract_register_v1(
  p_chain_id bigint, p_name text, p_address text, p_version text, p_constructor_args jsonb, p_compiled_bytecode bytea, p_abi jsonb,
  p_abi_hash bytea, p_code_hash bytea, p_source_hash bytea, p_compiler_version text, p_transaction_id bigint
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  made record;
  registered bigint;
BEGIN
  -- The network's row comes first, as everywhere: two that register one name wait for each other here.
  PERFORM FROM tally.networks AS n WHERE n.chain_id = p_chain_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM tally.refuse_unknown_network(p_chain_id);
  END IF;
  UPDATE tally.contract_deployments AS d SET is_active = false
  WHERE d.chain_id = p_chain_id AND d.contract_name = p_name AND d.is_active AND d.contract_address <> p_address;
  UPDATE tally.contract_deployments AS d SET is_active = true
  WHERE d.chain_id = p_chain_id AND d.contract_name = p_name AND d.contract_address = p_address
  RETURNING d.id INTO registered;
  IF registered IS NULL THEN
    -- Where the transaction that made it is one of ours, who made it and when is its row's word, not the caller's.
    SELECT t.transaction_hash, t.from_address, t.block_number, b.block_time INTO made
    FROM tally.blockchain_transactions AS t
    LEFT JOIN tally.chain_blocks AS b ON b.chain_id = t.chain_id AND b.block_hash = t.block_hash
    WHERE t.chain_id = p_chain_id AND t.contract_address = p_address AND t.to_address IS NULL AND t.receipt_status = 1
      AND (p_transaction_id IS NULL OR t.id = p_transaction_id)
    ORDER BY t.id LIMIT 1;
    INSERT INTO tally.contract_deployments (chain_id, contract_name, contract_address, contract_version, deployment_tx_hash,
      deployer_address, block_number, constructor_args, compiled_bytecode, abi, abi_hash, code_hash, source_hash, compiler_version,
      deployed_at)
    VALUES (p_chain_id, p_name, p_address, p_version, made.transaction_hash, made.from_address, made.block_number,
      p_constructor_args, p_compiled_bytecode, p_abi, p_abi_hash, p_code_hash, p_source_hash, p_compiler_version, made.block_time)
    RETURNING id INTO registered;
  END IF;
  PERFORM tally.wake_chain(p_chain_id);
  RETURN registered;
END $$;
COMMENT ON FUNCTION tally.contract_register_v1(bigint, text, text, text, jsonb, bytea, jsonb, bytea, bytea, bytea, text, bigint) IS
  'Registers a contract as the active one of its name on a network; one that stands there already becomes active again.';

REVOKE EXECUTE ON FUNCTION
  tally.contract_register_v1(bigint, text, text, text, jsonb, bytea, jsonb, bytea, bytea, bytea, text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  tally.contract_register_v1(bigint, text, text, text, jsonb, bytea, jsonb, bytea, bytea, bytea, text, bigint) TO tally_app;
