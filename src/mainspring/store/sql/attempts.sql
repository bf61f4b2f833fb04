-- name: attempts.pick
-- The heads of lanes by their shares: of a group of lanes (one `place`) the first by due time, up to its quota; of all together the
-- first by turn, then round after round.
-- input share: lane_id int, place int, turn int, weight int, quota int, cap int
-- columns: id text, token int, seq int, lane_id int, policy_id int, failures int, interruptions int, releases int
-- columns: idempotency_key text, singleton_key text, batch_id text, created_at int, due_at int, body bytes
WITH head AS (
    SELECT r.id, r.due_at, s.place, s.turn, s.weight, s.quota, s.cap,
           row_number() OVER (PARTITION BY s.place ORDER BY r.due_at, r.id) AS nth,
           row_number() OVER (PARTITION BY s.lane_id ORDER BY r.due_at, r.id) AS nth_of_lane
    FROM {{share}} AS s
    JOIN runs r ON r.id IN (
        SELECT x.id FROM runs x WHERE x.lane_id = s.lane_id AND x.state = 'queued' ORDER BY x.due_at, x.id LIMIT :deepest)
), picked AS (
    SELECT id FROM head WHERE nth <= quota AND nth_of_lane <= cap
    ORDER BY turn, (nth - 1) / weight, place, due_at, id LIMIT :most
)
SELECT r.id, r.token, r.seq, r.lane_id, r.policy_id, r.failures, r.interruptions, r.releases,
       r.idempotency_key, r.singleton_key, r.batch_id, r.created_at, r.due_at, e.body
FROM picked p
JOIN runs r ON r.id = p.id
JOIN events e ON e.run_id = r.id AND e.seq = r.payload_seq
WHERE r.state = 'queued' AND (r.expires_at IS NULL OR r.token > 0 OR r.expires_at > {{now}})
  AND (r.deadline_at IS NULL OR r.deadline_at > {{now}});

-- name: attempts.pick_one
-- One queued run, to be claimed by its id.
-- columns: id text, token int, seq int, lane_id int, policy_id int, failures int, interruptions int, releases int
-- columns: idempotency_key text, singleton_key text, batch_id text, created_at int, due_at int, body bytes
SELECT r.id, r.token, r.seq, r.lane_id, r.policy_id, r.failures, r.interruptions, r.releases,
       r.idempotency_key, r.singleton_key, r.batch_id, r.created_at, r.due_at, e.body
FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.payload_seq
WHERE r.id = :id AND r.state = 'queued' AND (r.expires_at IS NULL OR r.token > 0 OR r.expires_at > {{now}})
  AND (r.deadline_at IS NULL OR r.deadline_at > {{now}});

-- name: attempts.any
-- Whether anything is queued at all: cheap, and nearly always enough to know for an idle worker.
-- columns: found int
SELECT 1 AS found FROM runs WHERE state = 'queued' LIMIT 1;

-- name: attempts.take
-- Lease picked runs to a worker: the fence grows by one, and the claim is logged. A run that is no longer there is passed over;
-- the count of events tells.
-- moves: queued -> running
-- input batch: id uuid, token int, seq int
UPDATE runs AS r {{by_id}}
SET state = 'running', token = r.token + 1, seq = r.seq + 1, worker_id = :worker_id, reason = NULL
FROM {{batch}} AS i
WHERE r.id = i.id AND r.state = 'queued' AND r.token = i.token AND r.seq = i.seq;
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT r.id, r.seq, 'claimed', 'running', {{now}}, 'worker:' || :worker_id, NULL, NULL
FROM {{batch}} AS i JOIN runs r {{by_id}} ON r.id = i.id
WHERE r.state = 'running' AND r.token = i.token + 1 AND r.seq = i.seq + 1
ON CONFLICT (run_id, seq) DO NOTHING;

-- name: attempts.succeed
-- End runs whose attempt succeeded and on whose end nothing hangs. One that is no longer held under its fence is passed over; the
-- count of events tells.
-- moves: running -> succeeded
-- input batch: id uuid, token int, seq int, body bytes
UPDATE runs AS r {{by_id}}
SET state = 'succeeded', reason = NULL, seq = i.seq, worker_id = NULL, ended_at = {{now}}
FROM {{batch}} AS i
WHERE r.id = i.id AND r.token = i.token AND r.state = 'running' AND r.seq = i.seq - 1 AND r.followed = 0;
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT i.id, i.seq, 'succeeded', 'succeeded', {{now}}, :actor, NULL, i.body
FROM {{batch}} AS i JOIN runs r {{by_id}} ON r.id = i.id
WHERE r.token = i.token AND r.state = 'succeeded' AND r.seq = i.seq
ON CONFLICT (run_id, seq) DO NOTHING;

