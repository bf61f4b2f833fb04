"""The denominators: what the database does for bare SQL through the same driver, with nothing of ours in between.

The schema is minimal but honest: a durable row per run with payload and result, one ledger row per move, every write
fenced by id, token and state, the payload read, the result written, commits that reach the disk.  What the functions
of this module are called, and what they take and give, is the interface that `bench/ours.py` fills for the library:

    drain(url, count)          -> float                 no-op runs a second, one worker process, ledger kept
    drain_two(url, count)      -> float                 the same, two worker processes
    enqueue_bulk(url, count)   -> float                 runs created a second by one caller that has them all
    enqueue_single(url, count) -> float                 runs created a second, one commit each, one caller
    start_latency(url, count)  -> tuple[float, float]   milliseconds from the call of enqueue to the start, idle: p50, p99

`url` names a fresh and empty database (`postgresql://...` or `sqlite:///path`); `count` is how many runs.
`drain_without_ledger` exists here only.  No printing here, and no choice of what is measured when.
"""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from typing import Any, Protocol

import apsw
import psycopg

from bench.settling import settle

BATCH = 100
CHUNK = 1000
GAP_SECONDS = 0.005
PAYLOAD = b'{"to": "somebody@example.org", "subject": "hello", "n": 12345}'
RESULT = b'{"ok": true, "bytes": 5120}'


def now() -> int:
    return time.time_ns() // 1000


