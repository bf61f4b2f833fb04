"""The stage: one small database on which every operation finds something to do, put back as it was after each order.

Here: the fixture, the copy of it from which everything is put back, and what a database looks like once each instant is replaced
by the player from whose clock it comes. Not here: what the operations do (``catalogue.py``), and who goes when (``players.py``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.types.string import TextLoader

from mainspring.core.attempts import Failed, GaveItselfBack
from mainspring.core.dependencies import Condition
from mainspring.core.durations import DAY, HOUR, SECOND
from mainspring.core.limits import Limit, Rate
from mainspring.core.policy import Policy
from mainspring.operations import attempts, batches, capacity, queues
from mainspring.operations.claims import Claimed
from mainspring.operations.enqueue import NewRun
from mainspring.store.database import Transaction
from mainspring.store.migrate import migrate
from mainspring.store.postgres import PostgresDatabase
from mainspring.testing import invariants
from tests.support.builders import Fleet

NAMESPACE = "test"
POLICY = Policy()
FINAL = Failed(code="bad", message="no", final=True)
PLAYERS = ("A", "B")

#: A commit need not reach the disk here, a deadlock is seen at once, and nobody waits for ever.
SESSION = "-c synchronous_commit=off -c deadlock_timeout=20ms -c statement_timeout=20s"

TABLES = (
    "queues", "limits", "reservations", "rates", "admissions", "lanes", "policies", "runs", "events", "checkpoints",
    "idempotency_keys", "singletons", "debounces", "batches", "dependencies", "unfinished_releases", "run_attributes", "deliveries",
    "dead_letters", "workers", "fleet", "bulk_actions", "bulk_items", "retention_walks",
)  # fmt: skip
_INSTANTS = frozenset({
    "due_at", "created_at", "ended_at", "cancel_requested_at", "at", "started_at", "beat_at", "expires_at", "last_tick_at",
    "reap_hold_until", "paused_at", "opened_at", "closed_at", "changed_at", "next_at", "deadline_at", "touched_at", "sealed_at",
    "parked_at", "cancelled_at", "first_at", "next_due_at", "ends_at", "available_at", "finished_at", "rests_until",
})  # fmt: skip
_TOLD = frozenset({"data", "next_data"})  # columns of JSON, in which instants are named as they are in columns
_YEAR = 365 * DAY


class Judged(NamedTuple):
    """What a database has become, as the rows that are gone and the rows that came; and every invariant that does not
    hold there."""

    state: str
    broken: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Stage:
    """The prepared database: ids by the names that operations use, what its workers hold, and ids for each player's new runs."""

    database: PostgresDatabase
    session: psycopg.Connection[tuple[Any, ...]]
    reader: psycopg.Connection[tuple[Any, ...]]  # one that never rolls back, which makes psycopg forget what it has prepared
    ids: Mapping[str, str]
    held: Mapping[str, Claimed]
    fresh: Mapping[str, Sequence[str]]
    instants: frozenset[int]
    _judged: dict[tuple[frozenset[str], str], Judged] = field(default_factory=dict)

    def judge(self, clocks: Mapping[str, int], written: Collection[str], lowered: frozenset[str]) -> Judged:
        """What the tables that were ``written`` have become; then put everything back. What was judged before is not judged again.

        An instant that is not of the fixture is told as the player from whose clock it comes, and how much later it is.
        """
        self.session.execute("BEGIN")
        state = self._put_back(written, clocks)
        if (lowered, state) in self._judged:
            self.session.execute("COMMIT")
        else:
            self.session.execute("ROLLBACK")
            self._judged[lowered, state] = self._look_closely(state, lowered)
            self._put_back(TABLES, clocks)
        return self._judged[lowered, state]

    def clean(self) -> None:
        """Remove dead rows, which nobody else does here: autovacuum would come at moments of its own."""
        left = self._put_back(TABLES, {})
        assert left == "", f"a table was changed and not put back: {left}"
        self.session.execute(cast("Any", f"VACUUM {', '.join(TABLES)}"))

    def _look_closely(self, state: str, lowered: frozenset[str]) -> Judged:
        return Judged(state, tuple(self._broken_promises(lowered)))

    def _put_back(self, tables: Collection[str], clocks: Mapping[str, int]) -> str:
        row = self.session.execute("SELECT template.put_back(%s)", (list(tables),), prepare=True).fetchone()
        assert row is not None
        return "\n".join(sorted(self._told(table, sign, values, clocks) for table, sign, values in row[0]))

    def _told(self, table: str, sign: str, values: dict[str, Any], clocks: Mapping[str, int]) -> str:
        if sign == "came":
            self._mask(values, clocks)
            for column in _TOLD & values.keys():
                if values[column] is not None and _INSTANTS & (told := json.loads(values[column])).keys():
                    self._mask(told, clocks)
                    values[column] = json.dumps(told)
        told = {column: value for column, value in values.items() if value is not None}
        return f"{table} {sign} {json.dumps(told)}"

    def _mask(self, values: dict[str, Any], clocks: Mapping[str, int]) -> None:
        for name in _INSTANTS & values.keys():
            values[name] = self._instant(values[name], clocks)

    def _instant(self, value: int | None, clocks: Mapping[str, int]) -> int | str | None:
        """Delays are whole seconds and clocks differ by parts of one, so at most one clock fits."""
        if value is None or value in self.instants:
            return value
        return next(
            (f"{player} + {(value - now) // SECOND} s" for player, now in clocks.items() if (value - now) % SECOND == 0), value
        )

    def _broken_promises(self, lowered: frozenset[str]) -> list[str]:
        found = [
            *invariants._over_ledgers(self._select),
            *invariants._over_tables(self._select),
            *invariants.limits_are_kept(self._select, lowered),
        ]
        return [str(each) for each in found]

    def named(self, text: str) -> str:
        """A text with the names of runs in place of their ids."""
        for name, run_id in self.ids.items():
            text = text.replace(run_id, f"<{name}>")
        for player, fresh in self.fresh.items():
            for place, run_id in enumerate(fresh):
                text = text.replace(run_id, f"<new {player}{place}>")
        return text

    def _select(self, sql: str) -> list[tuple[Any, ...]]:
        return self.reader.execute(cast("Any", sql), prepare=True).fetchall()

    def close(self) -> None:
        """End every session."""
        self.session.close()
        self.reader.close()
        self.database.close()


