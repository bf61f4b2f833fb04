-- name: deliveries.any
-- Whether any queue has deliveries.
-- columns: found int
SELECT 1 AS found FROM queues WHERE delivery IS NOT NULL LIMIT 1;

-- name: deliveries.queues
-- The queues of a namespace that have deliveries: how they are dispatched, and how long a reservation lasts (µs), if they are bounded.
-- columns: name text, delivery text, dispatch_timeout int
SELECT name, delivery, dispatch_timeout FROM queues WHERE namespace = :namespace AND delivery IS NOT NULL;

-- name: deliveries.everywhere
-- The queues that have deliveries, in every namespace.
-- columns: namespace text, name text, dispatch_timeout int
SELECT namespace, name, dispatch_timeout FROM queues WHERE delivery IS NOT NULL;

-- name: deliveries.declare
-- What code says of a queue's deliveries.
UPDATE queues SET delivery = :dispatch, dispatch_timeout = :dispatch_timeout
WHERE namespace = :namespace AND name = :queue
  AND (coalesce(delivery, '') <> coalesce(:dispatch, '') OR coalesce(dispatch_timeout, 0) <> coalesce(:dispatch_timeout, 0));

-- name: deliveries.write
-- Write the deliveries of those of these runs that are queued where there are any, and no slot has to be reserved first. A row of an
-- earlier time in the queue begins anew.
INSERT INTO deliveries (run_id, namespace, queue, fence, state, available_at, tries, lost, claim_token, error, created_at)
SELECT r.id, l.namespace, l.queue, r.token, 'pending', {{now}}, 0, 0, 0, NULL, {{now}}
FROM runs r
JOIN lanes l ON l.id = r.lane_id
JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
WHERE r.id {{any ids uuid}} AND r.state = 'queued' AND q.delivery IS NOT NULL AND q.dispatch_timeout IS NULL
ON CONFLICT (run_id) DO UPDATE
SET fence = excluded.fence, state = 'pending', available_at = excluded.available_at, tries = 0, lost = 0,
    claim_token = deliveries.claim_token + 1, error = NULL, namespace = excluded.namespace, queue = excluded.queue;

-- name: deliveries.write_reserved
-- Write the deliveries of runs for which a slot was just reserved.
INSERT INTO deliveries (run_id, namespace, queue, fence, state, available_at, tries, lost, claim_token, error, created_at)
SELECT r.id, l.namespace, l.queue, r.token, 'pending', {{now}}, 0, 0, 0, NULL, {{now}}
FROM runs r JOIN lanes l ON l.id = r.lane_id
WHERE r.id {{any ids uuid}} AND r.state = 'queued'
ON CONFLICT (run_id) DO UPDATE
SET lost = CASE WHEN deliveries.fence <> excluded.fence THEN 0 WHEN deliveries.state = 'published' THEN deliveries.lost + 1
                ELSE deliveries.lost END,
    fence = excluded.fence, state = 'pending', available_at = excluded.available_at, tries = 0,
    claim_token = deliveries.claim_token + 1, error = NULL, namespace = excluded.namespace, queue = excluded.queue;

-- name: deliveries.missing
-- Queued runs without a delivery in queues that have them: whoever created or queued them had not heard of that.
-- columns: id text
SELECT r.id
FROM queues q
JOIN lanes l ON l.namespace = q.namespace AND l.queue = q.name
JOIN runs r ON r.lane_id = l.id
WHERE q.namespace = :namespace AND q.name {{any queues text}} AND q.delivery IS NOT NULL AND q.dispatch_timeout IS NULL
  AND r.state = 'queued'
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.run_id = r.id AND d.fence = r.token)
LIMIT :most;

-- name: deliveries.unreserved
-- Queued runs of bounded queues with deliveries for which no slot is reserved, in the order of their lanes' heads.
-- columns: id text, token int, lane_id int
SELECT r.id, r.token, r.lane_id
FROM queues q
JOIN lanes l ON l.namespace = q.namespace AND l.queue = q.name
JOIN runs r ON r.lane_id = l.id
WHERE q.namespace = :namespace AND q.name {{any queues text}} AND q.dispatch_timeout IS NOT NULL AND q.paused_at IS NULL
  AND r.state = 'queued'
  AND NOT EXISTS (SELECT 1 FROM reservations s WHERE s.run_id = r.id AND s.token = r.token + 1)
  AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.run_id = r.id AND d.fence = r.token AND d.state = 'dead')
ORDER BY l.priority DESC, r.due_at, r.id
LIMIT :most;

-- name: deliveries.reserve
-- Reserve slots under the fence that the next claim of each run will have.
-- input batch: limit_id int, run_id uuid, token int, cost int, lasts int
INSERT INTO reservations (limit_id, run_id, token, cost, expires_at)
SELECT i.limit_id, i.run_id, i.token, i.cost, {{now}} + i.lasts FROM {{batch}} AS i
WHERE true
ON CONFLICT (run_id, token, limit_id) DO NOTHING;

