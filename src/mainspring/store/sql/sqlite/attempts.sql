-- name: attempts.pick
-- The same as the portable one; and by itself (`exact`) the case in which each lane is alone in its group, all give the same number,
-- and all that they give is wanted: nothing has to be numbered or sorted, the heads of a lane lie in order in the index. CROSS JOIN:
-- SQLite joins in this order, whatever it thinks of lengths.
-- input share: lane_id int, place int, turn int, weight int, quota int, cap int
-- columns: id text, token int, seq int, lane_id int, policy_id int, failures int, interruptions int, releases int
-- columns: idempotency_key text, singleton_key text, batch_id text, created_at int, due_at int, body bytes
WITH share AS MATERIALIZED (
    SELECT s.* FROM {{share}} AS s
), how AS MATERIALIZED (
    SELECT sum(cap) <= :most AND min(cap) = :deepest AND min(quota) >= :deepest AND count(DISTINCT place) = count(*) AS exact
    FROM share
), head AS (
    SELECT r.rowid AS row, r.id, r.due_at, s.place, s.turn, s.weight, s.quota, s.cap,
           row_number() OVER (PARTITION BY s.place ORDER BY r.due_at, r.id) AS nth,
           row_number() OVER (PARTITION BY s.lane_id ORDER BY r.due_at, r.id) AS nth_of_lane
    FROM share AS s
    CROSS JOIN runs r ON r.rowid IN (
        SELECT x.rowid FROM runs x WHERE x.lane_id = s.lane_id AND x.state = 'queued' ORDER BY x.due_at, x.id LIMIT :deepest)
    WHERE (SELECT exact FROM how) = 0
), picked AS (
    SELECT r.rowid AS row
    FROM share AS s
    CROSS JOIN runs r ON r.rowid IN (
        SELECT x.rowid FROM runs x WHERE x.lane_id = s.lane_id AND x.state = 'queued' ORDER BY x.due_at, x.id LIMIT :deepest)
    WHERE (SELECT exact FROM how) = 1
    UNION ALL
    SELECT row FROM (
        SELECT row FROM head WHERE nth <= quota AND nth_of_lane <= cap
        ORDER BY turn, (nth - 1) / weight, place, due_at, id LIMIT :most)
)
SELECT r.id, r.token, r.seq, r.lane_id, r.policy_id, r.failures, r.interruptions, r.releases,
       r.idempotency_key, r.singleton_key, r.batch_id, r.created_at, r.due_at, e.body
FROM picked p
CROSS JOIN runs r ON r.rowid = p.row
CROSS JOIN events e ON e.run_id = r.id AND e.seq = r.payload_seq
WHERE r.state = 'queued' AND (r.expires_at IS NULL OR r.token > 0 OR r.expires_at > {{now}})
  AND (r.deadline_at IS NULL OR r.deadline_at > {{now}});
