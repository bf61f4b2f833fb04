"""What a person does to one run: try it again, let it out of a dead end, park it; and runs whose instant comes."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Unworkable
from mainspring.core.durations import HOUR, SECOND
from mainspring.core.states import State
from mainspring.errors import NotTerminal, UnknownRun
from mainspring.operations import attempts
from tests.support.builders import Fleet

FATAL = Failed(code="bad_address", message="no such user", final=True)


# -- due instants ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["scheduled", "retrying", "released"])
def test_a_waiting_run_becomes_due_at_its_instant_and_not_before(fleet: Fleet, state: str) -> None:
    run_id = waiting(fleet, state)
    assert fleet.get(run_id).state == state
    fleet.pass_time(HOUR - SECOND)
    assert fleet.make_due() == 0
    fleet.pass_time(SECOND)
    assert fleet.make_due() == 1
    run = fleet.get(run_id)
    assert (run.state, run.reason, fleet.story(run_id)[-1]) == (State.QUEUED, None, "due")


def waiting(fleet: Fleet, state: str) -> str:
    if state == "scheduled":
        return fleet.enqueue(delay=HOUR)
    held = fleet.running()
    outcome = Failed(code="busy", message="", after_us=HOUR) if state == "retrying" else GaveItselfBack(after_us=HOUR)
    fleet.finish(held, outcome)
    return held.id


def test_due_runs_are_queued_in_bounded_portions_the_oldest_first(fleet: Fleet) -> None:
    late = fleet.enqueue(delay=3 * SECOND)
    soon = fleet.enqueue_many(3, delay=1 * SECOND)
    fleet.pass_time(HOUR)
    assert fleet.make_due(most=2) == 2
    assert fleet.states([*soon, late]) == [State.QUEUED, State.QUEUED, State.SCHEDULED, State.SCHEDULED]
    assert (fleet.make_due(most=2), fleet.make_due(most=2)) == (2, 0)


def test_the_next_instant_anybody_waits_for_is_known(fleet: Fleet) -> None:
    assert fleet.database.read("runs.next_due", attempts.next_due_at) is None
    fleet.enqueue(delay=HOUR)
    sooner = fleet.get(fleet.enqueue(delay=SECOND))
    assert fleet.database.read("runs.next_due", attempts.next_due_at) == sooner.due_at


def test_a_run_that_becomes_due_keeps_its_place_by_its_instant(fleet: Fleet) -> None:
    older = fleet.enqueue(delay=SECOND)
    fleet.pass_time(HOUR)
    newer = fleet.enqueue()
    fleet.make_due()
    assert fleet.claim_one_by_one() == [older, newer]


# -- retry -------------------------------------------------------------------------------------------------------------


def test_a_retry_is_a_new_run_with_fresh_budgets_linked_to_its_source(fleet: Fleet) -> None:
    held = fleet.running(body=b'["a@b"]', priority=3)
    fleet.finish(held, FATAL)
    new_id, made = fleet.retry(held.id)
    new, source = fleet.get(new_id), fleet.get(held.id)
    assert made
    assert (new.state, new.rerun_of, new.failures, new.token) == (State.QUEUED, held.id, 0, 0)
    assert (new.lane_id, new.policy_id) == (source.lane_id, source.policy_id)
    assert fleet.ledger(new_id)[0].body == b'["a@b"]'
    assert source.state is State.FAILED


@pytest.mark.case("jobs", 51)
def test_a_dead_letter_retried_twice_is_one_new_run(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, FATAL)
    first, made = fleet.retry(held.id)
    assert made
    assert fleet.retry(held.id) == (first, False)
    assert fleet.one("SELECT count(*) FROM runs") == 2


def test_a_retry_closes_the_dead_letter_and_leaves_the_source_as_it_was(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, FATAL)
    before = (fleet.get(held.id), fleet.story(held.id))
    fleet.retry(held.id)
    assert (fleet.get(held.id), fleet.story(held.id)) == before
    assert fleet.one("SELECT count(*) FROM dead_letters WHERE closed_at IS NULL") == 0


def test_once_a_retry_has_ended_there_may_be_another(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, FATAL)
    first, _ = fleet.retry(held.id)
    fleet.finish(fleet.claim(), FATAL)
    second, made = fleet.retry(held.id)
    assert made
    assert second != first


def test_a_cancelled_run_can_be_retried(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.cancel(run_id)
    assert fleet.retry(run_id)[1]


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_a_run_that_has_not_failed_cannot_be_retried(fleet: Fleet, state: str) -> None:
    run_id = fleet.enqueue()
    held = fleet.claim() if state != "queued" else []
    if state == "succeeded":
        fleet.finish(held)
    with pytest.raises(NotTerminal):
        fleet.retry(run_id)
    assert fleet.one("SELECT count(*) FROM runs") == 1


def test_an_unknown_run_cannot_be_retried(fleet: Fleet) -> None:
    with pytest.raises(UnknownRun):
        fleet.retry(fleet.new_id())


# -- parked ------------------------------------------------------------------------------------------------------------


def test_a_queued_run_is_parked_with_its_reason_and_is_not_claimed(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.park(run_id, "unknown_task")
    assert (fleet.get(run_id).state, fleet.get(run_id).reason) == (State.NEEDS_ATTENTION, "unknown_task")
    assert fleet.claim() == []


def test_parking_a_run_that_was_claimed_meanwhile_leaves_it_alone(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.park(held.id)
    assert fleet.get(held.id).state is State.RUNNING


def test_a_resumed_run_is_queued_and_due_now(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Unworkable("invalid_payload", ""))
    fleet.resume(held.id, "code was repaired")
    run, last = fleet.get(held.id), fleet.ledger(held.id)[-1]
    assert (run.state, run.reason, run.due_at) == (State.QUEUED, "code was repaired", last.at)
    assert [claimed.token for claimed in fleet.claim("w2")] == [2]


def test_a_parked_run_failed_by_a_person_spends_no_failure_and_opens_no_dead_letter(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Unworkable("invalid_payload", ""))
    fleet.fail(held.id, "hopeless")
    run = fleet.get(held.id)
    assert (run.state, run.reason, run.failures) == (State.FAILED, "hopeless", 0)
    assert fleet.sql("SELECT * FROM dead_letters") == []


@pytest.mark.parametrize("way_out", ["resume", "fail"])
def test_only_a_parked_run_can_be_let_out(fleet: Fleet, way_out: str) -> None:
    run_id = fleet.enqueue()
    with pytest.raises(NotTerminal):
        getattr(fleet, way_out)(run_id)
    assert fleet.get(run_id).state is State.QUEUED


def test_a_run_of_another_namespace_is_unknown_to_operators(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.namespace = "elsewhere"
    for ask in (fleet.retry, fleet.park, fleet.resume, fleet.fail, fleet.get):
        with pytest.raises(UnknownRun):
            ask(run_id)
