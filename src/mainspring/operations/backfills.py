"""Backfills: past instants of a schedule that are run again, in pieces, each instant judged when it is its turn.

Every step holds the schedule's cursor, so planner, triggers and other backfills are before or after it: two of them never run one
instant twice. A step starts no more than there are free slots, so live occurrences go first. Not here: the judgement
(``core/backfill.py``).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec

from mainspring.core.backfill import MOST_BACKFILLED, Known, LeftOut, Only, backfill_key, left_out
from mainspring.core.durations import SECOND
from mainspring.core.ids import stable_uuid7
from mainspring.core.occurrence import Disposition, Origin, planned_key
from mainspring.core.planning import Arrival, Fate
from mainspring.core.schedule import Cursor
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption, UnknownRun
from mainspring.operations import blackouts, planning, schedules, visits
from mainspring.operations.rows import encode_data
from mainspring.operations.schedule_rows import ScheduleRow, read_spec, table_of
from mainspring.store.database import Database, Transaction

CHUNK = 100
#: How long (µs) a backfill that found no free slot waits before it looks again.
_LOOKS_AGAIN_US = 1 * SECOND
_Outcome: TypeAlias = tuple[int, str, str | None, str | None]


class Options(NamedTuple):
    """How a backfill goes. ``spacing_us`` is between starts; ``max_concurrency`` bounds its own runs under way; ``own_slots``: it
    takes none of its schedule's."""

    only: Only = Only.MISSING
    newest_first: bool = False
    spacing_us: int = 0
    max_concurrency: int | None = None
    own_slots: bool = False
    include_forgotten: bool = False


class BackfillView(NamedTuple):
    """A backfill as it stands; instants in UTC microseconds. ``done`` of ``total`` instants have their outcome."""

    id: str
    namespace: str
    schedule_id: str
    first_at: int
    last_at: int
    options: Options
    body: bytes | None
    actor: str
    total: int
    done: int
    created_at: int
    next_at: int | None
    finished_at: int | None
    cancelled_by: str | None


class BackfillItem(NamedTuple):
    """One instant: ``started`` with its run, ``left_out`` with why (``LeftOut``), or no outcome yet."""

    place: int
    nominal_at: int
    outcome: str | None
    code: str | None
    run_id: str | None


class _Rows(NamedTuple):
    """What the ledger has of some instants: what is known of each, and the row and the run to which a further one belongs."""

    known: Mapping[int, Known]
    first: Mapping[int, tuple[str, str | None]]


def look(tx: Transaction, name: str, first: int, last: int, options: Options, *, namespace: str) -> list[BackfillItem]:
    """Every instant from ``first`` to ``last`` (inclusive) as a backfill would find it now; without outcome: it would run.

    Raises:
        UnknownSchedule: there is none of that name. InvalidOption: more than 10,000 instants, or some that are not past.
    """
    schedule = schedules.find(tx, name, namespace=namespace)
    instants = _instants(tx, schedule, first, last, options)
    cursor = schedules.cursor_of(tx, schedule)
    codes = _judged(tx, schedule, cursor, _rows(tx, schedule.id, instants), instants, options, since=tx.now + 1)
    told = zip(instants, codes, strict=True)
    return [BackfillItem(n, at, None if code is None else "left_out", code, None) for n, (at, code) in enumerate(told)]


def begin(
    tx: Transaction, backfill_id: str, name: str, first: int, last: int, options: Options, *, body: bytes | None, namespace: str,
    actor: str,
) -> None:  # fmt: skip
    """Write a backfill down; upkeep carries it out. A repeat changes nothing.

    Raises:
        UnknownSchedule: there is none of that name. InvalidOption: more than 10,000 instants, or some that are not past.
    """
    schedule, _ = schedules.take(tx, name, namespace=namespace)  # whoever tells its history holds its cursor
    if tx.one("backfills.get", id=backfill_id, namespace=namespace) is not None:
        return
    instants = _instants(tx, schedule, first, last, options)
    told = msgspec.json.encode(options._asdict()).decode()
    tx.execute(
        "backfills.begin", id=backfill_id, namespace=namespace, schedule_id=schedule.id, first=first, last=last, options=told,
        body=body, actor=actor, total=len(instants),
    )  # fmt: skip
    if instants:
        tx.execute("backfills.add", id=backfill_id, batch=list(enumerate(instants)))
    else:
        tx.execute("backfills.count", id=backfill_id, more=0, wait=0)
    data = encode_data({"backfill": backfill_id, "instants": len(instants)})
    tx.execute("schedules.log", id=schedule.id, type="backfill_begun", actor=actor, data=data)


