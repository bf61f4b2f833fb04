-- name: runs.create
-- Insert runs and their `created` events. A run that is already there (a repeated call) is left as it is.
-- moves: none -> queued, scheduled, blocked, skipped
-- input batch: id uuid, lane_id int, policy_id int, start text, reason text, due_at int, delay int
-- input batch: idempotency_key text, singleton_key text, batch_id uuid, rerun_of uuid, expires_at int, expires_in int
-- input batch: deadline_at int, deadline_in int, actor text, data text, body bytes
INSERT INTO runs (id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases, payload_seq,
                  worker_id, idempotency_key, singleton_key, batch_id, rerun_of, expires_at, deadline_at, cancel_requested_at,
                  created_at, ended_at)
SELECT i.id, i.lane_id, i.policy_id,
       CASE WHEN i.start <> '' THEN i.start WHEN i.due_at > {{now}} OR i.delay > 0 THEN 'scheduled' ELSE 'queued' END,
       i.reason, CASE WHEN i.due_at > {{now}} THEN i.due_at ELSE {{now}} + i.delay END,
       0, 1, 0, 0, 0, 1, NULL, i.idempotency_key, i.singleton_key, i.batch_id, i.rerun_of,
       coalesce(i.expires_at, {{now}} + i.expires_in), coalesce(i.deadline_at, {{now}} + i.deadline_in), NULL, {{now}},
       CASE WHEN i.start = 'skipped' THEN {{now}} END
FROM {{batch}} AS i
WHERE true
ON CONFLICT (id) DO NOTHING;
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT i.id, 1, 'created',
       CASE WHEN i.start <> '' THEN i.start WHEN i.due_at > {{now}} OR i.delay > 0 THEN 'scheduled' ELSE 'queued' END,
       {{now}}, i.actor, i.data, i.body
FROM {{batch}} AS i
WHERE true
ON CONFLICT (run_id, seq) DO NOTHING;

-- name: runs.create_alike
-- Insert runs that differ in nothing but their id and payload, due now, and their `created` events: the common case, with less
-- to carry. A run that is already there (a repeated call) is left as it is; into a bounded queue nothing is inserted: the count
-- tells.
-- moves: none -> queued
-- input batch: id uuid, body bytes
INSERT INTO runs (id, lane_id, policy_id, state, due_at, token, seq, failures, interruptions, releases, payload_seq, created_at)
SELECT i.id, CAST(:lane_id AS {{int}}), CAST(:policy_id AS {{int}}), 'queued', {{now}}, 0, 1, 0, 0, 0, 1, {{now}}
FROM {{batch}} AS i
WHERE NOT EXISTS (SELECT 1 FROM lanes l JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
                  WHERE l.id = CAST(:lane_id AS {{int}}) AND q.max_waiting IS NOT NULL)
ON CONFLICT (id) DO NOTHING;
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT i.id, 1, 'created', 'queued', {{now}}, CAST(:actor AS TEXT), CAST(:data AS TEXT), i.body
FROM {{batch}} AS i
WHERE NOT EXISTS (SELECT 1 FROM lanes l JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
                  WHERE l.id = CAST(:lane_id AS {{int}}) AND q.max_waiting IS NOT NULL)
ON CONFLICT (run_id, seq) DO NOTHING;

-- name: runs.intern
-- Make sure that lanes, policies and queues exist; their ids are hashes of what they hold, so a repeat changes nothing.
-- input lanes: id int, namespace text, queue text, priority int, concurrency_key text, kind text, task text
-- input lanes: version int, fingerprint text, requires text, uses text
-- input policies: id int, body text
INSERT INTO queues (namespace, name, paused_at, paused_by, created_at)
SELECT DISTINCT i.namespace, i.queue, CAST(NULL AS {{int}}), CAST(NULL AS TEXT), {{now}}
FROM {{lanes}} AS i
WHERE true
ON CONFLICT (namespace, name) DO NOTHING;
INSERT INTO lanes (id, namespace, queue, priority, concurrency_key, kind, task, version, fingerprint, requires, uses)
SELECT i.id, i.namespace, i.queue, i.priority, i.concurrency_key, i.kind, i.task, i.version, i.fingerprint, i.requires, i.uses
FROM {{lanes}} AS i
WHERE true
ON CONFLICT (id) DO NOTHING;
INSERT INTO policies (id, body)
SELECT i.id, i.body FROM {{policies}} AS i
WHERE true
ON CONFLICT (id) DO NOTHING;

