"""What an operator does to a run that waits: another instant, another priority; and to one that has ended: run it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainspring.core.attempts import Failed, Unworkable
from mainspring.core.attributes import checked
from mainspring.core.durations import HOUR, SECOND
from mainspring.core.states import State
from mainspring.errors import InvalidOption, KeyConflict, NotTerminal, NotWaiting, RunTerminal, UnknownRun
from mainspring.operations import runs, steering
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started

FATAL = Failed(code="bad", message="", final=True)
WHO = "user:operator"


def reschedule(fleet: Fleet, run_id: str, due_at: int) -> State:
    told: dict[str, Any] = {"namespace": fleet.namespace, "actor": WHO}
    return fleet.database.write("runs.reschedule", lambda tx: steering.reschedule(tx, run_id, due_at=due_at, **told))


def set_priority(fleet: Fleet, run_id: str, priority: int) -> bool:
    told: dict[str, Any] = {"namespace": fleet.namespace, "actor": WHO}
    return fleet.database.write("runs.set_priority", lambda tx: steering.set_priority(tx, run_id, priority, **told))


def rerun(fleet: Fleet, run_id: str, **options: Any) -> str:
    new_id = fleet.new_id()
    told: dict[str, Any] = {"namespace": fleet.namespace, "actor": WHO} | options
    return fleet.database.write("runs.rerun", lambda tx: runs.rerun(tx, run_id, new_id, **told))


# -- another instant ---------------------------------------------------------------------------------------------------


def test_a_scheduled_run_is_moved_to_another_instant_and_its_ledger_says_who_did_it(fleet: Fleet) -> None:
    run_id = fleet.enqueue(delay=HOUR)
    later = fleet.now + 5 * HOUR
    assert reschedule(fleet, run_id, later) is State.SCHEDULED
    assert fleet.get(run_id).due_at == later
    assert (fleet.story(run_id), fleet.ledger(run_id)[-1].actor) == (["created", "rescheduled"], WHO)


def test_a_run_made_due_now_is_claimed_at_once(fleet: Fleet) -> None:
    run_id = fleet.enqueue(delay=HOUR)
    assert reschedule(fleet, run_id, 0) is State.QUEUED
    assert [claimed.id for claimed in fleet.claim()] == [run_id]


def test_a_retry_that_waits_may_be_hurried_and_put_off(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Failed(code="smtp_down", message=""))
    assert reschedule(fleet, held.id, fleet.now + HOUR) is State.RETRYING
    assert fleet.get(held.id).reason == "smtp_down"
    assert reschedule(fleet, held.id, 0) is State.QUEUED
    assert fleet.get(held.id).failures == 1


def test_a_queued_run_may_be_put_off_and_comes_back(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    assert reschedule(fleet, run_id, fleet.now + 10 * SECOND) is State.SCHEDULED
    assert fleet.claim() == []
    fleet.pass_time(11 * SECOND)
    fleet.make_due()
    assert [claimed.id for claimed in fleet.claim()] == [run_id]


def test_making_a_queued_run_due_changes_nothing(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    assert reschedule(fleet, run_id, 0) is State.QUEUED
    assert fleet.story(run_id) == ["created"]


# -- another priority --------------------------------------------------------------------------------------------------


def test_a_run_with_a_higher_priority_is_claimed_first(fleet: Fleet) -> None:
    first, second = fleet.enqueue_many(2)
    assert set_priority(fleet, second, 9)
    assert not set_priority(fleet, second, 9)
    assert fleet.view(second).priority == 9
    fleet.new(priority=9)  # the fleet of this test knows that lane
    assert fleet.claim_one_by_one() == [second, first]
    assert fleet.ledger(second)[1].data["lane"] == fleet.get(second).lane_id


@pytest.mark.parametrize("make", ["scheduled", "retrying", "blocked"])
def test_every_waiting_run_takes_another_priority_and_keeps_its_state(fleet: Fleet, make: str) -> None:
    if make == "retrying":
        held = fleet.running()
        fleet.finish(held, Failed(code="smtp_down", message=""))
        run_id = held.id
    else:
        run_id = fleet.enqueue(delay=HOUR) if make == "scheduled" else fleet.enqueue(blocked="gate")
    before = fleet.get(run_id)
    assert set_priority(fleet, run_id, -5)
    after = fleet.get(run_id)
    assert (after.state, after.reason, after.due_at) == (before.state, before.reason, before.due_at)


# -- what does not wait ------------------------------------------------------------------------------------------------

ACTS: list[Callable[[Fleet, str], Any]] = [
    lambda fleet, run_id: reschedule(fleet, run_id, 0),
    lambda fleet, run_id: set_priority(fleet, run_id, 3),
]


@pytest.mark.parametrize("act", ACTS, ids=["reschedule", "set_priority"])
def test_a_run_that_does_not_wait_is_refused_and_stays_as_it_is(fleet: Fleet, act: Callable[[Fleet, str], Any]) -> None:
    ended, parked = fleet.running(), fleet.running()
    fleet.finish(ended)
    fleet.finish(parked, Unworkable("invalid_payload", ""))
    running = fleet.running()
    for run_id, error in ((running.id, NotWaiting), (parked.id, NotWaiting), (ended.id, RunTerminal), (fleet.new_id(), UnknownRun)):
        before = fleet.story(run_id)
        with pytest.raises(error):
            act(fleet, run_id)
        assert fleet.story(run_id) == before


def test_a_blocked_run_has_no_instant_to_move(fleet: Fleet) -> None:
    with pytest.raises(NotWaiting):
        reschedule(fleet, fleet.enqueue(blocked="gate"), 0)


@pytest.mark.parametrize("act", ACTS, ids=["reschedule", "set_priority"])
def test_a_run_claimed_while_an_operator_acts_is_a_conflict(
    fleet: Fleet, rival: AnyDatabase, act: Callable[[Fleet, str], Any]
) -> None:
    run_id = fleet.enqueue()
    other = Fleet(database=rival, clock=fleet.clock)
    fleet.register("w1")
    with open_transaction(fleet.database) as tx:
        assert [claimed.id for claimed in fleet.claim_in(tx)] == [run_id]
        acting = started(rival, lambda: act(other, run_id))
    with pytest.raises(NotWaiting):
        acting()
    assert fleet.get(run_id).state is State.RUNNING


def test_a_parked_run_is_cancelled_only_with_a_reason(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.park(run_id)
    with pytest.raises(InvalidOption):
        fleet.cancel(run_id)
    assert fleet.cancel(run_id, "not needed any more") == "cancelled"


# -- running again what has ended --------------------------------------------------------------------------------------


def test_a_rerun_is_a_linked_run_with_fresh_budgets_and_the_same_payload_and_attributes(fleet: Fleet) -> None:
    held = fleet.running(body=b'{"a":1}', key="k", attributes=checked({"order": 7}))
    fleet.finish(held)
    before = fleet.story(held.id)
    again = rerun(fleet, held.id)
    run = fleet.get(again)
    assert (run.rerun_of, run.state, run.failures, run.idempotency_key) == (held.id, State.QUEUED, 0, None)
    assert [claimed.body for claimed in fleet.claim()] == [b'{"a":1}']
    assert fleet.one(f"SELECT value FROM run_attributes WHERE run_id = '{again}'") == checked({"order": 7})[0][1]
    assert fleet.story(held.id) == before


def test_a_rerun_takes_no_idempotency_key_and_leaves_its_owner_alone(fleet: Fleet) -> None:
    held = fleet.running(key="k")
    fleet.finish(held)
    rerun(fleet, held.id)
    assert fleet.enqueue(key="k") == held.id


def test_a_rerun_takes_the_singleton_key_and_is_refused_while_another_has_it(fleet: Fleet) -> None:
    held = fleet.running(singleton="s")
    fleet.finish(held)
    again = rerun(fleet, held.id)
    assert fleet.enqueue(singleton="s") == again
    with pytest.raises(KeyConflict) as refused:
        rerun(fleet, held.id)
    assert refused.value.owner == again


def test_a_run_may_be_run_again_any_number_of_times_at_once_but_retried_once(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, FATAL)
    assert len({rerun(fleet, held.id), rerun(fleet, held.id)}) == 2
    again, made = fleet.retry(held.id)
    assert made
    assert fleet.retry(held.id) == (again, False)


def test_a_run_that_has_not_ended_is_not_run_again(fleet: Fleet) -> None:
    with pytest.raises(NotTerminal):
        rerun(fleet, fleet.enqueue())


def test_a_rerun_with_another_payload_keeps_the_old_run_as_it_was(fleet: Fleet) -> None:
    held = fleet.running(body=b'{"a":1}')
    fleet.finish(held)
    rerun(fleet, held.id, body=b'{"a":2}')
    assert [claimed.body for claimed in fleet.claim()] == [b'{"a":2}']
    assert fleet.ledger(held.id)[0].body == b'{"a":1}'


def test_a_deadline_counts_anew_for_a_rerun(fleet: Fleet) -> None:
    held = fleet.running(deadline_in=HOUR)
    fleet.finish(held)
    fleet.pass_time(10 * HOUR)
    again = fleet.get(rerun(fleet, held.id))
    assert again.deadline_at == again.created_at + HOUR
