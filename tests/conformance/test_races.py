"""Two connections at once: every pair that can meet, held open in the middle, and many threads let loose together.

Two kinds of test. In the first, one transaction has written and is not yet committed when the other begins: on PostgreSQL the
other waits for its row or decides without it, on SQLite it waits for the writer's turn. In the second, threads start at one
barrier, again and again.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from mainspring.core.attempts import Failed, Outcome, Succeeded
from mainspring.core.durations import SECOND
from mainspring.core.limits import Limit
from mainspring.core.states import State
from mainspring.errors import KeyConflict, RunTerminal
from mainspring.operations import attempts, queues, runs
from mainspring.operations.claims import Claimed
from tests.support.builders import Fleet, open_transaction, started, together

ROUNDS = 10


# -- claims ------------------------------------------------------------------------------------------------------------


def test_a_claim_beside_an_open_claim_never_gets_the_same_runs(fleet: Fleet, other: Fleet) -> None:
    ids = fleet.enqueue_many(20)
    fleet.register("w1")
    fleet.register("w2")
    with open_transaction(fleet.database) as tx:
        first = fleet.claim_in(tx, "w1", most=10)
        second = started(other.database, lambda: other.claim("w2", most=10))
    assert sorted(run.id for run in first) == ids[:10]
    assert not {run.id for run in first} & {run.id for run in second()}
    assert {fleet.get(run.id).worker_id for run in first} == {"w1"}


@pytest.mark.parametrize("limit", [None, 7])
def test_many_claimers_at_once_get_every_run_once(fleet: Fleet, other: Fleet, limit: int | None) -> None:
    fleet.declare("main", limit=limit)
    workers = [f"w{n}" for n in range(6)]
    for worker in workers:
        fleet.register(worker)
    ids = fleet.enqueue_many(120)
    got: list[str] = []
    for _ in range(200):
        claims = together(*(partial((fleet if n % 2 else other).claim, w, most=9) for n, w in enumerate(workers)))
        assert limit is None or sum(map(len, claims)) <= limit
        got += [run.id for claimed in claims for run in claimed]
        for worker, claimed in zip(workers, claims, strict=True):
            fleet.finish(claimed, worker=worker) if claimed else None
        if len(got) >= len(ids):
            break
    assert sorted(got) == ids


@pytest.mark.case("jobs", 17)
def test_two_claims_beside_each_other_never_both_take_the_last_slot(fleet: Fleet, other: Fleet) -> None:
    fleet.declare("main", limit=1)
    fleet.enqueue_many(5)
    fleet.register("w1")
    fleet.register("w2")
    with open_transaction(fleet.database) as tx:
        first = fleet.claim_in(tx, "w1", most=1)
        second = started(other.database, lambda: other.claim("w2", most=1))
    assert (len(first), second()) == (1, [])


@pytest.mark.case("jobs", 17)
def test_two_claims_beside_each_other_never_both_take_the_last_slot_of_a_key(fleet: Fleet, other: Fleet) -> None:
    fleet.declare("main", limits=[Limit(1, each_key=True)])
    for _ in range(5):
        fleet.enqueue(lane={"concurrency_key": "k"})
    fleet.register("w1")
    fleet.register("w2")
    with open_transaction(fleet.database) as tx:
        first = fleet.claim_in(tx, "w1", most=1)
        second = started(other.database, lambda: other.claim("w2", most=1))
    assert (len(first), second()) == (1, [])


@pytest.mark.case("jobs", 17)
def test_two_workers_of_different_tasks_never_both_take_the_last_slot_of_their_queue(fleet: Fleet, other: Fleet) -> None:
    fleet.declare("main", limit=1)
    fleet.enqueue(task="a")
    fleet.enqueue(task="b")
    fleet.register("w1")
    fleet.register("w2")
    with open_transaction(fleet.database) as tx:
        first = fleet.claim_in(tx, "w1", tasks=["a"])
        second = started(other.database, lambda: other.claim("w2", tasks=["b"]))
    assert (len(first), second()) == (1, [])


@pytest.mark.case("jobs", 17)
def test_claimers_let_loose_on_a_limit_of_one_never_hold_two(fleet: Fleet, other: Fleet) -> None:
    fleet.declare("main", limit=1)
    for worker in ("w1", "w2", "w3", "w4"):
        fleet.register(worker)
    fleet.enqueue_many(ROUNDS)
    for _ in range(ROUNDS):
        claims = together(*(partial(other.claim, w, most=5) for w in ("w1", "w2", "w3", "w4")))
        assert sum(map(len, claims)) == 1
        (held,) = [run for claimed in claims for run in claimed]
        fleet.finish(held)


@pytest.mark.case("jobs", 17)
def test_a_slot_freed_beside_a_claim_is_taken_or_left_but_never_doubled(fleet: Fleet, other: Fleet) -> None:
    fleet.declare("main", limit=1)
    held = fleet.running()
    fleet.enqueue_many(3)
    fleet.register("w2")
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, held)
        second = started(other.database, lambda: other.claim("w2", most=3))
    assert len(second()) <= 1
    assert fleet.queue("main").used == len(second())


# -- a claim or finish meets a change of the limit ----------------------------------------------------------------------


@pytest.mark.case("jobs", 17)
def test_a_first_limit_set_beside_an_open_claim_counts_what_that_claim_took(fleet: Fleet, other: Fleet) -> None:
    fleet.enqueue_many(3)
    fleet.register("w1")
    with open_transaction(fleet.database) as tx:
        assert len(fleet.claim_in(tx, "w1", most=1)) == 1
        limited = started(other.database, lambda: other.set_limit("main", 1))
    limited()
    assert fleet.claim("w2") == []


@pytest.mark.case("jobs", 20)
def test_a_first_limit_set_beside_an_open_finish_keeps_no_slot_for_it(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running()
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, held)
        limited = started(other.database, lambda: other.set_limit("main", 1))
    limited()
    fleet.enqueue()
    assert len(fleet.claim("w2")) == 1


def test_a_limit_lifted_beside_an_open_claim_can_be_set_again_and_counts_right(fleet: Fleet, other: Fleet) -> None:
    fleet.declare("main", limit=2)
    fleet.enqueue_many(3)
    fleet.register("w1")
    with open_transaction(fleet.database) as tx:
        held = fleet.claim_in(tx, "w1", most=1)
        lifted = started(other.database, lambda: other.set_limit("main", None))
    lifted()
    assert fleet.finish(held) == set()
    fleet.set_limit("main", 2)
    assert fleet.queue("main").used == 0


def test_a_finish_that_waits_for_an_open_lift_of_its_limit_is_written(fleet: Fleet, other: Fleet) -> None:
    fleet.declare("main", limit=2)
    held = fleet.running()
    with open_transaction(fleet.database) as tx:
        queues.set_limit(tx, "test", "main", None, actor="user:operator")
        finished = started(other.database, lambda: other.finish(held))
    assert finished() == set()
    assert fleet.get(held.id).state is State.SUCCEEDED


def test_a_pause_beside_an_open_claim_lets_that_claim_through_and_no_other(fleet: Fleet, other: Fleet) -> None:
    fleet.enqueue_many(3)
    fleet.register("w1")
    with open_transaction(fleet.database) as tx:
        first = fleet.claim_in(tx, "w1", most=1)
        paused = started(
            other.database,
            lambda: other.database.write("queues.pause", lambda tx: queues.pause(tx, "test", "main", actor="user:x")),
        )
    assert (len(first), paused(), fleet.claim("w2")) == (1, True, [])


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 4)
@pytest.mark.parametrize("keys", [{"key": "k"}, {"singleton": "s"}, {"key": "k", "singleton": "s"}], ids="+".join)
def test_of_two_enqueues_with_one_key_the_second_gets_the_run_of_the_first_that_commits_late(
    fleet: Fleet, other: Fleet, keys: dict[str, Any]
) -> None:
    fleet.enqueue()  # the lane is there; what is at stake is the key
    mine, theirs = fleet.new(**keys), other.new(**keys)
    with open_transaction(fleet.database) as tx:
        (first,) = fleet.create(tx, [mine])
        second = started(other.database, lambda: other.submit(theirs))
    assert (first.outcome, [(each.run_id, each.outcome) for each in second()]) == ("created", [(mine.id, "existing")])


@pytest.mark.case("jobs", 4)
@pytest.mark.parametrize("keys", [{"key": "k"}, {"singleton": "s"}], ids="+".join)
def test_of_two_enqueues_with_one_key_the_second_creates_the_run_when_the_first_rolls_back(
    fleet: Fleet, other: Fleet, keys: dict[str, Any]
) -> None:
    fleet.enqueue()
    mine, theirs = fleet.new(**keys), other.new(**keys)
    with suppress(ZeroDivisionError), open_transaction(fleet.database) as tx:
        fleet.create(tx, [mine])
        second = started(other.database, lambda: other.submit(theirs))
        raise ZeroDivisionError
    assert [(each.run_id, each.outcome) for each in second()] == [(theirs.id, "created")]


@pytest.mark.case("jobs", 4)
@pytest.mark.parametrize("keys", [{"key": "k"}, {"singleton": "s"}], ids="+".join)
def test_many_enqueues_with_one_key_create_one_run(fleet: Fleet, other: Fleet, keys: dict[str, Any]) -> None:
    for _ in range(ROUNDS):
        new = [fleet.new(**keys) for _ in range(6)]
        answers = [answer for answers in together(*(partial(other.submit, run) for run in new)) for answer in answers]
        assert len({answer.run_id for answer in answers}) == 1
        assert [answer.outcome for answer in answers].count("created") == 1
        fleet.finish(fleet.claim(), Failed(code="bad", message="", final=True))


def test_enqueues_of_many_keys_in_opposite_orders_do_not_stop_each_other(fleet: Fleet, other: Fleet) -> None:
    names = [f"k{n}" for n in range(8)]
    for _ in range(3):
        forth = [fleet.new(key=name) for name in names]
        back = [fleet.new(key=name) for name in reversed(names)]
        first, second = together(partial(fleet.submit, *forth), partial(other.submit, *back))
        assert [each.run_id for each in first] == [each.run_id for each in reversed(second)]
        fleet.finish(fleet.claim(), Failed(code="bad", message="", final=True))


@pytest.mark.case("jobs", 5)
def test_of_two_enqueues_with_one_key_and_two_payloads_one_is_refused(fleet: Fleet, other: Fleet) -> None:
    fleet.enqueue()
    mine, theirs = fleet.new(key="k", body=b"[1]"), other.new(key="k", body=b"[2]")
    with open_transaction(fleet.database) as tx:
        fleet.create(tx, [mine])
        second = started(other.database, lambda: other.submit(theirs))
    with pytest.raises(KeyConflict) as refused:
        second()
    assert refused.value.owner == mine.id


@pytest.mark.case("jobs", 6)
def test_an_enqueue_beside_the_failure_of_its_keys_owner_creates_a_run_or_gets_the_failed_one(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running(key="k")
    again = other.new(key="k")
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, held, Failed(code="bad", message="", final=True))
        second = started(other.database, lambda: other.submit(again))
    (answer,) = second()
    assert (answer.run_id, answer.outcome) in {(again.id, "created"), (held.id, "existing")}


def test_lanes_and_policies_met_first_by_two_at_once_are_made_once(fleet: Fleet, other: Fleet) -> None:
    for round_ in range(ROUNDS):
        new = [fleet.new(task=f"task-{round_}", queue=f"queue-{round_}") for _ in range(4)]
        together(*(partial(other.submit, run) for run in new))
    assert fleet.one("SELECT count(*) FROM runs") == 4 * ROUNDS


# -- finish, cancel, reap: the first commit wins -----------------------------------------------------------------------


@pytest.mark.case("jobs", 41)
@pytest.mark.parametrize("outcome", [Succeeded(b"1"), Failed(code="error", message="")], ids=["success", "failure"])
def test_a_cancel_that_waits_for_an_open_finish_sees_how_the_run_ended(fleet: Fleet, other: Fleet, outcome: Outcome) -> None:
    held = fleet.running()
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, held, outcome)
        second = started(other.database, lambda: other.cancel(held.id))
    if isinstance(outcome, Succeeded):
        with pytest.raises(RunTerminal):
            second()
        assert fleet.get(held.id).state is State.SUCCEEDED
    else:
        assert second() == "cancelled"
        assert fleet.story(held.id) == ["created", "claimed", "retry_scheduled", "cancelled"]


@pytest.mark.case("jobs", 41)
def test_a_finish_that_waits_for_an_open_cancel_ends_the_run_as_cancelled(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running()
    with open_transaction(fleet.database) as tx:
        assert fleet.cancel_in(tx, held.id) == "cancelling"
        second = started(other.database, lambda: other.finish(held, Succeeded(b"7")))
    assert second() == set()
    assert (fleet.get(held.id).state, fleet.ledger(held.id)[-1].body) == (State.CANCELLED, b"7")


@pytest.mark.case("jobs", 41)
def test_finish_and_cancel_let_loose_give_one_answer(fleet: Fleet, other: Fleet) -> None:
    for _ in range(ROUNDS):
        held = fleet.running()

        def cancel(held: Claimed = held) -> str:
            try:
                return other.cancel(held.id)
            except RunTerminal:
                return "too late"

        answers = together(partial(fleet.finish, held), cancel)
        state = fleet.get(held.id).state
        assert (answers[1], state) in {("too late", State.SUCCEEDED), ("cancelling", State.CANCELLED)}


def test_a_claim_beside_an_open_cancel_leaves_the_run_alone(fleet: Fleet, other: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.register("w2")
    with open_transaction(fleet.database) as tx:
        assert fleet.cancel_in(tx, run_id) == "cancelled"
        second = started(other.database, lambda: other.claim("w2"))
    assert second() == []
    assert fleet.get(run_id).state is State.CANCELLED


def test_a_cancel_that_waits_for_an_open_claim_asks_the_holder_to_stop(fleet: Fleet, other: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.register("w1")
    with open_transaction(fleet.database) as tx:
        (held,) = fleet.claim_in(tx, "w1")
        second = started(other.database, lambda: other.cancel(run_id))
    assert second() == "cancelling"
    assert fleet.finish(held) == set()


@pytest.mark.case("jobs", 32)
def test_a_finish_that_waits_for_an_open_reap_is_told_that_the_lease_is_lost(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running()
    fleet.calm()
    fleet.lapse("w1")
    with open_transaction(fleet.database) as tx:
        assert fleet.reap_in(tx) == 1
        second = started(other.database, lambda: other.finish(held))
    assert second() == {held.id}
    assert fleet.get(held.id).state is State.QUEUED


@pytest.mark.case("jobs", 32)
def test_a_reap_that_waits_for_an_open_finish_takes_nothing(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running()
    fleet.calm()
    fleet.lapse("w1")
    with open_transaction(fleet.database) as tx:
        assert fleet.finish_in(tx, held) == set()
        second = started(other.database, other.reap)
    assert second() == 0
    assert fleet.story(held.id) == ["created", "claimed", "succeeded"]


def test_a_heartbeat_beside_an_open_reap_saves_nothing_for_the_lost_attempt(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running()
    fleet.calm()
    fleet.lapse("w1")
    with open_transaction(fleet.database) as tx:
        fleet.reap_in(tx)
        second = started(other.database, lambda: other.heartbeat(held, details=b"late"))
    second()
    fleet.claim("w2")
    assert not fleet.heartbeat(held, details=b"later")


def test_a_renewal_that_waits_for_an_open_reap_is_told_that_the_worker_is_gone(fleet: Fleet, other: Fleet) -> None:
    fleet.running()
    fleet.calm()
    fleet.lapse("w1")
    with open_transaction(fleet.database) as tx:
        fleet.reap_in(tx)
        second = started(other.database, lambda: other.database.write("workers.renew", lambda tx: attempts.renew(tx, "w1")))
    assert second() is None


@pytest.mark.case("jobs", 49)
def test_two_reapers_take_each_run_once(fleet: Fleet, other: Fleet) -> None:
    for round_ in range(ROUNDS):
        worker = f"dead-{round_}"
        fleet.enqueue_many(5)
        fleet.claim(worker)
        fleet.calm()
        fleet.lapse(worker)
        taken = together(fleet.reap, other.reap, other.reap)
        assert sum(taken) == 5
        fleet.finish(fleet.claim("w1"))


@pytest.mark.case("jobs", 49)
def test_many_who_queue_what_is_due_do_it_once(fleet: Fleet, other: Fleet) -> None:
    for _ in range(ROUNDS):
        ids = fleet.enqueue_many(20, delay=SECOND)
        fleet.pass_time(SECOND)
        assert sum(together(fleet.make_due, other.make_due, other.make_due)) == 20
        assert {tuple(fleet.story(run_id)) for run_id in ids[:3]} == {("created", "due")}


def test_a_cancel_beside_an_open_promotion_cancels_what_was_just_queued(fleet: Fleet, other: Fleet) -> None:
    run_id = fleet.enqueue(delay=SECOND)
    fleet.pass_time(SECOND)
    with open_transaction(fleet.database) as tx:
        assert attempts.make_due(tx, most=10, actor="leader") == 1
        second = started(other.database, lambda: other.cancel(run_id))
    assert second() == "cancelled"
    assert fleet.story(run_id) == ["created", "due", "cancelled"]


# -- batches and retries -----------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 44)
def test_the_last_two_members_ending_at_once_start_the_callback_once(fleet: Fleet, other: Fleet) -> None:
    callback = fleet.batch([fleet.new(), fleet.new()])
    first, last = fleet.claim()
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, first)
        second = started(other.database, lambda: other.finish(last))
    assert second() == set()
    assert fleet.story(callback) == ["created", "unblocked"]


@pytest.mark.case("jobs", 44)
def test_members_let_loose_start_the_callback_once(fleet: Fleet, other: Fleet) -> None:
    for _ in range(ROUNDS):
        callback = fleet.batch([fleet.new() for _ in range(4)])
        held = fleet.claim(queues=["main"])
        together(*(partial(other.finish, run) for run in held))
        assert fleet.story(callback) == ["created", "unblocked"]
        fleet.cancel(callback)


def test_the_last_member_ending_beside_a_cancel_of_the_callback_leaves_it_cancelled(fleet: Fleet, other: Fleet) -> None:
    for _ in range(ROUNDS):
        callback = fleet.batch([fleet.new()])
        (held,) = fleet.claim(queues=["main"])
        together(partial(fleet.finish, held), partial(other.cancel, callback))
        assert fleet.get(callback).state is State.CANCELLED


@pytest.mark.case("jobs", 51)
def test_two_operators_who_press_retry_at_once_make_one_run(fleet: Fleet, other: Fleet) -> None:
    for _ in range(ROUNDS):
        held = fleet.running()
        fleet.finish(held, Failed(code="bad", message="", final=True))
        answers = together(partial(fleet.retry, held.id), partial(other.retry, held.id))
        assert len({run_id for run_id, _ in answers}) == 1
        assert sorted(made for _, made in answers) == [False, True]
        fleet.finish(fleet.claim())


def test_a_prune_beside_an_open_retry_keeps_the_new_run(fleet: Fleet, other: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.cancel(run_id)
    fresh = fleet.new_id()
    with open_transaction(fleet.database) as tx:
        runs.retry(tx, run_id, fresh, namespace="test", actor="user:x")
        second = started(other.database, other.prune)
    second()
    assert [claimed.id for claimed in fleet.claim()] == [fresh]
