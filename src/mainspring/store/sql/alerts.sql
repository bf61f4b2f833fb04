-- name: alerts.watch
-- A schedule wants alerts, and is looked at at once. One that wanted some before is watched since then.
INSERT INTO alert_watches (schedule_id, since, within, next_at) VALUES (:id, {{now}}, :within, {{now}})
ON CONFLICT (schedule_id) DO UPDATE SET within = excluded.within, next_at = excluded.next_at;

-- name: alerts.unwatch
-- A schedule wants none any more.
DELETE FROM alert_watches WHERE schedule_id = :id;

-- name: alerts.due
-- Watches that somebody has to look at by now, the longest due first, locked with their cursors; those that another is just at are
-- passed over.
-- columns: schedule_id text
SELECT w.schedule_id
FROM alert_watches w JOIN schedule_cursors c ON c.schedule_id = w.schedule_id
WHERE w.next_at <= {{now}}
ORDER BY w.next_at, w.schedule_id
LIMIT :most {{skip_locked}};

-- name: alerts.held
-- Watched schedules that a restored database holds back as of now. The caller holds their cursors.
-- columns: schedule_id text
SELECT c.schedule_id
FROM schedule_cursors c JOIN alert_watches w ON w.schedule_id = c.schedule_id
WHERE c.held_to = {{now}}
ORDER BY c.schedule_id;

-- name: alerts.facts
-- What there is to judge watched schedules by. `unstarted_due`: since when the oldest of the newest hundred waits to start;
-- `missed_at`: the newest instant whose time to succeed is over, where neither its run nor a later one did; `unjudged_at`: the next
-- instant whose time is not over yet.
-- columns: id text, namespace text, name text, spec text, enabled int, paused_at int, paused_by text, paused_reason text
-- columns: broken text, deleted_at int, since int, next_at int, cursor_at int, next_nominal_at int, looked_at_next int
-- columns: failure_streak int, last_success_at int, last_failure_at int, held_to int, unstarted_due int, waiting int, stalled int
-- columns: missed_at int, unjudged_at int
SELECT s.id, s.namespace, s.name, r.spec, s.enabled, s.paused_at, s.paused_by, s.paused_reason, s.broken, s.deleted_at, w.since,
       w.next_at, c.cursor_at, c.next_nominal_at, c.next_at AS looked_at_next, c.failure_streak, c.last_success_at,
       c.last_failure_at, c.held_to,
       (SELECT min(o.due_at)
        FROM (SELECT n.run_id, n.due_at FROM occurrences n
              WHERE n.schedule_id = w.schedule_id AND n.nominal_at > w.since AND n.origin = 'planned'
              ORDER BY n.nominal_at DESC LIMIT 100) o
        JOIN runs q ON q.id = o.run_id
        WHERE q.token = 0 AND q.state IN ('scheduled', 'queued', 'blocked')) AS unstarted_due,
       (SELECT count(*) FROM occurrences o WHERE o.schedule_id = w.schedule_id AND o.disposition = 'waiting') AS waiting,
       (SELECT count(*) FROM occurrences o
        WHERE o.schedule_id = w.schedule_id AND (o.disposition = 'waiting' OR o.slot > 0) AND o.slot > 0
          AND o.stalled_at IS NOT NULL) AS stalled,
       (SELECT o.nominal_at
        FROM (SELECT n.run_id, n.nominal_at FROM occurrences n
              WHERE n.schedule_id = w.schedule_id AND n.nominal_at > w.since AND n.nominal_at <= {{now}} - w.within
                AND n.origin = 'planned'
              ORDER BY n.nominal_at DESC LIMIT 1) o
        WHERE NOT EXISTS (SELECT 1 FROM occurrences l LEFT JOIN runs q ON q.id = l.run_id
                          WHERE l.schedule_id = w.schedule_id AND l.nominal_at >= o.nominal_at AND l.origin = 'planned'
                            AND (q.id IS NULL OR q.state = 'succeeded'))) AS missed_at,
       (SELECT min(n.nominal_at) FROM occurrences n
        WHERE n.schedule_id = w.schedule_id AND n.nominal_at > w.since AND n.nominal_at > {{now}} - w.within
          AND n.origin = 'planned') AS unjudged_at
