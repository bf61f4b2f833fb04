-- name: queues.declare
-- Make sure that a queue exists.
INSERT INTO queues (namespace, name, paused_at, paused_by, created_at)
VALUES (:namespace, :queue, NULL, NULL, {{now}})
ON CONFLICT (namespace, name) DO NOTHING;

-- name: queues.list
-- The queues of a namespace, in any order, with their limit and the runs that wait in them.
-- columns: name text, paused_at int, paused_by text, size int, used int, source text, queued int
SELECT q.name, q.paused_at, q.paused_by, g.size,
       CASE WHEN g.size IS NOT NULL THEN (SELECT coalesce(sum(s.cost), 0) FROM slots s WHERE s.limit_id = g.id) END AS used, g.source,
       (SELECT count(*) FROM runs r JOIN lanes l ON l.id = r.lane_id
        WHERE l.namespace = q.namespace AND l.queue = q.name AND r.state = 'queued') AS queued
FROM queues q
LEFT JOIN limits g ON g.namespace = q.namespace AND g.scope = 'queue' AND g.name = q.name AND g.measure = 'at_once'
WHERE q.namespace = :namespace;

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
