-- name: blackouts.over
-- The blackouts in the namespaces of some schedules.
-- columns: namespace text, name text, spec text
SELECT b.namespace, b.name, b.spec FROM blackouts b
WHERE EXISTS (SELECT 1 FROM schedules s WHERE s.id {{any ids uuid}} AND s.namespace = b.namespace)
ORDER BY b.namespace, b.name;

-- name: blackouts.get
-- A blackout by its name.
-- columns: name text, spec text, created_at int, updated_at int, updated_by text
SELECT name, spec, created_at, updated_at, updated_by FROM blackouts WHERE namespace = :namespace AND name = :name;

-- name: blackouts.all
-- The blackouts of a namespace, by name.
-- columns: name text, spec text, created_at int, updated_at int, updated_by text
SELECT name, spec, created_at, updated_at, updated_by FROM blackouts WHERE namespace = :namespace ORDER BY name {{bytewise}};

-- name: blackouts.put
-- What a blackout says from now on.
INSERT INTO blackouts (namespace, name, spec, created_at, updated_at, updated_by)
VALUES (:namespace, :name, :spec, {{now}}, {{now}}, :actor)
ON CONFLICT (namespace, name) DO UPDATE
SET spec = excluded.spec, updated_at = excluded.updated_at, updated_by = excluded.updated_by;

-- name: blackouts.delete
-- It is over.
DELETE FROM blackouts WHERE namespace = :namespace AND name = :name;

-- name: blackouts.schedules
-- A page of the schedules of a namespace that may be due, with what they say: which of them does a blackout concern?
-- columns: id text, name text, spec text
SELECT s.id, s.name, r.spec
FROM schedules s JOIN schedule_revisions r ON r.schedule_id = s.id AND r.revision = s.revision
WHERE s.namespace = :namespace AND s.deleted_at IS NULL AND s.name {{bytewise}} > :after
ORDER BY s.name {{bytewise}}
LIMIT :most;
