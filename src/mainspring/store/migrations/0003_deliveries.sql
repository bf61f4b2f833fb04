-- What has to be said to whoever works without asking: one row for each run that waits in a queue with deliveries.

-- One delivery for a run at a time, so the run is its key. ``fence`` is the run's token when it was queued: a claim makes it stale.
CREATE TABLE deliveries (
    run_id       {{uuid}} NOT NULL PRIMARY KEY,
    namespace    TEXT NOT NULL,
    queue        TEXT NOT NULL,
    fence        {{int}} NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('pending', 'claimed', 'published', 'failed', 'dead')),
    available_at {{int}} NOT NULL,      -- when something is to be done about it: published, taken from a relay that died, told again
    tries        {{int}} NOT NULL,      -- refusals in a row
    lost         {{int}} NOT NULL,      -- how often it was published and nobody claimed the run
    claim_token  {{int}} NOT NULL,
    error        TEXT,
    created_at   {{int}} NOT NULL
) {{strict}};

CREATE INDEX deliveries_available ON deliveries (available_at, run_id) WHERE state <> 'dead';
