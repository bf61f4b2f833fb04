"""Blackouts on every database: nothing fires inside; what was due is skipped, or settled at the end as one late batch."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.client import Client
from mainspring.core.durations import HOUR, MINUTE, SECOND
from mainspring.core.rule_building import every, once
from mainspring.errors import BlackedOut, RuleInvalid, UnknownBlackout
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.conformance.test_schedules import STEP, Stage
from tests.support.builders import AnyDatabase, Fleet


@pytest.fixture
def stage(fleet: Fleet, database: AnyDatabase, clock: SimulatedClock) -> Stage:
    fleet.new(task="ping", queue="default")
    return Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


def _window(stage: Stage, until: int, policy: str, **options: Any) -> None:
    stage.client.blackouts.put("freeze", stage.now_in(-SECOND), stage.now_in(until), policy=policy, **options)


def _end(stage: Stage) -> None:
    """The window is over: where a server's clock cannot be set, its end is moved and not the time."""
    stage.client.blackouts.put("freeze", stage.now_in(-2 * HOUR), stage.now_in(-SECOND), policy=_policy(stage))
    stage.tick()


def _policy(stage: Stage) -> str:
    return str(stage.client.blackouts.get("freeze").blackout.policy)


@pytest.mark.case("schedules", 33)
def test_what_a_blackout_deferred_ends_as_one_late_batch_under_the_misfire_policy(stage: Stage) -> None:
    stage.put(overlap="allow")
    _window(stage, 2 * HOUR, "defer")
    for _ in range(5):
        assert stage.elapse() <= 1
    assert stage.ledger() == []
    stage.fleet.pass_time(10 * SECOND)
    _end(stage)
    assert stage.fates() == ["coalesced"] * 4 + ["fired"]
    last = stage.ledger()[-1]
    assert (last.covers_count, last.is_late) == (5, True)
    assert len(stage.work()) == 1


@pytest.mark.case("schedules", 33)
def test_a_catch_up_after_a_blackout_is_spaced_as_any_other(stage: Stage) -> None:
    stage.put(overlap="allow", misfire={"policy": "catch_up", "max": 3, "spacing": "10m"})
    _window(stage, 2 * HOUR, "defer")
    stage.fleet.pass_time(5 * STEP)
    _end(stage)
    assert stage.fates()[:2] == ["missed_window"] * 2
    assert sum(fate == "fired" for fate in stage.fates()) == 1
    assert len(stage.work()) == 1


def test_what_is_due_in_a_blackout_that_skips_ends_so_and_the_schedule_goes_on(stage: Stage) -> None:
    stage.put(misfire={"policy": "catch_up"})
    _window(stage, 2 * HOUR, "skip")
    stage.elapse()
    stage.elapse()
    assert stage.ledger() == []
    _end(stage)
    assert stage.fates() == ["blackout", "blackout"]
    states = {state.value for state in stage.states()}
    assert states == {"skipped"}
    stage.client.blackouts.delete("freeze")
    stage.elapse()
    assert stage.fates() == ["blackout", "blackout", "fired"]


def test_nobody_looks_at_a_schedule_before_the_end_of_its_blackout(stage: Stage) -> None:
    stage.put()
    _window(stage, 2 * HOUR, "defer")
    stage.elapse()
    looked = [stage.elapse() for _ in range(3)]
    assert looked == [0, 0, 0]
    assert stage.client.schedules.get("ping").state.value == "active"


def test_one_that_waits_gets_no_slot_inside_and_ends_where_it_skips(stage: Stage) -> None:
    stage.put(overlap={"policy": "forbid"})
    stage.elapse()
    stage.elapse()
    assert stage.fates() == ["fired", "waiting"]
    _window(stage, 2 * HOUR, "defer")
    (first,) = stage.fleet.claim("w1")
    stage.fleet.finish([first])
    stage.tick()
    assert stage.fates() == ["fired", "waiting"]
    _window(stage, 3 * HOUR, "skip")
    stage.tick()
    assert stage.fates() == ["fired", "blackout"]
    assert stage.states()[1].value == "skipped"
    assert stage.fleet.claim("w1") == []


def test_a_retry_goes_on_inside(stage: Stage) -> None:
    from mainspring.core.attempts import Failed

    stage.put()
    stage.elapse()
    stage.work(Failed(code="error", message="again"))
    _window(stage, 2 * HOUR, "skip")
    stage.fleet.pass_time(MINUTE)
    stage.tick()
    stage.tick()
    assert len(stage.work()) == 1
    assert stage.states()[0].value == "succeeded"


def test_a_trigger_inside_is_refused_unless_it_says_so(stage: Stage) -> None:
    stage.put(once(stage.now_in(HOUR)))
    _window(stage, 2 * HOUR, "skip")
    with pytest.raises(BlackedOut, match="ignore_blackout"):
        stage.client.schedules.trigger("ping", reason="now")
    made = stage.client.schedules.trigger("ping", reason="now", ignore_blackout=True)
    assert made.disposition.value == "fired"
    assert len(stage.work()) == 1


def test_a_backfill_waits_for_the_end(stage: Stage) -> None:
    stage.put(misfire={"policy": "skip", "grace": "10s"}, overlap="allow")
    stage.elapse(STEP + 30 * SECOND)
    assert stage.fates() == ["skipped_misfire"]
    _window(stage, 2 * HOUR, "skip")
    made = stage.client.schedules.backfill("ping", stage.now_in(-10 * MINUTE), stage.now_in(-20 * SECOND)).apply()
    assert stage.client.schedules.backfills.summary(made.id).get("started", 0) == 0
    assert stage.work() == []
    stage.client.blackouts.delete("freeze")
    stage.fleet.pass_time(2 * SECOND)
    stage.tick()
    stage.tick()
    assert stage.client.schedules.backfills.summary(made.id)["started"] == 1


