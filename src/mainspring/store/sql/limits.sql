-- name: limits.declare
-- A limit from code: written once; an operator's later change beats it. Answers nothing where nothing changed.
INSERT INTO limits (id, namespace, scope, name, key, measure, size, per, burst, cost, strict, source, changed_at)
VALUES (:id, :namespace, :scope, :name, :key, :measure, :size, :per, :burst, :cost, :strict, 'code', {{now}})
ON CONFLICT (id) DO UPDATE
SET size = excluded.size, per = excluded.per, burst = excluded.burst, cost = excluded.cost, strict = excluded.strict,
    changed_at = excluded.changed_at
WHERE limits.source = 'code'
  AND (coalesce(limits.size, -1) <> coalesce(excluded.size, -1) OR coalesce(limits.per, 0) <> coalesce(excluded.per, 0)
       OR limits.burst <> excluded.burst OR limits.cost <> excluded.cost OR limits.strict <> excluded.strict);

-- name: limits.set
-- A limit from an operator; without a size it is lifted. Runs that already run keep running.
INSERT INTO limits (id, namespace, scope, name, key, measure, size, per, burst, cost, strict, source, changed_at)
VALUES (:id, :namespace, :scope, :name, :key, :measure, :size, :per, :burst, :cost, :strict, 'operator', {{now}})
ON CONFLICT (id) DO UPDATE
SET size = excluded.size, per = excluded.per, burst = excluded.burst, cost = excluded.cost, strict = excluded.strict,
    source = 'operator', changed_at = excluded.changed_at;

-- name: limits.reset
-- Let code say again what a limit is, with its next declaration.
UPDATE limits SET source = 'code', changed_at = {{now}} WHERE id = :id AND source = 'operator';

-- name: limits.all
-- Every limit that can bind runs of a namespace.
-- columns: id int, namespace text, scope text, name text, key text, measure text, size int, per int, burst int, cost int
-- columns: strict int, source text, changed_at int, reserved_lane int, reserved_priority int
SELECT id, namespace, scope, name, key, measure, size, per, burst, cost, strict, source, changed_at, reserved_lane,
       reserved_priority
FROM limits WHERE namespace = :namespace OR scope = 'total';

-- name: limits.lock
-- Limits by number, as they are now, locked in one order: while they are, nobody else begins a run under them. And none of
-- the counters of single keys: where one writes at a time, all of them are its own.
-- input keys: id int
-- columns: id int, is_shut int, size int, per int, burst int, cost int, reserved_lane int, reserved_priority int
WITH locked AS (
    SELECT id, size, per, burst, cost, reserved_lane, reserved_priority FROM limits WHERE id {{any ids int}} ORDER BY id {{lock}}
)
SELECT id, 0 AS is_shut, size, per, burst, cost, reserved_lane, reserved_priority FROM locked
UNION ALL
SELECT i.id, 1, CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}),
       CAST(NULL AS {{int}})
FROM {{keys}} AS i WHERE 1 = 0;

-- name: limits.held
-- How many runs of each lane are held, of the lanes between these numbers; and how much of these counters is reserved (without a
-- lane). Whoever holds a lease holds its slots: nothing is written that could say otherwise.
-- input spans: floor int, ceiling int
-- columns: lane_id int, id int, units int
SELECT r.lane_id, CAST(NULL AS {{int}}) AS id, count(*) AS units
FROM {{spans}} AS i JOIN runs r ON r.worker_id IS NOT NULL AND r.lane_id >= i.floor AND r.lane_id < i.ceiling
GROUP BY r.lane_id
UNION ALL
SELECT CAST(NULL AS {{int}}), limit_id, sum(cost) FROM reservations WHERE limit_id {{any ids int}} GROUP BY limit_id;

-- name: limits.and_pauses
-- What a claim asks first: every limit that can bind runs of a namespace, and (as scope `paused`) which of its queues are paused.
-- columns: id int, namespace text, scope text, name text, key text, measure text, size int, per int, burst int, cost int
-- columns: strict int, source text, changed_at int, reserved_lane int, reserved_priority int
SELECT id, namespace, scope, name, key, measure, size, per, burst, cost, strict, source, changed_at, reserved_lane,
       reserved_priority
FROM limits WHERE namespace = :namespace OR scope = 'total'
UNION ALL
SELECT CAST(0 AS {{int}}), namespace, 'paused', name, '', '', CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(0 AS {{int}}),
       CAST(0 AS {{int}}), CAST(0 AS {{int}}), '', CAST(0 AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}})
FROM queues WHERE namespace = :namespace AND name {{any queues text}} AND paused_at IS NOT NULL;

-- name: limits.reserve
-- Keep limits for the heads of lanes that need several units at once.
-- input batch: id int, lane_id int, priority int
UPDATE limits
SET reserved_lane = (SELECT i.lane_id FROM {{batch}} AS i WHERE i.id = limits.id),
    reserved_priority = (SELECT i.priority FROM {{batch}} AS i WHERE i.id = limits.id)
WHERE id IN (SELECT i.id FROM {{batch}} AS i);

-- name: limits.unreserve
-- Let go of limits whose lane has begun the run they were kept for.
UPDATE limits SET reserved_lane = NULL, reserved_priority = NULL WHERE reserved_lane {{any lanes int}};

-- name: limits.idle_reservations
-- Let go of limits whose lane has nothing queued any more.
UPDATE limits SET reserved_lane = NULL, reserved_priority = NULL
WHERE reserved_lane IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.lane_id = limits.reserved_lane AND r.state = 'queued');

-- name: rates.get
-- The instants that keep rates.
-- columns: id int, next_at int
SELECT id, next_at FROM rates WHERE id {{any ids int}};

-- name: rates.put
-- Move the instants of rates to where a claim has brought them.
-- input batch: id int, next_at int
INSERT INTO rates (id, next_at)
SELECT i.id, i.next_at FROM {{batch}} AS i
WHERE true
ON CONFLICT (id) DO UPDATE SET next_at = excluded.next_at;

-- name: rates.close
-- Let nothing begin under these rates before an instant; never earlier than what holds already.
-- input batch: id int, next_at int
INSERT INTO rates (id, next_at)
SELECT i.id, i.next_at FROM {{batch}} AS i
WHERE true
ON CONFLICT (id) DO UPDATE SET next_at = excluded.next_at WHERE rates.next_at < excluded.next_at;

-- name: rates.refund
-- Give back what was spent by runs that did not begin after all.
-- input batch: id int, back int
UPDATE rates SET next_at = next_at - (SELECT sum(i.back) FROM {{batch}} AS i WHERE i.id = rates.id)
WHERE id IN (SELECT i.id FROM {{batch}} AS i);

-- name: rates.forget
-- Rates whose instant is long past say nothing any more.
DELETE FROM rates WHERE next_at < :before;

-- name: admissions.forget
-- What strict rates let in longer ago than the longest of their windows.
DELETE FROM admissions WHERE at < {{now}} - (SELECT coalesce(max(per), 0) FROM limits WHERE strict = 1);

-- name: admissions.log
-- Note what a strict rate let in.
-- input batch: rate_id int, run_id uuid, token int
INSERT INTO admissions (rate_id, at, run_id, token)
SELECT i.rate_id, {{now}}, i.run_id, i.token FROM {{batch}} AS i
WHERE true
ON CONFLICT (rate_id, at, run_id, token) DO NOTHING;

-- name: admissions.since
-- What a strict rate let in since an instant, oldest first.
-- columns: at int
SELECT at FROM admissions WHERE rate_id = :id AND at > :since ORDER BY at LIMIT :most;