-- name: deliveries.unreserve
-- Let go of the reservations of one run that nobody has claimed yet. The caller claims it next, or leaves it queued.
DELETE FROM reservations WHERE run_id = :id AND token = :token + 1;

-- name: deliveries.expired
-- Give back reservations whose time is over, or whose run is no longer where it was.
DELETE FROM reservations
WHERE expires_at <= {{now}}
   OR NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = reservations.run_id AND r.token = reservations.token - 1 AND r.state = 'queued');

-- name: deliveries.due
-- Deliveries about which something is to be done now, locked. Those of paused queues wait.
-- columns: run_id text, queue text, fence int, state text, tries int, lost int
SELECT run_id, queue, fence, state, tries, lost
FROM deliveries
WHERE namespace = :namespace AND queue {{any queues text}} AND state <> 'dead' AND available_at <= {{now}}
  AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.namespace = deliveries.namespace AND q.name = deliveries.queue AND q.paused_at IS NOT NULL)
ORDER BY available_at, run_id
LIMIT :most {{skip_locked}};

-- name: deliveries.these
-- Deliveries of these runs that were never published, locked.
-- columns: run_id text, queue text, fence int, state text, tries int, lost int
SELECT run_id, queue, fence, state, tries, lost
FROM deliveries
WHERE run_id {{any ids uuid}} AND state = 'pending' AND available_at <= {{now}}
  AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.namespace = deliveries.namespace AND q.name = deliveries.queue AND q.paused_at IS NOT NULL)
ORDER BY run_id {{skip_locked}};

-- name: deliveries.still
-- Which of these runs still wait in their queue, under which fence, and whether they have a reservation or need none.
-- columns: id text, token int, is_free int
SELECT r.id, r.token,
       CASE WHEN q.dispatch_timeout IS NULL OR EXISTS (SELECT 1 FROM reservations s WHERE s.run_id = r.id AND s.token = r.token + 1)
            THEN 1 ELSE 0 END AS is_free
FROM runs r
JOIN lanes l ON l.id = r.lane_id
JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
WHERE r.id {{any ids uuid}} AND r.state = 'queued';

-- name: deliveries.claim
-- Take deliveries for publishing: whoever comes after half a minute may take them again.
-- input batch: run_id uuid, lost int
-- columns: run_id text, claim_token int
UPDATE deliveries
SET state = 'claimed', claim_token = claim_token + 1, available_at = {{now}} + :lasts,
    lost = (SELECT i.lost FROM {{batch}} AS i WHERE i.run_id = deliveries.run_id)
WHERE run_id IN (SELECT i.run_id FROM {{batch}} AS i)
RETURNING run_id, claim_token;

-- name: deliveries.settle
-- Write what became of deliveries that were taken, where they are still taken by the same hand.
-- input batch: run_id uuid, claim_token int, state text, delay int, tries int, error text
UPDATE deliveries AS d
SET state = i.state, available_at = {{now}} + i.delay, tries = i.tries, error = i.error
FROM {{batch}} AS i
WHERE d.run_id = i.run_id AND d.claim_token = i.claim_token AND d.state = 'claimed';

-- name: deliveries.put_off
-- Tell of a run again after a while. If the message about it was heard (1) it was not lost, though the run could not be claimed.
UPDATE deliveries
SET state = 'pending', available_at = {{now}} + :delay, lost = CASE WHEN :heard = 1 THEN 0 ELSE lost END, claim_token = claim_token + 1
WHERE run_id = :id AND fence = :fence AND state <> 'dead';

-- name: deliveries.drop
-- Remove deliveries whose run is no longer where it was when they were written.
-- input batch: run_id uuid, fence int
DELETE FROM deliveries
WHERE EXISTS (SELECT 1 FROM {{batch}} AS i WHERE i.run_id = deliveries.run_id AND i.fence = deliveries.fence);

-- name: deliveries.dead_and_gone
-- Remove dead deliveries whose run somebody has claimed or ended after all.
DELETE FROM deliveries
WHERE state = 'dead'
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = deliveries.run_id AND r.token = deliveries.fence AND r.state = 'queued');

-- name: deliveries.hopeless
-- Deliveries that were lost once too often.
-- columns: run_id text, fence int
SELECT run_id, fence FROM deliveries
WHERE namespace = :namespace AND queue {{any queues text}} AND state IN ('pending', 'published') AND lost >= :most_lost
  AND available_at <= {{now}}
ORDER BY run_id LIMIT :most;

-- name: deliveries.run
-- What has to be known of a run before it is claimed because of a message.
-- columns: state text, token int, lane_id int, namespace text, queue text, delivery text, paused_at int
SELECT r.state, r.token, r.lane_id, l.namespace, l.queue, q.delivery, q.paused_at
FROM runs r
JOIN lanes l ON l.id = r.lane_id
JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
WHERE r.id = :id;

-- name: deliveries.list
-- The deliveries of a namespace, those first about which something is to be done first.
-- columns: run_id text, queue text, state text, available_at int, tries int, lost int, error text
SELECT run_id, queue, state, available_at, tries, lost, error
FROM deliveries WHERE namespace = :namespace
ORDER BY available_at, run_id LIMIT :most;
