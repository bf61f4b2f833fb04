"""The worker in virtual time: what one step writes and claims, and what it does when its lease or its database is lost.

Not here: user code (``test_executor.py``), and the loop that steps (``test_driver.py``).
"""

from __future__ import annotations

import contextlib

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Stopped, Succeeded, Unstarted, Unworkable
from mainspring.core.durations import SECOND
from mainspring.core.lease import DEFAULT_TTL
from mainspring.core.states import State
from mainspring.errors import CommitUnknown, StorageUnavailable
from tests.support.virtual import Stage, Trouble

QUICK, SLOW = 0.001, 2.0


# -- claiming ahead --------------------------------------------------------------------------------------------------------


def test_a_worker_that_knows_nothing_yet_claims_no_more_than_its_places(stage: Stage) -> None:
    stage.fleet.enqueue_many(10)
    post = stage.post(concurrency=4)
    post.settle()
    assert len(post.hands) == 4


def test_a_free_place_is_filled_by_the_step_that_writes_the_outcome(stage: Stage) -> None:
    stage.fleet.enqueue_many(6)
    post = stage.post(concurrency=4)
    post.step()
    post.end(post.hands[0], seconds=SLOW)
    before = len(post.line.written)
    post.step()
    assert post.line.written[before:] == ["worker.turn"]
    assert len(post.hands) == 5
    assert stage.fleet.get(post.hands[0].id).state is State.SUCCEEDED


def test_quick_attempts_let_a_worker_hold_as_many_again_ahead(stage: Stage) -> None:
    stage.fleet.enqueue_many(20)
    post = stage.post(concurrency=4)
    post.step()
    post.end(post.hands[0], seconds=QUICK)
    post.settle()
    assert len(post.hands) == 1 + 8


def test_slow_attempts_take_the_prefetch_back(stage: Stage) -> None:
    stage.fleet.enqueue_many(60)
    post = stage.post(concurrency=4)
    post.step()
    post.end(post.hands[0], seconds=QUICK)
    post.settle()
    for claimed in post.hands[1:9]:
        post.end(claimed, seconds=SLOW)
    post.settle()
    assert len(post.hands) == 9 + 4


def test_attempts_that_never_ran_tell_nothing_about_how_long_attempts_take(stage: Stage) -> None:
    stage.fleet.enqueue_many(20)
    post = stage.post(concurrency=4)
    post.step()
    post.end(post.hands[0], Unstarted(), seconds=None)
    post.settle()
    assert len(post.hands) == 4 + 1


def test_a_step_claims_at_most_a_hundred_and_asks_to_be_stepped_again(stage: Stage) -> None:
    stage.fleet.enqueue_many(150)
    post = stage.post(concurrency=150)
    assert post.step().after_seconds == 0
    assert len(post.hands) == 100
    assert post.step().after_seconds > 0
    assert len(post.hands) == 150


def test_a_full_worker_does_not_spin(stage: Stage) -> None:
    stage.fleet.enqueue_many(10)
    post = stage.post(concurrency=4)
    post.step()
    assert post.step().after_seconds > 0.5


def test_only_runs_of_its_queues_and_tasks_are_claimed(stage: Stage) -> None:
    mine = stage.fleet.enqueue()
    stage.fleet.enqueue(queue="other")
    stage.fleet.enqueue(task="foreign")
    post = stage.post()
    post.settle()
    assert [claimed.id for claimed in post.hands] == [mine]


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.999])
def test_an_idle_worker_polls_once_a_poll_spread_by_a_fifth(stage: Stage, dice: float) -> None:
    stage.system.dice = dice
    post = stage.post(poll=2.0)
    assert post.step().after_seconds == pytest.approx(2.0 * (0.9 + 0.2 * dice))


# -- outcomes --------------------------------------------------------------------------------------------------------------


def test_each_outcome_becomes_the_state_it_means(stage: Stage) -> None:
    outcomes: list[Outcome] = [
        Succeeded(b"1"),
        Failed(code="error", message="no"),
        Failed(code="bad", message="never", final=True),
        GaveItselfBack(after_us=SECOND, reason="later"),
        Interrupted("shutdown", shutdown=True),
        Unstarted(),
        Stopped(),
        Unworkable("invalid_payload", "what is this"),
    ]
    ids = stage.fleet.enqueue_many(len(outcomes))
    post = stage.post(concurrency=8)
    post.step()
    post.worker.stop()
    for claimed, outcome in zip(post.hands, outcomes, strict=True):
        post.end(claimed, outcome)
    post.settle()
    assert stage.fleet.states(ids) == [
        State.SUCCEEDED,
        State.RETRYING,
        State.FAILED,
        State.RELEASED,
        State.QUEUED,
        State.QUEUED,
        State.FAILED,  # nobody had asked it to stop
        State.NEEDS_ATTENTION,
    ]
    assert post.worker.has_nothing


