"""When a holder is gone: interruptions and their budget, suspects, the brake after an outage, orphans."""

from __future__ import annotations

from functools import partial

import pytest

from mainspring.core.budgets import Budgets
from mainspring.core.durations import SECOND
from mainspring.core.policy import Policy
from mainspring.core.states import State
from mainspring.operations import attempts, retention, views
from tests.support.builders import TTL, Fleet


@pytest.mark.case("jobs", 19)
def test_the_runs_of_a_dead_worker_are_taken_and_due_at_once(fleet: Fleet) -> None:
    fleet.declare("main", limit=3)
    fleet.enqueue_many(3)
    held = fleet.claim("w1")
    assert fleet.bury("w1") == 3
    assert fleet.queue("main").used == 0
    for run in map(fleet.get, [each.id for each in held]):
        assert (run.state, run.reason, run.interruptions, run.failures) == (State.QUEUED, "worker_lost", 1, 0)
    assert len(fleet.claim("w2")) == 3


def test_a_worker_that_renews_is_left_alone(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.calm()
    fleet.pass_time(TTL - SECOND)
    assert fleet.database.write("workers.renew", lambda tx: attempts.renew(tx, "w1")) == 0
    fleet.calm()
    fleet.pass_time(TTL - SECOND)
    assert fleet.reap() == 0
    assert fleet.get(held.id).state is State.RUNNING


def test_a_lease_lapses_after_its_time(fleet: Fleet) -> None:
    fleet.running()
    fleet.pass_time(TTL)
    fleet.calm()
    assert fleet.reap() == 1


def test_a_worker_that_was_declared_gone_cannot_renew(fleet: Fleet) -> None:
    fleet.running()
    fleet.bury("w1")
    assert fleet.database.write("workers.renew", lambda tx: attempts.renew(tx, "w1")) is None


def test_a_renewal_tells_how_many_limits_there_are(fleet: Fleet) -> None:
    fleet.declare("main", limit=1)
    fleet.declare("mail", limit=1)
    fleet.register("w1")
    assert fleet.database.write("workers.renew", lambda tx: attempts.renew(tx, "w1")) == 2


def test_a_worker_that_leaves_is_gone_and_what_it_still_held_is_taken(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.database.write("workers.leave", lambda tx: attempts.leave(tx, "w1"))
    fleet.calm()
    assert fleet.reap() == 1
    assert fleet.get(held.id).state is State.QUEUED


def test_an_orphan_claimed_as_its_worker_was_declared_gone_is_taken_too(fleet: Fleet) -> None:
    fleet.running("w1")
    fleet.bury("w1")
    fleet.claim("w1")  # its claim was on the way when the reaper came
    fleet.calm()
    assert fleet.reap() == 1
    assert fleet.reap() == 0


def test_interruptions_back_off_and_their_budget_ends_the_run(fleet: Fleet) -> None:
    held = fleet.running(policy=Policy(budgets=Budgets(max_interruptions=3)))
    fleet.start(held)
    fleet.bury("w1")
    again = fleet.reclaim(held.id, "w2")
    fleet.start(again)
    fleet.bury("w2")
    run = fleet.get(held.id)
    assert (run.state, run.interruptions) == (State.RETRYING, 2)
    assert run.due_at - fleet.ledger(held.id)[-1].at == 5 * SECOND
    last = fleet.reclaim(held.id, "w3")
    fleet.start(last)
    fleet.bury("w3")
    run = fleet.get(held.id)
    assert (run.state, run.reason, run.interruptions, run.failures) == (State.FAILED, "interrupted", 3, 0)
    assert fleet.sql("SELECT code FROM dead_letters") == [("interrupted",)]


@pytest.mark.case("jobs", 31)
def test_a_suspect_that_never_started_spends_nothing(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.bury("w1")
    fleet.reclaim(held.id, "w2")  # handed out, and its worker dies before it began
    fleet.bury("w2")
    run = fleet.get(held.id)
    assert (run.state, run.interruptions) == (State.QUEUED, 1)
    assert fleet.story(held.id)[-1] == "given_back"


@pytest.mark.case("jobs", 31)
def test_a_start_of_an_earlier_attempt_does_not_count_against_a_suspect(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.start(held)
    fleet.bury("w1")
    fleet.reclaim(held.id, "w2")
    fleet.bury("w2")
    assert fleet.get(held.id).interruptions == 1


@pytest.mark.case("jobs", 33)
def test_after_an_outage_nobody_is_reaped_until_the_fleet_had_time_to_renew(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.reap()
    fleet.calm()
    fleet.pass_time(10 * TTL)  # nobody could renew, and nobody could look
    assert fleet.reap() == 0
    fleet.pass_time(TTL // 3)
    assert fleet.reap() == 0
    assert fleet.database.write("workers.renew", lambda tx: attempts.renew(tx, "w1")) == 0
    fleet.pass_time(TTL // 3)
    assert fleet.reap() == 0
    fleet.pass_time(TTL // 3)
    assert fleet.reap() == 0
    assert fleet.get(held.id).state is State.RUNNING


@pytest.mark.case("jobs", 33)
def test_after_the_hold_whoever_did_not_renew_is_reaped(fleet: Fleet) -> None:
    fleet.running()
    fleet.pass_time(10 * TTL)
    reaped = []
    for _ in range(4):
        reaped.append(fleet.reap())
        fleet.pass_time(TTL // 3 + SECOND)
    assert reaped == [0, 0, 0, 1]


def test_the_first_tick_ever_reaps_nobody(fleet: Fleet) -> None:
    fleet.running()
    fleet.lapse("w1")
    assert fleet.reap() == 0


def test_a_run_asked_to_stop_ends_cancelled_when_its_worker_dies(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    fleet.bury("w1")
    run = fleet.get(held.id)
    assert (run.state, run.interruptions) == (State.CANCELLED, 0)


def test_a_worker_that_held_very_many_is_emptied_tick_by_tick(fleet: Fleet) -> None:
    fleet.enqueue_many(230)
    assert len(fleet.claim("w1", most=230)) == 230
    fleet.calm()
    fleet.lapse("w1")
    assert [fleet.reap() for _ in range(4)] == [100, 100, 30, 0]
    assert fleet.one("SELECT state FROM workers WHERE id = 'w1'") == "gone"


def test_several_dead_workers_are_reaped_in_one_tick(fleet: Fleet) -> None:
    for worker in ("w1", "w2", "w3"):
        fleet.running(worker)
        fleet.lapse(worker)
    fleet.calm()
    assert fleet.reap() == 3


def test_workers_gone_for_long_are_forgotten_unless_they_hold_something(fleet: Fleet) -> None:
    fleet.running("w1")
    fleet.register("w2")
    for worker in ("w1", "w2"):
        fleet.database.write("workers.leave", partial(attempts.leave, worker_id=worker))
    fleet.database.write("retention.forget", lambda tx: retention.forget(tx, workers_before=tx.now + 2 * TTL))
    assert fleet.sql("SELECT id FROM workers") == [("w1",)]


def test_one_look_serves_the_fleet_for_a_while(fleet: Fleet) -> None:
    fleet.running()
    fleet.calm()
    fleet.lapse("w1")
    looks = partial(attempts.reap, policies=views.policies, ttl=TTL, actor="leader", every=10 * SECOND)
    assert fleet.database.write("attempts.reap", looks) is None
    fleet.pass_time(10 * SECOND)
    assert fleet.database.write("attempts.reap", looks) == 1


def test_a_claim_whose_answer_got_lost_is_given_back_and_spends_nothing(fleet: Fleet) -> None:
    fleet.enqueue_many(2)
    first, second = fleet.claim()
    orphans = fleet.database.read("attempts.held", lambda tx: attempts.held(tx, "w1"))
    fleet.finish(second)  # settled in between
    give_back = partial(attempts.give_back, orphans=orphans, policies=views.policies, actor="worker:w1")
    fleet.database.write("attempts.give_back", give_back)
    fleet.database.write("attempts.give_back", give_back)
    run = fleet.get(first.id)
    assert (run.state, run.interruptions, fleet.story(first.id)) == (State.QUEUED, 0, ["created", "claimed", "given_back"])
    assert fleet.get(second.id).state is State.SUCCEEDED


def test_a_lost_claim_that_somebody_else_has_by_now_is_left_alone(fleet: Fleet) -> None:
    fleet.running()
    orphans = fleet.database.read("attempts.held", lambda tx: attempts.held(tx, "w1"))
    fleet.bury("w1")
    (again,) = fleet.claim("w2")
    fleet.database.write(
        "attempts.give_back",
        partial(attempts.give_back, orphans=orphans, policies=views.policies, actor="worker:w1"),
    )
    assert fleet.get(again.id).worker_id == "w2"
