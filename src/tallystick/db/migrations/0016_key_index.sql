-- Completeness by key: a Merkle map from (table, key) to the indexes of the key's leaves (docs/adr/0015). Its root is sealed in the
-- log as a control leaf; what stands here is derived from merkle_log and can be made anew from it at any time.

-- The setting ------------------------------------------------------------------------------------

ALTER TABLE tally.verification_logs ADD COLUMN key_index_interval_seconds integer
  CONSTRAINT key_index_interval_is_a_time CHECK (key_index_interval_seconds BETWEEN 1 AND 31536000);
COMMENT ON COLUMN tally.verification_logs.key_index_interval_seconds IS
  'How often the map of the log''s keys is computed and its root sealed; NULL: only when somebody asks.';
GRANT INSERT (key_index_interval_seconds), UPDATE (key_index_interval_seconds) ON tally.verification_logs TO tally_app;

-- Hashes -----------------------------------------------------------------------------------------

CREATE FUNCTION tally.index_key(source_table text, source_key text) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
-- The table as records name it (record_table): a first word that a dot follows is a schema. STABLE, because to_json is; not
-- STRICT, because PostgreSQL would not inline a CASE then, and this runs for every leaf.
RETURN sha256(convert_to(
  E'tallystick/seal-index-key/v1\n{"key":' || source_key || ',"table":' || to_json(
    CASE WHEN position('.' IN source_table) > 0 AND source_table ~ '^([^".]+|"([^"]|"")+")[.]' THEN source_table
         ELSE 'public.' || source_table END)::text || '}', 'UTF8'));
COMMENT ON FUNCTION tally.index_key(text, text) IS
  'Hash of a leaf''s table and key in the map: SHA-256 of the tag and the RFC 8785 object {key, table} as the record has them.';

CREATE FUNCTION tally.chain_index(chain bytea, key_hash bytea, leaf_index bigint) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
BEGIN
  RETURN sha256('\x74616c6c79737469636b2f7365616c2d696e6465782d656e7472792f76310a00'::bytea || coalesce(chain, key_hash) || int8send(leaf_index));
END $$;
COMMENT ON FUNCTION tally.chain_index(bytea, bytea, bigint) IS
  'The next link of a key''s chain: SHA-256(tallystick/seal-index-entry/v1\n || 0x00 || link before, at first the key''s hash || index in 8 bytes).';

CREATE AGGREGATE tally.chain_indexes(key_hash bytea, leaf_index bigint) (
  sfunc = tally.chain_index, stype = bytea, parallel = SAFE);
COMMENT ON AGGREGATE tally.chain_indexes(bytea, bigint) IS 'The chain over indexes in their order, from a link on.';

CREATE FUNCTION tally.is_indexed(leaf bytea) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Only a record shows its table and key; a digest says nothing that a third party could check.
RETURN substr(leaf, 1, 26) = '\x74616c6c79737469636b2f7365616c2d7265636f72642f76310a'::bytea;
COMMENT ON FUNCTION tally.is_indexed(bytea) IS 'Whether a leaf''s bytes are a record, tallystick/seal-record/v1: what the map covers.';

-- What is derived --------------------------------------------------------------------------------

CREATE TABLE tally.key_indexes (
  log_id integer PRIMARY KEY REFERENCES tally.verification_logs ON DELETE RESTRICT,
  covered_size bigint NOT NULL DEFAULT 0 CONSTRAINT covered_size_is_a_size CHECK (covered_size >= 0)
);
SELECT tally.describe('tally.key_indexes', 'How far each log''s map has come; derived, no evidence.', '{
  "log_id": "The log.",
  "covered_size": "Entries and tiles say what the leaves below this size say."}');

CREATE TABLE tally.key_index_entries (
  log_id integer NOT NULL,
  key_hash bytea NOT NULL,
  chain bytea NOT NULL,
  at_size bigint NOT NULL,
  former_chain bytea,
  PRIMARY KEY (log_id, key_hash)
);
SELECT tally.describe('tally.key_index_entries', 'The map''s entries: one for each key, and one for each table; derived from merkle_log.', '{
  "log_id": "The log.",
  "key_hash": "tally.index_key of table and key; its first 16 bits are the bucket.",
  "chain": "tally.chain_indexes over the key''s leaf indexes.",
  "at_size": "The covered size at which chain was written.",
  "former_chain": "What it was in the map that is served meanwhile, where at_size is beyond that; NULL: the key was not there."}');

