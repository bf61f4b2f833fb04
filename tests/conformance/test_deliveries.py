"""Deliveries on every database: written with the event, taken once, told again, given up; and claims because of a message.

Here: ``operations/deliveries`` and ``operations/dispatching``. Not here: transports and the process that executes
(``tests/transports``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mainspring.core.attempts import Failed, Unstarted
from mainspring.core.durations import DAY, SECOND
from mainspring.core.states import State
from mainspring.operations import deliveries, dispatching
from mainspring.operations.claims import Claimed, Claimer
from mainspring.operations.deliveries import Delivery
from mainspring.operations.dispatching import Taken, Verdict
from mainspring.operations.enqueue import create
from mainspring.store.database import Transaction, drive
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started, together

TIMEOUT = 60 * SECOND


def deliver(fleet: Fleet, queue: str = "main", *, timeout: int | None = None) -> None:
    """Have a queue delivered."""
    fleet.declare(queue)
    fleet.database.write(
        "deliveries.declare",
        lambda tx: deliveries.declare(tx, fleet.namespace, queue, dispatch="deferred", dispatch_timeout=timeout),
    )


def enqueue(fleet: Fleet, count: int = 1, **options: object) -> list[str]:
    """Create runs as a client does that has heard of deliveries."""
    new = [fleet.new(**options) for _ in range(count)]  # type: ignore[arg-type]

    def fn(tx: Transaction) -> None:
        fleet._intern(tx)
        drive(tx, deliveries.followed(create(new, {}), [run.id for run in new]))

    fleet.database.write("runs.create", fn)
    return [run.id for run in new]


def there(fleet: Fleet) -> dict[str, Delivery]:
    """Every delivery, by run."""
    found = fleet.database.read("deliveries.list", lambda tx: deliveries.listing(tx, fleet.namespace))
    return {each.run_id: each for each in found}


def take(fleet: Fleet, *queues: str, most: int = 100, database: AnyDatabase | None = None) -> list[Taken]:
    """What a relay takes."""
    wanted = queues or ("main",)
    return (database or fleet.database).write(
        "deliveries.take", lambda tx: dispatching.take(tx, fleet.namespace, wanted, most=most)
    )


def settle(fleet: Fleet, taken: Sequence[Taken], error: str | None = None) -> None:
    """Tell what the transport answered."""
    fleet.database.write("deliveries.settle", lambda tx: dispatching.settle(tx, [(each, error) for each in taken]))


def publish(fleet: Fleet, *queues: str) -> list[str]:
    """Take and publish what is due; the runs."""
    settle(fleet, taken := take(fleet, *queues))
    return [each.run_id for each in taken]


def who(fleet: Fleet, worker: str = "w9", *, tasks: Sequence[str] = ("work",)) -> Claimer:
    """A process that is called."""
    if worker not in fleet._workers:
        fleet.register(worker)
    return Claimer(
        worker_id=worker,
        namespace=fleet.namespace,
        queues={"main": None, "other": None},
        tasks=dict.fromkeys(tasks, 1),
    )


def message(fleet: Fleet, run_id: str, queue: str = "main", *, by: Claimer | None = None) -> tuple[Verdict, Claimed | None]:
    """A message about a run arrives."""
    claimer = by or who(fleet)
    return fleet.database.write("worker.turn", lambda tx: dispatching.claim(tx, claimer, run_id, queue))


def hurry(fleet: Fleet) -> None:
    """Let the time come at which something is to be done about each delivery, and be over for each reservation."""
    fleet.sql("UPDATE deliveries SET available_at = 0")
    fleet.sql("UPDATE reservations SET expires_at = 1")


def give_up(fleet: Fleet) -> int:
    return fleet.database.write(
        "deliveries.give_up", lambda tx: dispatching.give_up(tx, fleet.namespace, ["main"], most=100, actor="leader")
    )


# -- written with the event --------------------------------------------------------------------------------------------


def test_a_queued_run_has_its_delivery_in_the_transaction_that_made_it(fleet: Fleet) -> None:
    deliver(fleet)
    (run_id,) = enqueue(fleet)
    (plain,) = enqueue(fleet, queue="other")
    assert {key: each.state for key, each in there(fleet).items()} == {run_id: "pending"}
    assert fleet.get(plain).state is State.QUEUED


def test_a_rolled_back_enqueue_leaves_no_delivery(fleet: Fleet) -> None:
    deliver(fleet)
    new = fleet.new()

    def failing() -> None:
        with open_transaction(fleet.database) as tx:
            fleet._intern(tx)
            drive(tx, deliveries.followed(create([new], {}), [new.id]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert there(fleet) == {}


def test_every_way_back_into_the_queue_writes_a_delivery(fleet: Fleet) -> None:
    deliver(fleet)
    for outcome in (Unstarted(), Failed(code="error", message="again")):
        held = fleet.running()
        assert held.id not in there(fleet)
        fleet.finish(held, outcome)
        fleet.pass_time(DAY)
        fleet.make_due()
        assert there(fleet)[held.id].state == "pending"
        fleet.cancel(held.id)
        assert publish(fleet) == []  # and a run that is cancelled is told of to nobody
    run_id = fleet.enqueue()
    fleet.park(run_id)
    fleet.resume(run_id)
    assert there(fleet)[run_id].state == "pending"


@pytest.mark.case("jobs", 15)
def test_a_run_due_in_a_month_is_told_of_once_when_it_is_due(fleet: Fleet) -> None:
    deliver(fleet)
    (run_id,) = enqueue(fleet, delay=30 * DAY)
    assert there(fleet) == {}
    assert fleet.claim() == []
    fleet.pass_time(29 * DAY)
    assert fleet.make_due() == 0
    assert there(fleet) == {}
    fleet.pass_time(DAY + 1)
    assert [fleet.make_due(), fleet.make_due()] == [1, 0]
    assert publish(fleet) == [run_id]
    fleet.pass_time(dispatching.AGAIN_US - SECOND)
    assert publish(fleet) == []
    verdict, claimed = message(fleet, run_id)
    assert (verdict, claimed and claimed.token) == (Verdict.EXECUTED, 1)
    assert message(fleet, run_id)[0] is Verdict.LEASED


def test_a_relay_writes_what_somebody_created_who_had_not_heard_of_deliveries(fleet: Fleet) -> None:
    deliver(fleet)
    run_id = fleet.enqueue()
    assert there(fleet) == {}
    found = [
        fleet.database.write("deliveries.catch_up", lambda tx: dispatching.catch_up(tx, fleet.namespace, ["main"], most=10))
        for _ in range(2)
    ]
    assert found == [1, 0]
    assert publish(fleet) == [run_id]


# -- taken, published, told again --------------------------------------------------------------------------------------


def test_two_relays_take_each_delivery_once(fleet: Fleet, rival: AnyDatabase) -> None:
    deliver(fleet)
    runs = enqueue(fleet, 60)
    taken = together(*(lambda database=database: take(fleet, most=40, database=database) for database in (fleet.database, rival)))
    told = [each.run_id for part in taken for each in part]
    assert sorted(told) == sorted(set(told))
    assert set(told) <= set(runs)


def test_what_a_dead_relay_took_is_taken_again_and_its_late_word_changes_nothing(fleet: Fleet) -> None:
    deliver(fleet)
    enqueue(fleet)
    (first,) = take(fleet)
    assert take(fleet) == []
    fleet.pass_time(dispatching.CLAIM_US + 1)
    (second,) = take(fleet)
    settle(fleet, [first], "too late")
    assert there(fleet)[first.run_id].state == "claimed"
    settle(fleet, [second])
    assert there(fleet)[first.run_id].state == "published"


def test_a_refused_delivery_is_tried_again_later_and_later_and_is_dead_after_twenty(fleet: Fleet) -> None:
    deliver(fleet)
    (run_id,) = enqueue(fleet)
    delays, now = [], there(fleet)[run_id]
    for _ in range(dispatching.MOST_REFUSALS):
        (taken,) = take(fleet)
        settle(fleet, [taken], "no route")
        now = there(fleet)[run_id]
        delays.append(now.available_at - fleet.now)
        hurry(fleet)
    assert [round(delay / SECOND) for delay in delays[:4]] == [1, 2, 4, 8]
    assert max(delays) <= dispatching.LONGEST_BACKOFF_US
    assert (now.state, now.tries, now.error) == ("dead", 20, "no route")
    assert take(fleet) == []
    assert fleet.get(run_id).state is State.QUEUED  # nothing is spent, and a worker that polls may have it
    assert message(fleet, run_id)[0] is Verdict.EXECUTED


@pytest.mark.case("jobs", 46)
def test_a_lost_message_is_sent_again_and_the_run_parked_after_ten(fleet: Fleet) -> None:
    deliver(fleet)
    (run_id,) = enqueue(fleet)
    for _ in range(dispatching.MOST_LOST + 1):
        assert give_up(fleet) == 0
        assert publish(fleet) == [run_id]
        hurry(fleet)
    assert give_up(fleet) == 1
    run = fleet.get(run_id)
    assert (run.state, run.reason) == (State.NEEDS_ATTENTION, "dispatch_lost")
    assert (run.failures, run.interruptions, run.token) == (0, 0, 0)
    assert there(fleet) == {}
    fleet.resume(run_id)
    assert publish(fleet) == [run_id]


def test_a_run_that_a_poll_found_is_told_of_to_nobody(fleet: Fleet) -> None:
    deliver(fleet)
    (run_id,) = enqueue(fleet)
    fleet.claim()
    assert publish(fleet) == []
    assert run_id not in there(fleet)


def test_a_paused_queue_is_silent_until_it_is_resumed(fleet: Fleet) -> None:
    deliver(fleet)
    (run_id,) = enqueue(fleet)
    fleet.sql(f"UPDATE queues SET paused_at = {fleet.now}, paused_by = 'user:test' WHERE name = 'main'")
    fleet.pass_time(DAY)
    assert publish(fleet) == []
    fleet.sql("UPDATE queues SET paused_at = NULL, paused_by = NULL WHERE name = 'main'")
    assert publish(fleet) == [run_id]
    assert there(fleet)[run_id].lost == 0


# -- claimed because of a message --------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 46)
def test_a_stale_or_forged_message_executes_nothing(fleet: Fleet) -> None:
    deliver(fleet)
    (run_id,) = enqueue(fleet)
    (plain,) = enqueue(fleet, queue="other")
    assert message(fleet, fleet.new_id())[0] is Verdict.UNKNOWN
    assert message(fleet, run_id, "other")[0] is Verdict.UNKNOWN
    assert message(fleet, plain, "other")[0] is Verdict.UNKNOWN  # a queue without deliveries takes no messages
    assert message(fleet, run_id, by=replace(who(fleet), namespace="elsewhere"))[0] is Verdict.UNKNOWN
    assert message(fleet, run_id, by=replace(who(fleet), tasks={"something": 1}))[0] is Verdict.UNSERVED
    assert fleet.states([run_id, plain]) == [State.QUEUED, State.QUEUED]
    verdict, held = message(fleet, run_id)
    assert verdict is Verdict.EXECUTED
    assert held is not None
    assert message(fleet, run_id)[0] is Verdict.LEASED
    fleet.finish(held, worker="w9")
    assert message(fleet, run_id)[0] is Verdict.STALE
    assert fleet.story(run_id) == ["created", "claimed", "succeeded"]


def test_a_message_about_a_paused_or_full_queue_is_put_off_and_was_not_lost(fleet: Fleet) -> None:
    deliver(fleet)
    first, second = enqueue(fleet, 2)
    publish(fleet)
    fleet.sql(f"UPDATE queues SET paused_at = {fleet.now}, paused_by = 'user:test' WHERE name = 'main'")
    assert message(fleet, first)[0] is Verdict.PAUSED
    fleet.sql("UPDATE queues SET paused_at = NULL, paused_by = NULL WHERE name = 'main'")
    fleet.set_limit("main", 1)
    assert message(fleet, first)[0] is Verdict.EXECUTED
    assert message(fleet, second)[0] is Verdict.FULL
    assert (there(fleet)[second].state, there(fleet)[second].lost) == ("pending", 0)
    assert publish(fleet) == []
    fleet.pass_time(dispatching.PUT_OFF_US + 1)
    assert publish(fleet) == [second]


def test_of_two_messages_at_once_one_is_executed(fleet: Fleet) -> None:
    deliver(fleet)
    (run_id,) = enqueue(fleet)
    claimers = [who(fleet, "w8"), who(fleet, "w9")]
    verdicts = [verdict for verdict, _ in together(*(lambda by=by: message(fleet, run_id, by=by) for by in claimers))]
    assert sorted(verdicts) in ([Verdict.EXECUTED, Verdict.LEASED], [Verdict.EXECUTED, Verdict.FULL])
    assert fleet.get(run_id).token == 1


# -- bounded queues ----------------------------------------------------------------------------------------------------


def reserve(fleet: Fleet) -> int:
    return fleet.database.write(
        "deliveries.reserve", lambda tx: dispatching.reserve(tx, fleet.namespace, {"main": TIMEOUT}, most=100)
    )


def expire(fleet: Fleet, database: AnyDatabase | None = None) -> int:
    return (database or fleet.database).write("deliveries.expire", dispatching.expire)


def bounded(fleet: Fleet, size: int) -> None:
    deliver(fleet, timeout=TIMEOUT)
    fleet.set_limit("main", size)


def slots(fleet: Fleet) -> int:
    held = "SELECT count(*) FROM runs WHERE worker_id IS NOT NULL"
    return int(fleet.one("SELECT count(*) FROM reservations")) + int(fleet.one(held))


def test_a_bounded_queue_tells_of_as_many_runs_as_have_a_slot(fleet: Fleet) -> None:
    bounded(fleet, 2)
    runs = enqueue(fleet, 5)
    assert there(fleet) == {}
    assert [reserve(fleet), reserve(fleet)] == [2, 0]
    assert publish(fleet) == runs[:2]
    assert fleet.claim() == []  # what is reserved is taken
    _, held = message(fleet, runs[0])
    assert held is not None
    assert (slots(fleet), reserve(fleet)) == (2, 0)
    fleet.finish(held, worker="w9")
    assert reserve(fleet) == 1
    assert publish(fleet) == [runs[2]]


def test_a_reservation_that_expired_returns_its_slot_once(fleet: Fleet) -> None:
    bounded(fleet, 1)
    first, second = enqueue(fleet, 2)
    reserve(fleet)
    publish(fleet)
    assert expire(fleet) == 0
    fleet.pass_time(TIMEOUT + 1)
    assert [expire(fleet), expire(fleet)] == [1, 0]
    assert message(fleet, second)[0] is Verdict.EXECUTED  # a late claim of the first finds the slot taken
    assert message(fleet, first)[0] is Verdict.FULL
    assert fleet.states([first, second]) == [State.QUEUED, State.RUNNING]
    assert slots(fleet) == 1


def test_a_reservation_of_a_cancelled_run_is_given_back(fleet: Fleet) -> None:
    bounded(fleet, 1)
    first, second = enqueue(fleet, 2)
    reserve(fleet)
    fleet.cancel(first)
    assert expire(fleet) == 1
    assert reserve(fleet) == 1
    assert publish(fleet) == [second]


def test_a_dispatch_that_is_lost_ten_times_parks_a_bounded_run_too(fleet: Fleet) -> None:
    bounded(fleet, 1)
    (run_id,) = enqueue(fleet)
    for _ in range(dispatching.MOST_LOST + 1):
        assert (give_up(fleet), reserve(fleet), publish(fleet)) == (0, 1, [run_id])
        hurry(fleet)
        assert expire(fleet) == 1
    reserve(fleet)
    assert give_up(fleet) == 1
    assert (fleet.get(run_id).reason, expire(fleet), slots(fleet)) == ("dispatch_lost", 1, 0)


@pytest.mark.case("jobs", 47)
@pytest.mark.parametrize("first", ["claim", "expiry"])
def test_a_reservation_that_expires_as_its_worker_claims_is_a_slot_or_leaves_the_run_queued(
    fleet: Fleet, rival: AnyDatabase, first: str
) -> None:
    bounded(fleet, 1)
    run_id, other = enqueue(fleet, 2)
    reserve(fleet)
    publish(fleet)
    fleet.pass_time(TIMEOUT + 1)
    by = who(fleet)

    def claim(tx: Transaction) -> Verdict:
        return dispatching.claim(tx, by, run_id, "main")[0]

    if first == "claim":
        with open_transaction(fleet.database) as tx:
            assert claim(tx) is Verdict.EXECUTED
            freed = started(rival, lambda: expire(fleet, rival))
        assert freed() == 0
    else:
        with open_transaction(fleet.database) as tx:
            assert dispatching.expire(tx) == 1
            verdict = started(rival, lambda: rival.write("worker.turn", claim))
        assert verdict() is Verdict.EXECUTED  # the slot is free again, so it takes a fresh one
    assert (slots(fleet), fleet.states([run_id, other])) == (1, [State.RUNNING, State.QUEUED])
    assert (expire(fleet), slots(fleet)) == (0, 1)


@pytest.mark.case("jobs", 47)
def test_many_claims_against_many_expiries_never_exceed_the_limit(fleet: Fleet, rival: AnyDatabase) -> None:
    bounded(fleet, 3)
    runs = enqueue(fleet, 6)
    reserve(fleet)
    publish(fleet)
    fleet.pass_time(TIMEOUT + 1)
    claimers = [who(fleet, f"w{n}") for n in range(3)]
    calls = [lambda n=n: message(fleet, runs[n], by=claimers[n]) for n in range(3)]
    together(*calls, lambda: expire(fleet, rival), lambda: expire(fleet, rival), lambda: fleet.claim("w7", most=2))
    running = [state for state in fleet.states(runs) if state is State.RUNNING]
    assert len(running) <= 3
    expire(fleet)
    assert slots(fleet) == len(running)
