-- name: request_keys.take
-- Take up a request under a key that nobody has used, or whose answer was never written and whose taker is overdue.
INSERT INTO request_keys (namespace, actor, key, request, made, taken_until, status, headers, body, expires_at)
VALUES (:namespace, :actor, :key, :request, :made, {{now}} + :patience, NULL, NULL, NULL, {{now}} + :kept)
ON CONFLICT (namespace, actor, key) DO UPDATE SET taken_until = excluded.taken_until
WHERE request_keys.status IS NULL AND request_keys.taken_until < {{now}} AND request_keys.request = excluded.request;

-- name: request_keys.get
-- What is known of a request under a key.
-- columns: request text, made text, status int, headers text, body bytes, taken_until int
SELECT request, made, status, headers, body, taken_until
FROM request_keys WHERE namespace = :namespace AND actor = :actor AND key = :key;

-- name: request_keys.answer
-- Write the answer to a request, once.
UPDATE request_keys SET status = :status, headers = :headers, body = :body
WHERE namespace = :namespace AND actor = :actor AND key = :key AND status IS NULL;

-- name: request_keys.drop
-- Forget a request that came to nothing, so that its next try is a first one.
DELETE FROM request_keys WHERE namespace = :namespace AND actor = :actor AND key = :key AND status IS NULL;

-- name: request_keys.forget
-- Forget answers whose time is over.
DELETE FROM request_keys WHERE expires_at <= {{now}};
