-- name: policies.waiting
-- Runs of a task that wait, from an id on.
-- columns: id text
SELECT r.id
FROM lanes l JOIN runs r ON r.lane_id = l.id
WHERE l.namespace = :namespace AND l.task = :task AND r.id > :after
  AND r.state IN ('scheduled', 'blocked', 'queued', 'retrying', 'released')
ORDER BY r.id
LIMIT :most;
