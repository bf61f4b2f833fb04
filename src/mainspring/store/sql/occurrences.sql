-- name: occurrences.create
-- Occurrences with their fate. One that is there already keeps its own.
-- input batch: key text, schedule_id uuid, namespace text, nominal_at int, due_at int, origin text, revision int, tz_version text
-- input batch: disposition text, reason_code text, reason text, actor text, is_late int, ready_at int, slot int, run_id uuid
-- input batch: into_key text, covers_first int, covers_last int, covers_count int
INSERT INTO occurrences (key, schedule_id, namespace, nominal_at, due_at, origin, revision, tz_version, disposition, reason_code,
                         reason, actor, decided_at, is_late, ready_at, slot, run_id, into_key, covers_first, covers_last,
                         covers_count)
SELECT i.key, i.schedule_id, i.namespace, i.nominal_at, i.due_at, i.origin, i.revision, i.tz_version, i.disposition, i.reason_code,
       i.reason, i.actor, {{now}}, i.is_late, i.ready_at, i.slot, i.run_id, i.into_key, i.covers_first, i.covers_last,
       i.covers_count
FROM {{batch}} AS i
WHERE true
ON CONFLICT (key) DO NOTHING;

-- name: occurrences.create_ranges
-- Many instants with one fate each, of which nothing ran. Those that are there already keep theirs.
-- input batch: schedule_id uuid, first_at int, last_at int, count int, disposition text, reason_code text, revision int
-- input batch: tz_version text
INSERT INTO occurrence_ranges (schedule_id, first_at, last_at, count, disposition, reason_code, revision, tz_version)
SELECT i.schedule_id, i.first_at, i.last_at, i.count, i.disposition, i.reason_code, i.revision, i.tz_version
FROM {{batch}} AS i
WHERE true
ON CONFLICT (schedule_id, first_at) DO NOTHING;

-- name: occurrences.standing
-- Who holds a slot of these schedules, and who waits for one, the oldest first.
-- columns: key text, schedule_id text, nominal_at int, origin text, disposition text, ready_at int, slot int, run_id text
-- columns: state text, asked_at int, stalled_at int
SELECT o.key, o.schedule_id, o.nominal_at, o.origin, o.disposition, o.ready_at, o.slot, o.run_id, r.state,
       CASE WHEN r.state = 'cancelling' THEN r.cancel_requested_at END AS asked_at, o.stalled_at
FROM occurrences o LEFT JOIN runs r ON r.id = o.run_id
WHERE o.schedule_id {{any ids uuid}} AND (o.disposition = 'waiting' OR o.slot > 0)
ORDER BY o.schedule_id, o.nominal_at, o.key;

-- name: occurrences.give_back
-- Runs wait for a retry: their slots are free until it is due. None is taken of a schedule whose retries keep theirs.
-- columns: schedule_id text
UPDATE occurrences SET slot = 2 WHERE run_id {{any ids uuid}} AND slot = 1 RETURNING schedule_id;

-- name: occurrences.holding
-- What the schedules of these runs say, of runs that hold a slot.
-- columns: run_id text, spec text
SELECT o.run_id, r.spec
FROM occurrences o JOIN schedules s ON s.id = o.schedule_id
JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
WHERE o.run_id {{any ids uuid}} AND o.slot = 1
ORDER BY o.run_id;

-- name: occurrences.without
-- Which of these runs gave their slot back, and of which schedule.
-- columns: run_id text, schedule_id text
SELECT run_id, schedule_id FROM occurrences WHERE run_id {{any ids uuid}} AND slot = 2 ORDER BY run_id;

-- name: occurrences.regain
-- Retries that are due have a slot again.
-- input batch: key text, slot int
UPDATE occurrences AS o SET slot = i.slot FROM {{batch}} AS i WHERE o.key = i.key AND o.slot = 2;

-- name: occurrences.stalled
-- A run that was asked to stop does not; noted once.
UPDATE occurrences SET stalled_at = {{now}} WHERE key = :key AND stalled_at IS NULL;

-- name: occurrences.decide
-- The fate of occurrences that waited. One that has its fate already keeps it.
-- input batch: key text, disposition text, reason_code text, into_key text, slot int
UPDATE occurrences AS o
SET disposition = i.disposition, reason_code = i.reason_code, into_key = i.into_key, slot = i.slot, decided_at = {{now}}
FROM {{batch}} AS i
WHERE o.key = i.key AND o.disposition = 'waiting';

