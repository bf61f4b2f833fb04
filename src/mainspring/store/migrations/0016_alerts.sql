-- Alerts of schedules: their episodes, when somebody has to look, and who is told.

-- One episode: what was wrong from `opened_at` until `recovered_at`. `run_id`: the run that tells of it, if it is one's.
CREATE TABLE alerts (
    id              {{uuid}} NOT NULL PRIMARY KEY,
    namespace       TEXT NOT NULL,
    schedule_id     {{uuid}} NOT NULL,
    kind            TEXT NOT NULL,
    opened_at       {{int}} NOT NULL,
    recovered_at    {{int}},
    why             TEXT NOT NULL,
    run_id          {{uuid}}
) {{strict}};

CREATE UNIQUE INDEX alerts_open ON alerts (schedule_id, kind) WHERE recovered_at IS NULL;
CREATE INDEX alerts_by_age ON alerts (namespace, id);

-- A schedule that wants alerts, since `since`. `next_at`: the next instant at which one may open or recover of itself.
-- `within`: how long after its instant a run is to have succeeded.
CREATE TABLE alert_watches (
    schedule_id     {{uuid}} NOT NULL PRIMARY KEY,
    since           {{int}} NOT NULL,
    within          {{int}},
    next_at         {{int}}
) {{clustered}};

CREATE INDEX alert_watches_due ON alert_watches (next_at, schedule_id) WHERE next_at IS NOT NULL;

-- Who is told of alerts: each is a request that ordinary runs send. `kinds`: those it is told of, as a JSON list.
CREATE TABLE webhooks (
    namespace       TEXT NOT NULL,
    name            TEXT NOT NULL,
    kinds           TEXT NOT NULL,
    lane_id         {{int}} NOT NULL,
    policy_id       {{int}} NOT NULL,
    body            {{bytes}} NOT NULL,
    updated_at      {{int}} NOT NULL,
    PRIMARY KEY (namespace, name)
) {{clustered}};
