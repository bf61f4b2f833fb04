-- name: receipts.create
-- What attempts left. One that is there already was written by an earlier try of the same call.
-- input batch: run_id uuid, attempt int, place int, kind text, size int, kept int, digest text, body bytes
INSERT INTO receipts (run_id, attempt, place, kind, size, kept, digest, at, body)
SELECT i.run_id, i.attempt, i.place, i.kind, i.size, i.kept, i.digest, {{now}}, i.body
FROM {{batch}} AS i
WHERE true
ON CONFLICT (run_id, attempt, place) DO NOTHING;

-- name: receipts.bound
-- Forget those of attempts long before the newest ones.
-- input batch: run_id uuid, before int
DELETE FROM receipts
WHERE EXISTS (SELECT 1 FROM {{batch}} AS i WHERE i.run_id = receipts.run_id AND receipts.attempt < i.before);

-- name: receipts.of_run
-- What is kept of a run's attempts, in order, without what they hold.
-- columns: attempt int, place int, kind text, size int, kept int, digest text, at int
SELECT attempt, place, kind, size, kept, digest, at
FROM receipts
WHERE run_id = :id
ORDER BY attempt, place;

-- name: receipts.get
-- The n-th of a run's receipts.
-- columns: attempt int, place int, kind text, size int, kept int, digest text, at int, body bytes
SELECT attempt, place, kind, size, kept, digest, at, body
FROM receipts
WHERE run_id = :id
ORDER BY attempt, place
LIMIT 1 OFFSET :n;

-- name: receipts.forget
-- The time of these runs' receipts is over. Those of an open dead letter are kept.
DELETE FROM receipts WHERE run_id {{any ids uuid}}
  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.run_id = receipts.run_id AND d.closed_at IS NULL);
