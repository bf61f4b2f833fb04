-- name: limits.lock
-- Limits by number, as they are now, locked in one order: while they are, nobody else begins a run under them. And the counters of
-- single keys in which this transaction may count (without more than their number). A lock on such
-- a number costs no row, nobody waits for it, and it ends with the transaction: where another claim counts, this one passes by.
-- input keys: id int
-- columns: id int, size int, per int, burst int, cost int, reserved_lane int, reserved_priority int
WITH locked AS (
    SELECT id, size, per, burst, cost, reserved_lane, reserved_priority FROM limits WHERE id {{any ids int}} ORDER BY id {{lock}}
)
SELECT id, size, per, burst, cost, reserved_lane, reserved_priority FROM locked
UNION ALL
SELECT i.id, CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}),
       CAST(NULL AS {{int}})
FROM {{keys}} AS i WHERE pg_try_advisory_xact_lock(i.id);
