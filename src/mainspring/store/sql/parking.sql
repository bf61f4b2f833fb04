-- name: parking.next
-- Runs of a backup that are not finished and could go on by themselves.
-- columns: id text
SELECT q.id FROM (
    SELECT id FROM (SELECT id FROM runs WHERE state = 'queued' AND created_at <= :before LIMIT :most) AS queued
    UNION ALL
    SELECT id FROM (SELECT id FROM runs WHERE state IN ('scheduled', 'retrying', 'released') AND created_at <= :before LIMIT :most) AS w
    UNION ALL
    SELECT id FROM (SELECT id FROM runs WHERE worker_id IS NOT NULL AND state = 'running' AND created_at <= :before LIMIT :most) AS held
) AS q
ORDER BY q.id
LIMIT :most;

-- name: parking.done
-- All of them are parked.
UPDATE planner_mark SET park_before = NULL WHERE id = 1 AND park_before IS NOT NULL;
