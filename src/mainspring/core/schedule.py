"""A schedule as a value: what it says in one revision, how far it has been settled, and whether it will fire.

Here: the spec and its stored form, the cursor, and the derived state. Not here: rules (``core/rules.py``), what becomes of an
instant (``core/settling.py``, ``core/overlap.py``), and rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from mainspring.core.alerts import Alerts
from mainspring.core.jitter import Jitter, JitterMode
from mainspring.core.overlap import OnOverlap, Overlap
from mainspring.core.rule_reading import read_rule
from mainspring.core.rules import After, CronRule, Interval, Once, Rule, RuleSet
from mainspring.core.rules import as_data as rule_data
from mainspring.core.settling import Misfire, OnMisfire, Order


class ScheduleState(StrEnum):
    """The one answer to "will it fire?"."""

    ACTIVE = "active"
    PAUSED = "paused"
    HELD = "held"
    DISABLED = "disabled"
    ENDED = "ended"
    BROKEN = "broken"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a schedule says. Instants in UTC microseconds, both bounds included; ``start_within_us`` and ``deadline_us`` count from
    when an occurrence was due."""

    rule: Rule
    enabled: bool = True
    start_at: int | None = None
    end_at: int | None = None
    max_runs: int | None = None
    misfire: Misfire = field(default_factory=Misfire)
    overlap: Overlap = field(default_factory=Overlap)
    jitter: Jitter | None = None
    start_within_us: int | None = None
    deadline_us: int | None = None
    pause_after_failures: int | None = None
    alerts: Alerts | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    target: str = ""

    def as_data(self) -> dict[str, Any]:
        """The spec as JSON-able data; reading it gives an equal one."""
        jitter = None if self.jitter is None else asdict(self.jitter)
        return {
            "rule": rule_data(self.rule), "enabled": self.enabled, "start_at": self.start_at, "end_at": self.end_at,
            "max_runs": self.max_runs, "misfire": asdict(self.misfire), "overlap": asdict(self.overlap), "jitter": jitter,
            "start_within_us": self.start_within_us, "deadline_us": self.deadline_us,
            "pause_after_failures": self.pause_after_failures, "attributes": self.attributes, "target": self.target,
            **({} if self.alerts is None else {"alerts": self.alerts.as_data()}),
        }  # fmt: skip

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Spec:
        """Undo ``as_data``."""
        misfire, overlap, jitter = dict(data["misfire"]), dict(data["overlap"]), data["jitter"]
        return Spec(
            rule=read_rule(data["rule"]), enabled=data["enabled"], start_at=data["start_at"], end_at=data["end_at"],
            max_runs=data["max_runs"],
            misfire=Misfire(**misfire | {"policy": OnMisfire(misfire["policy"]), "order": Order(misfire["order"])}),
            overlap=Overlap(**overlap | {"policy": OnOverlap(overlap["policy"])}),
            jitter=None if jitter is None else Jitter(max_us=jitter["max_us"], mode=JitterMode(jitter["mode"])),
            start_within_us=data["start_within_us"], deadline_us=data["deadline_us"],
            pause_after_failures=data["pause_after_failures"],
            attributes=tuple((str(name), str(value)) for name, value in data["attributes"]), target=data["target"],
            alerts=Alerts.from_data(data["alerts"]) if "alerts" in data else None,
        )  # fmt: skip


class Cursor(NamedTuple):
    """How far a schedule has been settled: a row of ``schedule_cursors``. ``tz_version``, ``zone_hash`` and ``zone_offset``: what
    the zone data were, and said, as it was moved. After a restore ``held_to``: up to when its instants wait for a person;
    ``suppressed_to``: up to when they do not run, as ``suppressed_by`` decided."""

    schedule_id: str
    cursor_at: int
    next_nominal_at: int | None
    next_at: int | None
    carried_first: int | None
    carried_last: int | None
    carried_count: int
    backlog_is_late: int
    fired: int
    failure_streak: int
    last_fired_at: int | None
    last_ended_at: int | None
    last_success_at: int | None
    last_failure_at: int | None
    tz_version: str | None = None
    zone_hash: str | None = None
    zone_offset: int | None = None
    held_to: int | None = None
    suppressed_to: int | None = None
    suppressed_by: str | None = None


def kind_of(rule: Rule) -> str:
    """What a rule is called in lists and filters."""
    match rule:
        case CronRule():
            return "cron"
        case Interval():
            return "interval"
        case After():
            return "after"
        case Once():
            return "once"
        case RuleSet():
            return "set"
        case _:
            return "rrule" if hasattr(rule, "rrule") else "calendar"


def state_of(
    *,
    is_enabled: bool,
    is_paused: bool,
    is_deleted: bool,
    broken: str | None,
    next_nominal_at: int | None,
    is_after: bool,
    is_held: bool = False,
) -> ScheduleState:
    """Whether a schedule will fire. One of ``after`` waits for an end, and has no next instant meanwhile."""
    if is_deleted:
        return ScheduleState.DELETED
    if broken is not None:
        return ScheduleState.BROKEN
    if not is_enabled:
        return ScheduleState.DISABLED
    if is_held:
        return ScheduleState.HELD
    if is_paused:
        return ScheduleState.PAUSED
    return ScheduleState.ACTIVE if next_nominal_at is not None or is_after else ScheduleState.ENDED
