-- name: explain.pause
-- Whether a queue is paused, and by whom.
-- columns: paused_at int, paused_by text
SELECT paused_at, paused_by FROM queues WHERE namespace = :namespace AND name = :queue;

-- name: explain.holders
-- Some of those who hold a limit, being held in these lanes, and since when; and of those for whom it is reserved.
-- columns: run_id text, since int
SELECT s.run_id, (SELECT max(e.at) FROM events e WHERE e.run_id = s.run_id AND e.type = 'claimed') AS since
FROM (SELECT id AS run_id FROM runs WHERE worker_id IS NOT NULL AND lane_id {{any lanes int}}
      UNION ALL SELECT run_id FROM reservations WHERE limit_id = :limit_id
      LIMIT :most) s
ORDER BY s.run_id;

-- name: explain.ahead
-- How many runs of a lane come before one, counted to a bound.
-- columns: runs int
SELECT count(*) AS runs FROM (
    SELECT 1 AS one FROM runs
    WHERE lane_id = :lane_id AND state = 'queued' AND due_at <= :due_at AND (due_at < :due_at OR id < :id)
    LIMIT :most) a;

-- name: explain.lanes
-- How many lanes between two numbers have queued runs, counted to a bound: one look into an index for each.
-- columns: lanes int
WITH RECURSIVE lane (lane_id, steps) AS (
    SELECT (SELECT x.lane_id FROM runs x WHERE x.state = 'queued' AND x.lane_id >= :floor AND x.lane_id < :ceiling
            ORDER BY x.lane_id LIMIT 1), 1
    UNION ALL
    SELECT (SELECT x.lane_id FROM runs x WHERE x.state = 'queued' AND x.lane_id > lane.lane_id AND x.lane_id < :ceiling
            ORDER BY x.lane_id LIMIT 1), lane.steps + 1
    FROM lane WHERE lane.lane_id IS NOT NULL AND lane.steps <= :most
)
SELECT count(*) AS lanes FROM lane WHERE lane_id IS NOT NULL;

-- name: explain.workers
-- The live workers of a namespace, and how much each holds.
-- columns: id text, queues text, tasks text, skills text, concurrency int, held int
SELECT w.id, w.queues, w.tasks, w.skills, w.concurrency, (SELECT count(*) FROM runs r WHERE r.worker_id = w.id) AS held
FROM workers w
WHERE w.namespace = :namespace AND w.state = 'live' AND w.expires_at > {{now}}
ORDER BY w.started_at DESC, w.id
LIMIT :most;

-- name: explain.at_work
-- Since when some of the runs of a queue that are at work have been at it.
-- columns: since int
SELECT e.at AS since
FROM runs r JOIN lanes l ON l.id = r.lane_id JOIN events e ON e.run_id = r.id AND e.seq = r.seq
WHERE r.worker_id {{any workers text}} AND l.queue = :queue AND l.namespace = :namespace AND e.type = 'claimed'
LIMIT :most;

-- name: explain.worker
-- Until when the lease of a worker lasts.
-- columns: expires_at int
SELECT expires_at FROM workers WHERE id = :id AND state = 'live';
