-- name: clock.now
-- The database's clock, UTC microseconds.
-- columns: at int
SELECT {{now}} AS at;

-- name: schema.version
-- The newest migration this database has.
-- columns: version int
SELECT coalesce(max(version), 0) AS version FROM schema_migrations;

-- name: schema.exists
-- Whether this database was ever migrated.
-- columns: found int
SELECT 1 AS found FROM information_schema.tables WHERE table_name = 'schema_migrations';