def run_ids(count: int) -> list[uuid.UUID]:
    """UUIDv7: time first, so that new rows land at the right edge of every index."""
    at = time.time_ns() // 1_000_000
    return [uuid.UUID(int=(at + n // 10 << 80) | (7 << 76) | (2 << 62) | (n << 40) | n) for n in range(count)]


def chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def rate_of(work: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


class Bare(Protocol):
    """One connection to one of the two databases, and the life of a run on it."""

    def create(self) -> None: ...
    def enqueue(self, ids: list[uuid.UUID], payload: bytes = PAYLOAD) -> None: ...
    def claim(self) -> list[Any]: ...
    def step(self, rows: list[Any]) -> list[Any]: ...
    def close(self) -> None: ...


# --- PostgreSQL ---------------------------------------------------------------------------------------------------

POSTGRES_TABLES = (
    "CREATE TABLE runs (id uuid PRIMARY KEY, state text NOT NULL, due_at bigint NOT NULL, token bigint NOT NULL DEFAULT 0,"
    " seq bigint NOT NULL DEFAULT 1, worker_id text, payload bytea, result bytea)",
    "CREATE INDEX runs_queued ON runs (due_at, id) WHERE state = 'queued'",
    "CREATE TABLE events (run_id uuid, seq bigint, type text NOT NULL, at bigint NOT NULL, actor text, PRIMARY KEY (run_id, seq))",
)
POSTGRES_ENQUEUE = """WITH made AS (
    INSERT INTO runs (id, state, due_at, payload) SELECT id, 'queued', $2, $3 FROM unnest($1::uuid[]) AS given (id) RETURNING id
) INSERT INTO events SELECT id, 1, 'created', $2, 'bench' FROM made"""
POSTGRES_CLAIM = """picked AS MATERIALIZED (
    SELECT id FROM runs WHERE state = 'queued' AND due_at <= $1 ORDER BY due_at, id LIMIT 100 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE runs SET state = 'running', worker_id = 'bench', token = token + 1, seq = seq + 1
    WHERE id = ANY (ARRAY(SELECT id FROM picked)) RETURNING id, token, seq, payload
)"""
POSTGRES_CLAIMED = ", claims AS (INSERT INTO events SELECT id, seq, 'claimed', $1, 'bench' FROM claimed)"
POSTGRES_FINISH = """ended AS (
    UPDATE runs r SET state = 'succeeded', worker_id = NULL, seq = r.seq + 1, result = g.result
    FROM unnest($2::uuid[], $3::bigint[], $4::bytea[]) AS g (id, token, result)
    WHERE r.id = g.id AND r.token = g.token AND r.state = 'running' RETURNING r.id, r.seq
)"""
POSTGRES_FINISHED = ", ends AS (INSERT INTO events SELECT id, seq, 'succeeded', $1, 'bench' FROM ended)"
POSTGRES_ROWS = " SELECT id, token, payload FROM claimed"


class BarePostgres:
    """Finish and next claim as one statement, which is the fastest form that keeps every promise of the life cycle."""

    def __init__(self, url: str, *, ledger: bool = True) -> None:
        self.connection = psycopg.connect(url, autocommit=True, prepare_threshold=0, cursor_factory=psycopg.RawCursor[Any])
        self.cursor = self.connection.cursor(binary=True)
        claim = POSTGRES_CLAIM + POSTGRES_CLAIMED * ledger
        self.first = f"WITH {claim} {POSTGRES_ROWS}"
        self.next = f"WITH {POSTGRES_FINISH} {POSTGRES_FINISHED * ledger}, {claim} {POSTGRES_ROWS}"

    def create(self) -> None:
        for statement in POSTGRES_TABLES:
            self.cursor.execute(statement.encode())

    def enqueue(self, ids: list[uuid.UUID], payload: bytes = PAYLOAD) -> None:
        self.cursor.execute(POSTGRES_ENQUEUE.encode(), [ids, now(), payload])

    def copy(self, ids: list[uuid.UUID]) -> None:
        at = now()
        with self.connection.transaction():
            with self.cursor.copy(b"COPY runs (id, state, due_at, payload) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["uuid", "text", "int8", "bytea"])
                for id_ in ids:
                    copy.write_row((id_, "queued", at, PAYLOAD))
            with self.cursor.copy(b"COPY events FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["uuid", "int8", "text", "int8", "text"])
                for id_ in ids:
                    copy.write_row((id_, 1, "created", at, "bench"))

    def claim(self) -> list[Any]:
        return self.cursor.execute(self.first.encode(), [now()]).fetchall()

    def step(self, rows: list[Any]) -> list[Any]:
        ids, tokens = [row[0] for row in rows], [row[1] for row in rows]
        return self.cursor.execute(self.next.encode(), [now(), ids, tokens, [RESULT] * len(rows)]).fetchall()

    def close(self) -> None:
        self.connection.close()


# --- SQLite -------------------------------------------------------------------------------------------------------

SQLITE_TABLES = """
CREATE TABLE runs (id BLOB PRIMARY KEY, state TEXT NOT NULL, due_at INTEGER NOT NULL, token INTEGER NOT NULL DEFAULT 0,
    seq INTEGER NOT NULL DEFAULT 1, worker_id TEXT, payload BLOB, result BLOB);
CREATE INDEX runs_queued ON runs (due_at, id) WHERE state = 'queued';
CREATE TABLE events (run_id BLOB, seq INTEGER, type TEXT NOT NULL, at INTEGER NOT NULL, actor TEXT,
    PRIMARY KEY (run_id, seq)) WITHOUT ROWID;
"""
SQLITE_CLAIM = """UPDATE runs SET state = 'running', worker_id = 'bench', token = token + 1, seq = seq + 1
    WHERE id IN (SELECT id FROM runs WHERE state = 'queued' AND due_at <= ? ORDER BY due_at, id LIMIT 100)
    RETURNING id, token, payload, seq"""
# No RETURNING here: run once a row, its scratch table makes the heap grow and shrink each time, four times as slow.
SQLITE_FINISH = """UPDATE runs SET state = 'succeeded', worker_id = NULL, seq = seq + 1, result = ?3
    WHERE id = ?1 AND token = ?2 AND state = 'running'"""
SQLITE_FINISHED = """INSERT INTO events SELECT id, seq, 'succeeded', ?3, 'bench' FROM runs
    WHERE id = ?1 AND token = ?2 AND state = 'succeeded'"""
SQLITE_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, 'bench')"


class BareSqlite:
    """WAL, `synchronous=FULL`; finish and next claim in one immediate transaction."""

    def __init__(self, url: str, *, ledger: bool = True) -> None:
        self.ledger = ledger
        self.connection = apsw.Connection(url.removeprefix("sqlite:///"))
        self.connection.set_busy_timeout(30_000)
        self.cursor = self.connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self.run(f"PRAGMA {pragma}")

    def run(self, statement: str, bindings: Any = ()) -> list[Any]:
        return self.cursor.execute(statement, bindings).fetchall()

    def many(self, statement: str, bindings: list[Any]) -> list[Any]:
        return self.cursor.executemany(statement, bindings).fetchall()

    def create(self) -> None:
        self.run(SQLITE_TABLES)

    def enqueue(self, ids: list[uuid.UUID], payload: bytes = PAYLOAD) -> None:
        at, keys = now(), [id_.bytes for id_ in ids]
        self.run("BEGIN IMMEDIATE")
        self.many("INSERT INTO runs (id, state, due_at, payload) VALUES (?, 'queued', ?, ?)",
                  [(key, at, payload) for key in keys])  # fmt: skip
        self.many(SQLITE_EVENT, [(key, 1, "created", at) for key in keys])
        self.run("COMMIT")

    def claim(self) -> list[Any]:
        return self.step([])

    def step(self, rows: list[Any]) -> list[Any]:
        at = now()
        self.run("BEGIN IMMEDIATE")
        if rows:
            self.many(SQLITE_FINISH, [(row[0], row[1], RESULT) for row in rows])
        if rows and self.ledger:
            self.many(SQLITE_FINISHED, [(row[0], row[1], at) for row in rows])
        claimed = self.run(SQLITE_CLAIM, (at,))
        if self.ledger:
            self.many(SQLITE_EVENT, [(key, seq, "claimed", at) for key, _, _, seq in claimed])
        self.run("COMMIT")
        return claimed

    def close(self) -> None:
        self.connection.close()


# --- The measurements ---------------------------------------------------------------------------------------------


def connect(url: str, *, ledger: bool = True) -> BarePostgres | BareSqlite:
    return BareSqlite(url, ledger=ledger) if url.startswith("sqlite:") else BarePostgres(url, ledger=ledger)


def filled(url: str, count: int, *, ledger: bool = True) -> Bare:
    """Tables with `count` queued runs, settled, so that a drain pays only for itself."""
    bare = connect(url, ledger=ledger)
    bare.create()
    for some in chunks(run_ids(count), CHUNK):
        bare.enqueue(some)
    settle(url)
    return bare


def work_off(bare: Bare) -> None:
    rows = bare.claim()
    while rows:
        rows = bare.step(rows)


def drain(url: str, count: int) -> float:
    bare = filled(url, count)
    rate = rate_of(lambda: work_off(bare), count)
    bare.close()
    return rate


def drain_without_ledger(url: str, count: int) -> float:
    bare = filled(url, count, ledger=False)
    rate = rate_of(lambda: work_off(bare), count)
    bare.close()
    return rate


def drain_two(url: str, count: int) -> float:
    filled(url, count).close()
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.SimpleQueue()
    workers = [spawn.Process(target=drain_beside, args=(url, barrier, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    spans = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    seconds: float = max(end for _, end in spans) - min(start for start, _ in spans)
    return count / seconds


def drain_beside(url: str, barrier: Any, results: Any) -> None:
    """One of two worker processes.  Reports when it began and ended on the machine's one monotonic clock."""
    bare = connect(url)
    barrier.wait()
    started = time.monotonic()
    work_off(bare)
    results.put((started, time.monotonic()))
    bare.close()


def enqueue_bulk(url: str, count: int) -> float:
    """On PostgreSQL the better of one statement over an array and COPY, in chunks of 1000 either way."""
    bare = connect(url)
    bare.create()
    ways: list[Callable[[list[uuid.UUID]], None]] = [bare.enqueue]
    if isinstance(bare, BarePostgres):
        ways.append(bare.copy)
    best = 0.0
    for way in ways:
        ids = run_ids(count)
        best = max(best, rate_of(lambda: [way(some) for some in chunks(ids, CHUNK)], count))  # noqa: B023
        time.sleep(count / 10_000)  # the ids of the next way must begin after the last of this one
    bare.close()
    return best


def enqueue_single(url: str, count: int) -> float:
    bare = connect(url)
    bare.create()
    ids = run_ids(count)
    rate = rate_of(lambda: [bare.enqueue([id_]) for id_ in ids], count)
    bare.close()
    return rate


def start_latency(url: str, count: int) -> tuple[float, float]:
    """PostgreSQL: commit, NOTIFY, and a listener in another process claims.  SQLite: a thread of the same process."""
    return latency_in_process(url, count) if url.startswith("sqlite:") else latency_over_notify(url, count)


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1000, cuts[98] * 1000


def latency_over_notify(url: str, count: int) -> tuple[float, float]:
    producer = BarePostgres(url)
    producer.create()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    consumer = spawn.Process(target=claim_on_notify, args=(url, theirs, count))
    consumer.start()
    ours.recv()
    for id_ in run_ids(count):
        time.sleep(GAP_SECONDS)
        producer.enqueue([id_], payload=b"%d" % time.monotonic_ns())
        producer.cursor.execute(b"NOTIFY bench")
    seconds: list[float] = ours.recv()
    consumer.join()
    producer.close()
    return percentiles(seconds)


def claim_on_notify(url: str, pipe: Pipe, count: int) -> None:
    listener, claimer = psycopg.connect(url, autocommit=True), BarePostgres(url)
    listener.execute("LISTEN bench")
    claimer.claim()
    pipe.send("ready")
    seconds: list[float] = []
    while len(seconds) < count:
        for _ in listener.notifies(timeout=1, stop_after=1):
            break
        seconds += [(time.monotonic_ns() - int(payload)) / 1e9 for _, _, payload in claimer.claim()]
    pipe.send(seconds)
    claimer.close()
    listener.close()


def latency_in_process(url: str, count: int) -> tuple[float, float]:
    producer, hint, seconds = BareSqlite(url), threading.Event(), list[float]()
    producer.create()
    consumer = threading.Thread(target=claim_on_hint, args=(url, hint, seconds, count))
    consumer.start()
    for id_ in run_ids(count):
        time.sleep(GAP_SECONDS)
        producer.enqueue([id_], payload=b"%d" % time.monotonic_ns())
        hint.set()
    consumer.join()
    producer.close()
    return percentiles(seconds)


def claim_on_hint(url: str, hint: threading.Event, seconds: list[float], count: int) -> None:
    claimer = BareSqlite(url)
    while len(seconds) < count:
        hint.wait(timeout=1)
        hint.clear()
        seconds += [(time.monotonic_ns() - int(row[2])) / 1e9 for row in claimer.claim()]
    claimer.close()
