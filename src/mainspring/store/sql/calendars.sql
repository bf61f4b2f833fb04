-- name: calendars.get
-- A calendar by its name.
-- columns: name text, version int, spec text, expanded text, created_at int, updated_at int, updated_by text
SELECT name, version, spec, expanded, created_at, updated_at, updated_by FROM calendars WHERE namespace = :namespace AND name = :name;

-- name: calendars.lock
-- Some calendars of a namespace, by name, locked: whoever copies one, or puts one, holds it before any cursor.
-- columns: name text, version int, spec text, expanded text
SELECT name, version, spec, expanded FROM calendars WHERE namespace = :namespace AND name {{any names text}} ORDER BY name {{lock}};

-- name: calendars.page
-- A page of a namespace's calendars, by name.
-- columns: name text, version int, spec text, expanded text, created_at int, updated_at int, updated_by text
SELECT name, version, spec, expanded, created_at, updated_at, updated_by
FROM calendars WHERE namespace = :namespace AND name {{bytewise}} > :after
ORDER BY name {{bytewise}}
LIMIT :most;

-- name: calendars.put
-- What a calendar says from now on; nothing where somebody else was first.
INSERT INTO calendars (namespace, name, version, spec, expanded, expand_at, created_at, updated_at, updated_by)
VALUES (:namespace, :name, :version, :spec, :expanded, :expand_at, {{now}}, {{now}}, :actor)
ON CONFLICT (namespace, name) DO UPDATE
SET version = excluded.version, spec = excluded.spec, expanded = excluded.expanded, expand_at = excluded.expand_at,
    updated_at = excluded.updated_at, updated_by = excluded.updated_by
WHERE calendars.version = excluded.version - 1;

-- name: calendars.delete
-- Its name is free.
DELETE FROM calendars WHERE namespace = :namespace AND name = :name;

-- name: calendars.to_expand
-- Calendars to which time has added, the first due first.
-- columns: namespace text, name text
SELECT namespace, name FROM calendars WHERE expand_at <= {{now}} ORDER BY expand_at LIMIT :most;

-- name: calendars.users
-- The schedules whose rules name a calendar, by id.
-- columns: schedule_id text, name text
SELECT u.schedule_id, s.name
FROM schedule_calendars u JOIN schedules s ON s.id = u.schedule_id
WHERE u.calendar = :name AND s.namespace = :namespace AND s.deleted_at IS NULL AND u.schedule_id > :after
ORDER BY u.schedule_id
LIMIT :most;

-- name: calendars.forget
-- The calendars that a schedule named are no longer those of its revision in force.
DELETE FROM schedule_calendars WHERE schedule_id = :id;

-- name: calendars.note
-- The calendars that a schedule names from now on.
-- input batch: calendar text
INSERT INTO schedule_calendars (schedule_id, calendar) SELECT :id, i.calendar FROM {{batch}} AS i;

-- name: calendars.copy
-- What the calendars of some schedules come to.
-- input batch: schedule_id uuid, calendars text
UPDATE schedules AS s SET calendars = i.calendars FROM {{batch}} AS i WHERE s.id = i.schedule_id;
