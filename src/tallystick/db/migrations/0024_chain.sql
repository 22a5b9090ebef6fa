-- The chain: networks, transactions, contracts, events, prices (chain.md, sections 2 and 3).
--
-- Amounts are uint256 in wei. Locks are taken in the order networks, chain_accounts, blockchain_transactions by id,
-- contract_deployments. Endpoints and keys stand in no table: rows name a signer, never what it signs with.

-- Networks -------------------------------------------------------------------------------------

CREATE TABLE tally.networks (
  chain_id bigint PRIMARY KEY CONSTRAINT chain_id_is_exact_in_json CHECK (chain_id BETWEEN 1 AND 9007199254740991),
  name text COLLATE "C" NOT NULL CONSTRAINT network_name_is_short CHECK (char_length(name) BETWEEN 1 AND 100),
  native_symbol text COLLATE "C" NOT NULL DEFAULT 'ETH' CONSTRAINT symbol_is_plain CHECK (native_symbol ~ '^[A-Z0-9]{1,16}$'),
  is_testnet boolean NOT NULL,
  has_l1_fee boolean NOT NULL DEFAULT false,
  confirmations integer NOT NULL CONSTRAINT confirmations_are_counted CHECK (confirmations >= 1),
  finality_mode text COLLATE "C" NOT NULL CONSTRAINT finality_mode_is_known CHECK (finality_mode IN ('tag', 'depth')),
  finality_quorum smallint NOT NULL DEFAULT 1 CONSTRAINT quorum_is_counted CHECK (finality_quorum >= 1),
  block_seconds numeric(8, 3) NOT NULL CONSTRAINT blocks_take_time CHECK (block_seconds > 0),
  resubmit_seconds integer NOT NULL DEFAULT 48 CONSTRAINT resubmission_waits CHECK (resubmit_seconds > 0),
  max_fee_per_gas_wei tally.uint256 NOT NULL,
  min_tip_wei tally.uint256 NOT NULL,
  status text COLLATE "C" NOT NULL DEFAULT 'paused' CONSTRAINT network_status_is_known CHECK (status IN ('active', 'paused', 'halted')),
  halted_reason text CONSTRAINT halted_reason_is_short CHECK (char_length(halted_reason) BETWEEN 1 AND 1000),
  status_reason text CONSTRAINT status_reason_is_short CHECK (char_length(status_reason) BETWEEN 1 AND 500),
  scanned_block bigint CONSTRAINT scanned_block_is_a_height CHECK (scanned_block >= 0),
  scanned_hash tally.evm_hash,
  finalized_block bigint CONSTRAINT finalized_block_is_a_height CHECK (finalized_block >= 0),
  finalized_time timestamptz,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  CONSTRAINT halted_has_reason CHECK ((status = 'halted') = (halted_reason IS NOT NULL)),
  CONSTRAINT scanned_block_has_hash CHECK ((scanned_block IS NULL) = (scanned_hash IS NULL)),
  CONSTRAINT finalized_block_has_time CHECK ((finalized_block IS NULL) = (finalized_time IS NULL)),
  CONSTRAINT final_is_scanned CHECK (finalized_block IS NULL OR finalized_block <= scanned_block)
) WITH (fillfactor = 50);
SELECT tally.describe('tally.networks', 'Networks that transactions are sent to, one row for each chain.', '{
  "chain_id": "EIP-155 id; it may exceed 2^31.",
  "name": "What people call it.",
  "native_symbol": "Symbol of its own coin, whose price it needs.",
  "is_testnet": "Its coins are worth nothing.",
  "has_l1_fee": "Its receipts name an l1Fee beside gas.",
  "confirmations": "Least depth of a block that is confirmed.",
  "finality_mode": "tag: also the finalized tag has to cover a block; depth: confirmations alone make it final.",
  "finality_quorum": "How many endpoints have to agree on what is finalized.",
  "block_seconds": "Usual seconds between blocks; the watcher polls twice as often.",
  "resubmit_seconds": "Seconds without a receipt, after which a transaction is signed again with higher fees.",
  "max_fee_per_gas_wei": "No transaction offers more for a unit of gas.",
  "min_tip_wei": "No transaction offers its block''s producer less.",
  "status": "State; see status_transitions. paused signs nothing and follows, halted does neither.",
  "halted_reason": "What halted it; set exactly while it is halted.",
  "status_reason": "Why an operator paused or resumed it last.",
  "scanned_block": "Number of the newest block that the watcher recorded.",
  "scanned_hash": "Its hash.",
  "finalized_block": "Number of the newest final block.",
  "finalized_time": "That block''s time.",
  "created_at": "When the network was added."}');
SELECT tally.keep_evidence('tally.networks', 'UPDATE OF chain_id, created_at OR DELETE OR TRUNCATE');

-- Blocks ---------------------------------------------------------------------------------------

CREATE TABLE tally.chain_blocks (
  chain_id bigint NOT NULL REFERENCES tally.networks ON DELETE RESTRICT,
  block_hash tally.evm_hash NOT NULL,
  block_number bigint NOT NULL CONSTRAINT block_number_is_a_height CHECK (block_number >= 0),
  parent_hash tally.evm_hash NOT NULL,
  block_time timestamptz NOT NULL,
  is_canonical boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (chain_id, block_hash)
);
CREATE UNIQUE INDEX chain_blocks_canonical ON tally.chain_blocks (chain_id, block_number) WHERE is_canonical;
SELECT tally.describe('tally.chain_blocks', 'Blocks that the watcher recorded; old ones that nothing refers to are pruned.', '{
  "chain_id": "The network.",
  "block_hash": "Hash of the block''s header.",
  "block_number": "Its number.",
  "parent_hash": "Hash of the block before it.",
  "block_time": "The time that the block states.",
  "is_canonical": "Whether it stands on the chain now; one block of each number does.",
  "created_at": "When it was recorded."}');
SELECT tally.keep_evidence('tally.chain_blocks',
  'UPDATE OF chain_id, block_hash, block_number, parent_hash, block_time, created_at OR TRUNCATE');

-- Accounts and types ---------------------------------------------------------------------------

