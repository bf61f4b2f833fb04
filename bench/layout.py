"""Which tables?  The measurements behind docs/decisions/0001-table-layout.md, in bare SQL, both databases.

Every layout does the same life of a run (created, claimed, succeeded; payload in, result out; one event per move;
every write fenced by id, token and state) in batches of 100.  Nothing here uses the library, and no other
benchmark lives here.

    python -m bench.layout [--runs N] [--rounds N] [--only postgres|sqlite|history|dead] [--layouts a,b]
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import psycopg
from psycopg.rows import tuple_row

from mainspring.testing.postgres import PostgresServer

BATCH = 100
PAYLOAD = json.dumps({"to": "somebody@example.org", "subject": "hello", "n": 12345}).encode()
RESULT = json.dumps({"ok": True, "bytes": 5120}).encode()


def now() -> int:
    return time.time_ns() // 1000


def ids(count: int) -> list[uuid.UUID]:
    """UUIDv7, made as the library makes them: time first, so that new rows land at the right edge of an index."""
    started = time.time_ns() // 1_000_000
    return [uuid.UUID(int=(started + n // 10 << 80) | (7 << 76) | (2 << 62) | (n << 40) | n) for n in range(count)]


def chunks(items: list[Any], size: int = BATCH) -> Iterator[list[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))


# --- PostgreSQL ---------------------------------------------------------------------------------------------------

RUNS = """
CREATE TABLE runs (
    id uuid PRIMARY KEY, lane_id bigint NOT NULL, policy_id bigint NOT NULL, state text NOT NULL, reason text,
    due_at bigint NOT NULL, token bigint NOT NULL DEFAULT 0, seq bigint NOT NULL DEFAULT 1,
    failures int NOT NULL DEFAULT 0, interruptions int NOT NULL DEFAULT 0, releases int NOT NULL DEFAULT 0,
    payload_seq int NOT NULL DEFAULT 1, worker_id text, key text, batch_id uuid, cancel_requested_at bigint,
    created_at bigint NOT NULL, ended_at bigint {columns}) WITH (fillfactor = {fillfactor});
CREATE INDEX runs_queued ON runs (lane_id, due_at, id) WHERE state = 'queued';
CREATE INDEX runs_waiting ON runs (due_at) WHERE state IN ('scheduled', 'retrying', 'released');
"""
# Not "WHERE state IN ('running', 'cancelling')": with statistics taken while nothing ran, the planner would then finish
# a batch by joining it with that whole index, a hundred times a hundred rows, instead of by the primary key.
ACTIVE = "CREATE INDEX runs_active ON runs (worker_id) WHERE worker_id IS NOT NULL;"
EVENTS = """
CREATE TABLE events (run_id uuid NOT NULL, seq bigint NOT NULL, type text NOT NULL, at bigint NOT NULL, actor text,
    data text, body bytea {columns}, PRIMARY KEY (run_id, seq));
"""
LEASES = """
CREATE TABLE leases (run_id uuid PRIMARY KEY, token bigint NOT NULL, worker_id text NOT NULL,
    expires_at bigint NOT NULL);