FROM alert_watches w
JOIN schedules s ON s.id = w.schedule_id
JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
JOIN schedule_cursors c ON c.schedule_id = s.id
WHERE w.schedule_id {{any ids uuid}}
ORDER BY s.id;

-- name: alerts.open_of
-- The open alerts of some schedules. `is_closed`: the dead letter of its run is, or is forgotten.
-- columns: id text, schedule_id text, kind text, opened_at int, why text, is_closed int
SELECT a.id, a.schedule_id, a.kind, a.opened_at, a.why,
       CASE WHEN EXISTS (SELECT 1 FROM dead_letters d WHERE d.run_id = a.run_id AND d.closed_at IS NULL) THEN 0 ELSE 1 END
           AS is_closed
FROM alerts a
WHERE a.schedule_id {{any ids uuid}} AND a.recovered_at IS NULL
ORDER BY a.schedule_id, a.kind;

-- name: alerts.letters
-- Which of these runs are dead letters.
-- columns: run_id text
SELECT run_id FROM dead_letters WHERE run_id {{any ids uuid}} AND closed_at IS NULL ORDER BY run_id;

-- name: alerts.open
-- Episodes begin. One that is open already goes on. Answers those that began.
-- columns: id text
-- input batch: id uuid, namespace text, schedule_id uuid, kind text, why text, run_id uuid
INSERT INTO alerts (id, namespace, schedule_id, kind, opened_at, why, run_id)
SELECT i.id, i.namespace, i.schedule_id, i.kind, {{now}}, i.why, i.run_id
FROM {{batch}} AS i
WHERE true
ON CONFLICT DO NOTHING
RETURNING id;

-- name: alerts.go_on
-- An open alert tells of a later run from now on.
-- input batch: id uuid, run_id uuid
UPDATE alerts AS a SET run_id = i.run_id FROM {{batch}} AS i WHERE a.id = i.id AND a.recovered_at IS NULL;

-- name: alerts.recover
-- Episodes end. Answers those that did.
-- columns: id text
UPDATE alerts SET recovered_at = {{now}} WHERE id {{any ids uuid}} AND recovered_at IS NULL RETURNING id;

-- name: alerts.wait
-- When these schedules are to be looked at next.
-- input batch: schedule_id uuid, next_at int
UPDATE alert_watches AS w SET next_at = i.next_at FROM {{batch}} AS i WHERE w.schedule_id = i.schedule_id;

-- name: alerts.log
-- On record for each schedule, in order. The caller holds their cursors.
-- input batch: schedule_id uuid, nth int, type text, data text
INSERT INTO schedule_events (schedule_id, seq, type, at, actor, data)
SELECT i.schedule_id, coalesce((SELECT max(e.seq) FROM schedule_events e WHERE e.schedule_id = i.schedule_id), 0) + i.nth, i.type,
       {{now}}, 'system', i.data
FROM {{batch}} AS i
WHERE true;

-- name: alerts.page
-- A page of a namespace's alerts, the newest first.
-- columns: id text, schedule_id text, schedule text, kind text, opened_at int, recovered_at int, why text, run_id text
SELECT a.id, a.schedule_id, s.name AS schedule, a.kind, a.opened_at, a.recovered_at, a.why, a.run_id
FROM alerts a JOIN schedules s ON s.id = a.schedule_id
WHERE a.namespace = :namespace AND a.id < :before AND (:only_open = 0 OR a.recovered_at IS NULL)
  AND (CAST(:schedule AS TEXT) IS NULL OR s.name = :schedule)
ORDER BY a.id DESC
LIMIT :most;
