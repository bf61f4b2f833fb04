"""The ledger of occurrences: looking at it, and what the end of a run means for its schedule. Not here: who decides a fate
(``planning``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mainspring.core.occurrence import Disposition, Origin
from mainspring.core.states import State
from mainspring.store.database import Transaction

#: Why a window was missed: it did not start in the time that its schedule gives it.
START_WITHIN = "start_within"
#: Why a run is blocked: it has no slot of its schedule.
BLOCKED = "overlap"
_END = (1 << 62, "\x7f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One due instant of a schedule, and its fate. Instants in UTC microseconds. ``covers_*``: the late instants for which its run
    stands; ``into_key``: the occurrence that stands for it."""

    key: str
    schedule_id: str
    nominal_at: int
    due_at: int
    origin: Origin
    revision: int
    tz_version: str | None
    disposition: Disposition
    reason_code: str | None
    reason: str | None
    actor: str
    decided_at: int
    is_late: bool
    run_id: str
    into_key: str | None
    covers_first: int | None
    covers_last: int | None
    covers_count: int | None
    made_good_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OccurrenceRange:
    """Many instants with one fate, of which nothing ran and which are not kept one by one."""

    first_at: int
    last_at: int
    count: int
    disposition: Disposition
    reason_code: str | None
    revision: int
    tz_version: str | None


def ended(tx: Transaction, states: Mapping[str, State]) -> None:
    """Runs have ended: their slots are free and go to whoever waits, and what the ends say of health is counted.

    A run that still waited for a slot held none and says nothing of health: only its occurrence is closed, as missed where it did
    not start within its time.
    """
    rows = tx.rows("occurrences.of_runs", ids=sorted(states))
    if missed := [row[0] for row in rows if row[3] == Disposition.WAITING and states[row[5]] is State.SKIPPED]:
        fate = (str(Disposition.MISSED_WINDOW), START_WITHIN, None, 0)
        tx.execute("occurrences.decide", batch=sorted((key, *fate) for key in missed))
    tx.execute("occurrences.free", ids=sorted(row[5] for row in rows))
    counted: dict[str, tuple[int, int, int]] = {}
    for _, schedule_id, origin, disposition, _, run_id in rows:
        if disposition != Disposition.FIRED:
            continue
        failures, streak, succeeded = counted.get(schedule_id, (0, 0, 0))
        if origin == Origin.PLANNED and states[run_id] is State.FAILED:
            failures += 1
        elif origin == Origin.PLANNED and states[run_id] is State.SUCCEEDED:
            failures, streak, succeeded = 0, 1, 1
        counted[schedule_id] = failures, streak, succeeded
    if counted:
        told = tx.ask("cursors.count_ends", batch=sorted((key, *each) for key, each in counted.items()))
        tx.execute("cursors.poke_for_ends", ids=sorted(counted))
        if watched := {row[0] for row in told() if row[1]}:
            from mainspring.operations import alerting  # paid for only by those who have alerts

            failed = {row[5]: row[1] for row in rows if row[1] in watched and states[row[5]] is State.FAILED}
            alerting.ended(tx, sorted(watched), failed)


def retried(tx: Transaction, run_ids: Sequence[str]) -> None:
    """Runs wait for a retry: their slots go to whoever waits, unless their schedules say that retries keep them."""
    rows = tx.rows("occurrences.holding", ids=sorted(run_ids))
    free = [run_id for run_id, spec in rows if not msgspec.json.decode(spec)["overlap"].get("retries_hold_slot")]
    if free:
        back = tx.rows("occurrences.give_back", ids=free)
        tx.execute("cursors.poke", ids=sorted({row[0] for row in back}))


def without_slot(tx: Transaction, run_ids: Sequence[str]) -> dict[str, str]:
    """Which of these runs gave their slot back for a retry, each with its schedule."""
    return dict(tx.rows("occurrences.without", ids=sorted(run_ids))) if run_ids else {}


def page(
    tx: Transaction, schedule_id: str, *, disposition: Disposition | None, after: tuple[int, str] | None, most: int
) -> list[Occurrence]:
    """A page of a schedule's occurrences, the newest instant first."""
    before, before_key = after or _END
    rows = tx.rows(
        "occurrences.page",
        id=schedule_id,
        before=before,
        before_key=before_key,
        disposition=None if disposition is None else str(disposition),
        most=most,
    )
    return [_occurrence(row) for row in rows]


def ranges(tx: Transaction, schedule_id: str, *, most: int) -> list[OccurrenceRange]:
    """The ranges of a schedule, the newest first."""
    return [_range(row) for row in tx.rows("occurrences.ranges", id=schedule_id, most=most)]


def planned_at(tx: Transaction, schedule_id: str, at: int) -> Occurrence | None:
    """What became of an instant that the rule said, where that is kept by itself."""
    row = tx.one("occurrences.planned_at", id=schedule_id, at=at)
    return None if row is None else _occurrence(row)


def range_at(tx: Transaction, schedule_id: str, at: int) -> OccurrenceRange | None:
    """The range within which an instant lies."""
    row = tx.one("occurrences.range_at", id=schedule_id, at=at)
    return None if row is None else _range(row)


def of_run(tx: Transaction, run_id: str) -> Occurrence | None:
    """The occurrence of a run."""
    row = tx.one("occurrences.of_run", run_id=run_id)
    return None if row is None else _occurrence(row)


def behind(tx: Transaction, run_id: str) -> Occurrence | None:
    """The occurrence of a run, or of the one that it does again."""
    if (found := of_run(tx, run_id)) is not None:
        return found
    line = [row[0] for row in tx.rows("occurrences.lineage", run_id=run_id)]
    keys = {row[5]: row[0] for row in tx.rows("occurrences.of_runs", ids=line)} if len(line) > 1 else {}
    return next((of_run(tx, each) for each in line if each in keys), None)


def _occurrence(row: Sequence[Any]) -> Occurrence:
    return Occurrence(
        key=row[0], schedule_id=row[1], nominal_at=row[3], due_at=row[4], origin=Origin(row[5]), revision=row[6], tz_version=row[7],
        disposition=Disposition(row[8]), reason_code=row[9], reason=row[10], actor=row[11], decided_at=row[12],
        is_late=bool(row[13]), run_id=row[16], into_key=row[17], covers_first=row[18], covers_last=row[19], covers_count=row[20],
        made_good_by=row[21],
    )  # fmt: skip


def _range(row: Sequence[Any]) -> OccurrenceRange:
    return OccurrenceRange(
        first_at=row[0],
        last_at=row[1],
        count=row[2],
        disposition=Disposition(row[3]),
        reason_code=row[4],
        revision=row[5],
        tz_version=row[6],
    )
