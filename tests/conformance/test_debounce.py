"""Debounced and throttled calls: when the run of a burst is due, with which payload, and how often."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from mainspring.core.debounce import Debounce, Edge, throttle
from mainspring.core.durations import HOUR, MINUTE
from mainspring.core.states import State
from mainspring.operations import retention
from mainspring.operations.creation import Created
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started, together

SLACK = MINUTE  # what the server's clock may go on by while a test does not look


@pytest.fixture
def other(fleet: Fleet, rival: AnyDatabase) -> Fleet:
    """The same fleet, seen from another process."""
    twin = Fleet(database=rival, clock=fleet.clock, lowered=fleet.lowered, _ids=fleet._ids)
    twin._lanes, twin._policies, twin._workers = fleet._lanes, fleet._policies, fleet._workers
    return twin


def call(fleet: Fleet, body: bytes, debounce: Debounce, **options: Any) -> Created:
    (answer,) = fleet.submit(fleet.new(singleton="site", body=body, **options), debounce=debounce)
    return answer


def due_in(fleet: Fleet, run_id: str) -> int:
    return fleet.get(run_id).due_at - fleet.now


def claimed(fleet: Fleet) -> list[bytes | None]:
    """What may be handed out now."""
    fleet.make_due()
    return [run.body for run in fleet.claim()]


def test_a_burst_is_one_run_with_the_last_payload_due_when_it_has_been_quiet(fleet: Fleet) -> None:
    gather = Debounce("10m")
    first = call(fleet, b"[1]", gather)
    fleet.pass_time(6 * MINUTE)
    second = call(fleet, b"[2]", gather)
    assert (first.outcome, second.outcome, second.run_id) == ("created", "replaced", first.run_id)
    assert 10 * MINUTE - SLACK <= due_in(fleet, first.run_id) <= 10 * MINUTE
    fleet.pass_time(6 * MINUTE)
    assert claimed(fleet) == []
    fleet.pass_time(4 * MINUTE)
    assert claimed(fleet) == [b"[2]"]


@pytest.mark.case("jobs", 10)
def test_a_steady_stream_of_calls_still_runs_within_max_wait(fleet: Fleet) -> None:
    gather = Debounce("10m", max_wait="25m")
    run_id = call(fleet, b"[0]", gather).run_id
    for n in range(1, 6):
        fleet.pass_time(5 * MINUTE)
        assert claimed(fleet) == ([b"[4]"] if n == 5 else [])
        if n < 5:
            assert call(fleet, b"[%d]" % n, gather).run_id == run_id


@pytest.mark.case("jobs", 10)
def test_a_steady_stream_of_calls_beside_a_running_owner_runs_within_max_wait_of_its_first(fleet: Fleet) -> None:
    gather = Debounce("10m", max_wait="25m")
    held = fleet.running(singleton="site")
    promised = {call(fleet, b"[%d]" % n, gather).run_id for n in range(2)}
    for n in range(2, 6):
        fleet.pass_time(5 * MINUTE)
        promised.add(call(fleet, b"[%d]" % n, gather).run_id)
    fleet.finish(held)
    (run_id,) = promised
    assert 5 * MINUTE - SLACK <= due_in(fleet, run_id) <= 5 * MINUTE
    assert call(fleet, b"[9]", gather) == (run_id, "replaced", None, None, 2)
    assert 5 * MINUTE - SLACK <= due_in(fleet, run_id) <= 5 * MINUTE
    fleet.pass_time(5 * MINUTE)
    assert claimed(fleet) == [b"[9]"]


def test_max_wait_is_ten_times_quiet_unless_set(fleet: Fleet) -> None:
    gather = Debounce("10m")
    run_id = call(fleet, b"[0]", gather).run_id
    for _ in range(11):
        fleet.pass_time(9 * MINUTE)
        call(fleet, b"[1]", gather)
    assert due_in(fleet, run_id) <= MINUTE


@pytest.mark.case("jobs", 9)
def test_a_debounced_call_that_loses_to_the_claim_is_executed_afterwards_with_the_latest_payload_once(fleet: Fleet) -> None:
    gather = Debounce("10m")
    call(fleet, b"[1]", gather)
    fleet.pass_time(10 * MINUTE)
    fleet.make_due()
    (held,) = fleet.claim()
    answers = [call(fleet, body, gather) for body in (b"[2]", b"[3]")]
    assert {answer.outcome for answer in answers} == {"deferred"}
    fleet.finish(held)
    assert claimed(fleet) == []
    fleet.pass_time(10 * MINUTE)
    assert claimed(fleet) == [b"[3]"]
    assert fleet.one("SELECT count(*) FROM runs") == 2


@pytest.mark.case("jobs", 9)
def test_a_debounced_call_beside_an_open_claim_is_executed_afterwards(fleet: Fleet, other: Fleet) -> None:
    gather = Debounce("10m")
    call(fleet, b"[1]", gather)
    fleet.pass_time(10 * MINUTE)
    fleet.make_due()
    fleet.register("w1")
    with open_transaction(fleet.database) as tx:
        (held,) = fleet.claim_in(tx, "w1")
        second = started(other.database, lambda: call(other, b"[2]", gather))
    assert (held.body, second().outcome) == (b"[1]", "deferred")
    fleet.finish(held)
    fleet.pass_time(10 * MINUTE)
    assert claimed(fleet) == [b"[2]"]


def test_a_run_that_is_due_and_not_yet_claimed_waits_again_for_quiet(fleet: Fleet) -> None:
    gather = Debounce("10m")
    run_id = call(fleet, b"[1]", gather).run_id
    fleet.pass_time(11 * MINUTE)
    fleet.make_due()
    assert fleet.get(run_id).state is State.QUEUED
    call(fleet, b"[2]", gather)
    assert fleet.get(run_id).state is State.SCHEDULED
    assert claimed(fleet) == []


def test_several_debounced_calls_of_one_transaction_are_one_run(fleet: Fleet) -> None:
    calls = [fleet.new(singleton="site", body=b"[%d]" % n) for n in range(3)]
    answers = fleet.submit(*calls, debounce=Debounce("10m"))
    assert [answer.outcome for answer in answers] == ["created", "replaced", "replaced"]
    assert 10 * MINUTE - SLACK <= due_in(fleet, calls[0].id) <= 10 * MINUTE
    fleet.pass_time(10 * MINUTE)
    assert claimed(fleet) == [b"[2]"]


# -- the leading edge --------------------------------------------------------------------------------------------------


def test_the_leading_edge_runs_the_first_call_and_no_other_until_it_has_been_quiet(fleet: Fleet) -> None:
    gather = Debounce("10m", edge="leading")
    first = call(fleet, b"[1]", gather)
    assert first.outcome == "created"
    (held,) = fleet.claim()
    assert call(fleet, b"[2]", gather) == (first.run_id, "existing", None, None, 0)
    fleet.finish(held)
    for n in range(3):
        fleet.pass_time(8 * MINUTE)
        assert call(fleet, b"[%d]" % n, gather) == (first.run_id, "existing", None, None, 0)
    fleet.pass_time(10 * MINUTE)
    assert call(fleet, b"[9]", gather).outcome == "created"
    assert claimed(fleet) == [b"[9]"]


def test_the_leading_edge_lets_one_call_through_in_max_wait(fleet: Fleet) -> None:
    gather = Debounce("10m", "25m", "leading")
    outcomes = []
    for n in range(11):
        outcomes.append(call(fleet, b"[%d]" % n, gather).outcome)
        fleet.finish(fleet.claim())
        fleet.pass_time(5 * MINUTE)
    assert [n for n, outcome in enumerate(outcomes) if outcome == "created"] == [0, 5, 10]


def test_a_first_call_whose_singleton_still_runs_is_deferred_and_leads_its_burst(fleet: Fleet) -> None:
    gather = Debounce("10m", edge="leading")
    call(fleet, b"[1]", gather)
    (held,) = fleet.claim()
    fleet.pass_time(11 * MINUTE)
    leading = call(fleet, b"[2]", gather)
    assert leading.outcome == "deferred"
    assert call(fleet, b"[3]", gather) == (leading.run_id, "existing", None, None, 0)
    fleet.finish(held)
    assert claimed(fleet) == [b"[2]"]
    assert call(fleet, b"[4]", gather) == (leading.run_id, "existing", None, None, 0)


def test_both_edges_run_the_first_call_at_once_and_the_last_when_it_has_been_quiet(fleet: Fleet) -> None:
    gather = Debounce("10m", edge="both")
    assert call(fleet, b"[1]", gather).outcome == "created"
    (held,) = fleet.claim()
    answers = [call(fleet, body, gather) for body in (b"[2]", b"[3]")]
    assert {answer.outcome for answer in answers} == {"deferred"}
    fleet.finish(held)
    assert claimed(fleet) == []
    fleet.pass_time(10 * MINUTE)
    assert claimed(fleet) == [b"[3]"]


def test_both_edges_hold_up_no_first_call_for_those_after_it(fleet: Fleet) -> None:
    gather = Debounce("10m", edge="both")
    run_id = call(fleet, b"[1]", gather).run_id
    assert call(fleet, b"[2]", gather) == (run_id, "replaced", None, None, 2)
    assert claimed(fleet) == [b"[2]"]


def test_both_edges_run_a_single_call_once(fleet: Fleet) -> None:
    gather = Debounce("10m", edge="both")
    call(fleet, b"[1]", gather)
    fleet.finish(fleet.claim())
    fleet.pass_time(HOUR)
    assert claimed(fleet) == []


def test_both_edges_create_the_run_of_the_last_call_where_the_first_has_ended(fleet: Fleet) -> None:
    gather = Debounce("10m", "15m", "both")
    call(fleet, b"[1]", gather)
    fleet.finish(fleet.claim())
    fleet.pass_time(8 * MINUTE)
    last = call(fleet, b"[2]", gather)
    assert last.outcome == "created"
    assert 7 * MINUTE - SLACK <= due_in(fleet, last.run_id) <= 7 * MINUTE
    fleet.pass_time(7 * MINUTE)
    assert claimed(fleet) == [b"[2]"]


def test_a_throttle_lets_one_call_through_in_its_span(fleet: Fleet) -> None:
    once = throttle("20m")
    outcomes = []
    for n in range(9):
        outcomes.append(call(fleet, b"[%d]" % n, once).outcome)
        fleet.finish(fleet.claim())
        fleet.pass_time(5 * MINUTE)
    assert [n for n, outcome in enumerate(outcomes) if outcome == "created"] == [0, 4, 8]


@pytest.mark.parametrize("edge", ["trailing", "leading", "both"])
def test_first_calls_let_loose_make_one_run(fleet: Fleet, other: Fleet, edge: Edge) -> None:
    gather = Debounce("1h", edge=edge)
    calls = [fleet.new(singleton="site", body=b"[%d]" % n) for n in range(5)]
    answers = together(*(partial(other.submit, each, debounce=gather) for each in calls))
    outcomes = sorted(answer.outcome for (answer,) in answers)
    assert outcomes.count("created") == 1
    assert set(outcomes) == {"created", "existing" if edge == "leading" else "replaced"}
    assert len({answer.run_id for (answer,) in answers}) == fleet.one("SELECT count(*) FROM runs") == 1


def test_bursts_that_are_over_are_forgotten(fleet: Fleet) -> None:
    call(fleet, b"[1]", throttle("20m"))
    for kept in (1, 0):
        fleet.database.write("retention.forget", lambda tx: retention.forget(tx, workers_before=0))
        assert fleet.one("SELECT count(*) FROM debounces") == kept
        fleet.pass_time(30 * MINUTE)
