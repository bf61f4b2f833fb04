"""A small but whole life of jobs, as steps of one commit each: the same ids, times and rows whenever it is lived.

Here: the steps, and ``Life``, which can be lived on one database and went on with on another. Not here: what goes wrong
meanwhile (``trials.py``, ``cuts.py``), and which state a database is in (``states.py``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import apsw

from mainspring.core.attempts import Failed, GaveItselfBack
from mainspring.core.durations import DAY, HOUR, SECOND
from mainspring.operations import attempts, deadlines, queues, retention, views
from mainspring.operations.claims import Claimed
from mainspring.store import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import START, SimulatedClock
from tests.support.builders import TTL, Fleet

#: So few pages in the WAL that a life has several checkpoints, and so few in the cache that a big write spills.
CHECKPOINT_PAGES = 60
CACHE_PAGES = 30

_LANES = (("main", "work", 0), ("main", "urgent", 5), ("narrow", "work", 0), ("summaries", "summary", 0))
_BODY = b'["' + b"x" * 700 + b'"]'
_LARGE = b'["' + b"y" * 40_000 + b'"]'


#: Opens a database: its path, clock and VFS.
Open = Callable[[str, SimulatedClock, str | None], SqliteDatabase]


def opened(path: str, clock: SimulatedClock, vfs: str | None = None, kind: type[SqliteDatabase] = SqliteDatabase) -> SqliteDatabase:
    """The database, with a writer that checkpoints often and keeps little in memory."""
    database = kind(path, clock=clock, vfs=vfs)
    database._writer.set_wal_hook(_checkpoint)
    database._writer.execute(f"PRAGMA cache_size = {CACHE_PAGES}").fetchall()
    return database


def _checkpoint(connection: apsw.Connection, schema: str, pages: int) -> int:
    """What SQLite itself does after a commit: a checkpoint once there are enough pages, and no matter if it fails.

    SQLite's own would do, but apsw raises from COMMIT whatever a VFS in Python raised, even what SQLite let pass.
    """
    if pages >= CHECKPOINT_PAGES:
        with suppress(apsw.Error):
            connection.wal_checkpoint(schema)
    return apsw.SQLITE_OK


@dataclass(slots=True)
class Life:
    """Who lives it. ``notes`` keeps what each step answered, for later steps work with what was claimed."""

    fleet: Fleet
    clock: SimulatedClock
    notes: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(database: SqliteDatabase, clock: SimulatedClock) -> Life:
        """A life that can begin anywhere, for the fleet knows every lane and worker from the start."""
        fleet = Fleet(database=database, clock=clock)
        for queue, task, priority in (
            ("main", "work", 0),
            ("main", "urgent", 5),
            ("narrow", "work", 0),
            ("summaries", "summary", 0),
        ):
            fleet.new(queue=queue, task=task, priority=priority)
        fleet._workers.update(("w1", "w2"))
        return Life(fleet, clock)

    def live(self, number: int) -> Any:
        """Do one step. Time and ids are those of the step, however often it is tried."""
        step = STEPS[number]
        self.clock.now = START + number * SECOND
        self.fleet._ids = itertools.count(1 + number * 1000)
        self.notes[step.__name__] = answer = step(self)
        return answer

    def note(self, number: int, answer: Any) -> None:
        """Know what a step would have answered: it happened, but its caller was not told."""
        self.notes[STEPS[number].__name__] = answer

    @property
    def database(self) -> Any:
        """Where it is lived."""
        return self.fleet.database

    def held(self, claim: Callable[[Life], Any], *places: int) -> Sequence[Claimed]:
        """Runs that a claim handed out."""
        claimed: list[Claimed] = self.notes[claim.__name__]
        return [claimed[place] for place in places]


# -- the steps ---------------------------------------------------------------------------------------------------------


def _make_history(life: Life) -> None:
    life.database.script(migrate._HISTORY)


def _migrate(step: migrate.Migration) -> Callable[[Life], None]:
    """One step of the schema: each is a transaction of its own."""

    def apply(life: Life) -> None:
        life.database.migrate_step(step.version, migrate._text(step, "sqlite"))

    apply.__name__ = f"_migrate_{step.version}"
    return apply


def _declare_a_limit(life: Life) -> None:
    life.fleet.declare("narrow", limit=2)


def _enqueue_one(life: Life) -> str:
    return life.fleet.enqueue()


def _enqueue_many(life: Life) -> list[str]:
    return life.fleet.enqueue_many(60, body=_BODY)


def _enqueue_keyed(life: Life) -> str:
    return life.fleet.enqueue(key="invoice-7", singleton="report", task="urgent", priority=5)


def _enqueue_keyed_again(life: Life) -> str:
    return life.fleet.enqueue(key="invoice-7", task="urgent", priority=5)


def _enqueue_large(life: Life) -> str:
    return life.fleet.enqueue(body=_LARGE, task="urgent", priority=5)


def _enqueue_for_later(life: Life) -> str:
    return life.fleet.enqueue(delay=20 * SECOND)


def _enqueue_narrow(life: Life) -> list[str]:
    return life.fleet.enqueue_many(4, queue="narrow")


def _enqueue_batch(life: Life) -> str:
    members = [life.fleet.new(task="urgent", priority=5) for _ in range(3)]
    return life.fleet.batch(members, batch_id=life.fleet.new_id())


def _register_first(life: Life) -> None:
    life.fleet.register("w1")


def _register_second(life: Life) -> None:
    life.fleet.register("w2")


def _claim(life: Life) -> list[Claimed]:
    return life.fleet.claim("w1", most=12, queues=["main"])


def _claim_narrow(life: Life) -> list[Claimed]:
    return life.fleet.claim("w2", queues=["narrow"])


def _start(life: Life) -> bool:
    return life.fleet.start(life.held(_claim, 5)[0])


def _heartbeat(life: Life) -> bool:
    return life.fleet.heartbeat(life.held(_claim, 5)[0], details=_BODY * 4, progress="half")


def _renew(life: Life) -> int | None:
    return life.fleet.database.write("workers.renew", lambda tx: attempts.renew(tx, "w1"))


def _succeed(life: Life) -> set[str]:
    return life.fleet.finish(life.held(_claim, 0, 1, 2, 3, 4))


def _fail_for_now(life: Life) -> set[str]:
    return life.fleet.finish(life.held(_claim, 5), Failed(code="flaky", message="not today", traceback="z" * 3000))


def _fail_for_good(life: Life) -> set[str]:
    return life.fleet.finish(life.held(_claim, 6, 7), Failed(code="bad", message="never", final=True))


def _give_back(life: Life) -> set[str]:
    return life.fleet.finish(life.held(_claim, 8), GaveItselfBack(after_us=5 * SECOND, reason="later"))


def _cancel_queued(life: Life) -> str:
    return life.fleet.cancel(life.notes[_enqueue_many.__name__][-1], "no more wanted")


def _cancel_running(life: Life) -> str:
    return life.fleet.cancel(life.held(_claim, 9)[0].id)


def _retry_dead(life: Life) -> tuple[str, bool]:
    return life.fleet.retry(life.held(_claim, 6)[0].id)


def _limit_less(life: Life) -> None:
    life.fleet.set_limit("narrow", 3)


def _pause(life: Life) -> bool:
    return life.fleet.database.write("queues.pause", lambda tx: queues.pause(tx, "test", "narrow", actor="user:operator"))


def _park(life: Life) -> None:
    life.fleet.park(life.notes[_enqueue_many.__name__][-2])


def _make_due(life: Life) -> int:
    life.clock.now += HOUR
    return life.fleet.make_due()


def _lapse(life: Life) -> None:
    """The first worker is gone; plain SQL in a transaction of our own."""
    with life.database.exclusive() as connection:
        connection.execute("DELETE FROM fleet")
        connection.execute(f"INSERT INTO fleet (id, last_tick_at, reap_hold_until) VALUES (1, {life.clock.now}, 0)")
        connection.execute("UPDATE workers SET expires_at = 0 WHERE id = 'w1'")


def _reap(life: Life) -> int:
    return life.fleet.database.write("attempts.reap", lambda tx: attempts.reap(tx, views.policies, ttl=TTL, actor="leader") or 0)


def _finish_late(life: Life) -> set[str]:
    """The dead worker was not dead: its fence is over, and it is told so."""
    return life.fleet.finish(life.held(_claim, 10, 11))


def _enqueue_flood(life: Life) -> list[str]:
    """More than the cache holds: SQLite writes before the commit, from inside a statement."""
    return life.fleet.enqueue_many(300, queue="narrow", body=_BODY)


def _sweep(life: Life) -> int:
    return life.fleet.sweep()


def _claim_more(life: Life) -> list[Claimed]:
    life.clock.now += 2 * HOUR
    return life.fleet.claim("w2", most=30, queues=["main", "summaries"])


def _succeed_more(life: Life) -> set[str]:
    return life.fleet.finish(life.held(_claim_more, *range(25)), worker="w2")


def _finish_narrow(life: Life) -> set[str]:
    return life.fleet.finish(life.held(_claim_narrow, 0, 1), worker="w2")


def _resume_parked(life: Life) -> None:
    life.fleet.resume(life.notes[_enqueue_many.__name__][-2])


def _prune(life: Life) -> retention.Pruned:
    return life.fleet.prune(cut_off=START + DAY, most=20)


def _forget(life: Life) -> None:
    life.fleet.database.write("retention.forget", lambda tx: retention.forget(tx, workers_before=START))


def _park_unserved(life: Life) -> int:
    return life.fleet.database.write(
        "runs.park_unserved", lambda tx: deadlines.park_unserved(tx, before=START + DAY, settled=tx.now, most=5, actor="leader")
    )


def _leave(life: Life) -> None:
    life.fleet.database.write("workers.leave", lambda tx: attempts.leave(tx, "w2"))


STEPS: tuple[Callable[[Life], Any], ...] = (
    _make_history,
    *map(_migrate, migrate.migrations()),
    _declare_a_limit,
    _enqueue_one,
    _enqueue_many,
    _enqueue_keyed,
    _enqueue_keyed_again,
    _enqueue_large,
    _enqueue_for_later,
    _enqueue_narrow,
    _enqueue_batch,
    _register_first,
    _register_second,
    _claim,
    _claim_narrow,
    _start,
    _heartbeat,
    _renew,
    _succeed,
    _fail_for_now,
    _fail_for_good,
    _give_back,
    _cancel_queued,
    _cancel_running,
    _retry_dead,
    _limit_less,
    _pause,
    _park,
    _make_due,
    _lapse,
    _reap,
    _finish_late,
    _enqueue_flood,
    _sweep,
    _claim_more,
    _succeed_more,
    _finish_narrow,
    _resume_parked,
    _prune,
    _forget,
    _park_unserved,
    _leave,
)
