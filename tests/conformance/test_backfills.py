"""Backfills on every database: only what is missing runs, once, as slots are free, and every other instant says why not."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.client import Client
from mainspring.core.attempts import Failed
from mainspring.core.durations import HOUR, MINUTE, SECOND
from mainspring.core.rule_building import every
from mainspring.errors import InvalidOption, UnknownRun, UnknownSchedule
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.conformance.test_schedules import STEP, Stage
from tests.support.builders import AnyDatabase, Fleet, together


@pytest.fixture
def stage(fleet: Fleet, database: AnyDatabase, clock: SimulatedClock) -> Stage:
    fleet.new(task="ping", queue="default")
    return Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


def _backfill(stage: Stage, back: int = 10 * MINUTE, **options: Any) -> Any:
    return stage.client.schedules.backfill("ping", stage.now_in(-back), stage.now_in(0), **options)


def _codes(stage: Stage, backfill_id: str) -> list[str | None]:
    return [each.code or each.outcome for each in stage.client.schedules.backfills.items(backfill_id, limit=500)]


def _nominal(stage: Stage, run_id: str) -> Any:
    found = stage.client.schedules.of_run(run_id)
    assert found is not None
    return found.nominal


def _missed(stage: Stage, **options: Any) -> None:
    """Three instants: a success, a failure, one that was skipped."""
    stage.put(misfire={"policy": "skip", "grace": "10s"}, **options)
    stage.elapse()
    stage.work()
    stage.elapse()
    stage.work(Failed(code="error", message="no", final=True))
    stage.elapse(STEP + 30 * SECOND)
    assert stage.fates() == ["fired", "fired", "skipped_misfire"]


@pytest.mark.case("schedules", 51)
def test_a_backfill_runs_only_what_is_missing_and_says_of_the_rest_why_not(stage: Stage) -> None:
    _missed(stage, overlap="allow")
    first, second, third = stage.ledger()
    planned = _backfill(stage, 3 * MINUTE + 20 * SECOND)
    assert [each.code for each in planned.preview()] == ["succeeded", None, None]
    made = planned.apply()
    assert (made.total, made.done) == (3, 3)
    assert made.finished_at is not None
    assert _codes(stage, made.id) == ["succeeded", "started", "started"]
    runs = [each.run_id for each in stage.client.schedules.backfills.items(made.id)]
    assert [_nominal(stage, run) for run in runs if run] == [_nominal(stage, each.run_id) for each in (second, third)]
    assert [stage.fleet.get(run).rerun_of for run in runs if run] == [second.run_id, third.run_id]
    assert len(stage.work()) == 2
    assert [each.code for each in _backfill(stage, 3 * MINUTE + 20 * SECOND).preview()] == ["succeeded"] * 3
    assert first.made_good_by is None


@pytest.mark.case("schedules", 51)
def test_two_backfills_at_once_run_no_instant_twice(stage: Stage) -> None:
    _missed(stage, overlap="allow")
    both = [_backfill(stage, 3 * MINUTE + 20 * SECOND, only="all") for _ in range(2)]
    made = together(*[each.apply for each in both])
    assert len(made) == 2
    told = [_codes(stage, each.id) for each in both]
    assert sorted(sum(codes.count("started") for codes in place) for place in zip(*told, strict=True)) == [1, 1, 1]
    assert len(stage.work()) == 3


def test_an_instant_without_a_row_gets_one_and_one_that_failed_is_asked_for_by_name(stage: Stage) -> None:
    _missed(stage, overlap="allow")
    made = _backfill(stage, 3 * MINUTE + 20 * SECOND, only="failed").apply()
    assert _codes(stage, made.id) == ["succeeded", "started", "not_failed"]
    earlier = _backfill(stage, 3 * HOUR).preview()
    assert len(earlier) >= 3


def test_a_backfill_takes_the_slots_that_live_occurrences_leave(stage: Stage) -> None:
    _missed(stage)
    made = _backfill(stage, 3 * MINUTE + 20 * SECOND, only="all").apply()
    assert made.done == 1
    assert stage.client.schedules.get("ping").fired == 2
    for _ in range(4):
        stage.work()
        stage.fleet.pass_time(SECOND + 1)
        stage.fleet.tick()
    assert stage.client.schedules.backfills.summary(made.id) == {"started": 3}


def _under_way(stage: Stage, backfill_id: str) -> int:
    return _codes(stage, backfill_id).count("started")


def test_a_backfill_with_slots_of_its_own_waits_for_no_live_occurrence_and_keeps_none_from_starting(stage: Stage) -> None:
    _missed(stage)
    stage.elapse(30 * SECOND)
    assert len(stage.fleet.claim("w1")) == 1
    made = _backfill(stage, 4 * MINUTE + 20 * SECOND, only="all", own_slots=True).apply()
    stage.fleet.pass_time(SECOND + 1)
    stage.fleet.tick()
    assert _under_way(stage, made.id) == 1
    assert stage.fleet.sql("SELECT count(*) FROM occurrences WHERE slot = 1 AND origin = 'backfill'") == [(0,)]
    stage.work()
    stage.fleet.pass_time(SECOND + 1)
    stage.fleet.tick()
    assert _under_way(stage, made.id) == 2


def test_a_backfill_runs_no_more_at_once_than_it_may(stage: Stage) -> None:
    _missed(stage, overlap="allow")
    made = _backfill(stage, 3 * MINUTE + 20 * SECOND, only="all", max_concurrency=2).apply()
    stage.fleet.pass_time(SECOND + 1)
    stage.fleet.tick()
    assert _under_way(stage, made.id) == 2
    stage.fleet.finish(stage.fleet.claim("w1")[:1])
    stage.fleet.pass_time(SECOND + 1)
    stage.fleet.tick()
    assert _under_way(stage, made.id) == 3


def test_an_instant_that_never_had_a_row_is_run_under_its_planned_key(stage: Stage) -> None:
    stage.put(overlap="allow", enabled=False)
    stage.elapse(2 * MINUTE + 13 * SECOND)
    stage.put(overlap="allow")
    assert stage.ledger() == []
    made = _backfill(stage, 2 * MINUTE + 12 * SECOND).apply()
    assert (made.total, made.done) == (2, 2)
    assert _codes(stage, made.id) == ["started", "started"]
    assert [(each.origin.value, each.key.startswith("backfill:")) for each in stage.ledger()] == [("backfill", False)] * 2
    assert len(stage.work()) == 2


def test_a_retry_due_later_holds_up_no_backfill(stage: Stage) -> None:
    _missed(stage)
    stage.elapse(30 * SECOND)
    (live,) = stage.work(Failed(code="busy", message="not now", after_us=HOUR))
    assert stage.fleet.get(live.id).state == "retrying"
    made = _backfill(stage, 4 * MINUTE + 20 * SECOND).apply()
    assert _under_way(stage, made.id) == 1


def test_spaced_starts_come_one_by_one_and_a_cancel_leaves_the_rest_out(stage: Stage) -> None:
    _missed(stage, overlap="allow")
    made = _backfill(stage, 3 * MINUTE + 20 * SECOND, only="all", spacing="5s", order="newest_first").apply()
    stage.fleet.tick()
    assert _codes(stage, made.id).count("started") == 1
    over = stage.client.schedules.backfills.cancel(made.id)
    assert (over.cancelled_by, over.done) == ("user:ana", 3)
    assert _codes(stage, made.id) == ["started", "cancelled", "cancelled"]
    assert stage.client.schedules.backfills.cancel(made.id) == over


def test_instants_of_a_pause_are_left_to_its_end(stage: Stage) -> None:
    _missed(stage, overlap="allow")
    stage.client.schedules.pause("ping", reason="a look")
    stage.fleet.pass_time(2 * MINUTE)
    made = _backfill(stage, 110 * SECOND).apply()
    assert set(_codes(stage, made.id)) == {"undecided"}


def test_the_payload_of_a_backfill_is_its_own(stage: Stage) -> None:
    _missed(stage, overlap="allow")
    _backfill(stage, 80 * SECOND, payload={"n": 7}).apply()
    assert {each.body for each in stage.work()} == {b'{"n":7}'}


@pytest.mark.parametrize("wrong", [{"only": "some"}, {"order": "any"}, {"max_concurrency": 0}, {"max_concurrency": True}])
def test_an_option_of_a_backfill_that_cannot_be_is_refused(stage: Stage, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        _backfill(stage, **wrong)


def test_a_backfill_of_the_future_of_too_much_or_of_nothing_known_is_refused(stage: Stage) -> None:
    with pytest.raises(UnknownSchedule):
        _backfill(stage).preview()
    stage.put(every("1s"))
    with pytest.raises(InvalidOption, match="future"):
        stage.client.schedules.backfill("ping", stage.now_in(0), stage.now_in(HOUR)).apply()
    stage.put(every("1s"), start_at=stage.now_in(-4 * HOUR))
    with pytest.raises(InvalidOption, match="10,000"):
        _backfill(stage, 4 * HOUR).preview()
    with pytest.raises(UnknownRun):
        stage.client.schedules.backfills.get(stage.client.system.new_id())