CREATE TABLE tally.chain_accounts (
  chain_id bigint NOT NULL REFERENCES tally.networks ON DELETE RESTRICT,
  address tally.evm_address NOT NULL,
  purpose text COLLATE "C" NOT NULL CONSTRAINT purpose_is_plain CHECK (purpose ~ '^[a-z][a-z0-9_]{0,62}$'),
  signer_name text COLLATE "C" NOT NULL CONSTRAINT signer_name_is_plain CHECK (signer_name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
  next_nonce bigint NOT NULL DEFAULT 0 CONSTRAINT next_nonce_is_counted CHECK (next_nonce >= 0),
  minimum_balance_wei tally.uint256 NOT NULL DEFAULT 0,
  is_paused boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (chain_id, address),
  CONSTRAINT purpose_has_one_account UNIQUE (chain_id, purpose)
) WITH (fillfactor = 50);
SELECT tally.describe('tally.chain_accounts', 'Addresses of ours, each with what it sends on its network.', '{
  "chain_id": "The network.",
  "address": "The address that signs.",
  "purpose": "What it sends; types of transactions name a purpose.",
  "signer_name": "A signer of the configuration; never a key.",
  "next_nonce": "The nonce that the next transaction gets.",
  "minimum_balance_wei": "Below this balance nothing is sent.",
  "is_paused": "Whether an operator stopped it.",
  "created_at": "When it was added."}');
SELECT tally.keep_evidence('tally.chain_accounts', 'UPDATE OF chain_id, address, created_at OR DELETE OR TRUNCATE');

CREATE TABLE tally.blockchain_transaction_types (
  name text COLLATE "C" PRIMARY KEY CONSTRAINT type_name_is_plain CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  slice text COLLATE "C" NOT NULL CONSTRAINT slice_is_plain CHECK (slice ~ '^[a-z]{1,30}$'),
  purpose text COLLATE "C" NOT NULL CONSTRAINT purpose_is_plain CHECK (purpose ~ '^[a-z][a-z0-9_]{0,62}$'),
  comment text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT tally.clock()
);
SELECT tally.describe('tally.blockchain_transaction_types', 'What transactions are for; a slice adds its types by migration.', '{
  "name": "The type.",
  "slice": "Whose it is.",
  "purpose": "Purpose of the account that sends it.",
  "comment": "What such a transaction does.",
  "created_at": "When it was added."}');
SELECT tally.keep_evidence('tally.blockchain_transaction_types', 'UPDATE OF name, created_at OR DELETE OR TRUNCATE');

INSERT INTO tally.blockchain_transaction_types (name, slice, purpose, comment) VALUES
  ('challenge_create', 'settle', 'settle', 'a challenge is made on the escrow contract'),
  ('challenge_accept', 'settle', 'settle', 'a challenge is accepted'),
  ('challenge_join', 'settle', 'settle', 'a participant joins with his stake'),
  ('challenge_resolve', 'settle', 'settle', 'the outcome of a challenge is stated'),
  ('challenge_cancel', 'settle', 'settle', 'a challenge is called off and stakes go back'),
  ('challenge_dispute', 'settle', 'settle', 'the outcome of a challenge is disputed'),
  ('payout_claim', 'settle', 'settle', 'a winner takes his payout'),
  ('escrow_release', 'settle', 'settle', 'what is held in escrow is released'),
  ('dispute_resolve', 'settle', 'settle', 'a dispute is decided'),
  ('points_award', 'settle', 'settle', 'points are given as tokens'),
  ('points_redeem', 'settle', 'settle', 'tokens are turned back into points'),
  ('approval', 'settle', 'settle', 'a contract is allowed to take tokens'),
  ('fee_withdrawal', 'settle', 'settle', 'fees are taken out of the escrow contract'),
  ('anchor_publish', 'proof', 'anchor', 'the root of a batch is anchored'),
  ('threat_publish', 'threat', 'threat', 'a batch of threat signals is published'),
  ('genome_register', 'threat', 'threat', 'the genome of a threat is registered'),
  ('bounty_payment', 'threat', 'bounty', 'a bounty is paid to the one who earned it'),
  ('contract_deploy', 'chain', 'deployer', 'one of our contracts is deployed'),
  ('contract_admin', 'chain', 'deployer', 'one of our contracts is configured');

-- Prices ---------------------------------------------------------------------------------------

CREATE TABLE tally.price_snapshots (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  symbol text COLLATE "C" NOT NULL CONSTRAINT symbol_is_plain CHECK (symbol ~ '^[A-Z0-9]{1,16}$'),
  usd numeric(20, 8) NOT NULL CONSTRAINT price_is_positive CHECK (usd > 0),
  source text COLLATE "C" NOT NULL CONSTRAINT source_is_named CHECK (source ~ '^(fixed|chainlink|http):[^[:cntrl:]]{1,200}$'),
  observed_at timestamptz NOT NULL CONSTRAINT observed_at_is_a_time CHECK (isfinite(observed_at)),
  taken_at timestamptz NOT NULL DEFAULT tally.clock(),
  created_at timestamptz NOT NULL DEFAULT tally.clock()
);
CREATE INDEX price_snapshots_by_symbol ON tally.price_snapshots (symbol, taken_at DESC, id DESC);
SELECT tally.describe('tally.price_snapshots', 'Prices in USD, each with its source and both times.', '{
  "id": "Number of the snapshot.",
  "symbol": "What was priced: ETH.",
  "usd": "USD for one whole unit.",
  "source": "fixed:<operator>, chainlink:<feed> or http:<name of an allowed source>.",
  "observed_at": "The source''s own time.",
  "taken_at": "When we took it; the newest is the price.",
  "created_at": "When the row was written."}');
SELECT tally.keep_evidence('tally.price_snapshots');

CREATE FUNCTION tally.cost_usd(fee_wei numeric, usd numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  -- In whole units of 10^-8 USD all is exact: numeric division would round once before half-even does. A cost that the
  -- column cannot hold (10^12 USD) is its greatest value, because no block may be skipped for a number.
  SELECT least(999999999999.99999999,
    (h.quotient OPERATOR(pg_catalog.+) CASE
      WHEN h.rest OPERATOR(pg_catalog.>) 500000000000000000 THEN 1
      WHEN h.rest OPERATOR(pg_catalog.=) 500000000000000000 THEN pg_catalog.mod(h.quotient, 2)
      ELSE 0
    END) OPERATOR(pg_catalog.*) 0.00000001)
  FROM (
    SELECT pg_catalog.div(p.product, 1000000000000000000) AS quotient, pg_catalog.mod(p.product, 1000000000000000000) AS rest
    FROM (SELECT fee_wei OPERATOR(pg_catalog.*) pg_catalog.trunc(usd OPERATOR(pg_catalog.*) 100000000) AS product) AS p
  ) AS h
$$;
COMMENT ON FUNCTION tally.cost_usd(numeric, numeric) IS 'What a fee in wei costs at a price for 10^18 wei, to 8 decimals, half even.';

-- Transactions ---------------------------------------------------------------------------------

CREATE TABLE tally.blockchain_transactions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  chain_id bigint NOT NULL REFERENCES tally.networks ON DELETE RESTRICT,
  transaction_type text COLLATE "C" NOT NULL REFERENCES tally.blockchain_transaction_types ON DELETE RESTRICT,
  origin text COLLATE "C" NOT NULL CONSTRAINT origin_is_known CHECK (origin IN ('managed', 'observed')),
  idempotency_key text COLLATE "C" CONSTRAINT idempotency_key_is_unique UNIQUE
    CONSTRAINT idempotency_key_is_short CHECK (char_length(idempotency_key) BETWEEN 1 AND 200),
  intent_digest tally.sha256,
  from_address tally.evm_address NOT NULL,
  to_address tally.evm_address,
  contract_address tally.evm_address,
  contract_name text COLLATE "C",
  function_name text COLLATE "C",
  parameters jsonb,
  call_data bytea NOT NULL CONSTRAINT call_data_fits_a_transaction CHECK (octet_length(call_data) <= 131072),
  value_transferred tally.uint256 NOT NULL DEFAULT 0,
  gas_limit bigint CONSTRAINT gas_limit_is_positive CHECK (gas_limit > 0),
  nonce bigint CONSTRAINT nonce_is_counted CHECK (nonce >= 0),
  transaction_hash tally.evm_hash,
  state text COLLATE "C" NOT NULL CONSTRAINT state_is_known CHECK (state IN (
    'queued', 'signed', 'broadcast', 'mined', 'confirmed', 'finalized', 'failed', 'cancelled', 'dropped')),
  status text COLLATE "C" GENERATED ALWAYS AS (CASE
    WHEN state IN ('failed', 'cancelled', 'dropped') OR receipt_status = 0 THEN 'failed'
    WHEN state IN ('confirmed', 'finalized') THEN 'success'
    ELSE 'pending' END) STORED,
  receipt_status smallint CONSTRAINT receipt_status_is_a_bit CHECK (receipt_status IN (0, 1)),
  block_number bigint CONSTRAINT block_number_is_a_height CHECK (block_number >= 0),
  block_hash tally.evm_hash,
  transaction_index integer CONSTRAINT transaction_index_is_counted CHECK (transaction_index >= 0),
  gas_used bigint CONSTRAINT gas_used_is_counted CHECK (gas_used >= 0),
  gas_price tally.uint256,
  l1_fee_wei tally.uint256 NOT NULL DEFAULT 0,
  fee_wei tally.uint256 GENERATED ALWAYS AS (gas_used * gas_price + l1_fee_wei) STORED,
  -- A generated column cannot read another, and a division would lose digits.
  transaction_fee numeric(78, 18) GENERATED ALWAYS AS ((gas_used * gas_price + l1_fee_wei) * 0.000000000000000001) STORED,
  price_id bigint REFERENCES tally.price_snapshots ON DELETE RESTRICT,
  cost_usd numeric(20, 8) CONSTRAINT cost_is_not_negative CHECK (cost_usd >= 0),
  challenge_id bigint,
  user_id text COLLATE "C",
  error_message text,
  revert_data bytea,
  metadata jsonb NOT NULL DEFAULT '{}' CONSTRAINT metadata_is_an_object CHECK (jsonb_typeof(metadata) = 'object'),
  asked text COLLATE "C" CONSTRAINT asked_is_known CHECK (asked IN ('cancel', 'bump')),
  submitted_at timestamptz NOT NULL DEFAULT tally.clock(),
  mined_at timestamptz,
  confirmed_at timestamptz,
  finalized_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  CONSTRAINT hash_serves_once UNIQUE (chain_id, transaction_hash),
  CONSTRAINT block_is_recorded FOREIGN KEY (chain_id, block_hash) REFERENCES tally.chain_blocks ON DELETE RESTRICT,
  CONSTRAINT key_iff_managed CHECK (
    (origin = 'managed') = (idempotency_key IS NOT NULL) AND (origin = 'managed') = (intent_digest IS NOT NULL)),
  CONSTRAINT only_observed_are_dropped CHECK (state <> 'dropped' OR origin = 'observed'),
  CONSTRAINT nonce_iff_signed CHECK (
    (nonce IS NULL) = (transaction_hash IS NULL)
    AND CASE WHEN state = 'queued' THEN nonce IS NULL WHEN state IN ('failed', 'cancelled') THEN true ELSE nonce IS NOT NULL END),
  -- What failed or was cancelled was either never signed or is final by a receipt.
  CONSTRAINT mined_has_block CHECK (
    num_nulls(receipt_status, block_number, block_hash, transaction_index, gas_used, gas_price, mined_at) IN (0, 7)
    AND CASE
      WHEN state IN ('mined', 'confirmed', 'finalized') THEN block_hash IS NOT NULL
      WHEN state IN ('failed', 'cancelled') THEN (block_hash IS NULL) = (nonce IS NULL)
      ELSE block_hash IS NULL END),
  CONSTRAINT priced_iff_included CHECK (num_nulls(block_hash, price_id, cost_usd) IN (0, 3)),
  CONSTRAINT l1_fee_is_of_a_receipt CHECK (block_hash IS NOT NULL OR l1_fee_wei = 0),
  CONSTRAINT confirmed_has_time CHECK (
    (confirmed_at IS NOT NULL) = (state IN ('confirmed', 'finalized') OR (state IN ('failed', 'cancelled') AND block_hash IS NOT NULL))),
  CONSTRAINT finalized_has_time CHECK (
    (finalized_at IS NOT NULL) = (state = 'finalized' OR (state IN ('failed', 'cancelled') AND block_hash IS NOT NULL))),
  CONSTRAINT failure_has_message CHECK (state NOT IN ('failed', 'cancelled') OR error_message IS NOT NULL),
  CONSTRAINT only_signed_are_asked CHECK (asked IS NULL OR (origin = 'managed' AND state <> 'queued'))
);
CREATE UNIQUE INDEX nonce_has_one_transaction ON tally.blockchain_transactions (chain_id, from_address, nonce)
  WHERE origin = 'managed' AND nonce IS NOT NULL;
CREATE INDEX idx_blockchain_tx_hash ON tally.blockchain_transactions (transaction_hash) WHERE transaction_hash IS NOT NULL;
CREATE INDEX idx_blockchain_tx_type ON tally.blockchain_transactions (transaction_type, id);
CREATE INDEX idx_blockchain_tx_status ON tally.blockchain_transactions (status, id);
CREATE INDEX idx_blockchain_tx_challenge_id ON tally.blockchain_transactions (challenge_id) WHERE challenge_id IS NOT NULL;
CREATE INDEX idx_blockchain_tx_user_id ON tally.blockchain_transactions (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX idx_blockchain_tx_block_number ON tally.blockchain_transactions (chain_id, block_number) WHERE block_number IS NOT NULL;
CREATE INDEX idx_blockchain_tx_submitted_at ON tally.blockchain_transactions (submitted_at);
CREATE INDEX idx_blockchain_tx_contract ON tally.blockchain_transactions (contract_address) WHERE contract_address IS NOT NULL;
CREATE INDEX blockchain_transactions_open ON tally.blockchain_transactions (chain_id, id)
  WHERE state NOT IN ('finalized', 'failed', 'cancelled');
-- Pruning asks of each block whether a transaction stands in it.
CREATE INDEX blockchain_transactions_by_block ON tally.blockchain_transactions (chain_id, block_hash) WHERE block_hash IS NOT NULL;
SELECT tally.describe('tally.blockchain_transactions', 'One row for each logical transaction, however often it was signed again.', '{
  "id": "Number of the transaction; an account''s intents are sent in this order.",
  "chain_id": "The network.",
  "transaction_type": "What it is for.",
  "origin": "managed: an intent of ours; observed: a client sent it and the node confirmed what it is.",
  "idempotency_key": "The intent''s key; NULL of an observed one.",
  "intent_digest": "SHA-256 of the message chain-intent; the same key with another digest is refused.",
  "from_address": "Who sends it.",
  "to_address": "Contract or receiver; NULL deploys.",
  "contract_address": "The contract that it calls or made, where it is known.",
  "contract_name": "That contract''s name in contract_deployments.",
  "function_name": "The function that it calls, where the contract''s ABI has it.",
  "parameters": "The decoded arguments, integers as decimal text.",
  "call_data": "What the receiver is called with; the init code of a deployment.",
  "value_transferred": "Wei that go along.",
  "gas_limit": "Gas that it may use at most; of the newest attempt.",
  "nonce": "The sender''s nonce; NULL until signed.",
  "transaction_hash": "Hash of the newest attempt, then of the mined one; NULL until signed.",
  "state": "State; see status_transitions.",
  "status": "The same in three words: pending, success, failed.",
  "receipt_status": "1: it succeeded, 0: it reverted; of the receipt on the canonical chain, as the columns below.",
  "block_number": "Number of its block.",
  "block_hash": "Hash of its block.",
  "transaction_index": "Its place in the block.",
  "gas_used": "Gas that it used.",
  "gas_price": "Effective price of a unit of gas in wei.",
  "l1_fee_wei": "What a rollup charged for its data beside gas.",
  "fee_wei": "gas_used * gas_price + l1_fee_wei.",
  "transaction_fee": "The same in whole coins, exact.",
  "price_id": "The newest price when it was included.",
  "cost_usd": "The fee at that price, half even.",
  "challenge_id": "The challenge that it belongs to.",
  "user_id": "The user whom it is for.",
  "error_message": "Why it failed: refused, reverted (with the decoded reason) or cancelled.",
  "revert_data": "What the contract answered when it reverted.",
  "metadata": "What else is known of it, an object.",
  "asked": "What an operator asked the sender to do: cancel by an empty transaction on its nonce, or bump its fee.",
  "submitted_at": "When the intent was handed over, or the observed transaction reported.",
  "mined_at": "When its inclusion was recorded; the block''s own time is in chain_blocks.",
  "confirmed_at": "When it was confirmed.",
  "finalized_at": "When it became final by its receipt.",
  "created_at": "When the row was written."}');
-- What was asked for never changes: a slice was promised this transaction and no other.
SELECT tally.keep_evidence('tally.blockchain_transactions',
  'UPDATE OF id, chain_id, transaction_type, origin, idempotency_key, intent_digest, from_address, to_address, call_data,
   value_transferred, challenge_id, user_id, submitted_at, created_at OR DELETE OR TRUNCATE');

CREATE FUNCTION tally.keep_final() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  PERFORM tally.refuse('TS002', format('transaction %s is final: nothing of it changes', OLD.id),
    jsonb_build_object('table', TG_TABLE_NAME, 'operation', TG_OP));
  RETURN NULL;
END $$;
COMMENT ON FUNCTION tally.keep_final() IS 'Refuses every change of a transaction that is final (TS002).';
-- Its name puts it behind guard_state, so that a change of state is an illegal transition first.
CREATE TRIGGER keep_final BEFORE UPDATE ON tally.blockchain_transactions
  FOR EACH ROW WHEN (OLD.state IN ('finalized', 'failed', 'cancelled')) EXECUTE FUNCTION tally.keep_final();
ALTER TABLE tally.blockchain_transactions ENABLE ALWAYS TRIGGER keep_final;

CREATE TABLE tally.blockchain_transaction_attempts (
  chain_id bigint NOT NULL REFERENCES tally.networks ON DELETE RESTRICT,
  transaction_hash tally.evm_hash NOT NULL,
  transaction_id bigint NOT NULL REFERENCES tally.blockchain_transactions ON DELETE RESTRICT,
  attempt smallint NOT NULL CONSTRAINT attempts_count_from_one CHECK (attempt >= 1),
  kind text COLLATE "C" NOT NULL CONSTRAINT kind_is_known CHECK (kind IN ('send', 'cancel')),
  raw bytea NOT NULL,
  max_fee_per_gas tally.uint256 NOT NULL,
  max_priority_fee_per_gas tally.uint256 NOT NULL,
  gas_limit bigint NOT NULL CONSTRAINT gas_limit_is_positive CHECK (gas_limit > 0),
  signed_at timestamptz NOT NULL DEFAULT tally.clock(),
  broadcast_at timestamptz,
  last_error text,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (chain_id, transaction_hash),
  CONSTRAINT attempt_stands_once UNIQUE (transaction_id, attempt)
);
SELECT tally.describe('tally.blockchain_transaction_attempts', 'Every signing of every transaction, with the signed bytes.', '{
  "chain_id": "The network.",
  "transaction_hash": "Hash of the signed bytes.",
  "transaction_id": "What was signed.",
  "attempt": "Counts from 1 within its transaction.",
  "kind": "send: the intent; cancel: an empty transfer to oneself on the same nonce.",
  "raw": "The signed bytes.",
  "max_fee_per_gas": "Most wei offered for a unit of gas.",
  "max_priority_fee_per_gas": "Of these, most that the block''s producer gets.",
  "gas_limit": "Gas that it may use.",
  "signed_at": "When it was signed.",
  "broadcast_at": "When a node took the bytes.",
  "last_error": "What a node said instead.",
  "created_at": "When the row was written."}');
SELECT tally.keep_evidence('tally.blockchain_transaction_attempts',
  'UPDATE OF chain_id, transaction_hash, transaction_id, attempt, kind, raw, max_fee_per_gas, max_priority_fee_per_gas, gas_limit,
   signed_at, created_at OR DELETE OR TRUNCATE');

-- Contracts ------------------------------------------------------------------------------------

CREATE TABLE tally.contract_deployments (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  chain_id bigint NOT NULL REFERENCES tally.networks ON DELETE RESTRICT,
  contract_name text COLLATE "C" NOT NULL CONSTRAINT contract_name_is_plain CHECK (contract_name ~ '^[A-Za-z][A-Za-z0-9_]{0,62}$'),
  contract_address tally.evm_address NOT NULL,
  contract_version text COLLATE "C" NOT NULL CONSTRAINT contract_version_is_short CHECK (char_length(contract_version) BETWEEN 1 AND 50),
  deployment_tx_hash tally.evm_hash,
  deployer_address tally.evm_address,
  block_number bigint CONSTRAINT block_number_is_a_height CHECK (block_number >= 0),
  constructor_args jsonb NOT NULL DEFAULT '[]',
  compiled_bytecode bytea,
  abi jsonb NOT NULL CONSTRAINT abi_is_a_list CHECK (jsonb_typeof(abi) = 'array'),
  abi_hash tally.sha256 NOT NULL,
  code_hash bytea NOT NULL CONSTRAINT code_hash_is_keccak CHECK (octet_length(code_hash) = 32),
  source_hash tally.sha256,
  compiler_version text COLLATE "C",
  is_active boolean NOT NULL DEFAULT true,
  deployed_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  CONSTRAINT contract_stands_once UNIQUE (chain_id, contract_name, contract_address)
);
CREATE UNIQUE INDEX contract_name_has_one_active ON tally.contract_deployments (chain_id, contract_name) WHERE is_active;
CREATE INDEX idx_deployment_chain ON tally.contract_deployments (chain_id, id);
CREATE INDEX idx_deployment_name ON tally.contract_deployments (contract_name);
CREATE INDEX contract_deployments_by_address ON tally.contract_deployments (chain_id, contract_address, id);
SELECT tally.describe('tally.contract_deployments', 'Contracts of ours on the networks; the code of each was compared with its artifact.', '{
  "id": "Number of the deployment.",
  "chain_id": "The network.",
  "contract_name": "Name of the artifact.",
  "contract_address": "Where it stands.",
  "contract_version": "Version of the artifact.",
  "deployment_tx_hash": "Hash of the transaction that made it, where it is known.",
  "deployer_address": "Who made it, where it is known.",
  "block_number": "The block that it was made in; events are read from there on.",
  "constructor_args": "What its constructor was given.",
  "compiled_bytecode": "The artifact''s runtime bytecode.",
  "abi": "Its interface.",
  "abi_hash": "SHA-256 of the RFC 8785 bytes of the interface.",
  "code_hash": "Keccak-256 of the code that was read from the chain.",
  "source_hash": "SHA-256 of the source.",
  "compiler_version": "What compiled it.",
  "is_active": "Whether calls by name go to it; an older one is still followed.",
  "deployed_at": "Time of its block.",
  "created_at": "When it was registered."}');
SELECT tally.keep_evidence('tally.contract_deployments',
  'UPDATE OF id, chain_id, contract_name, contract_address, contract_version, deployment_tx_hash, deployer_address, block_number,
   constructor_args, compiled_bytecode, abi, abi_hash, code_hash, source_hash, compiler_version, deployed_at, created_at
   OR DELETE OR TRUNCATE');

CREATE TABLE tally.contract_events (
  chain_id bigint NOT NULL REFERENCES tally.networks ON DELETE RESTRICT,
  block_hash tally.evm_hash NOT NULL,
  log_index integer NOT NULL CONSTRAINT log_index_is_counted CHECK (log_index >= 0),
  block_number bigint NOT NULL CONSTRAINT block_number_is_a_height CHECK (block_number >= 0),
  transaction_hash tally.evm_hash NOT NULL,
  contract_id bigint NOT NULL REFERENCES tally.contract_deployments ON DELETE RESTRICT,
  event_name text COLLATE "C",
  topics bytea[] NOT NULL CONSTRAINT topics_are_few CHECK (cardinality(topics) <= 4),
  data bytea NOT NULL,
  args jsonb NOT NULL DEFAULT '{}' CONSTRAINT args_are_an_object CHECK (jsonb_typeof(args) = 'object'),
  state text COLLATE "C" NOT NULL CONSTRAINT event_state_is_known CHECK (state IN ('observed', 'final', 'orphaned')),
  created_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (chain_id, block_hash, log_index),
  CONSTRAINT block_is_recorded FOREIGN KEY (chain_id, block_hash) REFERENCES tally.chain_blocks ON DELETE RESTRICT
);
CREATE INDEX contract_events_by_contract ON tally.contract_events (contract_id, block_number, log_index);
CREATE INDEX contract_events_open ON tally.contract_events (chain_id, block_number) WHERE state = 'observed';
SELECT tally.describe('tally.contract_events', 'Logs of registered contracts, with what became of their blocks.', '{
  "chain_id": "The network.",
  "block_hash": "Hash of its block.",
  "log_index": "Its place in the block.",
  "block_number": "Number of its block.",
  "transaction_hash": "The transaction that caused it.",
  "contract_id": "The contract that wrote it.",
  "event_name": "The event''s name; NULL where the contract''s interface has none of this topic.",
  "topics": "The indexed words, 32 bytes each.",
  "data": "The rest, ABI-encoded.",
  "args": "The decoded arguments, integers as decimal text.",
  "state": "State; see status_transitions.",
  "created_at": "When it was recorded."}');
SELECT tally.keep_evidence('tally.contract_events',
  'UPDATE OF chain_id, block_hash, log_index, block_number, transaction_hash, contract_id, event_name, topics, data, args, created_at
   OR DELETE OR TRUNCATE');

-- States (section 3) ---------------------------------------------------------------------------

INSERT INTO tally.status_transitions (table_name, column_name, from_status, to_status, function_name, condition) VALUES
  ('blockchain_transactions', 'state', NULL, 'queued', 'transaction_queue_v1', 'send'),
  ('blockchain_transactions', 'state', NULL, 'broadcast', 'transaction_observe_v1', 'observe: the node knows the hash and every expectation holds'),
  ('blockchain_transactions', 'state', 'queued', 'signed', 'transaction_sign_v1', 'nonce, bytes and attempt 1 in one commit'),
  ('blockchain_transactions', 'state', 'queued', 'failed', 'transaction_refuse_v1', 'the estimate reverts; no nonce is spent'),
  ('blockchain_transactions', 'state', 'queued', 'cancelled', 'transaction_cancel_v1', 'an operator, before signing'),
  ('blockchain_transactions', 'state', 'signed', 'broadcast', 'transaction_broadcast_v1', 'a node took the bytes, or says "already known"'),
  ('blockchain_transactions', 'state', 'signed', 'mined', 'transaction_include_v1',
   'the receipt of one of its attempts is on the canonical chain'),
  ('blockchain_transactions', 'state', 'broadcast', 'mined', 'transaction_include_v1',
   'the receipt of one of its attempts is on the canonical chain'),
  ('blockchain_transactions', 'state', 'dropped', 'mined', 'transaction_include_v1',
   'the receipt of one of its attempts is on the canonical chain'),
  ('blockchain_transactions', 'state', 'mined', 'confirmed', 'transaction_confirm_v1', 'depth >= confirmations'),
  ('blockchain_transactions', 'state', 'mined', 'broadcast', 'transaction_roll_back_v1', 'its block left the canonical chain'),
  ('blockchain_transactions', 'state', 'confirmed', 'broadcast', 'transaction_roll_back_v1', 'its block left the canonical chain'),
  ('blockchain_transactions', 'state', 'confirmed', 'finalized', 'transaction_finalize_v1', 'final, receipt_status 1, attempt of kind send'),
  ('blockchain_transactions', 'state', 'confirmed', 'failed', 'transaction_finalize_v1', 'final, receipt_status 0'),
  ('blockchain_transactions', 'state', 'confirmed', 'cancelled', 'transaction_finalize_v1', 'final, the mined attempt is of kind cancel'),
  ('blockchain_transactions', 'state', 'signed', 'queued', 'transaction_requeue_v1', 'a foreign transaction took its nonce, and is final'),
  ('blockchain_transactions', 'state', 'broadcast', 'queued', 'transaction_requeue_v1', 'a foreign transaction took its nonce, and is final'),
  ('blockchain_transactions', 'state', 'broadcast', 'dropped', 'transaction_drop_v1', 'observed only: unseen for 24 h'),
  ('networks', 'status', NULL, 'paused', 'network_add_v1', 'a network is added; the shipped ones are by migration'),
  ('networks', 'status', 'paused', 'active', 'network_set_v1', 'an operator; there is a price of native_symbol'),
  ('networks', 'status', 'active', 'paused', 'network_set_v1', 'an operator'),
  ('networks', 'status', 'active', 'halted', 'network_halt_v1', 'a final block changed, or the endpoint''s chain id differs'),
  ('networks', 'status', 'paused', 'halted', 'network_halt_v1', 'a final block changed, or the endpoint''s chain id differs'),
  ('networks', 'status', 'halted', 'active', 'network_resume_v1', 'an operator, with a reason'),
  ('contract_events', 'state', NULL, 'observed', 'chain_advance_v1', 'its block is recorded'),
  ('contract_events', 'state', 'observed', 'final', 'chain_advance_v1', 'its block is final'),
  ('contract_events', 'state', 'observed', 'orphaned', 'chain_reorg_v1', 'its block left the canonical chain'),
  ('contract_events', 'state', 'orphaned', 'observed', 'chain_advance_v1', 'the same block is on the canonical chain again');
-- As guard_status makes it, but that a thousand intents that are queued at once, which is legal, do not pay for the look.
CREATE TRIGGER guard_state BEFORE INSERT ON tally.blockchain_transactions
  FOR EACH ROW WHEN (NEW.state <> 'queued') EXECUTE FUNCTION tally.guard_transition('state');
CREATE TRIGGER guard_state_change BEFORE UPDATE OF state ON tally.blockchain_transactions
  FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION tally.guard_transition('state');
SELECT tally.guard_status('tally.networks', 'status');
SELECT tally.guard_status('tally.contract_events', 'state');

INSERT INTO tally.networks
  (chain_id, name, native_symbol, is_testnet, has_l1_fee, confirmations, finality_mode, block_seconds, max_fee_per_gas_wei, min_tip_wei) VALUES
  (1, 'Ethereum', 'ETH', false, false, 12, 'tag', 12, 500000000000, 100000000),
  (10, 'OP Mainnet', 'ETH', false, true, 20, 'tag', 2, 50000000000, 1000000),
  (8453, 'Base', 'ETH', false, true, 20, 'tag', 2, 50000000000, 1000000),
  (42161, 'Arbitrum One', 'ETH', false, false, 20, 'tag', 0.25, 50000000000, 0),
  (137, 'Polygon', 'POL', false, false, 128, 'tag', 2, 5000000000000, 25000000000),
  (56, 'BNB Smart Chain', 'BNB', false, false, 15, 'tag', 0.75, 50000000000, 50000000),
  (11155111, 'Sepolia', 'ETH', true, false, 2, 'depth', 12, 500000000000, 1000000),
  (84532, 'Base Sepolia', 'ETH', true, true, 2, 'depth', 2, 50000000000, 1000000),
  (421614, 'Arbitrum Sepolia', 'ETH', true, false, 2, 'depth', 0.25, 50000000000, 0),
  (11155420, 'OP Sepolia', 'ETH', true, true, 2, 'depth', 2, 50000000000, 1000000),
  (31337, 'Local node', 'ETH', true, false, 2, 'depth', 1, 1000000000000, 1000000000),
  (80002, 'Polygon Amoy', 'POL', true, false, 16, 'depth', 2, 5000000000000, 25000000000),
  (97, 'BNB Smart Chain Testnet', 'BNB', true, false, 5, 'depth', 0.75, 50000000000, 100000000),
  (131277322940537, 'Dev chain', 'ETH', true, false, 1, 'depth', 1, 1000000000000, 1000000000);

-- Operations -----------------------------------------------------------------------------------

CREATE FUNCTION tally.wake_chain(p_chain_id bigint) RETURNS void
LANGUAGE sql VOLATILE
AS $$ SELECT pg_catalog.pg_notify('tally_chain', p_chain_id::text) $$;
COMMENT ON FUNCTION tally.wake_chain(bigint) IS 'Wakes the sender and the watcher of a network when the transaction commits.';

CREATE FUNCTION tally.refuse_unknown_network(p_chain_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  PERFORM tally.refuse('TSC04', format('there is no network with the chain id %s', p_chain_id), jsonb_build_object('chain_id', p_chain_id));
END $$;
COMMENT ON FUNCTION tally.refuse_unknown_network(bigint) IS 'Raises that there is no such network (TSC04).';

CREATE FUNCTION tally.network_add_v1(
  p_chain_id bigint, p_name text, p_native_symbol text, p_is_testnet boolean, p_has_l1_fee boolean, p_confirmations integer,
  p_finality_mode text, p_finality_quorum integer, p_block_seconds numeric, p_resubmit_seconds integer, p_max_fee_per_gas_wei numeric,
  p_min_tip_wei numeric
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  INSERT INTO tally.networks (chain_id, name, native_symbol, is_testnet, has_l1_fee, confirmations, finality_mode, finality_quorum,
    block_seconds, resubmit_seconds, max_fee_per_gas_wei, min_tip_wei)
  VALUES (p_chain_id, p_name, p_native_symbol, p_is_testnet, p_has_l1_fee, p_confirmations, p_finality_mode, p_finality_quorum,
    p_block_seconds, p_resubmit_seconds, p_max_fee_per_gas_wei, p_min_tip_wei)
  ON CONFLICT (chain_id) DO NOTHING;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION tally.network_add_v1(bigint, text, text, boolean, boolean, integer, text, integer, numeric, integer, numeric, numeric) IS
  'Adds a network, paused; false where there is one with this chain id.';

CREATE FUNCTION tally.require_price(p_chain_id bigint, p_symbol text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM tally.price_snapshots AS p WHERE p.symbol = p_symbol) THEN
    PERFORM tally.refuse('TSC01', format('network %s cannot be active: nobody has recorded a price of %s', p_chain_id, p_symbol),
      jsonb_build_object('chain_id', p_chain_id, 'symbol', p_symbol));
  END IF;
END $$;
COMMENT ON FUNCTION tally.require_price(bigint, text) IS 'Raises where a network has no price of its own coin (TSC01): nothing on it could be accounted for.';

CREATE FUNCTION tally.network_set_v1(
  p_chain_id bigint, p_status text, p_reason text, p_confirmations integer, p_finality_mode text, p_finality_quorum integer,
  p_block_seconds numeric, p_resubmit_seconds integer, p_max_fee_per_gas_wei numeric, p_min_tip_wei numeric
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  network tally.networks;
  moves boolean;
BEGIN
  SELECT * INTO network FROM tally.networks AS n WHERE n.chain_id = p_chain_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM tally.refuse_unknown_network(p_chain_id);
  END IF;
  moves := p_status IS NOT NULL AND p_status <> network.status;
  -- status_transitions knows halted -> active, which is network_resume_v1's alone.
  IF moves AND network.status = 'halted' THEN
    PERFORM tally.refuse('TS001', format('network %s is halted: it has to be resumed', p_chain_id),
      jsonb_build_object('table', 'networks', 'column', 'status', 'from', 'halted', 'to', p_status));
  END IF;
  IF moves AND p_status = 'halted' THEN
    PERFORM tally.refuse('TS001', 'only what the watcher finds halts a network',
      jsonb_build_object('table', 'networks', 'column', 'status', 'from', network.status, 'to', p_status));
  END IF;
  IF moves AND p_status = 'active' THEN
    PERFORM tally.require_price(p_chain_id, network.native_symbol);
  END IF;
  UPDATE tally.networks AS n SET
    status = coalesce(p_status, n.status),
    status_reason = CASE WHEN moves THEN p_reason ELSE n.status_reason END,
    confirmations = coalesce(p_confirmations, n.confirmations),
    finality_mode = coalesce(p_finality_mode, n.finality_mode),
    finality_quorum = coalesce(p_finality_quorum, n.finality_quorum),
    block_seconds = coalesce(p_block_seconds, n.block_seconds),
    resubmit_seconds = coalesce(p_resubmit_seconds, n.resubmit_seconds),
    max_fee_per_gas_wei = coalesce(p_max_fee_per_gas_wei, n.max_fee_per_gas_wei),
    min_tip_wei = coalesce(p_min_tip_wei, n.min_tip_wei)
  WHERE n.chain_id = p_chain_id;
  PERFORM tally.wake_chain(p_chain_id);
  RETURN moves;
END $$;
COMMENT ON FUNCTION tally.network_set_v1(bigint, text, text, integer, text, integer, numeric, integer, numeric, numeric) IS
  'Pauses a network or lets it be active, and changes its settings; NULL leaves one as it is. True where the status changed.';

CREATE FUNCTION tally.network_resume_v1(p_chain_id bigint, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  network tally.networks;
BEGIN
  SELECT * INTO network FROM tally.networks AS n WHERE n.chain_id = p_chain_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM tally.refuse_unknown_network(p_chain_id);
  END IF;
  IF network.status <> 'halted' OR p_reason IS NULL THEN
    PERFORM tally.refuse('TS001', format('network %s is resumed with a reason, and only where it is halted', p_chain_id),
      jsonb_build_object('table', 'networks', 'column', 'status', 'from', network.status, 'to', 'active'));
  END IF;
  PERFORM tally.require_price(p_chain_id, network.native_symbol);
  UPDATE tally.networks SET status = 'active', halted_reason = NULL, status_reason = p_reason WHERE chain_id = p_chain_id;
  PERFORM tally.wake_chain(p_chain_id);
END $$;
COMMENT ON FUNCTION tally.network_resume_v1(bigint, text) IS 'Lets a halted network go on, with the operator''s reason.';

CREATE FUNCTION tally.account_add_v1(
  p_chain_id bigint, p_address text, p_purpose text, p_signer_name text, p_minimum_balance_wei numeric
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM tally.networks AS n WHERE n.chain_id = p_chain_id) THEN
    PERFORM tally.refuse_unknown_network(p_chain_id);
  END IF;
  INSERT INTO tally.chain_accounts AS a (chain_id, address, purpose, signer_name, minimum_balance_wei)
  VALUES (p_chain_id, p_address, p_purpose, p_signer_name, p_minimum_balance_wei)
  ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION tally.account_add_v1(bigint, text, text, text, numeric) IS
  'Adds an account of ours; false where the address or the purpose is taken on that network.';

CREATE FUNCTION tally.account_set_v1(
  p_chain_id bigint, p_address text, p_signer_name text, p_minimum_balance_wei numeric, p_is_paused boolean
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  UPDATE tally.chain_accounts AS a SET
    signer_name = coalesce(p_signer_name, a.signer_name),
    minimum_balance_wei = coalesce(p_minimum_balance_wei, a.minimum_balance_wei),
    is_paused = coalesce(p_is_paused, a.is_paused)
  WHERE a.chain_id = p_chain_id AND a.address = p_address;
  IF FOUND THEN
    PERFORM tally.wake_chain(p_chain_id);
    RETURN true;
  END IF;
  RETURN false;
END $$;
COMMENT ON FUNCTION tally.account_set_v1(bigint, text, text, numeric, boolean) IS
  'Changes what an account signs with, when it stops, and whether it sends; NULL leaves one as it is. False: there is none.';

CREATE FUNCTION tally.price_record_v1(p_symbol text, p_usd numeric, p_source text, p_observed_at timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
  INSERT INTO tally.price_snapshots (symbol, usd, source, observed_at) VALUES (p_symbol, p_usd, p_source, p_observed_at) RETURNING id
$$;
COMMENT ON FUNCTION tally.price_record_v1(text, numeric, text, timestamptz) IS 'Records a price and returns its number.';

CREATE FUNCTION tally.intent_digest(call_data bytea, chain_id bigint, to_address text, transaction_type text, value numeric) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  -- Types, addresses and numbers need no escapes, so these are the RFC 8785 bytes. Inlined: it is computed for each row of a batch.
  SELECT pg_catalog.sha256((E'tallystick/chain-intent/v1\n{"call_data":"0x'
    OPERATOR(pg_catalog.||) pg_catalog.encode(call_data, 'hex') OPERATOR(pg_catalog.||) '","chain_id":'
    OPERATOR(pg_catalog.||) chain_id::pg_catalog.text OPERATOR(pg_catalog.||) ',"to":'
    OPERATOR(pg_catalog.||) coalesce('"' OPERATOR(pg_catalog.||) to_address OPERATOR(pg_catalog.||) '"', 'null')
    OPERATOR(pg_catalog.||) ',"transaction_type":"' OPERATOR(pg_catalog.||) transaction_type OPERATOR(pg_catalog.||) '","value":"'
    OPERATOR(pg_catalog.||) value::pg_catalog.numeric(78, 0)::pg_catalog.text OPERATOR(pg_catalog.||) '"}')::pg_catalog.bytea)
$$;
COMMENT ON FUNCTION tally.intent_digest(bytea, bigint, text, text, numeric) IS 'SHA-256 of the message chain-intent (chain.md, section 5.1).';

CREATE FUNCTION tally.transaction_queue_v1(
  p_chain_ids bigint[], p_types text[], p_keys text[], p_to text[], p_call_data bytea[], p_values numeric[], p_from text[],
  p_challenge_ids bigint[], p_user_ids text[], p_function_names text[], p_parameters text[]
) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  wrong record;
  ids bigint[];
BEGIN
  SELECT i.chain_id, i.transaction_type, i.from_address, n.chain_id AS network, t.name AS type, t.purpose INTO wrong
  FROM unnest(p_chain_ids, p_types, p_from) WITH ORDINALITY AS i (chain_id, transaction_type, from_address, place)
  LEFT JOIN tally.networks AS n ON n.chain_id = i.chain_id
  LEFT JOIN tally.blockchain_transaction_types AS t ON t.name = i.transaction_type
  LEFT JOIN tally.chain_accounts AS a ON a.chain_id = i.chain_id
    AND CASE WHEN i.from_address IS NULL THEN a.purpose = t.purpose ELSE a.address = i.from_address END
  WHERE t.name IS NULL OR a.chain_id IS NULL ORDER BY i.place LIMIT 1;
  IF FOUND THEN
    IF wrong.network IS NULL THEN
      PERFORM tally.refuse_unknown_network(wrong.chain_id);
    ELSIF wrong.type IS NULL THEN
      PERFORM tally.refuse('TSC03', format('there is no transaction type %s', left(wrong.transaction_type, 100)),
        jsonb_build_object('transaction_type', left(wrong.transaction_type, 100)));
    END IF;
    PERFORM tally.refuse('TSC03', format('network %s has no account %s of ours', wrong.chain_id,
        coalesce(wrong.from_address, 'with the purpose ' || wrong.purpose)),
      jsonb_build_object('chain_id', wrong.chain_id, 'address', wrong.from_address,
        'purpose', CASE WHEN wrong.from_address IS NULL THEN wrong.purpose END));
  END IF;

  -- Numbers are drawn in the order of the intents, rows are inserted in the order of their keys: so two that send the same
  -- keys wait for each other and never in a circle.
  WITH given AS MATERIALIZED (
    SELECT DISTINCT ON (i.idempotency_key COLLATE "C") i.*
    FROM unnest(p_chain_ids, p_types, p_keys, p_to, p_call_data, p_values, p_from, p_challenge_ids, p_user_ids, p_function_names, p_parameters)
      WITH ORDINALITY AS i (chain_id, transaction_type, idempotency_key, to_address, call_data, value, from_address, challenge_id, user_id,
        function_name, parameters, place)
    WHERE NOT EXISTS (SELECT FROM tally.blockchain_transactions AS b WHERE b.idempotency_key = i.idempotency_key)
    ORDER BY i.idempotency_key COLLATE "C", i.place
  ), numbered AS MATERIALIZED (
    SELECT g.*, nextval('tally.blockchain_transactions_id_seq') AS id FROM (SELECT * FROM given ORDER BY place) AS g
  ), inserted AS (
    INSERT INTO tally.blockchain_transactions (id, chain_id, transaction_type, origin, idempotency_key, intent_digest, from_address,
      to_address, contract_address, contract_name, function_name, parameters, call_data, value_transferred, state, challenge_id, user_id)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.chain_id, g.transaction_type, 'managed', g.idempotency_key,
      tally.intent_digest(g.call_data, g.chain_id, g.to_address, g.transaction_type, g.value),
      coalesce(g.from_address, a.address), g.to_address, d.contract_address, d.contract_name, g.function_name, g.parameters::jsonb, g.call_data,
      g.value, 'queued', g.challenge_id, g.user_id
    FROM numbered AS g
    INNER JOIN tally.blockchain_transaction_types AS t ON t.name = g.transaction_type
    LEFT JOIN tally.chain_accounts AS a ON g.from_address IS NULL AND a.chain_id = g.chain_id AND a.purpose = t.purpose
    LEFT JOIN LATERAL (
      SELECT c.contract_address, c.contract_name FROM tally.contract_deployments AS c
      WHERE c.chain_id = g.chain_id AND c.contract_address = g.to_address ORDER BY c.id DESC LIMIT 1
    ) AS d ON true
    ORDER BY g.idempotency_key COLLATE "C"
    ON CONFLICT (idempotency_key) DO NOTHING RETURNING id
  )
  SELECT array_agg(n.id ORDER BY n.id) INTO ids FROM inserted AS n;
  PERFORM tally.wake_chain(c.chain_id) FROM (SELECT DISTINCT unnest(p_chain_ids) AS chain_id) AS c;
  -- The usual case: every key is new, and the numbers rise as the intents do.
  IF cardinality(ids) = cardinality(p_keys) THEN
    RETURN ids;
  END IF;

  SELECT i.idempotency_key, b.id INTO wrong
  FROM unnest(p_chain_ids, p_types, p_keys, p_to, p_call_data, p_values)
    WITH ORDINALITY AS i (chain_id, transaction_type, idempotency_key, to_address, call_data, value, place)
  INNER JOIN tally.blockchain_transactions AS b ON b.idempotency_key = i.idempotency_key
  WHERE b.intent_digest <> tally.intent_digest(i.call_data, i.chain_id, i.to_address, i.transaction_type, i.value)
  ORDER BY i.place LIMIT 1;
  IF FOUND THEN
    PERFORM tally.refuse('TSC02', 'the idempotency key was used for another intent',
      jsonb_build_object('idempotency_key', wrong.idempotency_key, 'transaction_id', wrong.id));
  END IF;
  SELECT array_agg(b.id ORDER BY i.place) INTO ids
  FROM unnest(p_keys) WITH ORDINALITY AS i (idempotency_key, place)
  INNER JOIN tally.blockchain_transactions AS b ON b.idempotency_key = i.idempotency_key;
  RETURN coalesce(ids, '{}');
END $$;
COMMENT ON FUNCTION tally.transaction_queue_v1(bigint[], text[], text[], text[], bytea[], numeric[], text[], bigint[], text[], text[], text[]) IS
  'Queues intents and returns their numbers in the same order; a key that stands already gives the row that it has, or TSC02.';

CREATE FUNCTION tally.transaction_observe_v1(
  p_chain_id bigint, p_transaction_hash text, p_type text, p_from text, p_to text, p_call_data bytea, p_value numeric, p_gas_limit bigint,
  p_nonce bigint, p_function_name text, p_parameters jsonb, p_challenge_id bigint, p_user_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  network_status text;
  contract text;
  serves bigint;
  observed bigint;
BEGIN
  SELECT n.status INTO network_status FROM tally.networks AS n WHERE n.chain_id = p_chain_id;
  IF NOT FOUND THEN
    PERFORM tally.refuse_unknown_network(p_chain_id);
  END IF;
  IF network_status = 'halted' THEN
    PERFORM tally.refuse('TSC01', format('network %s is halted: what its node says is not recorded', p_chain_id),
      jsonb_build_object('chain_id', p_chain_id));
  END IF;
  IF NOT EXISTS (SELECT FROM tally.blockchain_transaction_types AS t WHERE t.name = p_type) THEN
    PERFORM tally.refuse('TSC03', format('there is no transaction type %s', left(p_type, 100)), jsonb_build_object('transaction_type', left(p_type, 100)));
  END IF;
  -- A managed transaction serves with each hash that it was ever signed under.
  SELECT a.transaction_id INTO serves FROM tally.blockchain_transaction_attempts AS a
  WHERE a.chain_id = p_chain_id AND a.transaction_hash = p_transaction_hash;
  IF NOT FOUND THEN
    SELECT c.contract_name INTO contract FROM tally.contract_deployments AS c
    WHERE c.chain_id = p_chain_id AND c.contract_address = p_to ORDER BY c.id DESC LIMIT 1;
    INSERT INTO tally.blockchain_transactions (chain_id, transaction_type, origin, from_address, to_address, contract_address,
      contract_name, function_name, parameters, call_data, value_transferred, gas_limit, nonce, transaction_hash, state, challenge_id, user_id)
    VALUES (p_chain_id, p_type, 'observed', p_from, p_to, CASE WHEN contract IS NOT NULL THEN p_to END, contract, p_function_name,
      p_parameters, p_call_data, p_value, p_gas_limit, p_nonce, p_transaction_hash, 'broadcast', p_challenge_id, p_user_id)
    ON CONFLICT (chain_id, transaction_hash) DO NOTHING RETURNING id INTO observed;
    IF FOUND THEN
      PERFORM tally.wake_chain(p_chain_id);
      RETURN observed;
    END IF;
    SELECT b.id INTO serves FROM tally.blockchain_transactions AS b
    WHERE b.chain_id = p_chain_id AND b.transaction_hash = p_transaction_hash;
  END IF;
  PERFORM tally.refuse('TSC06', format('transaction %s serves already', p_transaction_hash),
    jsonb_build_object('chain_id', p_chain_id, 'transaction_hash', p_transaction_hash, 'transaction_id', serves));
  RETURN NULL;
END $$;
COMMENT ON FUNCTION tally.transaction_observe_v1(bigint, text, text, text, text, bytea, numeric, bigint, bigint, text, jsonb, bigint, text) IS
  'Records a client''s transaction, which a node told and which is what was expected; a hash that serves already is refused (TSC06).';

CREATE FUNCTION tally.lock_transaction(p_id bigint) RETURNS tally.blockchain_transactions
LANGUAGE sql VOLATILE SET search_path = pg_catalog
AS $$ SELECT b FROM tally.blockchain_transactions AS b WHERE b.id = p_id FOR NO KEY UPDATE $$;
COMMENT ON FUNCTION tally.lock_transaction(bigint) IS 'A transaction, which nobody else changes until the end; NULL where there is none.';

CREATE FUNCTION tally.transaction_ask_v1(p_id bigint, p_asked text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  found CONSTANT tally.blockchain_transactions := tally.lock_transaction(p_id);
BEGIN
  IF found.origin = 'managed' AND found.state IN ('signed', 'broadcast') THEN
    -- A cancellation that was asked for is not taken back by a bump: both raise the fee.
    UPDATE tally.blockchain_transactions SET asked = p_asked WHERE id = p_id AND asked IS DISTINCT FROM 'cancel';
    PERFORM tally.wake_chain(found.chain_id);
  ELSE
    PERFORM tally.refuse('TS001', format('transaction %s cannot be changed any more, or not yet: it is %s', p_id, found.state),
      jsonb_build_object('table', 'blockchain_transactions', 'column', 'state', 'from', found.state, 'to', p_asked));
  END IF;
END $$;
COMMENT ON FUNCTION tally.transaction_ask_v1(bigint, text) IS
  'Asks the sender to cancel a signed transaction or to offer more for it; refused where it is not signed, is mined, or is not ours.';

CREATE FUNCTION tally.transaction_cancel_v1(p_id bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  found CONSTANT tally.blockchain_transactions := tally.lock_transaction(p_id);
BEGIN
  IF found.state = 'queued' THEN
    UPDATE tally.blockchain_transactions SET state = 'cancelled', error_message = 'cancelled' WHERE id = p_id;
    RETURN true;
  END IF;
  PERFORM tally.transaction_ask_v1(p_id, 'cancel');
  RETURN false;
END $$;
COMMENT ON FUNCTION tally.transaction_cancel_v1(bigint) IS
  'Cancels a queued transaction at once (true), or asks the sender to cancel a signed one (false).';

CREATE FUNCTION tally.transaction_drop_v1(p_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
  long_ago CONSTANT timestamptz := tally.clock() - interval '24 hours';
  dropped bigint[];
BEGIN
  WITH locked AS MATERIALIZED (
    SELECT b.id FROM tally.blockchain_transactions AS b
    WHERE b.id = ANY (p_ids) AND b.origin = 'observed' AND b.state = 'broadcast' AND b.submitted_at <= long_ago
    ORDER BY b.id FOR NO KEY UPDATE
  ), gone AS (
    UPDATE tally.blockchain_transactions AS b SET state = 'dropped' FROM locked AS l WHERE b.id = l.id RETURNING b.id
  )
  SELECT array_agg(g.id ORDER BY g.id) INTO dropped FROM gone AS g;
  RETURN coalesce(dropped, '{}');
END $$;
COMMENT ON FUNCTION tally.transaction_drop_v1(bigint[]) IS
  'Drops observed transactions that no node knew for 24 hours, and returns the numbers of those that are dropped; they may come back.';

-- Views ----------------------------------------------------------------------------------------

CREATE VIEW tally.v_blockchain_tx_summary WITH (security_invoker) AS
SELECT b.chain_id, b.transaction_type, b.status, count(*) AS tx_count, sum(b.gas_used) AS total_gas, sum(b.value_transferred::numeric) AS total_value,
  max(b.submitted_at) AS last_transaction, sum(b.fee_wei::numeric) AS total_fee_wei, sum(b.cost_usd) AS total_cost_usd
FROM tally.blockchain_transactions AS b GROUP BY b.chain_id, b.transaction_type, b.status;
SELECT tally.describe('tally.v_blockchain_tx_summary', 'Transactions by network, type and status.', '{
  "chain_id": "The network.",
  "transaction_type": "What they are for.",
  "status": "pending, success or failed.",
  "tx_count": "How many there are.",
  "total_gas": "Gas that they used.",
  "total_value": "Wei that went along.",
  "last_transaction": "When the newest was submitted.",
  "total_fee_wei": "Their fees in wei.",
  "total_cost_usd": "The same in USD at the prices of their inclusion."}');

CREATE VIEW tally.v_chain_violations WITH (security_invoker) AS
WITH included AS (
  SELECT b.*, n.native_symbol, n.scanned_block, n.finalized_block, p.symbol, p.usd,
    k.block_number AS true_number, coalesce(k.is_canonical, false) AS is_canonical,
    b.state IN ('finalized', 'failed', 'cancelled') AS is_final,
    coalesce(a.kind, 'send') AS attempt_kind
  FROM tally.blockchain_transactions AS b
  INNER JOIN tally.networks AS n ON n.chain_id = b.chain_id
  LEFT JOIN tally.chain_blocks AS k ON k.chain_id = b.chain_id AND k.block_hash = b.block_hash
  LEFT JOIN tally.price_snapshots AS p ON p.id = b.price_id
  LEFT JOIN tally.blockchain_transaction_attempts AS a ON a.chain_id = b.chain_id AND a.transaction_hash = b.transaction_hash
  WHERE b.block_hash IS NOT NULL
), attempts AS (
  SELECT a.transaction_id, a.chain_id, count(*) AS counted, min(a.attempt) AS first, max(a.attempt) AS last
  FROM tally.blockchain_transaction_attempts AS a GROUP BY a.transaction_id, a.chain_id
)
SELECT 'included_block_is_canonical' AS law,
  format('transaction %s is %s in block %s, which is not on the chain', i.id, i.state, i.block_hash) AS detail
FROM included AS i WHERE NOT i.is_canonical
UNION ALL
SELECT 'included_block_has_its_number',
  format('transaction %s stands in block %s, which is number %s and not %s', i.id, i.block_hash, i.true_number, i.block_number)
FROM included AS i WHERE i.true_number <> i.block_number
UNION ALL
SELECT 'included_block_is_scanned', format('transaction %s stands in block %s, and the watcher is at %s', i.id, i.block_number, i.scanned_block)
FROM included AS i WHERE i.block_number > coalesce(i.scanned_block, -1)
UNION ALL
SELECT 'final_is_below_finality', format('transaction %s is %s in block %s, and only %s is final', i.id, i.state, i.block_number, i.finalized_block)
FROM included AS i WHERE i.is_final AND i.block_number > coalesce(i.finalized_block, -1)
UNION ALL
SELECT 'outcome_is_of_the_receipt',
  format('transaction %s is %s, with receipt status %s of an attempt of kind %s', i.id, i.state, i.receipt_status, i.attempt_kind)
FROM included AS i
WHERE i.is_final AND i.state <> CASE WHEN i.attempt_kind = 'cancel' THEN 'cancelled' WHEN i.receipt_status = 0 THEN 'failed' ELSE 'finalized' END
UNION ALL
SELECT 'price_is_of_the_coin', format('transaction %s is priced by snapshot %s, which is of %s', i.id, i.price_id, i.symbol)
FROM included AS i WHERE i.symbol IS DISTINCT FROM i.native_symbol
UNION ALL
SELECT 'cost_is_fee_at_price',
  format('transaction %s cost %s USD, but %s wei at %s are %s', i.id, i.cost_usd, i.fee_wei, i.usd, tally.cost_usd(i.fee_wei, i.usd))
FROM included AS i WHERE i.cost_usd <> tally.cost_usd(i.fee_wei, i.usd)
UNION ALL
SELECT 'digest_is_of_the_intent', format('transaction %s has a digest that is not of its intent', b.id)
FROM tally.blockchain_transactions AS b
WHERE b.intent_digest <> tally.intent_digest(b.call_data, b.chain_id, b.to_address, b.transaction_type, b.value_transferred)
UNION ALL
SELECT 'managed_is_of_our_account', format('transaction %s is managed, and %s is no account of ours', b.id, b.from_address)
FROM tally.blockchain_transactions AS b
WHERE b.origin = 'managed'
  AND NOT EXISTS (SELECT FROM tally.chain_accounts AS a WHERE a.chain_id = b.chain_id AND a.address = b.from_address)
UNION ALL
SELECT 'nonce_was_given', format('transaction %s has nonce %s, and the next of its account is %s', b.id, b.nonce, a.next_nonce)
FROM tally.blockchain_transactions AS b
INNER JOIN tally.chain_accounts AS a ON a.chain_id = b.chain_id AND a.address = b.from_address
WHERE b.origin = 'managed' AND b.nonce >= a.next_nonce
UNION ALL
SELECT 'hash_is_of_an_attempt', format('transaction %s has hash %s, under which it was never signed', b.id, b.transaction_hash)
FROM tally.blockchain_transactions AS b
WHERE b.origin = 'managed' AND b.transaction_hash IS NOT NULL
  AND NOT EXISTS (SELECT FROM tally.blockchain_transaction_attempts AS a
                  WHERE a.chain_id = b.chain_id AND a.transaction_hash = b.transaction_hash AND a.transaction_id = b.id)
UNION ALL
SELECT 'attempts_count_from_one', format('transaction %s has %s attempts, numbered %s to %s', a.transaction_id, a.counted, a.first, a.last)
FROM attempts AS a WHERE a.first <> 1 OR a.last <> a.counted
UNION ALL
SELECT 'attempt_is_of_its_transaction',
  format('attempt %s is of transaction %s, which is observed, of another network or not there', a.transaction_hash, a.transaction_id)
FROM tally.blockchain_transaction_attempts AS a
LEFT JOIN tally.blockchain_transactions AS b ON b.id = a.transaction_id
WHERE b.id IS NULL OR b.chain_id <> a.chain_id OR b.origin <> 'managed'
UNION ALL
SELECT 'hash_serves_once',
  format('transaction %s is observed under %s, which is an attempt of transaction %s', b.id, b.transaction_hash, a.transaction_id)
FROM tally.blockchain_transactions AS b
INNER JOIN tally.blockchain_transaction_attempts AS a ON a.chain_id = b.chain_id AND a.transaction_hash = b.transaction_hash
WHERE a.transaction_id <> b.id
UNION ALL
SELECT 'event_follows_its_block', format('event %s of block %s is %s, and its block %s on the chain', e.log_index, e.block_hash, e.state,
  CASE WHEN k.is_canonical THEN 'is' ELSE 'is not' END)
FROM tally.contract_events AS e
LEFT JOIN tally.chain_blocks AS k ON k.chain_id = e.chain_id AND k.block_hash = e.block_hash
WHERE (e.state <> 'orphaned') <> coalesce(k.is_canonical, false)
UNION ALL
SELECT 'event_block_has_its_number',
  format('event %s of block %s names number %s, the block is %s', e.log_index, e.block_hash, e.block_number, k.block_number)
FROM tally.contract_events AS e
INNER JOIN tally.chain_blocks AS k ON k.chain_id = e.chain_id AND k.block_hash = e.block_hash
WHERE k.block_number <> e.block_number
UNION ALL
SELECT 'event_finality_is_its_blocks',
  format('event %s of block %s is %s in number %s, and %s is final', e.log_index, e.block_hash, e.state, e.block_number, n.finalized_block)
FROM tally.contract_events AS e INNER JOIN tally.networks AS n ON n.chain_id = e.chain_id
WHERE e.state <> 'orphaned' AND (e.state = 'final') <> (e.block_number <= coalesce(n.finalized_block, -1))
UNION ALL
SELECT 'event_is_of_its_network',
  format('event %s of block %s is of contract %s, which is not on network %s', e.log_index, e.block_hash, e.contract_id, e.chain_id)
FROM tally.contract_events AS e
LEFT JOIN tally.contract_deployments AS d ON d.id = e.contract_id
WHERE d.chain_id IS DISTINCT FROM e.chain_id
UNION ALL
SELECT 'blocks_are_linked', format('block %s of network %s does not follow %s', k.block_hash, k.chain_id, before.block_hash)
FROM tally.chain_blocks AS k
INNER JOIN tally.chain_blocks AS before ON before.chain_id = k.chain_id AND before.block_number = k.block_number - 1 AND before.is_canonical
WHERE k.is_canonical AND k.parent_hash <> before.block_hash
UNION ALL
SELECT 'position_is_on_the_chain',
  format('network %s is scanned up to block %s (%s), which is not on the chain', n.chain_id, n.scanned_block, n.scanned_hash)
FROM tally.networks AS n
WHERE n.scanned_block IS NOT NULL
  AND NOT EXISTS (SELECT FROM tally.chain_blocks AS k
                  WHERE k.chain_id = n.chain_id AND k.block_number = n.scanned_block AND k.block_hash = n.scanned_hash AND k.is_canonical)
UNION ALL
SELECT 'nothing_is_above_the_position', format('block %s of network %s is on the chain above %s', k.block_hash, k.chain_id, n.scanned_block)
FROM tally.chain_blocks AS k INNER JOIN tally.networks AS n ON n.chain_id = k.chain_id
WHERE k.is_canonical AND k.block_number > coalesce(n.scanned_block, -1)
UNION ALL
SELECT 'active_has_a_price', format('network %s is active, and nobody has recorded a price of %s', n.chain_id, n.native_symbol)
FROM tally.networks AS n
WHERE n.status = 'active' AND NOT EXISTS (SELECT FROM tally.price_snapshots AS p WHERE p.symbol = n.native_symbol);
SELECT tally.describe('tally.v_chain_violations', 'Laws of the chain''s tables that a row breaks; always empty.', '{
  "law": "Name of the law.",
  "detail": "Which row breaks it, and how."}');

-- Rights ---------------------------------------------------------------------------------------

GRANT SELECT ON
  tally.networks, tally.chain_blocks, tally.chain_accounts, tally.blockchain_transaction_types, tally.price_snapshots,
  tally.blockchain_transactions, tally.blockchain_transaction_attempts, tally.contract_deployments, tally.contract_events,
  tally.v_blockchain_tx_summary, tally.v_chain_violations
  TO tally_app, tally_auditor;
-- Readers see what the public chain shows, and not whom it is for: keys and metadata may name users and challenges too.
GRANT SELECT ON
  tally.networks, tally.chain_blocks, tally.blockchain_transaction_types, tally.price_snapshots, tally.contract_deployments,
  tally.contract_events, tally.v_blockchain_tx_summary
  TO tally_reader;
GRANT SELECT (id, chain_id, transaction_type, origin, intent_digest, from_address, to_address, contract_address, contract_name,
    function_name, parameters, call_data, value_transferred, gas_limit, nonce, transaction_hash, state, status, receipt_status, block_number,
    block_hash, transaction_index, gas_used, gas_price, l1_fee_wei, fee_wei, transaction_fee, price_id, cost_usd, error_message, revert_data,
    submitted_at, mined_at, confirmed_at, finalized_at, created_at)
  ON tally.blockchain_transactions TO tally_reader;
GRANT SELECT (chain_id, transaction_hash, transaction_id, attempt, kind, max_fee_per_gas, max_priority_fee_per_gas, gas_limit, signed_at,
    broadcast_at, created_at)
  ON tally.blockchain_transaction_attempts TO tally_reader;

REVOKE EXECUTE ON FUNCTION
  tally.cost_usd(numeric, numeric), tally.keep_final(), tally.wake_chain(bigint), tally.refuse_unknown_network(bigint),
  tally.network_add_v1(bigint, text, text, boolean, boolean, integer, text, integer, numeric, integer, numeric, numeric),
  tally.require_price(bigint, text),
  tally.network_set_v1(bigint, text, text, integer, text, integer, numeric, integer, numeric, numeric),
  tally.network_resume_v1(bigint, text), tally.account_add_v1(bigint, text, text, text, numeric),
  tally.account_set_v1(bigint, text, text, numeric, boolean), tally.price_record_v1(text, numeric, text, timestamptz),
  tally.intent_digest(bytea, bigint, text, text, numeric),
  tally.transaction_queue_v1(bigint[], text[], text[], text[], bytea[], numeric[], text[], bigint[], text[], text[], text[]),
  tally.transaction_observe_v1(bigint, text, text, text, text, bytea, numeric, bigint, bigint, text, jsonb, bigint, text),
  tally.lock_transaction(bigint), tally.transaction_ask_v1(bigint, text), tally.transaction_cancel_v1(bigint),
  tally.transaction_drop_v1(bigint[])
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tally.cost_usd(numeric, numeric), tally.intent_digest(bytea, bigint, text, text, numeric)
  TO tally_app, tally_auditor;
GRANT EXECUTE ON FUNCTION
  tally.wake_chain(bigint),
  tally.network_add_v1(bigint, text, text, boolean, boolean, integer, text, integer, numeric, integer, numeric, numeric),
  tally.network_set_v1(bigint, text, text, integer, text, integer, numeric, integer, numeric, numeric),
  tally.network_resume_v1(bigint, text), tally.account_add_v1(bigint, text, text, text, numeric),
  tally.account_set_v1(bigint, text, text, numeric, boolean), tally.price_record_v1(text, numeric, text, timestamptz),
  tally.transaction_queue_v1(bigint[], text[], text[], text[], bytea[], numeric[], text[], bigint[], text[], text[], text[]),
  tally.transaction_observe_v1(bigint, text, text, text, text, bytea, numeric, bigint, bigint, text, jsonb, bigint, text),
  tally.transaction_ask_v1(bigint, text), tally.transaction_cancel_v1(bigint), tally.transaction_drop_v1(bigint[])
  TO tally_app;
