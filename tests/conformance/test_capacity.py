"""Bounded queues: how many runs wait in one, and what becomes of one more."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from mainspring.core.attempts import Failed
from mainspring.core.capacity import Overflow
from mainspring.core.durations import HOUR
from mainspring.core.states import State
from mainspring.errors import QueueFull, UnknownQueue
from mainspring.operations import capacity
from mainspring.operations.creation import insertion_alike
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started, together


@pytest.fixture
def other(fleet: Fleet, rival: AnyDatabase) -> Fleet:
    """The same fleet, seen from another process."""
    twin = Fleet(database=rival, clock=fleet.clock, lowered=fleet.lowered, _ids=fleet._ids)
    twin._lanes, twin._policies, twin._workers = fleet._lanes, fleet._policies, fleet._workers
    return twin


def bound(fleet: Fleet, most: int | None, overflow: Overflow = "refuse", queue: str = "main") -> None:
    fleet.declare(queue)
    told: dict[str, Any] = {"max_waiting": most, "overflow": overflow, "actor": "user:operator"}
    fleet.database.write("queues.bound", lambda tx: capacity.bound(tx, fleet.namespace, queue, **told))


def bound_of(fleet: Fleet) -> tuple[Any, ...]:
    (row,) = fleet.sql("SELECT max_waiting, overflow, source FROM queues WHERE name = 'main'")
    return row


def test_a_full_queue_refuses_and_nothing_is_written(fleet: Fleet) -> None:
    bound(fleet, 3)
    fleet.enqueue_many(3)
    with pytest.raises(QueueFull) as refused:
        fleet.submit(fleet.new(key="k"), fleet.new(singleton="s"))
    assert refused.value.retryable
    assert refused.value.retry_after > 0
    assert fleet.one("SELECT count(*) FROM runs") == 3
    assert fleet.sql("SELECT * FROM idempotency_keys") == fleet.sql("SELECT * FROM singletons") == []


def test_all_of_a_call_go_in_or_none(fleet: Fleet) -> None:
    bound(fleet, 3)
    fleet.enqueue_many(2)
    with pytest.raises(QueueFull):
        fleet.enqueue_many(2)
    assert len(fleet.enqueue_many(1)) == 1


def test_what_runs_does_not_wait_and_makes_room(fleet: Fleet) -> None:
    bound(fleet, 2)
    fleet.enqueue_many(2)
    fleet.claim(most=1)
    fleet.enqueue()
    with pytest.raises(QueueFull):
        fleet.enqueue()


@pytest.mark.parametrize("options", [{"delay": HOUR}, {"blocked": "gate"}, {"lane": {"concurrency_key": "acme"}}, {"priority": 9}])
def test_everything_that_waits_is_counted_whatever_it_waits_for(fleet: Fleet, options: dict[str, Any]) -> None:
    bound(fleet, 2)
    fleet.enqueue(**options)
    fleet.enqueue(task="other")
    with pytest.raises(QueueFull):
        fleet.enqueue()


def test_a_retry_goes_back_to_a_full_queue(fleet: Fleet) -> None:
    bound(fleet, 1)
    held = fleet.running()
    fleet.enqueue()
    fleet.finish(held, Failed(code="error", message=""))
    assert fleet.get(held.id).state is State.RETRYING


def test_a_call_that_gets_the_owner_of_its_key_needs_no_room(fleet: Fleet) -> None:
    bound(fleet, 1)
    owner = fleet.enqueue(key="k", singleton="s", body=b"[1]")
    assert fleet.enqueue(key="k", body=b"[1]") == owner
    (answer,) = fleet.submit(fleet.new(singleton="s", body=b"[2]"), on_singleton="replace")
    assert answer.outcome == "replaced"


def test_other_queues_are_not_bound_by_it(fleet: Fleet) -> None:
    bound(fleet, 0)
    assert len(fleet.enqueue_many(3, queue="elsewhere")) == 3


# -- skip, drop_oldest -------------------------------------------------------------------------------------------------


def test_what_overflows_is_skipped_on_record_and_takes_no_keys(fleet: Fleet) -> None:
    bound(fleet, 2, "skip")
    fleet.enqueue()
    first, second, third = fleet.submit(fleet.new(), fleet.new(key="k", singleton="s"), fleet.new())
    assert (first.outcome, second.outcome, third.outcome) == ("created", "skipped", "skipped")
    run = fleet.get(second.run_id)
    assert (run.state, run.reason, fleet.story(run.id)) == (State.SKIPPED, "overflow", ["created"])
    fleet.claim()
    (again,) = fleet.submit(fleet.new(key="k", singleton="s"))
    assert again.outcome == "created"


def test_the_oldest_queued_run_makes_room(fleet: Fleet) -> None:
    bound(fleet, 2, "drop_oldest")
    oldest, old = fleet.enqueue_many(2, key=None)
    new = fleet.enqueue()
    run = fleet.get(oldest)
    assert (run.state, run.reason, fleet.story(oldest)) == (State.SKIPPED, "overflow", ["created", "skipped"])
    assert fleet.claim_one_by_one() == [old, new]


def test_a_dropped_run_frees_its_idempotency_key(fleet: Fleet) -> None:
    bound(fleet, 1, "drop_oldest")
    dropped = fleet.enqueue(key="k")
    fleet.enqueue()
    assert fleet.get(dropped).state is State.SKIPPED
    assert fleet.enqueue(key="k") != dropped


def test_more_than_there_may_be_at_all_leave_the_last_ones(fleet: Fleet) -> None:
    bound(fleet, 2, "drop_oldest")
    old = fleet.enqueue()
    answers = fleet.submit(*(fleet.new() for _ in range(4)))
    assert [answer.outcome for answer in answers] == ["skipped", "skipped", "created", "created"]
    assert fleet.get(old).state is State.SKIPPED
    assert fleet.one("SELECT count(*) FROM runs WHERE state = 'queued'") == 2


def test_a_run_on_whose_end_others_hang_is_not_dropped(fleet: Fleet) -> None:
    bound(fleet, 2, "drop_oldest")
    kept = fleet.enqueue(singleton="s")
    dropped = fleet.enqueue()
    fleet.enqueue()
    assert fleet.states([kept, dropped]) == [State.QUEUED, State.SKIPPED]


def test_where_nothing_can_be_dropped_the_newcomer_is_skipped(fleet: Fleet) -> None:
    bound(fleet, 1, "drop_oldest")
    kept = fleet.enqueue(delay=HOUR)
    (answer,) = fleet.submit(fleet.new())
    assert (answer.outcome, fleet.get(kept).state) == ("skipped", State.SCHEDULED)


# -- who says so -------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 21)
def test_what_an_operator_said_of_a_queues_room_beats_code_until_it_is_reset(fleet: Fleet) -> None:
    def deploy(most: int) -> None:
        told: dict[str, Any] = {"max_waiting": most, "overflow": "skip"}
        fleet.database.write("queues.declare", lambda tx: capacity.declare(tx, fleet.namespace, "main", **told))

    fleet.declare("main")
    deploy(10)
    deploy(20)
    assert bound_of(fleet) == (20, "skip", "code")
    bound(fleet, 5)
    deploy(30)
    assert bound_of(fleet) == (5, "refuse", "operator")
    bound(fleet, None)
    deploy(30)
    assert bound_of(fleet) == (None, "refuse", "operator")
    fleet.database.write("queues.bound", lambda tx: capacity.reset_bound(tx, fleet.namespace, "main", actor="user:operator"))
    deploy(30)
    assert bound_of(fleet) == (30, "skip", "code")
    told = [row[0] for row in fleet.sql("SELECT action FROM audit_entries ORDER BY seq")]
    assert told == [*["queue.bounded"] * 2, "queue.bound_reset"]


def test_a_bound_below_what_waits_ends_nothing_and_lets_nothing_more_in(fleet: Fleet) -> None:
    waiting = fleet.enqueue_many(5)
    bound(fleet, 2)
    with pytest.raises(QueueFull):
        fleet.enqueue()
    assert set(fleet.states(waiting)) == {State.QUEUED}
    fleet.claim(most=4)
    fleet.enqueue()


def test_a_queue_that_nobody_declared_cannot_be_bound(fleet: Fleet) -> None:
    told: dict[str, Any] = {"max_waiting": 1, "overflow": "refuse", "actor": "user:operator"}
    with pytest.raises(UnknownQueue):
        fleet.database.write("queues.bound", lambda tx: capacity.bound(tx, fleet.namespace, "nowhere", **told))


# -- the quick way in, the second try, two at once ---------------------------------------------------------------------


def test_the_quick_insertion_passes_over_a_bounded_queue_and_says_so(fleet: Fleet) -> None:
    run = fleet.new()
    fleet.enqueue(queue="other")  # so that its lane is there
    query = insertion_alike(run.lane_id, run.policy_id, "user:test", [(run.id, b"[]")])

    def insert() -> int:
        single = getattr(fleet.database, "single", None)
        if single is not None:
            return int(single("runs.create", query.statement, **query.params))
        return fleet.database.write("runs.create", lambda tx: tx.execute(query.statement, **query.params))

    bound(fleet, 5)
    assert insert() == 0
    assert fleet.one("SELECT count(*) FROM runs") == 1
    bound(fleet, None)
    assert (insert(), insert()) == (1, 0)


@pytest.mark.case("jobs", 2)
@pytest.mark.parametrize("overflow", ["refuse", "skip", "drop_oldest"])
def test_a_call_that_is_tried_again_takes_its_room_once(fleet: Fleet, overflow: Overflow) -> None:
    bound(fleet, 2, overflow)
    calls = [fleet.new() for _ in range(2 if overflow == "refuse" else 3)]
    first = fleet.submit(*calls)
    assert fleet.submit(*calls) == first
    assert fleet.one("SELECT count(*) FROM runs WHERE state = 'queued'") == 2


def test_enqueues_let_loose_never_pass_the_bound(fleet: Fleet, other: Fleet) -> None:
    bound(fleet, 5)
    fleet.enqueue(task="other")

    def send(new: Any) -> str:
        try:
            return other.submit(new)[0].outcome
        except QueueFull:
            return "full"

    answers = together(*(partial(send, fleet.new(task=f"t{n % 3}")) for n in range(10)))
    assert sorted(answers) == ["created"] * 4 + ["full"] * 6


def test_an_enqueue_that_waits_for_an_open_one_sees_what_that_made_of_the_room(fleet: Fleet, other: Fleet) -> None:
    bound(fleet, 1)
    fleet.enqueue(queue="other")
    mine, theirs = fleet.new(), other.new()
    with open_transaction(fleet.database) as tx:
        fleet.create(tx, [mine])
        second = started(other.database, lambda: other.submit(theirs))
    with pytest.raises(QueueFull):
        second()


def test_dropping_beside_an_open_claim_drops_what_is_left(fleet: Fleet, other: Fleet) -> None:
    bound(fleet, 2, "drop_oldest")
    first, second = fleet.enqueue_many(2)
    fleet.register("w1")
    new = other.new()
    with open_transaction(fleet.database) as tx:
        (held,) = fleet.claim_in(tx, "w1", most=1)
        sent = started(other.database, lambda: other.submit(new))
    (answer,) = sent()
    assert (held.id, answer.outcome) == (first, "created")
    assert fleet.get(second).state in {State.SKIPPED, State.QUEUED}
    assert fleet.finish(held) == set()