def set_stage(url: str) -> Stage:
    """Furnish an empty database."""
    database = PostgresDatabase(make_conninfo(url, options=SESSION))
    migrate(database, dialect_name="postgres")
    fleet = Fleet(database=database, namespace=NAMESPACE)
    ids, held = _furnish(fleet)
    fresh = {player: [fleet.new_id() for _ in range(3)] for player in PLAYERS}
    invariants.check(database)
    session, reader = _connect(database), _connect(database)
    session.execute(cast("Any", _template()))
    instants = _instants_of(reader)
    return Stage(database=database, session=session, reader=reader, ids=ids, held=held, fresh=fresh, instants=instants)


def _connect(database: PostgresDatabase) -> psycopg.Connection[tuple[Any, ...]]:
    session = psycopg.connect(database.conninfo, autocommit=True)
    session.adapters.register_loader("uuid", TextLoader)
    return session


# -- the fixture -------------------------------------------------------------------------------------------------------


def _furnish(fleet: Fleet) -> tuple[dict[str, str], dict[str, Claimed]]:
    """Queue ``main`` has a limit of 3 and 2 slots taken, ``free`` has none, ``closed`` is paused, ``keyed`` has a rate and one slot
    for each key, ``narrow`` has room for one run and has it. Worker ``w1`` holds runs and its lease is over; ``w2`` holds the
    members of a batch, and runs for whose end others wait; ``w3`` has nothing; ``w0`` is gone."""
    fleet.declare("main", limit=3)
    fleet.declare("keyed", limits=[Limit(1, each_key=True), Rate(60, per="60s", burst=20, each_key=True)])
    fleet.declare("closed")
    fleet.declare("narrow")
    room: Any = {"max_waiting": 1, "overflow": "drop_oldest"}
    fleet.database.write("queues.bound", lambda tx: capacity.declare(tx, NAMESPACE, "narrow", **room))
    fleet.database.write("queues.pause", lambda tx: queues.pause(tx, NAMESPACE, "closed", actor="user:operator"))
    for worker in ("w0", "w1", "w2", "w3"):
        fleet.register(worker, tasks='["work","summary"]')
    fleet.database.write("workers.leave", lambda tx: attempts.leave(tx, "w0"))
    ids = _endings(fleet) | _waiting_for_time(fleet)
    held = _held(fleet)
    fleet.pass_time(HOUR)
    ids |= {name: run.id for name, run in held.items()} | _queued(fleet)
    ids |= _following(fleet)
    fleet.sql(f"UPDATE workers SET expires_at = {fleet.now + _YEAR} WHERE id IN ('w2', 'w3')")
    fleet.sql(f"INSERT INTO fleet (id, last_tick_at, reap_hold_until) VALUES (1, {fleet.now + _YEAR}, 0)")
    return ids, held