-- name: occurrences.of_runs
-- The occurrences of some runs.
-- columns: key text, schedule_id text, origin text, disposition text, slot int, run_id text
SELECT key, schedule_id, origin, disposition, slot, run_id FROM occurrences WHERE run_id {{any ids uuid}} ORDER BY key;

-- name: occurrences.free
-- Runs have ended: their slots are free, and one that still waited is withdrawn.
UPDATE occurrences SET slot = 0, disposition = CASE WHEN disposition = 'waiting' THEN 'withdrawn' ELSE disposition END
WHERE run_id {{any ids uuid}} AND (slot > 0 OR disposition = 'waiting');

-- name: occurrences.page
-- A page of a schedule's occurrences, the newest first.
-- columns: key text, schedule_id text, namespace text, nominal_at int, due_at int, origin text, revision int, tz_version text
-- columns: disposition text, reason_code text, reason text, actor text, decided_at int, is_late int, ready_at int, slot int
-- columns: run_id text, into_key text, covers_first int, covers_last int, covers_count int, made_good_by text
SELECT key, schedule_id, namespace, nominal_at, due_at, origin, revision, tz_version, disposition, reason_code, reason, actor,
       decided_at, is_late, ready_at, slot, run_id, into_key, covers_first, covers_last, covers_count, made_good_by
FROM occurrences
WHERE schedule_id = :id AND (nominal_at < :before OR (nominal_at = :before AND key < :before_key))
  AND (CAST(:disposition AS TEXT) IS NULL OR disposition = :disposition)
ORDER BY nominal_at DESC, key DESC
LIMIT :most;

-- name: occurrences.ranges
-- The ranges of a schedule, the newest first.
-- columns: first_at int, last_at int, count int, disposition text, reason_code text, revision int, tz_version text
SELECT first_at, last_at, count, disposition, reason_code, revision, tz_version
FROM occurrence_ranges WHERE schedule_id = :id ORDER BY first_at DESC LIMIT :most;

-- name: occurrences.planned_at
-- What became of an instant that the rule said: its own row before any of a backfill.
-- columns: key text, schedule_id text, namespace text, nominal_at int, due_at int, origin text, revision int, tz_version text
-- columns: disposition text, reason_code text, reason text, actor text, decided_at int, is_late int, ready_at int, slot int
-- columns: run_id text, into_key text, covers_first int, covers_last int, covers_count int, made_good_by text
SELECT key, schedule_id, namespace, nominal_at, due_at, origin, revision, tz_version, disposition, reason_code, reason, actor,
       decided_at, is_late, ready_at, slot, run_id, into_key, covers_first, covers_last, covers_count, made_good_by
FROM occurrences WHERE schedule_id = :id AND nominal_at = :at AND origin <> 'manual'
ORDER BY CASE WHEN origin = 'backfill' THEN 1 ELSE 0 END, key LIMIT 1;

-- name: occurrences.range_at
-- The range within which an instant lies.
-- columns: first_at int, last_at int, count int, disposition text, reason_code text, revision int, tz_version text
SELECT first_at, last_at, count, disposition, reason_code, revision, tz_version
FROM occurrence_ranges WHERE schedule_id = :id AND first_at <= :at AND last_at >= :at ORDER BY first_at DESC LIMIT 1;

-- name: occurrences.of_run
-- The occurrence of a run, and its schedule's name.
-- columns: key text, schedule_id text, namespace text, nominal_at int, due_at int, origin text, revision int, tz_version text
-- columns: disposition text, reason_code text, reason text, actor text, decided_at int, is_late int, ready_at int, slot int
-- columns: run_id text, into_key text, covers_first int, covers_last int, covers_count int, made_good_by text
SELECT key, schedule_id, namespace, nominal_at, due_at, origin, revision, tz_version, disposition, reason_code, reason, actor,
       decided_at, is_late, ready_at, slot, run_id, into_key, covers_first, covers_last, covers_count, made_good_by
FROM occurrences WHERE run_id = :run_id ORDER BY key LIMIT 1;

-- name: occurrences.lineage
-- A run and those it does again, one behind the other.
-- columns: id text, depth int
WITH RECURSIVE line (id, rerun_of, depth) AS (
    SELECT r.id, r.rerun_of, 0 FROM runs r WHERE r.id = :run_id
    UNION ALL
    SELECT r.id, r.rerun_of, line.depth + 1 FROM line JOIN runs r ON r.id = line.rerun_of WHERE line.depth < 1000
)
SELECT id, depth FROM line ORDER BY depth;

-- name: occurrences.mark_runs
-- Somebody counts the ends of these runs.
UPDATE runs SET followed = followed + 2 WHERE id {{any ids uuid}} AND followed < 2;
