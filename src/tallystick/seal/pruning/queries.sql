-- name: prune_log
-- Raises the minimum index, or refuses; the index before.
SELECT tally.prune_log_v1(
  %(log_id)s, %(to_index)s, %(export_url)s, %(manifest_sha256)s, %(actor)s, %(reason)s);

-- name: delete_pruned
-- Deletes some of what lies below the minimum index.
SELECT next_index, leaves_deleted, leaves_kept FROM tally.delete_pruned_v1(%(log_id)s, %(from_index)s, %(leaves)s);
