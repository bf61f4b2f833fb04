-- Schedules: what is due when, and what became of every instant that was.

-- A schedule. `revision` names the newest of its immutable revisions; who paused it and why is operation, and no revision.
CREATE TABLE schedules (
    id              {{uuid}} NOT NULL PRIMARY KEY,
    namespace       TEXT NOT NULL,
    name            TEXT NOT NULL,
    revision        {{int}} NOT NULL,
    enabled         {{int}} NOT NULL,
    kind            TEXT NOT NULL,
    set_name        TEXT,
    paused_at       {{int}},
    paused_by       TEXT,
    paused_reason   TEXT,
    broken          TEXT,
    kept_from       {{int}},
    created_at      {{int}} NOT NULL,
    updated_at      {{int}} NOT NULL,
    deleted_at      {{int}},
    deleted_by      TEXT
) {{strict}};

CREATE UNIQUE INDEX schedules_by_name ON schedules (namespace, name) WHERE deleted_at IS NULL;
CREATE INDEX schedules_of_set ON schedules (namespace, set_name) WHERE set_name IS NOT NULL;

-- What a schedule said, from one edit to the next. An occurrence and its run keep the one under which they were decided; `body` is the
-- payload, lane and policy are what its runs are made with.
CREATE TABLE schedule_revisions (
    schedule_id     {{uuid}} NOT NULL,
    revision        {{int}} NOT NULL,
    spec            TEXT NOT NULL,
    lane_id         {{int}} NOT NULL,
    policy_id       {{int}} NOT NULL,
    body            {{bytes}},
    actor           TEXT NOT NULL,
    at              {{int}} NOT NULL,
    PRIMARY KEY (schedule_id, revision)
) {{clustered}};

-- How far a schedule has been settled, and when somebody has to look at it next; NULL: when something about it changes. Instants up
-- to `cursor_at` have their fate. `carried_*`: late ones that go into a run which is not decided yet.
CREATE TABLE schedule_cursors (
    schedule_id     {{uuid}} NOT NULL PRIMARY KEY,
    cursor_at       {{int}} NOT NULL,
    next_nominal_at {{int}},
    next_at         {{int}},
    carried_first   {{int}},
    carried_last    {{int}},
    carried_count   {{int}} NOT NULL DEFAULT 0,
    backlog_is_late {{int}} NOT NULL DEFAULT 0,
    tz_version      TEXT,
    zone_hash       TEXT,
    fired           {{int}} NOT NULL DEFAULT 0,
    failure_streak  {{int}} NOT NULL DEFAULT 0,
    last_fired_at   {{int}},
    last_ended_at   {{int}},
    last_success_at {{int}},
    last_failure_at {{int}}
) {{strict}};

CREATE INDEX schedule_cursors_due ON schedule_cursors (next_at, schedule_id) WHERE next_at IS NOT NULL;

-- One due instant, and its one disposition. `slot` 1: its run holds a slot of its schedule. `ready_at`: a waiting one may start then.
CREATE TABLE occurrences (
    key             TEXT NOT NULL PRIMARY KEY,
    schedule_id     {{uuid}} NOT NULL,
    namespace       TEXT NOT NULL,
    nominal_at      {{int}} NOT NULL,
    due_at          {{int}} NOT NULL,
    origin          TEXT NOT NULL CHECK (origin IN ('planned', 'manual', 'backfill', 'audit')),
    revision        {{int}} NOT NULL,
    tz_version      TEXT,
    disposition     TEXT NOT NULL,
    reason_code     TEXT,
    reason          TEXT,
    actor           TEXT NOT NULL,
    decided_at      {{int}} NOT NULL,
    is_late         {{int}} NOT NULL DEFAULT 0,
    ready_at        {{int}} NOT NULL DEFAULT 0,
    slot            {{int}} NOT NULL DEFAULT 0,
    run_id          {{uuid}} NOT NULL,
    into_key        TEXT,
    covers_first    {{int}},
    covers_last     {{int}},
    covers_count    {{int}},
    made_good_by    {{uuid}}
) {{strict}};

CREATE INDEX occurrences_of_schedule ON occurrences (schedule_id, nominal_at);
CREATE INDEX occurrences_standing ON occurrences (schedule_id, nominal_at) WHERE disposition = 'waiting' OR slot = 1;
CREATE INDEX occurrences_of_run ON occurrences (run_id);
CREATE INDEX occurrences_by_time ON occurrences (namespace, decided_at);

-- Many instants with one fate, of which nothing ran: what one settlement did not keep one by one.
CREATE TABLE occurrence_ranges (
    schedule_id     {{uuid}} NOT NULL,
    first_at        {{int}} NOT NULL,
    last_at         {{int}} NOT NULL,
    count           {{int}} NOT NULL,
    disposition     TEXT NOT NULL,
    reason_code     TEXT,
    revision        {{int}} NOT NULL,
    tz_version      TEXT,
    PRIMARY KEY (schedule_id, first_at)
) {{clustered}};

-- Who did what to a schedule, and why.
CREATE TABLE schedule_events (
    schedule_id     {{uuid}} NOT NULL,
    seq             {{int}} NOT NULL,
    type            TEXT NOT NULL,
    at              {{int}} NOT NULL,
    actor           TEXT NOT NULL,
    data            TEXT,
    PRIMARY KEY (schedule_id, seq)
) {{clustered}};