@pytest.mark.case("jobs", 55)
def test_an_outcome_that_cannot_be_written_loses_none_of_the_ninety_nine_beside_it(stage: Stage) -> None:
    ids = stage.fleet.enqueue_many(100)
    post = stage.post(concurrency=100)
    post.step()
    post.worker.stop()
    for place, claimed in enumerate(post.hands):
        post.end(claimed, Failed(code="error", message="\ud800 is no text", final=True) if place == 50 else None)
    for _ in range(5):
        try:
            post.step()
        except Exception:
            continue
    states = stage.fleet.states([claimed.id for claimed in post.hands])
    assert [states[place] for place in range(100) if place != 50] == [State.SUCCEEDED] * 99
    assert states[50] is not State.SUCCEEDED
    assert len(ids) == 100


def test_more_outcomes_than_fit_in_one_step_are_written_by_the_next(stage: Stage) -> None:
    ids = stage.fleet.enqueue_many(250)
    post = stage.post(concurrency=250)
    post.settle()
    post.worker.stop()
    for claimed in post.hands:
        post.end(claimed)
    assert post.step().after_seconds == 0
    assert stage.fleet.states(ids).count(State.SUCCEEDED) == 200
    post.settle()
    assert post.worker.has_nothing
    assert set(stage.fleet.states(ids)) == {State.SUCCEEDED}


# -- heartbeats ------------------------------------------------------------------------------------------------------------


