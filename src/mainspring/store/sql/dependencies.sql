-- name: dependencies.upstreams
-- Runs that others are to wait for, of the namespace of a lane, locked in ascending id: none of them ends meanwhile.
-- columns: id text, state text
SELECT r.id, r.state
FROM runs r
WHERE r.id {{any ids uuid}}
  AND (SELECT l.namespace FROM lanes l WHERE l.id = r.lane_id) = (SELECT l.namespace FROM lanes l WHERE l.id = :lane_id)
ORDER BY r.id {{lock}};

-- name: dependencies.batches
-- Batches that runs are to wait for, of the namespace of a lane, locked in ascending id.
-- columns: id text, sealed_at int, open int, failed int, stopped int
SELECT id, sealed_at, open, failed, stopped
FROM batches
WHERE id {{any ids uuid}} AND namespace = (SELECT l.namespace FROM lanes l WHERE l.id = :lane_id)
ORDER BY id {{lock}};

-- name: dependencies.create
-- Record whom new runs wait for. A repeat changes nothing.
-- input batch: run_id uuid, upstream_id uuid, condition text, open int
INSERT INTO dependencies (run_id, upstream_id, condition, open)
SELECT i.run_id, i.upstream_id, i.condition, i.open FROM {{batch}} AS i
WHERE true
ON CONFLICT (run_id, upstream_id) DO NOTHING;

-- name: dependencies.follow
-- Say on runs that somebody waits for their end, or was made behind it and may need its result.
UPDATE runs SET followed = followed + 1 WHERE id {{any ids uuid}} AND followed IN (0, 2);

-- name: dependencies.waiting
-- Who waits for conditions that are decided now, by upstream.
-- input settled: upstream_id uuid, condition text, met int
-- columns: run_id text, upstream_id text, met int
SELECT d.run_id, d.upstream_id, i.met
FROM {{settled}} AS i
JOIN dependencies d ON d.upstream_id = i.upstream_id AND d.condition = i.condition AND d.open = 1
ORDER BY d.upstream_id, d.run_id
LIMIT :most;

-- name: dependencies.close
-- These need not be waited for any more. The caller holds the locks of the runs that waited.
-- input batch: run_id uuid, upstream_id uuid
UPDATE dependencies AS d SET open = 0
FROM {{batch}} AS i
WHERE d.run_id = i.run_id AND d.upstream_id = i.upstream_id;

-- name: dependencies.still_open
-- Which of these runs still wait for somebody.
-- columns: run_id text
SELECT DISTINCT run_id FROM dependencies WHERE run_id {{any ids uuid}} AND open = 1;

-- name: dependencies.leave
-- Note that more dependants of these are to be let go by the next transactions.
-- input batch: id uuid
INSERT INTO unfinished_releases (upstream_id)
SELECT i.id FROM {{batch}} AS i
WHERE true
ON CONFLICT (upstream_id) DO NOTHING;

-- name: dependencies.left
-- The upstreams whose dependants are not all let go yet, locked.
-- columns: upstream_id text
SELECT upstream_id FROM unfinished_releases ORDER BY upstream_id LIMIT :most {{skip_locked}};

-- name: dependencies.take_up
-- Go on with these; what is left after that is noted anew.
DELETE FROM unfinished_releases WHERE upstream_id {{any ids uuid}};

-- name: dependencies.of
-- Whom a run waits for, or waited for.
-- columns: upstream_id text, condition text, open int
SELECT upstream_id, condition, open FROM dependencies WHERE run_id = :run_id ORDER BY upstream_id LIMIT :most;

-- name: dependencies.failed_behind
-- Runs that wanted to begin behind one of these and ended without having begun.
-- columns: run_id text
SELECT DISTINCT d.run_id
FROM dependencies d JOIN runs r ON r.id = d.run_id
WHERE d.upstream_id {{any ids uuid}} AND r.state = 'upstream_failed'
ORDER BY d.run_id
LIMIT :most;

-- name: dependencies.to_wait_for_again
-- For whom a run waited, as far as they are still on record.
-- columns: upstream_id text, condition text
SELECT d.upstream_id, d.condition
FROM dependencies d
WHERE d.run_id = :run_id
  AND (EXISTS (SELECT 1 FROM runs r WHERE r.id = d.upstream_id) OR EXISTS (SELECT 1 FROM batches b WHERE b.id = d.upstream_id))
ORDER BY d.upstream_id;
