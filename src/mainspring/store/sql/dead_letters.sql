-- name: dead_letters.open
-- Record runs that used up a budget, until somebody replays or dismisses them.
-- input batch: run_id uuid, code text
INSERT INTO dead_letters (run_id, namespace, task, code, opened_at, closed_at)
SELECT r.id, l.namespace, l.task, i.code, {{now}}, NULL
FROM {{batch}} AS i JOIN runs r {{by_id}} ON r.id = i.run_id JOIN lanes l ON l.id = r.lane_id
WHERE true
ON CONFLICT (run_id) DO NOTHING;

-- name: dead_letters.replayed
-- Close a dead letter, because its run was tried again.
UPDATE dead_letters SET closed_at = {{now}}, closed_by = :actor, closed_how = 'replayed', replayed_as = :made
WHERE run_id = :run_id AND closed_at IS NULL;

-- name: dead_letters.dismiss
-- Close a dead letter, because nobody will try its run again.
UPDATE dead_letters SET closed_at = {{now}}, closed_by = :actor, closed_how = 'dismissed', close_reason = :reason
WHERE run_id = :run_id AND closed_at IS NULL;

-- name: dead_letters.get
-- One dead letter.
-- columns: run_id text, task text, code text, opened_at int, closed_at int, closed_by text, closed_how text, close_reason text
-- columns: replayed_as text
SELECT run_id, task, code, opened_at, closed_at, closed_by, closed_how, close_reason, replayed_as
FROM dead_letters WHERE run_id = :run_id AND namespace = :namespace;

-- name: dead_letters.list_open
-- A page of the open dead letters, newest run first.
-- columns: run_id text, task text, code text, opened_at int, closed_at int, closed_by text, closed_how text, close_reason text
-- columns: replayed_as text
SELECT run_id, task, code, opened_at, closed_at, closed_by, closed_how, close_reason, replayed_as
FROM dead_letters
WHERE namespace = :namespace AND closed_at IS NULL AND run_id < :before
  AND (:task = '' OR task = :task) AND (:code = '' OR code = :code)
ORDER BY run_id DESC
LIMIT :most;

-- name: dead_letters.list
-- A page of all dead letters, newest run first.
-- columns: run_id text, task text, code text, opened_at int, closed_at int, closed_by text, closed_how text, close_reason text
-- columns: replayed_as text
SELECT run_id, task, code, opened_at, closed_at, closed_by, closed_how, close_reason, replayed_as
FROM dead_letters
WHERE namespace = :namespace AND run_id < :before AND (:task = '' OR task = :task) AND (:code = '' OR code = :code)
ORDER BY run_id DESC
LIMIT :most;

-- name: dead_letters.groups
-- The open dead letters of a namespace, counted by task and code.
-- columns: task text, code text, count int, oldest_at int, newest_at int
SELECT task, code, count(*) AS count, min(opened_at) AS oldest_at, max(opened_at) AS newest_at
FROM dead_letters
WHERE namespace = :namespace AND closed_at IS NULL
GROUP BY task, code;
