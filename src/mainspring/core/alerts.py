"""Alerts of a schedule: which it wants, and which are open by what is known of it.

Every kind but three follows from how things stand, so that whoever looks, and however often, comes to the same answer: an episode
opens once and recovers once. ``buffer_full``, ``audit`` and ``dead_letter`` are opened by what just happened, and only their
recovery follows from how things stand. Not here: rows (``operations/alerting.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from mainspring.core.durations import MINUTE

LATE_AFTER_US: Final = 5 * MINUTE
#: How often an open alert is looked at whose recovery no transaction decides.
LOOK_AGAIN_US: Final = 1 * MINUTE


class Kind(StrEnum):
    """What can be wrong with a schedule."""

    LATE = "late"
    MISSED = "missed"
    NO_SUCCESS_FOR = "no_success_for"
    FAILED = "failed"
    DEAD_LETTER = "dead_letter"
    BUFFER_FULL = "buffer_full"
    PAUSED_BY_FAILURES = "paused_by_failures"
    BROKEN = "broken"
    HELD = "held"
    AUDIT = "audit"
    REPLACE_STALLED = "replace_stalled"


#: These recover by and by, and no transaction of the schedule need tell.
_LOOKED_AT = frozenset({Kind.LATE, Kind.MISSED, Kind.DEAD_LETTER, Kind.BUFFER_FULL, Kind.AUDIT, Kind.REPLACE_STALLED})
#: These open at an instant, and are said with the span that leads to it.
SPANS: Final = {Kind.LATE: "late_after", Kind.MISSED: "succeed_within", Kind.NO_SUCCESS_FOR: "no_success_for"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Which alerts a schedule wants. Spans in microseconds: ``late_after`` and ``succeed_within`` count from the due instant."""

    kinds: frozenset[Kind]
    late_after_us: int = LATE_AFTER_US
    succeed_within_us: int | None = None
    no_success_for_us: int | None = None

    def as_data(self) -> dict[str, Any]:
        """As JSON-able data; reading it gives an equal one."""
        return {
            "kinds": sorted(self.kinds),
            "late_after_us": self.late_after_us,
            "succeed_within_us": self.succeed_within_us,
            "no_success_for_us": self.no_success_for_us,
        }

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Alerts:
        """Undo ``as_data``. A kind of a later version is passed over."""
        known = {str(kind) for kind in Kind}
        return Alerts(**{**data, "kinds": frozenset(Kind(each) for each in data["kinds"] if each in known)})


class Facts(NamedTuple):
    """What is known of a schedule, in the words of ``alerts.facts``. Instants in microseconds."""

    is_in_force: bool
    is_deleted: bool
    is_paused_by_failures: bool
    broken: str | None
    since: int
    cursor_at: int
    next_nominal_at: int | None
    looked_at_next: int | None
    is_failing: bool
    last_success_at: int | None
    held_to: int | None
    unstarted_due: int | None
    is_full: bool
    stalled: int
    missed_at: int | None
    unjudged_at: int | None


class Judged(NamedTuple):
    """What is wrong, each with why; and the next instant at which that may change of itself."""

    wrong: dict[Kind, str]
    next_at: int | None


def judge(
    alerts: Alerts, facts: Facts, *, happened: Mapping[Kind, str], open_now: Collection[Kind], closed: bool, now: int
) -> Judged:
    """What is wrong with a schedule. ``happened``: what the transaction just did; ``open_now``: what was wrong before;
    ``closed``: whether the dead letter that opened an alert is."""
    if facts.is_deleted:
        return Judged({}, None)
    found = _standing(facts) | {kind: why for kind, (why, at) in _timed(alerts, facts).items() if at <= now} | dict(happened)
    lasting = {
        Kind.DEAD_LETTER: not closed,
        Kind.BUFFER_FULL: facts.is_full,
        Kind.AUDIT: facts.cursor_at > now or (facts.looked_at_next is not None and facts.looked_at_next <= now),
    }
    found |= {kind: "" for kind, lasts in lasting.items() if lasts and kind in open_now and kind not in found}
    wrong = {kind: why for kind, why in found.items() if kind in alerts.kinds}
    instants = [at for kind, (_, at) in _timed(alerts, facts).items() if kind in alerts.kinds and at > now]
    if facts.unjudged_at is not None and alerts.succeed_within_us is not None and Kind.MISSED in alerts.kinds:
        instants.append(facts.unjudged_at + alerts.succeed_within_us)
    if wrong.keys() & _LOOKED_AT:
        instants.append(now + LOOK_AGAIN_US)
    return Judged(wrong, min(instants, default=None))


def _standing(facts: Facts) -> dict[Kind, str]:
    """What is wrong by how things stand."""
    found = {
        Kind.FAILED: "the last run failed" if facts.is_failing else None,
        Kind.PAUSED_BY_FAILURES: "so many runs in a row failed that it is paused" if facts.is_paused_by_failures else None,
        Kind.BROKEN: facts.broken,
        Kind.HELD: "the database was restored, and somebody has to decide" if facts.held_to is not None else None,
        Kind.REPLACE_STALLED: "a run that was asked to stop for the next one does not" if facts.stalled else None,
    }
    return {kind: why for kind, why in found.items() if why is not None}


def _timed(alerts: Alerts, facts: Facts) -> dict[Kind, tuple[str, int]]:
    """What is wrong from an instant on, if nothing happens before."""
    if not facts.is_in_force or facts.held_to is not None:
        return {}
    found: dict[Kind, tuple[str, int]] = {}
    following = facts.next_nominal_at  # in a blackout nobody is to look before its end
    following = following if following is None else max(following, facts.looked_at_next or following)
    due = min((at for at in (facts.unstarted_due, following) if at is not None), default=None)
    if due is not None:
        found[Kind.LATE] = "a run did not start in time", due + alerts.late_after_us
    if facts.missed_at is not None and alerts.succeed_within_us is not None:
        found[Kind.MISSED] = "no run succeeded in time", facts.missed_at + alerts.succeed_within_us
    if alerts.no_success_for_us is not None:
        last = max(facts.since, facts.last_success_at or 0)
        found[Kind.NO_SUCCESS_FOR] = "nothing succeeded for too long", last + alerts.no_success_for_us
    return found
