"""The stages of maintenance: what must happen although nobody asks. Each is a short transaction, or a few, and fails alone.

Here: which stages there are, in which order, and one pass over them. What frees comes before what fills. Any number of processes
may make a pass at once: every write is guarded, and rows that others are just at are passed over. Not here: who makes passes, and
when.

A stage that waits for instants names them (``of``), so that it is passed over, and reads nothing, before the first of them. To add
one, write it beside its noun and enter it in ``STAGES``.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND
from mainspring.core.lease import DEFAULT_TTL
from mainspring.core.restoring import Memory
from mainspring.errors import StorageUnavailable
from mainspring.operations import attempts, bulk, continuing, deadlines, dispatching, limits, retention, views
from mainspring.operations.deadlines import Instants
from mainspring.store.database import Database, Transaction

MOST_DUE: Final = 1_000
MOST_DEADLINES: Final = 500
MOST_SCHEDULES: Final = 100
MOST_BACKFILL_STEPS: Final = 10
MOST_WATCHES: Final = 100
MOST_UNSERVED: Final = 100
MOST_DELIVERIES: Final = 500
MOST_ITEMS: Final = 1_000
MOST_FORGOTTEN: Final = 1_000
#: Stages that fire what is due, and so must not believe a clock that leapt.
PLANNING: Final = frozenset({"schedules", "cursors"})
_WORKERS_KEPT_US = 1 * DAY
_UNSERVED_US = 1 * DAY
_SETTLED_US = 1 * HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Whose pass it is. ``ttl`` (µs): the lease by which the fleet's silence is judged. ``reap_every``: a look for lapsed leases
    that is younger than that serves this pass too. ``may_plan``: whether the database's clock (µs) may be planned by. ``memory``:
    what the process knows of how far planning had come."""

    actor: str
    ttl: int = DEFAULT_TTL
    reap_every: int = 0
    may_plan: Callable[[int], bool] = lambda _: True
    memory: Memory | None = None


class Done(NamedTuple):
    """What a stage did, and whether there may be more of it at once."""

    done: int
    more: bool = False


class Wanted(NamedTuple):
    """What there is for stages that wait for no instant: slots reserved for deliveries, limits kept for the head of a lane, queues
    with deliveries."""

    reserved: bool
    kept: bool
    delivers: bool


