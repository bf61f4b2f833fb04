-- name: backlogs.of
-- The backlogs of some schedules, the oldest first.
-- columns: schedule_id text, first_at int, last_at int, number int, revision int, ready_at int
SELECT schedule_id, first_at, last_at, number, revision, ready_at
FROM schedule_backlogs WHERE schedule_id {{any ids uuid}} ORDER BY schedule_id, first_at;

-- name: backlogs.clear
-- They are written anew.
DELETE FROM schedule_backlogs WHERE schedule_id {{any ids uuid}};

-- name: backlogs.keep
-- What is left of the backlogs of schedules.
-- input batch: schedule_id uuid, first_at int, last_at int, number int, revision int, ready_at int
INSERT INTO schedule_backlogs (schedule_id, first_at, last_at, number, revision, ready_at)
SELECT i.schedule_id, i.first_at, i.last_at, i.number, i.revision, i.ready_at
FROM {{batch}} AS i;

-- name: backlogs.revision
-- What a revision of a schedule says.
-- columns: spec text, lane_id int, policy_id int, body bytes
SELECT spec, lane_id, policy_id, body FROM schedule_revisions WHERE schedule_id = :id AND revision = :revision;

-- name: backlogs.pace
-- Until when the catch-up starts of all schedules are given out, locked.
-- columns: paced_until int
SELECT paced_until FROM catch_up_pace WHERE id = 1 {{lock}};

-- name: backlogs.move_pace
-- More of it is used up.
UPDATE catch_up_pace SET paced_until = :until WHERE id = 1;
