-- name: retention.prunable
-- Ended runs older than the cut-off, in the order of their ids, from a place on. Runs with an open dead letter stay; so do those for
-- whose end or result another run waits, and members of a batch that is not over. Without a namespace: of all.
-- columns: id text
SELECT r.id
FROM runs r JOIN lanes l ON l.id = r.lane_id
WHERE r.id > :after AND r.id < :below AND (:namespace = '' OR l.namespace = :namespace)
  AND r.state {{any states text}} AND r.ended_at < :cut_off
  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.run_id = r.id AND d.closed_at IS NULL)
  AND (r.followed = 0 OR NOT EXISTS (SELECT 1 FROM dependencies d JOIN runs w ON w.id = d.run_id
                                     WHERE d.upstream_id = r.id AND w.ended_at IS NULL))
  AND (r.batch_id IS NULL OR NOT EXISTS (
      SELECT 1 FROM batches b WHERE b.id = r.batch_id AND (b.open > 0 OR b.sealed_at IS NULL OR EXISTS (
          SELECT 1 FROM dependencies d JOIN runs w ON w.id = d.run_id WHERE d.upstream_id = b.id AND w.ended_at IS NULL))))
ORDER BY r.id
LIMIT :most;

-- name: retention.removable
-- Which of these runs could be pruned, whatever their age.
-- columns: id text
SELECT r.id
FROM runs r
WHERE r.id {{any ids uuid}} AND r.ended_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.run_id = r.id AND d.closed_at IS NULL)
  AND (r.followed = 0 OR NOT EXISTS (SELECT 1 FROM dependencies d JOIN runs w ON w.id = d.run_id
                                     WHERE d.upstream_id = r.id AND w.ended_at IS NULL))
  AND (r.batch_id IS NULL OR NOT EXISTS (
      SELECT 1 FROM batches b WHERE b.id = r.batch_id AND (b.open > 0 OR b.sealed_at IS NULL OR EXISTS (
          SELECT 1 FROM dependencies d JOIN runs w ON w.id = d.run_id WHERE d.upstream_id = b.id AND w.ended_at IS NULL))));

-- name: retention.remember
-- What a retained idempotency key still has to answer after its owner is gone.
UPDATE idempotency_keys
SET final_state = (SELECT r.state FROM runs r WHERE r.id = idempotency_keys.run_id),
    ended_at = (SELECT r.ended_at FROM runs r WHERE r.id = idempotency_keys.run_id)
WHERE EXISTS (SELECT 1 FROM runs r JOIN lanes l ON l.id = r.lane_id
              WHERE r.id {{any ids uuid}} AND r.id = idempotency_keys.run_id AND l.namespace = idempotency_keys.namespace
                AND l.task = idempotency_keys.task AND r.idempotency_key = idempotency_keys.key);

-- name: retention.batches
-- The batches these runs are members of.
-- columns: id text
SELECT DISTINCT batch_id AS id FROM runs WHERE id {{any ids uuid}} AND batch_id IS NOT NULL;

-- name: retention.prune
-- Remove runs with everything that hangs on them. (A blob goes when nothing points to it any more: `client/blobs.py`.)
DELETE FROM events WHERE run_id {{any ids uuid}};
DELETE FROM checkpoints WHERE run_id {{any ids uuid}};
DELETE FROM dead_letters WHERE run_id {{any ids uuid}};
DELETE FROM receipts WHERE run_id {{any ids uuid}};
DELETE FROM run_attributes WHERE run_id {{any ids uuid}};
DELETE FROM dependencies WHERE run_id {{any ids uuid}} OR upstream_id {{any ids uuid}};
DELETE FROM runs WHERE id {{any ids uuid}};

-- name: retention.empty_batches
-- Remove batches whose last member is gone, with whoever waited for them.
DELETE FROM dependencies WHERE upstream_id {{any ids uuid}}
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.batch_id = dependencies.upstream_id);
DELETE FROM batches WHERE id {{any ids uuid}} AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.batch_id = batches.id);

-- name: retention.keys
-- Remove idempotency keys whose retention is over and whose owner has ended or is gone, and bursts of calls that are over.
DELETE FROM debounces WHERE ends_at <= {{now}};
DELETE FROM idempotency_keys
WHERE expires_at < {{now}}
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = idempotency_keys.run_id AND r.ended_at IS NULL);

-- name: retention.walk
-- Where a walk goes on, locked; none where it rests or somebody else is at it.
-- columns: place text
SELECT place FROM retention_walks WHERE what = :what AND rests_until <= {{now}} {{skip_locked}};

-- name: retention.begin
-- Make a walk known. A repeat changes nothing.
INSERT INTO retention_walks (what, place, rests_until) VALUES (:what, :place, {{now}})
ON CONFLICT (what) DO NOTHING;

-- name: retention.go_on
-- How far a walk came, and how long it rests.
UPDATE retention_walks SET place = :place, rests_until = {{now}} + :rest WHERE what = :what;

-- name: retention.page
-- The next runs of a walk.
-- columns: id text, state text, policy_id int, ended_at int
SELECT id, state, policy_id, ended_at FROM runs WHERE id > :after AND id < :below ORDER BY id LIMIT :most;

-- name: retention.results
-- Forget the results of runs that ended; one for which somebody waits is kept.
UPDATE events SET body = NULL
WHERE run_id {{any ids uuid}} AND type IN ('succeeded', 'cancelled') AND body IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM runs r JOIN dependencies d ON d.upstream_id IN (r.id, r.batch_id) JOIN runs w ON w.id = d.run_id
                  WHERE r.id = events.run_id AND w.ended_at IS NULL);

-- name: retention.receipts
-- What is told in these runs' ledgers and is more than a line: tracebacks, and what is sealed. Of an open dead letter it is kept.
-- columns: run_id text, seq int, data text
SELECT e.run_id, e.seq, e.data FROM events e
WHERE e.run_id {{any ids uuid}} AND (e.data LIKE '%"traceback":%' OR e.data LIKE '%"mainspring-sealed:%')
  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.run_id = e.run_id AND d.closed_at IS NULL);

-- name: retention.forget_receipts
-- Tell less in ledgers of runs that ended.
-- input batch: run_id uuid, seq int, data text
UPDATE events AS e SET data = i.data FROM {{batch}} AS i WHERE e.run_id = i.run_id AND e.seq = i.seq;

-- name: retention.actions
-- Forget acts on many runs, and backfills, that are over.
DELETE FROM bulk_items WHERE action_id IN (SELECT a.id FROM bulk_actions a WHERE a.finished_at < :before OR (a.ready = 0 AND a.touched_at < :before));
DELETE FROM bulk_actions WHERE finished_at < :before OR (ready = 0 AND touched_at < :before);
DELETE FROM backfill_items WHERE backfill_id IN (SELECT b.id FROM backfills b WHERE b.finished_at < :before);
DELETE FROM backfills WHERE finished_at < :before;

-- name: policies.all
-- Every captured policy; there are few.
-- columns: id int, body text
SELECT id, body FROM policies;
