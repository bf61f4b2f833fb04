-- name: workers.register
-- A worker says hello: its lease covers every run it will hold.
INSERT INTO workers (id, namespace, state, tasks, queues, concurrency, started_at, ttl, expires_at, skills)
VALUES (:id, :namespace, 'live', :tasks, :queues, :concurrency, {{now}}, :ttl, {{now}} + :ttl, :skills)
ON CONFLICT (id) DO NOTHING;

-- name: workers.renew
-- One renewal for everything a worker holds. Answers nothing once the worker was declared gone; else, how many limits its
-- namespace has, so that a worker without limits never looks for slots.
-- columns: limits int
UPDATE workers SET expires_at = {{now}} + ttl
WHERE id = :id AND state = 'live'
RETURNING (SELECT count(*) FROM limits g
           WHERE (g.namespace = workers.namespace OR g.scope = 'total') AND g.size IS NOT NULL);

-- name: workers.lapsed
-- Workers whose lease is over, locked.
-- columns: id text
SELECT id FROM workers WHERE state = 'live' AND expires_at <= {{now}} ORDER BY expires_at, id LIMIT :most {{skip_locked}};

-- name: workers.orphaned
-- Workers that are gone and yet hold runs: a claim that committed as its worker was declared gone.
-- columns: id text
SELECT w.id FROM workers w
WHERE w.state = 'gone' AND EXISTS (SELECT 1 FROM runs r WHERE r.worker_id = w.id)
ORDER BY w.id LIMIT :most;

-- name: workers.leave
-- A worker is gone: by its own word, or because its lease is over and nothing is left in its hands.
UPDATE workers SET state = 'gone' WHERE id = :id AND state = 'live';

-- name: workers.list
-- The workers of a namespace, newest first.
-- columns: id text, state text, tasks text, queues text, concurrency int, started_at int, expires_at int
SELECT id, state, tasks, queues, concurrency, started_at, expires_at
FROM workers WHERE namespace = :namespace ORDER BY started_at DESC, id LIMIT :most;

-- name: workers.get
-- One worker of a namespace.
-- columns: id text, state text, tasks text, queues text, concurrency int, started_at int, expires_at int
SELECT id, state, tasks, queues, concurrency, started_at, expires_at FROM workers WHERE namespace = :namespace AND id = :id;

-- name: workers.page
-- A page of the workers of a namespace, by id.
-- columns: id text, state text, tasks text, queues text, concurrency int, started_at int, expires_at int
SELECT id, state, tasks, queues, concurrency, started_at, expires_at
FROM workers WHERE namespace = :namespace AND id {{bytewise}} > :after AND (:state = '' OR state = :state)
ORDER BY id {{bytewise}} LIMIT :most;

-- name: workers.forget
-- Remove workers that have been gone for long and hold nothing.
DELETE FROM workers
WHERE state = 'gone' AND expires_at < :before AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.worker_id = workers.id);

-- name: fleet.tick
-- When the fleet last looked for lapsed leases, and until when it may not reap.
-- columns: last_tick_at int, reap_hold_until int
SELECT last_tick_at, reap_hold_until FROM fleet WHERE id = 1;

-- name: fleet.ticked
-- Record that somebody looked.
INSERT INTO fleet (id, last_tick_at, reap_hold_until) VALUES (1, {{now}}, :hold_until)
ON CONFLICT (id) DO UPDATE SET last_tick_at = excluded.last_tick_at, reap_hold_until = excluded.reap_hold_until;
