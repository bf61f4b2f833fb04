-- name: backfills.begin
-- Note a backfill. A repeat changes nothing.
INSERT INTO backfills (id, namespace, schedule_id, first_at, last_at, options, body, actor, total, done, created_at, next_at)
VALUES (:id, :namespace, :schedule_id, :first, :last, :options, :body, :actor, :total, 0, {{now}}, {{now}})
ON CONFLICT (id) DO NOTHING;

-- name: backfills.add
-- Its instants. A repeat changes nothing.
-- input batch: place int, nominal_at int
INSERT INTO backfill_items (backfill_id, place, nominal_at)
SELECT CAST(:id AS {{uuid}}), i.place, i.nominal_at FROM {{batch}} AS i
WHERE true
ON CONFLICT (backfill_id, place) DO NOTHING;

-- name: backfills.get
-- One backfill.
-- columns: id text, namespace text, schedule_id text, first_at int, last_at int, options text, body bytes, actor text, total int
-- columns: done int, created_at int, next_at int, finished_at int, cancelled_by text
SELECT id, namespace, schedule_id, first_at, last_at, options, body, actor, total, done, created_at, next_at, finished_at,
       cancelled_by
FROM backfills WHERE id = :id AND namespace = :namespace;

-- name: backfills.lock
-- The same, locked until the transaction ends. The caller holds the schedule's cursor.
-- columns: id text, namespace text, schedule_id text, first_at int, last_at int, options text, body bytes, actor text, total int
-- columns: done int, created_at int, next_at int, finished_at int, cancelled_by text
SELECT id, namespace, schedule_id, first_at, last_at, options, body, actor, total, done, created_at, next_at, finished_at,
       cancelled_by
FROM backfills WHERE id = :id AND namespace = :namespace {{lock}};

-- name: backfills.due
-- A backfill with which somebody has to go on by now.
-- columns: id text, namespace text
SELECT id, namespace FROM backfills WHERE next_at <= {{now}} ORDER BY next_at, id LIMIT 1;

-- name: backfills.next
-- The next instants that have no outcome yet.
-- columns: place int, nominal_at int
SELECT place, nominal_at FROM backfill_items WHERE backfill_id = :id AND outcome IS NULL ORDER BY place LIMIT :most;

-- name: backfills.conclude
-- What became of some instants, once.
-- input batch: place int, outcome text, code text, run_id uuid
UPDATE backfill_items
SET outcome = i.outcome, code = i.code, run_id = i.run_id
FROM {{batch}} AS i
WHERE backfill_items.backfill_id = :id AND backfill_items.place = i.place AND backfill_items.outcome IS NULL;

-- name: backfills.count
-- So many more instants have their outcome; it is over with the last one, else somebody goes on after `wait` µs.
UPDATE backfills
SET done = done + :more, next_at = CASE WHEN done + :more < total THEN {{now}} + :wait END,
    finished_at = CASE WHEN done + :more >= total THEN {{now}} END
WHERE id = :id;

-- name: backfills.cancel
-- What has no outcome yet is left out.
UPDATE backfill_items SET outcome = 'left_out', code = 'cancelled' WHERE backfill_id = :id AND outcome IS NULL;

-- name: backfills.cancelled
-- It is over, and by whom.
UPDATE backfills SET done = total, next_at = NULL, finished_at = {{now}}, cancelled_by = :actor WHERE id = :id;

-- name: backfills.items
-- What became of the instants of a backfill: a page, in order.
-- columns: place int, nominal_at int, outcome text, code text, run_id text
SELECT place, nominal_at, outcome, code, run_id
FROM backfill_items WHERE backfill_id = :id AND place > :after ORDER BY place LIMIT :most;

-- name: backfills.under_way
-- How the runs of a backfill stand, counted.
-- columns: state text, runs int
SELECT r.state, count(*) AS runs FROM backfill_items i JOIN runs r ON r.id = i.run_id
WHERE i.backfill_id = :id AND i.outcome = 'started'
GROUP BY r.state;

-- name: backfills.known
-- The rows of a schedule's instants between two, and how their runs stand; NULL where a run is no longer there.
-- columns: key text, nominal_at int, origin text, decided_at int, run_id text, state text
SELECT o.key, o.nominal_at, o.origin, o.decided_at, o.run_id, r.state
FROM occurrences o LEFT JOIN runs r ON r.id = o.run_id
WHERE o.schedule_id = :id AND o.nominal_at >= :first AND o.nominal_at <= :last AND o.origin <> 'manual'
ORDER BY o.nominal_at, o.key;

-- name: backfills.covering
-- Who stands for late instants between two, and how their runs stand.
-- columns: covers_first int, covers_last int, state text
SELECT o.covers_first, o.covers_last, r.state
FROM occurrences o JOIN runs r ON r.id = o.run_id
WHERE o.schedule_id = :id AND o.covers_last >= :first AND o.covers_first <= :last
ORDER BY o.covers_first;

-- name: backfills.kept_from
-- How far back the ledger of a schedule goes.
-- columns: kept_from int
SELECT kept_from FROM schedules WHERE id = :id;

-- name: backfills.made_good
-- The newest run that does the work of these occurrences after all.
-- input batch: key text, made_good_by uuid
UPDATE occurrences AS o SET made_good_by = i.made_good_by FROM {{batch}} AS i WHERE o.key = i.key;
