-- The audit log. No statement changes an entry; `audit.prune` removes the oldest.

-- name: audit.begin
-- Make sure that there is a chain to add to. A repeat changes nothing.
INSERT INTO audit_chain (id, seq, hash, pruned_seq, pruned_hash) VALUES (1, 0, :hash, 0, :hash) ON CONFLICT (id) DO NOTHING;

-- name: audit.chain
-- Where the chain ends, and what it was pruned up to.
-- columns: seq int, hash text, pruned_seq int, pruned_hash text
SELECT seq, hash, pruned_seq, pruned_hash FROM audit_chain WHERE id = 1;

-- name: audit.end
-- The same, locked until whoever asks has added to it.
-- columns: seq int, hash text, pruned_seq int, pruned_hash text
SELECT seq, hash, pruned_seq, pruned_hash FROM audit_chain WHERE id = 1 {{lock}};

-- name: audit.append
-- Add an entry after the last one.
INSERT INTO audit_entries (seq, at, actor, namespace, action, subject, data, previous, hash)
VALUES (:seq, :at, :actor, :namespace, :action, :subject, :data, :previous, :hash);
UPDATE audit_chain SET seq = :seq, hash = :hash WHERE id = 1 AND hash = :previous;

-- name: audit.page
-- The next entries after a place, in order.
-- columns: seq int, at int, actor text, namespace text, action text, subject text, data text, previous text, hash text
SELECT seq, at, actor, namespace, action, subject, data, previous, hash
FROM audit_entries WHERE seq > :after ORDER BY seq LIMIT :most;

-- name: audit.list
-- A page of entries, newest first. An empty text stands for any.
-- columns: seq int, at int, actor text, namespace text, action text, subject text, data text, previous text, hash text
SELECT seq, at, actor, namespace, action, subject, data, previous, hash
FROM audit_entries
WHERE seq < :before AND (:namespace = '' OR namespace = :namespace) AND (:subject = '' OR subject = :subject)
  AND (:actor = '' OR actor = :actor) AND (:action = '' OR action = :action)
ORDER BY seq DESC LIMIT :most;

-- name: audit.prune
-- Remove the entries up to one, and keep its place, from which the rest still can be followed.
DELETE FROM audit_entries WHERE seq <= :seq;
UPDATE audit_chain SET pruned_seq = :seq, pruned_hash = :hash WHERE id = 1 AND pruned_seq < :seq;