def step(tx: Transaction, backfill_id: str, *, namespace: str) -> BackfillView:
    """Judge and start the next instants, as many as there is room for.

    Raises:
        UnknownRun: there is no such backfill.
    """
    schedule, cursor, backfill = _locked(tx, backfill_id, namespace)
    if backfill.finished_at is not None:
        return backfill
    planning.look_at(tx, [cursor])
    cursor = _cursor(tx, schedule.id)
    items = [(row[0], row[1]) for row in tx.rows("backfills.next", id=backfill.id, most=CHUNK)]
    rows = _rows(tx, schedule.id, [at for _, at in items])
    codes = _judged(tx, schedule, cursor, rows, [at for _, at in items], backfill.options, since=backfill.created_at)
    room = 0 if blackouts.over(tx, schedule) else _room(tx, schedule, backfill)
    starts: list[tuple[int, int]] = []
    done: list[_Outcome] = []
    for (place, at), code in zip(items, codes, strict=True):
        if code is not None:
            done.append((place, "left_out", str(code), None))
        elif len(starts) < room:
            starts.append((place, at))
        else:
            break
    done += _start(tx, schedule, backfill, rows, starts)
    if done:
        tx.execute("backfills.conclude", id=backfill.id, batch=sorted(done))
    spaced = backfill.options.spacing_us if starts else 0
    wait = spaced or (0 if len(done) == len(items) else _LOOKS_AGAIN_US)
    tx.execute("backfills.count", id=backfill.id, more=len(done), wait=wait)
    return get(tx, backfill.id, namespace=namespace)


def cancel(tx: Transaction, backfill_id: str, *, namespace: str, actor: str) -> BackfillView:
    """Start nothing more; what was started goes on. One that is over stays as it is.

    Raises:
        UnknownRun: there is no such backfill.
    """
    schedule, _, backfill = _locked(tx, backfill_id, namespace)
    if backfill.finished_at is None:
        tx.execute("backfills.cancel", id=backfill.id)
        tx.execute("backfills.cancelled", id=backfill.id, actor=actor)
        data = encode_data({"backfill": backfill_id})
        tx.execute("schedules.log", id=schedule.id, type="backfill_cancelled", actor=actor, data=data)
    return get(tx, backfill_id, namespace=namespace)


def get(tx: Transaction, backfill_id: str, *, namespace: str) -> BackfillView:
    """A backfill as it stands.

    Raises:
        UnknownRun: there is none of that id in this namespace.
    """
    return _known(tx.one("backfills.get", id=backfill_id, namespace=namespace), backfill_id)


def items(tx: Transaction, backfill_id: str, *, namespace: str, after: int = -1, most: int = 500) -> list[BackfillItem]:
    """What became of the instants of a backfill: a page, in the order in which they are run."""
    get(tx, backfill_id, namespace=namespace)
    return [BackfillItem(*row) for row in tx.rows("backfills.items", id=backfill_id, after=after, most=most)]


def take_up(database: Database, *, most: int) -> int:
    """Go on with backfills whose time it is, up to so many steps; how many were made."""
    made = 0
    while made < most and (due := database.read("backfills.due", lambda tx: tx.one("backfills.due"))) is not None:
        database.write("backfills.step", partial(step, backfill_id=due[0], namespace=due[1]))
        made += 1
    return made


# -- judging -----------------------------------------------------------------------------------------------------------


def _instants(tx: Transaction, schedule: ScheduleRow, first: int, last: int, options: Options) -> list[int]:
    if last < first or last > tx.now:
        raise InvalidOption("a backfill goes from first to last, and last is not in the future", option="last")
    table = table_of(schedule, schedules.cursor_of(tx, schedule))
    found = list(table.between(first - 1, last, most=MOST_BACKFILLED + 1))
    if len(found) > MOST_BACKFILLED:
        raise InvalidOption(f"these are more than {MOST_BACKFILLED:,} instants; take a shorter time", option="first")
    return found[::-1] if options.newest_first else found


def _judged(
    tx: Transaction, schedule: ScheduleRow, cursor: Cursor, rows: _Rows, instants: Sequence[int], options: Options, *, since: int
) -> list[LeftOut | None]:
    kept = tx.one("backfills.kept_from", id=schedule.id)
    kept_from = kept[0] if kept and kept[0] is not None else None
    return [_code(schedule, cursor, rows.known.get(at, Known()), at, options, since, kept_from) for at in instants]


