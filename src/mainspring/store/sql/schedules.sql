-- name: schedules.create
-- A new schedule. A repeat of the same call changes nothing, nor does one whose name another has.
INSERT INTO schedules (id, namespace, name, revision, enabled, kind, set_name, calendars, created_at, updated_at)
VALUES (:id, :namespace, :name, 1, :enabled, :kind, :set_name, :calendars, {{now}}, {{now}})
ON CONFLICT DO NOTHING;

-- name: schedules.revise
-- A revision, in force for what is due after `at`. A repeat of the same call changes nothing.
INSERT INTO schedule_revisions (schedule_id, revision, spec, lane_id, policy_id, body, actor, at)
VALUES (:id, :revision, :spec, :lane_id, :policy_id, :body, :actor, :at)
ON CONFLICT (schedule_id, revision) DO NOTHING;

-- name: schedules.edit
-- The newest revision is in force from now on.
UPDATE schedules SET revision = :revision, kind = :kind, enabled = :enabled, calendars = :calendars, broken = NULL, updated_at = {{now}}
WHERE id = :id;

-- name: schedules.rename
-- It is called so from now on, unless another one is by now.
UPDATE schedules SET name = :name
WHERE id = :id AND NOT EXISTS (
    SELECT 1 FROM schedules o WHERE o.namespace = :namespace AND o.name = :name AND o.deleted_at IS NULL AND o.id <> :id);

-- name: schedules.by_name
-- A schedule by its name, and what it says.
-- columns: id text, namespace text, name text, revision int, enabled int, kind text, set_name text, paused_at int, paused_by text
-- columns: paused_reason text, broken text, created_at int, updated_at int, deleted_at int, spec text, lane_id int, policy_id int
-- columns: body bytes, revised_at int, calendars text
SELECT s.id, s.namespace, s.name, s.revision, s.enabled, s.kind, s.set_name, s.paused_at, s.paused_by, s.paused_reason, s.broken,
       s.created_at, s.updated_at, s.deleted_at, r.spec, r.lane_id, r.policy_id, r.body, r.at AS revised_at,
       s.calendars
FROM schedules s JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
WHERE s.namespace = :namespace AND s.name = :name AND s.deleted_at IS NULL;

-- name: schedules.by_id
-- A schedule by its id, deleted or not, and what it says.
-- columns: id text, namespace text, name text, revision int, enabled int, kind text, set_name text, paused_at int, paused_by text
-- columns: paused_reason text, broken text, created_at int, updated_at int, deleted_at int, spec text, lane_id int, policy_id int
-- columns: body bytes, revised_at int, calendars text
SELECT s.id, s.namespace, s.name, s.revision, s.enabled, s.kind, s.set_name, s.paused_at, s.paused_by, s.paused_reason, s.broken,
       s.created_at, s.updated_at, s.deleted_at, r.spec, r.lane_id, r.policy_id, r.body, r.at AS revised_at,
       s.calendars
FROM schedules s JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
WHERE s.namespace = :namespace AND s.id = :id;

-- name: schedules.page
-- A page of a namespace's schedules, by name, from a prefix on.
-- columns: id text, namespace text, name text, revision int, enabled int, kind text, set_name text, paused_at int, paused_by text
-- columns: paused_reason text, broken text, created_at int, updated_at int, deleted_at int, spec text, lane_id int, policy_id int
-- columns: body bytes, revised_at int, calendars text
SELECT s.id, s.namespace, s.name, s.revision, s.enabled, s.kind, s.set_name, s.paused_at, s.paused_by, s.paused_reason, s.broken,
       s.created_at, s.updated_at, s.deleted_at, r.spec, r.lane_id, r.policy_id, r.body, r.at AS revised_at,
       s.calendars
FROM schedules s JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
WHERE s.namespace = :namespace AND s.deleted_at IS NULL AND s.name {{bytewise}} > :after AND s.name {{bytewise}} >= :prefix
ORDER BY s.name {{bytewise}}
LIMIT :most;

-- name: schedules.pause
-- Nothing more fires.
UPDATE schedules SET paused_at = {{now}}, paused_by = :actor, paused_reason = :reason, updated_at = {{now}} WHERE id = :id;

-- name: schedules.resume
-- It fires again.
UPDATE schedules SET paused_at = NULL, paused_by = NULL, paused_reason = NULL, updated_at = {{now}} WHERE id = :id;

-- name: schedules.delete
-- Its name is free from now on.
UPDATE schedules SET deleted_at = {{now}}, deleted_by = :actor, updated_at = {{now}} WHERE id = :id;

