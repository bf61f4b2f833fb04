"""Forgetting ended runs: what may go, what must stay, and a cursor that loses nothing."""

from __future__ import annotations

import pytest

from mainspring.codec import keeping
from mainspring.core.attempts import Failed, Succeeded, Unworkable
from mainspring.core.budgets import Budgets
from mainspring.core.durations import DAY, HOUR, SECOND
from mainspring.core.policy import Policy
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption, UnknownRun
from mainspring.operations import retention
from tests.conformance.test_dependencies import enqueue_behind
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started

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


@pytest.mark.case("jobs", 52)
def test_a_run_whose_end_or_result_another_waits_for_stays_until_that_one_has_ended(fleet: Fleet) -> None:
    upstream = fleet.running()
    waits = enqueue_behind(fleet, upstream.id)
    fleet.finish(upstream)  # the dependant is queued by now, and may still read the result
    assert fleet.prune().runs == 0
    (claimed,) = fleet.claim()
    assert claimed.id == waits
    fleet.finish(claimed)
    assert fleet.prune().runs == 2
    assert fleet.one("SELECT count(*) FROM dependencies") == 0


@pytest.mark.case("jobs", 52)
def test_the_cut_off_is_in_the_cursor_so_a_later_call_reaches_no_further(fleet: Fleet) -> None:
    for _ in range(4):
        fleet.finish(fleet.running())
    border = fleet.now + 1
    fleet.pass_time(HOUR)
    if fleet.clock is None:  # the server's clock stands still and the past moved instead
        border -= HOUR
    young = fleet.running()
    fleet.finish(young)
    first = fleet.prune(cut_off=border, most=3)
    second = fleet.prune(cut_off=fleet.now + DAY, cursor=first.cursor, most=3)
    assert (first.runs, second.runs, second.cursor) == (3, 1, None)
    assert fleet.get(young.id).state is State.SUCCEEDED


@pytest.mark.parametrize("cursor", ["", "x", "12", "12.x", "0198"])
def test_a_cursor_that_is_none_of_ours_is_refused(fleet: Fleet, cursor: str) -> None:
    with pytest.raises(InvalidOption):
        fleet.prune(cursor=cursor)


@pytest.mark.case("jobs", 52)
def test_equal_timestamps_at_the_border_of_a_page_lose_no_run_and_keep_what_is_kept(fleet: Fleet) -> None:
    ids = fleet.enqueue_many(9)
    claimed = fleet.claim()
    fleet.finish(claimed[:4])
    fleet.finish(claimed[4], FATAL)  # all of them in one instant on a simulated clock
    fleet.finish(claimed[5:])
    cursor, runs = None, 0
    while True:
        pruned = fleet.prune(cursor=cursor, most=1)
        runs, cursor = runs + pruned.runs, pruned.cursor
        if cursor is None:
            break
    assert runs == 8
    assert fleet.sql("SELECT id FROM runs") == [(ids[4],)]


def test_a_batch_goes_with_its_last_member(fleet: Fleet) -> None:
    fleet.batch([fleet.new(), fleet.new()])
    for _ in range(2):
        fleet.finish(fleet.claim())
    assert fleet.prune().runs == 3
    assert fleet.one("SELECT count(*) FROM batches") == 0


# -- the walk of retention ---------------------------------------------------------------------------------------------


def forget(fleet: Fleet, *, most: int = 100) -> retention.Slice:
    return fleet.database.write("retention.forget", lambda tx: retention.forget_slice(tx, most=most))


def test_results_go_after_their_time_and_runs_after_theirs(fleet: Fleet) -> None:
    short, plain = Policy(result_ttl_us=HOUR), Policy()
    quick, slow = fleet.running(policy=short), fleet.running(policy=plain)
    fleet.finish([quick, slow], Succeeded(b'"r"'))
    fleet.pass_time(2 * HOUR)
    assert forget(fleet)[:2] == (0, 1)
    assert [fleet.ledger(held.id)[-1].body for held in (quick, slow)] == [None, b'"r"']
    fleet.pass_time(8 * DAY)
    assert forget(fleet)[:2] == (0, 1)
    assert fleet.ledger(slow.id)[-1].body is None
    fleet.pass_time(31 * DAY)
    assert forget(fleet).runs == 2
    assert fleet.one("SELECT count(*) FROM runs") == 0


def test_a_result_that_another_run_still_waits_for_is_kept(fleet: Fleet) -> None:
    upstream = fleet.running(policy=Policy(result_ttl_us=HOUR))
    enqueue_behind(fleet, upstream.id)
    fleet.finish(upstream, Succeeded(b'"r"'))
    fleet.pass_time(2 * HOUR)
    assert forget(fleet).results == 0
    assert fleet.ledger(upstream.id)[-1].body == b'"r"'


