-- name: limits.try_keys
-- Which counters of single keys this transaction may count in: those in which nobody else counts just now. A lock on the number
-- costs no row and nobody waits for it; it ends with the transaction.
-- input keys: id int
-- columns: id int
SELECT i.id FROM {{keys}} AS i WHERE pg_try_advisory_xact_lock(i.id);
