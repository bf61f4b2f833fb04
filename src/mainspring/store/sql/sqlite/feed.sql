-- name: feed.after
-- The next entries of the ledgers of the newest 5,000 runs and of those that a worker holds: an index on the instant would cost
-- every commit a page of its log (4 KiB), and a database with a longer backlog than that is one for PostgreSQL.
-- columns: run_id text, seq int, type text, state text, at int, actor text, data text, task text, queue text
SELECT e.run_id, e.seq, e.type, e.state, e.at, e.actor, e.data, l.task, l.queue
FROM (SELECT id FROM (SELECT id FROM runs ORDER BY id DESC LIMIT 5000) UNION SELECT id FROM runs WHERE worker_id IS NOT NULL) AS n
JOIN runs r ON r.id = n.id JOIN lanes l ON l.id = r.lane_id JOIN events e ON e.run_id = r.id
WHERE (r.ended_at IS NULL OR r.ended_at >= :at) AND e.at >= :at AND (e.at, e.run_id, e.seq) > (:at, :run_id, :seq)
  AND l.namespace = :namespace
ORDER BY e.at, e.run_id, e.seq
LIMIT :most;
