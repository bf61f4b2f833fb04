"""Batches: the callback starts exactly once, when the last member has ended, whatever became of the members."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed
from mainspring.core.states import State
from mainspring.operations import batches, views
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
