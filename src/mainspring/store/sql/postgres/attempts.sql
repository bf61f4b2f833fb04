-- name: attempts.claim
-- The whole claim of shares in one statement and one round trip. First the order is read from the heads without a lock, which gives
-- each lane its number; then so many of each lane are locked, passing over runs that others are just claiming, and leased; and the
-- claim is logged. No join on what was picked: a plan made for few rows must not scan many (0001-table-layout). Where all that the
-- lanes may give is wanted (`exact`) there is no order to be read.
-- moves: queued -> running
-- input share: lane_id int, place int, turn int, weight int, quota int, cap int
-- columns: id text, token int, seq int, lane_id int, policy_id int, failures int, interruptions int, releases int
-- columns: idempotency_key text, singleton_key text, batch_id text, created_at int, due_at int, body bytes
WITH share AS MATERIALIZED (
    SELECT s.* FROM {{share}} AS s
), how AS MATERIALIZED (
    SELECT sum(cap) <= :most AND bool_and(cap <= quota) AND count(DISTINCT place) = count(*) AS exact FROM share
), head AS (
    SELECT s.lane_id, s.place, s.turn, s.weight, s.quota, h.due_at, h.id,
           row_number() OVER (PARTITION BY s.place ORDER BY h.due_at, h.id) AS nth
    FROM share s CROSS JOIN LATERAL (
        SELECT x.due_at, x.id FROM runs x WHERE x.lane_id = s.lane_id AND x.state = 'queued'
        ORDER BY x.due_at, x.id LIMIT s.cap) h
    WHERE NOT (SELECT exact FROM how)
), number AS MATERIALIZED (
    SELECT lane_id, cap AS runs FROM share WHERE (SELECT exact FROM how)
    UNION ALL
    SELECT lane_id, count(*) AS runs FROM (
        SELECT lane_id FROM head WHERE nth <= quota ORDER BY turn, (nth - 1) / weight, place, due_at, id LIMIT :most) chosen
    GROUP BY lane_id
), claimed AS (
    UPDATE runs
    SET state = 'running', token = token + 1, seq = seq + 1, worker_id = :worker_id, reason = NULL
    WHERE id = ANY (ARRAY(
        SELECT h.id FROM number CROSS JOIN LATERAL (
            SELECT x.id FROM runs x WHERE x.lane_id = number.lane_id AND x.state = 'queued'
            ORDER BY x.due_at, x.id LIMIT number.runs {{skip_locked}}) h))
      AND (expires_at IS NULL OR token > 0 OR expires_at > {{now}}) AND (deadline_at IS NULL OR deadline_at > {{now}})
    RETURNING id, token, seq, lane_id, policy_id, failures, interruptions, releases, idempotency_key, singleton_key, batch_id,
              created_at, due_at, payload_seq
), logged AS (
    INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
    SELECT id, seq, 'claimed', 'running', {{now}}, 'worker:' || :worker_id, NULL, NULL FROM claimed
)
SELECT c.id, c.token, c.seq, c.lane_id, c.policy_id, c.failures, c.interruptions, c.releases, c.idempotency_key,
       c.singleton_key, c.batch_id, c.created_at, c.due_at,
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
    WHERE r.id = i.id AND r.token = i.token AND r.state = 'running' AND r.seq = i.seq - 1 AND r.followed = 0
    RETURNING i.id, i.seq, i.body
)
INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
SELECT id, seq, 'succeeded', 'succeeded', {{now}}, :actor, NULL, body FROM moved;
