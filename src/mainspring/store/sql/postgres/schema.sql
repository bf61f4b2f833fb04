-- name: schema.exists
-- Whether this database was ever migrated.
-- columns: found int
SELECT 1 AS found WHERE to_regclass('schema_migrations') IS NOT NULL;