class Glance(NamedTuple):
    """What one look tells of everything there may be to do."""

    now: int
    instants: Instants
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One kind of upkeep. ``of``: the instant before which there is nothing to do; ``wanted``: whether there can be anything.
    ``every``: how long (µs) a process that makes passes all the time may leave it alone."""

    name: str
    work: Callable[[Database, Terms], Done]
    of: Callable[[Instants], int | None] | None = None
    wanted: Callable[[Wanted], bool] | None = None
    every: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What became of a stage. ``error``: why it failed; then it did nothing, and the others went on."""

    done: int = 0
    more: bool = False
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass did, stage by stage. ``next_due_at``: the first instant for which any run waits, or at which one expires or is
    over its deadline; ``next_in``: how far away it is, in µs."""

    stages: dict[str, StageReport]
    next_due_at: int | None
    next_in: int | None

    @property
    def more(self) -> bool:
        """Whether there is more to do at once."""
        return any(report.more for report in self.stages.values())

    def done(self, name: str) -> int:
        """How much a stage did."""
        return self.stages[name].done if name in self.stages else 0


def make_pass(database: Database, terms: Terms, *, leave_out: Collection[str] = ()) -> Pass:
    """Go through the stages once, in order. One that fails is reported and stops no other.

    Raises:
        StorageUnavailable: the database cannot be reached.
    """
    glance = database.read("upkeep.glance", _glance)
    if not terms.may_plan(glance.now):
        leave_out = {*leave_out, *PLANNING}
    stages = {stage.name: _report(stage, database, terms, glance) for stage in STAGES if stage.name not in leave_out}
    if any(report.done for report in stages.values()):
        glance = database.read("upkeep.glance", _glance)
    first = glance.instants.first
    return Pass(stages=stages, next_due_at=first, next_in=None if first is None else first - glance.now)


def _glance(tx: Transaction) -> Glance:
    return Glance(tx.now, deadlines.next_instants(tx), Wanted(*map(bool, tx.one("upkeep.wanted") or (True, True, True))))


def _report(stage: Stage, database: Database, terms: Terms, glance: Glance) -> StageReport:
    if stage.of is not None and ((at := stage.of(glance.instants)) is None or at > glance.now):
        return StageReport()
    if stage.wanted is not None and not stage.wanted(glance.wanted):
        return StageReport()
    try:
        done = stage.work(database, terms)
    except StorageUnavailable:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, it stops no other stage; who made the pass is told)
        return StageReport(error=error)
    return StageReport(done=done.done, more=done.more)


# -- the stages --------------------------------------------------------------------------------------------------------


def in_one(name: str, work: Callable[[Transaction, Terms], Done]) -> Callable[[Database, Terms], Done]:
    """A stage that is one transaction of that name."""
    return lambda database, terms: database.write(name, lambda tx: work(tx, terms))


def _due(tx: Transaction, terms: Terms) -> Done:
    due = attempts.make_due(tx, most=MOST_DUE, actor=terms.actor)
    return Done(due, due == MOST_DUE)


def _schedules(database: Database, terms: Terms) -> Done:
    from mainspring.operations import planning, replacing  # paid for only by those who have schedules

    planned = database.write("schedules.plan", lambda tx: planning.plan_due(tx, most=MOST_SCHEDULES, memory=terms.memory))
    if terms.memory is not None and planned.mark is not None:
        terms.memory.saw(planned.mark)
    for schedule_id, count in planned.stops:
        ask = partial(replacing.stop_oldest, schedule_id=schedule_id, count=count, actor=terms.actor)
        database.write("schedules.stop", ask)
    return Done(planned.schedules, planned.more)


def _backfills(database: Database, terms: Terms) -> Done:
    from mainspring.operations import backfills  # paid for only by those who have schedules

    steps = backfills.take_up(database, most=MOST_BACKFILL_STEPS)
    return Done(steps, steps == MOST_BACKFILL_STEPS)


def _alerts(tx: Transaction, terms: Terms) -> Done:
    from mainspring.operations import alerting  # paid for only by those who have alerts

    looked = alerting.look(tx, most=MOST_WATCHES)
    return Done(looked, looked == MOST_WATCHES)


def _cursors(database: Database, terms: Terms) -> Done:
    from mainspring.operations import mending  # paid for only by those who have schedules

    expanded = mending.expand_calendars(database, actor=terms.actor)
    return Done(mending.audit(database, actor=terms.actor).repaired + expanded)


def _expiry(tx: Transaction, terms: Terms) -> Done:
    expired = deadlines.expire(tx, most=MOST_DEADLINES, actor=terms.actor)
    return Done(expired, expired == MOST_DEADLINES)


def _deadlines(tx: Transaction, terms: Terms) -> Done:
    over = deadlines.enforce(tx, most=MOST_DEADLINES, actor=terms.actor)
    return Done(over, over == MOST_DEADLINES)


def _reap(tx: Transaction, terms: Terms) -> Done:
    return Done(attempts.reap(tx, views.policies, ttl=terms.ttl, actor=terms.actor, every=terms.reap_every) or 0)


def _sweep(tx: Transaction, terms: Terms) -> Done:
    return Done(limits.sweep(tx))


def _left_over(database: Database, terms: Terms) -> Done:
    pieces = continuing.go_on(database, actor=terms.actor)
    return Done(pieces, pieces > 0)


def _unserved(tx: Transaction, terms: Terms) -> Done:
    before, settled = tx.now - _UNSERVED_US, tx.now - _SETTLED_US
    parked = deadlines.park_unserved(tx, before=before, settled=settled, most=MOST_UNSERVED, actor=terms.actor)
    return Done(parked, parked == MOST_UNSERVED)


def _acts(database: Database, terms: Terms) -> Done:
    return Done(bulk.take_up(database, most=MOST_ITEMS))


def _reservations(tx: Transaction, terms: Terms) -> Done:
    return Done(dispatching.expire(tx))


def _deliveries(tx: Transaction, terms: Terms) -> Done:
    done = dispatching.look_after(tx, most=MOST_DELIVERIES, actor=terms.actor)
    return Done(done, done >= MOST_DELIVERIES)


def _undelivered(tx: Transaction, terms: Terms) -> Done:
    done = dispatching.catch_up_all(tx, most=MOST_DELIVERIES)
    return Done(done, done >= MOST_DELIVERIES)


def _keys(tx: Transaction, terms: Terms) -> Done:
    retention.forget(tx, workers_before=tx.now - _WORKERS_KEPT_US)
    limits.forget(tx)
    return Done(0)


def _forget(tx: Transaction, terms: Terms) -> Done:
    made = retention.forget_slice(tx, most=MOST_FORGOTTEN)
    return Done(made.runs + made.results + made.receipts, made.more)


#: What frees comes before what fills. Lapsed leases include those of runs that were asked to stop: an abandoned cancel ends there.
STAGES: Final = (
    Stage(
        name="reservations", work=in_one("deliveries.expire", _reservations), wanted=lambda wanted: wanted.reserved, every=SECOND
    ),
    Stage(name="due", work=in_one("attempts.due", _due), of=lambda instants: instants.due_at),
    Stage(name="expiry", work=in_one("deadlines.expire", _expiry), of=lambda instants: instants.expires_at),
    Stage(name="deadlines", work=in_one("deadlines.enforce", _deadlines), of=lambda instants: instants.deadline_at),
    Stage(name="leases", work=in_one("attempts.reap", _reap)),
    Stage(name="dependants", work=_left_over),
    Stage(name="schedules", work=_schedules, of=lambda instants: instants.plan_at),
    Stage(name="backfills", work=_backfills, of=lambda instants: instants.backfill_at),
    Stage(name="alerts", work=in_one("alerts.look", _alerts), of=lambda instants: instants.alert_at),
    Stage(name="limits", work=in_one("limits.sweep", _sweep), wanted=lambda wanted: wanted.kept, every=SECOND),
    Stage(
        name="deliveries", work=in_one("deliveries.look_after", _deliveries), wanted=lambda wanted: wanted.delivers, every=SECOND
    ),
    Stage(
        name="undelivered",
        work=in_one("deliveries.catch_up", _undelivered),
        wanted=lambda wanted: wanted.delivers,
        every=30 * SECOND,
    ),
    Stage(name="unserved", work=in_one("runs.park", _unserved), every=MINUTE),
    Stage(name="cursors", work=_cursors, every=10 * MINUTE),
    Stage(name="acts", work=_acts, every=10 * SECOND),
    Stage(name="keys", work=in_one("retention.keys", _keys), every=HOUR),
    Stage(name="retention", work=in_one("retention.forget", _forget), every=MINUTE),
)
