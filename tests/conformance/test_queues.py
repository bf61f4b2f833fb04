"""Queues while everything runs: pause and resume, limits from code and from operators."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainspring.client import Client
from mainspring.core.limits import Limit, Rate
from mainspring.core.states import State
from mainspring.errors import UnknownQueue
from mainspring.operations import queues
from tests.support.builders import AnyDatabase, Fleet


def pause(fleet: Fleet, name: str = "main") -> bool:
    return fleet.database.write("queues.pause", lambda tx: queues.pause(tx, fleet.namespace, name, actor="user:operator"))


def resume(fleet: Fleet, name: str = "main") -> bool:
    return fleet.database.write("queues.resume", lambda tx: queues.resume(tx, fleet.namespace, name, actor="user:operator"))


def test_nothing_is_claimed_from_a_paused_queue_and_other_queues_go_on(fleet: Fleet) -> None:
    fleet.enqueue_many(50, priority=9)
    other = fleet.enqueue(queue="other")
    assert pause(fleet)
    assert [claimed.id for claimed in fleet.claim(most=5)] == [other]


def test_what_runs_in_a_paused_queue_goes_on(fleet: Fleet) -> None:
    held = fleet.running()
    pause(fleet)
    assert fleet.heartbeat(held)
    assert fleet.finish(held) == set()
    assert fleet.get(held.id).state is State.SUCCEEDED


def test_waiting_runs_keep_their_place_over_a_pause(fleet: Fleet) -> None:
    first = fleet.enqueue()
    pause(fleet)
    second = fleet.enqueue()
    assert resume(fleet)
    assert fleet.claim_one_by_one() == [first, second]


def test_pausing_twice_and_resuming_twice_say_so(fleet: Fleet) -> None:
    fleet.declare("main")
    assert [pause(fleet), pause(fleet), resume(fleet), resume(fleet)] == [True, False, True, False]


def test_a_pause_tells_who_and_when(fleet: Fleet) -> None:
    fleet.declare("main")
    pause(fleet)
    queue = fleet.queue("main")
    assert queue.paused_by == "user:operator"
    assert queue.paused_at is not None


@pytest.mark.parametrize("change", [pause, resume, lambda fleet: fleet.set_limit("main", 1)], ids=["pause", "resume", "limit"])
def test_an_unknown_queue_is_refused(fleet: Fleet, change: Callable[[Fleet], object]) -> None:
    with pytest.raises(UnknownQueue):
        change(fleet)


def test_queues_are_listed_with_what_waits_and_what_runs(fleet: Fleet) -> None:
    fleet.declare("mail", limit=4)
    fleet.enqueue_many(3, queue="mail")
    fleet.claim(most=2)
    fleet.enqueue(queue="main")
    listed = fleet.database.read("queues.list", lambda tx: queues.listing(tx, fleet.namespace))
    assert [(queue.name, queue.limit, queue.used, queue.limit_source, queue.queued) for queue in listed] == [
        ("mail", 4, 2, "code", 1),
        ("main", None, None, None, 1),
    ]


def test_a_limit_of_zero_stops_a_queue(fleet: Fleet) -> None:
    fleet.enqueue()
    fleet.set_limit("main", 0)
    assert fleet.claim() == []


@pytest.mark.case("jobs", 20)
def test_lowering_a_limit_below_its_use_kills_nothing_and_holds_back_the_next(fleet: Fleet) -> None:
    fleet.declare("main", limit=3)
    fleet.enqueue_many(5)
    held = fleet.claim()
    fleet.lowered.add("main")
    fleet.set_limit("main", 1)
    assert [fleet.get(run.id).state for run in held] == [State.RUNNING] * 3
    fleet.finish(held[:2])
    assert fleet.claim() == []
    fleet.finish(held[2])
    assert len(fleet.claim()) == 1


@pytest.mark.case("jobs", 20)
def test_raising_a_limit_opens_the_queue_at_once(fleet: Fleet) -> None:
    fleet.declare("main", limit=1)
    fleet.enqueue_many(5)
    fleet.claim()
    fleet.set_limit("main", 4)
    assert len(fleet.claim()) == 3


def test_a_first_limit_counts_what_runs_already(fleet: Fleet) -> None:
    fleet.enqueue_many(4)
    held = fleet.claim(most=2)
    fleet.set_limit("main", 3)
    assert fleet.queue("main").used == 2
    assert len(fleet.claim("w2")) == 1
    fleet.finish(held)
    assert fleet.queue("main").used == 1


def test_a_first_limit_from_code_counts_what_runs_already(fleet: Fleet) -> None:
    fleet.enqueue_many(4)
    fleet.claim(most=2)
    fleet.declare("main", limit=3)
    assert len(fleet.claim("w2")) == 1


def test_a_first_limit_counts_a_run_that_was_asked_to_stop(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    fleet.set_limit("main", 1)
    fleet.enqueue()
    assert fleet.claim("w2") == []


def test_a_limit_taken_away_and_set_again_counts_nothing_of_what_ended(fleet: Fleet) -> None:
    fleet.declare("main", limit=1)
    fleet.enqueue_many(3)
    held = fleet.claim()
    fleet.set_limit("main", None)
    others = fleet.claim("w2")
    assert len(others) == 2
    assert fleet.finish([*held, *others]) == set()
    fleet.set_limit("main", 1)
    assert fleet.queue("main").used == 0


@pytest.mark.case("jobs", 20)
def test_a_limit_set_while_a_worker_believes_there_is_none_loses_no_slot(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.set_limit("main", 1)
    fleet.finish_believing_in_no_limits(held)
    fleet.enqueue()
    assert len(fleet.claim("w2")) == 1


@pytest.mark.case("jobs", 21)
def test_a_deploy_does_not_unpause_a_queue(fleet: Fleet) -> None:
    fleet.declare("main", limit=5)
    pause(fleet)
    fleet.declare("main", limit=5)
    assert fleet.queue("main").paused_at is not None


@pytest.mark.case("jobs", 21)
@pytest.mark.parametrize("size", [0, 2, None])
def test_a_deploy_does_not_reset_a_limit_an_operator_changed(fleet: Fleet, size: int | None) -> None:
    fleet.declare("main", limit=5)
    fleet.set_limit("main", size)
    fleet.declare("main", limit=5)
    assert fleet.queue("main").limit == size


def test_a_deploy_changes_a_limit_that_only_code_has_set(fleet: Fleet) -> None:
    fleet.declare("main", limit=5)
    fleet.declare("main", limit=7)
    assert (fleet.queue("main").limit, fleet.queue("main").limit_source) == (7, "code")


def test_a_queue_of_another_namespace_is_another_queue(fleet: Fleet) -> None:
    fleet.declare("main", limit=1)
    pause(fleet)
    fleet.namespace = "elsewhere"
    fleet.enqueue_many(2)
    assert len(fleet.claim()) == 2


def test_what_an_operator_does_to_queues_and_limits_is_in_the_audit_log(database: AnyDatabase) -> None:
    client = Client(database, namespace="test", actor="user:ana")
    client.queues.declare("mail")
    client.queues.pause("mail")
    client.queues.pause("mail")  # changes nothing
    client.queues.resume("mail")
    client.queues.limit("mail", 3)
    client.queues.bound("mail", 10)
    client.queues.reset_bound("mail")
    client.limits.set("task", "send", Rate(5, per="1s"))
    client.limits.set("total", limit=Limit(9))
    client.limits.set("total")
    client.limits.reset("total")
    told = [(each.action, each.subject, each.actor, each.namespace) for each in client.audit.list().data[::-1]]
    ana = "user:ana"
    assert told == [
        ("queue.paused", "queue:mail", ana, "test"), ("queue.resumed", "queue:mail", ana, "test"),
        ("limit.set", "limit:queue:mail", ana, "test"), ("queue.bounded", "queue:mail", ana, "test"),
        ("queue.bound_reset", "queue:mail", ana, "test"), ("rate.set", "rate:task:send", ana, "test"),
        ("limit.set", "limit:total", ana, "*"), ("limit.lifted", "limit:total", ana, "*"), ("limit.reset", "limit:total", ana, "*"),
    ]  # fmt: skip
    assert client.audit.verify().broken is None
