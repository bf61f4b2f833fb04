-- name: keys.expire
-- Let go of idempotency keys of these names whose retention is over, so that they can be taken again.
-- input wanted: namespace text, task text, key text, run_id uuid, payload_hash text, ttl int
DELETE FROM idempotency_keys
WHERE expires_at <= {{now}}
  AND EXISTS (SELECT 1 FROM {{wanted}} AS i
              WHERE i.namespace = idempotency_keys.namespace AND i.task = idempotency_keys.task AND i.key = idempotency_keys.key);

-- name: keys.take
-- Take idempotency keys for new runs. Waits for a concurrent taker's commit; answers the runs whose key is theirs now.
-- input wanted: namespace text, task text, key text, run_id uuid, payload_hash text, ttl int
-- columns: run_id text
INSERT INTO idempotency_keys (namespace, task, key, run_id, payload_hash, expires_at, final_state, ended_at)
SELECT i.namespace, i.task, i.key, i.run_id, i.payload_hash, {{now}} + i.ttl, NULL, NULL
FROM {{wanted}} AS i
WHERE true
ORDER BY i.namespace, i.task, i.key
ON CONFLICT (namespace, task, key) DO NOTHING
RETURNING run_id;

-- name: keys.owner
-- Who owns an idempotency key, and the payload it was taken for.
-- columns: run_id text, payload_hash text, final_state text
SELECT run_id, payload_hash, final_state FROM idempotency_keys WHERE namespace = :namespace AND task = :task AND key = :key;

-- name: keys.give_up
-- Give back an idempotency key that this transaction took for a run it does not create after all.
DELETE FROM idempotency_keys WHERE namespace = :namespace AND task = :task AND key = :key AND run_id = :run_id;

-- name: keys.free_failed
-- Give back the idempotency keys of runs that failed: their owner did not do the work.
DELETE FROM idempotency_keys
WHERE EXISTS (SELECT 1 FROM runs r JOIN lanes l ON l.id = r.lane_id
              WHERE r.id {{any ids uuid}} AND r.id = idempotency_keys.run_id AND l.namespace = idempotency_keys.namespace
                AND l.task = idempotency_keys.task AND r.idempotency_key = idempotency_keys.key);

-- name: keys.take_singleton
-- Take a singleton key for a new run. Waits for a concurrent taker's commit; answers the run if the key is its own now.
-- columns: run_id text
INSERT INTO singletons (namespace, task, key, run_id)
VALUES (:namespace, :task, :key, :run_id)
ON CONFLICT (namespace, task, key) DO NOTHING
RETURNING run_id;

-- name: keys.singleton_owner
-- The one run that is not terminal under a singleton key.
-- columns: run_id text
SELECT run_id FROM singletons WHERE namespace = :namespace AND task = :task AND key = :key;

-- name: keys.free_singletons
-- Give back the singleton keys of runs that ended.
DELETE FROM singletons
WHERE EXISTS (SELECT 1 FROM runs r JOIN lanes l ON l.id = r.lane_id
              WHERE r.id {{any ids uuid}} AND r.id = singletons.run_id AND l.namespace = singletons.namespace
                AND l.task = singletons.task AND r.singleton_key = singletons.key);
