-- name: replanning.decided
-- Whether anything of a schedule has its fate, or waits for it, between two instants (the second included).
-- columns: found int
SELECT 1 AS found WHERE EXISTS (
    SELECT 1 FROM occurrences WHERE schedule_id = :id AND origin = 'planned' AND nominal_at > :after AND nominal_at <= :upto
) OR EXISTS (
    SELECT 1 FROM occurrence_ranges WHERE schedule_id = :id AND last_at > :after AND first_at <= :upto
) OR EXISTS (
    SELECT 1 FROM schedule_backlogs WHERE schedule_id = :id AND last_at > :after AND first_at <= :upto
);
