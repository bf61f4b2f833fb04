"""Batches: the callback starts exactly once, when the last member has ended, whatever became of the members."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.core.attempts import Failed, Stopped
from mainspring.core.durations import DAY
from mainspring.core.states import State
from mainspring.errors import InvalidOption, LeaseLost
from mainspring.operations import batches, continuing, views
from mainspring.operations.enqueue import NewRun
from mainspring.store.database import Transaction
from tests.support.builders import Fleet

FATAL = Failed(code="bad", message="", final=True)


def test_the_callback_waits_for_the_last_member(fleet: Fleet) -> None:
    callback = fleet.batch([fleet.new() for _ in range(3)])
    held = fleet.claim()
    fleet.finish(held[:2])
    assert fleet.get(callback).state is State.BLOCKED
    fleet.finish(held[2])
    assert fleet.get(callback).state is State.QUEUED
    assert fleet.story(callback) == ["created", "unblocked"]


def test_members_that_end_in_one_transaction_start_the_callback_once(fleet: Fleet) -> None:
    callback = fleet.batch([fleet.new() for _ in range(100)])
    fleet.finish([run for run in fleet.claim(most=200) if run.id != callback])
    assert fleet.story(callback) == ["created", "unblocked"]
    assert [claimed.id for claimed in fleet.claim()] == [callback]


@pytest.mark.case("jobs", 44)
@pytest.mark.parametrize("on", ["done", "all_succeeded"])
def test_an_empty_batch_starts_its_callback_at_once(fleet: Fleet, on: batches.FiresOn) -> None:
    callback = fleet.batch([], on=on)
    assert fleet.story(callback) == ["created", "unblocked"]


@pytest.mark.case("jobs", 44)
def test_a_repeated_empty_batch_starts_its_callback_once(fleet: Fleet) -> None:
    batch_id, then = fleet.new_id(), fleet.new(task="summary", blocked="batch")
    for _ in range(2):
        fleet.batch([], callback=then, batch_id=batch_id)
    assert fleet.story(then.id) == ["created", "unblocked"]


def test_a_repeated_batch_changes_nothing(fleet: Fleet) -> None:
    batch_id, members, then = fleet.new_id(), [fleet.new(), fleet.new()], fleet.new(task="summary", blocked="batch")
    fleet.batch(members, callback=then, batch_id=batch_id)
    fleet.finish(fleet.claim(most=1))
    fleet.batch(members, callback=then, batch_id=batch_id)
    assert fleet.sql("SELECT total, open, failed FROM batches") == [(2, 1, 0)]


def test_a_done_callback_starts_although_members_failed_and_were_cancelled(fleet: Fleet) -> None:
    members = [fleet.new(), fleet.new(), fleet.new()]
    callback = fleet.batch(members, on="done")
    fleet.cancel(members[0].id)
    first, second = fleet.claim()
    fleet.finish(first, FATAL)
    fleet.finish(second)
    assert fleet.get(callback).state is State.QUEUED
    assert fleet.sql("SELECT open, failed, stopped FROM batches") == [(0, 1, 1)]


def test_an_all_succeeded_callback_starts_when_all_succeeded(fleet: Fleet) -> None:
    callback = fleet.batch([fleet.new(), fleet.new()], on="all_succeeded")
    fleet.finish(fleet.claim())
    assert fleet.get(callback).state is State.QUEUED


@pytest.mark.parametrize("last", ["succeeded", "failed"])
def test_an_all_succeeded_callback_ends_unstarted_when_a_member_failed(fleet: Fleet, last: str) -> None:
    callback = fleet.batch([fleet.new(), fleet.new()], on="all_succeeded")
    first, second = fleet.claim()
    fleet.finish(first, FATAL if last == "succeeded" else None)
    fleet.finish(second, None if last == "succeeded" else FATAL)
    run = fleet.get(callback)
    assert (run.state, run.reason, run.token) == (State.UPSTREAM_FAILED, "upstream_failed", 0)


@pytest.mark.case("jobs", 45)
def test_a_member_that_is_retried_does_not_count_before_its_budget_is_spent(fleet: Fleet) -> None:
    callback = fleet.batch([fleet.new()], on="all_succeeded")
    (held,) = fleet.claim()
    fleet.finish(held, Failed(code="error", message=""))
    assert fleet.get(callback).state is State.BLOCKED
    fleet.finish(fleet.reclaim(held.id), worker="w2")
    assert fleet.get(callback).state is State.QUEUED


def test_a_member_whose_worker_died_counts_when_it_ends_and_not_before(fleet: Fleet) -> None:
    callback = fleet.batch([fleet.new()])
    (held,) = fleet.claim()
    fleet.bury("w1")
    assert fleet.get(callback).state is State.BLOCKED
    fleet.finish(held)
    assert fleet.get(callback).state is State.BLOCKED
    fleet.finish(fleet.reclaim(held.id), worker="w2")
    assert fleet.get(callback).state is State.QUEUED


def test_a_cancelled_callback_stays_cancelled_when_the_batch_ends(fleet: Fleet) -> None:
    callback = fleet.batch([fleet.new()])
    fleet.cancel(callback)
    fleet.finish(fleet.claim())
    assert fleet.get(callback).state is State.CANCELLED


def test_a_callback_may_itself_be_a_member_of_a_batch(fleet: Fleet) -> None:
    outer_id = fleet.new_id()
    inner_callback = fleet.new(task="summary", blocked="batch", batch_id=outer_id)
    outer_callback = fleet.batch([inner_callback], on="all_succeeded", batch_id=outer_id)
    fleet.batch([fleet.new()], on="all_succeeded", callback=inner_callback)
    fleet.finish(fleet.claim(), FATAL)
    assert fleet.states([inner_callback.id, outer_callback]) == [State.UPSTREAM_FAILED, State.UPSTREAM_FAILED]


def test_members_are_read_in_member_order_with_their_results_page_by_page(fleet: Fleet) -> None:
    members = [fleet.new(), fleet.new(), fleet.new()]
    batch_id = fleet.new_id()
    fleet.batch(members, batch_id=batch_id)
    held = fleet.claim()
    fleet.finish([held[2], held[0]])
    fleet.finish(held[1], FATAL)

    def page(after: str | None) -> list[views.Ending]:
        return fleet.database.read("batch.members", lambda tx: views.batch_members(tx, batch_id, after=after, most=2))

    first = page(None)
    second = page(first[-1].run_id)
    assert [each.run_id for each in first + second] == [member.id for member in members]
    assert [(each.state, each.reason, each.body) for each in first + second] == [
        (State.SUCCEEDED, None, b"null"),
        (State.FAILED, "bad", None),
        (State.SUCCEEDED, None, b"null"),
    ]


# -- several callbacks, open batches, cancelled ones ---------------------------------------------------------------------


def open_batch(fleet: Fleet, members: int, **callbacks: NewRun) -> str:
    """A batch that nobody has sealed yet."""
    batch_id, new = fleet.new_id(), [fleet.new() for _ in range(members)]
    then: Any = callbacks

    def fn(tx: Transaction) -> None:
        fleet._intern(tx)
        batches.create(tx, batch_id, new, namespace=fleet.namespace, callbacks=then, seal=False)

    fleet.database.write("batches.create", fn)
    return batch_id


def join(fleet: Fleet, batch_id: str, *members: NewRun, fence: batches.Fence | None = None) -> None:
    fleet.database.write("batches.add", lambda tx: batches.add(tx, batch_id, members, namespace=fleet.namespace, fence=fence))


def seal(fleet: Fleet, batch_id: str) -> None:
    fleet.database.write("batches.seal", lambda tx: batches.close(tx, batch_id, namespace=fleet.namespace))


def cancel(fleet: Fleet, batch_id: str) -> None:
    fleet.database.write("batches.cancel", lambda tx: batches.cancel(tx, batch_id, namespace=fleet.namespace))


@pytest.mark.case("jobs", 45)
def test_the_failure_callback_starts_with_the_first_spent_budget_and_once(fleet: Fleet) -> None:
    callback = fleet.batch([fleet.new() for _ in range(4)], on="any_failed")
    held = fleet.claim(queues=["main"])
    fleet.finish(held[0], Failed(code="error", message=""))
    assert fleet.get(callback).state is State.BLOCKED
    fleet.finish(held[1], FATAL)
    assert fleet.get(callback).state is State.QUEUED
    fleet.finish(held[2], FATAL)
    fleet.finish(held[3])
    fleet.finish(fleet.reclaim(held[0].id), FATAL, worker="w2")
    assert fleet.story(callback)[:2] == ["created", "unblocked"]
    assert fleet.story(callback).count("unblocked") == 1


def test_an_open_batch_decides_nothing_about_its_end_before_it_is_sealed(fleet: Fleet) -> None:
    done, well = fleet.new(task="summary", queue="summaries"), fleet.new(task="summary", queue="summaries")
    batch_id = open_batch(fleet, 1, done=done, all_succeeded=well)
    fleet.finish(fleet.claim(queues=["main"]))
    assert fleet.states([done.id, well.id]) == [State.BLOCKED, State.BLOCKED]
    late = fleet.new()
    join(fleet, batch_id, late)
    join(fleet, batch_id, late)
    assert fleet.sql("SELECT total, open FROM batches") == [(2, 1)]
    seal(fleet, batch_id)
    seal(fleet, batch_id)
    assert fleet.states([done.id, well.id]) == [State.BLOCKED, State.BLOCKED]
    fleet.finish(fleet.claim(queues=["main"]))
    assert fleet.states([done.id, well.id]) == [State.QUEUED, State.QUEUED]
    with pytest.raises(InvalidOption, match="sealed"):
        join(fleet, batch_id, fleet.new())


def test_only_a_member_that_holds_its_lease_lets_others_join(fleet: Fleet) -> None:
    batch_id = open_batch(fleet, 1)
    (held,) = fleet.claim()
    join(fleet, batch_id, fleet.new(), fence=batches.Fence(held.id, held.token))
    stranger = fleet.running(queue="elsewhere")
    with pytest.raises(InvalidOption, match="no member"):
        join(fleet, batch_id, fleet.new(), fence=batches.Fence(stranger.id, stranger.token))
    fleet.bury("w1")
    with pytest.raises(LeaseLost):
        join(fleet, batch_id, fleet.new(), fence=batches.Fence(held.id, held.token))
    assert fleet.sql("SELECT total FROM batches") == [(2,)]


def test_callbacks_of_a_batch_that_nobody_seals_for_a_day_need_attention(fleet: Fleet) -> None:
    done = fleet.new(task="summary", queue="summaries")
    batch_id = open_batch(fleet, 1, done=done)
    assert continuing.go_on(fleet.database, actor="leader") == 0
    fleet.pass_time(DAY + 1)
    assert [continuing.go_on(fleet.database, actor="leader") for _ in range(2)] == [1, 0]
    run = fleet.get(done.id)
    assert (run.state, run.reason) == (State.NEEDS_ATTENTION, "batch_unsealed")
    seal(fleet, batch_id)
    fleet.finish(fleet.claim(queues=["main"]))
    fleet.resume(done.id)
    assert fleet.get(done.id).state is State.QUEUED


def test_a_cancelled_batch_cancels_its_members_in_pieces_though_its_caller_is_gone(fleet: Fleet) -> None:
    done = fleet.new(task="summary", queue="summaries")
    batch_id = open_batch(fleet, 250, done=done)
    held = fleet.claim(queues=["main"], most=3)
    cancel(fleet, batch_id)
    with pytest.raises(InvalidOption, match="sealed"):
        join(fleet, batch_id, fleet.new())
    pieces = 0
    while continuing.go_on(fleet.database, actor="leader"):
        pieces += 1
    assert pieces == 3
    assert [str(row[0]) for row in fleet.sql("SELECT state FROM runs WHERE ended_at IS NULL AND batch_id IS NOT NULL")] == [
        "cancelling"
    ] * 3
    assert fleet.get(done.id).state is State.BLOCKED
    fleet.finish(held, Stopped())
    assert fleet.get(done.id).state is State.QUEUED
    assert fleet.sql("SELECT open, failed, stopped FROM batches") == [(0, 0, 250)]


def test_an_unsealed_batch_that_is_cancelled_before_it_has_members_is_over(fleet: Fleet) -> None:
    done = fleet.new(task="summary", queue="summaries")
    cancel(fleet, open_batch(fleet, 0, done=done))
    assert fleet.get(done.id).state is State.QUEUED
    while continuing.go_on(fleet.database, actor="leader"):
        pass


def test_members_stay_on_record_until_their_batch_is_over(fleet: Fleet) -> None:
    batch_id = open_batch(fleet, 1, done=fleet.new(task="summary", queue="summaries"))
    fleet.finish(fleet.claim(queues=["main"]))
    assert fleet.prune().runs == 0
    seal(fleet, batch_id)
    assert fleet.prune().runs == 0
    fleet.finish(fleet.claim(queues=["summaries"]))
    assert fleet.prune().runs == 2


def test_a_batch_inside_another_is_cancelled_with_it_and_counted_by_the_run_that_stands_for_it(fleet: Fleet) -> None:
    outer, inner = fleet.new_id(), fleet.new_id()
    member, alone = fleet.new(), fleet.new()
    standing = fleet.new(task="summary", queue="summaries", blocked="batch")

    def fn(tx: Transaction) -> None:
        fleet._intern(tx)
        batches.create(tx, outer, [alone], namespace=fleet.namespace, seal=False)
        then: dict[batches.FiresOn, NewRun] = {"all_succeeded": standing}
        batches.create(tx, inner, [member], namespace=fleet.namespace, callbacks=then, outer_id=outer)
        batches.close(tx, outer, namespace=fleet.namespace)

    fleet.database.write("batches.create", fn)
    fleet.database.write("batches.create", fn)  # as after a commit whose answer was lost
    assert fleet.sql("SELECT total, open FROM batches ORDER BY total DESC") == [(2, 2), (1, 1)]
    marked = fleet.database.write("batches.cancel", lambda tx: batches.cancel(tx, outer, namespace=fleet.namespace))
    assert marked == [outer, inner]
    assert fleet.database.read("batches.cancelling", lambda tx: len(batches.cancelling(tx, most=10))) == 2
    for _ in range(3):  # one batch in each pass
        fleet.tick()
    assert fleet.states([alone.id, member.id, standing.id]) == [State.CANCELLED, State.CANCELLED, State.UPSTREAM_FAILED]
    assert fleet.sql("SELECT open, failed, stopped FROM batches WHERE outer_id IS NULL") == [(0, 1, 1)]
