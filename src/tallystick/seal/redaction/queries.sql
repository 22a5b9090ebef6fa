-- name: redact
-- Erases what some leaves hide; the function writes the evidence of it.
SELECT redacted, redacted_before, quarantined, standing, elsewhere, is_in_log
FROM tally.redact_leaves_v1(%(log_id)s, %(indexes)s, %(actor)s, %(reason)s, %(legal_basis)s, %(whole_keys)s);

-- name: versions_of_key
-- The leaves of a key that have a record to erase, or had one, and how many versions with one wait to be sealed; by one snapshot.
SELECT
  tally.key_indexes_v1(%(log_id)s, %(source_table)s, ARRAY[%(source_key)s]),
  (SELECT count(*)
   FROM tally.verification_sources AS s
   INNER JOIN tally.capture AS q ON q.log_id = s.log_id AND q.source_no = s.source_no AND q.source_key = %(source_key)s
   WHERE s.log_id = %(log_id)s AND s.source_table = %(source_table)s AND q.record IS NOT NULL);

-- name: leaves_of_user
-- By log, the leaves that hide something of a user's own rows, and how many of these rows wait to be sealed.
SELECT log_name, indexes, waiting FROM tally.user_leaves_v1(%(user_id)s);

-- name: redacted_indexes
-- Which of some leaves were erased; by primary key.
SELECT w.log_name, r.leaf_index
FROM unnest(%(log_names)s::text[], %(indexes)s::bigint[]) AS w (log_name, leaf_index)
INNER JOIN tally.verification_logs AS l ON l.log_name = w.log_name
INNER JOIN tally.redactions AS r ON r.log_id = l.log_id AND r.leaf_index = w.leaf_index;
