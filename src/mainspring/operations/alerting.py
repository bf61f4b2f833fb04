"""Alerts as rows: what is wrong with schedules is judged, written down once per episode, and told, in the transaction that decides.

Everybody who calls this holds the cursors of the schedules, so two never judge one of them at once. However many there are, it
takes the same few statements. Not here: what is wrong (``core/alerts.py``), and who is told (``webhooks``).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from mainspring.core.alerts import Alerts, Facts, Kind
from mainspring.core.alerts import judge as judged
from mainspring.core.ids import stable_uuid7
from mainspring.operations import webhooks
from mainspring.operations.rows import encode_data
from mainspring.operations.webhooks import Change
from mainspring.store.database import Row, Transaction

OPENED, RECOVERED = "alert_opened", "alert_recovered"
_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_BY_SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One episode: what was wrong with a schedule from ``opened_at`` (µs, UTC) to ``recovered_at``; None: it still is."""

    id: str
    schedule_id: str
    schedule: str
    kind: str
    opened_at: int
    recovered_at: int | None
    why: str
    run_id: str | None


class Happened(NamedTuple):
    """What a transaction did to a schedule that opens an alert: why, and the run that tells of it."""

    why: str
    run_id: str | None = None


class _Open(NamedTuple):
    """A row of ``alerts.open_of``."""

    id: str
    schedule_id: str
    kind: str
    opened_at: int
    why: str
    is_closed: int


class _Row(NamedTuple):
    """A row of ``alerts.facts``."""

    id: str
    namespace: str
    name: str
    spec: str
    enabled: int
    paused_at: int | None
    paused_by: str | None
    paused_reason: str | None
    broken: str | None
    deleted_at: int | None
    since: int
    next_at: int | None
    cursor_at: int
    next_nominal_at: int | None
    looked_at_next: int | None
    failure_streak: int
    last_success_at: int | None
    last_failure_at: int | None
    held_to: int | None
    unstarted_due: int | None
    waiting: int
    stalled: int
    missed_at: int | None
    unjudged_at: int | None

    def facts(self, buffer_max: int) -> Facts:
        """What it tells."""
        succeeded, failed = self.last_success_at or 0, self.last_failure_at or 0
        return Facts(
            is_in_force=bool(self.enabled) and self.paused_at is None, is_deleted=self.deleted_at is not None,
            is_paused_by_failures=self.paused_at is not None and self.paused_by == _BY_SYSTEM, broken=self.broken,
            since=self.since, cursor_at=self.cursor_at, next_nominal_at=self.next_nominal_at, looked_at_next=self.looked_at_next,
            is_failing=failed > succeeded or (failed == succeeded and self.failure_streak > 0),
            last_success_at=self.last_success_at, held_to=self.held_to, unstarted_due=self.unstarted_due,
            is_full=self.waiting >= buffer_max, stalled=self.stalled, missed_at=self.missed_at, unjudged_at=self.unjudged_at,
        )  # fmt: skip


def look(tx: Transaction, *, most: int) -> int:
    """Look at up to ``most`` schedules of which an alert may open or recover by now; how many."""
    due = [row[0] for row in tx.rows("alerts.due", most=most)]
    if due:
        judge(tx, sorted(due))
    return len(due)


def planned(tx: Transaction, ids: Sequence[str], full: Collection[str]) -> None:
    """The planner moved these schedules; of those that are ``full`` an occurrence found no place to wait."""
    told = {Kind.BUFFER_FULL: Happened("an occurrence found no place to wait for its slot")}
    judge(tx, ids, dict.fromkeys(full, told))


def ended(tx: Transaction, ids: Sequence[str], failed: Mapping[str, str]) -> None:
    """Runs of these schedules have ended; those that ``failed``, each with its schedule."""
    letters = tx.rows("alerts.letters", ids=sorted(failed)) if failed else []
    judge(tx, ids, {failed[run_id]: {Kind.DEAD_LETTER: Happened("a run used up a budget", run_id)} for (run_id,) in letters})


def audited(tx: Transaction, schedule_id: str, fault: str) -> None:
    """The audit found the cursor of this schedule wrong."""
    judge(tx, [schedule_id], {schedule_id: {Kind.AUDIT: Happened(f"the audit found its cursor {fault}")}})


def follow(tx: Transaction, schedule_id: str, alerts: Alerts | None) -> None:
    """What a schedule wants from now on. Where it wants none, what is open recovers: nobody looks any more."""
    if alerts is not None:
        tx.execute("alerts.watch", id=schedule_id, within=alerts.succeed_within_us)
        return
    (row,) = tx.rows("alerts.facts", ids=[schedule_id]) or (None,)
    if row is not None:
        _write(tx, {}, _recovered(tx, [_Row(*row)], [_Open(*each) for each in tx.rows("alerts.open_of", ids=[schedule_id])]))
    tx.execute("alerts.unwatch", id=schedule_id)