def _endings(fleet: Fleet) -> dict[str, str]:
    """Runs that have ended, with what their ends left behind: retained keys, one over its time, a dead letter."""
    old = fleet.running("w2", key="k-old")
    fleet.finish(old, worker="w2")
    expired = fleet.running("w2", key="k-expired", key_ttl=SECOND)
    fleet.finish(expired, worker="w2")
    failed = fleet.running("w2", key="k-failed", singleton="s-failed")
    fleet.finish(failed, FINAL, worker="w2")
    cancelled = fleet.enqueue(key="k-cancelled", singleton="s-cancelled")
    fleet.cancel(cancelled)
    return {"old": old.id, "expired": expired.id, "failed": failed.id, "cancelled": cancelled}


def _waiting_for_time(fleet: Fleet) -> dict[str, str]:
    retrying = fleet.running("w2")
    fleet.finish(retrying, Failed(code="flaky", message="again"), worker="w2")
    released = fleet.running("w2")
    fleet.finish(released, GaveItselfBack(after_us=SECOND), worker="w2")
    scheduled = fleet.enqueue(delay=SECOND)
    later = fleet.enqueue(delay=2 * DAY)
    return {"retrying": retrying.id, "released": released.id, "scheduled": scheduled, "later": later}


def _held(fleet: Fleet) -> dict[str, Claimed]:
    held = fleet.running("w1", key="k-held", singleton="s-held")
    fleet.start(held)
    stopping = fleet.running("w1")
    fleet.cancel(stopping.id)
    light = fleet.running("w1", queue="free")
    fleet.batch([fleet.new(queue="free"), fleet.new(queue="free")], on="all_succeeded")
    member, sibling = fleet.claim("w2", queues=["free"])
    upstream = fleet.running("w2", queue="free")
    led = fleet.running("w2", queue="free", singleton="s-led")
    fleet.submit(fleet.new(queue="free", singleton="s-led", body=b'"next"'), on_singleton="replace")
    overdue = fleet.running("w2", queue="free", deadline_in=SECOND)
    return {
        "held": held, "stopping": stopping, "light": light, "member": member, "sibling": sibling, "upstream": upstream, "led": led,
        "overdue": overdue,
    }  # fmt: skip


