"""Calendars on every database: rules follow them, a change has those planned again that use one, and what was decided stays."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest

from mainspring.client import Client
from mainspring.core.dates import DAY_SECONDS, date_of, weekday
from mainspring.core.durations import SECOND
from mainspring.core.rule_building import any_of, cron, every, in_calendar, on_calendar
from mainspring.errors import CalendarInUse, FileInvalid, RuleInvalid, UnknownCalendar
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.conformance.test_schedules import Stage
from tests.support.builders import AnyDatabase, Fleet, together

_DAY = DAY_SECONDS * SECOND


@pytest.fixture
def stage(fleet: Fleet, database: AnyDatabase, clock: SimulatedClock) -> Stage:
    fleet.new(task="ping", queue="default")
    return Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


def _today(stage: Stage) -> int:
    return stage.fleet.now // _DAY


def _on(stage: Stage, days: int) -> date:
    return date_of(_today(stage) + days)


def _fires(stage: Stage, count: int = 3) -> list[date]:
    return [date_of(each.at // _DAY) for each in stage.client.schedules.preview("ping", count)]


def _replanned(stage: Stage) -> int:
    ((number,),) = stage.fleet.sql("SELECT count(*) FROM schedule_events WHERE type = 'replanned'")
    return int(number)


def test_a_rule_may_name_a_calendar_that_is_there_and_no_other(stage: Stage) -> None:
    with pytest.raises(RuleInvalid, match='there is no calendar "shifts": put it first'):
        stage.put(on_calendar("shifts", at="09:00", tz="UTC"))
    stage.client.calendars.put("shifts", dates=[_on(stage, 3), _on(stage, 5)])
    stage.put(on_calendar("shifts", at="09:00", tz="UTC"))
    assert _fires(stage) == [_on(stage, 3), _on(stage, 5)]
    previewed = stage.client.schedules.preview_rule(
        {"calendar": "shifts", "at": "10:00", "timezone": "UTC"}, 5, after=stage.now_in(0)
    )
    assert [date_of(each.at // _DAY) for each in previewed] == [_on(stage, 3), _on(stage, 5)]


def test_a_change_has_what_uses_a_calendar_planned_again_and_nothing_else(stage: Stage) -> None:
    put = stage.client.calendars.put
    assert put("rest", dates=[_on(stage, 2)]).calendar.version == 1
    stage.put(any_of(cron("0 12 * * *", tz="UTC"), except_=[in_calendar("rest")]))
    stage.put(every("10d"), name="other")
    first, second, third = _on(stage, 1), _on(stage, 3), _on(stage, 4)
    assert _fires(stage) in ([first, second, third], [_on(stage, 0), first, second])
    made = put("rest", dates=[_on(stage, 0), first, second])
    assert (made.calendar.version, made.affected) == (2, ("ping",))
    stage.tick()
    assert _replanned(stage) == 1
    assert _fires(stage) == [_on(stage, 2), third, _on(stage, 5)]
    assert stage.client.schedules.get("ping").next_nominal_at == (_today(stage) + 2) * _DAY + 12 * 3600 * SECOND
    assert put("rest", dates=[_on(stage, 0), first, second]).calendar.version == 2  # it says so already


def test_what_was_decided_stays_and_a_day_that_is_added_behind_the_cursor_is_not_made_up_for(stage: Stage) -> None:
    stage.client.calendars.put("shifts", dates=[_on(stage, 0), _on(stage, 9)])
    stage.put(any_of(every("1m"), only=[in_calendar("shifts")], tz="UTC"))
    stage.elapse()
    assert stage.fates() == ["fired"]
    stage.client.calendars.put("shifts", dates=[_on(stage, 9)])
    stage.elapse()
    assert stage.fates() == ["fired"]
    stage.client.calendars.put("shifts", dates=[_on(stage, 0), _on(stage, 9)])
    stage.elapse()
    assert stage.fates()[0] == "fired"
    assert len(stage.fates()) in {2, 3}


def test_a_calendar_that_leaves_no_instant_breaks_its_schedule_aloud(stage: Stage) -> None:
    stage.client.calendars.put("shifts", dates=[_on(stage, 3)])
    stage.put(on_calendar("shifts", at="09:00", tz="UTC"))
    stage.client.calendars.put("shifts", dates=[_on(stage, -3)])
    stage.tick()
    broken = stage.client.schedules.get("ping")
    assert broken.state.value == "broken"
    assert "never_due" in (broken.reason or "")
    stage.client.calendars.put("shifts", dates=[_on(stage, 4)])
    stage.tick()
    assert stage.client.schedules.get("ping").state.value == "active"


def test_a_calendar_made_of_another_follows_it_and_never_itself(stage: Stage) -> None:
    put = stage.client.calendars.put
    put("rest", dates=[_on(stage, 2)])
    put("work", hours=[{"days": "mon-sun"}], without={"calendars": ["rest"]})
    stage.put(on_calendar("work", at="23:59", tz="UTC"))
    assert _on(stage, 2) not in _fires(stage, 5)
    put("rest", dates=[_on(stage, 1)])
    stage.tick()
    assert _on(stage, 1) not in _fires(stage, 5)
    assert _on(stage, 2) in _fires(stage, 5)
    with pytest.raises(RuleInvalid, match="made of itself"):
        put("rest", calendars=["work"])
    with pytest.raises(RuleInvalid, match='no calendar "gone"'):
        put("more", calendars=["gone"])


def test_what_is_used_cannot_be_deleted_and_what_is_not_can(stage: Stage) -> None:
    client = stage.client
    client.calendars.put("rest", dates=[_on(stage, 2)])
    client.calendars.put("work", hours=[{"days": "mon-sun"}], without={"calendars": ["rest"]})
    stage.put(on_calendar("work", at="23:59", tz="UTC"))
    with pytest.raises(CalendarInUse, match="calendar work"):
        client.calendars.delete("rest")
    with pytest.raises(CalendarInUse, match="schedule ping"):
        client.calendars.delete("work")
    stage.put(every("10d"))  # instants under the old rule are settled by what the schedule keeps
    client.calendars.delete("work")
    client.calendars.delete("rest")
    assert client.calendars.list() == []
    with pytest.raises(UnknownCalendar):
        client.calendars.get("rest")
    with pytest.raises(UnknownCalendar):
        client.calendars.delete("rest")
    stage.elapse()
    assert stage.client.schedules.get("ping").state.value == "active"
    assert [each.action for each in client.audit.list(subject="calendar:rest").data] == ["calendar.deleted", "calendar.put"]


def test_a_pause_over_a_change_of_calendars_is_settled_by_the_days_of_the_resume(stage: Stage) -> None:
    stage.client.calendars.put("shifts", dates=[_on(stage, 0), _on(stage, 1), _on(stage, 9)])
    stage.put(any_of(every("1m"), only=[in_calendar("shifts")], tz="UTC"), misfire="skip")
    stage.client.schedules.pause("ping", reason="a look")
    stage.fleet.pass_time(5 * 60 * SECOND)
    stage.client.calendars.put("shifts", dates=[_on(stage, 9)])
    stage.client.schedules.resume("ping")
    stage.tick()
    assert stage.fates() == []


def test_two_who_put_at_once_leave_what_one_of_them_said_and_copies_of_both(stage: Stage) -> None:
    client = stage.client
    client.calendars.put("a", dates=[_on(stage, 2)])
    client.calendars.put("b", dates=[_on(stage, 3)])
    stage.put(any_of(on_calendar("a", at="09:00", tz="UTC"), on_calendar("b", at="09:00", tz="UTC")))
    together(
        lambda: client.calendars.put("a", dates=[_on(stage, 4)]),
        lambda: client.calendars.put("b", dates=[_on(stage, 5)]),
    )
    stage.tick()
    assert _fires(stage) == [_on(stage, 4), _on(stage, 5)]


def test_public_holidays_are_expanded_ahead_and_anew_before_they_run_out(stage: Stage) -> None:
    found = stage.client.calendars.put("holidays", holidays=["DE"]).calendar
    last = max(found.days.added)
    assert last > _today(stage) + 2 * 365
    stage.fleet.sql(f"UPDATE calendars SET expand_at = {stage.fleet.now - 1}, expanded = replace(expanded, '{last}', '{last - 1}')")
    stage.tick()
    again = stage.client.calendars.get("holidays").calendar
    assert (again.version, max(again.days.added)) == (2, last)
    stage.tick()
    assert stage.client.calendars.get("holidays").calendar.version == 2


def test_nothing_of_a_calendar_is_seen_across_namespaces(stage: Stage) -> None:
    client = stage.client
    client.calendars.put("shifts", dates=[_on(stage, 2)])
    other = Client(client.database, namespace="elsewhere", system=client.system, actor="user:bob")
    assert other.calendars.list() == []
    with pytest.raises(UnknownCalendar):
        other.calendars.get("shifts")
    with pytest.raises(RuleInvalid):
        other.schedules.put("ping", on_calendar("shifts", at="09:00", tz="UTC"), "ping")


def test_a_file_may_name_a_calendar_and_is_told_where_there_is_none(stage: Stage) -> None:
    rule: dict[str, Any] = {"calendar": "shifts", "at": "09:00", "timezone": "UTC"}
    text = json.dumps({"version": 1, "schedules": [{"name": "ping", "rule": rule, "target": {"task": "ping"}}]})
    with pytest.raises(FileInvalid, match=r'a.yaml:1:\d+: there is no calendar "shifts": put it first'):
        stage.client.schedule_files.diff({"a.yaml": text}, set="ours")
    stage.client.calendars.put("shifts", dates=[_on(stage, 2), _on(stage, 3)])
    (step,) = stage.client.schedule_files.diff({"a.yaml": text}, set="ours")
    assert [each[:10] for each in step.after] == [str(_on(stage, 2)), str(_on(stage, 3))]
    stage.client.schedule_files.apply({"a.yaml": text}, set="ours")
    assert _fires(stage) == [_on(stage, 2), _on(stage, 3)]


def test_the_last_business_day_of_a_month_is_one_rule(stage: Stage) -> None:
    stage.client.calendars.put("business", hours=[{"days": "mon-fri"}])
    stage.put(on_calendar("business", at="18:00", tz="UTC", pick=-1, of="month"))
    for fire in _fires(stage, 6):
        assert weekday((fire - date(1970, 1, 1)).days) < 5
        rest = [fire + timedelta(days=n) for n in range(1, 4)]
        assert all(each.month != fire.month or each.weekday() >= 5 for each in rest)