-- name: schedules.broke
-- It cannot be planned; says why.
UPDATE schedules SET broken = :why, updated_at = {{now}} WHERE id = :id;

-- name: schedules.log
-- One more entry of what was done to a schedule.
INSERT INTO schedule_events (schedule_id, seq, type, at, actor, data)
SELECT :id, coalesce((SELECT max(seq) FROM schedule_events WHERE schedule_id = :id), 0) + 1, :type, {{now}}, :actor, :data;

-- name: schedules.events
-- What was done to a schedule, in order.
-- columns: seq int, type text, at int, actor text, data text
SELECT seq, type, at, actor, data FROM schedule_events WHERE schedule_id = :id AND seq > :after ORDER BY seq LIMIT :most;

-- name: schedules.revisions
-- What a schedule said, the newest first.
-- columns: revision int, spec text, lane_id int, policy_id int, body bytes, actor text, at int
SELECT revision, spec, lane_id, policy_id, body, actor, at
FROM schedule_revisions WHERE schedule_id = :id AND revision < :before ORDER BY revision DESC LIMIT :most;

-- name: schedules.revision_at
-- The revision that was in force at an instant; before the first one, the first.
-- columns: revision int, spec text
SELECT revision, spec FROM schedule_revisions WHERE schedule_id = :id AND (at < :at OR revision = 1) ORDER BY revision DESC LIMIT 1;

-- name: cursors.create
-- A schedule is settled from now on. A repeat changes nothing.
INSERT INTO schedule_cursors (schedule_id, cursor_at, next_nominal_at, next_at, tz_version, zone_hash)
VALUES (:id, :cursor_at, :next_nominal_at, :next_at, :tz_version, :zone_hash)
ON CONFLICT (schedule_id) DO NOTHING;

-- name: cursors.lock
-- A schedule's cursor, locked: whoever holds it decides what is due.
-- columns: schedule_id text, cursor_at int, next_nominal_at int, next_at int, carried_first int, carried_last int, carried_count int
-- columns: backlog_is_late int, fired int, failure_streak int, last_fired_at int, last_ended_at int, last_success_at int
-- columns: last_failure_at int, tz_version text, zone_hash text, zone_offset int, held_to int
-- columns: suppressed_to int, suppressed_by text
SELECT schedule_id, cursor_at, next_nominal_at, next_at, carried_first, carried_last, carried_count, backlog_is_late, fired,
       failure_streak, last_fired_at, last_ended_at, last_success_at, last_failure_at, tz_version, zone_hash, zone_offset, held_to,
       suppressed_to, suppressed_by
FROM schedule_cursors WHERE schedule_id = :id {{lock}};

-- name: cursors.lock_all
-- Some cursors, locked, by id.
-- columns: schedule_id text
SELECT schedule_id FROM schedule_cursors WHERE schedule_id {{any ids uuid}} ORDER BY schedule_id {{lock}};

-- name: cursors.look
-- The same for a reader.
-- columns: schedule_id text, cursor_at int, next_nominal_at int, next_at int, carried_first int, carried_last int, carried_count int
-- columns: backlog_is_late int, fired int, failure_streak int, last_fired_at int, last_ended_at int, last_success_at int
-- columns: last_failure_at int, tz_version text, zone_hash text, zone_offset int, held_to int
-- columns: suppressed_to int, suppressed_by text
SELECT schedule_id, cursor_at, next_nominal_at, next_at, carried_first, carried_last, carried_count, backlog_is_late, fired,
       failure_streak, last_fired_at, last_ended_at, last_success_at, last_failure_at, tz_version, zone_hash, zone_offset, held_to,
       suppressed_to, suppressed_by
FROM schedule_cursors WHERE schedule_id = :id;

-- name: cursors.look_all
-- Some cursors, for a reader.
-- columns: schedule_id text, cursor_at int, next_nominal_at int, next_at int, carried_first int, carried_last int, carried_count int
-- columns: backlog_is_late int, fired int, failure_streak int, last_fired_at int, last_ended_at int, last_success_at int
-- columns: last_failure_at int, tz_version text, zone_hash text, zone_offset int, held_to int
-- columns: suppressed_to int, suppressed_by text
SELECT schedule_id, cursor_at, next_nominal_at, next_at, carried_first, carried_last, carried_count, backlog_is_late, fired,
       failure_streak, last_fired_at, last_ended_at, last_success_at, last_failure_at, tz_version, zone_hash, zone_offset, held_to,
       suppressed_to, suppressed_by
FROM schedule_cursors WHERE schedule_id {{any ids uuid}};