def test_the_first_word_of_an_attempt_is_written_with_the_next_step(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.tell(post.last, b'"one"', None, False)
    post.step()
    assert stage.fleet.checkpoint(post.last.id) == b'"one"'


def test_words_are_written_at_most_once_a_second_and_the_last_one_wins(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.tell(post.last, b"1", None, False)
    post.step()
    for word in (b"2", b"3"):
        stage.advance(SECOND // 3)
        post.worker.tell(post.last, word, None, False)
        post.step()
    assert stage.fleet.checkpoint(post.last.id) == b"1"
    stage.advance(SECOND // 2)
    post.step()
    assert stage.fleet.checkpoint(post.last.id) == b"3"


def test_a_word_that_may_not_wait_is_written_with_the_next_step(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.tell(post.last, b"1", None, False)
    post.step()
    post.worker.tell(post.last, b"2", None, True)
    post.step()
    assert stage.fleet.checkpoint(post.last.id) == b"2"


def test_progress_alone_keeps_the_checkpoint_that_was_told_before(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.tell(post.last, b"1", None, False)
    post.worker.tell(post.last, None, '{"done":5}', False)
    post.step()
    assert stage.fleet.checkpoint(post.last.id) == b"1"
    assert stage.fleet.view(post.last.id).progress == {"done": 5}


def test_the_last_checkpoint_is_saved_in_the_transaction_of_the_outcome(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.tell(post.last, b"1", None, False)
    post.step()
    post.worker.tell(post.last, b"2", None, False)
    post.end(post.last, GaveItselfBack(after_us=SECOND))
    post.line.written.clear()
    post.step()
    assert post.line.written == ["worker.turn"]
    assert stage.fleet.checkpoint(run_id) == b"2"
    assert stage.fleet.get(run_id).state is State.RELEASED


def test_the_next_attempt_is_given_what_the_last_one_saved(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.tell(post.last, b'{"row":7}', None, False)
    post.end(post.last, GaveItselfBack(after_us=SECOND))
    post.step()
    stage.advance(SECOND)
    stage.fleet.make_due()
    post.step()
    assert post.executor.begun[-1].checkpoint == b'{"row":7}'
    assert post.last.id == run_id


@pytest.mark.case("jobs", 39)
def test_a_checkpoint_told_by_an_attempt_that_lost_its_lease_is_never_seen(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.tell(post.last, b'"true"', None, False)
    post.step()
    stage.freeze(DEFAULT_TTL)
    stage.fleet.bury("w1")
    post.worker.tell(post.hands[0], b'"late"', None, True)
    post.settle()
    post.settle()
    assert post.last.token == 2
    assert post.executor.begun[-1].checkpoint == b'"true"'
    assert stage.fleet.checkpoint(run_id) == b'"true"'


def test_a_late_word_of_an_attempt_that_was_replaced_here_hides_none_of_its_successor(stage: Stage) -> None:
    """User code cannot be cut off at once: the first attempt still speaks while the same worker runs the second."""
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    stage.freeze(DEFAULT_TTL)
    stage.fleet.bury("w1")
    post.settle()
    assert post.last.token == 2
    post.worker.tell(post.last, b'"true"', None, False)
    post.worker.tell(post.hands[0], b'"late"', None, True)
    post.step()
    assert stage.fleet.checkpoint(run_id) == b'"true"'


def test_a_checkpoint_that_could_not_be_written_outlives_the_progress_told_meanwhile(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.tell(post.last, b"1", None, True)
    post.line.upset("worker.turn", "lost before")
    post.line.meanwhile = lambda: post.worker.tell(post.last, None, '{"done":5}', True)
    with pytest.raises(CommitUnknown):
        post.step()
    post.line.meanwhile = lambda: None
    post.step()
    assert stage.fleet.checkpoint(run_id) == b"1"
    assert stage.fleet.view(run_id).progress == {"done": 5}


# -- cancels ---------------------------------------------------------------------------------------------------------------


def test_a_cancel_is_seen_within_a_second_and_stops_the_attempt(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    stage.fleet.cancel(run_id)
    wait = post.step().after_seconds
    assert wait <= 1.1
    stage.advance(int(wait * SECOND))
    post.step()
    assert (run_id, "cancelled") in post.executor.stopped
    post.end(post.last, Stopped())
    post.step()
    assert stage.fleet.get(run_id).state is State.CANCELLED


@pytest.mark.case("jobs", 41)
def test_a_cancel_that_arrives_with_the_success_ends_cancelled_and_keeps_the_result(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    stage.fleet.cancel(run_id)
    post.end(post.last, Succeeded(b"42"))
    post.step()
    assert stage.fleet.get(run_id).state is State.CANCELLED
    assert stage.fleet.ledger(run_id)[-1].body == b"42"
    assert post.worker.lost_leases == 0


# -- leases ----------------------------------------------------------------------------------------------------------------


def test_every_step_renews_the_lease_of_everything_at_once(stage: Stage) -> None:
    stage.fleet.enqueue_many(3)
    post = stage.post()
    post.step()
    stage.advance(9 * SECOND)
    post.step()
    assert stage.fleet.one("SELECT expires_at FROM workers WHERE id = 'w1'") == stage.fleet.now + DEFAULT_TTL


def test_a_worker_with_work_in_hand_is_back_within_a_third_of_its_lease_however_long_its_poll(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post(poll=300.0, ttl=30 * SECOND)
    post.step()
    assert post.step().after_seconds == 10.0


def test_an_idle_worker_is_back_before_its_own_lease_is_over_however_long_its_poll(stage: Stage) -> None:
    post = stage.post(poll=300.0, ttl=30 * SECOND)
    assert post.step().after_seconds < 30.0


@pytest.mark.case("jobs", 32)
def test_a_worker_paused_beyond_its_lease_stops_its_attempts_and_reports_nothing(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    paused = post.last
    stage.freeze(DEFAULT_TTL)
    stage.fleet.bury("w1")
    story = stage.fleet.story(run_id)
    assert stage.fleet.get(run_id).interruptions == 1
    post.step()
    assert (run_id, "lease_lost") in post.executor.stopped
    assert post.worker.lost_leases == 1
    post.worker.stop()
    post.settle()
    assert post.worker.has_nothing
    assert stage.fleet.story(run_id) == story
    assert post.worker.start(paused) is False


def test_a_worker_that_was_declared_gone_goes_on_under_a_new_name(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.step()
    stage.freeze(DEFAULT_TTL)
    stage.fleet.bury("w1")
    post.settle()
    assert post.worker.id != "w1"
    assert stage.fleet.get(post.last.id).worker_id == post.worker.id
    post.end(post.last)
    post.settle()
    assert stage.fleet.get(post.last.id).state is State.SUCCEEDED


def test_an_outcome_that_comes_after_the_lease_was_lost_changes_nothing(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    late = post.last
    stage.freeze(DEFAULT_TTL)
    stage.fleet.bury("w1")
    rival = stage.post("w2")
    rival.step()
    post.end(late, Failed(code="error", message="late"))
    post.settle()
    rival.end(rival.last, Succeeded(b'"mine"'))
    rival.step()
    assert stage.fleet.get(run_id).state is State.SUCCEEDED
    assert stage.fleet.get(run_id).failures == 0


def test_an_outcome_of_a_lost_lease_does_not_stop_the_attempt_that_replaced_it_here(stage: Stage) -> None:
    """The run is taken from a paused worker and comes back to it, while the first attempt's outcome waits to be written."""
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.end(post.last, Failed(code="error", message="late"))
    stage.freeze(DEFAULT_TTL)
    stage.fleet.bury("w1")
    stage.fleet.enqueue()
    post.settle()
    second = next(claimed for claimed in post.hands if (claimed.id, claimed.token) == (run_id, 2))
    for _ in range(3):
        stage.advance(2 * SECOND)
        post.step()
    assert stage.fleet.story(run_id).count("given_back") == 0
    assert stage.fleet.get(run_id).state is State.RUNNING
    post.end(second)
    post.step()
    assert stage.fleet.get(run_id).state is State.SUCCEEDED
    assert post.worker.lost_leases == 1


def test_a_worker_hears_that_one_run_was_taken_from_it_while_it_lives(stage: Stage) -> None:
    """A reaper takes a hundred at a time and leaves the rest to the next look, so a worker may come back in between."""
    stage.fleet.enqueue_many(150)
    post = stage.post(concurrency=150)
    post.settle()
    stage.freeze(DEFAULT_TTL)
    stage.fleet.bury("w1")
    stage.advance(2 * SECOND)
    post.settle()
    stage.advance(2 * SECOND)
    post.step()
    lost = {run_id for run_id, why in post.executor.stopped if why == "lease_lost"}
    taken = {row[0] for row in stage.fleet.sql("SELECT id FROM runs WHERE interruptions = 1")}
    assert {str(run_id) for run_id in taken} <= lost


# -- trust -----------------------------------------------------------------------------------------------------------------


def test_a_lease_is_trusted_until_nine_tenths_of_it_are_over(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.line.is_cut = True
    stage.advance(27 * SECOND - 1)
    assert post.executor.stopped == []
    stage.advance(1)
    assert post.executor.stopped == [(post.last.id, "lease_lost")]


def test_trust_counts_from_when_the_renewal_was_sent(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.step()
    stage.advance(20 * SECOND)
    post.step()
    stage.advance(20 * SECOND)
    assert post.executor.stopped == []
    assert post.worker.is_trusted


def test_a_step_that_fails_confirms_nothing(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.step()
    stage.advance(20 * SECOND)
    post.line.is_cut = True
    with pytest.raises(StorageUnavailable):
        post.step()
    stage.advance(7 * SECOND)
    assert not post.worker.is_trusted


@pytest.mark.case("jobs", 33)
def test_an_outage_longer_than_a_lease_spends_nothing_of_what_ran_and_strands_nothing(stage: Stage) -> None:
    ids = stage.fleet.enqueue_many(3)
    upkeep = stage.maintenance()
    upkeep.step()
    post = stage.post()
    post.step()
    post.line.is_cut = True
    stage.advance(2 * DEFAULT_TTL)  # nobody reaches the database, so nobody looks for lapsed leases either
    assert {why for _, why in post.executor.stopped} == {"lease_lost"}
    post.line.is_cut = False
    upkeep.step()
    for _ in range(5):
        post.settle()
        upkeep.step()
        stage.advance(2 * SECOND)
    assert [stage.fleet.get(run_id).interruptions for run_id in ids] == [0, 0, 0]
    assert [stage.fleet.get(run_id).failures for run_id in ids] == [0, 0, 0]
    assert sorted(claimed.id for claimed in post.hands if claimed.token == 2) == sorted(ids)


def test_an_outage_that_ends_before_the_reaper_looks_strands_no_run_in_the_hands_of_an_idle_worker(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.line.is_cut = True
    stage.advance(28 * SECOND)  # its attempt was stopped; its lease is not over yet
    post.line.is_cut = False
    for _ in range(10):
        stage.advance(2 * SECOND)
        post.settle()
    assert post.last.token == 2
    assert stage.fleet.get(run_id).worker_id == post.worker.id


def test_what_ended_while_the_database_was_away_is_written_when_it_is_back(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.line.is_cut = True
    post.end(post.last, Succeeded(b'"kept"'))
    post.worker.tell(post.last, b"9", None, False)
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            post.step()
        stage.advance(SECOND)
    post.line.is_cut = False
    post.step()
    assert stage.fleet.get(run_id).state is State.SUCCEEDED
    assert stage.fleet.checkpoint(run_id) in {b"9", None}
    assert post.worker.has_nothing


# -- a commit whose answer got lost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["lost before", "lost after"])
def test_outcomes_are_written_once_whether_or_not_the_lost_commit_happened(stage: Stage, trouble: Trouble) -> None:
    ids = stage.fleet.enqueue_many(2)
    post = stage.post()
    post.step()
    post.end(post.hands[0], Succeeded(b'"once"'))
    post.end(post.hands[1], Failed(code="error", message="once"))
    post.line.upset("worker.turn", trouble)
    with pytest.raises(CommitUnknown):
        post.step()
    post.settle()
    assert stage.fleet.story(ids[0]) == ["created", "claimed", "succeeded"]
    assert stage.fleet.story(ids[1]) == ["created", "claimed", "retry_scheduled"]
    assert stage.fleet.get(ids[1]).failures == 1
    assert post.worker.lost_leases == 0
    assert post.worker.has_nothing


def test_runs_claimed_by_a_commit_that_was_never_answered_are_given_back_unspent(stage: Stage) -> None:
    ids = stage.fleet.enqueue_many(2)
    post = stage.post(concurrency=2)
    post.line.upset("worker.turn", "lost after")
    with pytest.raises(CommitUnknown):
        post.step()
    assert stage.fleet.states(ids) == [State.RUNNING, State.RUNNING]
    post.settle()
    post.settle()
    assert sorted(claimed.id for claimed in post.hands) == sorted(ids)
    assert {claimed.token for claimed in post.hands} == {2}
    for run_id in ids:
        assert stage.fleet.story(run_id) == ["created", "claimed", "given_back", "claimed"]
        run = stage.fleet.get(run_id)
        assert (run.failures, run.interruptions, run.releases) == (0, 0, 0)


def test_runs_in_hand_are_not_taken_for_forgotten_ones_after_a_lost_answer(stage: Stage) -> None:
    (first,) = stage.fleet.enqueue_many(1)
    post = stage.post(concurrency=2)
    post.step()
    (second,) = stage.fleet.enqueue_many(1)
    post.line.upset("worker.turn", "lost after")
    with pytest.raises(CommitUnknown):
        post.step()
    post.settle()
    assert stage.fleet.story(first) == ["created", "claimed"]
    assert stage.fleet.story(second)[:3] == ["created", "claimed", "given_back"]
    assert post.executor.stopped == []


@pytest.mark.parametrize("turn", range(6))
@pytest.mark.parametrize("trouble", ["lost before", "lost after"])
def test_whichever_commit_is_lost_every_run_is_done_and_told_once(stage: Stage, trouble: Trouble, turn: int) -> None:
    ids = stage.fleet.enqueue_many(9)
    post = stage.post(concurrency=3)
    post.line.upset("worker.turn", trouble, skip=turn)
    told: set[tuple[str, int]] = set()
    for _ in range(40):
        try:
            post.step()
        except CommitUnknown:
            continue
        for claimed in post.hands:
            if (claimed.id, claimed.token) not in told:
                told.add((claimed.id, claimed.token))
                post.end(claimed, seconds=SLOW)
    assert set(stage.fleet.states(ids)) == {State.SUCCEEDED}
    assert [stage.fleet.story(run_id).count("succeeded") for run_id in ids] == [1] * 9
    assert len(told) == 9


@pytest.mark.parametrize("trouble", ["lost before", "lost after", "cut"])
def test_what_was_claimed_beside_a_failing_give_back_is_begun_all_the_same(stage: Stage, trouble: str) -> None:
    stage.fleet.enqueue()
    post = stage.post(concurrency=4)
    post.line.upset("worker.turn", "lost after")
    with pytest.raises(CommitUnknown):
        post.step()
    (other,) = stage.fleet.enqueue_many(1)
    if trouble == "cut":
        post.line.cut_after = "worker.turn"
    else:
        post.line.upset("attempts.give_back", "lost before" if trouble == "lost before" else "lost after")
    with contextlib.suppress(CommitUnknown, StorageUnavailable):
        post.step()
    post.line.is_cut, post.line.cut_after = False, None
    for _ in range(5):
        stage.advance(2 * SECOND)
        post.settle()
    assert sorted({claimed.id for claimed in post.hands}) == sorted(str(row[0]) for row in stage.fleet.sql("SELECT id FROM runs"))
    assert other in {claimed.id for claimed in post.hands}


# -- stopping --------------------------------------------------------------------------------------------------------------


def test_a_stopping_worker_claims_nothing_and_still_renews_and_reports(stage: Stage) -> None:
    stage.fleet.enqueue_many(3)
    post = stage.post(concurrency=2)
    post.step()
    post.worker.stop()
    post.end(post.hands[0])
    stage.advance(9 * SECOND)
    post.step()
    assert len(post.hands) == 2
    assert stage.fleet.get(post.hands[0].id).state is State.SUCCEEDED
    assert stage.fleet.one("SELECT expires_at FROM workers WHERE id = 'w1'") == stage.fleet.now + DEFAULT_TTL


def test_a_worker_asked_to_stop_is_not_done_while_a_claim_is_on_its_way(stage: Stage) -> None:
    stage.fleet.enqueue()
    post = stage.post()
    post.line.meanwhile = post.worker.stop
    post.step()
    post.line.meanwhile = lambda: None
    assert not post.worker.is_done
    post.end(post.last, Unstarted())
    assert not post.worker.is_done
    post.step()
    assert post.worker.is_done


@pytest.mark.case("jobs", 30)
def test_a_rolling_deploy_of_twenty_workers_spends_no_failure(stage: Stage) -> None:
    ids = stage.fleet.enqueue_many(80)
    for place in range(20):
        post = stage.post(f"w{place}", concurrency=4)
        post.step()
        unstarted, running = post.hands[:2], post.hands[2:]
        post.worker.stop()
        for claimed in unstarted:
            post.end(claimed, Unstarted())
        for claimed in running:
            post.end(claimed, Interrupted("shutdown", shutdown=True))
        post.settle()
        assert post.worker.has_nothing
    runs = [stage.fleet.get(run_id) for run_id in ids]
    assert {run.state for run in runs} <= {State.QUEUED, State.FAILED}
    assert sum(run.failures for run in runs) == 0
    never_begun = [run for run in runs if "interrupted" not in stage.fleet.story(run.id)]
    assert {run.interruptions for run in never_begun} == {0}


def test_what_a_shutdown_interrupted_is_due_again_at_once(stage: Stage) -> None:
    run_id = stage.fleet.enqueue()
    post = stage.post()
    post.step()
    post.worker.stop()
    post.end(post.last, Interrupted("shutdown", shutdown=True))
    post.step()
    successor = stage.post("w2")
    successor.step()
    assert successor.last.id == run_id
    assert (successor.last.failures, successor.last.interruptions) == (0, 1)


def test_a_claim_whose_lease_is_over_when_its_answer_comes_goes_back_unspent(stage: Stage) -> None:
    post = stage.post()
    post.step()
    stage.advance(2 * SECOND)  # time to look at what it holds, which it does in the very turn that claims
    run_id = stage.fleet.enqueue()
    post.line.meanwhile = lambda: stage.freeze(DEFAULT_TTL)
    post.step()
    post.line.meanwhile = lambda: None
    assert post.hands == []
    for _ in range(4):
        stage.advance(SECOND)
        post.step()
    assert stage.fleet.story(run_id)[:3] == ["created", "claimed", "given_back"]
    assert [(held.id, held.token) for held in post.hands] == [(run_id, 2)]


def test_a_worker_that_holds_nothing_still_looks_at_what_the_database_says_it_holds(stage: Stage) -> None:
    post = stage.post()
    post.step()
    run_id = stage.fleet.enqueue()
    stage.fleet.claim(post.worker.id)  # its own claim, committed long after it gave up waiting for the answer
    for _ in range(3):
        stage.advance(2 * SECOND)
        post.step()
    assert stage.fleet.story(run_id)[:3] == ["created", "claimed", "given_back"]


def test_of_two_attempts_at_one_run_that_end_together_only_the_newer_counts(stage: Stage) -> None:
    callback = stage.fleet.batch([stage.fleet.new(), stage.fleet.new()])
    post = stage.post(concurrency=2)
    post.step()
    old = post.hands[0]
    stage.fleet.calm()
    stage.fleet.lapse(post.worker.id)
    stage.fleet.reap()
    stage.advance(DEFAULT_TTL // 5)
    post.settle()  # declared gone, reborn, and given its own runs again
    new = next(held for held in reversed(post.hands) if held.id == old.id)
    post.end(old)
    post.end(new)
    post.settle()
    assert new.token == old.token + 1
    assert stage.fleet.get(callback).state is State.BLOCKED
