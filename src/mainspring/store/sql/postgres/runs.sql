-- name: runs.create
-- Insert runs and their `created` events in one statement, one round trip.
-- moves: none -> queued, scheduled, blocked, skipped
-- input batch: id uuid, lane_id int, policy_id int, start text, reason text, due_at int, delay int
-- input batch: idempotency_key text, singleton_key text, batch_id uuid, rerun_of uuid, expires_at int, expires_in int
-- input batch: deadline_at int, deadline_in int, actor text, data text, body bytes
WITH item AS MATERIALIZED (
    SELECT i.*, CASE WHEN i.due_at > {{now}} THEN i.due_at ELSE {{now}} + i.delay END AS due,
           CASE WHEN i.start <> '' THEN i.start WHEN i.due_at > {{now}} OR i.delay > 0 THEN 'scheduled' ELSE 'queued' END AS state
    FROM {{batch}} AS i
), created AS (
    INSERT INTO runs (id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases, payload_seq,
                      worker_id, idempotency_key, singleton_key, batch_id, rerun_of, expires_at, deadline_at, cancel_requested_at,
                      created_at, ended_at)
    SELECT id, lane_id, policy_id, state, reason, due, 0, 1, 0, 0, 0, 1, NULL, idempotency_key, singleton_key, batch_id,
           rerun_of, coalesce(expires_at, {{now}} + expires_in), coalesce(deadline_at, {{now}} + deadline_in), NULL, {{now}},
           CASE WHEN start = 'skipped' THEN {{now}} END
    FROM item
    ON CONFLICT (id) DO NOTHING
)
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT id, 1, 'created', state, {{now}}, actor, data, body FROM item
ON CONFLICT (run_id, seq) DO NOTHING;

-- name: runs.create_alike
-- Insert runs that differ in nothing but their id and payload, due now, and their `created` events, in one statement. Into a
-- bounded queue it inserts nothing; the count tells. Runs that are there already (a repeated call) make it fail: to look out for
-- them would cost each row a look into both indexes and one more record in the log. What is empty is not named, and the instant is
-- worked out once, for each expression is paid for by the row.
-- moves: none -> queued
-- input batch: id uuid, body bytes
WITH item AS MATERIALIZED (
    SELECT i.*, {{now}} AS at FROM {{batch}} AS i
    WHERE NOT EXISTS (SELECT 1 FROM lanes l JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
                      WHERE l.id = CAST(:lane_id AS {{int}}) AND q.max_waiting IS NOT NULL)
), created AS (
    INSERT INTO runs (id, lane_id, policy_id, state, due_at, token, seq, failures, interruptions, releases, payload_seq, created_at)
    SELECT id, CAST(:lane_id AS {{int}}), CAST(:policy_id AS {{int}}), 'queued', at, 0, 1, 0, 0, 0, 1, at
    FROM item
)
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT id, 1, 'created', 'queued', at, CAST(:actor AS TEXT), CAST(:data AS TEXT), body FROM item;

-- name: runs.move
-- Move runs that are exactly where the caller saw them, and log each move, in one statement. The rows are locked by the update
-- itself. No join on what was updated: everything the ledger needs is returned with it (0001-table-layout).
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
-- input batch: id uuid, origin text, token int, seq int, type text, state text, reason text, due_at int, delay int
-- input batch: failures int, interruptions int, releases int, holds int, requested int, ended int, actor text, data text
-- input batch: body bytes, lane_id int, policy_id int, payload int
-- columns: id text, followed int
WITH moved AS (
    UPDATE runs AS r
    SET state = i.state, reason = i.reason, seq = i.seq,
        due_at = CASE WHEN i.due_at > {{now}} THEN i.due_at WHEN i.due_at IS NOT NULL THEN {{now}}
                      WHEN i.delay IS NOT NULL THEN {{now}} + i.delay ELSE r.due_at END,
        lane_id = coalesce(i.lane_id, r.lane_id), policy_id = coalesce(i.policy_id, r.policy_id),
        payload_seq = CASE WHEN i.payload = 1 THEN i.seq ELSE r.payload_seq END,
        failures = i.failures, interruptions = i.interruptions, releases = i.releases,
        worker_id = CASE WHEN i.holds = 1 THEN r.worker_id END,
        cancel_requested_at = CASE WHEN i.requested = 1 THEN {{now}} ELSE r.cancel_requested_at END,
        ended_at = CASE WHEN i.ended = 1 THEN {{now}} END
    FROM {{batch}} AS i
    WHERE r.id = i.id AND r.token = i.token AND r.state = i.origin AND r.seq = i.seq - 1
    RETURNING i.id, i.seq, i.type, i.state, i.actor, i.data, i.body, r.followed
), logged AS (
    INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
    SELECT id, seq, type, state, {{now}}, actor, data, body FROM moved
)
SELECT id, followed FROM moved;