def test_a_task_that_keeps_no_result_stores_none(fleet: Fleet) -> None:
    held, member = fleet.running(policy=Policy(result_ttl_us=0)), fleet.running(policy=Policy(result_ttl_us=0), singleton="s")
    fleet.finish([held, member], Succeeded(b'"r"'))
    assert fleet.ledger(held.id)[-1].body is None
    assert fleet.ledger(member.id)[-1].body is None


def test_retention_leaves_what_is_open_awaited_or_young(fleet: Fleet) -> None:
    letter, waiting = fleet.running(), fleet.enqueue(delay=1000 * DAY)
    fleet.finish(letter, FATAL)
    fleet.pass_time(40 * DAY)
    young = fleet.running()
    fleet.finish(young)
    assert forget(fleet).runs == 0
    assert {fleet.get(run_id).state for run_id in (letter.id, waiting, young.id)} == {
        State.FAILED,
        State.SCHEDULED,
        State.SUCCEEDED,
    }


def test_the_walk_of_retention_goes_slice_by_slice_rests_at_its_end_and_begins_anew(fleet: Fleet) -> None:
    fleet.enqueue_many(5)
    fleet.finish(fleet.claim())
    fleet.pass_time(40 * DAY)
    assert [forget(fleet, most=2) for _ in range(4)] == [(2, 0, 0, True), (2, 0, 0, True), (1, 0, 0, False), (0, 0, 0, False)]
    fleet.finish(fleet.running())
    fleet.pass_time(40 * DAY)
    assert forget(fleet, most=2).runs == 1


def test_two_who_walk_at_once_walk_once(fleet: Fleet, rival: AnyDatabase) -> None:
    fleet.enqueue_many(4)
    fleet.finish(fleet.claim())
    fleet.pass_time(40 * DAY)
    forget(fleet, most=1)
    with open_transaction(fleet.database) as tx:
        first = retention.forget_slice(tx, most=2)
        second = started(rival, lambda: rival.write("retention.forget", lambda tx: retention.forget_slice(tx, most=2)))
    assert first.runs + second().runs in {2, 3}
    assert fleet.one("SELECT count(*) FROM runs") == 3 - first.runs - second().runs


def test_each_run_is_kept_as_long_as_its_policy_says(fleet: Fleet) -> None:
    brief, lasting = fleet.running(policy=Policy(run_ttl_us=HOUR)), fleet.running(policy=Policy(run_ttl_us=60 * DAY))
    fleet.finish([brief, lasting])
    fleet.pass_time(2 * HOUR)
    assert forget(fleet).runs == 1
    fleet.pass_time(40 * DAY)
    assert forget(fleet).runs == 0
    assert fleet.sql("SELECT id FROM runs") == [(lasting.id,)]
    fleet.pass_time(30 * DAY)
    assert forget(fleet).runs == 1


def test_receipts_go_after_their_time_and_what_else_is_told_stays(fleet: Fleet) -> None:
    policy = Policy(receipt_ttl_us=HOUR, budgets=Budgets(max_attempts=2))
    held = fleet.running(policy=policy)
    fleet.finish(held, Failed(code="bad", message="no", traceback="line 1"))
    again = fleet.reclaim(held.id)
    fleet.pass_time(2 * HOUR)
    assert forget(fleet).receipts == 0  # it has not ended
    fleet.finish(again)
    fleet.pass_time(2 * HOUR)
    (told,) = [event.data for event in fleet.ledger(held.id) if event.type == "retry_scheduled"]
    assert told["traceback"] == "line 1"
    assert forget(fleet).receipts == 1
    (left,) = [event.data for event in fleet.ledger(held.id) if event.type == "retry_scheduled"]
    assert left == {name: value for name, value in told.items() if name != "traceback"}
    fleet.pass_time(2 * HOUR)
    assert forget(fleet).receipts == 0


def test_what_is_sealed_is_known_by_how_it_begins() -> None:
    assert retention.SEALED == keeping._TOLD


def test_the_receipts_of_an_open_dead_letter_stay_until_it_is_dismissed(fleet: Fleet) -> None:
    held = fleet.running(policy=Policy(receipt_ttl_us=HOUR))
    fleet.finish(held, Failed(code="bad", message=f"{retention.SEALED}c2VhbGVk", traceback="line 1", final=True))
    fleet.pass_time(2 * HOUR)
    assert forget(fleet).receipts == 0
    fleet.sql("UPDATE dead_letters SET closed_at = opened_at")
    fleet.pass_time(2 * HOUR)
    assert forget(fleet).receipts == 1
    told = fleet.ledger(held.id)[-1].data
    assert (told["message"], "traceback" in told, told["code"]) == ("", False, "bad")
