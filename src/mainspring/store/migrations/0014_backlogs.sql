-- Catching up at a pace, cursors that know the zone data they were moved under, and what a restored database holds back.

-- Seconds that the clock of the rule's one zone was ahead of UTC at `cursor_at`, as the data said; NULL: no zone, or several.
ALTER TABLE schedule_cursors ADD COLUMN zone_offset {{int}};

-- `number` instants of one revision, from `first_at` to `last_at`, both included, that have no row yet. `ready_at`: none starts before.
CREATE TABLE schedule_backlogs (
    schedule_id     {{uuid}} NOT NULL,
    first_at        {{int}} NOT NULL,
    last_at         {{int}} NOT NULL,
    number          {{int}} NOT NULL,
    revision        {{int}} NOT NULL,
    ready_at        {{int}} NOT NULL,
    PRIMARY KEY (schedule_id, first_at)
) {{clustered}};

-- Until when the catch-up starts of all schedules are given out. One row.
CREATE TABLE catch_up_pace (
    id              {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
    paced_until     {{int}} NOT NULL
) {{strict}};

INSERT INTO catch_up_pace (id, paced_until) VALUES (1, 0);

-- After a restore: instants up to `held_to` wait for a person; those up to `suppressed_to` do not run, as `suppressed_by` decided.
ALTER TABLE schedule_cursors ADD COLUMN held_to {{int}};
ALTER TABLE schedule_cursors ADD COLUMN suppressed_to {{int}};
ALTER TABLE schedule_cursors ADD COLUMN suppressed_by TEXT;

CREATE INDEX schedule_cursors_held ON schedule_cursors (schedule_id) WHERE held_to IS NOT NULL;

-- How far planning has come: a count that a restored backup takes back, and what tells one life of the database from another. One row.
CREATE TABLE planner_mark (
    id              {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
    incarnation     TEXT,
    steps           {{int}} NOT NULL,
    at              {{int}} NOT NULL
) {{strict}};

INSERT INTO planner_mark (id, incarnation, steps, at) VALUES (1, NULL, 0, 0);
