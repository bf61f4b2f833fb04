-- Logins of people, and how often somebody tried in vain.

-- name: logins.open
-- Put a login on record. A repeat changes nothing.
INSERT INTO logins (id, digest, user_name, opened_at, seen_at, idle_us, expires_at)
VALUES (:id, :digest, :name, {{now}}, {{now}}, :idle, {{now}} + :absolute)
ON CONFLICT (id) DO NOTHING;

-- name: logins.shown
-- The login of this id, with the hash that whoever shows it must meet, and what its person may do now.
-- columns: id text, user_name text, opened_at int, seen_at int, idle_us int, expires_at int
-- columns: role text, namespaces text, extras text, disabled_at int, digest text, at int
SELECT l.id, l.user_name, l.opened_at, l.seen_at, l.idle_us, l.expires_at, u.role, u.namespaces, u.extras, u.disabled_at, l.digest,
       {{now}} AS at
FROM logins l JOIN users u ON u.name = l.user_name WHERE l.id = :id;

-- name: logins.seen
-- Note that a login was used, unless somebody has just done so.
UPDATE logins SET seen_at = {{now}} WHERE id = :id AND seen_at <= {{now}} - :every;

-- name: logins.list
-- The logins of a person that are not over, newest first.
-- columns: id text, user_name text, opened_at int, seen_at int, idle_us int, expires_at int
SELECT id, user_name, opened_at, seen_at, idle_us, expires_at
FROM logins WHERE user_name = :name AND expires_at > {{now}} AND seen_at + idle_us > {{now}} ORDER BY opened_at DESC, id LIMIT :most;

-- name: logins.close
-- End one login.
DELETE FROM logins WHERE id = :id;

-- name: logins.close_all
-- End every login of a person.
DELETE FROM logins WHERE user_name = :name;

-- name: logins.forget
-- Remove the logins of a person that are over, and the oldest beyond a number.
DELETE FROM logins WHERE user_name = :name AND (expires_at <= {{now}} OR seen_at + idle_us <= {{now}});
DELETE FROM logins WHERE id IN (
    SELECT l.id FROM logins l WHERE l.user_name = :name ORDER BY l.opened_at DESC, l.id LIMIT 1000 OFFSET :kept);

-- name: logins.begin_throttle
-- Make sure that tries under a name can be counted. A repeat changes nothing.
INSERT INTO login_throttles (bucket, tries, opens_at) VALUES (:bucket, 0, {{now}}) ON CONFLICT (bucket) DO NOTHING;

-- name: logins.throttle
-- Tries under a name, locked until this one is counted.
-- columns: tries int, opens_at int
SELECT tries, opens_at FROM login_throttles WHERE bucket = :bucket {{lock}};

-- name: logins.count_try
-- One more try under a name, and when there may be the next.
UPDATE login_throttles SET tries = :tries, opens_at = :opens_at WHERE bucket = :bucket;

-- name: logins.forgive
-- Forget the tries under a name: one succeeded.
DELETE FROM login_throttles WHERE bucket = :bucket;
