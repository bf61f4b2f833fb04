"""Looking at schedules, and steering them while everything runs."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from mainspring import codec
from mainspring.client.backfills import Backfill, Backfills, backfill_of
from mainspring.client.definitions import Allow, Definitions, drafted
from mainspring.client.requests import Request
from mainspring.client.schedule_filters import filter_of
from mainspring.client.specs import check_whole, rule_of, spec_of
from mainspring.client.writing import write_again
from mainspring.core import launch
from mainspring.core.calendars import Calendar
from mainspring.core.durations import SECOND, Duration, as_datetime, format_instant, parse_instant
from mainspring.core.names import check_name, check_text
from mainspring.core.occurrence import Disposition
from mainspring.core.rules import Rule, timezones
from mainspring.core.schedule import Spec
from mainspring.core.timetable import Fire, Surroundings, timetable
from mainspring.errors import InvalidOption, shown
from mainspring.operations import calendars, occurrences, schedule_history, schedules
from mainspring.operations.occurrences import Occurrence, OccurrenceRange
from mainspring.operations.schedule_history import InstantExplained, Revision, ScheduleEvent
from mainspring.operations.schedule_rows import read_spec, table_of
from mainspring.operations.schedules import ScheduleView, Triggered
from mainspring.operations.views import RunView
from mainspring.store.database import Transaction
from mainspring.zones import zone

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")

FireList: TypeAlias = list[Fire]
OccurrenceList: TypeAlias = list[Occurrence]
RangeList: TypeAlias = list[OccurrenceRange]
RevisionList: TypeAlias = list[Revision]
EventList: TypeAlias = list[ScheduleEvent]
ScheduleList: TypeAlias = list[ScheduleView]

_PAGE = 50
_MOST_PREVIEWED = 500
_MOST_PAGE = 500
_NO_REVISION = 2**31 - 1
_MICROSECONDS = re.compile(r"-?[0-9]{1,18}")  # what a database can hold


class DueOccurrence(NamedTuple):
    """The occurrence for which an attempt runs, as user code sees it: aware datetimes in UTC.

    ``nominal`` is the instant the rule said, ``due`` has jitter in it, ``decided`` is when the planner saw it. ``previous`` and
    ``next`` are the rule's instants around it. ``covers_*``: this run stands for so many instants, from the first to the last.
    """

    key: str
    schedule: str
    nominal: datetime
    due: datetime
    decided: datetime
    previous: datetime | None
    next: datetime | None
    is_late: bool
    covers_first: datetime
    covers_last: datetime
    covers_count: int
    origin: str
    reason: str | None
    tz_version: str | None

    @property
    def late_by(self) -> timedelta:
        """How long after it was due it was decided."""
        return self.decided - self.due


class Declared(NamedTuple):
    """A schedule as code declares it."""

    name: str
    rule: Rule
    request: Request
    options: Mapping[str, Any]

    @staticmethod
    def of(name: str, rule: Rule, request: Request, options: Mapping[str, Any]) -> "Declared":
        """The same, checked.

        Raises:
            InvalidOption: naming the option and what to write.
        """
        check_name(name, "schedule")
        spec_of(rule, target=request.lane.task, **options)
        return Declared(name, rule, request, options)

    def put(self, client: "Client") -> None:
        """Make it be so."""
        client.schedules.put(self.name, self.rule, self.request, **self.options)


class SchedulePage(NamedTuple):
    """A page of schedules. ``next_cursor``: go on behind it; None: there is no more."""

    data: ScheduleList
    next_cursor: str | None


class OccurrencePage(NamedTuple):
    """One page, the newest first. ``next_cursor``: where the next one begins; None at the end."""

    data: list[Occurrence]
    next_cursor: str | None


class RunPage(NamedTuple):
    """One page of runs, those of the newest instants first. ``next_cursor``: where the next one begins; None at the end."""

    data: list[RunView]
    next_cursor: str | None


class Schedules:
    """Looking at schedules, and steering them while everything runs."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def put(self, name: str, rule: Rule | Mapping[str, Any], target: str | Request | Mapping[str, Any], *,
            payload: Mapping[str, Any] | None = None, queue: str = "default", priority: int = 0,
            timeout: Duration | None = None, max_attempts: int | None = None, **options: Any) -> ScheduleView:  # fmt: skip
        """Make a schedule be so: a new one, a new revision of the one of that name, or nothing where it is so already.

        ``target`` is a task, run by name with ``payload``; or ``http(…)``, ``shell([…])``, which workers run without user code.
        ``timeout`` and ``max_attempts`` are those of its runs. ``options`` are those of ``spec_of``: ``overlap=``, ``misfire=``,
        ``jitter=``, ``start_at=``, ``end_at=``, ``max_runs=``, ``start_within=``, ``deadline=``, ``pause_after_failures=``,
        ``alerts=``, ``enabled=``, ``attributes=``; and ``retry=``.

        Raises:
            RuleInvalid: everything that is wrong with the rule, each with what to write. NeverDue: it is due at no instant.
            TargetInvalid, TargetRefused: the target, with every mistake, or the rule by which this process refuses it.
            InvalidOption: naming the option and what to write. ScheduleInvalid: all that is wrong, if it is more than one thing.
            Nothing was written.
        """
        check_name(name, "schedule")
        made = {"task": target, "payload": payload} if isinstance(target, str) else target
        if payload is not None and isinstance(made, Mapping):
            made = {**made, "payload": payload}
        document = {"name": name, "rule": rule, "target": made, "queue": queue, "priority": priority, **options}
        tries = {"timeout": timeout, "max_attempts": max_attempts}
        draft = drafted(self._client, document | {key: said for key, said in tries.items() if said is not None}, as_document=False)
        new_id = self._client.system.new_id()
        return self._write(
            "schedules.put",
            lambda tx: schedules.put(tx, new_id, name, *draft, namespace=self._client.namespace, actor=self._client.actor),
        )

    def documents(self, allow: Allow | None = None) -> Definitions:
        """Schedules as documents: created, replaced and merged as HTTP and files write them."""
        return Definitions(self._client, allow)

    def edit(self, name: str, **changes: Any) -> ScheduleView:
        """Change what is named, as a document writes it, and leave the rest: ``edit("nightly", overlap={"policy": "skip"})``. None
        takes a field back to its default.

        Raises:
            UnknownSchedule: there is none of that name. ScheduleInvalid: everything that is wrong. Others as for ``put``.
        """
        return self.documents().merge(name, changes).view

    def enable(self, name: str) -> ScheduleView:
        """Have its rule be in force from now on: nothing of the time before starts. One that is paused stays so.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        return self.edit(name, enabled=True)

    def disable(self, name: str) -> ScheduleView:
        """Have its rule be in force no more: nothing is due, and what waits is withdrawn.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        return self.edit(name, enabled=False)

    def get(self, name: str) -> ScheduleView:
        """A schedule as it is now.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        return self._read("schedules.get", lambda tx: schedules.get(tx, name, namespace=self._client.namespace))

    def list(self, *, after: str = "", limit: int = _PAGE, **wanted: Any) -> ScheduleList:
        """Schedules by name, from the one behind ``after``; of those asked for as in ``find``."""
        return self.find(after=after, limit=limit, **wanted).data

    def find(
        self, *, after: str = "", limit: int = _PAGE, state: str | Sequence[str] | None = None, kind: str | None = None,
        target: str | None = None, prefix: str = "", next_before: datetime | str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> SchedulePage:  # fmt: skip
        """A page of schedules by name. ``state`` is one, or several; ``target`` the name of a task, ``http`` or ``shell``;
        ``attributes`` are all of those that a schedule has to have. Where many are passed over a page may have fewer.

        Raises:
            InvalidOption: naming what cannot be asked.
        """
        wanted = filter_of(state, kind, target, prefix, next_before, attributes)
        most, namespace = check_whole(limit, "limit", 1, _MOST_PAGE), self._client.namespace
        found, last = self._read(
            "schedules.list", lambda tx: schedules.listing(tx, namespace=namespace, after=after, most=most, wanted=wanted)
        )
        return SchedulePage(found, last)

    def pause(self, name: str, *, reason: str) -> None:
        """Let nothing more fire until ``resume``; what is due meanwhile is settled then.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: a blank reason.
        """
        why = check_text(reason, "reason")
        client = self._client
        self._write(
            "schedules.pause", lambda tx: schedules.pause(tx, name, namespace=client.namespace, actor=client.actor, reason=why)
        )

    def resume(self, name: str) -> None:
        """Let it fire again. What was due meanwhile is settled as late, by the schedule's misfire policy."""
        client = self._client
        self._write("schedules.resume", lambda tx: schedules.resume(tx, name, namespace=client.namespace, actor=client.actor))
        client.tell_work([])

    def trigger(
        self, name: str, *, reason: str, payload: Mapping[str, Any] | None = None, as_of: datetime | str | None = None,
        ignore_blackout: bool = False,
    ) -> Triggered:  # fmt: skip
        """Run it now, whatever its rule says and whether it is paused. It waits for a slot as the others do.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: a blank reason. BlackedOut: it is in a blackout, and that
                was not to be ignored.
        """
        why = check_text(reason, "reason")
        body = None if payload is None else codec.encode_json(payload, what="payload", largest=codec.LARGEST)
        at = None if as_of is None else parse_instant(as_of, option="as_of")
        client, run_id = self._client, self._client.system.new_id()
        return self._write(
            "schedules.trigger",
            lambda tx: schedules.trigger(
                tx,
                name,
                run_id,
                namespace=client.namespace,
                actor=client.actor,
                reason=why,
                body=body,
                as_of=at,
                ignore_blackout=ignore_blackout,
            ),
        )

    def backfill(
        self, name: str, first: datetime | str, last: datetime | str, *, only: str = "missing", order: str = "oldest_first",
        spacing: Duration | None = None, max_concurrency: int | None = None, payload: Mapping[str, Any] | None = None,
        own_slots: bool = False, include_forgotten: bool = False,
    ) -> Backfill:  # fmt: skip
        """Past instants of a schedule, from ``first`` to ``last`` inclusive, that are to be run again: look at ``.preview()``, then
        ``.apply()``. Nothing is done yet.

        Raises:
            InvalidOption: naming the option and what to write.
        """
        return backfill_of(
            self._client, name, first, last, only=only, order=order, spacing=spacing, max_concurrency=max_concurrency,
            payload=payload, own_slots=own_slots, include_forgotten=include_forgotten,
        )  # fmt: skip

    @property
    def backfills(self) -> Backfills:
        """Backfills that were begun."""
        return Backfills(self._client)

    def delete(self, name: str) -> None:
        """Free its name. Its ledger, and what its runs left, are kept as long as they would be."""
        client = self._client
        self._write("schedules.delete", lambda tx: schedules.delete(tx, name, namespace=client.namespace, actor=client.actor))

    def preview(self, name: str, count: int = 10) -> FireList:
        """The next instants of a schedule, with what clocks on the wall show."""
        check_whole(count, "count", 1, _MOST_PREVIEWED)

        def look(tx: Transaction) -> FireList:
            schedule = schedules.find(tx, name, namespace=self._client.namespace)
            return table_of(schedule, schedules.cursor_of(tx, schedule)).preview(tx.now, count)

        return self._read("schedules.preview", look)

    def preview_rule(
        self, rule: Rule | Mapping[str, Any], count: int = 10, *, name: str = "", after: datetime | str | None = None
    ) -> FireList:
        """The next instants of a rule that is put nowhere, after now or ``after``. ``name`` is that of the schedule it is for:
        ``H`` hashes it.

        Raises:
            RuleInvalid: everything that is wrong with it.
        """
        begins = None if after is None else parse_instant(after, option="after")
        seed = f"{self._client.namespace}/{name}"
        wanted, namespace = rule_of(rule), self._client.namespace
        named = self._read("calendars.named", lambda tx: calendars.named(tx, wanted, namespace=namespace, lock=False))
        return fires_of(wanted, count, now=self._client.system.now(), after=begins, seed=seed, named=named)

    def explain(self, name: str, at: datetime | str) -> InstantExplained:
        """Why an instant is due or not, under the revision that was in force then, and what became of it.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: ``at`` is no instant.
        """
        instant = parse_instant(at, option="at")
        return self._read(
            "schedules.explain", lambda tx: schedule_history.explain(tx, name, instant, namespace=self._client.namespace)
        )

    def revisions(self, name: str, *, before: int | None = None, limit: int = _PAGE) -> RevisionList:
        """What a schedule said, the newest first, from the revision behind ``before``.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        newest = _NO_REVISION if before is None else before
        return self._read(
            "schedules.revisions",
            lambda tx: schedule_history.revisions(tx, name, namespace=self._client.namespace, before=newest, most=limit),
        )

    def events(self, name: str, *, after: int = 0, limit: int = _PAGE) -> EventList:
        """What was done to a schedule, in order, from the event behind ``after``.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        return self._read(
            "schedules.events",
            lambda tx: schedule_history.events(tx, name, namespace=self._client.namespace, after=after, most=limit),
        )

    def runs(self, name: str, *, cursor: str | None = None, limit: int = _PAGE) -> RunPage:
        """A page of the runs of a schedule's occurrences, as far as they are kept, the newest instant first.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: a bad cursor.
        """
        after = None if cursor is None else _read_cursor(cursor)
        found, views = self._read(
            "schedules.runs",
            lambda tx: schedule_history.runs(tx, name, namespace=self._client.namespace, after=after, most=limit + 1),
        )
        last = found[limit - 1] if len(found) > limit else None
        data = [views[each.run_id] for each in found[:limit] if each.run_id in views]
        return RunPage(data, None if last is None else f"{last.nominal_at}~{last.key}")

    def occurrences(
        self, name: str, *, disposition: str | None = None, cursor: str | None = None, limit: int = _PAGE
    ) -> OccurrencePage:
        """A page of what became of a schedule's due instants, the newest first.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: an unknown disposition, a bad cursor.
        """
        if disposition is not None and disposition not in set(Disposition):
            told = f"disposition must be one of {', '.join(Disposition)}, not {shown(disposition)}"
            raise InvalidOption(told, option="disposition")
        wanted = None if disposition is None else Disposition(disposition)
        after = None if cursor is None else _read_cursor(cursor)

        def look(tx: Transaction) -> OccurrenceList:
            schedule = schedules.find(tx, name, namespace=self._client.namespace)
            return occurrences.page(tx, schedule.id, disposition=wanted, after=after, most=limit + 1)

        found = self._read("schedules.occurrences", look)
        last = found[limit - 1] if len(found) > limit else None
        return OccurrencePage(found[:limit], None if last is None else f"{last.nominal_at}~{last.key}")

    def of_run(self, run_id: str) -> DueOccurrence | None:
        """The occurrence for which a run was made; None if it was made otherwise."""

        def look(tx: Transaction) -> DueOccurrence | None:
            found = occurrences.of_run(tx, run_id)
            if found is None:
                return None
            schedule = schedules.find_by_id(tx, found.schedule_id, namespace=self._client.namespace)
            table = table_of(schedule, schedules.cursor_of(tx, schedule))
            return _as_due(found, schedule.name, table.before(found.nominal_at), table.after(found.nominal_at))

        return self._read("schedules.of_run", look)

    def launched_for(self, run_id: str) -> tuple[launch.Occurrence | None, bool]:
        """What a target is told of the occurrence its run is for, and whether it does again what another run did."""

        def look(tx: Transaction) -> tuple[launch.Occurrence | None, bool]:
            found = occurrences.behind(tx, run_id)
            if found is None:
                return None, False
            schedule = schedules.find_by_id(tx, found.schedule_id, namespace=self._client.namespace)
            return _told(found, read_spec(schedule.spec)), found.run_id != run_id

        return self._read("schedules.launched_for", look)

    def ranges(self, name: str, *, limit: int = _PAGE) -> RangeList:
        """Instants that are not kept one by one, the newest first."""
        return self._read(
            "schedules.ranges",
            lambda tx: occurrences.ranges(tx, schedules.find(tx, name, namespace=self._client.namespace).id, most=limit),
        )

    def _read(self, name: str, look: Callable[[Transaction], T]) -> T:
        found: T = self._client.database.read(name, look)
        return found

    def _write(self, name: str, act: Callable[[Transaction], T]) -> T:
        return write_again(self._client.database, name, act)


