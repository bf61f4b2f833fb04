"""An attempt under its fence: start, heartbeat, and how it ends."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import (
    Failed,
    GaveItselfBack,
    Interrupted,
    Outcome,
    Stopped,
    Succeeded,
    Unstarted,
    Unworkable,
)
from mainspring.core.budgets import Budgets
from mainspring.core.durations import HOUR, SECOND
from mainspring.core.policy import Policy
from mainspring.core.retry import exponential, fixed
from mainspring.core.states import State
from mainspring.operations import attempts
from tests.support.builders import Fleet

ERROR = Failed(code="smtp_down", message="no route to host", type="OSError")


def policy(**budgets: int) -> Policy:
    return Policy(budgets=Budgets(**budgets), backoff=fixed("10s"), jitter=0.0)


# -- start and heartbeat -----------------------------------------------------------------------------------------------


def test_a_start_is_recorded_for_the_holder_of_the_fence(fleet: Fleet) -> None:
    held = fleet.running()
    assert fleet.start(held)
    assert fleet.sql("SELECT token FROM checkpoints") == [(1,)]


def test_a_start_under_an_old_fence_is_refused(fleet: Fleet) -> None:
    old = fleet.running()
    fleet.bury("w1")
    assert not fleet.start(old)
    new = fleet.reclaim(old.id)
    assert not fleet.start(old)
    assert fleet.start(new)


def test_a_start_after_the_end_is_refused(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held)
    assert not fleet.start(held)


def test_a_heartbeat_saves_what_it_brings_and_keeps_what_it_does_not(fleet: Fleet) -> None:
    held = fleet.running()
    assert fleet.heartbeat(held, details=b'{"row": 7}')
    assert fleet.heartbeat(held, progress='{"done": 1}')
    assert fleet.checkpoint(held.id) == b'{"row": 7}'
    assert fleet.view(held.id).progress == {"done": 1}


def test_heartbeats_of_many_runs_are_answered_each_by_its_own_fence(fleet: Fleet) -> None:
    fleet.enqueue_many(3)
    held = fleet.claim()
    fleet.finish(held[1])
    beats = [attempts.Beat(run.id, run.token, b"1", None) for run in reversed(held)]
    still = fleet.database.write("attempts.heartbeat", lambda tx: attempts.heartbeat(tx, beats))
    assert still == {held[0].id, held[2].id}
    assert fleet.database.write("attempts.heartbeat", lambda tx: attempts.heartbeat(tx, [])) == set()


@pytest.mark.case("jobs", 39)
@pytest.mark.parametrize(
    "outcome", [ERROR, Interrupted("worker_lost"), GaveItselfBack(after_us=SECOND)], ids=["failure", "interruption", "release"]
)
def test_the_next_attempt_sees_the_last_saved_checkpoint(fleet: Fleet, outcome: Outcome) -> None:
    held = fleet.running()
    fleet.heartbeat(held, details=b"1")
    fleet.heartbeat(held, details=b"2")
    fleet.finish(held, outcome)
    again = fleet.reclaim(held.id)
    fleet.start(again)
    assert fleet.checkpoint(again.id) == b"2"


@pytest.mark.case("jobs", 39)
def test_the_next_attempt_never_sees_a_checkpoint_of_an_attempt_that_lost_its_lease(fleet: Fleet) -> None:
    old = fleet.running()
    fleet.heartbeat(old, details=b"mine")
    fleet.bury("w1")
    assert not fleet.heartbeat(old, details=b"late")
    new = fleet.reclaim(old.id)
    assert not fleet.heartbeat(old, details=b"later")
    assert fleet.checkpoint(new.id) == b"mine"


def test_a_heartbeat_does_not_pass_for_a_start(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.start(held)
    fleet.bury("w1")
    again = fleet.reclaim(held.id)
    fleet.heartbeat(again, details=b"1")
    began = fleet.database.read("attempts.started", lambda tx: tx.rows("attempts.started", ids=[held.id]))
    assert began == []


def test_a_heartbeat_is_still_taken_while_the_run_is_asked_to_stop(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    assert fleet.heartbeat(held, details=b"last")


def test_a_worker_can_ask_what_it_holds(fleet: Fleet) -> None:
    fleet.enqueue_many(3)
    first, second, third = fleet.claim()
    fleet.cancel(second.id)
    fleet.finish(third)
    held = fleet.database.read("attempts.held", lambda tx: attempts.held(tx, "w1"))
    assert sorted(now[:3] for now in held) == [(first.id, 1, State.RUNNING), (second.id, 1, State.CANCELLING)]


# -- each outcome of a running attempt ---------------------------------------------------------------------------------


def test_success_keeps_the_result_and_ends_the_run(fleet: Fleet) -> None:
    held = fleet.running()
    assert fleet.finish(held, Succeeded(b'"ok"')) == set()
    run, last = fleet.get(held.id), fleet.ledger(held.id)[-1]
    assert (run.state, run.worker_id, run.ended_at, run.failures) == (State.SUCCEEDED, None, last.at, 0)
    assert (last.type, last.body, last.actor) == ("succeeded", b'"ok"', "worker:w1")


def test_success_without_a_result_keeps_none(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Succeeded(None))
    assert fleet.ledger(held.id)[-1].body is None


@pytest.mark.case("jobs", 35)
def test_a_failure_with_budget_left_waits_its_back_off_from_the_end_of_the_attempt(fleet: Fleet) -> None:
    held = fleet.running(policy=policy(max_attempts=3))
    fleet.pass_time(HOUR)
    fleet.finish(held, ERROR)
    run, last = fleet.get(held.id), fleet.ledger(held.id)[-1]
    assert (run.state, run.reason, run.failures, run.ended_at) == (State.RETRYING, "smtp_down", 1, None)
    assert run.due_at == last.at + 10 * SECOND
    assert {key: last.data[key] for key in ("code", "message", "type")} == {
        "code": "smtp_down", "message": "no route to host", "type": "OSError"
    }  # fmt: skip
    assert fleet.make_due() == 0


def test_the_last_failure_ends_the_run_and_opens_a_dead_letter(fleet: Fleet) -> None:
    held = fleet.running(policy=policy(max_attempts=2))
    fleet.finish(held, ERROR)
    held = fleet.reclaim(held.id)
    fleet.finish(held, ERROR, worker="w2")
    run = fleet.get(held.id)
    assert (run.state, run.reason, run.failures) == (State.FAILED, "smtp_down", 2)
    assert fleet.sql("SELECT run_id, code, closed_at FROM dead_letters") == [(held.id, "smtp_down", None)]


def test_a_final_failure_ends_the_run_whatever_budget_is_left(fleet: Fleet) -> None:
    held = fleet.running(policy=policy(max_attempts=99))
    fleet.finish(held, Failed(code="bad_address", message="", final=True))
    assert (fleet.get(held.id).state, fleet.get(held.id).reason) == (State.FAILED, "bad_address")


def test_a_failure_may_name_its_own_delay(fleet: Fleet) -> None:
    held = fleet.running(policy=policy(max_attempts=3))
    fleet.finish(held, Failed(code="busy", message="", after_us=77 * SECOND))
    run = fleet.get(held.id)
    assert run.due_at == fleet.ledger(held.id)[-1].at + 77 * SECOND


@pytest.mark.case("jobs", 34)
def test_the_cap_of_a_back_off_holds_for_the_thousandth_retry(fleet: Fleet) -> None:
    capped = Policy(budgets=Budgets(max_attempts=5000), backoff=exponential("1s", max="5m"), jitter=0.1)
    held = fleet.running(policy=capped)._replace(failures=1000)
    fleet.sql("UPDATE runs SET failures = 1000")
    fleet.finish(held, ERROR)
    run = fleet.get(held.id)
    assert run.due_at - fleet.ledger(held.id)[-1].at == 300 * SECOND
    fleet.sql("UPDATE runs SET failures = 1")


@pytest.mark.case("jobs", 29)
def test_a_released_run_spends_no_failure_and_keeps_no_slot(fleet: Fleet) -> None:
    fleet.declare("main", limit=1)
    held = fleet.running()
    fleet.finish(held, GaveItselfBack(after_us=120 * SECOND, reason="invoice not ready"))
    run = fleet.get(held.id)
    assert (run.state, run.reason, run.failures, run.releases) == (State.RELEASED, "invoice not ready", 0, 1)
    assert run.due_at == fleet.ledger(held.id)[-1].at + 120 * SECOND
    assert fleet.queue("main").used == 0


def test_a_release_until_an_instant_is_due_then(fleet: Fleet) -> None:
    held = fleet.running()
    until = fleet.now + HOUR
    fleet.finish(held, GaveItselfBack(until=until))
    assert fleet.get(held.id).due_at == until


def test_a_release_until_an_instant_that_is_over_is_due_at_once(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, GaveItselfBack(until=fleet.now - HOUR))
    assert fleet.get(held.id).due_at == fleet.ledger(held.id)[-1].at
    assert fleet.make_due() == 1


def test_a_release_beyond_its_bound_fails_the_run(fleet: Fleet) -> None:
    held = fleet.running(policy=policy(max_releases=0))
    fleet.finish(held, GaveItselfBack(after_us=SECOND))
    run = fleet.get(held.id)
    assert (run.state, run.reason, run.releases) == (State.FAILED, "deadline", 0)


@pytest.mark.case("jobs", 30)
def test_a_shutdown_spends_no_failure_and_the_run_is_due_at_once(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Interrupted("shutdown", shutdown=True))
    run = fleet.get(held.id)
    assert (run.state, run.failures, run.interruptions) == (State.QUEUED, 0, 1)
    assert [claimed.id for claimed in fleet.claim("w2")] == [held.id]


@pytest.mark.case("jobs", 30)
def test_a_lease_given_back_unstarted_spends_nothing_at_all(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Unstarted())
    run = fleet.get(held.id)
    assert (run.state, run.failures, run.interruptions, run.releases) == (State.QUEUED, 0, 0, 0)
    assert fleet.story(held.id)[-1] == "given_back"


@pytest.mark.case("jobs", 13)
def test_an_unworkable_run_is_parked_and_spends_nothing(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Unworkable("invalid_payload", "field 'to' is missing"))
    run = fleet.get(held.id)
    assert (run.state, run.reason, run.failures) == (State.NEEDS_ATTENTION, "invalid_payload", 0)
    assert fleet.ledger(held.id)[-1].data["message"] == "field 'to' is missing"


def test_a_task_that_stops_itself_unasked_has_failed(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Stopped())
    assert (fleet.get(held.id).state, fleet.get(held.id).reason) == (State.FAILED, "cancelled")


def test_many_outcomes_are_written_in_one_transaction(fleet: Fleet) -> None:
    ids = fleet.enqueue_many(100)
    assert fleet.finish(fleet.claim()) == set()
    assert set(fleet.states(ids)) == {State.SUCCEEDED}


# -- the fence ---------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 32)
@pytest.mark.parametrize("outcome", [Succeeded(b"1"), ERROR, GaveItselfBack(), Unstarted(), Interrupted("shutdown", shutdown=True)])
def test_a_late_finish_with_an_old_token_changes_nothing_and_is_told(fleet: Fleet, outcome: Outcome) -> None:
    old = fleet.running()
    fleet.bury("w1")
    new = fleet.reclaim(old.id)
    before = (fleet.get(old.id), fleet.story(old.id))
    assert fleet.finish(old, outcome) == {old.id}
    assert (fleet.get(old.id), fleet.story(old.id)) == before
    assert fleet.finish(new, worker="w2") == set()


def test_a_late_finish_of_a_reaped_run_that_waits_changes_nothing_and_is_told(fleet: Fleet) -> None:
    old = fleet.running()
    fleet.bury("w1")
    before = fleet.get(old.id)
    assert fleet.finish(old) == {old.id}
    assert fleet.get(old.id) == before


def test_a_finish_of_a_run_that_was_pruned_is_told(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held)
    fleet.prune()
    assert fleet.finish(held) == {held.id}


def test_one_lost_lease_in_a_batch_loses_no_other_outcome(fleet: Fleet) -> None:
    fleet.enqueue_many(10)
    held = fleet.claim()
    fleet.finish(held[4])
    stale = [run._replace(token=run.token + 7) if run is held[7] else run for run in held if run is not held[4]]
    assert fleet.finish(stale) == {held[7].id}
    assert [fleet.get(run.id).state for run in held].count(State.SUCCEEDED) == 9
    fleet.finish(held[7])


@pytest.mark.parametrize("outcome", [Succeeded(b"1"), ERROR, GaveItselfBack(after_us=SECOND), Unstarted()])
def test_a_finish_repeated_after_an_unknown_commit_is_neither_lost_nor_written_twice(fleet: Fleet, outcome: Outcome) -> None:
    held = fleet.running()
    assert fleet.finish(held, outcome) == set()
    before = (fleet.get(held.id), fleet.story(held.id))
    assert fleet.finish(held, outcome) == set()
    assert (fleet.get(held.id), fleet.story(held.id)) == before


def test_another_workers_word_about_the_same_fence_is_lost(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held)
    assert fleet.finish(held, worker="impostor") == {held.id}


# -- asked to stop -----------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 41)
@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Succeeded(b"1"), "succeeded"),
        (Stopped(), "stopped"),
        (GaveItselfBack(after_us=SECOND), "gaveitselfback"),
        (Interrupted("shutdown", shutdown=True), "interrupted"),
        (Unstarted(), "unstarted"),
        (Unworkable("invalid_payload", ""), "unworkable"),
    ],
)
def test_a_run_asked_to_stop_ends_cancelled_and_keeps_what_the_attempt_achieved(fleet: Fleet, outcome: Outcome, told: str) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    assert fleet.finish(held, outcome) == set()
    last = fleet.ledger(held.id)[-1]
    assert (fleet.get(held.id).state, last.data["outcome"]) == (State.CANCELLED, told)
    assert last.body == (b"1" if isinstance(outcome, Succeeded) else None)
    assert (fleet.make_due(), fleet.claim("w2")) == (0, [])


@pytest.mark.case("jobs", 41)
def test_a_run_asked_to_stop_that_raises_something_else_fails_without_retry_or_dead_letter(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    fleet.finish(held, ERROR)
    run = fleet.get(held.id)
    assert (run.state, run.reason) == (State.FAILED, "smtp_down")
    assert fleet.sql("SELECT * FROM dead_letters") == []


def test_a_finish_of_a_cancelling_run_repeated_after_an_unknown_commit_is_not_lost(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    assert (fleet.finish(held), fleet.finish(held)) == (set(), set())
    assert fleet.story(held.id).count("cancelled") == 1


@pytest.mark.case("jobs", 18)
def test_a_late_finish_returns_no_slot_of_the_attempt_that_replaced_it(fleet: Fleet) -> None:
    fleet.declare("main", limit=2)
    old = fleet.running()
    fleet.bury("w1")
    new = fleet.reclaim(old.id)
    fleet.finish(old)
    assert fleet.queue("main").used == 1
    fleet.finish(new, worker="w2")
    fleet.finish(new, worker="w2")
    assert fleet.queue("main").used == 0
