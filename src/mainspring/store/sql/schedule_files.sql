-- name: schedule_files.said
-- What a schedule says now, with what its runs are made of, and whether a set of files owns it, since which revision.
-- columns: set_name text, set_revision int, revision int, spec text, body bytes, queue text, task text, priority int, policy text
SELECT s.set_name, s.set_revision, s.revision, r.spec, r.body, l.queue, l.task, l.priority, p.body AS policy
FROM schedules s
JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
JOIN lanes l ON l.id = r.lane_id
JOIN policies p ON p.id = r.policy_id
WHERE s.id = :id;

-- name: schedule_files.applied
-- What it said when its set wrote it last.
-- columns: set_name text, set_revision int, revision int, spec text, body bytes, queue text, task text, priority int, policy text
SELECT s.set_name, s.set_revision, r.revision, r.spec, r.body, l.queue, l.task, l.priority, p.body AS policy
FROM schedules s
JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.set_revision
JOIN lanes l ON l.id = r.lane_id
JOIN policies p ON p.id = r.policy_id
WHERE s.id = :id;

-- name: schedule_files.owned
-- The names of the schedules that a set owns.
-- columns: name text
SELECT name FROM schedules
WHERE namespace = :namespace AND set_name = :set_name AND deleted_at IS NULL
ORDER BY name {{bytewise}};

-- name: schedule_files.own
-- A set owns a schedule, as it is in this revision.
UPDATE schedules SET set_name = :set_name, set_revision = :revision WHERE id = :id;

-- name: schedule_files.rename
-- Another name; everything else stays.
UPDATE schedules SET name = :name, updated_at = {{now}} WHERE id = :id;