-- name: attempts.succeeded
-- Which of these runs have succeeded under that very fence by the word of this actor, now or in an earlier try of the same call.
-- input batch: id uuid, token int, seq int, body bytes
-- columns: id text
SELECT r.id
FROM {{batch}} AS i JOIN runs r {{by_id}} ON r.id = i.id
WHERE r.token = i.token AND r.state = 'succeeded' AND r.seq = i.seq
  AND EXISTS (SELECT 1 FROM events e WHERE e.run_id = r.id AND e.seq = r.seq AND e.actor = :actor);

-- name: attempts.claimed_at
-- When runs were claimed: the instants of these events.
-- input batch: id uuid, seq int
-- columns: run_id text, at int
SELECT e.run_id, e.at FROM {{batch}} AS i JOIN events e ON e.run_id = i.id AND e.seq = i.seq;

-- name: attempts.held
-- What the database says a worker holds, for the worker to compare with what it knows.
-- columns: id text, token int, state text, reason text
SELECT id, token, state, reason FROM runs WHERE worker_id = :worker_id;

-- name: attempts.held_rows
-- Runs a worker holds, locked; one whose end is just being written is passed over.
-- columns: id text, lane_id int, policy_id int, state text, reason text, due_at int, token int, seq int
-- columns: failures int, interruptions int, releases int, payload_seq int, worker_id text, idempotency_key text
-- columns: singleton_key text, batch_id text, rerun_of text, expires_at int, deadline_at int
-- columns: cancel_requested_at int, created_at int
-- columns: ended_at int
SELECT id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases, payload_seq, worker_id,
       idempotency_key, singleton_key, batch_id, rerun_of, expires_at, deadline_at, cancel_requested_at,
       created_at, ended_at
FROM runs
WHERE worker_id = :worker_id
ORDER BY id
LIMIT :most {{skip_locked}};

-- name: attempts.started
-- Which of these runs recorded a start under the fence they have now.
-- columns: run_id text
SELECT c.run_id
FROM checkpoints c JOIN runs r ON r.id = c.run_id
WHERE c.run_id {{any ids uuid}} AND c.token = r.token AND c.started_at IS NOT NULL;

-- name: attempts.start
-- Record that user code is about to begin, under the fence; what an earlier attempt saved is kept. One that waited behind a newer
-- attempt's record changes nothing.
INSERT INTO checkpoints (run_id, token, started_at, beat_at, details, progress)
SELECT id, token, {{now}}, {{now}}, NULL, NULL
FROM runs
WHERE id = :run_id AND token = :token AND state IN ('running', 'cancelling')
ON CONFLICT (run_id) DO UPDATE SET token = excluded.token, started_at = excluded.started_at, beat_at = excluded.beat_at
WHERE checkpoints.token <= excluded.token;

-- name: attempts.heartbeat
-- Save what attempts told of themselves, each under its fence. A part that is absent (NULL) keeps what was saved before. One that
-- waited behind a newer attempt's record saves nothing.
-- columns: run_id text
-- input batch: run_id uuid, token int, details bytes, progress text
INSERT INTO checkpoints (run_id, token, started_at, beat_at, details, progress)
SELECT r.id, r.token, NULL, {{now}}, i.details, i.progress
FROM {{batch}} AS i
JOIN runs r {{by_id}} ON r.id = i.run_id
WHERE r.token = i.token AND r.state IN ('running', 'cancelling')
ON CONFLICT (run_id) DO UPDATE
SET token = excluded.token, beat_at = excluded.beat_at, details = coalesce(excluded.details, checkpoints.details),
    progress = coalesce(excluded.progress, checkpoints.progress),
    started_at = CASE WHEN checkpoints.token = excluded.token THEN checkpoints.started_at END
WHERE checkpoints.token <= excluded.token
RETURNING run_id;

-- name: attempts.checkpoints
-- What earlier attempts of these runs saved.
-- columns: run_id text, details bytes
SELECT run_id, details FROM checkpoints WHERE run_id {{any ids uuid}};

-- name: attempts.last_end
-- How the last attempt of each of these runs ended, where it gave itself back.
-- columns: run_id text, data text
SELECT e.run_id, e.data
FROM runs r {{by_id}}
JOIN events e ON e.run_id = r.id AND e.seq = (
    SELECT o.seq FROM events o
    WHERE o.run_id = r.id AND o.type IN ('released', 'retry_scheduled', 'interrupted', 'parked')
    ORDER BY o.seq DESC LIMIT 1)
WHERE r.id {{any ids uuid}} AND e.type = 'released';
