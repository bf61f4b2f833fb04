"""Forgetting ended runs: what may go, what must stay, and a cursor that loses nothing."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed, Unworkable
from mainspring.core.durations import HOUR, SECOND
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption, UnknownRun
from tests.support.builders import Fleet

FATAL = Failed(code="bad", message="", final=True)


def test_a_pruned_run_goes_with_everything_that_hangs_on_it(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.start(held)
    fleet.heartbeat(held, details=b"1")
    fleet.finish(held)
    assert fleet.prune().runs == 1
    for table in ("runs", "events", "checkpoints"):
        assert fleet.one(f"SELECT count(*) FROM {table}") == 0
    with pytest.raises(UnknownRun):
        fleet.get(held.id)


@pytest.mark.case("jobs", 52)
def test_no_run_that_has_not_ended_is_pruned(fleet: Fleet) -> None:
    parked = fleet.running()
    fleet.finish(parked, Unworkable("invalid_payload", ""))
    cancelling = fleet.running()
    fleet.cancel(cancelling.id)
    alive = [parked.id, cancelling.id, fleet.running().id, fleet.enqueue(delay=HOUR), fleet.enqueue(blocked="gate")]
    fleet.pass_time(1000 * HOUR)
    assert fleet.prune().runs == 0
    for run_id in alive:
        assert not fleet.get(run_id).is_terminal


@pytest.mark.parametrize("state", sorted(set(State) - TERMINAL))
def test_asking_to_prune_a_state_that_is_no_end_is_refused(fleet: Fleet, state: State) -> None:
    with pytest.raises(InvalidOption):
        fleet.prune(states=[State.SUCCEEDED, state])


@pytest.mark.case("jobs", 52)
def test_a_run_with_an_open_dead_letter_stays_and_goes_when_it_was_tried_again(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, FATAL)
    assert fleet.prune().runs == 0
    fleet.retry(held.id)
    fleet.finish(fleet.claim())
    assert fleet.prune().runs == 2


def test_only_the_named_states_are_pruned(fleet: Fleet) -> None:
    done, cancelled = fleet.running(), fleet.enqueue()
    fleet.finish(done)
    fleet.cancel(cancelled)
    assert fleet.prune(states=[State.SUCCEEDED]).runs == 1
    assert fleet.get(cancelled).state is State.CANCELLED


def test_a_run_that_ended_after_the_cut_off_stays(fleet: Fleet) -> None:
    old = fleet.running()
    fleet.finish(old)
    fleet.pass_time(HOUR)
    young = fleet.running()
    fleet.finish(young)
    assert fleet.prune(cut_off=fleet.now - HOUR // 2).runs == 1
    assert fleet.get(young.id).state is State.SUCCEEDED


def test_a_run_made_long_ago_that_ended_just_now_stays(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.pass_time(1000 * HOUR)
    fleet.finish(held)
    assert fleet.prune(cut_off=fleet.now - HOUR).runs == 0


@pytest.mark.case("jobs", 52)
def test_the_cursor_visits_each_run_once_also_those_that_ended_at_one_instant(fleet: Fleet) -> None:
    fleet.enqueue_many(25)
    fleet.finish(fleet.claim())
    kept = fleet.running()
    fleet.finish(kept, FATAL)
    sizes, cursor = [], None
    while True:
        pruned = fleet.prune(cursor=cursor, most=10)
        sizes.append(pruned.runs)
        if (cursor := pruned.cursor) is None:
            break
    assert sizes == [10, 10, 5]
    assert fleet.sql("SELECT id FROM runs") == [(kept.id,)]


def test_members_of_an_open_batch_stay_until_its_callback_has_ended(fleet: Fleet) -> None:
    fleet.batch([fleet.new(), fleet.new()])
    first, second = fleet.claim()
    fleet.finish(first)
    assert fleet.prune().runs == 0
    fleet.finish(second)
    assert fleet.prune().runs == 0
    fleet.finish(fleet.claim())
    assert fleet.prune().runs == 3


def test_the_source_of_a_live_retry_may_go_without_harm(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, FATAL)
    again, _ = fleet.retry(held.id)
    fleet.prune()
    (claimed,) = fleet.claim()
    assert (claimed.id, fleet.finish(claimed)) == (again, set())


def test_another_namespace_is_not_pruned(fleet: Fleet) -> None:
    fleet.finish(fleet.running())
    fleet.namespace = "elsewhere"
    assert fleet.prune().runs == 0


def test_a_cut_off_before_everything_prunes_nothing(fleet: Fleet) -> None:
    fleet.finish(fleet.running())
    assert fleet.prune(cut_off=SECOND) == (0, None)
