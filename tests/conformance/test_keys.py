"""Who wins a key: idempotency keys, their retention, conflicts; singletons."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Succeeded, Unworkable
from mainspring.core.durations import DAY, HOUR, SECOND
from mainspring.core.states import State
from mainspring.errors import KeyActive, KeyConflict
from mainspring.operations import keys, retention
from tests.support.builders import Fleet

FATAL = Failed(code="bad_address", message="", final=True)


def test_the_owner_of_a_key_is_returned_untouched(fleet: Fleet) -> None:
    owner = fleet.enqueue(key="k")
    (created,) = fleet.submit(fleet.new(key="k", priority=9))
    assert (created.run_id, created.outcome) == (owner, "existing")
    assert (fleet.view(owner).priority, fleet.story(owner)) == (0, ["created"])
    assert fleet.one("SELECT count(*) FROM runs") == 1


@pytest.mark.parametrize("state", [State.RUNNING, State.RETRYING, State.RELEASED, State.SUCCEEDED, State.NEEDS_ATTENTION])
def test_a_key_answers_while_its_owner_is_alive_and_after_it_succeeded(fleet: Fleet, state: State) -> None:
    held = fleet.running(key="k")
    outcomes: dict[State, Outcome] = {
        State.RETRYING: Failed(code="error", message=""),
        State.RELEASED: GaveItselfBack(after_us=SECOND),
        State.SUCCEEDED: Succeeded(b"1"),
        State.NEEDS_ATTENTION: Unworkable("invalid_payload", ""),
    }
    if state in outcomes:
        fleet.finish(held, outcomes[state])
    assert fleet.get(held.id).state is state
    assert fleet.enqueue(key="k") == held.id


def test_a_cancelled_owner_keeps_its_key(fleet: Fleet) -> None:
    owner = fleet.enqueue(key="k")
    fleet.cancel(owner)
    assert fleet.enqueue(key="k") == owner


def test_an_owner_that_failed_after_it_was_asked_to_stop_keeps_its_key(fleet: Fleet) -> None:
    held = fleet.running(key="k")
    fleet.cancel(held.id)
    fleet.finish(held, FATAL)
    assert fleet.get(held.id).state is State.FAILED
    assert fleet.enqueue(key="k") == held.id


@pytest.mark.case("jobs", 6)
def test_a_key_whose_owner_failed_is_free_at_once(fleet: Fleet) -> None:
    held = fleet.running(key="k")
    fleet.finish(held, FATAL)
    assert fleet.enqueue(key="k") != held.id


@pytest.mark.case("jobs", 6)
def test_a_failure_with_budget_left_does_not_free_the_key(fleet: Fleet) -> None:
    held = fleet.running(key="k")
    fleet.finish(held, Failed(code="error", message=""))
    assert fleet.enqueue(key="k") == held.id


@pytest.mark.case("jobs", 6)
def test_a_key_whose_owner_was_pruned_answers_until_its_time_is_over(fleet: Fleet) -> None:
    held = fleet.running(key="k", key_ttl=2 * DAY)
    fleet.finish(held)
    ended_at = fleet.get(held.id).ended_at
    assert fleet.prune().runs == 1
    assert fleet.enqueue(key="k") == held.id
    assert fleet.sql("SELECT final_state, ended_at FROM idempotency_keys") == [("succeeded", ended_at)]
    fleet.pass_time(2 * DAY)
    assert fleet.enqueue(key="k") != held.id


@pytest.mark.case("jobs", 6)
def test_a_pruned_owners_key_still_refuses_another_payload(fleet: Fleet) -> None:
    held = fleet.running(key="k")
    fleet.finish(held)
    fleet.prune()
    with pytest.raises(KeyConflict):
        fleet.enqueue(key="k", body=b"[9]")


@pytest.mark.case("jobs", 7)
def test_a_keys_retention_is_the_one_captured_at_creation(fleet: Fleet) -> None:
    owner = fleet.running(key="k", key_ttl=1 * HOUR)
    fleet.finish(owner)
    fleet.pass_time(1 * HOUR - SECOND)
    assert fleet.enqueue(key="k", key_ttl=30 * DAY) == owner.id
    fleet.pass_time(SECOND)
    assert fleet.enqueue(key="k", key_ttl=30 * DAY) != owner.id


@pytest.mark.case("jobs", 7)
def test_a_live_owner_keeps_its_key_beyond_its_time_and_loses_it_at_its_end(fleet: Fleet) -> None:
    owner = fleet.running(key="k", key_ttl=HOUR)
    fleet.pass_time(2 * HOUR)
    assert fleet.enqueue(key="k") == owner.id
    fleet.finish(owner)
    assert fleet.enqueue(key="k") != owner.id


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "pruned"])
def test_a_key_that_is_held_while_active_is_free_at_every_end(fleet: Fleet, end: str) -> None:
    owner = fleet.running(key="k", key_ttl=0)
    assert fleet.enqueue(key="k", key_ttl=0) == owner.id
    if end == "cancelled":
        fleet.cancel(owner.id)
    fleet.finish(owner, FATAL if end == "failed" else Succeeded(b"1"))
    if end == "pruned":
        assert fleet.prune().runs == 1
    assert fleet.enqueue(key="k", key_ttl=0) != owner.id


def test_two_calls_of_one_transaction_with_a_key_that_is_held_while_active_are_one_run(fleet: Fleet) -> None:
    first, second = fleet.submit(fleet.new(key="k"), fleet.new(key="k"), key_ttl=0)
    assert (second.run_id, second.outcome) == (first.run_id, "existing")


@pytest.mark.case("jobs", 6)
def test_a_pruned_owner_answers_with_its_state_and_end(fleet: Fleet) -> None:
    held = fleet.running(key="k")
    fleet.finish(held)
    ended_at = fleet.get(held.id).ended_at
    fleet.prune()
    (answer,) = fleet.submit(fleet.new(key="k"))
    assert answer == (held.id, "existing", "succeeded", ended_at, 0)


@pytest.mark.case("jobs", 5)
def test_a_conflict_holds_both_payloads_for_whoever_can_read_them(fleet: Fleet) -> None:
    fleet.enqueue(key="k", body=b"[1]")
    with pytest.raises(KeyConflict) as refused:
        fleet.enqueue(key="k", body=b"[2]")
    assert refused.value.details["stored"] == (b"[1]", b"[2]")


# -- letting go by hand ------------------------------------------------------------------------------------------------


def reset(fleet: Fleet, key: str = "k") -> str | None:
    told = {"actor": "user:operator", "reason": "sent twice"}
    return fleet.database.write("keys.reset", lambda tx: keys.reset(tx, fleet.namespace, "work", key, **told))


@pytest.mark.case("jobs", 8)
@pytest.mark.parametrize("state", ["queued", "running", "retrying", "parked"])
def test_the_key_of_an_active_run_cannot_be_reset(fleet: Fleet, state: str) -> None:
    owner = fleet.enqueue(key="k")
    if state != "queued":
        (held,) = fleet.claim()
        if state != "running":
            fleet.finish(held, Failed(code="error", message="") if state == "retrying" else Unworkable("invalid_payload", ""))
    with pytest.raises(KeyActive) as refused:
        reset(fleet)
    assert refused.value.owner == owner
    assert fleet.enqueue(key="k") == owner


@pytest.mark.parametrize("pruned", [False, True], ids=["on record", "pruned"])
def test_a_key_that_was_reset_is_free_runs_nothing_and_is_on_record(fleet: Fleet, pruned: bool) -> None:
    held = fleet.running(key="k")
    fleet.finish(held)
    if pruned:
        fleet.prune()
    assert reset(fleet) == held.id
    assert fleet.claim() == []
    ((action, actor, data),) = fleet.sql("SELECT action, actor, data FROM audit_entries WHERE subject = 'key:work/k'")
    assert (action, actor, "sent twice" in data) == ("key.reset", "user:operator", True)
    assert fleet.enqueue(key="k") != held.id


def test_a_key_that_nobody_has_is_reset_to_no_effect(fleet: Fleet) -> None:
    assert reset(fleet) is None
    assert fleet.sql("SELECT * FROM audit_entries") == []


def test_the_current_owner_of_a_key_is_who_a_call_would_get(fleet: Fleet) -> None:
    def current() -> keys.Found | None:
        return fleet.database.read("keys.current", lambda tx: keys.current(tx, fleet.namespace, "work", "k"))

    assert current() is None
    held = fleet.running(key="k", key_ttl=HOUR)
    fleet.pass_time(2 * HOUR)
    assert current() == keys.Found(held.id)
    fleet.finish(held)
    assert current() is None


# -- conflicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 5)
def test_another_payload_is_refused_naming_the_owner_and_nothing_is_written(fleet: Fleet) -> None:
    owner = fleet.enqueue(key="k", body=b"[1]")
    with pytest.raises(KeyConflict) as refused:
        fleet.submit(fleet.new(), fleet.new(key="k", body=b"[2]"))
    assert refused.value.owner == owner
    assert fleet.one("SELECT count(*) FROM runs") == 1
    assert fleet.one("SELECT count(*) FROM idempotency_keys") == 1


def test_duplicates_inside_one_call_resolve_to_the_first(fleet: Fleet) -> None:
    first, second, third = fleet.submit(fleet.new(key="k"), fleet.new(key="k"), fleet.new(key="other"))
    assert (second.run_id, second.outcome) == (first.run_id, "existing")
    assert third.outcome == "created"


def test_one_key_names_one_run_for_each_task_and_namespace(fleet: Fleet) -> None:
    owners = {fleet.enqueue(key="k"), fleet.enqueue(key="k", task="other")}
    fleet.namespace = "elsewhere"
    owners.add(fleet.enqueue(key="k"))
    assert len(owners) == 3


def test_keys_whose_time_is_over_are_forgotten_but_not_while_their_owner_lives(fleet: Fleet) -> None:
    dead, alive = fleet.running(key="dead", key_ttl=HOUR), fleet.running(key="alive", key_ttl=HOUR)
    fleet.finish(dead)
    fleet.pass_time(HOUR + SECOND)
    fleet.database.write("retention.forget", lambda tx: retention.forget(tx, workers_before=0))
    assert fleet.sql("SELECT key FROM idempotency_keys") == [("alive",)]
    assert fleet.get(alive.id).state is State.RUNNING


# -- singletons --------------------------------------------------------------------------------------------------------


def test_a_second_singleton_gets_the_first(fleet: Fleet) -> None:
    first, second = fleet.submit(fleet.new(singleton="site")) + fleet.submit(fleet.new(singleton="site", body=b"[2]"))
    assert (second.run_id, second.outcome) == (first.run_id, "existing")


@pytest.mark.case("jobs", 11)
@pytest.mark.parametrize(
    "outcome",
    [
        Failed(code="error", message=""),
        GaveItselfBack(after_us=SECOND),
        Interrupted("worker_lost"),
        Unworkable("invalid_payload", ""),
    ],
    ids=["retrying", "released", "interrupted", "parked"],
)
def test_a_singleton_that_only_waits_still_excludes_a_second_one(fleet: Fleet, outcome: Outcome) -> None:
    held = fleet.running(singleton="site")
    fleet.finish(held, outcome)
    assert fleet.enqueue(singleton="site") == held.id


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "cancelled waiting", "failed parked"])
def test_every_end_frees_the_singleton(fleet: Fleet, end: str) -> None:
    held = fleet.running(singleton="site")
    match end:
        case "succeeded":
            fleet.finish(held)
        case "failed":
            fleet.finish(held, FATAL)
        case "cancelled":
            fleet.cancel(held.id)
            fleet.finish(held)
        case "cancelled waiting":
            fleet.finish(held, GaveItselfBack(after_us=HOUR))
            fleet.cancel(held.id)
        case _:
            fleet.finish(held, Unworkable("invalid_payload", ""))
            fleet.fail(held.id)
    assert fleet.get(held.id).is_terminal
    assert fleet.enqueue(singleton="site") != held.id


def test_the_idempotency_key_is_judged_before_the_singleton(fleet: Fleet) -> None:
    keyed = fleet.running(key="k", singleton="a")
    fleet.finish(keyed)
    fleet.enqueue(singleton="b")
    assert fleet.enqueue(key="k", singleton="b") == keyed.id


def test_a_run_refused_by_its_singleton_leaves_its_key_free(fleet: Fleet) -> None:
    owner = fleet.running(singleton="site")
    assert fleet.enqueue(key="k", singleton="site") == owner.id
    fleet.finish(owner)
    assert fleet.enqueue(key="k", singleton="site") != owner.id


def test_a_retry_of_a_singleton_takes_its_singleton_key_again(fleet: Fleet) -> None:
    held = fleet.running(singleton="site")
    fleet.finish(held, FATAL)
    again, _ = fleet.retry(held.id)
    assert fleet.enqueue(singleton="site") == again


def test_a_retry_takes_the_idempotency_key_again(fleet: Fleet) -> None:
    held = fleet.running(key="k")
    fleet.finish(held, FATAL)
    again, _ = fleet.retry(held.id)
    assert fleet.enqueue(key="k") == again


def test_a_retry_whose_key_has_a_new_owner_is_refused_naming_it(fleet: Fleet) -> None:
    held = fleet.running(key="k")
    fleet.finish(held, FATAL)
    owner = fleet.enqueue(key="k")
    with pytest.raises(KeyConflict) as refused:
        fleet.retry(held.id)
    assert refused.value.owner == owner


def test_a_retry_of_a_cancelled_run_takes_over_the_key_that_the_run_kept(fleet: Fleet) -> None:
    run_id = fleet.enqueue(key="k", singleton="site")
    fleet.cancel(run_id)
    again, made = fleet.retry(run_id)
    assert made
    assert fleet.enqueue(key="k") == again
