"""The cast of a conformance test: callers, workers, operators and a reaper on one database.

Here: ``Fleet``, whose methods are one transaction of one operation each, with defaults for what a test does not care about;
and time that passes without anybody waiting. Not here: what must be true afterwards (``mainspring/testing/invariants.py``).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

import psycopg
from psycopg.types.string import TextLoader

from mainspring.codec import payload_hash
from mainspring.core.attempts import Outcome, Succeeded
from mainspring.core.durations import DAY, SECOND
from mainspring.core.events import Event
from mainspring.core.ids import uuid7
from mainspring.core.lanes import Lane
from mainspring.core.limits import Limit, Rate
from mainspring.core.policy import Policy
from mainspring.core.run import Run
from mainspring.core.states import State
from mainspring.operations import attempts, batches, claims, explaining, limits, queues, retention, runs, upkeep, views
from mainspring.operations.attempts import Beat, Ended
from mainspring.operations.claims import Claimed, Claimer, Walk
from mainspring.operations.enqueue import Created, Keyed, NewRun, create, intern, policy_row
from mainspring.store.database import Transaction, drive
from mainspring.store.postgres import PostgresDatabase
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import START, SimulatedClock

AnyDatabase: TypeAlias = SqliteDatabase | PostgresDatabase
T = TypeVar("T")

TTL = 30 * SECOND
_PATIENCE_SECONDS = 30


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Everybody who uses one database. ``clock`` None: time is the server's."""

    database: AnyDatabase
    clock: SimulatedClock | None = None
    namespace: str = "test"
    lowered: set[str] = field(default_factory=set)  # queues whose limit a test put below what runs
    walk: Walk = field(default_factory=Walk)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lanes: dict[int, Lane] = field(default_factory=dict)
    _policies: dict[int, str] = field(default_factory=dict)
    _workers: set[str] = field(default_factory=set)

    # -- time -----------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The database's clock."""
        return self.database.read("test.now", lambda tx: tx.now)

    def pass_time(self, us: int) -> None:
        """Let time pass: the clock moves on, or, where it is the server's, everything on record moves into the past."""
        if self.clock is not None:
            self.clock.now += us
            return
        moved = [
            f"UPDATE {table} SET {', '.join(f'{column} = {column} - {us}' for column in columns)}"
            for table, columns in _INSTANTS.items()
        ]
        told = [
            f"UPDATE events SET data = jsonb_set(data::jsonb, '{{{name}}}',"
            f" to_jsonb((data::jsonb ->> '{name}')::bigint - {us}))::text"
            f" WHERE data IS NOT NULL AND data::jsonb ->> '{name}' IS NOT NULL"
            for name in ("due_at", "expires_at", "deadline_at")
        ]
        self.sql("; ".join([*moved, *told]))  # one connection for all of it

    def lapse(self, worker: str) -> None:
        """Let a worker's lease be over."""
        self.sql(f"UPDATE workers SET expires_at = 0 WHERE id = '{worker}'")

    # -- callers --------------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """The next run id: ascending, and made long before anything in a test ends."""
        return uuid7((START - 3000 * DAY) // 1000, next(self._ids) << 20)

    def new(
        self,
        *,
        task: str = "work",
        queue: str = "main",
        priority: int = 0,
        policy: Policy | None = None,
        key: str | None = None,
        singleton: str | None = None,
        body: bytes = b"[]",
        lane: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> NewRun:
        """A run to create. Its lane (``lane`` says the rest of it) and policy are interned by whatever creates it."""
        made = Lane(namespace=self.namespace, queue=queue, task=task, priority=priority, **(lane or {}))
        policy_id, text = policy_row(policy or Policy())
        self._lanes[made.id] = made
        self._policies[policy_id] = text
        return NewRun(
            id=options.pop("id", None) or self.new_id(),
            lane_id=made.id,
            policy_id=policy_id,
            body=body,
            actor="user:test",
            idempotency_key=key,
            singleton_key=singleton,
            **options,
        )

    def create(
        self,
        tx: Transaction,
        new: Sequence[NewRun],
        *,
        key_ttl: int = 30 * DAY,
        tried: dict[str, Created] | None = None,
        **keys: Any,
    ) -> list[Created]:
        """Create runs inside a transaction; ``keys`` is what becomes of a second call of a singleton."""
        self._intern(tx)
        keyed = {
            run.id: Keyed(self.namespace, self._lanes[run.lane_id].task, payload_hash(run.body), key_ttl, **keys)
            for run in new
            if run.idempotency_key is not None or run.singleton_key is not None
        }
        return drive(tx, create(new, keyed, tried))

    def _intern(self, tx: Transaction) -> None:
        query = intern(list(self._lanes.values()), list(self._policies.items()))
        tx.execute(query.statement, **query.params)

    def submit(self, *new: NewRun, key_ttl: int = 30 * DAY, **keys: Any) -> list[Created]:
        """Create runs."""
        return self.database.write("runs.create", lambda tx: self.create(tx, new, key_ttl=key_ttl, **keys))

    def enqueue(self, *, key_ttl: int = 30 * DAY, **options: Any) -> str:
        """Create one run, or get the one that owns its key; its id."""
        (created,) = self.submit(self.new(**options), key_ttl=key_ttl)
        return created.run_id

    def enqueue_many(self, count: int, **options: Any) -> list[str]:
        """Create that many runs; their ids in order."""
        return [created.run_id for created in self.submit(*(self.new(**options) for _ in range(count)))]

    def batch(
        self,
        members: Sequence[NewRun],
        *,
        on: batches.FiresOn = "done",
        callback: NewRun | None = None,
        batch_id: str | None = None,
    ) -> str:
        """Create a batch; the id of its callback."""
        batch_id = batch_id or self.new_id()
        then = callback or self.new(task="summary", queue="summaries", blocked="batch")
        joined = [member._replace(batch_id=batch_id) for member in members]

        def fn(tx: Transaction) -> None:
            self._intern(tx)
            batches.create(tx, batch_id, joined, then, namespace=self.namespace, fires_on=on)

        self.database.write("batches.create", fn)
        return then.id

    # -- workers --------------------------------------------------------------------------------------------------

    def register(self, worker: str, *, tasks: str = "[]", queues: str = "[]") -> None:
        """A worker says hello."""
        self._workers.add(worker)
        told: dict[str, Any] = {"namespace": self.namespace, "tasks": tasks, "queues": queues, "concurrency": 8, "ttl": TTL}
        self.database.write("workers.register", lambda tx: attempts.register(tx, worker, **told))

    def claim(
        self, worker: str = "w1", *, most: int = 100, queues: Sequence[str] | None = None, tasks: Sequence[str] | None = None
    ) -> list[Claimed]:
        """Claim as a worker that has every task and queue of this test, unless told."""
        if worker not in self._workers:
            self.register(worker)
        return self.database.write("attempts.claim", lambda tx: self.claim_in(tx, worker, most=most, queues=queues, tasks=tasks))

    def claim_in(
        self,
        tx: Transaction,
        worker: str = "w1",
        *,
        most: int = 100,
        queues: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
    ) -> list[Claimed]:
        """Claim inside a transaction; sorted by what the claim goes by, for the database answers in any order."""
        served = sorted({lane.queue for lane in self._lanes.values()}) if queues is None else queues
        known = sorted({lane.task for lane in self._lanes.values()}) if tasks is None else tasks
        who = Claimer(worker_id=worker, namespace=self.namespace, queues=dict.fromkeys(served), tasks=dict.fromkeys(known, 1_000))
        claimed = claims.claim(tx, who, self.walk, most=most).runs
        return sorted(claimed, key=lambda run: (-self.lane(run).priority, run.due_at, run.id))

    def lane(self, held: Claimed) -> Lane:
        """The lane of a claimed run."""
        return self._lanes[held.lane_id]

    def claim_one_by_one(self, worker: str = "w1") -> list[str]:
        """Claim one run at a time until nothing is left: the order in which the database hands them out."""
        return [claimed.id for claims in iter(lambda: self.claim(worker, most=1), []) for claimed in claims]

    def running(self, worker: str = "w1", **options: Any) -> Claimed:
        """A run that a worker has just claimed."""
        run_id = self.enqueue(**options)
        claimed = self.claim(worker)
        return next(run for run in claimed if run.id == run_id)

    def reclaim(self, run_id: str, worker: str = "w2") -> Claimed:
        """Claim a run that waits, however long it still has to."""
        run = self.get(run_id)
        self.pass_time(max(0, run.due_at - self.now) + 1)
        self.make_due()
        return next(claimed for claimed in self.claim(worker) if claimed.id == run_id)

    def start(self, held: Claimed) -> bool:
        """Record a start."""
        return self.database.write("attempts.start", lambda tx: attempts.start(tx, held.id, held.token))

    def heartbeat(self, held: Claimed, details: bytes | None = None, progress: str | None = None) -> bool:
        """Save a checkpoint; whether the lease was still held."""
        beats = [Beat(held.id, held.token, details, progress)]
        return bool(self.database.write("attempts.heartbeat", lambda tx: attempts.heartbeat(tx, beats)))

    def checkpoint(self, run_id: str) -> bytes | None:
        """What the next attempt of a run would be given."""
        rows = self.database.read("test.checkpoint", lambda tx: tx.rows("attempts.checkpoints", ids=[run_id]))
        return cast("bytes | None", rows[0][1]) if rows else None

    def finish(self, held: Claimed | Sequence[Claimed], outcome: Outcome | None = None, *, worker: str = "w1") -> set[str]:
        """Write outcomes; the runs whose lease was lost."""
        return self.database.write("attempts.finish", lambda tx: self.finish_in(tx, held, outcome, worker=worker))

    def finish_in(
        self, tx: Transaction, held: Claimed | Sequence[Claimed], outcome: Outcome | None = None, *, worker: str = "w1"
    ) -> set[str]:
        """Write outcomes inside a transaction."""
        ended = self._ended(tx, [held] if isinstance(held, Claimed) else held, outcome)
        return attempts.finish(tx, ended, actor=f"worker:{worker}")

    def finish_believing_in_no_limits(self, held: Claimed, *, worker: str = "w1") -> set[str]:
        """Write a success as a worker does whose last renewal told it that there is no limit anywhere."""
        return self.database.write(
            "attempts.finish",
            lambda tx: attempts.finish(tx, self._ended(tx, [held], None), actor=f"worker:{worker}", limits=False),
        )

    def _ended(self, tx: Transaction, held: Sequence[Claimed], outcome: Outcome | None) -> list[Ended]:
        known = views.policies(tx, [run.policy_id for run in held])
        return [Ended(run, outcome or Succeeded(b"null"), known[run.policy_id], 0.0) for run in held]

    # -- operators and the reaper ---------------------------------------------------------------------------------

    def cancel(self, run_id: str, reason: str | None = None) -> runs.CancelOutcome:
        """Ask a run to stop."""
        return self.database.write("runs.cancel", lambda tx: self.cancel_in(tx, run_id, reason))

    def cancel_in(self, tx: Transaction, run_id: str, reason: str | None = None) -> runs.CancelOutcome:
        """Ask a run to stop, inside a transaction."""
        return runs.cancel(tx, run_id, namespace=self.namespace, actor="user:operator", reason=reason)

    def retry(self, run_id: str) -> tuple[str, bool]:
        """Try an unsuccessful run again."""
        new_id = self.new_id()
        return self.database.write(
            "runs.retry", lambda tx: runs.retry(tx, run_id, new_id, namespace=self.namespace, actor="user:operator")
        )

    def park(self, run_id: str, reason: str = "unknown_task") -> None:
        """Park a queued run."""
        told = {"namespace": self.namespace, "actor": "leader", "reason": reason}
        self.database.write("runs.park", lambda tx: runs.park(tx, run_id, **told))

    def resume(self, run_id: str, reason: str = "repaired") -> None:
        """Queue a parked run again."""
        told = {"namespace": self.namespace, "actor": "user:operator", "reason": reason}
        self.database.write("runs.resume", lambda tx: runs.resume(tx, run_id, **told))

    def fail(self, run_id: str, reason: str = "hopeless") -> None:
        """Fail a parked run."""
        told = {"namespace": self.namespace, "actor": "user:operator", "reason": reason}
        self.database.write("runs.fail", lambda tx: runs.fail(tx, run_id, **told))

    def make_due(self, *, most: int = 1000) -> int:
        """Queue what is due."""
        return self.database.write("runs.make_due", lambda tx: attempts.make_due(tx, most=most, actor="leader"))

    def tick(self) -> upkeep.Pass:
        """Go through the stages of maintenance once."""
        return upkeep.make_pass(self.database, upkeep.Terms(actor="leader", ttl=TTL))

    def calm(self) -> None:
        """Let the fleet look as if it had been watched all the time: nothing holds the reaper back."""
        self.sql("DELETE FROM fleet")
        self.sql(f"INSERT INTO fleet (id, last_tick_at, reap_hold_until) VALUES (1, {self.now}, 0)")

    def reap(self) -> int:
        """Look for lapsed leases once; how many runs were taken."""
        return self.database.write("attempts.reap", self.reap_in)

    def reap_in(self, tx: Transaction) -> int:
        """Look for lapsed leases inside a transaction."""
        return attempts.reap(tx, views.policies, ttl=TTL, actor="leader") or 0

    def bury(self, worker: str) -> int:
        """A worker dies, its lease lapses, and its runs are taken from it; how many."""
        self.calm()
        self.lapse(worker)
        return self.reap()

    def set_limit(self, queue: str, size: int | None) -> None:
        """Limit a queue as an operator."""
        self.database.write("queues.limit", lambda tx: queues.set_limit(tx, self.namespace, queue, size, actor="user:operator"))

    def declare(self, queue: str, *, limit: int | None = None, limits: Sequence[Limit | Rate] = ()) -> None:
        """Declare a queue as code does."""
        said = [*limits, *([] if limit is None else [Limit(limit)])]
        self.database.write("queues.declare", lambda tx: queues.declare(tx, self.namespace, queue, limits=said))

    def sweep(self) -> int:
        """Let go of limits that are kept for nobody; how many."""
        return self.database.write("queues.sweep", limits.sweep)

    def queue(self, name: str) -> queues.Queue:
        """A queue as it stands."""
        listed = self.database.read("queues.list", lambda tx: queues.listing(tx, self.namespace))
        return next(queue for queue in listed if queue.name == name)

    def prune(
        self,
        *,
        cut_off: int | None = None,
        states: Sequence[State] = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UPSTREAM_FAILED),
        cursor: str | None = None,
        most: int = 1000,
    ) -> retention.Pruned:
        """Remove ended runs; without a cut-off, all that may go."""
        before = self.now + DAY if cut_off is None else cut_off
        return self.database.write(
            "retention.prune",
            lambda tx: retention.prune(tx, self.namespace, cut_off=before, states=states, cursor=cursor, most=most),
        )

    # -- reading --------------------------------------------------------------------------------------------------

    def view(self, run_id: str) -> views.RunView:
        """A run with its lane."""
        return self.database.read("views.get", lambda tx: views.get(tx, self.namespace, run_id))

    def get(self, run_id: str) -> Run:
        """A run."""
        return self.view(run_id).run

    def states(self, run_ids: Sequence[str]) -> list[State]:
        """The states of runs, in the order asked for."""
        return [self.get(run_id).state for run_id in run_ids]

    def ledger(self, run_id: str) -> list[Event]:
        """A run's events."""
        return self.database.read("views.events", lambda tx: views.events(tx, run_id))

    def story(self, run_id: str) -> list[str]:
        """What happened to a run, as event types."""
        return [str(event.type) for event in self.ledger(run_id)]

    def why(self, run_id: str) -> str | None:
        """What a run waits for."""
        return self.database.read("views.why", lambda tx: explaining.why(tx, self.namespace, run_id))

    def one(self, sql: str) -> Any:
        """The first value that a plain SELECT answers."""
        rows = self.sql(sql)
        return rows[0][0] if rows else None

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        """Run plain SQL beside the library."""
        if isinstance(self.database, SqliteDatabase):
            with self.database.exclusive() as connection:
                return list(connection.execute(text).fetchall())
        with connect(self.database) as session:
            cursor = session.execute(cast("Any", text))
            return cursor.fetchall() if cursor.description else []


#: The rows that a new schema has, for whoever deletes every row.
FIRST_ROWS = (
    "INSERT INTO catch_up_pace (id, paced_until) VALUES (1, 0)",
    "INSERT INTO planner_mark (id, incarnation, steps, at) VALUES (1, NULL, 0, 0)",
)

_INSTANTS: Mapping[str, Sequence[str]] = {
    "runs": ("due_at", "created_at", "ended_at", "cancel_requested_at", "expires_at", "deadline_at"),
    "events": ("at",),
    "receipts": ("at",),
    "checkpoints": ("started_at", "beat_at"),
    "idempotency_keys": ("expires_at", "ended_at"),
    "workers": ("started_at", "expires_at"),
    "limits": ("changed_at",),
    "rates": ("next_at",),
    "admissions": ("at",),
    "reservations": ("expires_at",),
    "singletons": ("first_at", "next_due_at"),
    "debounces": ("first_at", "ends_at"),
    "fleet": ("last_tick_at", "reap_hold_until"),
    "queues": ("paused_at", "created_at"),
    "schedule_events": ("at",),
    "alerts": ("opened_at", "recovered_at"),
    "alert_watches": ("since", "next_at"),
    "webhooks": ("updated_at",),
    "schedules": ("created_at", "updated_at", "paused_at", "deleted_at"),
    "schedule_revisions": ("at",),
    "schedule_cursors": (
        "cursor_at",
        "next_nominal_at",
        "next_at",
        "carried_first",
        "carried_last",
        "last_fired_at",
        "last_ended_at",
        "last_success_at",
        "last_failure_at",
        "held_to",
        "suppressed_to",
    ),
    "occurrences": ("nominal_at", "due_at", "decided_at", "ready_at", "covers_first", "covers_last", "stalled_at"),
    "occurrence_ranges": ("first_at", "last_at"),
    "schedule_backlogs": ("first_at", "last_at", "ready_at"),
    "catch_up_pace": ("paced_until",),
    "planner_mark": ("at", "park_before"),
    "blackouts": ("created_at", "updated_at"),
    "calendars": ("created_at", "updated_at", "expand_at"),
    "backfills": ("first_at", "last_at", "created_at", "next_at", "finished_at"),
    "backfill_items": ("nominal_at",),
    "batches": ("created_at", "touched_at", "sealed_at", "parked_at", "cancelled_at"),
    "dead_letters": ("opened_at", "closed_at"),
    "bulk_actions": ("created_at", "touched_at", "finished_at"),
    "retention_walks": ("rests_until",),
    "deliveries": ("available_at", "created_at"),
    "api_tokens": ("created_at", "expires_at", "last_used_at", "revoked_at"),
    "users": ("created_at", "changed_at", "disabled_at"),
    "logins": ("opened_at", "seen_at", "expires_at"),
    "login_throttles": ("opens_at",),
}


# -- two at once -------------------------------------------------------------------------------------------------------


def connect(database: PostgresDatabase) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of our own to the same database; ids come as text, as in the pool."""
    connection = psycopg.connect(database.conninfo, autocommit=True)
    connection.adapters.register_loader("uuid", TextLoader)
    return connection


@contextmanager
def open_transaction(database: AnyDatabase) -> Iterator[Transaction]:
    """A transaction that stays open while the block does other things; committed at its end, rolled back by an error."""
    if isinstance(database, SqliteDatabase):
        with database.exclusive() as held:
            yield database.transaction_on(held)
        return
    with connect(database) as connection, connection.transaction():
        yield database.transaction_on(connection)


def started(database: AnyDatabase, fn: Callable[[], T]) -> Callable[[], T]:
    """Begin ``fn`` in another thread; return once it is done or waits for a lock of ours. The result is a call away.

    On SQLite nobody can say that a writer waits for its turn, and it need not be known: while our transaction is open there
    is nothing else it could do.
    """
    threads = ThreadPoolExecutor(1)
    future = threads.submit(fn)
    threads.shutdown(wait=False)
    if isinstance(database, PostgresDatabase):
        await_done_or_blocked(database, future)
    return lambda: future.result(_PATIENCE_SECONDS)


def await_done_or_blocked(database: PostgresDatabase, future: Future[Any]) -> None:
    """Return once the thread has its answer, or the server says that a session of this database waits for a lock."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    with connect(database) as watcher:
        for _ in range(_PATIENCE_SECONDS * 200):
            row = watcher.execute(cast("Any", blocked)).fetchone()
            if done.is_set() or (row and row[0]):
                return
            done.wait(0.005)
    raise AssertionError("neither done nor waiting for a lock")


def together(*fns: Callable[[], Any]) -> list[Any]:
    """Run functions at the same moment, each in a thread of its own; their answers in order."""
    gate = threading.Barrier(len(fns), timeout=_PATIENCE_SECONDS)

    def through_the_gate(fn: Callable[[], Any]) -> Any:
        gate.wait()
        return fn()

    with ThreadPoolExecutor(len(fns)) as threads:
        return list(threads.map(through_the_gate, fns, timeout=_PATIENCE_SECONDS))