def judge(tx: Transaction, ids: Sequence[str], happened: Mapping[str, Mapping[Kind, Happened]] | None = None) -> None:
    """Judge these schedules, whose cursors the caller holds, by how they stand and by what just happened."""
    facts, standing = tx.ask("alerts.facts", ids=ids), tx.ask("alerts.open_of", ids=ids)
    rows, before = [_Row(*row) for row in facts()], [_Open(*row) for row in standing()]
    wanted: list[tuple[_Row, Kind, Happened]] = []
    over: list[_Open] = []
    later: list[tuple[str, str | None]] = []
    waits: list[tuple[str, int | None]] = []
    for row in rows:
        spec = msgspec.json.decode(row.spec)
        if "alerts" not in spec:
            continue
        there = {each.kind: each for each in before if each.schedule_id == row.id}
        did = (happened or {}).get(row.id, {})
        letter = there.get(Kind.DEAD_LETTER)
        found = judged(
            Alerts.from_data(spec["alerts"]), row.facts(spec["overlap"]["buffer_max"]),
            happened={kind: each.why for kind, each in did.items()}, open_now=[Kind(kind) for kind in there],
            closed=letter is None or bool(letter.is_closed), now=tx.now,
        )  # fmt: skip
        wanted += [(row, kind, did.get(kind, Happened(why))) for kind, why in found.wrong.items() if kind not in there]
        over += [each for kind, each in there.items() if kind not in found.wrong]
        if letter is not None and Kind.DEAD_LETTER in did:
            later.append((letter.id, did[Kind.DEAD_LETTER].run_id))
        if found.next_at != row.next_at:
            waits.append((row.id, found.next_at))
    if later:
        tx.execute("alerts.go_on", batch=sorted(later))
    if waits:
        tx.execute("alerts.wait", batch=sorted(waits))
    if wanted or over:
        _write(tx, _opened(tx, wanted), _recovered(tx, rows, over))


def _opened(tx: Transaction, wanted: Sequence[tuple[_Row, Kind, Happened]]) -> dict[str, Change]:
    if not wanted:
        return {}
    made = {stable_uuid7(tx.now, f"alert/{row.id}/{kind}"): (row, kind, did) for row, kind, did in wanted}
    batch = [(key, row.namespace, row.id, str(kind), did.why, did.run_id) for key, (row, kind, did) in made.items()]
    new = [row[0] for row in tx.rows("alerts.open", batch=sorted(batch))]
    return {
        key: Change(
            alert=key, namespace=row.namespace, schedule_id=row.id, schedule=row.name, kind=str(kind), is_over=False,
            opened_at=tx.now, at=tx.now, why=did.why, run_id=did.run_id,
        )
        for key in new
        for row, kind, did in [made[key]]
    }  # fmt: skip


def _recovered(tx: Transaction, rows: Sequence[_Row], over: Sequence[_Open]) -> dict[str, Change]:
    if not over:
        return {}
    of = {row.id: row for row in rows}
    gone = {row[0] for row in tx.rows("alerts.recover", ids=sorted(each.id for each in over))}
    return {
        each.id: Change(
            alert=each.id, namespace=of[each.schedule_id].namespace, schedule_id=each.schedule_id,
            schedule=of[each.schedule_id].name, kind=each.kind, is_over=True, opened_at=each.opened_at, at=tx.now, why=each.why,
            run_id=None,
        )
        for each in over
        if each.id in gone
    }  # fmt: skip


def _write(tx: Transaction, opened: Mapping[str, Change], recovered: Mapping[str, Change]) -> None:
    """On record, and to whoever wants to be told."""
    changes = sorted([*opened.values(), *recovered.values()], key=lambda each: (each.schedule_id, not each.is_over, each.kind))
    if not changes:
        return
    counts: dict[str, int] = {}
    batch: list[tuple[str, int, str, str | None]] = []
    for each in changes:
        counts[each.schedule_id] = nth = counts.get(each.schedule_id, 0) + 1
        data = encode_data({"alert": each.alert, "kind": each.kind, "why": each.why})
        batch.append((each.schedule_id, nth, RECOVERED if each.is_over else OPENED, data))
    tx.execute("alerts.log", batch=batch)
    webhooks.tell(tx, changes)


def listing(
    tx: Transaction, *, namespace: str, schedule: str | None, only_open: bool, before: str | None, most: int
) -> list[Alert]:
    """A page of a namespace's alerts, the newest first."""
    rows = tx.rows(
        "alerts.page", namespace=namespace, schedule=schedule, only_open=int(only_open), before=before or _LAST, most=most
    )
    return [_alert(row) for row in rows]


def _alert(row: Row) -> Alert:
    key, schedule_id, schedule, kind, opened_at, recovered_at, why, run_id = row
    return Alert(
        id=key, schedule_id=schedule_id, schedule=schedule, kind=kind, opened_at=opened_at, recovered_at=recovered_at, why=why,
        run_id=run_id,
    )  # fmt: skip
