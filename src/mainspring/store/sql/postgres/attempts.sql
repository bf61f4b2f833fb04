-- name: attempts.claim
-- The whole claim in one statement and one round trip. First the order is read from the heads of open lanes without a lock,
-- which gives each lane its share; then each lane's share is locked, passing over runs that others are just claiming, and leased;
-- and the claim is logged. The limits of these queues stay locked until the end, so two claims never both take the last slot.
-- A lane of another task, of a paused queue or of a full limit is passed over whole. No join on what was picked: a plan made for
-- few rows must not scan many (0001-table-layout).
-- moves: queued -> running
-- columns: id text, token int, seq int, lane_id int, policy_id int, limit_id int, failures int, interruptions int, releases int
-- columns: idempotency_key text, singleton_key text, batch_id text, created_at int, due_at int, body bytes
WITH gate AS MATERIALIZED (
    SELECT id, queue, size - used AS free FROM limits
    WHERE namespace = :namespace AND queue {{any queues text}} AND size IS NOT NULL
    ORDER BY id FOR UPDATE
), lane AS MATERIALIZED (
    SELECT l.id, l.queue, l.priority, g.id AS limit_id, least(coalesce(g.free, :most), :most) AS free
    FROM lanes l
    JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
    LEFT JOIN gate g ON g.queue = l.queue
    WHERE l.namespace = :namespace AND l.queue {{any queues text}} AND l.task {{any tasks text}}
      AND q.paused_at IS NULL AND coalesce(g.free, 1) > 0
), head AS (
    SELECT lane.id AS lane_id, lane.free, h.due_at, h.id, lane.priority,
           row_number() OVER (PARTITION BY lane.queue ORDER BY lane.priority DESC, h.due_at, h.id) AS place
    FROM lane CROSS JOIN LATERAL (
        SELECT x.due_at, x.id FROM runs x WHERE x.lane_id = lane.id AND x.state = 'queued'
        ORDER BY x.due_at, x.id LIMIT lane.free) h
), share AS MATERIALIZED (
    SELECT lane_id, count(*) AS runs FROM (
        SELECT lane_id FROM head WHERE place <= free ORDER BY priority DESC, due_at, id LIMIT :most) chosen
    GROUP BY lane_id
), claimed AS (
    UPDATE runs
    SET state = 'running', token = token + 1, seq = seq + 1, worker_id = :worker_id, reason = NULL
    WHERE id = ANY (ARRAY(
        SELECT h.id FROM share CROSS JOIN LATERAL (
            SELECT x.id FROM runs x WHERE x.lane_id = share.lane_id AND x.state = 'queued'
            ORDER BY x.due_at, x.id LIMIT share.runs {{skip_locked}}) h))
    RETURNING id, token, seq, lane_id, policy_id, failures, interruptions, releases, idempotency_key, singleton_key, batch_id,
              created_at, due_at, payload_seq
), logged AS (
    INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
    SELECT id, seq, 'claimed', 'running', {{now}}, 'worker:' || :worker_id, NULL, NULL FROM claimed
)
SELECT c.id, c.token, c.seq, c.lane_id, c.policy_id,
       (SELECT lane.limit_id FROM lane WHERE lane.id = c.lane_id AND lane.limit_id IS NOT NULL),
       c.failures, c.interruptions, c.releases, c.idempotency_key, c.singleton_key, c.batch_id, c.created_at, c.due_at,
       (SELECT e.body FROM events e WHERE e.run_id = c.id AND e.seq = c.payload_seq)
FROM claimed c;

-- name: attempts.succeed
-- End runs whose attempt succeeded and on whose end nothing hangs, in one statement. The count of events tells how many.
-- moves: running -> succeeded
-- input batch: id uuid, token int, seq int, body bytes
WITH moved AS (
    UPDATE runs AS r
    SET state = 'succeeded', reason = NULL, seq = i.seq, worker_id = NULL, ended_at = {{now}}
    FROM {{batch}} AS i
    WHERE r.id = i.id AND r.token = i.token AND r.state = 'running' AND r.seq = i.seq - 1
    RETURNING i.id, i.seq, i.body
)
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT id, seq, 'succeeded', 'succeeded', {{now}}, :actor, NULL, body FROM moved;
