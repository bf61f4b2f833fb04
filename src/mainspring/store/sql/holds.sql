-- name: holds.mark
-- How far planning has come.
-- columns: incarnation text, steps int, at int, park_before int
SELECT incarnation, steps, at, park_before FROM planner_mark WHERE id = 1;

-- name: holds.step
-- A planner took a step.
UPDATE planner_mark SET steps = steps + 1, at = {{now}}, incarnation = coalesce(incarnation, CAST(:incarnation AS TEXT)) WHERE id = 1;

-- name: holds.begin
-- Another life of the database begins, and what was unfinished is to be parked.
UPDATE planner_mark SET steps = steps + 1, at = {{now}}, incarnation = :incarnation, park_before = {{now}} WHERE id = 1;

-- name: holds.hold
-- Hold every schedule that is enabled and was due since.
UPDATE schedule_cursors SET held_to = {{now}}, next_at = NULL
WHERE held_to IS NULL AND next_nominal_at <= {{now}}
  AND schedule_id IN (SELECT id FROM schedules WHERE enabled = 1 AND deleted_at IS NULL);

-- name: holds.log
-- On record for each that is held as of now.
INSERT INTO schedule_events (schedule_id, seq, type, at, actor, data)
SELECT c.schedule_id, coalesce((SELECT max(e.seq) FROM schedule_events e WHERE e.schedule_id = c.schedule_id), 0) + 1,
       'held', {{now}}, :actor, :data
FROM schedule_cursors c WHERE c.held_to = {{now}};

-- name: holds.count
-- How many are held as of now.
-- columns: number int
SELECT count(*) AS number FROM schedule_cursors WHERE held_to = {{now}};

-- name: holds.page
-- A page of a namespace's held schedules, by name.
-- columns: schedule_id text, name text, cursor_at int, held_to int
SELECT s.id AS schedule_id, s.name, c.cursor_at, c.held_to
FROM schedule_cursors c JOIN schedules s ON s.id = c.schedule_id
WHERE c.held_to IS NOT NULL AND s.namespace = :namespace AND s.deleted_at IS NULL AND s.name {{bytewise}} > :after
ORDER BY s.name {{bytewise}}
LIMIT :most;

-- name: holds.lift
-- A person has decided: what was held is late, or does not run.
UPDATE schedule_cursors
SET suppressed_to = CASE WHEN :suppress = 1 THEN held_to ELSE suppressed_to END,
    suppressed_by = CASE WHEN :suppress = 1 THEN :actor ELSE suppressed_by END,
    backlog_is_late = 1, held_to = NULL
WHERE schedule_id = :id AND held_to IS NOT NULL;