CREATE TABLE tally.key_index_tiles (
  log_id integer NOT NULL,
  level smallint NOT NULL CONSTRAINT level_is_one_of_two CHECK (level IN (0, 1)),
  tile_index smallint NOT NULL CONSTRAINT tile_index_is_a_byte CHECK (tile_index BETWEEN 0 AND 255),
  hashes bytea NOT NULL CONSTRAINT tile_is_256_hashes CHECK (octet_length(hashes) = 8192),
  at_size bigint NOT NULL,
  former_hashes bytea,
  PRIMARY KEY (log_id, level, tile_index)
);
ALTER TABLE tally.key_index_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL, ALTER COLUMN former_hashes SET STORAGE EXTERNAL;
SELECT tally.describe('tally.key_index_tiles', 'The tree over the map''s 65,536 buckets, in tiles of 256 hashes; a tile that is not here has empty buckets only.', '{
  "log_id": "The log.",
  "level": "0: hashes of buckets; 1: roots of the tiles of level 0.",
  "tile_index": "Index of the tile within its level.",
  "hashes": "256 hashes of 32 bytes.",
  "at_size": "The covered size at which hashes was written.",
  "former_hashes": "What it was in the map that is served meanwhile; NULL: all buckets were empty."}');

CREATE TABLE tally.key_index_maps (
  log_id integer NOT NULL REFERENCES tally.verification_logs ON DELETE RESTRICT,
  tree_size bigint NOT NULL,
  root_hash bytea NOT NULL CONSTRAINT map_root_is_sha256 CHECK (octet_length(root_hash) = 32),
  seq bigint NOT NULL,
  leaf_index bigint CONSTRAINT map_is_sealed_behind_its_leaves CHECK (leaf_index >= tree_size),
  computed_at timestamptz NOT NULL DEFAULT tally.clock(),
  PRIMARY KEY (log_id, tree_size)
);
SELECT tally.describe('tally.key_index_maps', 'Every map whose root was queued as a leaf. The leaf is the evidence; this says where to find it.', '{
  "log_id": "The log.",
  "tree_size": "The map covers the leaves below this size.",
  "root_hash": "Root of the tree over its buckets.",
  "seq": "Place of its control leaf in the queue.",
  "leaf_index": "Index of its control leaf; NULL until it was looked up.",
  "computed_at": "When it was computed."}');

CREATE FUNCTION tally.map_leaf(p_log_id integer, p_tree_size bigint, p_seq bigint) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
  -- The leaf stands close behind the leaves that its map covers: it waited in the queue with what was sealed next.
  SELECT m.leaf_index FROM tally.merkle_log AS m
  WHERE m.log_id = p_log_id AND m.source_table IS NULL AND m.source_key = '[]' AND m.leaf_index >= p_tree_size
    AND m.op = 'C' AND m.seq = p_seq
  ORDER BY m.leaf_index LIMIT 1
$$;
COMMENT ON FUNCTION tally.map_leaf(integer, bigint, bigint) IS 'Index of the control leaf of a map; NULL until it is sealed.';

