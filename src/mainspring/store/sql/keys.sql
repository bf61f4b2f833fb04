-- name: keys.expire
-- Let go of idempotency keys of these names whose retention is over and whose owner has ended, so that they can be taken again. An
-- owner that this very transaction is about to create is not over.
-- input wanted: namespace text, task text, key text, run_id uuid, payload_hash text, ttl int
DELETE FROM idempotency_keys
WHERE expires_at <= {{now}}
  AND EXISTS (SELECT 1 FROM {{wanted}} AS i
              WHERE i.namespace = idempotency_keys.namespace AND i.task = idempotency_keys.task AND i.key = idempotency_keys.key)
  AND (final_state IS NOT NULL
       OR EXISTS (SELECT 1 FROM runs r WHERE r.id = idempotency_keys.run_id AND r.ended_at IS NOT NULL));

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
-- Who owns an idempotency key, and the payload it was taken for; of an owner that was pruned, how it ended.
-- columns: run_id text, payload_hash text, final_state text, ended_at int
SELECT run_id, payload_hash, final_state, ended_at
FROM idempotency_keys WHERE namespace = :namespace AND task = :task AND key = :key;

-- name: keys.current
-- Who would be found under an idempotency key now; advice, for it may change at once.
-- columns: run_id text, final_state text, ended_at int
SELECT k.run_id, k.final_state, k.ended_at
FROM idempotency_keys k LEFT JOIN runs r ON r.id = k.run_id
WHERE k.namespace = :namespace AND k.task = :task AND k.key = :key
  AND (k.expires_at > {{now}} OR (r.id IS NOT NULL AND r.ended_at IS NULL));

-- name: keys.taken_for
-- The payload that a run was created with.
-- columns: body bytes
SELECT body FROM events WHERE run_id = :run_id AND seq = 1;

-- name: keys.give_up
-- Give back an idempotency key, if it still belongs to this run.
DELETE FROM idempotency_keys WHERE namespace = :namespace AND task = :task AND key = :key AND run_id = :run_id;

-- name: keys.free_failed
-- Give back the idempotency keys of runs that failed: their owner did not do the work.
DELETE FROM idempotency_keys
WHERE (namespace, task, key) IN (SELECT l.namespace, l.task, r.idempotency_key FROM runs r JOIN lanes l ON l.id = r.lane_id
                                 WHERE r.id {{any ids uuid}})
  AND run_id {{any ids uuid}};

-- name: keys.take_singleton
-- Take a singleton key for a new run. Waits for a concurrent taker's commit; answers the run if the key is its own now.
-- columns: run_id text
INSERT INTO singletons (namespace, task, key, run_id, first_at)
VALUES (:namespace, :task, :key, :run_id, CASE WHEN :gathers = 1 THEN coalesce(CAST(:first_at AS {{int}}), {{now}}) END)
ON CONFLICT (namespace, task, key) DO NOTHING
RETURNING run_id;

-- name: keys.singleton_owner
-- The one run that is not terminal under a singleton key, since when calls are gathered for it, and the run that will follow it.
-- columns: run_id text, first_at int, next_id text, at int
SELECT run_id, first_at, next_id, {{now}} AS at FROM singletons WHERE namespace = :namespace AND task = :task AND key = :key;

-- name: keys.singleton_owners
-- The owners of many singleton keys.
-- input wanted: namespace text, task text, key text
-- columns: run_id text
SELECT s.run_id
FROM {{wanted}} AS i JOIN singletons s ON s.namespace = i.namespace AND s.task = i.task AND s.key = i.key;

-- name: keys.defer
-- Keep what the run after this owner will be: the last call's word. The caller holds the owner's lock. Answers that run's id.
-- columns: next_id text
UPDATE singletons
SET next_id = coalesce(next_id, :next_id), next_lane = :lane_id, next_policy = :policy_id, next_due_at = :due_at,
    next_actor = :actor, next_data = :data, next_body = :body, first_at = :first_at
WHERE namespace = :namespace AND task = :task AND key = :key AND run_id = :run_id
RETURNING next_id;

-- name: keys.next
-- What follows runs that ended: the payloads that were kept for afterwards.
-- columns: next_id text, next_lane int, next_policy int, next_due_at int, next_actor text, key text, next_data text, next_body bytes
SELECT s.next_id, s.next_lane, s.next_policy, s.next_due_at, s.next_actor, s.key, s.next_data, s.next_body
FROM runs r
JOIN lanes l ON l.id = r.lane_id
JOIN singletons s ON s.namespace = l.namespace AND s.task = l.task AND s.key = r.singleton_key AND s.run_id = r.id
WHERE r.id {{any ids uuid}} AND s.next_id IS NOT NULL
ORDER BY s.next_id;

-- name: keys.hand_on
-- Give singleton keys of runs that ended to those that follow them.
UPDATE singletons
SET run_id = next_id, next_id = NULL, next_lane = NULL, next_policy = NULL, next_due_at = NULL, next_actor = NULL,
    next_data = NULL, next_body = NULL
WHERE next_id {{any next_ids uuid}};

-- name: keys.free_singletons
-- Give back the singleton keys of runs that ended and that nobody follows.
DELETE FROM singletons
WHERE (namespace, task, key) IN (SELECT l.namespace, l.task, r.singleton_key FROM runs r JOIN lanes l ON l.id = r.lane_id
                                 WHERE r.id {{any ids uuid}})
  AND run_id {{any ids uuid}};

-- name: keys.give_up_singleton
-- Give back a singleton key that this transaction took for a run that does not live after all.
DELETE FROM singletons WHERE namespace = :namespace AND task = :task AND key = :key AND run_id = :run_id;

-- name: keys.replaced_by
-- The payload that an event of a run holds, to tell whether an earlier try of the same call wrote it.
-- columns: body bytes
SELECT body FROM events WHERE run_id = :run_id AND seq = :seq;

-- name: keys.deferred_to
-- The payload that is kept for, or was given to, the run that follows an owner.
-- columns: body bytes
SELECT next_body AS body FROM singletons WHERE next_id = :run_id
UNION ALL
SELECT body FROM events WHERE run_id = :run_id AND seq = 1;

-- name: keys.is_deferred
-- Whether a run will be created when another has ended.
-- columns: next_id text
SELECT next_id FROM singletons WHERE next_id = :run_id;

-- name: keys.enter_burst
-- One more call of a burst: the first of a new one, if the last burst is over; else it goes on. Answers the first call's run, and
-- when that call came.
-- columns: run_id text, first_at int, at int
INSERT INTO debounces (namespace, task, key, run_id, first_at, ends_at)
VALUES (:namespace, :task, :key, :run_id, {{now}}, {{now}} + :quiet)
ON CONFLICT (namespace, task, key) DO UPDATE
SET run_id = CASE WHEN debounces.ends_at <= {{now}} THEN excluded.run_id ELSE debounces.run_id END,
    first_at = CASE WHEN debounces.ends_at <= {{now}} THEN {{now}} ELSE debounces.first_at END,
    ends_at = CASE WHEN debounces.ends_at <= {{now}} OR debounces.first_at + :max_wait > {{now}} + :quiet THEN {{now}} + :quiet
                   ELSE debounces.first_at + :max_wait END
RETURNING run_id, first_at, {{now}};

-- name: keys.lead_burst
-- The first call of a burst came to another run than its own.
UPDATE debounces SET run_id = :run_id WHERE namespace = :namespace AND task = :task AND key = :key;
