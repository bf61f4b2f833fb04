-- What hangs on a run beside its ledger: whom it waits for, and what it can be searched by.

-- A run that waits for others. The upstream is a run, or a batch. ``open`` 0: that one has decided the condition, or waiting for it
-- is over.
CREATE TABLE dependencies (
    run_id      {{uuid}} NOT NULL,
    upstream_id {{uuid}} NOT NULL,
    condition   TEXT NOT NULL CHECK (condition IN ('succeeded', 'done', 'failed')),
    open        {{int}} NOT NULL,
    PRIMARY KEY (run_id, upstream_id)
) {{clustered}};

CREATE INDEX dependencies_of_upstream ON dependencies (upstream_id, run_id);
CREATE INDEX dependencies_open ON dependencies (upstream_id, run_id) WHERE open = 1;

-- Runs and batches that decided for more dependants than one transaction lets go: the next ones go on from here.
CREATE TABLE unfinished_releases (
    upstream_id {{uuid}} NOT NULL PRIMARY KEY
) {{clustered}};

CREATE TABLE run_attributes (
    run_id      {{uuid}} NOT NULL,
    namespace   TEXT NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT {{bytewise}} NOT NULL,    -- so spelt that its order is that of the values (core/attributes.py)
    PRIMARY KEY (run_id, name)
) {{clustered}};

CREATE INDEX run_attributes_of_value ON run_attributes (namespace, name, value, run_id);

-- Values that lie in a blob store: the first byte of what stands for them is 2 (codec/keeping.py). The sweep of blobs that nobody
-- needs any more asks here.
CREATE INDEX events_of_blobs ON events (body) WHERE substr(body, 1, 1) = {{blob_mark}};
