"""Upkeep in virtual time: due runs at their exact instant, lapsed leases under the brake, and when the next look is due."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed
from mainspring.core.durations import DAY, HOUR, SECOND
from mainspring.core.lease import DEFAULT_TTL
from mainspring.core.states import State
from mainspring.operations.upkeep import MOST_DUE
from tests.support.virtual import Stage


def test_a_run_becomes_queued_at_its_exact_instant_and_not_before(stage: Stage) -> None:
    told: list[str] = []
    upkeep = stage.maintenance(on_due=lambda: told.append("due"))
    run_id = stage.fleet.enqueue(delay=700_000)
    assert upkeep.step().after_seconds == pytest.approx(0.7)
    stage.advance(700_000 - 1)
    assert upkeep.step().after_seconds == pytest.approx(1e-6)
    assert stage.fleet.get(run_id).state is State.SCHEDULED
    assert told == []
    stage.advance(1)
    upkeep.step()
    assert stage.fleet.get(run_id).state is State.QUEUED
    assert told == ["due"]


def test_the_next_look_is_at_most_a_second_away_however_far_the_next_run_is(stage: Stage) -> None:
    upkeep = stage.maintenance()
    assert upkeep.step().after_seconds == 1.0
    stage.fleet.enqueue(delay=30 * DAY)
    assert upkeep.step().after_seconds == 1.0


@pytest.mark.case("jobs", 15)
def test_a_run_due_in_a_month_is_in_no_workers_hands_until_then_and_is_delivered_once(stage: Stage) -> None:
    run_id = stage.fleet.enqueue(delay=30 * DAY)
    post, upkeep = stage.post(), stage.maintenance()
    for _ in range(30):
        post.step()
        upkeep.step()
        stage.advance(DAY)
    assert post.hands == []
    upkeep.step()
    post.settle()
    post.settle()
    assert [claimed.id for claimed in post.hands] == [run_id]


@pytest.mark.case("jobs", 16)
def test_a_due_run_whose_hint_was_lost_starts_within_one_poll(stage: Stage) -> None:
    post = stage.post(poll=1.0)
    wait = post.step().after_seconds
    run_id = stage.fleet.enqueue()  # nobody rings
    assert wait <= 1.1
    stage.advance(int(wait * SECOND))
    post.step()
    assert post.last.id == run_id


def test_more_due_runs_than_one_transaction_takes_are_taken_without_a_pause(stage: Stage) -> None:
    stage.fleet.enqueue_many(MOST_DUE + 5, delay=SECOND)
    stage.advance(SECOND)
    upkeep = stage.maintenance()
    assert upkeep.step().after_seconds == 0
    assert stage.fleet.one("SELECT count(*) FROM runs WHERE state = 'scheduled'") == 5
    assert upkeep.step().after_seconds > 0
    assert stage.fleet.one("SELECT count(*) FROM runs WHERE state = 'queued'") == MOST_DUE + 5


@pytest.mark.case("jobs", 35)
def test_a_retry_is_due_after_the_end_of_its_attempt_and_no_claim_starts_it_early(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post, upkeep = stage.post(), stage.maintenance()
    post.step()
    stage.advance(10 * SECOND)
    post.end(post.last, Failed(code="error", message="no", after_us=3 * SECOND))
    post.step()
    assert stage.fleet.get(run_id).due_at == stage.fleet.now + 3 * SECOND
    stage.advance(3 * SECOND - 1)
    upkeep.step()
    post.step()
    assert len(post.hands) == 1
    stage.advance(1)
    upkeep.step()
    post.step()
    assert post.last.token == 2


def test_the_runs_of_a_silent_worker_are_taken_when_its_lease_is_over_and_not_before(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    upkeep, silent = stage.maintenance(), stage.post("silent")
    upkeep.step()
    stage.advance(DEFAULT_TTL)
    upkeep.step()  # the first looks of a fleet hold the reaper back for one TTL
    silent.step()
    for _ in range(29):
        stage.advance(SECOND)
        upkeep.step()
    assert stage.fleet.get(run_id).state is State.RUNNING
    stage.advance(SECOND)
    upkeep.step()
    assert stage.fleet.get(run_id).state is State.QUEUED
    assert stage.fleet.get(run_id).interruptions == 1


@pytest.mark.case("jobs", 33)
def test_after_a_silence_of_the_whole_fleet_nobody_is_reaped_for_one_ttl(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    stage.fleet.calm()
    post, upkeep = stage.post(), stage.maintenance()
    post.step()
    stage.advance(3 * DEFAULT_TTL)
    upkeep.step()
    assert stage.fleet.get(run_id).state is State.RUNNING
    post.step()
    assert stage.fleet.get(run_id).interruptions == 0


def test_one_look_for_lapsed_leases_serves_the_fleet(stage: Stage) -> None:
    upkeeps = [stage.maintenance() for _ in range(5)]
    upkeeps[0].step()
    looked = stage.fleet.one("SELECT last_tick_at FROM fleet")
    stage.advance(SECOND // 10)
    for upkeep in upkeeps[1:]:
        upkeep.step()
    assert stage.fleet.one("SELECT last_tick_at FROM fleet") == looked


@pytest.mark.case("jobs", 42)
def test_a_cancel_of_a_run_whose_worker_is_dead_ends_without_that_worker(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    stage.fleet.calm()
    dead, upkeep = stage.post("dead"), stage.maintenance()
    dead.step()
    stage.fleet.cancel(run_id)
    for _ in range(31):
        stage.advance(SECOND)
        upkeep.step()
    assert stage.fleet.get(run_id).state is State.CANCELLED


def test_a_run_that_kills_its_worker_every_time_ends_after_its_interruptions(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    upkeep = stage.maintenance()
    stage.fleet.calm()
    for life in range(12):
        stage.advance(HOUR)
        stage.fleet.calm()
        upkeep.step()
        victim = stage.post(f"life{life}")
        victim.step()
        for claimed in victim.hands:
            victim.worker.start(claimed)
        stage.fleet.bury(f"life{life}")
    run = stage.fleet.get(run_id)
    assert (run.state, run.reason, run.interruptions, run.failures) == (State.FAILED, "interrupted", 10, 0)


def test_old_keys_are_forgotten_at_the_first_step_and_then_once_an_hour(stage: Stage) -> None:
    upkeep = stage.maintenance()
    upkeep.step()
    stage.fleet.enqueue(key="k", key_ttl=SECOND)
    held = stage.fleet.claim("w1")
    stage.fleet.finish(held)
    stage.advance(HOUR - 1)
    upkeep.step()
    assert stage.fleet.one("SELECT count(*) FROM idempotency_keys") == 1
    stage.advance(1)
    upkeep.step()
    assert stage.fleet.one("SELECT count(*) FROM idempotency_keys") == 0
