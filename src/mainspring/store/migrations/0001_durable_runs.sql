-- The durable run: its lane and policy (interned), its row, its ledger, what lives beside it, and who holds it.
-- Layout chosen by measurement: docs/decisions/0001-table-layout.md.

CREATE TABLE queues (
    namespace   TEXT NOT NULL,
    name        TEXT NOT NULL,
    paused_at   {{int}},
    paused_by   TEXT,
    created_at  {{int}} NOT NULL,
    PRIMARY KEY (namespace, name)
) {{clustered}};

CREATE TABLE limits (
    id          {{int}} NOT NULL PRIMARY KEY,
    namespace   TEXT NOT NULL,
    queue       TEXT NOT NULL,
    size        {{int}} CHECK (size >= 0),
    used        {{int}} NOT NULL CHECK (used >= 0),
    source      TEXT NOT NULL CHECK (source IN ('code', 'operator')),
    UNIQUE (namespace, queue)
) {{strict}};

CREATE TABLE slots (
    limit_id    {{int}} NOT NULL,
    run_id      {{uuid}} NOT NULL,
    token       {{int}} NOT NULL,
    PRIMARY KEY (run_id, token, limit_id)
) {{clustered}};

CREATE INDEX slots_of_limit ON slots (limit_id);

CREATE TABLE lanes (
    id              {{int}} NOT NULL PRIMARY KEY,
    namespace       TEXT NOT NULL,
    queue           TEXT NOT NULL,
    priority        {{int}} NOT NULL,
    concurrency_key TEXT,
    kind            TEXT NOT NULL CHECK (kind IN ('task', 'workflow', 'dag')),
    task            TEXT NOT NULL,
    version         {{int}} NOT NULL
) {{strict}};

CREATE INDEX lanes_of_queue ON lanes (namespace, queue, priority);

CREATE TABLE policies (
    id          {{int}} NOT NULL PRIMARY KEY,
    body        TEXT NOT NULL
) {{strict}};

CREATE TABLE runs (
    id                  {{uuid}} NOT NULL PRIMARY KEY,
    lane_id             {{int}} NOT NULL,
    policy_id           {{int}} NOT NULL,
    state               TEXT NOT NULL CHECK (state IN (
        'scheduled', 'blocked', 'queued', 'retrying', 'released', 'running', 'cancelling', 'needs_attention',
        'succeeded', 'failed', 'cancelled', 'upstream_failed')),
    reason              TEXT,
    due_at              {{int}} NOT NULL,
    token               {{int}} NOT NULL,
    seq                 {{int}} NOT NULL,
    failures            {{int}} NOT NULL,
    interruptions       {{int}} NOT NULL,
    releases            {{int}} NOT NULL,
    payload_seq         {{int}} NOT NULL,
    worker_id           TEXT,
    idempotency_key     TEXT,
    singleton_key       TEXT,
    batch_id            {{uuid}},
    rerun_of            {{uuid}},
    cancel_requested_at {{int}},
    created_at          {{int}} NOT NULL,
    ended_at            {{int}}
) {{strict}};

CREATE INDEX runs_queued ON runs (lane_id, due_at, id) WHERE state = 'queued';
CREATE INDEX runs_waiting_for_time ON runs (due_at, id) WHERE state IN ('scheduled', 'retrying', 'released');
CREATE INDEX runs_held ON runs (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX runs_unhappy ON runs (state, id) WHERE state IN ('failed', 'cancelled', 'upstream_failed', 'needs_attention', 'blocked');
CREATE INDEX runs_of_batch ON runs (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX runs_again ON runs (rerun_of) WHERE rerun_of IS NOT NULL;

CREATE TABLE events (
    run_id      {{uuid}} NOT NULL,
    seq         {{int}} NOT NULL,
    type        TEXT NOT NULL,
    state       TEXT NOT NULL,
    at          {{int}} NOT NULL,
    actor       TEXT NOT NULL,
    data        TEXT,
    body        {{bytes}},
    PRIMARY KEY (run_id, seq)
) {{strict}};

CREATE TABLE checkpoints (
    run_id      {{uuid}} NOT NULL PRIMARY KEY,
    token       {{int}} NOT NULL,
    started_at  {{int}},
    beat_at     {{int}},
    details     {{bytes}},
    progress    TEXT
) {{strict}};

CREATE TABLE idempotency_keys (
    namespace    TEXT NOT NULL,
    task         TEXT NOT NULL,
    key          TEXT NOT NULL,
    run_id       {{uuid}} NOT NULL,
    payload_hash TEXT NOT NULL,
    expires_at   {{int}} NOT NULL,
    final_state  TEXT,
    ended_at     {{int}},
    PRIMARY KEY (namespace, task, key)
) {{clustered}};

CREATE INDEX idempotency_keys_over ON idempotency_keys (expires_at);

CREATE TABLE singletons (
    namespace   TEXT NOT NULL,
    task        TEXT NOT NULL,
    key         TEXT NOT NULL,
    run_id      {{uuid}} NOT NULL,
    PRIMARY KEY (namespace, task, key)
) {{clustered}};

CREATE TABLE batches (
    id          {{uuid}} NOT NULL PRIMARY KEY,
    namespace   TEXT NOT NULL,
    total       {{int}} NOT NULL,
    open        {{int}} NOT NULL CHECK (open >= 0),
    failed      {{int}} NOT NULL,
    fires_on    TEXT NOT NULL CHECK (fires_on IN ('done', 'all_succeeded')),
    callback_id {{uuid}},
    created_at  {{int}} NOT NULL
) {{strict}};

CREATE TABLE dead_letters (
    run_id      {{uuid}} NOT NULL PRIMARY KEY,
    namespace   TEXT NOT NULL,
    task        TEXT NOT NULL,
    code        TEXT NOT NULL,
    opened_at   {{int}} NOT NULL,
    closed_at   {{int}}
) {{strict}};

CREATE TABLE workers (
    id          TEXT NOT NULL PRIMARY KEY,
    namespace   TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('live', 'gone')),
    tasks       TEXT NOT NULL,
    queues      TEXT NOT NULL,
    concurrency {{int}} NOT NULL,
    started_at  {{int}} NOT NULL,
    ttl         {{int}} NOT NULL,
    expires_at  {{int}} NOT NULL
) {{strict}};

CREATE TABLE fleet (
    id              {{int}} NOT NULL PRIMARY KEY CHECK (id = 1),
    last_tick_at    {{int}} NOT NULL,
    reap_hold_until {{int}} NOT NULL
) {{strict}};
