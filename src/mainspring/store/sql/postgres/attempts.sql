-- name: attempts.pick
-- The runs a worker may claim next. First the order is read from the lanes' heads without a lock, which gives each lane its
-- share; then each lane's share is locked, passing over runs that others are just claiming. The limits of these queues stay
-- locked until the end, so that two claims never both take the last slot.
-- columns: id text, token int, seq int, task text, queue text, version int, policy_id int, limit_id int, failures int
-- columns: interruptions int, releases int, idempotency_key text, singleton_key text, batch_id text, created_at int
-- columns: due_at int, data text, body bytes
WITH gate AS MATERIALIZED (
    SELECT id, queue, size - used AS free FROM limits
    WHERE namespace = :namespace AND queue {{any queues text}} AND size IS NOT NULL
    ORDER BY id FOR UPDATE
), lane AS MATERIALIZED (
    SELECT l.id, l.queue, l.task, l.version, l.priority, g.id AS limit_id, least(coalesce(g.free, :most), :most) AS free
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
), picked AS MATERIALIZED (
    SELECT lane.*, h.id AS run_id, h.token, h.seq, h.policy_id, h.failures, h.interruptions, h.releases, h.idempotency_key,
           h.singleton_key, h.batch_id, h.created_at, h.due_at, h.payload_seq
    FROM share JOIN lane ON lane.id = share.lane_id CROSS JOIN LATERAL (
        SELECT x.* FROM runs x WHERE x.lane_id = share.lane_id AND x.state = 'queued'
        ORDER BY x.due_at, x.id LIMIT share.runs {{skip_locked}}) h
)
SELECT p.run_id, p.token, p.seq, p.task, p.queue, p.version, p.policy_id, p.limit_id, p.failures, p.interruptions, p.releases,
       p.idempotency_key, p.singleton_key, p.batch_id, p.created_at, p.due_at,
       (SELECT e.data FROM events e WHERE e.run_id = p.run_id AND e.seq = p.payload_seq),
       (SELECT e.body FROM events e WHERE e.run_id = p.run_id AND e.seq = p.payload_seq)
FROM picked p
ORDER BY p.priority DESC, p.due_at, p.run_id;

-- name: attempts.claim
-- Lease picked runs to a worker, and log the claim, in one statement. Their rows are locked since they were picked.
-- moves: queued -> running
-- input batch: id uuid, token int
-- columns: id text
WITH claimed AS (
    UPDATE runs AS r
    SET state = 'running', token = r.token + 1, seq = r.seq + 1, worker_id = :worker_id, reason = NULL
    FROM {{batch}} AS i
    WHERE r.id = i.id AND r.state = 'queued' AND r.token = i.token
    RETURNING r.id, r.seq
)
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT id, seq, 'claimed', 'running', {{now}}, 'worker:' || :worker_id, NULL, NULL FROM claimed
RETURNING run_id;
