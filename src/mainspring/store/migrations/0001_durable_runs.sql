-- The durable run: its lane and policy (interned), its row, its ledger, what lives beside it, and who holds it.
-- Layout chosen by measurement: docs/decisions/0001-table-layout.md.

CREATE TABLE queues (
    namespace        TEXT NOT NULL,
    name             TEXT NOT NULL,
    paused_at        {{int}},
    paused_by        TEXT,
    max_waiting      {{int}} CHECK (max_waiting >= 0),
    overflow         TEXT NOT NULL DEFAULT 'refuse' CHECK (overflow IN ('refuse', 'skip', 'drop_oldest')),
    dispatch_timeout {{int}},
    delivery         TEXT,
    source           TEXT NOT NULL DEFAULT 'code' CHECK (source IN ('code', 'operator')),
    created_at       {{int}} NOT NULL,
    PRIMARY KEY (namespace, name)
) {{clustered}};

-- A limit of nothing (size NULL) was lifted by an operator; the row stays, so that the next deploy does not bring it back.
CREATE TABLE limits (
    id                {{int}} NOT NULL PRIMARY KEY,
    namespace         TEXT NOT NULL,
    scope             TEXT NOT NULL CHECK (scope IN ('total', 'namespace', 'queue', 'each_key', 'key', 'task', 'pool')),
    name              TEXT NOT NULL,
    key               TEXT NOT NULL,
    measure           TEXT NOT NULL CHECK (measure IN ('at_once', 'rate')),
    size              {{int}} CHECK (size >= 0),
    per               {{int}},
    burst             {{int}} NOT NULL DEFAULT 1,
    cost              {{int}} NOT NULL DEFAULT 1,
    strict            {{int}} NOT NULL DEFAULT 0,
    source            TEXT NOT NULL CHECK (source IN ('code', 'operator')),
    changed_at        {{int}} NOT NULL,
    reserved_lane     {{int}},
    reserved_priority {{int}},
    UNIQUE (namespace, scope, name, key, measure)
) {{strict}};

-- What is kept of a limit for a run that was handed to a transport, under the fence that its claim will have. What is held is not
-- here: it is counted from the runs that have a worker.
CREATE TABLE reservations (
    limit_id    {{int}} NOT NULL,
    run_id      {{uuid}} NOT NULL,
    token       {{int}} NOT NULL,
    cost        {{int}} NOT NULL,
    expires_at  {{int}} NOT NULL,
    PRIMARY KEY (run_id, token, limit_id)
) {{clustered}};

CREATE INDEX reservations_of_limit ON reservations (limit_id, cost);

-- The instant that keeps a rate (core/limits.py), for each limit or each key of one.
CREATE TABLE rates (
    id          {{int}} NOT NULL PRIMARY KEY,
    next_at     {{int}} NOT NULL
) {{strict}};

-- What a strict rate let in, for as long as its window reaches back.
CREATE TABLE admissions (
    rate_id     {{int}} NOT NULL,
    at          {{int}} NOT NULL,
    run_id      {{uuid}} NOT NULL,
    token       {{int}} NOT NULL,
    PRIMARY KEY (rate_id, at, run_id, token)
) {{clustered}};

CREATE TABLE lanes (
    id              {{int}} NOT NULL PRIMARY KEY,
    namespace       TEXT NOT NULL,
    queue           TEXT NOT NULL,
    priority        {{int}} NOT NULL,
    concurrency_key TEXT,
    kind            TEXT NOT NULL CHECK (kind IN ('task', 'workflow', 'dag')),
    task            TEXT NOT NULL,
    version         {{int}} NOT NULL,
    fingerprint     TEXT NOT NULL,
    requires        TEXT NOT NULL,
    uses            TEXT NOT NULL
) {{strict}};

CREATE INDEX lanes_of_queue ON lanes (namespace, queue, priority);
CREATE INDEX lanes_of_task ON lanes (namespace, task);

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
        'succeeded', 'failed', 'cancelled', 'skipped', 'upstream_failed')),
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
    expires_at          {{int}},
    deadline_at         {{int}},
    cancel_requested_at {{int}},
    created_at          {{int}} NOT NULL,
    ended_at            {{int}},
    followed            {{int}} NOT NULL DEFAULT 0     -- 1: another run waits for its end (beside the ledger, see dependencies)
) {{strict}};

CREATE INDEX runs_queued ON runs (lane_id, due_at, id) WHERE state = 'queued';
CREATE INDEX runs_waiting_for_time ON runs (due_at, id) WHERE state IN ('scheduled', 'retrying', 'released');
CREATE INDEX runs_held ON runs (worker_id, lane_id) WHERE worker_id IS NOT NULL;
CREATE INDEX runs_unhappy ON runs (state, id) WHERE state IN ('failed', 'cancelled', 'skipped', 'upstream_failed', 'needs_attention', 'blocked');
CREATE INDEX runs_expiring ON runs (expires_at, id)
    WHERE expires_at IS NOT NULL AND token = 0 AND state IN ('scheduled', 'blocked', 'queued');
CREATE INDEX runs_deadline ON runs (deadline_at, id)
    WHERE deadline_at IS NOT NULL AND state IN ('scheduled', 'blocked', 'queued', 'retrying', 'released', 'running');
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
) {{clustered}};

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
    first_at    {{int}},           -- when the calls that are gathered into one run began
    next_id     {{uuid}},          -- the run that follows when the owner has ended, and what it will be
    next_lane   {{int}},
    next_policy {{int}},
    next_due_at {{int}},
    next_actor  TEXT,
    next_data   TEXT,
    next_body   {{bytes}},
    PRIMARY KEY (namespace, task, key)
) {{clustered}};

-- Members are counted, callbacks wait for the batch as for an upstream (dependencies). Until it is sealed members may join.
CREATE TABLE batches (
    id            {{uuid}} NOT NULL PRIMARY KEY,
    namespace     TEXT NOT NULL,
    total         {{int}} NOT NULL,
    open          {{int}} NOT NULL CHECK (open >= 0),
    failed        {{int}} NOT NULL,          -- failed for good, their budgets spent
    stopped       {{int}} NOT NULL,          -- cancelled or skipped
    created_at    {{int}} NOT NULL,
    touched_at    {{int}} NOT NULL,          -- when a member joined last
    sealed_at     {{int}},
    parked_at     {{int}},                   -- nobody sealed it for a day: its callbacks need attention
    cancelled_at  {{int}},
    cancelling    {{uuid}}                   -- how far a cancel of its members is; NULL: none is under way
) {{strict}};

CREATE INDEX batches_unsealed ON batches (touched_at, id) WHERE sealed_at IS NULL AND parked_at IS NULL;
CREATE INDEX batches_cancelling ON batches (id) WHERE cancelling IS NOT NULL;

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