CREATE INDEX leases_expire ON leases (expires_at); CREATE INDEX leases_worker ON leases (worker_id);
"""
PAYLOADS = """
CREATE TABLE payloads (run_id uuid PRIMARY KEY, bytes bytea NOT NULL);
CREATE TABLE results (run_id uuid PRIMARY KEY, bytes bytea NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way to lay out the tables, as changes to the plain one: each field is a piece of DDL or of a statement."""

    title: str
    tables: str
    created: str = (
        "INSERT INTO events (run_id, seq, type, at, actor, body) SELECT id, 1, 'created', $3, 'user:bench', body FROM made"
    )
    run_extra: str = ""
    run_extra_value: str = ""
    made_also: str = ""
    claim_where: str = ""
    claim_set: str = ""
    claimed: str = "INSERT INTO events (run_id, seq, type, at, actor) SELECT id, seq, 'claimed', $2, $4 FROM claimed"
    claim_also: str = ""
    claim_body: str = "(SELECT body FROM events e WHERE e.run_id = c.id AND e.seq = c.payload_seq) FROM claimed c"
    claim_returns: str = ""
    finish_set: str = ""
    finish_also: str = ""
    finished: str = (
        "INSERT INTO events (run_id, seq, type, at, actor, body)"
        " SELECT id, seq, 'succeeded', $4, $5, body FROM ended RETURNING run_id"
    )

    @property
    def enqueue(self) -> str:
        return f"""WITH made AS (SELECT * FROM unnest($1::uuid[], $2::bytea[]) AS m (id, body)), run AS (
            INSERT INTO runs (id, lane_id, policy_id, state, due_at, created_at {self.run_extra})
            SELECT id, 1, 1, 'queued', $3, $3 {self.run_extra_value} FROM made) {self.made_also} {self.created}"""

    @property
    def claim(self) -> str:
        return f"""WITH picked AS MATERIALIZED (
            SELECT id FROM runs WHERE state = 'queued' AND lane_id = $1 AND due_at <= $2 {self.claim_where}
            ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE runs r SET state = 'running', worker_id = $4, token = r.token + 1, seq = r.seq + 1 {self.claim_set}
            WHERE r.id = ANY (ARRAY(SELECT id FROM picked))
            RETURNING r.id, r.token, r.seq, r.payload_seq, r.failures, r.policy_id, r.due_at {self.claim_returns}
        ) {", logged AS (" + self.claimed + ")" if self.claimed else ""} {self.claim_also}
        SELECT c.id, c.token, c.failures, c.policy_id, c.due_at, {self.claim_body}"""

    @property
    def finish(self) -> str:
        return f"""WITH given AS (
            SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS g (id, token, body)
        ), ended AS (
            UPDATE runs r SET state = 'succeeded', worker_id = NULL, seq = r.seq + 1, ended_at = $4 {self.finish_set}
            FROM given g WHERE r.id = g.id AND r.token = g.token AND r.state IN ('running', 'cancelling')
            RETURNING r.id, r.seq, g.body
        ) {self.finish_also} {self.finished}"""

    @property
    def step(self) -> str:
        """The finish of one batch and the claim of the next as one statement: one round trip, one commit."""
        finish, claim = self.finish.rsplit(self.finished, 1)[0], renumbered(self.claim, by=5)
        return f"{finish}, finished AS ({self.finished}), {claim.removeprefix('WITH ')}"


def renumbered(statement: str, *, by: int) -> str:
    """The statement with its parameters moved up, to be joined behind another that has `by` of them."""
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + by}", statement)


def runs_table(columns: str = "", fillfactor: int = 100) -> str:
    return RUNS.format(columns=columns, fillfactor=fillfactor)


def events_table(columns: str = "") -> str:
    return EVENTS.format(columns=columns)


PLAIN = Layout(title="(a) runs + events, bodies in events", tables=runs_table() + ACTIVE + events_table())
LEASED = replace(
    PLAIN,
    title="(b) a lease row per run, no active index",
    tables=runs_table() + events_table() + LEASES,
    claim_also=", leased AS (INSERT INTO leases SELECT id, token, $4, $2 + 30000000 FROM claimed)",
    finish_also=", freed AS (DELETE FROM leases l USING ended e WHERE l.run_id = e.id)",
)
OWN_TABLE = replace(
    PLAIN,
    title="(c) payloads and results in tables of their own",
    tables=PLAIN.tables + PAYLOADS,
    created="INSERT INTO events (run_id, seq, type, at, actor) SELECT id, 1, 'created', $3, 'user:bench' FROM made",
    made_also=", kept AS (INSERT INTO payloads SELECT id, body FROM made)",
    claim_body="(SELECT bytes FROM payloads p WHERE p.run_id = c.id) FROM claimed c",
    finish_also=", kept AS (INSERT INTO results SELECT id, body FROM ended)",
    finished="INSERT INTO events (run_id, seq, type, at, actor) SELECT id, seq, 'succeeded', $4, $5 FROM ended RETURNING run_id",
)
INLINE = replace(
    PLAIN,
    title="(d) payload and result inline in runs",
    tables=runs_table(", payload bytea, result bytea") + ACTIVE + events_table(),
    created="INSERT INTO events (run_id, seq, type, at, actor) SELECT id, 1, 'created', $3, 'user:bench' FROM made",
    run_extra=", payload",
    run_extra_value=", body",
    claim_returns=", r.payload",
    claim_body="c.payload FROM claimed c",
    finish_set=", result = g.body",
    finished="INSERT INTO events (run_id, seq, type, at, actor) SELECT id, seq, 'succeeded', $4, $5 FROM ended RETURNING run_id",
)
IN_ROW = replace(
    PLAIN,
    title="(e) ledger appended inside the run row",
    tables=runs_table(", ledger bytea") + ACTIVE,
    created="SELECT 1",
    run_extra=", ledger",
    run_extra_value=", convert_to('1 created ' || $3 || ' user:bench ', 'UTF8') || body",
    claim_set=", ledger = r.ledger || convert_to(E'\\n' || (r.seq + 1) || ' claimed ' || $2 || ' ' || $4::text, 'UTF8')",
    claimed="",
    claim_returns=", r.ledger",
    claim_body="c.ledger FROM claimed c",
    finish_set=", ledger = r.ledger || convert_to(E'\\n' || (r.seq + 1) || ' succeeded ' || $4::bigint || ' ' || $5::text"
    " || ' ', 'UTF8') || g.body",
    finished="SELECT id FROM ended",
)
LAYOUTS: dict[str, Layout] = {
    "a": PLAIN,
    "b": LEASED,
    "c": OWN_TABLE,
    "d": INLINE,
    "e": IN_ROW,
    "f70": replace(PLAIN, title="(f) as (a), runs at fillfactor 70", tables=runs_table("", 70) + ACTIVE + events_table()),
    "f50": replace(PLAIN, title="(f) as (a), runs at fillfactor 50", tables=runs_table("", 50) + ACTIVE + events_table()),
    "g": replace(
        PLAIN,
        title="(g) as (a), events with id, namespace, attempt and an index on (at)",
        tables=runs_table()
        + ACTIVE
        + events_table(
            ", id bigint GENERATED ALWAYS AS IDENTITY, namespace text NOT NULL DEFAULT 'default', attempt int NOT NULL DEFAULT 1"
        )
        + "CREATE INDEX events_at ON events (at);",
    ),
    "h0": replace(PLAIN, title="(h) as (a) without the active index", tables=runs_table() + events_table()),
    "h1": replace(
        PLAIN,
        title="(h) as (a), partial index of terminal runs (ended_at, id)",
        tables=PLAIN.tables + "CREATE INDEX runs_ended ON runs (ended_at, id) WHERE ended_at IS NOT NULL;",
    ),
    "h2": replace(
        PLAIN,
        title="(h) as (a), full indexes (policy_id, state, id) and (created_at, id)",
        tables=PLAIN.tables
        + "CREATE INDEX runs_task ON runs (policy_id, state, id); CREATE INDEX runs_made ON runs (created_at, id);",
    ),
    "i": replace(
        PLAIN,
        title="(i) as (a), the claimed event folded into the finish (two events at once)",
        claimed="",
        finished="INSERT INTO events (run_id, seq, type, at, actor, body) SELECT id, seq - 1, 'claimed', $4, $5, NULL"
        " FROM ended UNION ALL SELECT id, seq, 'succeeded', $4, $5, body FROM ended RETURNING run_id",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one layout did in one round.  Rates in runs a second, sizes in bytes a run."""

    enqueue: float
    drain: float
    piped: float
    joined: float
    wal_enqueue: float
    wal_drain: float
    disk: float
    dead: float
    hot: float


class Bare:
    """One prepared, binary connection that runs a layout's statements and nothing else."""

    def __init__(self, conninfo: str, layout: Layout) -> None:
        self.layout, self.mark = layout, 0
        self.connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=0, cursor_factory=psycopg.RawCursor)
        self.cursor = self.connection.cursor(binary=True, row_factory=tuple_row)

    def create(self) -> None:
        self.cursor.execute("DROP SCHEMA public CASCADE")
        self.cursor.execute("CREATE SCHEMA public")
        for statement in filter(str.strip, self.layout.tables.split(";")):
            self.cursor.execute(statement.encode())
        self.connection.execute("CHECKPOINT")

    def enqueue(self, run_ids: list[uuid.UUID]) -> None:
        self.cursor.execute(self.layout.enqueue, [run_ids, [PAYLOAD] * len(run_ids), now()])

    def enqueue_all(self, run_ids: list[uuid.UUID]) -> None:
        for some in chunks(run_ids, 1000):
            self.enqueue(some)

    def claim(self) -> list[tuple[Any, ...]]:
        mark = [self.mark] if self.layout.claim_where else []
        rows = self.cursor.execute(self.layout.claim, [1, now(), BATCH, "worker-1", *mark]).fetchall()
        self.mark = max((row[4] for row in rows), default=0)
        return rows

    def finish(self, rows: list[tuple[Any, ...]]) -> None:
        self.cursor.execute(self.layout.finish, self.finish_arguments(rows))

    def finish_arguments(self, rows: list[tuple[Any, ...]]) -> list[Any]:
        return [[row[0] for row in rows], [row[1] for row in rows], [RESULT] * len(rows), now(), "worker-1"]

    def drain(self) -> None:
        """Claim, commit, finish, commit: what a worker does that does not know what comes next."""
        while rows := self.claim():
            self.finish(rows)

    def drain_some(self, count: int) -> None:
        for _ in range(count // BATCH):
            self.finish(self.claim())

    def drain_joined(self) -> None:
        """Finish and the next claim in one statement: one round trip and one commit a batch."""
        rows = self.claim()
        while rows:
            arguments = [*self.finish_arguments(rows), 1, now(), BATCH, "worker-1"]
            rows = self.cursor.execute(self.layout.step, arguments).fetchall()

    def drain_piped(self) -> None:
        """The same two statements in one pipelined transaction: one commit, but four messages a batch."""
        rows = self.claim()
        claims = self.connection.cursor(binary=True)
        while rows:
            with self.connection.pipeline(), self.connection.transaction():
                self.cursor.execute(self.layout.finish, self.finish_arguments(rows))
                claims.execute(self.layout.claim, [1, now(), BATCH, "worker-1"])
            rows = claims.fetchall()

    def number(self, query: str) -> float:
        row = self.cursor.execute(query).fetchone()
        assert row is not None
        return float(row[0] or 0)

    def wal(self) -> float:
        return self.number("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")


def rate_of(work: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def fill(bare: Bare, run_ids: list[uuid.UUID]) -> None:
    bare.enqueue_all(run_ids)
    bare.connection.execute("VACUUM ANALYZE")


def measure(conninfo: str, layout: Layout, count: int) -> Measured:
    bare = Bare(conninfo, layout)
    with bare.connection:
        bare.create()
        start, many = bare.wal(), ids(count)
        enqueue = rate_of(lambda: bare.enqueue_all(many), count)
        wal_enqueue = (bare.wal() - start) / count
        bare.connection.execute("VACUUM ANALYZE")
        start = bare.wal()
        drain = rate_of(bare.drain, count)
        wal_drain = (bare.wal() - start) / count
        dead, hot = vacuum_view(bare, count)
        disk = bare.number("SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
                           " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace") / count  # fmt: skip
        piped, joined = drained(bare, bare.drain_piped, many), drained(bare, bare.drain_joined, many)
    return Measured(enqueue=enqueue, drain=drain, piped=piped, joined=joined, wal_enqueue=wal_enqueue, wal_drain=wal_drain,
                    disk=disk, dead=dead, hot=hot)  # fmt: skip


def drained(bare: Bare, drain: Callable[[], None], many: list[uuid.UUID]) -> float:
    """The rate of one way to drain, on fresh tables, checked to have ended every run."""
    bare.create()
    fill(bare, many)
    rate = rate_of(drain, len(many))
    assert bare.number("SELECT count(*) FROM runs WHERE state = 'succeeded'") == len(many)
    return rate


def vacuum_view(bare: Bare, count: int) -> tuple[float, float]:
    """Dead tuples a run over all tables, and the share of updates that were HOT, as the statistics collector saw them."""
    bare.connection.execute("SELECT pg_stat_force_next_flush()")
    dead = bare.number("SELECT sum(n_dead_tup) FROM pg_stat_user_tables")
    hot = bare.number("SELECT sum(n_tup_hot_upd)::float / nullif(sum(n_tup_upd), 0) FROM pg_stat_user_tables")
    return dead / count, hot


def median_of(rounds: list[Measured]) -> Measured:
    middle = {name: statistics.median(getattr(one, name) for one in rounds) for name in Measured.__slots__}
    return Measured(**middle)


def compare(conninfo: str, names: list[str], count: int, rounds: int) -> None:
    """Round robin, so that a disturbance of the machine falls on every layout alike."""
    seen: dict[str, list[Measured]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            seen[name].append(measure(conninfo, LAYOUTS[name], count))
    print(f"\nPostgreSQL, one connection, {count} runs, batches of {BATCH}, medians of {rounds}\n")
    print("| layout | enqueue/s | claim, finish/s | pipelined/s | one statement/s | WAL B/run enqueue | WAL B/run drain "
          "| disk B/run | dead/run | HOT |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in names:
        m = median_of(seen[name])
        print(
            f"| {LAYOUTS[name].title} | {m.enqueue:,.0f} | {m.drain:,.0f} | {m.piped:,.0f} | {m.joined:,.0f} "
            f"| {m.wal_enqueue:,.0f} | {m.wal_drain:,.0f} | {m.disk:,.0f} | {m.dead:.2f} | {m.hot:.0%} |",
            flush=True,
        )


# --- SQLite -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One way to lay out and drive the SQLite file: the same questions, and three that only SQLite asks."""

    title: str
    id_text: bool = False
    runs_rowid: bool = True
    events_rowid: bool = False
    batching: str = "many"
    bodies: str = "events"
    leases: bool = False
    ledger_in_row: bool = False
    active: bool = True

    @property
    def tables(self) -> str:
        id_type = "TEXT" if self.id_text else "BLOB"
        extra = {"runs": ", payload BLOB, result BLOB"}.get(self.bodies, "") + (", ledger BLOB" * self.ledger_in_row)
        script = RUNS.format(columns=extra, fillfactor=100) + ACTIVE * self.active + events_table()
        script += LEASES * self.leases + PAYLOADS * (self.bodies == "payloads")
        script = script.replace(" uuid", f" {id_type}").replace("bytea", "BLOB").replace("text", "TEXT")
        script = script.replace(" WITH (fillfactor = 100)", "" if self.runs_rowid else " WITHOUT ROWID")
        return script.replace("(run_id, seq));", "(run_id, seq))" + (";" if self.events_rowid else " WITHOUT ROWID;"))


SHAPES: dict[str, Shape] = {
    "a": Shape(title="(a) id BLOB, events WITHOUT ROWID, bodies in events, executemany"),
    "text": Shape(title="as (a), id TEXT", id_text=True),
    "json": Shape(title="as (a), one statement a step over json_each (ids and bodies as hex)", batching="json"),
    "textjson": Shape(title="as (a), id TEXT, one statement a step over json_each", batching="json", id_text=True),
    "rowid": Shape(title="as (a), events with rowid", events_rowid=True),
    "norowid": Shape(title="as (a), runs WITHOUT ROWID too", runs_rowid=False),
    "b": Shape(title="(b) a lease row per run, no active index", leases=True, active=False),
    "c": Shape(title="(c) payloads and results in tables of their own", bodies="payloads"),
    "d": Shape(title="(d) payload and result inline in runs", bodies="runs"),
    "e": Shape(title="(e) ledger appended inside the run row", ledger_in_row=True),
    "h0": Shape(title="(h) as (a) without the active index", active=False),
}

CLAIM = """UPDATE runs SET state = 'running', worker_id = ?3, token = token + 1, seq = seq + 1 {also}
    WHERE id IN (SELECT id FROM runs WHERE state = 'queued' AND lane_id = 1 AND due_at <= ?1
    ORDER BY due_at, id LIMIT ?2) RETURNING id, token, seq, failures, policy_id, {body}"""
FINISH = """UPDATE runs SET state = 'succeeded', worker_id = NULL, seq = seq + 1, ended_at = ?3 {also}
    WHERE id = ?1 AND token = ?2 AND state IN ('running', 'cancelling')"""
# Without RETURNING, which would be simpler: run once a row, its scratch table lets the heap grow and shrink each time,
# and a process falls, some time after it started, from 50,000 runs a second to 11,000.
FINISHED = """INSERT INTO events (run_id, seq, type, at, actor, body) SELECT id, seq, 'succeeded', ?3, 'worker-1', ?4
    FROM runs WHERE id = ?1 AND token = ?2 AND state = 'succeeded' AND ended_at = ?3"""
EVENT = "INSERT INTO events (run_id, seq, type, at, actor, body) VALUES (?, ?, ?, ?, ?, ?)"


class Embedded:
    """One SQLite connection, WAL and FULL, that runs a shape's statements in explicit immediate transactions."""

    def __init__(self, path: Path, shape: Shape) -> None:
        self.shape = shape
        self.connection = apsw.Connection(str(path))
        self.cursor = self.connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536"):
            self.run(f"PRAGMA {pragma}")
        self.run(shape.tables)

    def run(self, statement: str, bindings: Any = ()) -> list[Any]:
        return self.cursor.execute(statement, bindings).fetchall()

    def many(self, statement: str, bindings: Iterable[Any]) -> list[Any]:
        return self.cursor.executemany(statement, bindings).fetchall()

    def key(self, run_id: uuid.UUID) -> str | bytes:
        return str(run_id) if self.shape.id_text else run_id.bytes

    def hexed(self, key: str | bytes) -> str:
        return key if isinstance(key, str) else key.hex()

    def events(self, rows: list[tuple[Any, ...]]) -> None:
        if self.shape.ledger_in_row:
            return
        if self.shape.batching == "many":
            self.many(EVENT, rows)
            return
        self.run(
            "INSERT INTO events (run_id, seq, type, at, actor, body) SELECT "
            + ("value ->> 0" if self.shape.id_text else "unhex(value ->> 0)")
            + ", value ->> 1, value ->> 2, value ->> 3, value ->> 4, unhex(value ->> 5) FROM json_each(?)",
            (json.dumps([[self.hexed(r[0]), *r[1:5], r[5] and r[5].hex()] for r in rows]),),
        )

    def enqueue(self, keys: list[str | bytes]) -> None:
        at, shape = now(), self.shape
        inline = {"runs": ", payload"}.get(shape.bodies, "") + (", ledger" * shape.ledger_in_row)
        insert = f"INSERT INTO runs (id, lane_id, policy_id, state, due_at, created_at {inline}) VALUES (?, 1, 1, 'queued', ?, ?"
        entry = b"1 created %d user:bench " % at + PAYLOAD
        more = (PAYLOAD,) * (shape.bodies == "runs") + (entry,) * shape.ledger_in_row
        self.run("BEGIN IMMEDIATE")
        self.many(insert + ", ?" * len(more) + ")", [(key, at, at, *more) for key in keys])
        body = PAYLOAD if shape.bodies == "events" else None
        self.events([(key, 1, "created", at, "user:bench", body) for key in keys])
        if shape.bodies == "payloads":
            self.many("INSERT INTO payloads VALUES (?, ?)", [(key, PAYLOAD) for key in keys])
        self.run("COMMIT")

    def enqueue_all(self, keys: list[str | bytes]) -> None:
        for some in chunks(keys, 1000):
            self.enqueue(some)

    def claim(self) -> list[tuple[Any, ...]]:
        at, shape = now(), self.shape
        body = {"events": "(SELECT body FROM events e WHERE e.run_id = runs.id AND e.seq = runs.payload_seq)",
                "payloads": "(SELECT bytes FROM payloads p WHERE p.run_id = runs.id)",
                "runs": "payload"}[shape.bodies]  # fmt: skip
        also = ", ledger = ledger || char(10) || (seq + 1) || ' claimed ' || ?1 || ' ' || ?3" if shape.ledger_in_row else ""
        self.run("BEGIN IMMEDIATE")
        rows = self.run(CLAIM.format(also=also, body="ledger" if shape.ledger_in_row else body), (at, BATCH, "worker-1"))
        self.events([(row[0], row[2], "claimed", at, "worker-1", None) for row in rows])
        if shape.leases:
            self.many("INSERT INTO leases VALUES (?, ?, 'worker-1', ?)", [(row[0], row[1], at + 30_000_000) for row in rows])
        self.run("COMMIT")
        return rows

    def finish(self, rows: list[tuple[Any, ...]]) -> None:
        at, shape = now(), self.shape
        body = RESULT if shape.bodies == "events" else None
        self.run("BEGIN IMMEDIATE")
        if shape.batching == "many":
            self.finish_each(rows, at, body)
        else:
            ended = self.finish_batch(rows, at)
            self.events([(key, seq, "succeeded", at, "worker-1", body) for key, seq in ended])
        if shape.bodies == "payloads":
            self.many("INSERT INTO results VALUES (?, ?)", [(row[0], RESULT) for row in rows])
        if shape.leases:
            self.many("DELETE FROM leases WHERE run_id = ? AND token = ?", [row[:2] for row in rows])
        self.run("COMMIT")

    def finish_each(self, rows: list[tuple[Any, ...]], at: int, body: bytes | None) -> None:
        """Two statements a run: the move, and its event read back from the moved row."""
        also = ", result = ?4" if self.shape.bodies == "runs" else ""
        if self.shape.ledger_in_row:
            also = ", ledger = ledger || char(10) || (seq + 1) || ' succeeded ' || ?3 || ' worker-1 ' || ?4"
        last = (RESULT,) * bool(also)
        self.many(FINISH.format(also=also), [(*row[:2], at, *last) for row in rows])
        if not self.shape.ledger_in_row:
            self.many(FINISHED, [(*row[:2], at, body) for row in rows])

    def finish_batch(self, rows: list[tuple[Any, ...]], at: int) -> list[Any]:
        """One statement for all."""
        given = json.dumps([[self.hexed(row[0]), row[1]] for row in rows])
        read = "value ->> 0" if self.shape.id_text else "unhex(value ->> 0)"
        return self.run(
            "UPDATE runs SET state = 'succeeded', worker_id = NULL, seq = seq + 1, ended_at = ?2"
            f" FROM (SELECT {read} AS id, value ->> 1 AS token FROM json_each(?1)) g WHERE runs.id = g.id"
            " AND runs.token = g.token AND state IN ('running', 'cancelling') RETURNING runs.id, seq",
            (given, at),
        )

    def drain(self) -> None:
        while rows := self.claim():
            self.finish(rows)


def measure_embedded(shape: Shape, count: int) -> tuple[float, float, float]:
    """Enqueue a second, claim+finish a second, bytes of the file a run."""
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as folder:
        path = Path(folder) / "runs.db"
        file = Embedded(path, shape)
        keys = [file.key(run_id) for run_id in ids(count)]
        enqueue = rate_of(lambda: file.enqueue_all(keys), count)
        drain = rate_of(file.drain, count)
        assert file.run("SELECT count(*) FROM runs WHERE state = 'succeeded'") == [(count,)]
        assert file.run("SELECT count(*) FROM events") == [(0 if shape.ledger_in_row else 3 * count,)]
        file.run("PRAGMA wal_checkpoint(TRUNCATE)")
        file.connection.close()
        return enqueue, drain, path.stat().st_size / count


def compare_embedded(names: list[str], count: int, rounds: int) -> None:
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            seen[name].append(measure_embedded(SHAPES[name], count))
    print(f"\nSQLite {apsw.sqlite_lib_version()}, WAL, synchronous=FULL, one connection, {count} runs, batches of {BATCH}, "
          f"medians of {rounds}\n\n| layout | enqueue/s | claim+finish/s | file B/run |\n|---|---|---|---|")  # fmt: skip
    for name in names:
        enqueue, drain, size = (statistics.median(column) for column in zip(*seen[name], strict=True))
        print(f"| {SHAPES[name].title} | {enqueue:,.0f} | {drain:,.0f} | {size:,.0f} |", flush=True)


# --- A million finished runs --------------------------------------------------------------------------------------

OLD_ID = "(lpad(to_hex(1500000000000 + n / 10), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid"
HISTORY = (
    f"""INSERT INTO runs (id, lane_id, policy_id, state, due_at, token, seq, created_at, ended_at)
    SELECT {OLD_ID}, 1, 1, 'succeeded', n, 1, 3, n, n FROM generate_series(1, $1::bigint) AS n""",
    f"""INSERT INTO events (run_id, seq, type, at, actor, body)
    SELECT {OLD_ID}, seq, (ARRAY['created', 'claimed', 'succeeded'])[seq], n, 'bench',
        CASE seq WHEN 2 THEN NULL ELSE $2::bytea END
    FROM generate_series(1, $1::bigint) AS n, generate_series(1, 3) AS seq""",
)


def history(conninfo: str, count: int, rounds: int, finished: int) -> None:
    """The same drain beside nothing and beside `finished` ended runs with their ledgers, on (a), round and round."""
    print(f"\nPostgreSQL, layout (a), {count} runs beside finished ones, vacuumed before each round, medians of {rounds}\n\n"
          "| finished before | enqueue/s | claim, finish/s | one statement/s |\n|---|---|---|---|")  # fmt: skip
    full = psycopg.conninfo.make_conninfo(conninfo, dbname="history")
    with psycopg.connect(conninfo, autocommit=True) as server:
        server.execute("CREATE DATABASE history")
    sides = {0: Bare(conninfo, PLAIN), finished: Bare(full, PLAIN)}
    seen: dict[int, list[tuple[float, float, float]]] = {before: [] for before in sides}
    for before, bare in sides.items():
        bare.create()
        if before:
            bare.cursor.execute(HISTORY[0], [before])
            bare.cursor.execute(HISTORY[1], [before, PAYLOAD])
    for _ in range(rounds):
        for before, bare in sides.items():
            bare.connection.execute("VACUUM ANALYZE")
            bare.connection.execute("CHECKPOINT")
            seen[before].append(beside(bare, count))
    for before, bare in sides.items():
        rates = (f"{statistics.median(column):,.0f}" for column in zip(*seen[before], strict=True))
        print(f"| {before:,} | {' | '.join(rates)} |", flush=True)
        bare.connection.close()


def unvacuumed(conninfo: str, count: int) -> None:
    """What claims walk when vacuum does not come: dead entries at the head of the queued index, and a mark to skip them."""
    print(
        "\nPostgreSQL, layout (a), autovacuum held off, claim+finish of runs drained since the last vacuum\n\n"
        "| drained before | runs/s, claimed from the head | runs/s, from the last due_at claimed |\n|---|---|---|"
    )
    marked = replace(PLAIN, claim_where="AND due_at >= $5")
    columns = [drained_in_turn(conninfo, layout, count) for layout in (PLAIN, marked)]
    for turn, (head, mark) in enumerate(zip(*columns, strict=True)):
        print(f"| {turn * count:,} | {head:,.0f} | {mark:,.0f} |", flush=True)


def drained_in_turn(conninfo: str, layout: Layout, count: int, turns: int = 10) -> list[float]:
    """Ten drains of `count` runs one after the other, with the dead of all earlier ones still in the indexes."""
    bare = Bare(conninfo, layout)
    with bare.connection:
        bare.create()
        bare.connection.execute("ALTER TABLE runs SET (autovacuum_enabled = off)")
        bare.enqueue_all(ids(count * turns))
        bare.connection.execute("VACUUM ANALYZE")
        return [rate_of(lambda: bare.drain_some(count), count) for _ in range(turns)]


def beside(bare: Bare, count: int) -> tuple[float, float, float]:
    many, more = ids(count), ids(2 * count)[count:]
    enqueue = rate_of(lambda: bare.enqueue_all(many), count)
    drain = rate_of(bare.drain, count)
    bare.enqueue_all(more)
    return enqueue, drain, rate_of(bare.drain_joined, count)


def history_embedded(count: int, rounds: int, finished: int) -> None:
    """The same for two SQLite files, round and round."""
    print(f"\nSQLite, layout (a), {count} runs beside finished ones, medians of {rounds}\n\n"
          "| finished before | enqueue/s | claim+finish/s |\n|---|---|---|")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as folder:
        sides = {before: Embedded(Path(folder) / f"{before}.db", SHAPES["a"]) for before in (0, finished)}
        seen: dict[int, list[tuple[float, float]]] = {before: [] for before in sides}
        for before, file in sides.items():
            finish_before(file, before)
        for _ in range(rounds):
            for before, file in sides.items():
                file.run("PRAGMA wal_checkpoint(TRUNCATE)")
                keys: list[str | bytes] = [run_id.bytes for run_id in ids(count)]
                enqueue = rate_of(functools.partial(file.enqueue_all, keys), count)
                seen[before].append((enqueue, rate_of(file.drain, count)))
        for before, file in sides.items():
            rates = (f"{statistics.median(column):,.0f}" for column in zip(*seen[before], strict=True))
            print(f"| {before:,} | {' | '.join(rates)} |", flush=True)
            file.connection.close()


def finish_before(file: Embedded, count: int) -> None:
    """Puts `count` ended runs and their three events each into the file."""
    file.run("BEGIN")
    file.many(
        "INSERT INTO runs (id, lane_id, policy_id, state, due_at, token, seq, created_at, ended_at)"
        " VALUES (?1, 1, 1, 'succeeded', 1, 1, 3, 1, 1)",
        ((old(n),) for n in range(count)),
    )
    entries = ((old(n), seq, "succeeded", 1, "bench", None if seq == 2 else PAYLOAD) for n in range(count) for seq in (1, 2, 3))
    file.many(EVENT, entries)
    file.run("COMMIT")


def old(n: int) -> bytes:
    return (1_500_000_000_000 + n // 10).to_bytes(6, "big") + b"\x70\x00\x80\x00" + n.to_bytes(6, "big")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.layout", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", type=Path, help="folder of the server's programs, instead of the one found")
    parser.add_argument("--finished", type=int, default=1_000_000, help="ended runs beside the hot ones")
    parser.add_argument("--layouts", default="", help="names separated by commas")
    parser.add_argument("--only", choices=["postgres", "sqlite", "history", "dead"])
    chosen = parser.parse_args()
    server = functools.partial(PostgresServer, programs=chosen.postgres)
    names = chosen.layouts.split(",") if chosen.layouts else []
    if chosen.only in (None, "sqlite"):
        compare_embedded([name for name in names or SHAPES if name in SHAPES], chosen.runs, chosen.rounds)
    if chosen.only in (None, "postgres"):
        with server() as running:
            compare(running.url, [name for name in names or LAYOUTS if name in LAYOUTS], chosen.runs, chosen.rounds)
    if chosen.only in (None, "history"):
        history_embedded(chosen.runs, chosen.rounds, chosen.finished)
        with server() as running:
            history(running.url, chosen.runs, chosen.rounds, chosen.finished)
    if chosen.only in (None, "dead"):
        with server() as running:
            unvacuumed(running.url, chosen.runs)


if __name__ == "__main__":
    main()
