-- What the HTTP server needs: the first answer to each request that came with an Idempotency-Key, and a way to the newest entries of
-- all ledgers.

-- ``status`` NULL: the request is being answered, by whoever has it until ``taken_until``. ``made`` is the id of what it makes, so
-- that whoever takes it over makes the same.
CREATE TABLE request_keys (
    namespace   TEXT NOT NULL,
    actor       TEXT NOT NULL,
    key         TEXT NOT NULL,
    request     TEXT NOT NULL,          -- a hash of method, path and body
    made        {{uuid}} NOT NULL,
    taken_until {{int}} NOT NULL,
    status      {{int}},
    headers     TEXT,
    body        {{bytes}},
    expires_at  {{int}} NOT NULL,
    PRIMARY KEY (namespace, actor, key)
) {{clustered}};

CREATE INDEX request_keys_over ON request_keys (expires_at);

-- An index that costs a write next to nothing. SQLite has no such thing, and looks at the newest runs instead (sql/sqlite/feed.sql).
{{only_postgres}} CREATE INDEX events_newest ON events USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
