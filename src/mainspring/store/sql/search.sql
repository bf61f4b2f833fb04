-- name: attributes.put
-- Write the attributes of new runs. A repeat changes nothing.
-- input batch: run_id uuid, lane_id int, name text, value text
INSERT INTO run_attributes (run_id, namespace, name, value)
SELECT i.run_id, l.namespace, i.name, i.value FROM {{batch}} AS i JOIN lanes l ON l.id = i.lane_id
WHERE true
ON CONFLICT (run_id, name) DO NOTHING;

-- name: attributes.get
-- The attributes of a run.
-- columns: name text, value text
SELECT name, value FROM run_attributes WHERE run_id = :id;

-- name: search.recent
-- Ids of runs, newest first: what is left where no index serves.
-- columns: id text
SELECT id FROM runs WHERE id < :before ORDER BY id DESC LIMIT :most;

-- name: search.unhappy
-- Ids of runs that are in one of the states that few are in, newest first.
-- columns: id text
SELECT id FROM runs
WHERE state IN ('failed', 'cancelled', 'skipped', 'upstream_failed', 'needs_attention', 'blocked') AND state = :state AND id < :before
ORDER BY id DESC LIMIT :most;

-- name: search.queued
-- Ids of queued runs, newest first.
-- columns: id text
SELECT id FROM runs WHERE state = 'queued' AND id < :before ORDER BY id DESC LIMIT :most;

-- name: search.waiting
-- Ids of runs that wait for an instant, newest first.
-- columns: id text
SELECT id FROM runs WHERE state IN ('scheduled', 'retrying', 'released') AND id < :before ORDER BY id DESC LIMIT :most;

-- name: search.held
-- Ids of runs that a worker holds, newest first.
-- columns: id text
SELECT id FROM runs WHERE worker_id IS NOT NULL AND id < :before ORDER BY id DESC LIMIT :most;

-- name: search.key
-- Ids of runs that were made with an idempotency key, newest first.
-- columns: id text
SELECT id FROM runs WHERE idempotency_key = :key AND id < :before ORDER BY id DESC LIMIT :most;

-- name: search.singleton
-- Ids of runs that were made with a singleton key, newest first.
-- columns: id text
SELECT id FROM runs WHERE singleton_key = :key AND id < :before ORDER BY id DESC LIMIT :most;

-- name: search.batch
-- Ids of the members of a batch, newest first.
-- columns: id text
SELECT id FROM runs WHERE batch_id = :batch AND id < :before ORDER BY id DESC LIMIT :most;

-- name: search.attribute
-- Ids of runs with an attribute of one value, newest first.
-- columns: id text
SELECT run_id AS id FROM run_attributes
WHERE namespace = :namespace AND name = :name AND value = :value AND run_id < :before
ORDER BY run_id DESC LIMIT :most;

-- name: search.attributes
-- Ids of runs with an attribute within some stretches of values, newest first.
-- input spans: name text, low text, high text
-- columns: id text
SELECT DISTINCT a.run_id AS id
FROM {{spans}} AS i JOIN run_attributes a ON a.name = i.name AND a.value >= i.low AND a.value < i.high
WHERE a.namespace = :namespace AND a.run_id < :before
ORDER BY id DESC LIMIT :most;

-- name: search.match
-- Which of these runs are what is asked for, with the place in their ledger they are at.
-- input spans: nth int, name text, low text, high text
-- columns: id text, seq int, state text
SELECT r.id, r.seq, r.state
FROM runs r JOIN lanes l ON l.id = r.lane_id
WHERE r.id {{any ids uuid}} AND l.namespace = :namespace AND r.state {{any states text}}
  AND (:task = '' OR l.task = :task) AND (:queue = '' OR l.queue = :queue)
  AND (:key = '' OR r.idempotency_key = :key) AND (:singleton = '' OR r.singleton_key = :singleton)
  AND (:code = '' OR r.reason = :code) AND (:batch = '' OR CAST(r.batch_id AS TEXT) = :batch)
  AND r.created_at >= :created_after AND r.created_at < :created_before
  AND (:actor = '' OR EXISTS (SELECT 1 FROM events e WHERE e.run_id = r.id AND e.seq = 1 AND e.actor = :actor))
  AND (:conditions = 0 OR :conditions = (
      SELECT count(DISTINCT i.nth) FROM {{spans}} AS i JOIN run_attributes a ON a.run_id = r.id AND a.name = i.name
      WHERE a.value >= i.low AND a.value < i.high));

-- name: search.views
-- Runs with their lanes, by id.
-- columns: id text, lane_id int, policy_id int, state text, reason text, due_at int, token int, seq int, failures int
-- columns: interruptions int, releases int, payload_seq int, worker_id text, idempotency_key text, singleton_key text
-- columns: batch_id text, rerun_of text, expires_at int, deadline_at int
-- columns: cancel_requested_at int, created_at int, ended_at int, task text, queue text
-- columns: priority int, version int, progress text
SELECT r.id, r.lane_id, r.policy_id, r.state, r.reason, r.due_at, r.token, r.seq, r.failures, r.interruptions, r.releases,
       r.payload_seq, r.worker_id, r.idempotency_key, r.singleton_key, r.batch_id, r.rerun_of, r.expires_at, r.deadline_at,
       r.cancel_requested_at,
       r.created_at, r.ended_at, l.task, l.queue, l.priority, l.version, NULL AS progress
FROM runs r JOIN lanes l ON l.id = r.lane_id
WHERE r.id {{any ids uuid}} AND l.namespace = :namespace
ORDER BY r.id DESC;
