-- name: attempts.gates
-- Nothing to lock: there is one writer.
-- columns: id int
SELECT id FROM limits WHERE false;
