-- name: telemetry.traces
-- What the `created` events of these runs say, where one of them was created under a span.
-- columns: run_id text, data text
SELECT e.run_id, e.data FROM events e WHERE e.run_id {{any ids uuid}} AND e.seq = 1 AND e.data LIKE '%"trace":%';

-- name: telemetry.queues
-- The queues of a namespace, with how many runs are queued in each (no more than a bound are counted, and in no more than a
-- bound of its lanes) and the oldest due time among them.
-- columns: name text, queued int, oldest int
SELECT q.name,
       (SELECT count(*) FROM (SELECT 1 FROM lanes l JOIN runs r ON r.lane_id = l.id
                              WHERE l.namespace = q.namespace AND l.queue = q.name AND r.state = 'queued'
                              LIMIT :most) AS counted) AS queued,
       (SELECT min(h.due_at) FROM (SELECT (SELECT x.due_at FROM runs x WHERE x.lane_id = l.id AND x.state = 'queued'
                                           ORDER BY x.due_at, x.id LIMIT 1) AS due_at
                                   FROM lanes l WHERE l.namespace = q.namespace AND l.queue = q.name LIMIT :most) AS h) AS oldest
FROM queues q
WHERE q.namespace = :namespace
ORDER BY q.name
LIMIT :queues;
