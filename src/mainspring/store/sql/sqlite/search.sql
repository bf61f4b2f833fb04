-- name: search.queued
-- Ids of queued runs, newest first. By the index of what is queued: without statistics the planner would walk all of history.
-- columns: id text
SELECT id FROM runs INDEXED BY runs_queued WHERE state = 'queued' AND id < :before ORDER BY id DESC LIMIT :most;

-- name: search.waiting
-- Ids of runs that wait for an instant, newest first. By the index of what waits, see above.
-- columns: id text
SELECT id FROM runs INDEXED BY runs_waiting_for_time
WHERE state IN ('scheduled', 'retrying', 'released') AND id < :before ORDER BY id DESC LIMIT :most;

-- name: search.held
-- Ids of runs that a worker holds, newest first. By the index of what is held, see above.
-- columns: id text
SELECT id FROM runs INDEXED BY runs_held WHERE worker_id IS NOT NULL AND id < :before ORDER BY id DESC LIMIT :most;
