-- name: payloads.lanes
-- A page of the lanes of a namespace, in the order of their numbers.
-- columns: id int, namespace text, queue text, priority int, concurrency_key text, kind text, task text, version int
-- columns: fingerprint text, requires text, uses text
SELECT id, namespace, queue, priority, concurrency_key, kind, task, version, fingerprint, requires, uses
FROM lanes
WHERE namespace = :namespace AND id > :after
ORDER BY id
LIMIT :most;

-- name: payloads.queued
-- A page of the queued runs of a lane with their payloads, in the order of their due times.
-- columns: id text, lane_id int, due_at int, body bytes
SELECT r.id, r.lane_id, r.due_at, e.body
FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.payload_seq
WHERE r.lane_id = :lane_id AND r.state = 'queued' AND (r.due_at > :due_at OR (r.due_at = :due_at AND r.id > :after))
ORDER BY r.due_at, r.id
LIMIT :most;

-- name: payloads.waiting_for_time
-- A page of the runs that wait for an instant with their payloads, in the order of those.
-- columns: id text, lane_id int, due_at int, body bytes
SELECT r.id, r.lane_id, r.due_at, e.body
FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.payload_seq
WHERE r.state IN ('scheduled', 'retrying', 'released') AND (r.due_at > :due_at OR (r.due_at = :due_at AND r.id > :after))
ORDER BY r.due_at, r.id
LIMIT :most;

-- name: payloads.blocked
-- A page of the runs that wait for others with their payloads, in the order of their ids.
-- columns: id text, lane_id int, due_at int, body bytes
SELECT r.id, r.lane_id, r.due_at, e.body
FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = r.payload_seq
WHERE r.state = 'blocked' AND r.id > :after
ORDER BY r.id
LIMIT :most;

-- name: blobs.of_runs
-- What the ledgers of some runs hold that points to a blob.
-- columns: body bytes
SELECT body FROM events WHERE run_id {{any ids uuid}} AND substr(body, 1, 1) = {{blob_mark}};

-- name: blobs.in_ledgers
-- Which of these pointers to blobs stand in any ledger.
-- input pointers: body bytes
-- columns: body bytes
SELECT i.body
FROM {{pointers}} AS i
WHERE EXISTS (SELECT 1 FROM events e WHERE e.body = i.body AND substr(e.body, 1, 1) = {{blob_mark}});

-- name: blobs.in_keys
-- Which pointers to blobs wait under a key for the run that follows its owner.
-- columns: body bytes
SELECT next_body AS body FROM singletons WHERE next_id IS NOT NULL AND substr(next_body, 1, 1) = {{blob_mark}};
