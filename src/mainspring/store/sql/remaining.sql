-- name: remaining.queued
-- How many runs are queued in each lane of a stretch (a queue), of the first so many.
-- columns: lane_id int, runs int
SELECT x.lane_id, count(*) AS runs
FROM (SELECT lane_id FROM runs WHERE state = 'queued' AND lane_id >= :floor AND lane_id < :ceiling
      ORDER BY lane_id LIMIT :most) AS x
GROUP BY x.lane_id;

-- name: remaining.delayed
-- How many runs of each lane wait for their time, of the first so many by that time, and when the first is due.
-- columns: lane_id int, runs int, due_at int
SELECT x.lane_id, count(*) AS runs, min(x.due_at) AS due_at
FROM (SELECT lane_id, due_at FROM runs WHERE state IN ('scheduled', 'retrying', 'released') ORDER BY due_at, id LIMIT :most) AS x
GROUP BY x.lane_id;

-- name: remaining.blocked
-- How many runs of each lane wait for other runs, of so many.
-- columns: lane_id int, runs int
SELECT x.lane_id, count(*) AS runs
FROM (SELECT lane_id FROM runs WHERE state = 'blocked' ORDER BY id LIMIT :most) AS x
GROUP BY x.lane_id;

-- name: remaining.parked
-- How many runs of each lane wait for a person, of so many.
-- columns: lane_id int, runs int
SELECT x.lane_id, count(*) AS runs
FROM (SELECT lane_id FROM runs WHERE state = 'needs_attention' ORDER BY id LIMIT :most) AS x
GROUP BY x.lane_id;

-- name: remaining.held
-- How many runs of each lane each worker holds, of so many.
-- columns: lane_id int, worker_id text, runs int
SELECT x.lane_id, x.worker_id, count(*) AS runs
FROM (SELECT lane_id, worker_id FROM runs WHERE worker_id IS NOT NULL ORDER BY worker_id LIMIT :most) AS x
GROUP BY x.lane_id, x.worker_id;
