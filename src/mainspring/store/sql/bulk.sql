-- name: bulk.begin
-- Note an act on many runs, before its items are written. A repeat changes nothing.
INSERT INTO bulk_actions (id, namespace, action, options, actor, total, done, ready, created_at, touched_at, finished_at)
VALUES (:id, :namespace, :action, :options, :actor, :total, 0, 0, {{now}}, {{now}}, NULL)
ON CONFLICT (id) DO NOTHING;

-- name: bulk.add
-- Write some of the runs an act is about, as its preview saw them. A repeat changes nothing.
-- input batch: run_id uuid, seq int
INSERT INTO bulk_items (action_id, run_id, seq)
SELECT CAST(:id AS {{uuid}}), i.run_id, i.seq FROM {{batch}} AS i
WHERE true
ON CONFLICT (action_id, run_id) DO NOTHING;

-- name: bulk.ready
-- Every item is written: from now on anybody may carry the act out.
UPDATE bulk_actions SET ready = 1, touched_at = {{now}} WHERE id = :id AND ready = 0;

-- name: bulk.lock
-- One act, locked until the transaction ends: one carries it out at a time.
-- columns: id text, namespace text, action text, options text, actor text, total int, done int, ready int, created_at int
-- columns: finished_at int
SELECT id, namespace, action, options, actor, total, done, ready, created_at, finished_at
FROM bulk_actions WHERE id = :id AND namespace = :namespace {{lock}};

-- name: bulk.get
-- One act.
-- columns: id text, namespace text, action text, options text, actor text, total int, done int, ready int, created_at int
-- columns: finished_at int
SELECT id, namespace, action, options, actor, total, done, ready, created_at, finished_at
FROM bulk_actions WHERE id = :id AND namespace = :namespace;

-- name: bulk.list
-- The acts of a namespace, newest first.
-- columns: id text, namespace text, action text, options text, actor text, total int, done int, ready int, created_at int
-- columns: finished_at int
SELECT id, namespace, action, options, actor, total, done, ready, created_at, finished_at
FROM bulk_actions WHERE namespace = :namespace AND id < :before ORDER BY id DESC LIMIT :most;

-- name: bulk.abandoned
-- An act that is ready and at which nobody has been since an instant.
-- columns: id text, namespace text
SELECT id, namespace FROM bulk_actions
WHERE finished_at IS NULL AND ready = 1 AND touched_at < :before
ORDER BY touched_at, id LIMIT 1;

-- name: bulk.next
-- The next runs of an act that have no outcome yet.
-- columns: run_id text, seq int
SELECT run_id, seq FROM bulk_items WHERE action_id = :id AND outcome IS NULL ORDER BY run_id LIMIT :most;

-- name: bulk.conclude
-- Write what became of some runs of an act, once.
-- input batch: run_id uuid, outcome text, code text, made uuid
UPDATE bulk_items
SET outcome = i.outcome, code = i.code, made = i.made
FROM {{batch}} AS i
WHERE bulk_items.action_id = :id AND bulk_items.run_id = i.run_id AND bulk_items.outcome IS NULL;

-- name: bulk.count
-- So many more runs of an act have their outcome; it is over with the last one.
UPDATE bulk_actions
SET done = done + :more, touched_at = {{now}}, finished_at = CASE WHEN done + :more >= total THEN {{now}} END
WHERE id = :id;

-- name: bulk.outcomes
-- What became of the runs of an act: a page, in the order of their ids.
-- columns: run_id text, outcome text, code text, made text
SELECT run_id, outcome, code, made FROM bulk_items WHERE action_id = :id AND run_id > :after ORDER BY run_id LIMIT :most;

-- name: bulk.summary
-- What became of the runs of an act, counted.
-- columns: outcome text, code text, runs int
SELECT outcome, code, count(*) AS runs FROM bulk_items WHERE action_id = :id GROUP BY outcome, code;
