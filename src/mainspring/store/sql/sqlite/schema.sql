-- name: schema.exists
-- Whether this database was ever migrated.
-- columns: found int
SELECT 1 AS found FROM sqlite_master WHERE name = 'schema_migrations';
