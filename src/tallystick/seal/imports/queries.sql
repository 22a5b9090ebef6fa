-- name: facts
-- How many leaves there are to take, how many of them are none, and whether an id occurs twice.
SELECT
  count(*), count(*) FILTER (WHERE coalesce(octet_length(i.leaf), 0) NOT BETWEEN 1 AND 65535 OR i.id IS NULL),
  count(i.id) - count(DISTINCT i.id)
FROM pg_temp.tally_import AS i;

-- name: append_batch
-- Writes the leaves behind an id, in the order of their ids; the tables are named as sources are now.
WITH taken AS MATERIALIZED (
  SELECT i.id, i.source_table, i.source_id, i.leaf, i.processed_at
  FROM pg_temp.tally_import AS i WHERE i.id > %(after)s ORDER BY i.id LIMIT %(limit)s
), names AS MATERIALIZED (
  SELECT d.source_table AS said, coalesce(tally.table_name(tally.find_table(d.source_table)), d.source_table) AS name
  FROM (SELECT DISTINCT t.source_table FROM taken AS t WHERE t.source_table IS NOT NULL) AS d
), appended AS (
  INSERT INTO tally.merkle_log (
    log_id, leaf_index, log_name, source_table, source_id, source_key, op, via, seq, leaf, leaf_hash, processed_at)
  SELECT
    %(log_id)s, %(size)s::bigint + row_number() OVER (ORDER BY t.id) - 1, %(log_name)s, n.name,
    CASE WHEN t.source_id ~ '^-?[0-9]{1,18}$' THEN t.source_id::bigint END,
    CASE WHEN t.source_id IS NULL THEN '[]' ELSE concat('[', to_json(t.source_id), ']') END,
    (CASE WHEN t.source_id IS NULL THEN 'A' ELSE 'I' END)::"char", (CASE WHEN t.source_id IS NULL THEN 'a' ELSE 'p' END)::"char",
    t.id, t.leaf, sha256('\x00'::bytea || t.leaf), coalesce(t.processed_at, (SELECT tally.clock()))
  FROM taken AS t LEFT JOIN names AS n ON n.said = t.source_table
  RETURNING leaf_index, leaf_hash
)
SELECT
  (SELECT count(*) FROM appended), (SELECT max(t.id) FROM taken AS t),
  coalesce((SELECT string_agg(a.leaf_hash, ''::bytea ORDER BY a.leaf_index) FROM appended AS a), ''::bytea);

-- name: lift_timeouts
-- An import is one transaction, as long as the earlier log is large. What row-level security hides is an error, and no shorter log.
SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true),
       set_config('work_mem', '256MB', true), set_config('jit', 'off', true), set_config('row_security', 'off', true);

-- name: forget
-- The connection can serve another import.
DROP VIEW pg_temp.tally_import;