def _queued(fleet: Fleet) -> dict[str, str]:
    parked = fleet.enqueue()
    fleet.park(parked)
    waiting = fleet.enqueue(key="k-waiting", singleton="s-waiting")
    return {
        "parked": parked,
        "waiting": waiting,
        "next": fleet.enqueue(),
        "loose": fleet.enqueue(queue="free", task="rare"),
        "shut": fleet.enqueue(queue="closed"),
        "expiring": fleet.enqueue(queue="free", expires_at=fleet.now - SECOND),
        "late": fleet.enqueue(queue="free", deadline_at=fleet.now - SECOND),
        "key a": fleet.enqueue(queue="keyed", lane={"concurrency_key": "a"}),
        "key a too": fleet.enqueue(queue="keyed", lane={"concurrency_key": "a"}),
        "oldest": fleet.enqueue(queue="narrow"),
        "key b": fleet.enqueue(queue="keyed", lane={"concurrency_key": "b"}),
    }


def _following(fleet: Fleet) -> dict[str, str]:
    """The callback of the batch, a batch that is open still, and who waits for the end of a run, well or badly, now or later."""
    batch, summary = fleet.sql("SELECT upstream_id, run_id FROM dependencies")[0]
    upstream = fleet.one("SELECT id FROM runs WHERE worker_id = 'w2' AND batch_id IS NULL ORDER BY id LIMIT 1")
    open_batch, joined = fleet.new_id(), fleet.new(queue="closed")
    then = fleet.new(task="summary", queue="summaries", blocked="batch")
    fleet.database.write("batches.create", lambda tx: _open(tx, fleet, open_batch, joined, then))
    return {
        "summary": summary,
        "batch": batch,
        "open batch": open_batch,
        "joined": joined.id,
        "then": then.id,
        "dependant": fleet.enqueue(queue="free", after=((upstream, Condition.SUCCEEDED),)),
        "mourner": fleet.enqueue(queue="free", delay=2 * DAY, after=((upstream, Condition.FAILED),)),
    }


def _open(tx: Transaction, fleet: Fleet, batch_id: str, member: NewRun, then: NewRun) -> None:
    fleet.create(tx, [])  # which interns the lanes
    batches.create(tx, batch_id, [member._replace(batch_id=batch_id)], then, namespace=NAMESPACE, seal=False)


# -- the copy ----------------------------------------------------------------------------------------------------------


def _template() -> str:
    """A schema with a copy of every table, and a function that puts back what differs from it and tells what did."""
    copies = [
        f"CREATE TABLE template.{table} AS SELECT * FROM {table};"
        f" ALTER TABLE {table} SET (autovacuum_enabled = off); ALTER TABLE template.{table} SET (autovacuum_enabled = off);"
        for table in TABLES
    ]
    changes = [
        f"IF '{table}' = ANY (tables) THEN"
        f" WITH done AS (DELETE FROM {table} t WHERE NOT EXISTS (SELECT FROM template.{table} s WHERE s = t) RETURNING *)"
        f" SELECT told || coalesce(jsonb_agg(jsonb_build_array('{table}', 'came', to_jsonb(done))), '[]') INTO told FROM done;"
        f" WITH done AS (INSERT INTO {table} SELECT * FROM template.{table} s"
        f" WHERE NOT EXISTS (SELECT FROM {table} t WHERE s = t) RETURNING *)"
        f" SELECT told || coalesce(jsonb_agg(jsonb_build_array('{table}', 'gone', to_jsonb(done))), '[]') INTO told FROM done;"
        f" END IF;"
        for table in TABLES
    ]
    return f"""
        CREATE SCHEMA template; {" ".join(copies)}
        CREATE FUNCTION template.put_back(tables text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
            DECLARE told jsonb := '[]'; BEGIN {" ".join(changes)} RETURN told; END $$;"""


def _instants_of(session: psycopg.Connection[tuple[Any, ...]]) -> frozenset[int]:
    """Every instant of the fixture."""
    found: set[int] = set()
    for table in TABLES:
        cursor = session.execute(cast("Any", f"SELECT * FROM {table}"))
        columns = [column.name for column in cursor.description or ()]
        for row in cursor.fetchall():
            found |= {value for column, value in zip(columns, row, strict=True) if column in _INSTANTS and value is not None}
    return frozenset(found)
