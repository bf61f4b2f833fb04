-- name: queues.declare
-- Make sure that a queue exists.
INSERT INTO queues (namespace, name, paused_at, paused_by, created_at)
VALUES (:namespace, :queue, NULL, NULL, {{now}})
ON CONFLICT (namespace, name) DO NOTHING;

-- name: queues.list
-- The queues of a namespace, in any order, with their limit and the runs that wait in them.
-- columns: name text, paused_at int, paused_by text, size int, used int, source text, queued int
SELECT q.name, q.paused_at, q.paused_by, g.size, g.used, g.source,
       (SELECT count(*) FROM runs r JOIN lanes l ON l.id = r.lane_id
        WHERE l.namespace = q.namespace AND l.queue = q.name AND r.state = 'queued') AS queued
FROM queues q
LEFT JOIN limits g ON g.namespace = q.namespace AND g.queue = q.name
WHERE q.namespace = :namespace;

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

-- name: limits.declare
-- A limit from code: written once; an operator's later change beats it.
INSERT INTO limits (id, namespace, queue, size, used, source)
VALUES (:id, :namespace, :queue, :size, 0, 'code')
ON CONFLICT (namespace, queue) DO UPDATE SET size = excluded.size WHERE limits.source = 'code';

-- name: limits.set
-- A limit from an operator. Runs that already run keep running.
INSERT INTO limits (id, namespace, queue, size, used, source)
VALUES (:id, :namespace, :queue, :size, 0, 'operator')
ON CONFLICT (namespace, queue) DO UPDATE SET size = excluded.size, source = 'operator';

-- name: limits.lift
-- An operator takes a queue's limit away, with the slots held in it. The row stays, so that the next deploy does not bring the
-- limit back.
INSERT INTO limits (id, namespace, queue, size, used, source)
VALUES (:id, :namespace, :queue, NULL, 0, 'operator')
ON CONFLICT (namespace, queue) DO UPDATE SET size = NULL, used = 0, source = 'operator';
DELETE FROM slots WHERE limit_id = :id;

-- name: limits.lock
-- Every limit, locked in one order: while they are, nobody takes or frees a slot.
-- columns: id int, namespace text, queue text
SELECT id, namespace, queue FROM limits WHERE size IS NOT NULL ORDER BY id {{lock}};

-- name: limits.any
-- Whether there is a limit at all.
-- columns: id int
SELECT id FROM limits WHERE size IS NOT NULL LIMIT 1;

-- name: slots.stale
-- Slots whose fence is over: a worker that had heard of no limit ended its run without looking for one.
-- columns: limit_id int, run_id text, token int
SELECT s.limit_id, s.run_id, s.token
FROM slots s
WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = s.run_id AND r.token = s.token AND r.worker_id IS NOT NULL)
LIMIT :most;

-- name: slots.take
-- Write the slots of claimed runs and the counter beside them.
-- input batch: limit_id int, run_id uuid, token int
INSERT INTO slots (limit_id, run_id, token)
SELECT i.limit_id, i.run_id, i.token FROM {{batch}} AS i
WHERE true
ON CONFLICT (run_id, token, limit_id) DO NOTHING;
UPDATE limits
SET used = used + (SELECT count(*) FROM {{batch}} AS i WHERE i.limit_id = limits.id)
WHERE id IN (SELECT i.limit_id FROM {{batch}} AS i);

-- name: slots.of
-- The slots these fences hold.
-- input batch: run_id uuid, token int
-- columns: limit_id int, run_id text
SELECT s.limit_id, s.run_id FROM {{batch}} AS i JOIN slots s ON s.run_id = i.run_id AND s.token = i.token;

-- name: slots.free
-- Give back the slots of fences that are over. A slot that is gone already is not counted again: the caller read them under
-- the lock of their run, and the run's move happens once.
-- input batch: limit_id int, run_id uuid, token int
SELECT id FROM limits WHERE id IN (SELECT i.limit_id FROM {{batch}} AS i) ORDER BY id {{lock}};
UPDATE limits
SET used = used - (SELECT count(*) FROM slots s JOIN {{batch}} AS i ON i.run_id = s.run_id AND i.token = s.token AND i.limit_id = s.limit_id
                   WHERE s.limit_id = limits.id)
WHERE id IN (SELECT i.limit_id FROM {{batch}} AS i);
DELETE FROM slots
WHERE EXISTS (SELECT 1 FROM {{batch}} AS i WHERE i.run_id = slots.run_id AND i.token = slots.token AND i.limit_id = slots.limit_id);

-- name: slots.audit
-- Limits whose counter is not the number of their slots: always none.
-- columns: id int, used int, slots int
SELECT g.id, g.used, count(s.run_id) AS slots
FROM limits g LEFT JOIN slots s ON s.limit_id = g.id
GROUP BY g.id, g.used
HAVING g.used <> count(s.run_id);

-- name: slots.adopt
-- Give the runs that a queue is running when it gets its first limit their slots, so that the limit counts them.
INSERT INTO slots (limit_id, run_id, token)
SELECT :id, r.id, r.token
FROM runs r JOIN lanes l ON l.id = r.lane_id
WHERE r.worker_id IS NOT NULL AND l.namespace = :namespace AND l.queue = :queue
ON CONFLICT (run_id, token, limit_id) DO NOTHING;
UPDATE limits SET used = (SELECT count(*) FROM slots WHERE limit_id = :id) WHERE id = :id;