def fires_of(
    rule: Rule | Mapping[str, Any],
    count: int,
    *,
    now: int,
    after: int | None = None,
    seed: str = "",
    named: Mapping[str, Calendar] | None = None,
) -> FireList:
    """The next instants of a rule that is put nowhere, after now or ``after``; ``seed`` is what ``H`` hashes, and ``named`` are the
    calendars it names.

    Raises:
        RuleInvalid: everything that is wrong with it. InvalidOption: more than 500 are asked for, or none.
    """
    most = check_whole(count, "count", 1, _MOST_PREVIEWED)
    around = Surroundings(zones=zone, created_at=now, seed=seed, calendars=named or {})
    return timetable(rule_of(rule), around).preview(now if after is None else after, most)


def _told(found: Occurrence, spec: Spec) -> launch.Occurrence:
    nominal = format_instant(found.nominal_at)
    where = zone(min(timezones(spec.rule), default="UTC"))
    shift = 0 if where is None else where.offset_at(found.nominal_at // SECOND)
    sign, minutes = "-" if shift < 0 else "+", abs(shift) // 60
    there = format_instant(found.nominal_at + shift * SECOND).removesuffix("Z")
    local = nominal if not shift else f"{there}{sign}{minutes // 60:02}:{minutes % 60:02}"
    return launch.Occurrence(key=found.key, nominal=nominal, local=local, due=format_instant(found.due_at))


def _as_due(found: Occurrence, schedule: str, previous: int | None, following: int | None) -> DueOccurrence:
    return DueOccurrence(
        key=found.key,
        schedule=schedule,
        nominal=as_datetime(found.nominal_at),
        due=as_datetime(found.due_at),
        decided=as_datetime(found.decided_at),
        previous=None if previous is None else as_datetime(previous),
        next=None if following is None else as_datetime(following),
        is_late=found.is_late,
        covers_first=as_datetime(found.nominal_at if found.covers_first is None else found.covers_first),
        covers_last=as_datetime(found.nominal_at if found.covers_last is None else found.covers_last),
        covers_count=found.covers_count or 1,
        origin=str(found.origin),
        reason=found.reason,
        tz_version=found.tz_version,
    )


def _read_cursor(text: str) -> tuple[int, str]:
    at, tilde, key = text.partition("~")
    if not tilde or not _MICROSECONDS.fullmatch(at) or not key.isprintable():
        raise InvalidOption(f"cursor must be one that a page gave, not {shown(text)}", option="cursor")
    return int(at), key
