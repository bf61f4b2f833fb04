-- A run that waits for a retry gives the slot of its schedule back, and wants one again when it is due.

DROP INDEX occurrences_standing;
CREATE INDEX occurrences_standing ON occurrences (schedule_id, nominal_at) WHERE disposition = 'waiting' OR slot > 0;

-- When it was told that a run that was asked to stop for a newer one does not.
ALTER TABLE occurrences ADD COLUMN stalled_at {{int}};
