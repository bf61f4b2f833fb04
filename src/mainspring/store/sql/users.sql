-- People: names, hashes of passwords, what they may do.

-- name: users.create
-- Put a person on record, unless the name is taken.
INSERT INTO users (name, password, role, namespaces, extras, created_at, created_by, changed_at, disabled_at, disabled_by)
VALUES (:name, :password, :role, :namespaces, :extras, {{now}}, :actor, {{now}}, NULL, NULL)
ON CONFLICT (name) DO NOTHING;

-- name: users.get
-- One person.
-- columns: name text, role text, namespaces text, extras text, created_at int, created_by text, changed_at int
-- columns: disabled_at int, disabled_by text
SELECT name, role, namespaces, extras, created_at, created_by, changed_at, disabled_at, disabled_by
FROM users WHERE name = :name;

-- name: users.list
-- A page of people after a name, in the order of their names.
-- columns: name text, role text, namespaces text, extras text, created_at int, created_by text, changed_at int
-- columns: disabled_at int, disabled_by text
SELECT name, role, namespaces, extras, created_at, created_by, changed_at, disabled_at, disabled_by
FROM users WHERE name > :after ORDER BY name LIMIT :most;

-- name: users.password
-- The hash of a person's password.
-- columns: password text
SELECT password FROM users WHERE name = :name;

-- name: users.to_log_in
-- The hash of a person's password and whether they may come in, locked until they have.
-- columns: password text, disabled_at int
SELECT password, disabled_at FROM users WHERE name = :name {{lock}};

-- name: users.set_password
-- Give a person another password.
UPDATE users SET password = :password, changed_at = {{now}} WHERE name = :name AND password <> :password;

-- name: users.rehash
-- The same password under another hash.
UPDATE users SET password = :password WHERE name = :name AND password = :old;

-- name: users.grant
-- Let a person do something else from now on.
UPDATE users SET role = :role, namespaces = :namespaces, extras = :extras
WHERE name = :name AND NOT (role = :role AND namespaces = :namespaces AND extras = :extras);

-- name: users.disable
-- Keep a person out.
UPDATE users SET disabled_at = {{now}}, disabled_by = :actor WHERE name = :name AND disabled_at IS NULL;

-- name: users.enable
-- Let a person in again.
UPDATE users SET disabled_at = NULL, disabled_by = NULL WHERE name = :name AND disabled_at IS NOT NULL;
