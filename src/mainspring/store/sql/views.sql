-- name: views.get
-- One run with its lane, for reading.
-- columns: id text, lane_id int, policy_id int, state text, reason text, due_at int, token int, seq int, failures int
-- columns: interruptions int, releases int, payload_seq int, worker_id text, idempotency_key text, singleton_key text
-- columns: batch_id text, rerun_of text, expires_at int, deadline_at int
-- columns: cancel_requested_at int, created_at int, ended_at int, task text, queue text
-- columns: priority int, version int, progress text
SELECT r.id, r.lane_id, r.policy_id, r.state, r.reason, r.due_at, r.token, r.seq, r.failures, r.interruptions, r.releases,
       r.payload_seq, r.worker_id, r.idempotency_key, r.singleton_key, r.batch_id, r.rerun_of, r.expires_at, r.deadline_at,
       r.cancel_requested_at,
       r.created_at, r.ended_at, l.task, l.queue, l.priority, l.version, c.progress
FROM runs r JOIN lanes l ON l.id = r.lane_id LEFT JOIN checkpoints c ON c.run_id = r.id
WHERE r.id = :id AND l.namespace = :namespace;

-- name: views.events
-- A page of a run's ledger, in order.
-- columns: run_id text, seq int, type text, state text, at int, actor text, data text, body bytes
SELECT e.run_id, e.seq, e.type, e.state, e.at, e.actor, e.data, e.body
FROM events e
WHERE e.run_id = :id AND e.seq > :after
ORDER BY e.seq
LIMIT :most;

-- name: views.outcomes
-- How far runs are, and what the last event of each says and holds.
-- columns: id text, state text, reason text, data text, body bytes
SELECT r.id, r.state, r.reason, e.data, e.body
FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.seq
WHERE r.id {{any ids uuid}};

-- name: views.states
-- In which state these runs are.
-- columns: id text, state text
SELECT id, state FROM runs WHERE id {{any ids uuid}};

-- name: views.list
-- A page of runs, newest first.
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
WHERE l.namespace = :namespace AND r.id < :before AND r.state {{any states text}}
  AND (:task = '' OR l.task = :task) AND (:queue = '' OR l.queue = :queue)
ORDER BY r.id DESC
LIMIT :most;

-- name: views.counts
-- How many runs of a namespace are in each state (finished ones included: this reads them all).
-- columns: state text, runs int
SELECT r.state, count(*) AS runs FROM runs r JOIN lanes l ON l.id = r.lane_id WHERE l.namespace = :namespace GROUP BY r.state;

-- name: policies.get
-- Captured policies by id.
-- columns: id int, body text
SELECT id, body FROM policies WHERE id {{any ids int}};

-- name: runs.again
-- The retry of this run that has not ended, if there is one. (Of reruns there may be any number.)
-- columns: id text
SELECT r.id FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = 1
WHERE r.rerun_of = :id AND r.ended_at IS NULL AND e.data LIKE '%,"retry":1%'
ORDER BY r.id LIMIT 1;

-- name: runs.payload
-- The payload in force of a run, with the data of the event that holds it.
-- columns: data text, body bytes
SELECT e.data, e.body FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.payload_seq WHERE r.id = :id;

-- name: runs.created_with
-- What the first event of a run says.
-- columns: data text
SELECT data FROM events WHERE run_id = :id AND seq = 1;
