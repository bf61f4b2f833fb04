-- name: batches.create
-- Open a batch of so many members.
INSERT INTO batches (id, namespace, total, open, failed, fires_on, callback_id, created_at)
VALUES (:id, :namespace, :total, :total, 0, :fires_on, :callback_id, {{now}})
ON CONFLICT (id) DO NOTHING;

-- name: batches.members_ended
-- Count members that just ended. Answers their batches as they stand then; the row stays locked, so one call sees the last.
-- input batch: id uuid, ended int, failed int
-- columns: id text, callback_id text, fires_on text, failed int, open int
UPDATE batches AS b
SET open = b.open - i.ended, failed = b.failed + i.failed
FROM {{batch}} AS i
WHERE b.id = i.id;
SELECT b.id, b.callback_id, b.fires_on, b.failed, b.open FROM {{batch}} AS i JOIN batches b ON b.id = i.id;

-- name: batches.get
-- One batch.
-- columns: id text, total int, open int, failed int, fires_on text, callback_id text, created_at int
SELECT id, total, open, failed, fires_on, callback_id, created_at FROM batches WHERE id = :id AND namespace = :namespace;

-- name: batches.of_callback
-- The batch whose end starts this run.
-- columns: id text
SELECT b.id FROM batches b JOIN runs r ON r.id = b.callback_id WHERE r.id = :run_id;

-- name: batches.members
-- A page of a batch's members in member order, with their results.
-- columns: id text, state text, reason text, body bytes
SELECT r.id, r.state, r.reason, CASE WHEN r.state = 'succeeded' THEN e.body END AS body
FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.seq
WHERE r.batch_id = :id AND r.id > :after
ORDER BY r.id
LIMIT :most;
