-- name: queues.declare
-- Make sure that a queue exists.
INSERT INTO queues (namespace, name, paused_at, paused_by, created_at)
VALUES (:namespace, :queue, NULL, NULL, {{now}})
ON CONFLICT (namespace, name) DO NOTHING;

-- name: queues.list
-- The queues of a namespace, in any order, with their limit and the runs that wait in them.
-- columns: name text, paused_at int, paused_by text, size int, used int, source text, queued int, max_waiting int, overflow text
-- columns: bound_source text
SELECT q.name, q.paused_at, q.paused_by, g.size,
       CASE WHEN g.size IS NOT NULL THEN
           (SELECT count(*) FROM runs r JOIN lanes l ON l.id = r.lane_id
            WHERE r.worker_id IS NOT NULL AND l.namespace = q.namespace AND l.queue = q.name)
           + (SELECT coalesce(sum(s.cost), 0) FROM reservations s WHERE s.limit_id = g.id) END AS used, g.source,
       (SELECT count(*) FROM runs r JOIN lanes l ON l.id = r.lane_id
        WHERE l.namespace = q.namespace AND l.queue = q.name AND r.state = 'queued') AS queued,
       q.max_waiting, q.overflow, q.source AS bound_source
FROM queues q
LEFT JOIN limits g ON g.namespace = q.namespace AND g.scope = 'queue' AND g.name = q.name AND g.measure = 'at_once'
WHERE q.namespace = :namespace AND (:queue = '' OR q.name = :queue);

-- name: queues.lock
-- A queue and its limits at once, locked until the transaction ends: of two who edit it the second sees what the first did.
-- columns: name text
SELECT q.name FROM queues q WHERE q.namespace = :namespace AND q.name = :queue {{lock}};

-- name: queues.paused
-- Which of these queues are paused.
-- columns: name text
SELECT name FROM queues WHERE namespace = :namespace AND name {{any queues text}} AND paused_at IS NOT NULL;

-- name: queues.pause
-- Stop claims from a queue. Waiting runs keep their place, running ones go on.
UPDATE queues SET paused_at = {{now}}, paused_by = :actor WHERE namespace = :namespace AND name = :queue AND paused_at IS NULL;

-- name: queues.resume
-- Let claims from a queue go on.
UPDATE queues SET paused_at = NULL, paused_by = NULL WHERE namespace = :namespace AND name = :queue AND paused_at IS NOT NULL;

-- name: queues.exists
-- Whether a queue is known.
-- columns: name text
SELECT name FROM queues WHERE namespace = :namespace AND name = :queue;

-- name: queues.declare_bound
-- What code says of how much may wait in a queue, unless an operator said otherwise.
UPDATE queues SET max_waiting = :max_waiting, overflow = :overflow
WHERE namespace = :namespace AND name = :queue AND source = 'code'
  AND (max_waiting IS NULL OR max_waiting <> :max_waiting OR overflow <> :overflow);

-- name: queues.set_bound
-- What an operator says of how much may wait in a queue; code does not change it.
UPDATE queues SET max_waiting = :max_waiting, overflow = :overflow, source = 'operator'
WHERE namespace = :namespace AND name = :queue;

-- name: queues.reset_bound
-- Let code say again how much may wait in a queue.
UPDATE queues SET max_waiting = NULL, overflow = 'refuse', source = 'code' WHERE namespace = :namespace AND name = :queue;

-- name: queues.bounds
-- Which of these lanes are of bounded queues, locked in the order of their names until what is to be created there is.
-- columns: lane_id int, namespace text, name text, max_waiting int, overflow text
SELECT l.id AS lane_id, q.namespace, q.name, q.max_waiting, q.overflow
FROM lanes l JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
WHERE l.id {{any lanes int}} AND q.max_waiting IS NOT NULL
ORDER BY q.namespace, q.name, l.id {{lock}};

-- name: queues.room
-- How many runs wait in a queue, whatever they wait for, counted up to a number; and since when the first of them is due.
-- columns: waiting int, oldest int, at int
SELECT (SELECT count(*) FROM (SELECT 1 FROM lanes l JOIN runs r ON r.lane_id = l.id
                              WHERE l.namespace = :namespace AND l.queue = :queue AND r.state = 'queued' LIMIT :most) AS queued)
     + (SELECT count(*) FROM (SELECT 1 FROM lanes l JOIN runs r ON r.lane_id = l.id
                              WHERE l.namespace = :namespace AND l.queue = :queue
                                AND r.state IN ('scheduled', 'blocked', 'retrying', 'released') LIMIT :most) AS later) AS waiting,
       (SELECT min((SELECT r.due_at FROM runs r WHERE r.lane_id = l.id AND r.state = 'queued' ORDER BY r.due_at, r.id LIMIT 1))
        FROM lanes l WHERE l.namespace = :namespace AND l.queue = :queue) AS oldest,
       {{now}} AS at;

-- name: queues.oldest
-- The queued runs of a queue that have waited longest, of those on whose end nothing else hangs; locked.
-- columns: id text, lane_id int, policy_id int, state text, reason text, due_at int, token int, seq int
-- columns: failures int, interruptions int, releases int, payload_seq int, worker_id text, idempotency_key text
-- columns: singleton_key text, batch_id text, rerun_of text, expires_at int, deadline_at int
-- columns: cancel_requested_at int, created_at int
-- columns: ended_at int
SELECT id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases, payload_seq, worker_id,
       idempotency_key, singleton_key, batch_id, rerun_of, expires_at, deadline_at, cancel_requested_at,
       created_at, ended_at
FROM runs
WHERE state = 'queued' AND lane_id IN (SELECT l.id FROM lanes l WHERE l.namespace = :namespace AND l.queue = :queue)
  AND batch_id IS NULL AND singleton_key IS NULL AND followed = 0
ORDER BY due_at, id
LIMIT :most {{skip_locked}};
