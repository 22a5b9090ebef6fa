-- name: taken_head
-- The newest head of a log that stands in the published log of logs, and where; found by the note's hash.
SELECT c.tree_size, h.leaf_index
FROM tally.taken_heads AS t
INNER JOIN tally.checkpoints AS c ON c.log_id = t.log_id AND c.tree_size <= t.tree_size AND c.tree_size > %(index)s
CROSS JOIN LATERAL (
  SELECT m.leaf_index FROM tally.merkle_log AS m
  WHERE m.log_id = %(heads_log_id)s AND m.leaf_hash = tally.leaf_hash(convert_to(c.note, 'UTF8'))
    AND tally.hash_start(m.leaf_hash) = tally.hash_start(tally.leaf_hash(convert_to(c.note, 'UTF8')))
    AND m.leaf_index < %(heads_size)s
  ORDER BY m.leaf_index LIMIT 1
) AS h
WHERE t.log_id = %(log_id)s
ORDER BY c.tree_size DESC LIMIT 1;