-- name: runs.move
-- Move runs that are exactly where the caller saw them (state, token and seq), and log each move. Answers those that moved.
-- moves: blocked -> queued, scheduled, upstream_failed, needs_attention
-- moves: running -> succeeded, retrying, failed, released, queued, needs_attention, cancelling, skipped
-- moves: cancelling -> cancelled, failed
-- moves: scheduled, retrying, released, blocked, queued, needs_attention -> cancelled, failed
-- moves: scheduled, retrying, released, blocked, queued -> skipped
-- moves: scheduled, retrying, released -> queued, needs_attention
-- moves: scheduled -> scheduled
-- moves: retrying -> retrying
-- moves: released -> released
-- moves: blocked -> blocked
-- moves: queued -> needs_attention, scheduled, queued
-- moves: needs_attention -> queued
-- columns: id text, followed int
-- input batch: id uuid, origin text, token int, seq int, type text, state text, reason text, due_at int, delay int
-- input batch: failures int, interruptions int, releases int, holds int, requested int, ended int, actor text
-- input batch: data text, body bytes, lane_id int, policy_id int, payload int
SELECT r.id, r.followed
FROM {{batch}} AS i
JOIN runs r {{by_id}} ON r.id = i.id
WHERE r.token = i.token AND r.state = i.origin AND r.seq = i.seq - 1
ORDER BY r.id {{lock}};
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT i.id, i.seq, i.type, i.state, {{now}}, i.actor, i.data, i.body
FROM {{batch}} AS i
JOIN runs r {{by_id}} ON r.id = i.id
WHERE r.token = i.token AND r.state = i.origin AND r.seq = i.seq - 1;
UPDATE runs AS r {{by_id}}
SET state = i.state, reason = i.reason, seq = i.seq,
    due_at = CASE WHEN i.due_at > {{now}} THEN i.due_at WHEN i.due_at IS NOT NULL THEN {{now}} WHEN i.delay IS NOT NULL THEN {{now}} + i.delay ELSE r.due_at END,
    lane_id = coalesce(i.lane_id, r.lane_id), policy_id = coalesce(i.policy_id, r.policy_id),
    payload_seq = CASE WHEN i.payload = 1 THEN i.seq ELSE r.payload_seq END,
    failures = i.failures, interruptions = i.interruptions, releases = i.releases,
    worker_id = CASE WHEN i.holds = 1 THEN r.worker_id END,
    cancel_requested_at = CASE WHEN i.requested = 1 THEN {{now}} ELSE r.cancel_requested_at END,
    ended_at = CASE WHEN i.ended = 1 THEN {{now}} END
FROM {{batch}} AS i
WHERE r.id = i.id AND r.token = i.token AND r.state = i.origin AND r.seq = i.seq - 1;

-- name: runs.lock
-- Runs by id, locked until the transaction ends, in ascending id.
-- columns: id text, lane_id int, policy_id int, state text, reason text, due_at int, token int, seq int
-- columns: failures int, interruptions int, releases int, payload_seq int, worker_id text, idempotency_key text
-- columns: singleton_key text, batch_id text, rerun_of text, expires_at int, deadline_at int
-- columns: cancel_requested_at int, created_at int
-- columns: ended_at int
SELECT id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases, payload_seq, worker_id,
       idempotency_key, singleton_key, batch_id, rerun_of, expires_at, deadline_at, cancel_requested_at,
       created_at, ended_at
FROM runs
WHERE id {{any ids uuid}}
ORDER BY id {{lock}};

-- name: runs.due
-- Waiting runs whose instant has come, oldest first, locked for the move to `queued`.
-- columns: id text, followed int
SELECT id, followed
FROM runs
WHERE state IN ('scheduled', 'retrying', 'released') AND due_at <= {{now}}
ORDER BY due_at, id
LIMIT :most {{skip_locked}};

-- name: runs.make_due
-- Queue runs whose instant has come, and log it. The caller holds their locks.
-- moves: scheduled, retrying, released -> queued
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT id, seq + 1, 'due', 'queued', {{now}}, :actor, NULL, NULL
FROM runs
WHERE id {{any ids uuid}} AND state IN ('scheduled', 'retrying', 'released') AND due_at <= {{now}};
UPDATE runs
SET state = 'queued', seq = seq + 1, reason = NULL
WHERE id {{any ids uuid}} AND state IN ('scheduled', 'retrying', 'released') AND due_at <= {{now}};

-- name: runs.block_due
-- Retries whose instant has come and that have no slot of their schedule: they wait for one. The caller holds their locks.
-- moves: retrying -> blocked
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT id, seq + 1, 'due', 'blocked', {{now}}, :actor, :data, NULL
FROM runs
WHERE id {{any ids uuid}} AND state = 'retrying' AND due_at <= {{now}};
UPDATE runs
SET state = 'blocked', seq = seq + 1, reason = 'overlap'
WHERE id {{any ids uuid}} AND state = 'retrying' AND due_at <= {{now}};

-- name: runs.fence
-- Whoever held these runs that have ended can say nothing of them any more. The caller holds their locks.
UPDATE runs SET token = token + 1 WHERE id {{any ids uuid}} AND ended_at IS NOT NULL;

-- name: runs.lock_free
-- Those of these runs that nobody else is just changing, locked until the transaction ends.
-- columns: id text, lane_id int, policy_id int, state text, reason text, due_at int, token int, seq int
-- columns: failures int, interruptions int, releases int, payload_seq int, worker_id text, idempotency_key text
-- columns: singleton_key text, batch_id text, rerun_of text, expires_at int, deadline_at int
-- columns: cancel_requested_at int, created_at int
-- columns: ended_at int
SELECT id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases, payload_seq, worker_id,
       idempotency_key, singleton_key, batch_id, rerun_of, expires_at, deadline_at, cancel_requested_at,
       created_at, ended_at
FROM runs
WHERE id {{any ids uuid}}
ORDER BY id {{skip_locked}};

-- name: runs.next_due
-- The earliest instant for which a run waits, if any.
-- columns: due_at int
SELECT due_at
FROM runs
WHERE state IN ('scheduled', 'retrying', 'released')
ORDER BY due_at
LIMIT 1;

-- name: runs.waiting
-- Whether a run of these queues and tasks waits for its time.
-- columns: id text
SELECT r.id
FROM lanes l JOIN runs r ON r.lane_id = l.id
WHERE l.namespace = :namespace AND l.queue {{any queues text}} AND l.task {{any tasks text}}
  AND r.state IN ('scheduled', 'retrying', 'released')
LIMIT 1;
