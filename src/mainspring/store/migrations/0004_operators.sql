-- What operators need: how a dead letter was closed, acts on many runs that survive their caller, ways to find runs, and how far
-- retention has come.

ALTER TABLE dead_letters ADD COLUMN closed_by TEXT;
ALTER TABLE dead_letters ADD COLUMN closed_how TEXT CHECK (closed_how IN ('replayed', 'dismissed'));
ALTER TABLE dead_letters ADD COLUMN close_reason TEXT;
ALTER TABLE dead_letters ADD COLUMN replayed_as {{uuid}};

CREATE INDEX dead_letters_open ON dead_letters (namespace, run_id) WHERE closed_at IS NULL;

-- What a worker is beside its tasks and queues: the newest version it knows of each task, and its capabilities.
ALTER TABLE workers ADD COLUMN skills TEXT;

-- Only runs that have a key are in these.
CREATE INDEX runs_of_key ON runs (idempotency_key, id) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_of_singleton ON runs (singleton_key, id) WHERE singleton_key IS NOT NULL;

-- An act on many runs. ``ready`` 1: every item is written; ``done`` counts those that have an outcome.
CREATE TABLE bulk_actions (
    id          {{uuid}} NOT NULL PRIMARY KEY,
    namespace   TEXT NOT NULL,
    action      TEXT NOT NULL,
    options     TEXT NOT NULL,
    actor       TEXT NOT NULL,
    total       {{int}} NOT NULL,
    done        {{int}} NOT NULL,
    ready       {{int}} NOT NULL,
    created_at  {{int}} NOT NULL,
    touched_at  {{int}} NOT NULL,
    finished_at {{int}}
) {{strict}};

CREATE INDEX bulk_actions_under_way ON bulk_actions (touched_at, id) WHERE finished_at IS NULL;

-- The runs of an act as its preview saw them (``seq``), and what became of each.
CREATE TABLE bulk_items (
    action_id   {{uuid}} NOT NULL,
    run_id      {{uuid}} NOT NULL,
    seq         {{int}} NOT NULL,
    outcome     TEXT CHECK (outcome IN ('done', 'changed', 'refused')),
    code        TEXT,
    made        {{uuid}},
    PRIMARY KEY (action_id, run_id)
) {{clustered}};

CREATE INDEX bulk_items_open ON bulk_items (action_id, run_id) WHERE outcome IS NULL;

-- Where retention goes on, for each thing that is forgotten; ``rests_until`` keeps many processes from walking at once.
CREATE TABLE retention_walks (
    what        TEXT NOT NULL PRIMARY KEY,
    place       TEXT NOT NULL,
    rests_until {{int}} NOT NULL
) {{strict}};
