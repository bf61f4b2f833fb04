-- name: lanes.ring
-- The lanes of some queues in which a run is queued, in the order of the walk (core/lanes.py): by priority, and within one from a
-- place on the ring of keys around to it. Each step is one look into an index, whatever waits in the lane; the walk of each
-- priority ends after so many lanes before that place's end, and so many after it.
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
), ring (floor, half, lane_id, stop, steps) AS (
    SELECT floor, half, (SELECT x.lane_id FROM runs x
                         WHERE x.state = 'queued' AND x.lane_id >= segment.start AND x.lane_id < segment.stop
                         ORDER BY x.lane_id LIMIT 1), stop, 1
    FROM segment
    UNION ALL
    SELECT floor, half, (SELECT x.lane_id FROM runs x
                         WHERE x.state = 'queued' AND x.lane_id > ring.lane_id AND x.lane_id < ring.stop
                         ORDER BY x.lane_id LIMIT 1), stop, steps + 1
    FROM ring WHERE ring.lane_id IS NOT NULL AND steps < CASE WHEN half = 0 THEN :most ELSE :wrapped END
)
SELECT ring.lane_id, (SELECT x.due_at FROM runs x WHERE x.state = 'queued' AND x.lane_id = ring.lane_id
                      ORDER BY x.lane_id, x.due_at, x.id LIMIT 1) AS due_at, {{now}} AS at
FROM ring WHERE ring.lane_id IS NOT NULL
ORDER BY ring.floor, ring.half, ring.lane_id;

-- name: lanes.some
-- Lanes by number: what their runs are.
-- columns: id int, namespace text, queue text, priority int, concurrency_key text, kind text, task text, version int
-- columns: fingerprint text, requires text, uses text
SELECT id, namespace, queue, priority, concurrency_key, kind, task, version, fingerprint, requires, uses
FROM lanes WHERE id {{any ids int}};

-- name: lanes.head
-- The first run in line of a lane.
-- columns: id text, due_at int
SELECT id, due_at FROM runs WHERE lane_id = :lane_id AND state = 'queued' ORDER BY due_at, id LIMIT 1;
