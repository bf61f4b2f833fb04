-- name: feed.after
-- The next entries of all ledgers of a namespace, by instant, run and place, from one on.
-- columns: run_id text, seq int, type text, state text, at int, actor text, data text, task text, queue text
SELECT e.run_id, e.seq, e.type, e.state, e.at, e.actor, e.data, l.task, l.queue
FROM events e JOIN runs r ON r.id = e.run_id JOIN lanes l ON l.id = r.lane_id
WHERE e.at >= :at AND (e.at, e.run_id, e.seq) > (:at, :run_id, :seq) AND l.namespace = :namespace
ORDER BY e.at, e.run_id, e.seq
LIMIT :most;
