-- name: hidden_leaf
-- A published leaf with the record kept beside it, and whether that was erased: with a redaction of its own, or, where a
-- reconcile queued the delete of a row whose record had been erased, with that one.
SELECT
  l.origin, m.leaf, m.leaf_hash, k.salt, k.record,
  EXISTS (SELECT FROM tally.redactions AS r WHERE r.log_id = m.log_id AND r.leaf_index = m.leaf_index)
  OR m.op = 'D' AND m.via = 'r' AND EXISTS (
    SELECT FROM tally.merkle_log AS e
    INNER JOIN tally.redactions AS r ON r.log_id = e.log_id AND r.leaf_index = e.leaf_index
    WHERE e.log_id = m.log_id AND e.source_table = m.source_table AND e.source_key = m.source_key
      AND e.leaf_index < m.leaf_index)
FROM tally.verification_logs AS l
INNER JOIN tally.published_checkpoints AS p ON p.log_id = l.log_id
INNER JOIN tally.merkle_log AS m ON m.log_id = l.log_id AND m.leaf_index = %(leaf_index)s
LEFT JOIN tally.leaf_records AS k ON k.log_id = m.log_id AND k.leaf_index = m.leaf_index
WHERE l.log_id = %(log_id)s AND %(leaf_index)s < p.tree_size;