def test_of_windows_that_overlap_one_that_skips_wins_and_those_that_meet_are_one(stage: Stage) -> None:
    put = stage.client.blackouts.put
    stage.put()
    put("a", stage.now_in(-SECOND), stage.now_in(HOUR), policy="defer")
    put("b", stage.now_in(HOUR - MINUTE), stage.now_in(2 * HOUR), policy="defer")
    stage.elapse()
    ((next_at,),) = stage.fleet.sql("SELECT next_at FROM schedule_cursors")
    assert abs(int(next_at) - (stage.fleet.now + 2 * HOUR - STEP)) < 10 * MINUTE
    put("c", stage.now_in(-STEP), stage.now_in(HOUR), policy="skip")
    stage.elapse()
    for name in ("a", "b"):
        stage.client.blackouts.delete(name)
    put("c", stage.now_in(-HOUR), stage.now_in(-SECOND), policy="skip")
    stage.tick()
    assert set(stage.fates()) == {"blackout"}


def test_a_blackout_is_over_those_it_names_and_no_others(stage: Stage) -> None:
    stage.put(name="etl/one")
    stage.put(name="etl/two", attributes={"team": "billing"})
    stage.put(name="other")
    made = stage.client.blackouts.put
    window = (stage.now_in(-SECOND), stage.now_in(HOUR))
    assert made("x", *window, policy="skip", schedules=["etl/*"]).schedules == ("etl/one", "etl/two")
    assert made("x", *window, policy="skip", attributes={"team": "billing"}).schedules == ("etl/two",)
    assert made("x", *window, policy="skip", schedules=["etl/one", "other"]).schedules == ("etl/one", "other")
    stage.elapse()
    assert (stage.fates("etl/one"), stage.fates("etl/two"), stage.fates("other")) == ([], ["fired"], [])
    assert made("x", *window, policy="skip").schedules == ("etl/one", "etl/two", "other")


def test_a_schedule_that_cannot_be_read_holds_up_nobody_and_is_over_by_name(stage: Stage) -> None:
    stage.put(name="bad")
    stage.put(name="good")
    stage.fleet.sql("UPDATE schedule_revisions SET spec = replace(spec, 'every', 'evry')"
                    " WHERE schedule_id = (SELECT id FROM schedules WHERE name = 'bad')")  # fmt: skip
    window = (stage.now_in(-SECOND), stage.now_in(HOUR))
    assert stage.client.blackouts.put("x", *window, policy="skip", attributes={"team": "billing"}).schedules == ()
    assert stage.client.blackouts.put("y", *window, policy="skip", schedules=["bad"]).schedules == ("bad",)
    stage.elapse()
    assert stage.fates("good") == ["fired"]


def test_a_window_that_comes_again_and_again_is_a_rule_and_a_length(stage: Stage) -> None:
    stage.put(every("1m"))
    stage.client.blackouts.put("always", rule=every("1h", anchor="2026-01-01T00:00:00Z"), length="1h", policy="skip")
    stage.elapse()
    stage.elapse()
    assert stage.ledger() == []
    stage.client.blackouts.put("always", rule=every("2h", anchor="2001-01-01T00:00:00.5Z"), length="1s", policy="skip")
    stage.tick()
    assert stage.fates()[-1] == "fired"


def test_the_self_audit_leaves_one_that_sleeps_through_a_blackout_alone(stage: Stage) -> None:
    stage.put()
    _window(stage, 20 * HOUR, "defer")
    stage.elapse()
    for _ in range(3):
        stage.elapse(11 * MINUTE)
    assert stage.fleet.sql("SELECT count(*) FROM schedule_events WHERE type = 'repaired'") == [(0,)]
    assert stage.ledger() == []


def test_what_is_wrong_with_a_blackout_is_told_at_once_and_changes_nothing(stage: Stage) -> None:
    blackouts = stage.client.blackouts
    with pytest.raises(RuleInvalid) as refused:
        blackouts.put_data(
            "x", {"from": "soon", "to": stage.now_in(0), "for": "2h", "policy": "wait", "schedules": [""], "colour": 1}
        )
    assert {each["path"] for each in refused.value.errors} == {"from", "for", "policy", "schedules[0]", "colour"}
    with pytest.raises(RuleInvalid, match="write"):
        blackouts.put_data("x", {"policy": "skip"})
    with pytest.raises(RuleInvalid, match="calendar"):
        blackouts.put_data("x", {"policy": "skip", "for": "1h", "rule": {"calendar": "c", "at": "09:00", "timezone": "UTC"}})
    with pytest.raises(RuleInvalid, match="after the beginning"):
        blackouts.put("x", stage.now_in(HOUR), stage.now_in(0), policy="skip")
    assert blackouts.list() == []
    with pytest.raises(UnknownBlackout):
        blackouts.delete("x")


def test_a_blackout_is_audited_and_seen_in_its_namespace_alone(stage: Stage) -> None:
    client = stage.client
    _window(stage, HOUR, "skip", reason="a release")
    client.blackouts.delete("freeze")
    assert [each.action for each in client.audit.list(subject="blackout:freeze").data] == ["blackout.deleted", "blackout.put"]
    _window(stage, HOUR, "skip")
    other = Client(client.database, namespace="elsewhere", system=client.system, actor="user:bob")
    assert other.blackouts.list() == []
    with pytest.raises(UnknownBlackout):
        other.blackouts.get("freeze")
