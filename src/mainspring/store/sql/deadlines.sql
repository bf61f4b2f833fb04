-- name: deadlines.expired
-- Runs that were never claimed by the instant after which nobody wants them, the oldest first, locked.
-- columns: id text, lane_id int, policy_id int, state text, reason text, due_at int, token int, seq int
-- columns: failures int, interruptions int, releases int, payload_seq int, worker_id text, idempotency_key text
-- columns: singleton_key text, batch_id text, rerun_of text, expires_at int, deadline_at int
-- columns: cancel_requested_at int, created_at int
-- columns: ended_at int
SELECT id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases, payload_seq, worker_id,
       idempotency_key, singleton_key, batch_id, rerun_of, expires_at, deadline_at, cancel_requested_at,
       created_at, ended_at
FROM runs
WHERE expires_at <= {{now}} AND token = 0 AND state IN ('scheduled', 'blocked', 'queued')
ORDER BY expires_at, id
LIMIT :most {{skip_locked}};

-- name: deadlines.over
-- Runs whose deadline is over and that neither ended, nor are stopping already, nor wait for a person; the oldest first, locked.
-- columns: id text, lane_id int, policy_id int, state text, reason text, due_at int, token int, seq int
-- columns: failures int, interruptions int, releases int, payload_seq int, worker_id text, idempotency_key text
-- columns: singleton_key text, batch_id text, rerun_of text, expires_at int, deadline_at int
-- columns: cancel_requested_at int, created_at int
-- columns: ended_at int
SELECT id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases, payload_seq, worker_id,
       idempotency_key, singleton_key, batch_id, rerun_of, expires_at, deadline_at, cancel_requested_at,
       created_at, ended_at
FROM runs
WHERE deadline_at <= {{now}} AND state IN ('scheduled', 'blocked', 'queued', 'retrying', 'released', 'running')
ORDER BY deadline_at, id
LIMIT :most {{skip_locked}};

-- name: deadlines.next
-- The earliest instants for which a run waits, at which one expires, at which one is over its deadline, at which a schedule is to be
-- looked at, a backfill to be gone on with, and alerts to be looked at; each NULL if there is none. Each reads the head of one index.
-- columns: due_at int, expires_at int, deadline_at int, plan_at int, backfill_at int, alert_at int
SELECT (SELECT due_at FROM runs WHERE state IN ('scheduled', 'retrying', 'released') ORDER BY due_at LIMIT 1) AS due_at,
       (SELECT expires_at FROM runs
        WHERE expires_at IS NOT NULL AND token = 0 AND state IN ('scheduled', 'blocked', 'queued')
        ORDER BY expires_at LIMIT 1) AS expires_at,
       (SELECT deadline_at FROM runs
        WHERE deadline_at IS NOT NULL AND state IN ('scheduled', 'blocked', 'queued', 'retrying', 'released', 'running')
        ORDER BY deadline_at LIMIT 1) AS deadline_at,
       coalesce((SELECT park_before FROM planner_mark WHERE id = 1),
                (SELECT next_at FROM schedule_cursors WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1)) AS plan_at,
       (SELECT next_at FROM backfills WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1) AS backfill_at,
       (SELECT next_at FROM alert_watches WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1) AS alert_at;

-- name: deadlines.unserved
-- Runs that have been queued since before an instant in a namespace that has been served for a while (by whoever was live before
-- `settled`), by nobody who knows their task.
-- columns: id text, namespace text
SELECT r.id, l.namespace
FROM lanes l JOIN runs r ON r.lane_id = l.id
WHERE r.state = 'queued' AND r.due_at < :before
  AND EXISTS (SELECT 1 FROM workers w WHERE w.namespace = l.namespace AND w.state = 'live' AND w.started_at < :settled)
  AND NOT EXISTS (SELECT 1 FROM workers w
                  WHERE w.namespace = l.namespace AND w.state = 'live' AND replace(w.tasks, '"' || l.task || '"', '') <> w.tasks)
ORDER BY r.due_at, r.id
LIMIT :most;
