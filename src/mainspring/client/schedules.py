"""Looking at schedules, and steering them while everything runs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from mainspring import codec
from mainspring.client.backfills import Backfill, Backfills, backfill_of
from mainspring.client.requests import Request
from mainspring.client.targeting import judged
from mainspring.client.writing import write_again
from mainspring.core import attributes as labels
from mainspring.core import launch
from mainspring.core.durations import SECOND, Duration, as_datetime, format_instant, parse_duration, parse_instant
from mainspring.core.jitter import Jitter, JitterMode
from mainspring.core.lanes import Lane
from mainspring.core.names import check_name, check_text
from mainspring.core.occurrence import Disposition
from mainspring.core.overlap import SYNONYMS, OnOverlap, Overlap
from mainspring.core.policy import Policy
from mainspring.core.rule_reading import read_rule
from mainspring.core.rules import Rule, timezones
from mainspring.core.schedule import Spec
from mainspring.core.settling import MOST_SETTLED, Misfire, OnMisfire, Order
from mainspring.core.timetable import Fire
from mainspring.errors import InvalidOption, shown
from mainspring.operations import occurrences, planning, schedules
from mainspring.operations.creation import policy_row
from mainspring.operations.occurrences import Occurrence, OccurrenceRange
from mainspring.operations.schedules import ScheduleView, Target, Triggered
from mainspring.store.database import Transaction
from mainspring.zones import zone

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")

FireList: TypeAlias = list[Fire]
OccurrenceList: TypeAlias = list[Occurrence]
RangeList: TypeAlias = list[OccurrenceRange]
ScheduleList: TypeAlias = list[ScheduleView]

_PAGE = 50
_MOST_PREVIEWED = 500
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


class _Tries(NamedTuple):
    """How long an attempt of what is run by name may take, and how many there may be; None: as everywhere."""

    timeout: Duration | None
    max_attempts: int | None

    def over(self, policy: Policy) -> Policy:
        """A policy with that in it."""
        if self.timeout is not None:
            policy = replace(policy, timeout_us=parse_duration(self.timeout, option="timeout"))
        if self.max_attempts is not None:
            most = _whole(self.max_attempts, "max_attempts", 1, 1_000)
            policy = replace(policy, budgets=replace(policy.budgets, max_attempts=most))
        return policy

    def refuse(self) -> None:
        """A task at hand says so itself."""
        if self.timeout is not None or self.max_attempts is not None:
            raise InvalidOption("timeout= and max_attempts= are options of the task here; say them there", option="timeout")


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


class OccurrencePage(NamedTuple):
    """One page, the newest first. ``next_cursor``: where the next one begins; None at the end."""

    data: list[Occurrence]
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
        ``enabled=``, ``attributes=``.

        Raises:
            RuleInvalid: everything that is wrong with the rule, each with what to write. NeverDue: it is due at no instant.
            TargetInvalid, TargetRefused: the target, with every mistake, or the rule by which this process refuses it.
            InvalidOption: naming the option and what to write. Nothing was written.
        """
        check_name(name, "schedule")
        made = self._target(target, payload, queue, priority, _Tries(timeout, max_attempts))
        spec = spec_of(rule, target=made.lane.task, **options)
        new_id = self._client.system.new_id()
        return self._write(
            "schedules.put",
            lambda tx: schedules.put(tx, new_id, name, spec, made, namespace=self._client.namespace, actor=self._client.actor),
        )

    def get(self, name: str) -> ScheduleView:
        """A schedule as it is now.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        return self._read("schedules.get", lambda tx: schedules.get(tx, name, namespace=self._client.namespace))

    def list(self, *, after: str = "", limit: int = _PAGE) -> ScheduleList:
        """Schedules by name, from the one behind ``after``."""
        return self._read(
            "schedules.list", lambda tx: schedules.listing(tx, namespace=self._client.namespace, after=after, most=limit)
        )

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
        self, name: str, *, reason: str, payload: Mapping[str, Any] | None = None, as_of: datetime | str | None = None
    ) -> Triggered:
        """Run it now, whatever its rule says and whether it is paused. It waits for a slot as the others do.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: a blank reason.
        """
        why = check_text(reason, "reason")
        body = None if payload is None else codec.encode_json(payload, what="payload", largest=codec.LARGEST)
        at = None if as_of is None else parse_instant(as_of, option="as_of")
        client, run_id = self._client, self._client.system.new_id()
        return self._write(
            "schedules.trigger",
            lambda tx: schedules.trigger(
                tx, name, run_id, namespace=client.namespace, actor=client.actor, reason=why, body=body, as_of=at
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
        if not 1 <= count <= _MOST_PREVIEWED:
            raise InvalidOption(f"count must be from 1 to {_MOST_PREVIEWED}, not {shown(count)}", option="count")

        def look(tx: Transaction) -> FireList:
            schedule = schedules.find(tx, name, namespace=self._client.namespace)
            return planning.table_of(schedule, schedules.cursor_of(tx, schedule)).preview(tx.now, count)

        return self._read("schedules.preview", look)

    def occurrences(
        self, name: str, *, disposition: str | None = None, cursor: str | None = None, limit: int = _PAGE
    ) -> OccurrencePage:
        """A page of what became of a schedule's due instants, the newest first.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: an unknown disposition, a bad cursor.
        """
        wanted = None if disposition is None else _word(Disposition, disposition, "disposition")
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
            table = planning.table_of(schedule, schedules.cursor_of(tx, schedule))
            return _as_due(found, schedule.name, table.before(found.nominal_at), table.after(found.nominal_at))

        return self._read("schedules.of_run", look)

    def launched_for(self, run_id: str) -> tuple[launch.Occurrence | None, bool]:
        """What a target is told of the occurrence its run is for, and whether it does again what another run did."""

        def look(tx: Transaction) -> tuple[launch.Occurrence | None, bool]:
            found = occurrences.behind(tx, run_id)
            if found is None:
                return None, False
            schedule = schedules.find_by_id(tx, found.schedule_id, namespace=self._client.namespace)
            return _told(found, planning.read_spec(schedule.spec)), found.run_id != run_id

        return self._read("schedules.launched_for", look)

    def ranges(self, name: str, *, limit: int = _PAGE) -> RangeList:
        """Instants that are not kept one by one, the newest first."""
        return self._read(
            "schedules.ranges",
            lambda tx: occurrences.ranges(tx, schedules.find(tx, name, namespace=self._client.namespace).id, most=limit),
        )

    def _target(
        self, task: str | Request | Mapping[str, Any], payload: Mapping[str, Any] | None, queue: str, priority: int, tries: _Tries
    ) -> Target:
        if isinstance(task, Request):
            tries.refuse()
            return Target(task.lane, task.policy, task.body)
        own = None if isinstance(task, str) else judged(self._client, task, payload)
        named = check_name(str(task), "task") if own is None else own.kind
        lane = Lane(namespace=self._client.namespace, queue=check_name(queue, "queue"), task=named, priority=priority)
        if own is not None:
            return Target(lane, policy_row(tries.over(own.policy)), own.body)
        return Target(
            lane, policy_row(tries.over(Policy())), codec.encode_json(payload or {}, what="payload", largest=codec.LARGEST)
        )

    def _read(self, name: str, look: Callable[[Transaction], T]) -> T:
        found: T = self._client.database.read(name, look)
        return found

    def _write(self, name: str, act: Callable[[Transaction], T]) -> T:
        return write_again(self._client.database, name, act)


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


def spec_of(
    rule: Rule | Mapping[str, Any],
    *,
    target: str,
    enabled: bool = True,
    start_at: datetime | str | None = None,
    end_at: datetime | str | None = None,
    max_runs: int | None = None,
    misfire: str | Mapping[str, Any] | None = None,
    overlap: str | Mapping[str, Any] | None = None,
    jitter: Duration | Mapping[str, Any] | None = None,
    start_within: Duration | None = None,
    deadline: Duration | None = None,
    pause_after_failures: int | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Spec:
    """What a schedule says, from what a person writes.

    Raises:
        RuleInvalid: the rule. InvalidOption: naming the option and what to write.
    """
    start = None if start_at is None else parse_instant(start_at, option="start_at")
    end = None if end_at is None else parse_instant(end_at, option="end_at")
    if start is not None and end is not None and end < start:
        raise InvalidOption("end_at is before start_at, so nothing would ever be due", option="end_at")
    return Spec(
        rule=read_rule(rule) if isinstance(rule, Mapping) else rule,
        enabled=enabled,
        start_at=start,
        end_at=end,
        max_runs=None if max_runs is None else _whole(max_runs, "max_runs", 1, 1_000_000_000),
        misfire=_misfire(misfire),
        overlap=_overlap(overlap),
        jitter=_jitter(jitter),
        start_within_us=None if start_within is None else parse_duration(start_within, option="start_within"),
        deadline_us=None if deadline is None else parse_duration(deadline, option="deadline"),
        pause_after_failures=None
        if pause_after_failures is None
        else _whole(pause_after_failures, "pause_after_failures", 1, 1_000),
        attributes=labels.checked(attributes) if attributes else (),
        target=target,
    )


def _misfire(given: str | Mapping[str, Any] | None) -> Misfire:
    said = _fields(
        {"policy": given} if isinstance(given, str) else given, "misfire", {"policy", "grace", "window", "max", "order", "spacing"}
    )
    default = Misfire()
    return Misfire(
        policy=_word(OnMisfire, said.get("policy", default.policy), "misfire.policy"),
        grace_us=parse_duration(said["grace"], option="misfire.grace") if "grace" in said else default.grace_us,
        window_us=parse_duration(said["window"], option="misfire.window") if "window" in said else default.window_us,
        most=_whole(said["max"], "misfire.max", 1, MOST_SETTLED) if "max" in said else default.most,
        order=_word(Order, said.get("order", default.order), "misfire.order"),
        spacing_us=parse_duration(said["spacing"], option="misfire.spacing") if "spacing" in said else 0,
    )


_OVERLAP_FIELDS = {"policy", "max_concurrency", "buffer_max", "retries_hold_slot", "replace_grace"}


def _flag(value: Any, option: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidOption(f"{option} must be true or false, got {shown(value)}", option=option)
    return value


def _overlap(given: str | Mapping[str, Any] | None) -> Overlap:
    said = _fields({"policy": given} if isinstance(given, str) else given, "overlap", _OVERLAP_FIELDS)
    policy = SYNONYMS.get(str(said.get("policy"))) or _word(OnOverlap, said.get("policy", OnOverlap.FORBID), "overlap.policy")
    slots = said.get("max_concurrency", None if policy is OnOverlap.ALLOW else 1)
    return Overlap(
        policy=policy,
        max_concurrency=None if slots is None else _whole(slots, "overlap.max_concurrency", 1, 10_000),
        buffer_max=_whole(said.get("buffer_max", 100), "overlap.buffer_max", 1, 10_000),
        grace_us=parse_duration(said["replace_grace"], option="overlap.replace_grace") if "replace_grace" in said else 0,
        retries_hold_slot=_flag(said.get("retries_hold_slot", False), "overlap.retries_hold_slot"),
    )


def _jitter(given: Duration | Mapping[str, Any] | None) -> Jitter | None:
    if given is None:
        return None
    said = _fields(given if isinstance(given, Mapping) else {"max": given}, "jitter", {"max", "mode"})
    if "max" not in said:
        raise InvalidOption('jitter needs max="30s"', option="jitter.max")
    return Jitter(
        max_us=parse_duration(said["max"], option="jitter.max"),
        mode=_word(JitterMode, said.get("mode", JitterMode.HASH), "jitter.mode"),
    )


def _fields(given: Mapping[str, Any] | None, what: str, known: set[str]) -> Mapping[str, Any]:
    if unknown := sorted(set(given or ()) - known):
        raise InvalidOption(
            f"{what} has no field {unknown[0]!r}; there are {', '.join(sorted(known))}", option=f"{what}.{unknown[0]}"
        )
    return given or {}


def _word(kind: Any, value: Any, option: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise InvalidOption(f"{option} must be one of {', '.join(kind)}, not {shown(value)}", option=option) from None


def _whole(value: Any, option: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidOption(f"{option} must be a whole number from {least} to {most:,}, not {shown(value)}", option=option)
    return value


def _read_cursor(text: str) -> tuple[int, str]:
    at, tilde, key = text.partition("~")
    if not tilde or not _MICROSECONDS.fullmatch(at) or not key.isprintable():
        raise InvalidOption(f"cursor must be one that a page gave, not {shown(text)}", option="cursor")
    return int(at), key
