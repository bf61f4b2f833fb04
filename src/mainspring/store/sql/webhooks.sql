-- name: webhooks.put
-- Who is told of alerts, as said last.
INSERT INTO webhooks (namespace, name, kinds, lane_id, policy_id, body, updated_at)
VALUES (:namespace, :name, :kinds, :lane_id, :policy_id, :body, {{now}})
ON CONFLICT (namespace, name) DO UPDATE
SET kinds = excluded.kinds, lane_id = excluded.lane_id, policy_id = excluded.policy_id, body = excluded.body,
    updated_at = excluded.updated_at;

-- name: webhooks.delete
-- Tell it nothing more.
DELETE FROM webhooks WHERE namespace = :namespace AND name = :name;

-- name: webhooks.list
-- The webhooks of a namespace, by name.
-- columns: name text, kinds text, body bytes, updated_at int
SELECT name, kinds, body, updated_at FROM webhooks WHERE namespace = :namespace ORDER BY name {{bytewise}} LIMIT :most;

-- name: webhooks.of
-- Who is to be told in these namespaces.
-- columns: namespace text, name text, kinds text, lane_id int, policy_id int, body bytes
SELECT namespace, name, kinds, lane_id, policy_id, body FROM webhooks WHERE namespace {{any names text}} ORDER BY namespace, name;
