-- API tokens: what they open, and a hash of what their holders have.

-- name: api_tokens.create
-- Put a new token on record. A repeat changes nothing.
INSERT INTO api_tokens (id, digest, name, role, namespaces, extras, created_at, created_by, expires_at,
                        last_used_at, revoked_at, revoked_by)
VALUES (:id, :digest, :name, :role, :namespaces, :extras, {{now}}, :actor, :expires_at, NULL, NULL, NULL)
ON CONFLICT (id) DO NOTHING;

-- name: api_tokens.shown
-- The token of this id, with the hash that whoever shows it must meet.
-- columns: id text, name text, role text, namespaces text, extras text, created_at int, created_by text, expires_at int
-- columns: last_used_at int, revoked_at int, revoked_by text, digest text, at int
SELECT id, name, role, namespaces, extras, created_at, created_by, expires_at, last_used_at, revoked_at, revoked_by, digest,
       {{now}} AS at
FROM api_tokens WHERE id = :id;

-- name: api_tokens.get
-- One token.
-- columns: id text, name text, role text, namespaces text, extras text, created_at int, created_by text, expires_at int
-- columns: last_used_at int, revoked_at int, revoked_by text
SELECT id, name, role, namespaces, extras, created_at, created_by, expires_at, last_used_at, revoked_at, revoked_by
FROM api_tokens WHERE id = :id;

-- name: api_tokens.list
-- A page of tokens from a place on, newest first. An empty text stands for any namespaces.
-- columns: id text, name text, role text, namespaces text, extras text, created_at int, created_by text, expires_at int
-- columns: last_used_at int, revoked_at int, revoked_by text
SELECT id, name, role, namespaces, extras, created_at, created_by, expires_at, last_used_at, revoked_at, revoked_by
FROM api_tokens
WHERE (:namespaces = '' OR namespaces = :namespaces) AND (:revoked = 1 OR revoked_at IS NULL)
  AND (:before_id = '' OR created_at < :before_at OR (created_at = :before_at AND id < :before_id))
ORDER BY created_at DESC, id DESC LIMIT :most;

-- name: api_tokens.used
-- Note that a token was used, unless somebody has just done so.
UPDATE api_tokens SET last_used_at = {{now}} WHERE id = :id AND (last_used_at IS NULL OR last_used_at <= {{now}} - :every);

-- name: api_tokens.revoke
-- Let a token open nothing any more.
UPDATE api_tokens SET revoked_at = {{now}}, revoked_by = :actor WHERE id = :id AND revoked_at IS NULL;
