"""Claiming: which runs, in which order, how many; what is never returned."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Unstarted
from mainspring.core.durations import HOUR, SECOND
from mainspring.core.states import State
from tests.support.builders import Fleet


def test_a_claim_leases_the_run_under_a_new_fence_and_logs_it(fleet: Fleet) -> None:
    run_id = fleet.enqueue(body=b"[1]")
    (claimed,) = fleet.claim("w1")
    run = fleet.get(run_id)
    assert (run.state, run.token, run.seq, run.worker_id) == (State.RUNNING, 1, 2, "w1")
    assert (claimed.id, claimed.token, claimed.seq, claimed.body) == (run_id, 1, 2, b"[1]")
    assert [(event.type, event.actor) for event in fleet.ledger(run_id)] == [("created", "user:test"), ("claimed", "worker:w1")]


def test_a_claim_hands_out_what_a_worker_needs_to_know(fleet: Fleet) -> None:
    new = fleet.new(task="send", queue="mail", key="k", singleton="s", body=b'["a"]')
    fleet.submit(new)
    (claimed,) = fleet.claim()
    run = fleet.get(new.id)
    assert (claimed.lane_id, claimed.policy_id) == (new.lane_id, new.policy_id)
    assert (claimed.idempotency_key, claimed.singleton_key, claimed.batch_id) == ("k", "s", None)
    assert (claimed.created_at, claimed.due_at) == (run.created_at, run.due_at)


def test_nothing_to_claim_is_an_empty_answer(fleet: Fleet) -> None:
    assert fleet.claim(queues=["main"], tasks=["work"]) == []
    fleet.enqueue()
    assert fleet.claim(queues=[], tasks=["work"]) == []
    assert fleet.claim(queues=["main"], tasks=[]) == []


def test_a_run_is_claimed_once(fleet: Fleet) -> None:
    fleet.enqueue()
    assert len(fleet.claim("w1")) == 1
    assert fleet.claim("w2") == []


def test_a_claim_takes_at_most_what_was_asked_for_and_the_oldest_first(fleet: Fleet) -> None:
    ids = fleet.enqueue_many(25)
    assert [claimed.id for claimed in fleet.claim(most=10)] == ids[:10]
    assert [claimed.id for claimed in fleet.claim(most=100)] == ids[10:]


def test_higher_priority_is_claimed_first(fleet: Fleet) -> None:
    low, high, middle = (fleet.enqueue(priority=priority) for priority in (-5, 1000, 0))
    assert fleet.claim_one_by_one() == [high, middle, low]


def test_within_a_priority_the_due_time_decides_across_tasks_and_queues(fleet: Fleet) -> None:
    third = fleet.enqueue(task="a", delay=3 * SECOND)
    first = fleet.enqueue(task="b", queue="other", delay=1 * SECOND)
    second = fleet.enqueue(task="c", delay=2 * SECOND)
    fleet.pass_time(4 * SECOND)
    fleet.make_due()
    assert fleet.claim_one_by_one() == [first, second, third]


def test_a_claim_of_several_takes_the_same_runs_as_claims_of_one(fleet: Fleet) -> None:
    for n in range(5):
        fleet.enqueue(task="a", priority=n % 3)
        fleet.enqueue(task="b", queue="other", priority=n % 2)
    claimed = fleet.claim(most=4)
    taken = {run.id for run in claimed}
    fleet.finish(claimed, Unstarted())
    assert set(fleet.claim_one_by_one()[:4]) == taken


def test_several_queues_are_claimed_in_one_call(fleet: Fleet) -> None:
    ids = [fleet.enqueue(queue=queue) for queue in ("a", "b", "c")]
    assert [claimed.id for claimed in fleet.claim(queues=["a", "c"])] == [ids[0], ids[2]]
    assert [claimed.id for claimed in fleet.claim()] == [ids[1]]


def test_foreign_tasks_are_left_to_others_however_many_wait(fleet: Fleet) -> None:
    fleet.enqueue_many(200, task="foreign", priority=10)
    mine = fleet.enqueue(task="mine")
    assert [claimed.id for claimed in fleet.claim(tasks=["mine"], most=5)] == [mine]


def test_another_namespace_is_never_claimed(fleet: Fleet) -> None:
    fleet.enqueue()
    fleet.namespace = "elsewhere"
    assert fleet.claim() == []


def test_only_queued_runs_are_claimed(fleet: Fleet) -> None:
    fleet.enqueue(delay=HOUR)
    fleet.enqueue(blocked="gate")
    fleet.park(fleet.enqueue())
    fleet.cancel(fleet.enqueue())
    for outcome in (None, Failed(code="error", message="", after_us=HOUR), GaveItselfBack(after_us=HOUR)):
        fleet.finish(fleet.running(), outcome)
    assert fleet.claim() == []


def test_a_full_queue_does_not_hide_another(fleet: Fleet) -> None:
    fleet.declare("full", limit=1)
    fleet.enqueue_many(50, queue="full", priority=100)
    open_run = fleet.enqueue(queue="open")
    assert sorted(fleet.lane(claimed).queue for claimed in fleet.claim()) == ["full", "open"]
    other = fleet.enqueue(queue="open")
    assert [claimed.id for claimed in fleet.claim(most=2)] == [other]
    assert fleet.get(open_run).state is State.RUNNING


def test_a_claim_takes_no_more_than_the_limit_leaves(fleet: Fleet) -> None:
    fleet.declare("main", limit=3)
    fleet.enqueue_many(10)
    first = fleet.claim("w1", most=2)
    assert len(fleet.claim("w2", most=8)) == 1
    assert fleet.claim("w1") == []
    fleet.finish(first)
    assert len(fleet.claim("w2")) == 2


def test_a_limit_is_shared_by_all_lanes_of_its_queue(fleet: Fleet) -> None:
    fleet.declare("main", limit=2)
    for priority in (0, 5):
        for task in ("a", "b"):
            fleet.enqueue_many(3, task=task, priority=priority)
    claimed = fleet.claim()
    assert len(claimed) == 2
    assert {fleet.view(each.id).priority for each in claimed} == {5}


def test_a_claim_knows_the_counters_of_the_run(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held, Failed(code="error", message=""))
    held = fleet.reclaim(held.id)
    fleet.finish(held, GaveItselfBack(after_us=SECOND), worker="w2")
    held = fleet.reclaim(held.id, "w3")
    fleet.bury("w3")
    held = fleet.reclaim(held.id, "w4")
    assert (held.failures, held.interruptions, held.releases, held.token) == (1, 1, 1, 4)


@pytest.mark.case("jobs", 15)
def test_a_run_due_in_a_month_waits_in_the_database_and_is_handed_out_once(fleet: Fleet) -> None:
    run_id = fleet.enqueue(delay=30 * 24 * HOUR)
    assert (fleet.make_due(), fleet.claim()) == (0, [])
    fleet.pass_time(30 * 24 * HOUR)
    assert (fleet.make_due(), fleet.make_due()) == (1, 0)
    assert [claimed.id for claimed in fleet.claim("w1") + fleet.claim("w2")] == [run_id]
