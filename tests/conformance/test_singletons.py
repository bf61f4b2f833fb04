"""At most one live run of a singleton: calls that are refused, that swap a payload, and that are kept for afterwards."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Succeeded, Unworkable
from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND
from mainspring.core.states import State
from mainspring.operations import keys
from mainspring.operations.creation import Created
from mainspring.store.database import Transaction
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started, together

FATAL = Failed(code="bad_address", message="", final=True)
ROUNDS = 5


@pytest.fixture
def other(fleet: Fleet, rival: AnyDatabase) -> Fleet:
    """The same fleet, seen from another process."""
    twin = Fleet(database=rival, clock=fleet.clock, lowered=fleet.lowered, _ids=fleet._ids)
    twin._lanes, twin._policies, twin._workers = fleet._lanes, fleet._policies, fleet._workers
    return twin


def replace(fleet: Fleet, body: bytes, **options: Any) -> Created:
    (answer,) = fleet.submit(fleet.new(singleton="site", body=body, **options), on_singleton="replace")
    return answer


def payload(fleet: Fleet, run_id: str) -> bytes:
    run = fleet.get(run_id)
    body = fleet.ledger(run_id)[run.payload_seq - 1].body
    assert body is not None
    return body


def finish(fleet: Fleet) -> list[bytes | None]:
    """Work until nothing is left; the payloads in the order in which they were handed out."""
    done: list[bytes | None] = []
    for _ in range(20):
        fleet.pass_time(HOUR)
        fleet.make_due()
        claimed = fleet.claim()
        if not claimed:
            return done
        done += [run.body for run in claimed]
        fleet.finish(claimed)
    raise AssertionError("it never ends")


# -- skip --------------------------------------------------------------------------------------------------------------


def test_a_skipped_call_is_on_record_and_never_runs(fleet: Fleet) -> None:
    owner = fleet.enqueue(singleton="site")
    (answer,) = fleet.submit(fleet.new(singleton="site", key="k"), on_singleton="skip")
    run = fleet.get(answer.run_id)
    assert (answer.outcome, run.state, run.reason, run.singleton_key) == ("skipped", State.SKIPPED, "superseded", "site")
    assert fleet.story(answer.run_id) == ["created"]
    assert [claimed.id for claimed in fleet.claim()] == [owner]


def test_a_skipped_call_leaves_its_idempotency_key_free(fleet: Fleet) -> None:
    held = fleet.running(singleton="site")
    (answer,) = fleet.submit(fleet.new(singleton="site", key="k"), on_singleton="skip")
    fleet.finish(held)
    (again,) = fleet.submit(fleet.new(singleton="site", key="k"), on_singleton="skip")
    assert (answer.outcome, again.outcome) == ("skipped", "created")


def test_of_several_calls_in_one_transaction_all_but_the_first_are_skipped(fleet: Fleet) -> None:
    answers = fleet.submit(*(fleet.new(singleton="site") for _ in range(3)), on_singleton="skip")
    assert [answer.outcome for answer in answers] == ["created", "skipped", "skipped"]
    assert len({answer.run_id for answer in answers}) == 3


# -- replace: the owner waits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", ["queued", "scheduled", "retrying", "released", "blocked"])
def test_the_payload_of_an_owner_that_waits_is_swapped_in_place(fleet: Fleet, wait: str) -> None:
    waits: dict[str, dict[str, Any]] = {"scheduled": {"delay": HOUR}, "blocked": {"blocked": "gate"}}
    options = waits.get(wait, {})
    owner = fleet.enqueue(singleton="site", body=b"[1]", **options)
    outcomes: dict[str, Outcome] = {"retrying": Failed(code="error", message=""), "released": GaveItselfBack(after_us=HOUR)}
    if wait in outcomes:
        (held,) = fleet.claim()
        fleet.finish(held, outcomes[wait])
    before = fleet.get(owner)
    assert before.state == wait
    answer = replace(fleet, b"[2]", delay=0 if wait != "scheduled" else 2 * HOUR)
    run = fleet.get(owner)
    assert (answer.run_id, answer.outcome) == (owner, "replaced")
    assert (run.state, run.reason, payload(fleet, owner)) == (before.state, before.reason, b"[2]")
    assert fleet.one("SELECT count(*) FROM runs") == 1


@pytest.mark.parametrize("outcome", [Failed(code="error", message=""), GaveItselfBack(after_us=HOUR)], ids=["retry", "release"])
def test_a_replacement_never_moves_a_back_off_or_a_release(fleet: Fleet, outcome: Outcome) -> None:
    held = fleet.running(singleton="site")
    fleet.finish(held, outcome)
    before = fleet.get(held.id)
    for options in ({}, {"delay": DAY}):
        assert replace(fleet, b"[2]", **options).outcome == "replaced"
        assert (fleet.get(held.id).due_at, fleet.get(held.id).state) == (before.due_at, before.state)


def test_the_last_call_says_when_the_run_is_due(fleet: Fleet) -> None:
    owner = replace(fleet, b"[1]").run_id
    place = fleet.get(owner).due_at
    replace(fleet, b"[2]")
    assert (fleet.get(owner).state, fleet.get(owner).due_at) == (State.QUEUED, place)
    replace(fleet, b"[3]", delay=HOUR)
    assert fleet.get(owner).state is State.SCHEDULED
    assert fleet.claim() == []
    replace(fleet, b"[4]", delay=2 * HOUR)
    assert fleet.get(owner).due_at > place + HOUR
    replace(fleet, b"[5]")
    assert fleet.get(owner).state is State.QUEUED
    assert [run.body for run in fleet.claim()] == [b"[5]"]
    assert fleet.story(owner) == ["created", *["replaced"] * 4, "claimed"]


def test_a_replaced_payload_brings_the_version_that_it_was_written_for(fleet: Fleet) -> None:
    owner = fleet.enqueue(singleton="site", body=b"[1]")
    replace(fleet, b"[2]", lane={"version": 2})
    assert fleet.view(owner).version == 2
    assert [run.body for run in fleet.claim()] == [b"[2]"]


def test_several_calls_in_one_transaction_are_one_run_with_the_last_payload(fleet: Fleet) -> None:
    calls = [fleet.new(singleton="site", body=b"[%d]" % n) for n in range(3)]
    answers = fleet.submit(*calls, on_singleton="replace")
    assert [(answer.run_id, answer.outcome) for answer in answers] == [
        (calls[0].id, "created"),
        (calls[0].id, "replaced"),
        (calls[0].id, "replaced"),
    ]
    assert [run.body for run in fleet.claim()] == [b"[2]"]


def test_a_call_that_replaces_leaves_its_idempotency_key_free(fleet: Fleet) -> None:
    owner = fleet.enqueue(singleton="site", key="mine", body=b"[1]")
    assert replace(fleet, b"[2]", key="k").outcome == "replaced"
    assert fleet.sql("SELECT key FROM idempotency_keys") == [("mine",)]
    assert replace(fleet, b"[1]", key="mine") == (owner, "existing", None, None, 0)


# -- replace: the owner was handed out ---------------------------------------------------------------------------------


@pytest.mark.case("jobs", 9)
@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "gone"])
def test_a_call_beside_a_running_owner_is_executed_afterwards_with_the_latest_payload_once(fleet: Fleet, end: str) -> None:
    held = fleet.running(singleton="site", body=b"[1]")
    first, second = replace(fleet, b"[2]"), replace(fleet, b"[3]")
    assert (first.outcome, second.outcome, first.run_id) == ("deferred", "deferred", second.run_id)
    assert fleet.claim() == []
    if end == "cancelled":
        fleet.cancel(held.id)
    if end == "gone":
        fleet.bury("w1")
        held = fleet.reclaim(held.id)
        assert held.body == b"[1]"
    fleet.finish(held, FATAL if end == "failed" else Succeeded(b"1"), worker="w1" if end != "gone" else "w2")
    assert fleet.get(held.id).is_terminal
    (claimed,) = fleet.claim("w3")
    assert (claimed.id, claimed.body) == (first.run_id, b"[3]")
    assert fleet.enqueue(singleton="site") == claimed.id
    fleet.finish(claimed, worker="w3")
    assert finish(fleet) == []


@pytest.mark.parametrize(
    "outcome",
    [Failed(code="error", message=""), GaveItselfBack(after_us=SECOND), Interrupted("worker_lost"), Unworkable("bad", "")],
    ids=["retrying", "released", "interrupted", "parked"],
)
def test_what_was_deferred_stays_deferred_until_the_owner_has_ended(fleet: Fleet, outcome: Outcome) -> None:
    held = fleet.running(singleton="site", body=b"[1]")
    promised = replace(fleet, b"[2]").run_id
    fleet.finish(held, outcome)
    assert replace(fleet, b"[3]") == (promised, "deferred", None, None, 0)
    assert payload(fleet, held.id) == b"[1]"
    fleet.cancel(held.id, reason="enough")
    assert finish(fleet) == [b"[3]"]


def test_an_owner_that_is_parked_keeps_its_payload(fleet: Fleet) -> None:
    held = fleet.running(singleton="site", body=b"[1]")
    fleet.finish(held, Unworkable("bad", ""))
    assert replace(fleet, b"[2]").outcome == "deferred"
    fleet.resume(held.id)
    assert finish(fleet) == [b"[1]", b"[2]"]


def test_a_deferred_call_keeps_its_due_time_and_its_policy_and_queue(fleet: Fleet) -> None:
    held = fleet.running(singleton="site")
    promised = replace(fleet, b"[2]", delay=HOUR, queue="slow", priority=7, deadline_in=DAY, trace="00-a-b-01").run_id
    now = fleet.now
    fleet.finish(held)
    view = fleet.view(promised)
    assert (view.run.state, view.queue, view.priority) == (State.SCHEDULED, "slow", 7)
    assert abs(view.run.due_at - now - HOUR) < MINUTE
    assert view.run.deadline_at is not None
    assert abs(view.run.deadline_at - now - DAY) < MINUTE
    assert fleet.ledger(promised)[0].data["trace"] == "00-a-b-01"


def test_a_deferred_call_whose_time_is_over_is_queued_at_once(fleet: Fleet) -> None:
    held = fleet.running(singleton="site")
    promised = replace(fleet, b"[2]", delay=MINUTE).run_id
    fleet.pass_time(HOUR)
    fleet.finish(held)
    assert [run.id for run in fleet.claim()] == [promised]


def test_a_promised_run_is_known_before_it_is_there(fleet: Fleet) -> None:
    held = fleet.running(singleton="site")
    promised = replace(fleet, b"[2]").run_id

    def is_deferred(run_id: str) -> bool:
        return fleet.database.read("keys.is_deferred", lambda tx: keys.is_deferred(tx, run_id))

    assert (is_deferred(promised), is_deferred(held.id)) == (True, False)
    fleet.finish(held)
    assert not is_deferred(promised)
    assert fleet.get(promised).state is State.QUEUED


def test_many_owners_that_end_together_are_each_followed_by_one(fleet: Fleet) -> None:
    held = [fleet.running(singleton=f"s{n}") for n in range(5)]
    calls = [fleet.new(singleton=f"s{n}", body=b"[%d]" % n) for n in range(4)]
    answers = fleet.submit(*calls, on_singleton="replace")
    fleet.finish(held)
    assert sorted(run.id for run in fleet.claim()) == sorted(answer.run_id for answer in answers)
    assert fleet.one("SELECT count(*) FROM singletons") == 4


# -- a call whose commit is unknown ------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 2)
@pytest.mark.parametrize("state", ["waiting", "running", "ended"])
def test_a_call_that_is_tried_again_does_what_it_did_once(fleet: Fleet, state: str) -> None:
    owner = fleet.running(singleton="site", body=b"[1]") if state != "waiting" else None
    if owner is None:
        fleet.enqueue(singleton="site", body=b"[1]")
    call, tried = fleet.new(singleton="site", body=b"[2]"), dict[str, Created]()

    def attempt() -> Created:
        (answer,) = fleet.submit(call, on_singleton="replace", tried=tried)
        return answer

    first = attempt()
    if state == "ended" and owner is not None:
        fleet.finish(owner)
    if state == "waiting":
        (owner,) = fleet.claim()
        assert owner.body == b"[2]"
    assert attempt() == first
    if state != "ended" and owner is not None:
        fleet.finish(owner)
    assert finish(fleet) == ([] if state == "waiting" else [b"[2]"])


@pytest.mark.case("jobs", 2)
def test_a_call_whose_first_try_came_to_nothing_is_done_by_the_second(fleet: Fleet) -> None:
    fleet.enqueue(singleton="site", body=b"[1]")
    call, tried = fleet.new(singleton="site", body=b"[2]"), dict[str, Created]()

    def vain(tx: Transaction) -> None:
        fleet.create(tx, [call], on_singleton="replace", tried=tried)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fleet.database.write("runs.create", vain)
    assert tried
    fleet.submit(call, on_singleton="replace", tried=tried)
    assert finish(fleet) == [b"[2]"]


# -- two at once -------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 9)
def test_a_replacement_that_waits_for_an_open_claim_is_deferred(fleet: Fleet, other: Fleet) -> None:
    owner = fleet.enqueue(singleton="site", body=b"[1]")
    fleet.register("w1")
    fleet.new(singleton="site")
    with open_transaction(fleet.database) as tx:
        (held,) = fleet.claim_in(tx, "w1")
        second = started(other.database, lambda: replace(other, b"[2]"))
    answer = second()
    assert (held.id, held.body, answer.outcome) == (owner, b"[1]", "deferred")
    fleet.finish(held)
    assert finish(fleet) == [b"[2]"]


@pytest.mark.case("jobs", 9)
def test_a_claim_beside_an_open_replacement_gets_the_new_payload_or_leaves_the_run(fleet: Fleet, other: Fleet) -> None:
    owner = fleet.enqueue(singleton="site", body=b"[1]")
    fleet.register("w2")
    call = fleet.new(singleton="site", body=b"[2]")
    with open_transaction(fleet.database) as tx:
        (answer,) = fleet.create(tx, [call], on_singleton="replace")
        second = started(other.database, lambda: other.claim("w2"))
    assert (answer.run_id, answer.outcome) == (owner, "replaced")
    claimed = second() or fleet.claim("w2")
    assert [(run.id, run.body) for run in claimed] == [(owner, b"[2]")]


@pytest.mark.case("jobs", 9)
def test_claims_and_replacements_let_loose_lose_no_last_payload_and_run_it_once(fleet: Fleet, other: Fleet) -> None:
    fleet.register("w1")
    fleet.register("w2")
    for round_ in range(ROUNDS):
        replace(fleet, b"[0]")
        calls = [fleet.new(singleton="site", body=b"[%d, %d]" % (round_, n)) for n in range(3)]
        send = [partial(other.submit, call, on_singleton="replace") for call in calls]
        *answers, mine, theirs = together(*send, partial(fleet.claim, "w1"), partial(other.claim, "w2"))
        for worker, held in (("w1", mine), ("w2", theirs)):
            if held:
                fleet.finish(held, worker=worker)
        done = [run.body for run in [*mine, *theirs]] + finish(fleet)
        outcomes = [answer.outcome for (answer,) in answers]
        assert len(done) == len(set(done)) == 1 + ("deferred" in outcomes), (outcomes, done)
        assert done[-1] in {call.body for call in calls}


@pytest.mark.case("jobs", 9)
def test_a_replacement_beside_an_open_finish_follows_it_or_is_a_run_of_its_own(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running(singleton="site", body=b"[1]")
    with open_transaction(fleet.database) as tx:
        fleet.finish_in(tx, held)
        second = started(other.database, lambda: replace(other, b"[2]"))
    assert second().outcome == "created"
    assert finish(fleet) == [b"[2]"]


@pytest.mark.case("jobs", 9)
def test_a_finish_that_waits_for_an_open_deferral_creates_what_was_deferred(fleet: Fleet, other: Fleet) -> None:
    held = fleet.running(singleton="site", body=b"[1]")
    call = fleet.new(singleton="site", body=b"[2]")
    with open_transaction(fleet.database) as tx:
        (answer,) = fleet.create(tx, [call], on_singleton="replace")
        second = started(other.database, lambda: other.finish(held))
    assert (answer.outcome, second()) == ("deferred", set())
    assert finish(fleet) == [b"[2]"]


def test_finishes_and_replacements_let_loose_leave_one_live_run_at_most(fleet: Fleet, other: Fleet) -> None:
    for round_ in range(ROUNDS):
        held = fleet.running(singleton="site", body=b"[0]")
        calls = [fleet.new(singleton="site", body=b"[%d, %d]" % (round_, n)) for n in range(3)]
        send = [partial(other.submit, call, on_singleton="replace") for call in calls]
        together(*send, partial(fleet.finish, held))
        assert fleet.one("SELECT count(*) FROM runs WHERE ended_at IS NULL") == 1
        assert len(finish(fleet)) == 1


def test_calls_of_many_singletons_in_opposite_orders_do_not_stop_each_other(fleet: Fleet, other: Fleet) -> None:
    names = [f"s{n}" for n in range(8)]
    fleet.submit(*(fleet.new(singleton=name) for name in reversed(names)))
    for _ in range(3):
        forth = [fleet.new(singleton=name, body=b"[1]") for name in names]
        back = [fleet.new(singleton=name, body=b"[2]") for name in reversed(names)]
        send = [partial(fleet.submit, *forth, on_singleton="replace"), partial(other.submit, *back, on_singleton="replace")]
        assert {answer.outcome for answers in together(*send) for answer in answers} == {"replaced"}