CREATE FUNCTION tally.seal_key_index_v1(p_log_id integer, p_tree_size bigint, p_root_hash bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
  PERFORM tally.queue_control(p_log_id, NULL, 'index', jsonb_build_object(
    'buckets', 65536, 'root', encode(p_root_hash, 'hex'), 'size', p_tree_size));
  INSERT INTO tally.key_index_maps (log_id, tree_size, root_hash, seq)
  VALUES (p_log_id, p_tree_size, p_root_hash, currval('tally.capture_seq'));
END $$;
COMMENT ON FUNCTION tally.seal_key_index_v1(integer, bigint, bytea) IS 'Queues the root of a map as a control leaf, and remembers its place.';

-- Findings ---------------------------------------------------------------------------------------

-- The kinds that stand there stay, whatever migrations before this one added.
DO $$
DECLARE
  kinds text := (
    SELECT string_agg(DISTINCT quote_literal(k.kind[1]), ', ')
    FROM pg_constraint AS c CROSS JOIN LATERAL regexp_matches(pg_get_constraintdef(c.oid), '''([a-z_]+)''', 'g') AS k (kind)
    WHERE c.conrelid = 'tally.audit_findings'::regclass AND c.conname = 'finding_kind_is_known');
BEGIN
  ALTER TABLE tally.audit_findings DROP CONSTRAINT finding_kind_is_known;
  EXECUTE format(
    'ALTER TABLE tally.audit_findings ADD CONSTRAINT finding_kind_is_known CHECK (kind IN (%s, ''index_mismatch''))', kinds);
END $$;

-- Pruning ----------------------------------------------------------------------------------------

-- Changed: prune_log_v1 leaves to a log with a map what the map does not cover yet. A map that was computed over what pruning left
-- would say of each version that went that it never was. The lock is the one under which maps are computed.
DO $patch$
DECLARE
  definition text := pg_get_functiondef('tally.prune_log_v1(integer,bigint,text,bytea,text,text)'::regprocedure);
  change text[];
BEGIN
  FOREACH change SLICE 1 IN ARRAY ARRAY[
    ['  log tally.verification_logs;
', '  log tally.verification_logs;
  mapped bigint;
'],
    ['  SELECT * INTO STRICT log', '  PERFORM pg_advisory_xact_lock(1952541820, p_log_id);
  SELECT * INTO STRICT log'],
    ['  -- The export must have been found clean', '  SELECT max(m.tree_size) INTO mapped FROM tally.key_index_maps AS m WHERE m.log_id = p_log_id;
  IF coalesce(mapped, 0) < p_to_index AND (mapped IS NOT NULL OR log.key_index_interval_seconds IS NOT NULL
      OR EXISTS (SELECT FROM tally.key_indexes AS x WHERE x.log_id = p_log_id)) THEN
    PERFORM tally.refuse_pruning(log.log_name, format(
      ''the map of its keys covers only the leaves below %s: tally log index makes the next one'', coalesce(mapped, 0)));
  END IF;
  -- The export must have been found clean']
  ] LOOP
    ASSERT position(change[1] IN definition) > 0, change[1];
    definition := replace(definition, change[1], change[2]);
  END LOOP;
  EXECUTE definition;
END $patch$;

-- Rights -----------------------------------------------------------------------------------------

GRANT SELECT ON tally.key_indexes, tally.key_index_entries, tally.key_index_tiles, tally.key_index_maps TO tally_app, tally_auditor;
GRANT INSERT ON tally.key_indexes, tally.key_index_entries, tally.key_index_tiles TO tally_app;
-- Derived, hence no evidence: it may be thrown away and made anew.
GRANT DELETE ON tally.key_indexes, tally.key_index_entries, tally.key_index_tiles, tally.key_index_maps TO tally_app;
GRANT UPDATE (covered_size) ON tally.key_indexes TO tally_app;
GRANT UPDATE (chain, at_size, former_chain) ON tally.key_index_entries TO tally_app;
GRANT UPDATE (hashes, at_size, former_hashes) ON tally.key_index_tiles TO tally_app;
GRANT UPDATE (leaf_index) ON tally.key_index_maps TO tally_app;
REVOKE EXECUTE ON FUNCTION
  tally.index_key(text, text), tally.chain_index(bytea, bytea, bigint), tally.chain_indexes(bytea, bigint), tally.is_indexed(bytea),
  tally.map_leaf(integer, bigint, bigint), tally.seal_key_index_v1(integer, bigint, bytea) FROM PUBLIC;
-- An auditor makes maps anew.
GRANT EXECUTE ON FUNCTION
  tally.index_key(text, text), tally.chain_index(bytea, bytea, bigint), tally.chain_indexes(bytea, bigint), tally.is_indexed(bytea)
  TO tally_app, tally_auditor;
GRANT EXECUTE ON FUNCTION tally.map_leaf(integer, bigint, bigint), tally.seal_key_index_v1(integer, bigint, bytea) TO tally_app;
