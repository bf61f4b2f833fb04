-- What hangs on a run beside its ledger: whom it waits for, and what it can be searched by.

-- A run that waits for others. The upstream is a run, or a batch. ``open`` 0: that one has ended as the condition wants it.
CREATE TABLE dependencies (
    run_id      {{uuid}} NOT NULL,
    upstream_id {{uuid}} NOT NULL,
    condition   TEXT NOT NULL,
    open        {{int}} NOT NULL,
    PRIMARY KEY (run_id, upstream_id)
) {{clustered}};

CREATE INDEX dependencies_of_upstream ON dependencies (upstream_id, run_id) WHERE open = 1;

CREATE TABLE run_attributes (
    run_id      {{uuid}} NOT NULL,
    namespace   TEXT NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
) {{clustered}};

CREATE INDEX run_attributes_of_value ON run_attributes (namespace, name, value, run_id);