def _code(
    schedule: ScheduleRow, cursor: Cursor, known: Known, at: int, options: Options, since: int, kept_from: int | None
) -> LeftOut | None:
    if schedule.deleted_at is not None:
        return LeftOut.DELETED
    if at > cursor.cursor_at:
        return LeftOut.UNDECIDED  # the planner's, as while a pause lasts
    if kept_from is not None and at < kept_from:
        known = known._replace(is_forgotten=True)
    return left_out(options.only, known, since=since, include_forgotten=options.include_forgotten)


def _rows(tx: Transaction, schedule_id: str, instants: Sequence[int]) -> _Rows:
    if not instants:
        return _Rows({}, {})
    around = {"id": schedule_id, "first": min(instants), "last": max(instants)}
    known: dict[int, Known] = {}
    first: dict[int, tuple[str, str | None]] = {}
    for key, at, origin, decided_at, run_id, state in tx.rows("backfills.known", **around):
        old = known.get(at, Known())
        states = old.states if state is None else old.states | {State(state)}
        newest = max(old.backfilled_at or 0, decided_at) if origin == Origin.BACKFILL else old.backfilled_at
        known[at] = Known(states, old.is_forgotten or state is None, newest)
        if at not in first or not key.startswith("backfill:"):
            first[at] = key, None if state is None else run_id
    for begins, ends, state in tx.rows("backfills.covering", **around):
        for at in (at for at in instants if begins <= at <= ends):
            old = known.get(at, Known())
            known[at] = old._replace(states=old.states | {State(state)})
    return _Rows(known, first)


# -- starting ----------------------------------------------------------------------------------------------------------


def _room(tx: Transaction, schedule: ScheduleRow, backfill: BackfillView) -> int:
    """How many may start now: of its own bound, and of the slots that no live occurrence holds or waits for."""
    options, slots = backfill.options, read_spec(schedule.spec).overlap.max_concurrency
    room = 1 if options.spacing_us else CHUNK
    own = options.max_concurrency or (slots if options.own_slots else None)
    if own is not None:
        counted = tx.rows("backfills.under_way", id=backfill.id)
        room = min(room, own - sum(runs for state, runs in counted if State(state) not in TERMINAL))
    if slots is not None and not options.own_slots:
        standing = planning.standing(tx, [schedule.id]).get(schedule.id, ())
        room = min(room, slots - sum(each.is_due or not each.is_retry for each in standing))
    return max(0, room)


def _start(
    tx: Transaction, schedule: ScheduleRow, backfill: BackfillView, rows: _Rows, starts: Sequence[tuple[int, int]]
) -> list[_Outcome]:
    has_slots = read_spec(schedule.spec).overlap.max_concurrency is not None and not backfill.options.own_slots
    entries: list[tuple[Fate, str | None]] = []
    outcomes: list[_Outcome] = []
    good: list[tuple[str, str]] = []
    for place, at in starts:
        run_id = stable_uuid7(tx.now, "backfill", backfill.id, place)
        key, before = rows.first.get(at, (None, None))
        arrival = Arrival(
            key=planned_key(schedule.id, at) if key is None else backfill_key(run_id), nominal=at, due_at=tx.now,
            origin=Origin.BACKFILL, actor=backfill.actor, run_id=run_id, body=backfill.body,
        )  # fmt: skip
        entries.append((Fate(arrival=arrival, disposition=Disposition.FIRED, slot=has_slots), before))
        outcomes.append((place, "started", None, run_id))
        good += [] if key is None else [(key, run_id)]
    if entries:
        visits.enter(tx, schedule, entries)
    if good:
        tx.execute("backfills.made_good", batch=sorted(good))
    return outcomes


def _locked(tx: Transaction, backfill_id: str, namespace: str) -> tuple[ScheduleRow, Cursor, BackfillView]:
    found = get(tx, backfill_id, namespace=namespace)
    cursor = _cursor(tx, found.schedule_id)  # before the backfill, as everywhere
    locked = _known(tx.one("backfills.lock", id=backfill_id, namespace=namespace), backfill_id)
    return schedules.find_by_id(tx, found.schedule_id, namespace=namespace), cursor, locked


def _cursor(tx: Transaction, schedule_id: str) -> Cursor:
    row = tx.one("cursors.lock", id=schedule_id)
    assert row is not None
    return Cursor(*row)


def _known(row: Sequence[Any] | None, backfill_id: str) -> BackfillView:
    if row is None:
        raise UnknownRun(f"there is no backfill {backfill_id} in this namespace", run_id=backfill_id)
    said = msgspec.json.decode(row[5], type=dict[str, Any])
    options = Options(**said | {"only": Only(said["only"])})
    return BackfillView._make([*row[:5], options, *row[6:]])
