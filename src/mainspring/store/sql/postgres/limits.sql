-- name: limits.lock
-- Limits by number, as they are now, locked in one order: while they are, nobody else begins a run under them. And (as
-- `is_shut`) the counters of single keys in which another claim counts just then: a lock on such a number costs no row, nobody waits
-- for it, and it ends with the transaction.
-- input keys: id int
-- columns: id int, is_shut int, size int, per int, burst int, cost int, reserved_lane int, reserved_priority int
WITH locked AS (
    SELECT id, size, per, burst, cost, reserved_lane, reserved_priority FROM limits WHERE id {{any ids int}} ORDER BY id {{lock}}
)
SELECT id, 0 AS is_shut, size, per, burst, cost, reserved_lane, reserved_priority FROM locked
UNION ALL
SELECT i.id, 1, CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}), CAST(NULL AS {{int}}),
       CAST(NULL AS {{int}})
FROM {{keys}} AS i WHERE NOT pg_try_advisory_xact_lock(i.id);