-- name: cursors.due
-- Cursors that somebody has to look at by now, the longest due first, locked; those that another is just at are passed over.
-- columns: schedule_id text, cursor_at int, next_nominal_at int, next_at int, carried_first int, carried_last int, carried_count int
-- columns: backlog_is_late int, fired int, failure_streak int, last_fired_at int, last_ended_at int, last_success_at int
-- columns: last_failure_at int, tz_version text, zone_hash text, zone_offset int, held_to int
-- columns: suppressed_to int, suppressed_by text
SELECT schedule_id, cursor_at, next_nominal_at, next_at, carried_first, carried_last, carried_count, backlog_is_late, fired,
       failure_streak, last_fired_at, last_ended_at, last_success_at, last_failure_at, tz_version, zone_hash, zone_offset, held_to,
       suppressed_to, suppressed_by
FROM schedule_cursors
WHERE next_at <= {{now}}
ORDER BY next_at, schedule_id
LIMIT :most {{skip_locked}};

-- name: cursors.next
-- When somebody has to look at a schedule next.
-- columns: next_at int
SELECT next_at FROM schedule_cursors WHERE next_at IS NOT NULL ORDER BY next_at, schedule_id LIMIT 1;

-- name: cursors.schedules
-- The schedules of some cursors, and what they say.
-- columns: id text, namespace text, name text, revision int, enabled int, kind text, set_name text, paused_at int, paused_by text
-- columns: paused_reason text, broken text, created_at int, updated_at int, deleted_at int, spec text, lane_id int, policy_id int
-- columns: body bytes, revised_at int, calendars text
SELECT s.id, s.namespace, s.name, s.revision, s.enabled, s.kind, s.set_name, s.paused_at, s.paused_by, s.paused_reason, s.broken,
       s.created_at, s.updated_at, s.deleted_at, r.spec, r.lane_id, r.policy_id, r.body, r.at AS revised_at,
       s.calendars
FROM schedules s JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
WHERE s.id {{any ids uuid}};

-- name: cursors.revision
-- The revision that says what was due next after an instant, and until when. None: the newest.
-- columns: revision int, spec text, lane_id int, policy_id int, body bytes, until int
SELECT r.revision, r.spec, r.lane_id, r.policy_id, r.body, n.at AS until
FROM schedule_revisions r JOIN schedule_revisions n ON n.schedule_id = r.schedule_id AND n.revision = r.revision + 1
WHERE r.schedule_id = :id AND n.at > :at
ORDER BY r.revision LIMIT 1;

-- name: cursors.move
-- What was settled is behind the cursor. The caller holds its lock.
-- input batch: schedule_id uuid, cursor_at int, next_nominal_at int, next_at int, carried_first int, carried_last int
-- input batch: carried_count int, backlog_is_late int, fired int, last_fired_at int, tz_version text, zone_hash text
-- input batch: zone_offset int
UPDATE schedule_cursors AS c
SET cursor_at = i.cursor_at, next_nominal_at = i.next_nominal_at, next_at = i.next_at, carried_first = i.carried_first,
    carried_last = i.carried_last, carried_count = i.carried_count, backlog_is_late = i.backlog_is_late, fired = i.fired,
    last_fired_at = i.last_fired_at, tz_version = i.tz_version, zone_hash = i.zone_hash,
    zone_offset = i.zone_offset
FROM {{batch}} AS i
WHERE c.schedule_id = i.schedule_id;

-- name: cursors.poke
-- Have somebody look at these schedules at once.
UPDATE schedule_cursors SET next_at = {{now}} WHERE schedule_id {{any ids uuid}} AND (next_at IS NULL OR next_at > {{now}});

-- name: cursors.wake
-- Have somebody look at a schedule after a while, if not sooner.
UPDATE schedule_cursors SET next_at = {{now}} + :wait WHERE schedule_id = :id AND (next_at IS NULL OR next_at > {{now}} + :wait);

-- name: cursors.count_ends
-- Runs of planned occurrences have ended: when, how, and how many failures in a row that makes, of which somebody has to judge.
-- Answers the schedules, and whether they want alerts.
-- columns: schedule_id text, alerts int
-- input batch: schedule_id uuid, failures int, streak int, succeeded int
UPDATE schedule_cursors
SET failure_streak = CASE WHEN i.streak = 0 THEN schedule_cursors.failure_streak + i.failures ELSE i.failures END,
    last_ended_at = {{now}},
    last_success_at = CASE WHEN i.succeeded = 1 THEN {{now}} ELSE schedule_cursors.last_success_at END,
    last_failure_at = CASE WHEN i.failures > 0 THEN {{now}} ELSE schedule_cursors.last_failure_at END,
    next_at = CASE WHEN i.failures > 0 AND (schedule_cursors.next_at IS NULL OR schedule_cursors.next_at > {{now}}) THEN {{now}}
              ELSE schedule_cursors.next_at END
