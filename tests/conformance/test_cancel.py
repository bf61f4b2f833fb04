"""Cancelling: at once where nobody runs the run, in two phases where somebody does, never after the end."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Outcome, Unworkable
from mainspring.core.durations import HOUR
from mainspring.core.states import State
from mainspring.errors import RunTerminal, UnknownRun
from tests.support.builders import Fleet


@pytest.mark.parametrize("state", ["queued", "scheduled", "blocked", "retrying", "released", "needs_attention"])
def test_a_waiting_or_parked_run_is_cancelled_at_once(fleet: Fleet, state: str) -> None:
    run_id = brought_to(fleet, state)
    assert fleet.get(run_id).state == state
    assert fleet.cancel(run_id, "not wanted") == "cancelled"
    run, last = fleet.get(run_id), fleet.ledger(run_id)[-1]
    assert (run.state, run.reason, run.ended_at) == (State.CANCELLED, "not wanted", last.at)
    assert (last.actor, last.data) == ("user:operator", {"reason": "not wanted"})


def brought_to(fleet: Fleet, state: str) -> str:
    match state:
        case "queued":
            return fleet.enqueue()
        case "scheduled":
            return fleet.enqueue(delay=HOUR)
        case "blocked":
            return fleet.enqueue(blocked="gate")
    held = fleet.running()
    waits: dict[str, Outcome] = {"retrying": Failed(code="error", message=""), "released": GaveItselfBack(after_us=HOUR)}
    fleet.finish(held, waits.get(state, Unworkable("invalid_payload", "")))
    return held.id


def test_a_running_run_is_asked_to_stop_and_keeps_its_lease(fleet: Fleet) -> None:
    held = fleet.running()
    assert fleet.cancel(held.id, "too slow") == "cancelling"
    run = fleet.get(held.id)
    assert (run.state, run.worker_id, run.token, run.reason) == (State.CANCELLING, "w1", held.token, "too slow")
    assert run.cancel_requested_at == fleet.ledger(held.id)[-1].at


def test_a_second_cancel_gives_the_same_answer_and_writes_nothing(fleet: Fleet) -> None:
    held, waiting = fleet.running(), fleet.enqueue()
    for run_id, answer in ((waiting, "cancelled"), (held.id, "cancelling")):
        assert [fleet.cancel(run_id), fleet.cancel(run_id)] == [answer, answer]
    assert fleet.story(waiting) == ["created", "cancelled"]
    assert fleet.story(held.id) == ["created", "claimed", "cancel_requested"]


@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_a_run_that_has_ended_cannot_be_cancelled(fleet: Fleet, end: str) -> None:
    held = fleet.running()
    fleet.finish(held, Failed(code="error", message="", final=True) if end == "failed" else None)
    with pytest.raises(RunTerminal):
        fleet.cancel(held.id)
    assert fleet.get(held.id).state == end


def test_a_cancelled_run_is_never_claimed_or_made_due_again(fleet: Fleet) -> None:
    for run_id in (fleet.enqueue(), fleet.enqueue(delay=1)):
        fleet.cancel(run_id)
    fleet.pass_time(HOUR)
    assert (fleet.make_due(), fleet.claim()) == (0, [])


def test_an_unknown_run_and_one_of_another_namespace_cannot_be_cancelled(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    with pytest.raises(UnknownRun):
        fleet.cancel(fleet.new_id())
    fleet.namespace = "elsewhere"
    with pytest.raises(UnknownRun):
        fleet.cancel(run_id)


@pytest.mark.case("jobs", 42)
def test_a_cancel_of_a_run_whose_worker_is_dead_ends_without_that_worker(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    assert fleet.bury("w1") == 1
    assert fleet.get(held.id).state is State.CANCELLED
    assert fleet.finish(held) == {held.id}


def test_a_reason_of_any_letters_is_kept(fleet: Fleet) -> None:
    reason = 'he said "no\\way", {twice}\n— ünd 🚫'
    run_id = fleet.enqueue()
    fleet.cancel(run_id, reason)
    assert fleet.get(run_id).reason == reason
