-- name: batches.create
-- Open a batch. A repeat changes nothing.
INSERT INTO batches (id, namespace, total, open, failed, stopped, created_at, touched_at, outer_id)
VALUES (:id, :namespace, 0, 0, 0, 0, {{now}}, {{now}}, :outer_id)
ON CONFLICT (id) DO NOTHING;

-- name: batches.lock
-- Batches, locked in ascending id.
-- columns: id text, namespace text, total int, open int, failed int, stopped int, created_at int, sealed_at int
-- columns: parked_at int, cancelled_at int
SELECT id, namespace, total, open, failed, stopped, created_at, sealed_at, parked_at, cancelled_at
FROM batches
WHERE id {{any ids uuid}}
ORDER BY id {{lock}};

-- name: batches.count
-- Write how far batches are, whose locks the caller holds.
-- input batch: id uuid, open int, failed int, stopped int
UPDATE batches AS b SET open = i.open, failed = i.failed, stopped = i.stopped
FROM {{batch}} AS i
WHERE b.id = i.id;

-- name: batches.join
-- Count members that join.
UPDATE batches SET total = total + :joining, open = open + :joining, touched_at = {{now}} WHERE id = :id;

-- name: batches.seal
-- Nobody joins from now on.
UPDATE batches SET sealed_at = {{now}} WHERE id = :id AND sealed_at IS NULL;

-- name: batches.get
-- One batch.
-- columns: id text, namespace text, total int, open int, failed int, stopped int, created_at int, sealed_at int
-- columns: parked_at int, cancelled_at int
SELECT id, namespace, total, open, failed, stopped, created_at, sealed_at, parked_at, cancelled_at
FROM batches
WHERE id = :id AND namespace = :namespace;

-- name: batches.of_callback
-- The batch for which this run waits, or waited.
-- columns: id text
SELECT b.id FROM dependencies d JOIN batches b ON b.id = d.upstream_id WHERE d.run_id = :run_id ORDER BY b.id LIMIT 1;

-- name: batches.callbacks
-- Who waits for a batch.
-- columns: run_id text, condition text
SELECT run_id, condition FROM dependencies WHERE upstream_id = :id AND open = 1 ORDER BY run_id LIMIT :most;

-- name: batches.members
-- A page of a batch's members in member order, with their results.
-- columns: id text, state text, reason text, body bytes
SELECT r.id, r.state, r.reason, CASE WHEN r.state = 'succeeded' THEN e.body END AS body
FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.seq
WHERE r.batch_id = :id AND r.id > :after
ORDER BY r.id
LIMIT :most;

-- name: batches.live_members
-- A page of the members that have not ended, in member order, but for those that still stand for a batch inside this one.
-- columns: id text
SELECT r.id FROM runs r
WHERE r.batch_id = :id AND r.id > :after AND r.ended_at IS NULL
  AND NOT (r.state = 'blocked' AND EXISTS (SELECT 1 FROM dependencies d JOIN batches b ON b.id = d.upstream_id
                                           WHERE d.run_id = r.id AND b.outer_id = :id))
ORDER BY r.id LIMIT :most;

-- name: batches.inside
-- The batches directly inside these.
-- columns: id text
SELECT id FROM batches WHERE outer_id {{any ids uuid}} ORDER BY id;

-- name: batches.cancel
-- Nobody joins from now on, and the members are to be cancelled, piece by piece.
UPDATE batches SET cancelled_at = {{now}}, sealed_at = coalesce(sealed_at, {{now}}), cancelling = :start
WHERE id = :id AND cancelled_at IS NULL;

-- name: batches.cancelling
-- Batches whose members are being cancelled, and how far that is. No lock: members come before their batch.
-- columns: id text, after text
SELECT id, cancelling AS after FROM batches WHERE cancelling IS NOT NULL ORDER BY id LIMIT :most;

-- name: batches.cancelled_to
-- The cancel of a batch's members has come so far; NULL: to the end.
UPDATE batches SET cancelling = :after WHERE id = :id AND cancelling IS NOT NULL;

-- name: batches.idle
-- Batches that nobody sealed and nobody joined since before an instant, locked.
-- columns: id text
SELECT id
FROM batches
WHERE sealed_at IS NULL AND parked_at IS NULL AND touched_at < :before
ORDER BY touched_at, id
LIMIT :most {{skip_locked}};

-- name: batches.park
-- Note that the callbacks of a batch need attention.
UPDATE batches SET parked_at = {{now}} WHERE id = :id;

-- name: batches.upkeep
-- Whether a batch or a dependant is left to go on with.
-- columns: releases int, cancels int, idle int
SELECT EXISTS (SELECT 1 FROM unfinished_releases) AS releases,
       EXISTS (SELECT 1 FROM batches WHERE cancelling IS NOT NULL) AS cancels,
       EXISTS (SELECT 1 FROM batches WHERE sealed_at IS NULL AND parked_at IS NULL AND touched_at < :before) AS idle;
