"""Runs that wait for others: let go by the last end, ended by one that decides against them, each once, whoever meets whom."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack
from mainspring.core.dependencies import Condition
from mainspring.core.durations import SECOND
from mainspring.core.states import State
from mainspring.errors import UnknownRun
from mainspring.operations import batches, dependencies, releasing
from mainspring.operations.enqueue import NewRun
from mainspring.store.database import Transaction
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started, together

FATAL = Failed(code="bad", message="", final=True)
ROUNDS = 10


def behind(fleet: Fleet, *upstreams: str, on: str = "succeeded", **options: Any) -> NewRun:
    """A run behind others."""
    return fleet.new(after=tuple((upstream, Condition(on)) for upstream in upstreams), task="behind", queue="behind", **options)


def enqueue_behind(fleet: Fleet, *upstreams: str, on: str = "succeeded", **options: Any) -> str:
    (created,) = fleet.submit(behind(fleet, *upstreams, on=on, **options))
    return created.run_id


def ends(fleet: Fleet, run_id: str, outcome: Any = None) -> None:
    """A run is claimed and ends."""
    (held,) = [run for run in fleet.claim(queues=["main"]) if run.id == run_id]
    fleet.finish(held, outcome)


def go_on(fleet: Fleet) -> int:
    return fleet.database.write("dependencies.go_on", lambda tx: dependencies.go_on(tx, most=10))


@pytest.fixture
def other(fleet: Fleet, rival: AnyDatabase) -> Fleet:
    """The same fleet, seen from another process."""
    twin = Fleet(database=rival, clock=fleet.clock, lowered=fleet.lowered, _ids=fleet._ids)
    twin._lanes, twin._policies, twin._workers = fleet._lanes, fleet._policies, fleet._workers
    return twin


# -- one after another -------------------------------------------------------------------------------------------------


def test_a_run_begins_after_the_last_of_its_upstreams_and_once(fleet: Fleet) -> None:
    first, second = fleet.enqueue_many(2)
    waits = enqueue_behind(fleet, first, second)
    held = fleet.claim(queues=["main"])
    fleet.finish(held[0])
    assert (fleet.get(waits).state, fleet.get(waits).reason) == (State.BLOCKED, "dependency")
    fleet.finish(held[1])
    assert (fleet.get(waits).state, fleet.get(waits).reason) == (State.QUEUED, None)
    assert fleet.story(waits) == ["created", "unblocked"]


def test_upstreams_that_end_in_one_transaction_let_go_once(fleet: Fleet) -> None:
    ids = fleet.enqueue_many(50)
    waits = enqueue_behind(fleet, *ids)
    fleet.finish(fleet.claim(queues=["main"]))
    assert fleet.story(waits) == ["created", "unblocked"]


@pytest.mark.parametrize(
    ("on", "how", "state"),
    [
        ("succeeded", "succeeded", State.QUEUED),
        ("succeeded", "failed", State.UPSTREAM_FAILED),
        ("succeeded", "cancelled", State.UPSTREAM_FAILED),
        ("done", "succeeded", State.QUEUED),
        ("done", "failed", State.QUEUED),
        ("done", "cancelled", State.QUEUED),
        ("failed", "succeeded", State.UPSTREAM_FAILED),
        ("failed", "failed", State.QUEUED),
        ("failed", "cancelled", State.UPSTREAM_FAILED),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_how_an_upstream_ends_decides(fleet: Fleet, on: str, how: str, state: State, when: str) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream, on=on) if when == "before" else ""
    if how == "cancelled":
        fleet.cancel(upstream)
    else:
        ends(fleet, upstream, FATAL if how == "failed" else None)
    waits = waits or enqueue_behind(fleet, upstream, on=on)
    assert fleet.get(waits).state is state
    assert fleet.ledger(waits)[-1].data.get("upstream") == (upstream if state is State.UPSTREAM_FAILED else None)


def test_one_upstream_that_decides_against_it_ends_a_run_at_once(fleet: Fleet) -> None:
    first, second = fleet.enqueue_many(2)
    waits = enqueue_behind(fleet, first, second)
    held = fleet.claim(queues=["main"])
    fleet.finish(held[0], FATAL)
    assert fleet.get(waits).state is State.UPSTREAM_FAILED
    fleet.finish(held[1])
    assert fleet.story(waits) == ["created", "upstream_failed"]


def test_an_upstream_that_will_be_tried_again_decides_nothing(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream)
    (held,) = fleet.claim(queues=["main"])
    fleet.finish(held, Failed(code="error", message=""))
    assert fleet.get(waits).state is State.BLOCKED
    again = fleet.reclaim(upstream)
    fleet.finish(again, GaveItselfBack(after_us=SECOND), worker="w2")
    assert fleet.get(waits).state is State.BLOCKED
    fleet.finish(fleet.reclaim(upstream), worker="w2")
    assert fleet.get(waits).state is State.QUEUED


def test_a_run_that_is_due_later_goes_on_waiting_for_its_time(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream, delay=60 * SECOND)
    due_at = fleet.get(waits).due_at
    ends(fleet, upstream)
    assert (fleet.get(waits).state, fleet.get(waits).due_at) == (State.SCHEDULED, due_at)
    fleet.pass_time(61 * SECOND)
    fleet.make_due()
    assert fleet.get(waits).state is State.QUEUED


def test_a_run_behind_what_has_succeeded_is_queued_like_any_other(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    ends(fleet, upstream)
    waits = enqueue_behind(fleet, upstream)
    assert fleet.story(waits) == ["created"]
    assert fleet.get(waits).state is State.QUEUED


def test_unknown_pruned_and_foreign_upstreams_are_refused_and_nothing_is_written(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    ends(fleet, upstream)
    fleet.prune()
    foreign = Fleet(database=fleet.database, clock=fleet.clock, namespace="elsewhere", _ids=fleet._ids).enqueue()
    for missing in (upstream, fleet.new_id(), foreign):
        with pytest.raises(UnknownRun) as told:
            enqueue_behind(fleet, missing)
        assert told.value.details["run_id"] == missing
    assert fleet.one("SELECT count(*) FROM dependencies") == 0


def test_runs_of_one_call_may_wait_for_each_other(fleet: Fleet) -> None:
    first = fleet.new()
    second = behind(fleet, first.id)
    third = behind(fleet, first.id, second.id)
    fleet.submit(first, second, third)
    assert fleet.states([first.id, second.id, third.id]) == [State.QUEUED, State.BLOCKED, State.BLOCKED]
    ends(fleet, first.id, FATAL)
    assert fleet.states([second.id, third.id]) == [State.UPSTREAM_FAILED, State.UPSTREAM_FAILED]


def test_a_repeated_call_changes_nothing(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    for on in ("succeeded", "failed"):
        new = behind(fleet, upstream, on=on)
        fleet.submit(new)
        fleet.submit(new)
        assert fleet.story(new.id) == ["created"]
    ends(fleet, upstream)
    lost = behind(fleet, upstream, on="failed")
    fleet.submit(lost)
    fleet.submit(lost)
    assert fleet.story(lost.id) == ["created", "upstream_failed"]


def test_keys_of_a_run_that_waits_in_vain_are_free_again(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream, key="k", singleton="s")
    ends(fleet, upstream, FATAL)
    assert fleet.get(waits).state is State.UPSTREAM_FAILED
    again = enqueue_behind(fleet, upstream, key="k", singleton="s")
    assert (again != waits, fleet.get(again).state) == (True, State.UPSTREAM_FAILED)
    assert enqueue_behind(fleet, upstream, on="done", key="k", singleton="s") not in {waits, again}


def test_who_gets_an_existing_run_makes_it_wait_for_nobody(fleet: Fleet) -> None:
    owner, upstream = fleet.enqueue(key="k", task="behind"), fleet.enqueue()
    assert enqueue_behind(fleet, upstream, key="k") == owner
    assert fleet.one("SELECT count(*) FROM dependencies") == 0


def test_a_cancelled_dependant_stays_cancelled_and_takes_those_behind_it_along(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream)
    last = enqueue_behind(fleet, waits)
    fleet.cancel(waits)
    ends(fleet, upstream)
    assert fleet.states([waits, last]) == [State.CANCELLED, State.UPSTREAM_FAILED]


def test_the_end_of_a_dead_workers_run_lets_go_too(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream, on="done")
    fleet.claim(queues=["main"])
    fleet.cancel(upstream)
    fleet.bury("w1")
    assert (fleet.get(upstream).state, fleet.get(waits).state) == (State.CANCELLED, State.QUEUED)


def test_retrying_an_upstream_revives_nobody(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream)
    ends(fleet, upstream, FATAL)
    again, _ = fleet.retry(upstream)
    ends(fleet, again)
    assert fleet.story(waits) == ["created", "upstream_failed"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_pruning_keeps_whoever_was_waited_for_until_the_waiting_is_over(fleet: Fleet, when: str) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream) if when == "before" else ""
    ends(fleet, upstream)
    waits = waits or enqueue_behind(fleet, upstream)
    assert fleet.prune().runs == 0
    fleet.finish(fleet.claim(queues=["behind"]))
    assert fleet.get(waits).state is State.SUCCEEDED
    assert fleet.prune().runs == 2
    assert fleet.one("SELECT count(*) FROM dependencies") == 0


# -- many of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [None, FATAL])
def test_more_dependants_than_one_transaction_takes_go_in_waves(fleet: Fleet, outcome: Failed | None) -> None:
    upstream = fleet.enqueue()
    count = 2 * releasing.MOST + 30
    waits = [behind(fleet, upstream) for _ in range(count)]
    fleet.submit(*waits)
    ends(fleet, upstream, outcome)
    gone = f"SELECT count(*) FROM runs WHERE state = '{'queued' if outcome is None else 'upstream_failed'}'"
    waves = [fleet.one(gone)]
    while go_on(fleet):
        waves.append(fleet.one(gone))
    assert waves == [releasing.MOST, 2 * releasing.MOST, count]


def test_a_long_line_of_dependants_fails_in_waves(fleet: Fleet) -> None:
    line = [fleet.new()]
    for _ in range(releasing.MOST + 20):
        line.append(behind(fleet, line[-1].id))
    fleet.submit(*line)
    ends(fleet, line[0].id, FATAL)
    assert fleet.one("SELECT count(*) FROM runs WHERE state = 'upstream_failed'") == releasing.MOST
    assert go_on(fleet) == 1
    assert fleet.one("SELECT count(*) FROM runs WHERE state = 'upstream_failed'") == len(line) - 1
    assert go_on(fleet) == 0


def test_two_who_go_on_at_once_let_each_go_once(fleet: Fleet, other: Fleet) -> None:
    upstream = fleet.enqueue()
    waits = [behind(fleet, upstream) for _ in range(releasing.MOST + 200)]
    fleet.submit(*waits)
    ends(fleet, upstream)
    together(partial(go_on, fleet), partial(go_on, other), partial(go_on, other))
    while go_on(fleet):
        pass
    assert fleet.one("SELECT count(*) FROM events WHERE type = 'unblocked'") == len(waits)


# -- behind a batch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("on", "outcome"), [("succeeded", None), ("done", FATAL), ("failed", FATAL)])
def test_a_run_may_wait_for_a_batch(fleet: Fleet, on: str, outcome: Failed | None) -> None:
    batch_id = fleet.new_id()
    fleet.batch([fleet.new()], batch_id=batch_id)
    waits = enqueue_behind(fleet, batch_id, on=on)
    assert fleet.get(waits).state is State.BLOCKED
    fleet.finish(fleet.claim(queues=["main"]), outcome)
    assert fleet.get(waits).state is State.QUEUED
    assert fleet.story(enqueue_behind(fleet, batch_id, on=on)) == ["created"]


# -- two at once -------------------------------------------------------------------------------------------------------


def _create(fleet: Fleet, tx: Transaction, new: NewRun) -> None:
    fleet.create(tx, [new])


@pytest.mark.case("jobs", 43)
@pytest.mark.parametrize("outcome", [None, FATAL])
def test_an_upstream_that_ends_beside_an_open_creation_counts_once(fleet: Fleet, other: Fleet, outcome: Failed | None) -> None:
    held = fleet.running()
    new = behind(fleet, held.id)
    with open_transaction(fleet.database) as tx:
        fleet.create(tx, [new])
        finished = started(other.database, lambda: other.finish(held, outcome))
    assert finished() == set()
    assert fleet.story(new.id) == ["created", "unblocked" if outcome is None else "upstream_failed"]


@pytest.mark.case("jobs", 43)
@pytest.mark.parametrize("outcome", [None, FATAL])
def test_a_creation_beside_an_open_end_of_its_upstream_counts_it_once(fleet: Fleet, other: Fleet, outcome: Failed | None) -> None:
    held = fleet.running()
    new = behind(fleet, held.id)
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, held, outcome)
        created = started(other.database, lambda: other.submit(new))
    created()
    assert fleet.story(new.id) == (["created"] if outcome is None else ["created", "upstream_failed"])


@pytest.mark.case("jobs", 43)
def test_of_two_upstreams_one_ends_before_and_one_during_the_creation(fleet: Fleet, other: Fleet) -> None:
    first, second = fleet.enqueue_many(2)
    held = {run.id: run for run in fleet.claim()}
    fleet.finish(held[first])
    new = behind(fleet, first, second)
    with open_transaction(fleet.database) as tx:
        fleet.create(tx, [new])
        finished = started(other.database, lambda: other.finish(held[second]))
    finished()
    assert fleet.story(new.id) == ["created", "unblocked"]


def test_the_last_two_upstreams_end_beside_each_other_and_let_go_once(fleet: Fleet, other: Fleet) -> None:
    first, second = fleet.enqueue_many(2)
    waits = enqueue_behind(fleet, first, second)
    held = {run.id: run for run in fleet.claim(queues=["main"])}
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, held[first])
        finished = started(other.database, lambda: other.finish(held[second]))
    assert finished() == set()
    assert fleet.story(waits) == ["created", "unblocked"]


def test_upstreams_and_creations_let_loose_together_leave_nobody_behind(fleet: Fleet, other: Fleet) -> None:
    for _ in range(ROUNDS):
        first, second = fleet.enqueue_many(2)
        held = {run.id: run for run in fleet.claim(queues=["main"])}
        new = behind(fleet, first, second)
        together(
            partial(fleet.finish, held[first]), partial(other.finish, held[second]), partial(other.submit, new),
        )  # fmt: skip
        assert fleet.get(new.id).state is State.QUEUED
        assert fleet.story(new.id) in (["created"], ["created", "unblocked"])


@pytest.mark.case("jobs", 44)
def test_the_last_two_members_end_beside_each_other_and_start_the_callback_once(fleet: Fleet, other: Fleet) -> None:
    callback = fleet.batch([fleet.new(), fleet.new()])
    first, second = fleet.claim(queues=["main"])
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, first)
        finished = started(other.database, lambda: other.finish(second))
    assert finished() == set()
    assert fleet.story(callback) == ["created", "unblocked"]


@pytest.mark.case("jobs", 44)
def test_members_let_loose_together_start_every_callback_once(fleet: Fleet, other: Fleet) -> None:
    for _ in range(ROUNDS):
        batch_id, then = fleet.new_id(), {on: fleet.new(task="summary", queue="summaries") for on in ("done", "all_succeeded")}

        def create(tx: Transaction, batch_id: str = batch_id, then: Any = then) -> None:
            members = [fleet.new() for _ in range(4)]
            fleet._intern(tx)
            batches.create(tx, batch_id, members, namespace=fleet.namespace, callbacks=then)

        fleet.database.write("batches.create", create)
        held = fleet.claim(queues=["main"])
        together(*(partial((fleet if n % 2 else other).finish, run) for n, run in enumerate(held)))
        assert {tuple(fleet.story(run.id)) for run in then.values()} == {("created", "unblocked")}
        assert fleet.one("SELECT count(*) FROM batches WHERE open > 0") == 0


def test_a_dependant_cancelled_beside_the_end_of_its_upstream_ends_one_way(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running()
    waits = enqueue_behind(fleet, held.id)
    with open_transaction(fleet.database) as tx:
        fleet.cancel_in(tx, waits)
        finished = started(other.database, lambda: other.finish(held))
    assert finished() == set()
    assert fleet.story(waits) == ["created", "cancelled"]


def test_what_a_run_waits_for_is_told(fleet: Fleet) -> None:
    upstream = fleet.enqueue()
    waits = enqueue_behind(fleet, upstream)
    told = fleet.database.read("dependencies.of", lambda tx: tx.rows("dependencies.of", run_id=waits, most=10))
    assert [tuple(row) for row in told] == [(upstream, "succeeded", 1)]
    assert fleet.why(waits) == f"waits for {upstream}, which is queued, to succeed"
