-- name: lanes.ring
-- The lanes of some queues in which a run is queued, in the order of the walk (core/lanes.py): by priority, and within one from a
-- place on the ring of keys around to it. Each step is one look into an index, whatever waits in the lane, and finds the lane and
-- its head together; the walk of each priority ends after so many lanes before that place's end, and so many after it.
-- input queues: floor int, ceiling int
-- columns: lane_id int, due_at int, at int
WITH RECURSIVE class (floor, ceiling) AS (
    SELECT (SELECT x.lane_id FROM runs x WHERE x.state = 'queued' AND x.lane_id >= i.floor AND x.lane_id < i.ceiling
            ORDER BY x.lane_id LIMIT 1) / :span * :span, i.ceiling
    FROM {{queues}} AS i
    UNION ALL
    SELECT (SELECT x.lane_id FROM runs x
            WHERE x.state = 'queued' AND x.lane_id >= class.floor + :span AND x.lane_id < class.ceiling
            ORDER BY x.lane_id LIMIT 1) / :span * :span, class.ceiling
    FROM class WHERE class.floor IS NOT NULL
), segment (floor, half, start, stop) AS (
    SELECT floor, 0, floor + :offset, floor + :span FROM class WHERE floor IS NOT NULL
    UNION ALL
    SELECT floor, 1, floor, floor + :offset FROM class WHERE floor IS NOT NULL
), ring (floor, half, lane_id, due_at, stop, steps) AS (
    SELECT floor, half, head.lane_id, head.due_at, stop, 1
    FROM segment CROSS JOIN LATERAL (
        SELECT x.lane_id, x.due_at FROM runs x
        WHERE x.state = 'queued' AND x.lane_id >= segment.start AND x.lane_id < segment.stop
        ORDER BY x.lane_id, x.due_at, x.id LIMIT 1) head
    UNION ALL
    SELECT floor, half, head.lane_id, head.due_at, stop, steps + 1
    FROM ring CROSS JOIN LATERAL (
        SELECT x.lane_id, x.due_at FROM runs x
        WHERE x.state = 'queued' AND x.lane_id > ring.lane_id AND x.lane_id < ring.stop
        ORDER BY x.lane_id, x.due_at, x.id LIMIT 1) head
    WHERE steps < CASE WHEN half = 0 THEN :most ELSE :wrapped END
)
SELECT lane_id, due_at, {{now}} AS at FROM ring ORDER BY floor, half, lane_id;
