-- Backfills: past instants of a schedule that are run again, and what became of each.

-- One backfill. `next_at`: when somebody has to go on with it; NULL: it is over. `done` counts the instants that have an outcome.
CREATE TABLE backfills (
    id              {{uuid}} NOT NULL PRIMARY KEY,
    namespace       TEXT NOT NULL,
    schedule_id     {{uuid}} NOT NULL,
    first_at        {{int}} NOT NULL,
    last_at         {{int}} NOT NULL,
    options         TEXT NOT NULL,
    body            {{bytes}},
    actor           TEXT NOT NULL,
    total           {{int}} NOT NULL,
    done            {{int}} NOT NULL,
    created_at      {{int}} NOT NULL,
    next_at         {{int}},
    finished_at     {{int}},
    cancelled_by    TEXT
) {{strict}};

CREATE INDEX backfills_due ON backfills (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX backfills_of_schedule ON backfills (schedule_id, id);

-- Every instant of a backfill in the order in which they are run: `started` with its run, or `left_out` with why.
CREATE TABLE backfill_items (
    backfill_id     {{uuid}} NOT NULL,
    place           {{int}} NOT NULL,
    nominal_at      {{int}} NOT NULL,
    outcome         TEXT CHECK (outcome IN ('started', 'left_out')),
    code            TEXT,
    run_id          {{uuid}},
    PRIMARY KEY (backfill_id, place)
) {{clustered}};

CREATE INDEX backfill_items_open ON backfill_items (backfill_id, place) WHERE outcome IS NULL;

-- Which runs stand for late instants: a backfill asks for those that do for any of its own.
CREATE INDEX occurrences_covering ON occurrences (schedule_id, covers_last) WHERE covers_last IS NOT NULL;