FROM {{batch}} AS i
WHERE schedule_cursors.schedule_id = i.schedule_id
RETURNING schedule_cursors.schedule_id,
    CASE WHEN EXISTS (SELECT 1 FROM alert_watches w WHERE w.schedule_id = schedule_cursors.schedule_id) THEN 1 ELSE 0 END AS alerts;

-- name: cursors.poke_for_ends
-- Runs of these schedules have ended: have somebody look at once where somebody waits for a slot, or the next instant counts from the
-- end. The caller holds the cursors by a statement before: whoever has just begun to wait is seen by this one, for that is committed.
UPDATE schedule_cursors SET next_at = {{now}}
WHERE schedule_id {{any ids uuid}} AND (next_at IS NULL OR next_at > {{now}})
  AND (EXISTS (SELECT 1 FROM occurrences o
               WHERE o.schedule_id = schedule_cursors.schedule_id AND (o.disposition = 'waiting' OR o.slot > 0)
                 AND (o.disposition = 'waiting' OR o.slot = 2))
       OR EXISTS (SELECT 1 FROM schedule_backlogs b WHERE b.schedule_id = schedule_cursors.schedule_id)
       OR EXISTS (SELECT 1 FROM schedules s WHERE s.id = schedule_cursors.schedule_id AND s.kind = 'after'));

-- name: cursors.forgive
-- Failures in a row are counted anew: somebody has looked.
UPDATE schedule_cursors SET failure_streak = 0 WHERE schedule_id = :id;

-- name: cursors.audited
-- A page of the schedules in force, by id, each with its cursor, which may be missing.
-- columns: id text, namespace text, name text, revision int, enabled int, kind text, set_name text, paused_at int, paused_by text
-- columns: paused_reason text, broken text, created_at int, updated_at int, deleted_at int, spec text, lane_id int, policy_id int
-- columns: body bytes, revised_at int, calendars text, schedule_id text, cursor_at int, next_nominal_at int, next_at int
-- columns: carried_first int, carried_last int, carried_count int, backlog_is_late int, fired int, failure_streak int, last_fired_at int, last_ended_at int
-- columns: last_success_at int, last_failure_at int, tz_version text, zone_hash text, zone_offset int, held_to int
-- columns: suppressed_to int, suppressed_by text
SELECT s.id, s.namespace, s.name, s.revision, s.enabled, s.kind, s.set_name, s.paused_at, s.paused_by, s.paused_reason, s.broken,
       s.created_at, s.updated_at, s.deleted_at, r.spec, r.lane_id, r.policy_id, r.body, r.at AS revised_at,
       s.calendars, c.schedule_id, c.cursor_at, c.next_nominal_at, c.next_at, c.carried_first, c.carried_last, c.carried_count,
       c.backlog_is_late, c.fired, c.failure_streak, c.last_fired_at, c.last_ended_at, c.last_success_at, c.last_failure_at,
       c.tz_version, c.zone_hash, c.zone_offset, c.held_to, c.suppressed_to, c.suppressed_by
FROM schedules s
JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
LEFT JOIN schedule_cursors c ON c.schedule_id = s.id
WHERE s.id > :after AND s.enabled = 1 AND s.paused_at IS NULL AND s.deleted_at IS NULL
ORDER BY s.id
LIMIT :most;

-- name: cursors.settled_to
-- What the ledger says of a schedule without a cursor: the last instant with a fate (or where its revision began, if that is later),
-- how many fired, and when the last did.
-- columns: settled_to int, fired int, last_fired_at int
SELECT max(e.at) AS settled_to,
       (SELECT count(*) FROM occurrences WHERE schedule_id = :id AND origin = 'planned' AND disposition = 'fired') AS fired,
       (SELECT max(decided_at) FROM occurrences
        WHERE schedule_id = :id AND origin = 'planned' AND disposition = 'fired') AS last_fired_at
FROM (SELECT max(nominal_at) AS at FROM occurrences WHERE schedule_id = :id AND origin = 'planned'
      UNION ALL SELECT max(last_at) FROM occurrence_ranges WHERE schedule_id = :id
      UNION ALL SELECT max(last_at) FROM schedule_backlogs WHERE schedule_id = :id
      UNION ALL SELECT at - 1 FROM schedule_revisions WHERE schedule_id = :id AND revision = :revision) AS e;
