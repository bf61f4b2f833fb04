-- Blackouts: windows of time in which schedules do not fire.

-- `spec` is all of one as JSON: its window or its rule, what it does, and which schedules it is over.
CREATE TABLE blackouts (
    namespace       TEXT NOT NULL,
    name            TEXT NOT NULL,
    spec            TEXT NOT NULL,
    created_at      {{int}} NOT NULL,
    updated_at      {{int}} NOT NULL,
    updated_by      TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) {{clustered}};
