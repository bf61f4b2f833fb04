"""Creating runs: one, many, again after an unknown commit, due later, in the caller's own transaction."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import psycopg
import pytest
from psycopg.rows import dict_row

from mainspring.core.attempts import Failed
from mainspring.core.durations import DAY, HOUR, SECOND
from mainspring.core.policy import Policy
from mainspring.core.retry import fixed
from mainspring.core.states import State
from mainspring.errors import KeyConflict, MainspringError
from mainspring.operations import views
from mainspring.operations.creation import NewRun, insertion_alike
from mainspring.store.postgres import PostgresDatabase
from tests.support.builders import AnyDatabase, Fleet, open_transaction


def test_an_enqueued_run_is_queued_and_due_at_once(fleet: Fleet) -> None:
    run = fleet.get(fleet.enqueue())
    assert (run.state, run.token, run.seq, run.reason) == (State.QUEUED, 0, 1, None)
    assert run.due_at == run.created_at


def test_a_run_keeps_its_payload_byte_for_byte(fleet: Fleet) -> None:
    body = bytes(range(256)) * 300
    run_id = fleet.enqueue(body=body)
    (claimed,) = fleet.claim()
    assert claimed.body == body
    assert fleet.ledger(run_id)[0].body == body


@pytest.mark.parametrize("text", ['"', "\\", "{}", "a,b", "NULL", "%s", ":name", "ünïcode 🚀", "'; DROP TABLE runs; --", " x "])
def test_a_key_of_any_letters_comes_back_as_it_was(fleet: Fleet, text: str) -> None:
    first = fleet.enqueue(key=text, singleton=text)
    run = fleet.get(first)
    assert (run.idempotency_key, run.singleton_key) == (text, text)
    assert fleet.enqueue(key=text) == first


def test_many_runs_are_created_in_one_transaction_and_answered_in_order(fleet: Fleet) -> None:
    new = [fleet.new(body=str(n).encode()) for n in range(250)]
    created = fleet.submit(*new)
    assert [each.run_id for each in created] == [each.id for each in new]
    assert {each.outcome for each in created} == {"created"}
    assert fleet.one("SELECT count(*) FROM events WHERE type = 'created'") == 250


def test_enqueueing_nothing_writes_nothing(fleet: Fleet) -> None:
    assert fleet.submit() == []
    assert fleet.one("SELECT count(*) FROM runs") == 0


@pytest.mark.case("jobs", 2)
def test_a_call_repeated_with_the_same_id_creates_one_run(fleet: Fleet) -> None:
    new = fleet.new()
    fleet.submit(new)
    fleet.submit(new)
    assert fleet.one("SELECT count(*) FROM runs") == 1
    assert fleet.story(new.id) == ["created"]


def quickly(fleet: Fleet, run: NewRun, actor: str | None = "user:test") -> int:
    """Create a plain run by the statement made for many of them, as a client does."""
    fleet.enqueue(queue="other")  # so that its lane and policy are there
    query = insertion_alike(run.lane_id, run.policy_id, cast("str", actor), [(run.id, b"[]")])
    single = getattr(fleet.database, "single", None)
    if single is not None:
        return int(single("runs.create", query.statement, **query.params))
    return fleet.database.write("runs.create", lambda tx: tx.execute(query.statement, **query.params))


@pytest.mark.case("jobs", 2)
def test_the_quick_way_in_taken_twice_creates_one_run_and_says_so(fleet: Fleet) -> None:
    new = fleet.new()
    assert (quickly(fleet, new), quickly(fleet, new)) == (1, 0)
    assert fleet.story(new.id) == ["created"]


def test_the_quick_way_in_leaves_no_run_without_its_event(fleet: Fleet) -> None:
    new = fleet.new()
    with pytest.raises((MainspringError, psycopg.IntegrityError)):
        quickly(fleet, new, actor=None)
    assert fleet.one("SELECT count(*) FROM runs WHERE id = '" + new.id + "'") == 0


@pytest.mark.case("jobs", 2)
@pytest.mark.parametrize("keys", [{"key": "k"}, {"singleton": "s"}, {"key": "k", "singleton": "s"}], ids="+".join)
def test_a_repeated_call_with_keys_is_told_it_created_the_run(fleet: Fleet, keys: dict[str, Any]) -> None:
    new = fleet.new(**keys)
    assert fleet.submit(new) == fleet.submit(new)


@pytest.mark.case("jobs", 2)
def test_a_repeated_call_leaves_a_run_that_was_claimed_meanwhile_as_it_is(fleet: Fleet) -> None:
    new = fleet.new()
    fleet.submit(new)
    (claimed,) = fleet.claim()
    fleet.submit(new)
    assert fleet.get(new.id).state is State.RUNNING
    assert fleet.finish(claimed) == set()


@pytest.mark.case("jobs", 2)
def test_a_repeated_call_does_not_take_the_singleton_for_a_run_that_has_ended(fleet: Fleet) -> None:
    new = fleet.new(singleton="site")
    fleet.submit(new)
    fleet.finish(fleet.claim())
    fleet.submit(new)
    assert fleet.enqueue(singleton="site") != new.id


@pytest.mark.case("jobs", 2)
def test_a_repeated_call_does_not_take_the_key_for_a_run_that_has_failed(fleet: Fleet) -> None:
    new = fleet.new(key="order-7")
    fleet.submit(new)
    fleet.finish(fleet.claim(), Failed(code="bad_address", message="", final=True))
    fleet.submit(new)
    assert fleet.enqueue(key="order-7") != new.id


def test_a_delayed_run_is_scheduled_and_cannot_be_claimed_before(fleet: Fleet) -> None:
    run = fleet.get(fleet.enqueue(delay=10 * SECOND))
    assert (run.state, run.due_at - run.created_at) == (State.SCHEDULED, 10 * SECOND)
    assert fleet.claim() == []


def test_a_run_may_be_due_at_an_instant(fleet: Fleet) -> None:
    at = fleet.now + HOUR
    run = fleet.get(fleet.enqueue(due_at=at))
    assert (run.state, run.due_at) == (State.SCHEDULED, at)


def test_an_instant_in_the_past_is_now(fleet: Fleet) -> None:
    run = fleet.get(fleet.enqueue(due_at=fleet.now - DAY))
    assert (run.state, run.due_at) == (State.QUEUED, run.created_at)


def test_a_policy_is_captured_and_comes_back_with_the_run(fleet: Fleet) -> None:
    policy = Policy(backoff=fixed("7s"), timeout_us=3 * SECOND)
    run = fleet.get(fleet.enqueue(policy=policy))
    assert fleet.database.read("policies", lambda tx: views.policies(tx, [run.policy_id])) == {run.policy_id: policy}


@pytest.mark.case("jobs", 1)
def test_a_run_enqueued_in_a_transaction_that_rolls_back_never_existed(fleet: Fleet, database: AnyDatabase) -> None:
    new = fleet.new(key="k", singleton="s")
    with suppress(ZeroDivisionError), open_transaction(database) as tx:
        fleet.create(tx, [new])
        raise ZeroDivisionError
    assert fleet.claim() == []
    assert fleet.enqueue(key="k", singleton="s") != new.id


@pytest.mark.case("jobs", 1)
def test_a_run_enqueued_in_a_transaction_that_commits_is_found_without_a_hint(fleet: Fleet, database: AnyDatabase) -> None:
    new = fleet.new()
    with open_transaction(database) as tx:
        fleet.create(tx, [new])
    assert [claimed.id for claimed in fleet.claim()] == [new.id]


@pytest.mark.case("jobs", 1)
def test_a_callers_own_connection_needs_none_of_our_settings(fleet: Fleet, database: AnyDatabase) -> None:
    if not isinstance(database, PostgresDatabase):
        return  # on SQLite the caller's connection is one that we handed out
    first, same, other = fleet.new(key="k", singleton="s"), fleet.new(key="k"), fleet.new(singleton="s")
    with psycopg.connect(database.conninfo, row_factory=dict_row) as theirs:
        tx = database.transaction_on(theirs)
        created = fleet.create(tx, [first, same, other])
        again = fleet.create(tx, [first])
    assert [(each.run_id, each.outcome) for each in created] == [
        (first.id, "created"),
        (first.id, "existing"),
        (first.id, "existing"),
    ]
    assert [(each.run_id, each.outcome) for each in again] == [(first.id, "created")]


@pytest.mark.case("jobs", 12)
def test_one_bad_item_refuses_all(fleet: Fleet) -> None:
    fleet.enqueue(key="taken", body=b"[1]")
    good, bad = fleet.new(), fleet.new(key="taken", body=b"[2]")
    with pytest.raises(KeyConflict):
        fleet.submit(good, bad)
    assert fleet.one("SELECT count(*) FROM runs") == 1
