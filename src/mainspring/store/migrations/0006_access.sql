-- Who may do what: API tokens, people and their logins; and the audit log, chained by hashes. Secrets are kept as hashes only.

CREATE TABLE api_tokens (
    id           TEXT {{bytewise}} NOT NULL PRIMARY KEY,
    digest       TEXT NOT NULL,
    name         TEXT NOT NULL,
    role         TEXT NOT NULL,
    namespaces   TEXT NOT NULL,
    extras       TEXT NOT NULL,
    created_at   {{int}} NOT NULL,
    created_by   TEXT NOT NULL,
    expires_at   {{int}},
    last_used_at {{int}},
    revoked_at   {{int}},
    revoked_by   TEXT
) {{clustered}};

CREATE INDEX api_tokens_newest ON api_tokens (created_at, id);

CREATE TABLE users (
    name         TEXT {{bytewise}} NOT NULL PRIMARY KEY,
    password     TEXT NOT NULL,
    role         TEXT NOT NULL,
    namespaces   TEXT NOT NULL,
    extras       TEXT NOT NULL,
    created_at   {{int}} NOT NULL,
    created_by   TEXT NOT NULL,
    changed_at   {{int}} NOT NULL,
    disabled_at  {{int}},
    disabled_by  TEXT
) {{clustered}};

CREATE TABLE logins (
    id           TEXT {{bytewise}} NOT NULL PRIMARY KEY,
    digest       TEXT NOT NULL,
    user_name    TEXT {{bytewise}} NOT NULL,
    opened_at    {{int}} NOT NULL,
    seen_at      {{int}} NOT NULL,
    idle_us      {{int}} NOT NULL,
    expires_at   {{int}} NOT NULL
) {{clustered}};

CREATE INDEX logins_of_user ON logins (user_name, opened_at);

-- Tries to log in since the last that succeeded, by a hash of the name: never more rows than there are hashes.
CREATE TABLE login_throttles (
    bucket       {{int}} NOT NULL PRIMARY KEY,
    tries        {{int}} NOT NULL,
    opens_at     {{int}} NOT NULL
) {{strict}};

-- What somebody did that is no run's ledger. Entries are added at the end and pruned from the beginning, and never changed.
CREATE TABLE audit_entries (
    seq          {{int}} NOT NULL PRIMARY KEY,
    at           {{int}} NOT NULL,
    actor        TEXT NOT NULL,
    namespace    TEXT {{bytewise}} NOT NULL,
    action       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    data         TEXT NOT NULL,
    previous     TEXT NOT NULL,
    hash         TEXT NOT NULL
) {{strict}};

CREATE INDEX audit_entries_of_namespace ON audit_entries (namespace, seq);
CREATE INDEX audit_entries_of_subject ON audit_entries (subject, seq);

-- One row: the last entry, and the last one that was pruned. Its lock is what puts entries in order.
CREATE TABLE audit_chain (
    id           {{int}} NOT NULL PRIMARY KEY,
    seq          {{int}} NOT NULL,
    hash         TEXT NOT NULL,
    pruned_seq   {{int}} NOT NULL,
    pruned_hash  TEXT NOT NULL
) {{strict}};
