-- Keys and room in queues: the window in which a debounced call is not the first, what people changed by hand, and what waits, by lane.

-- A burst of calls of one singleton whose first call ran at once. Others belong to it until ``ends_at``.
CREATE TABLE debounces (
    namespace   TEXT NOT NULL,
    task        TEXT NOT NULL,
    key         TEXT NOT NULL,
    run_id      {{uuid}} NOT NULL,
    first_at    {{int}} NOT NULL,
    ends_at     {{int}} NOT NULL,
    PRIMARY KEY (namespace, task, key)
) {{clustered}};

CREATE INDEX debounces_over ON debounces (ends_at);

CREATE INDEX singletons_next ON singletons (next_id) WHERE next_id IS NOT NULL;

-- What somebody changed that is no run's ledger: who, what, why.
CREATE TABLE changes (
    namespace   TEXT NOT NULL,
    subject     TEXT NOT NULL,
    action      TEXT NOT NULL,
    at          {{int}} NOT NULL,
    actor       TEXT NOT NULL,
    reason      TEXT,
    data        TEXT
) {{strict}};

CREATE INDEX changes_of_subject ON changes (namespace, subject, at);

-- A bounded queue counts what waits in it. Only runs that were delayed, retried, released or held back are in this.
CREATE INDEX runs_waiting_in_lane ON runs (lane_id) WHERE state IN ('scheduled', 'blocked', 'retrying', 'released');

-- A batch inside another one: its first callback is a member there, and stands for it.
ALTER TABLE batches ADD COLUMN outer_id {{uuid}};
CREATE INDEX batches_inside ON batches (outer_id) WHERE outer_id IS NOT NULL;
