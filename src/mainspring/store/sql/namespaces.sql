-- name: namespaces.list
-- The namespaces that have a queue or ever had a run, with what there is in each; queued runs are counted up to a number.
-- columns: name text, queues int, workers int, queued int, held int, dead_letters int
SELECT n.name,
       (SELECT count(*) FROM queues q WHERE q.namespace = n.name) AS queues,
       (SELECT count(*) FROM workers w WHERE w.namespace = n.name AND w.state = 'live') AS workers,
       (SELECT count(*) FROM (SELECT 1 FROM lanes l JOIN runs r ON r.lane_id = l.id
                              WHERE l.namespace = n.name AND r.state = 'queued' LIMIT :most) AS counted) AS queued,
       (SELECT count(*) FROM lanes l JOIN runs r ON r.lane_id = l.id
        WHERE l.namespace = n.name AND r.worker_id IS NOT NULL) AS held,
       (SELECT count(*) FROM dead_letters d WHERE d.namespace = n.name AND d.closed_at IS NULL) AS dead_letters
FROM (SELECT namespace AS name FROM queues UNION SELECT namespace FROM lanes) AS n;
