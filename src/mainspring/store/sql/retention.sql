-- name: retention.prunable
-- Ended runs older than the cut-off, oldest first, from a cursor on. Runs with an open dead letter stay, and so do members of a
-- batch that is still open.
-- columns: id text, ended_at int
SELECT r.id, r.ended_at
FROM runs r JOIN lanes l ON l.id = r.lane_id
WHERE r.id > :after AND r.id < :below AND l.namespace = :namespace
  AND r.state {{any states text}} AND r.ended_at < :cut_off
  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.run_id = r.id AND d.closed_at IS NULL)
  AND NOT EXISTS (SELECT 1 FROM batches b LEFT JOIN runs c ON c.id = b.callback_id
                  WHERE b.id = r.batch_id AND (b.open > 0 OR (c.id IS NOT NULL AND c.ended_at IS NULL)))
ORDER BY r.id
LIMIT :most;

-- name: retention.remember
-- What a retained idempotency key still has to answer after its owner is gone.
UPDATE idempotency_keys
SET final_state = (SELECT r.state FROM runs r WHERE r.id = idempotency_keys.run_id),
    ended_at = (SELECT r.ended_at FROM runs r WHERE r.id = idempotency_keys.run_id)
WHERE EXISTS (SELECT 1 FROM runs r JOIN lanes l ON l.id = r.lane_id
              WHERE r.id {{any ids uuid}} AND r.id = idempotency_keys.run_id AND l.namespace = idempotency_keys.namespace
                AND l.task = idempotency_keys.task AND r.idempotency_key = idempotency_keys.key);

-- name: retention.prune
-- Remove runs with everything that hangs on them.
DELETE FROM events WHERE run_id {{any ids uuid}};
DELETE FROM checkpoints WHERE run_id {{any ids uuid}};
DELETE FROM dead_letters WHERE run_id {{any ids uuid}};
DELETE FROM runs WHERE id {{any ids uuid}};

-- name: retention.keys
-- Remove idempotency keys whose retention is over and whose owner has ended or is gone.
DELETE FROM idempotency_keys
WHERE expires_at < {{now}}
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = idempotency_keys.run_id AND r.ended_at IS NULL);
