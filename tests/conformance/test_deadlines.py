"""Expiry and deadline: instants of a run's own, which need no worker, and which no retry moves."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Stopped, Succeeded
from mainspring.core.durations import HOUR, MINUTE, SECOND
from mainspring.core.states import State
from mainspring.operations import attempts, deadlines
from mainspring.store.database import Transaction
from mainspring.store.dialect import compile_postgres, compile_sqlite
from mainspring.store.postgres import PostgresDatabase
from mainspring.store.sqlite import SqliteDatabase
from mainspring.store.statements import load
from tests.support.builders import AnyDatabase, Fleet, connect, open_transaction, started, together

ERROR = Failed(code="error", message="no")


# -- expiry ------------------------------------------------------------------------------------------------------------


def test_a_run_nobody_began_in_time_is_skipped(fleet: Fleet) -> None:
    begun = fleet.running(expires_in=MINUTE)
    queued = fleet.enqueue(expires_in=MINUTE)
    later = fleet.enqueue(expires_in=MINUTE, delay=HOUR)
    blocked = fleet.enqueue(expires_in=MINUTE, blocked="gate")
    fleet.pass_time(MINUTE - SECOND)
    assert fleet.tick().done("expiry") == 0
    fleet.pass_time(SECOND)
    assert fleet.tick().done("expiry") == 3
    for run_id in (queued, later, blocked):
        run = fleet.get(run_id)
        assert (run.state, run.reason, run.failures) == (State.SKIPPED, "expired", 0)
    assert fleet.get(begun.id).state is State.RUNNING


def test_a_run_that_began_in_time_goes_on_after_a_retry(fleet: Fleet) -> None:
    held = fleet.running(expires_in=MINUTE)
    fleet.finish(held, ERROR)
    fleet.pass_time(HOUR)
    fleet.tick()
    assert fleet.get(held.id).state is State.QUEUED
    assert [run.id for run in fleet.claim()] == [held.id]


@pytest.mark.case("jobs", 37)
def test_the_claim_itself_passes_over_what_has_expired(fleet: Fleet) -> None:
    run_id = fleet.enqueue(expires_in=MINUTE)
    fleet.pass_time(MINUTE)  # and nobody has looked for expired runs yet
    assert fleet.claim() == []
    assert fleet.get(run_id).token == 0
    fleet.tick()
    assert fleet.get(run_id).state is State.SKIPPED


@pytest.mark.case("jobs", 37)
def test_expiry_beside_an_open_claim_leaves_the_run_to_the_claim(fleet: Fleet, other: Fleet) -> None:
    run_id = fleet.enqueue(expires_in=SECOND)
    fleet.register("w1")
    with open_transaction(fleet.database) as tx:
        (claimed,) = fleet.claim_in(tx)
        if fleet.clock is None:
            fleet.sql("SELECT pg_sleep(1)")  # the server's time, which nobody can move while the claim holds the row
        else:
            fleet.pass_time(SECOND)
        second = started(other.database, lambda: other.database.write("deadlines.expire", _expire))
    assert second() == 0
    assert (claimed.id, fleet.get(run_id).state) == (run_id, State.RUNNING)


@pytest.mark.case("jobs", 37)
def test_a_claim_beside_an_open_expiry_gets_nothing(fleet: Fleet, other: Fleet) -> None:
    run_id = fleet.enqueue(expires_in=MINUTE)
    fleet.register("w1")
    other._workers.add("w1")
    fleet.pass_time(MINUTE)
    with open_transaction(fleet.database) as tx:
        assert _expire(tx) == 1
        second = started(other.database, lambda: other.claim("w1"))
    assert second() == []
    assert fleet.story(run_id) == ["created", "skipped"]


# -- deadline ----------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 38)
def test_a_deadline_fires_for_a_run_no_worker_ever_saw(fleet: Fleet) -> None:
    made = [
        fleet.enqueue(deadline_in=HOUR),
        fleet.enqueue(deadline_in=HOUR, delay=2 * HOUR),
        fleet.enqueue(deadline_in=HOUR, blocked="gate"),
    ]
    fleet.pass_time(HOUR - SECOND)
    assert fleet.tick().done("deadlines") == 0
    fleet.pass_time(SECOND)
    assert fleet.claim() == []  # the claim sees it too
    assert fleet.tick().done("deadlines") == 3
    assert {(run.state, run.reason, run.failures) for run in map(fleet.get, made)} == {(State.FAILED, "deadline", 0)}
    assert fleet.one("SELECT count(*) FROM dead_letters") == 0  # no budget was used up
    assert fleet.tick().done("deadlines") == 0


@pytest.mark.case("jobs", 29)
def test_neither_retries_nor_releases_move_a_deadline(fleet: Fleet) -> None:
    failing = fleet.running(deadline_in=HOUR)
    fleet.finish(failing, Failed(code="busy", message="", after_us=2 * HOUR))
    waiting = fleet.running(deadline_in=HOUR)
    fleet.finish(waiting, GaveItselfBack(after_us=2 * HOUR))
    fleet.pass_time(HOUR)
    assert fleet.tick().done("deadlines") == 2
    assert [(run.state, run.reason) for run in map(fleet.get, (failing.id, waiting.id))] == [(State.FAILED, "deadline")] * 2


@pytest.mark.parametrize("outcome", [Stopped(), Succeeded(b"1"), ERROR, Interrupted("shutdown", shutdown=True), GaveItselfBack()])
def test_a_run_at_work_is_asked_to_stop_and_then_fails_whatever_it_says(fleet: Fleet, outcome: object) -> None:
    held = fleet.running(deadline_in=HOUR)
    fleet.pass_time(HOUR)
    assert fleet.tick().done("deadlines") == 1
    run = fleet.get(held.id)
    assert (run.state, run.reason) == (State.CANCELLING, "deadline")
    (now,) = fleet.database.read("attempts.held", lambda tx: attempts.held(tx, "w1"))
    assert now.why == "deadline"
    assert fleet.tick().done("deadlines") == 0
    assert fleet.finish(held, outcome) == set()  # type: ignore[arg-type]
    run = fleet.get(held.id)
    assert (run.state, run.reason, run.failures) == (State.FAILED, "deadline", 1)
    assert fleet.one("SELECT count(*) FROM dead_letters") == 0


def test_a_run_at_its_deadline_whose_worker_is_dead_fails_without_it(fleet: Fleet) -> None:
    held = fleet.running(deadline_in=HOUR)
    fleet.pass_time(HOUR)
    fleet.tick()
    fleet.bury("w1")
    assert (fleet.get(held.id).state, fleet.get(held.id).reason) == (State.FAILED, "deadline")


def test_a_cancel_that_came_first_stays_a_cancel(fleet: Fleet) -> None:
    held = fleet.running(deadline_in=HOUR)
    fleet.cancel(held.id, reason="deadline")  # of whatever reason: it was asked for before its deadline
    fleet.pass_time(HOUR)
    assert fleet.tick().done("deadlines") == 0
    fleet.finish(held, Stopped())
    assert fleet.get(held.id).state is State.CANCELLED


def test_a_run_that_waits_for_a_person_has_time(fleet: Fleet) -> None:
    run_id = fleet.enqueue(deadline_in=HOUR)
    fleet.park(run_id)
    fleet.pass_time(HOUR)
    assert fleet.tick().done("deadlines") == 0
    fleet.resume(run_id)
    assert fleet.tick().done("deadlines") == 1
    assert fleet.get(run_id).reason == "deadline"


def test_a_key_is_free_when_its_run_is_over_its_deadline(fleet: Fleet) -> None:
    first = fleet.enqueue(key="k", singleton="s", deadline_in=HOUR)
    fleet.pass_time(HOUR)
    fleet.tick()
    assert fleet.enqueue(key="k", singleton="s") != first


def test_a_success_beside_an_open_deadline_changes_nothing_and_the_first_commit_wins(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running(deadline_in=HOUR)
    fleet.pass_time(HOUR)
    with open_transaction(fleet.database) as tx:
        assert deadlines.enforce(tx, most=10, actor="leader") == 1
        second = started(other.database, lambda: other.finish(held))
    assert second() == set()
    assert (fleet.get(held.id).state, fleet.get(held.id).reason) == (State.FAILED, "deadline")


def test_a_deadline_beside_an_open_success_finds_nothing(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running(deadline_in=HOUR)
    fleet.pass_time(HOUR)
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, held)
        second = started(other.database, lambda: other.database.write("deadlines.enforce", _enforce))
    assert second() == 0
    assert fleet.get(held.id).state is State.SUCCEEDED


@pytest.mark.case("jobs", 49)
def test_many_who_enforce_deadlines_do_it_once(fleet: Fleet, other: Fleet) -> None:
    for _ in range(5):
        late = fleet.enqueue_many(10, deadline_in=SECOND)
        stale = fleet.enqueue_many(10, expires_in=SECOND)
        fleet.pass_time(SECOND)
        passes = together(fleet.tick, other.tick, other.tick)
        for name, ids in (("deadlines", late), ("expiry", stale)):
            assert sum(made.done(name) for made in passes) == 10
            assert {len(fleet.story(run_id)) for run_id in ids} == {2}


def _expire(tx: Transaction) -> int:
    return deadlines.expire(tx, most=10, actor="leader")


def _enforce(tx: Transaction) -> int:
    return deadlines.enforce(tx, most=10, actor="leader")


# -- what is read ------------------------------------------------------------------------------------------------------

_STAGES = ("runs.due", "deadlines.expired", "deadlines.over", "deadlines.next")


@pytest.mark.parametrize("statement", _STAGES)
def test_no_stage_reads_idle_future_runs(fleet: Fleet, statement: str) -> None:
    """By what the database says of its plan: the head of one index, and not one row of those that wait for the future."""
    idle = (fleet.new(delay=HOUR, expires_in=2 * HOUR, deadline_in=3 * HOUR) for _ in range(4000))
    fleet.submit(*idle)
    fleet.submit(*(fleet.new() for _ in range(400)))
    if isinstance(fleet.database, SqliteDatabase):
        _check_sqlite(fleet.database, statement)
    else:
        _check_postgres(fleet, statement)


def _check_sqlite(database: SqliteDatabase, statement: str) -> None:
    sql = compile_sqlite(load("sqlite")[statement]).commands[0]
    with database.exclusive() as connection:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", {"now": 0, "most": 500}))
    assert "INDEX runs_" in plan, plan
    assert "TEMP B-TREE" not in plan, plan  # a sort would read them all
    assert not re.search(r"SCAN runs(?! USING)", plan), plan


def _check_postgres(fleet: Fleet, statement: str) -> None:
    assert isinstance(fleet.database, PostgresDatabase)
    sql = compile_postgres(load("postgres")[statement], skip_locked=True).commands[0]
    with connect(fleet.database) as session:
        session.execute("ANALYZE runs")
        found = session.execute(cast("Any", f"EXPLAIN (ANALYZE, BUFFERS OFF) {sql}"), {"most": 500}).fetchall()
    plan = "\n".join(row[0] for row in found)
    assert "Index" in plan, plan
    assert "Seq Scan on runs" not in plan, plan  # of the other tables, which are empty, it is as good as an index
    assert "Rows Removed" not in plan, plan


def test_both_are_asked_for_by_call_too(database: AnyDatabase) -> None:
    instants = database.read("deadlines.next", deadlines.next_instants)
    assert instants.first is None
    assert set(instants) == {None}
