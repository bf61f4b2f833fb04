"""Limits of every scope, rates, and fairness between keys, at the claim."""

import threading

import pytest

from mainspring.core import ids
from mainspring.core import lanes as numbering
from mainspring.core.attempts import Unstarted
from mainspring.core.claiming import RESERVES_AFTER, STARVES_AFTER
from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND
from mainspring.core.limits import Limit, Measure, Rate, Scope
from mainspring.operations import claims, limits
from mainspring.operations.claims import Claimed, Claimer, Walk
from mainspring.operations.enqueue import interned
from mainspring.store.database import drive
from mainspring.store.postgres import PostgresDatabase
from tests.support.builders import AnyDatabase, Fleet


def put(
    fleet: Fleet, scope: Scope, name: str, limit: Limit | Rate | None, *, key: str = "", measure: Measure = Measure.AT_ONCE
) -> None:
    measure = measure if limit is None else limit.measure
    fleet.database.write(
        "limits.set",
        lambda tx: limits.put(tx, fleet.namespace, scope, name, limit, key=key, measure=measure, actor="user:operator"),
    )


def keyed(fleet: Fleet, key: str, count: int = 1, **options: object) -> list[str]:
    """Queue runs of one concurrency key."""
    new = [fleet.new(lane={"concurrency_key": key}, **options) for _ in range(count)]  # type: ignore[arg-type]
    return [made.run_id for made in fleet.submit(*new)]


def keys_of(fleet: Fleet, held: list[Claimed]) -> list[str]:
    return sorted(fleet.lane(run).concurrency_key or "" for run in held)


def claim_all(fleet: Fleet, who: Claimer, walk: Walk, most: int) -> claims.Claim:
    return fleet.database.write("attempts.claim", lambda tx: claims.claim(tx, who, walk, most=most))


def claimer(fleet: Fleet, name: str = "w1", **changed: object) -> Claimer:
    told: dict[str, object] = {"worker_id": name, "namespace": fleet.namespace, "queues": {"main": None}, "tasks": {"work": 1}}
    fleet.register(name)
    return Claimer(**told | changed)  # type: ignore[arg-type]


# -- at once -----------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 22)
def test_a_total_above_limits_of_keys_holds_for_both(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Limit(5), Limit(2, each_key=True)])
    for key in "abcd":
        keyed(fleet, key, 4)
    held = fleet.claim()
    assert len(held) == 5
    assert max(keys_of(fleet, held).count(key) for key in "abcd") <= 2
    assert fleet.claim("w2") == []
    fleet.finish(held)
    assert len(fleet.claim("w2")) == 5


@pytest.mark.case("jobs", 22)
@pytest.mark.parametrize(
    ("scope", "name"), [(Scope.TOTAL, ""), (Scope.NAMESPACE, ""), (Scope.QUEUE, "main"), (Scope.TASK, "work"), (Scope.POOL, "gpu")]
)
def test_a_limit_of_every_scope_holds(fleet: Fleet, scope: Scope, name: str) -> None:
    put(fleet, scope, name, Limit(3))
    fleet.submit(*[fleet.new(lane={"uses": (("gpu", 1),)}) for _ in range(5)])
    held = fleet.claim()
    assert len(held) == 3
    fleet.finish(held[0])
    assert len(fleet.claim("w2")) == 1


def test_a_limit_of_one_key_comes_before_that_of_each(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Limit(1, each_key=True)])
    put(fleet, Scope.KEY, "main", Limit(3), key="vip")
    keyed(fleet, "vip", 5)
    keyed(fleet, "other", 5)
    assert keys_of(fleet, fleet.claim()) == ["other", "vip", "vip", "vip"]


def test_a_full_limit_hides_nothing_that_could_run(fleet: Fleet) -> None:
    put(fleet, Scope.TASK, "work", Limit(1))
    fleet.enqueue_many(50)
    behind = fleet.submit(fleet.new(task="other", priority=-5))[0].run_id
    held = fleet.claim()
    assert (len(held), behind in {run.id for run in held}) == (2, True)


@pytest.mark.case("jobs", 17)
@pytest.mark.case("jobs", 18)
def test_a_late_finish_frees_nothing_of_the_attempt_that_replaced_it(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Limit(1, each_key=True)])
    keyed(fleet, "k", 2)
    (first,) = fleet.claim("w1")
    fleet.bury("w1")
    (second,) = fleet.claim("w2")
    assert fleet.claim("w3") == []
    assert fleet.finish(first) == {first.id}
    assert fleet.claim("w3") == []
    assert fleet.finish(second, worker="w2") == set()
    assert len(fleet.claim("w3")) == 1


@pytest.mark.case("jobs", 17)
def test_claimers_let_loose_on_keys_never_hold_more_than_each_may(fleet: Fleet, other: Fleet, database: AnyDatabase) -> None:
    fleet.declare("main", limits=[Limit(1, each_key=True), Limit(4)])
    for key in "abcdefgh":
        keyed(fleet, key, 6)
    left = threading.Semaphore(48)
    broken: list[str] = []

    def work(each: Fleet, name: str) -> None:
        who, walk = claimer(each, name), Walk(place=hash(name) % 10**6)
        for _ in range(400):
            claim = claim_all(each, who, walk, 3)
            for run in claim.runs:
                if not left.acquire(blocking=False):
                    broken.append(run.id)
                each.finish(run, worker=name)
            if not left._value:
                return

    other._lanes, other._policies = fleet._lanes, fleet._policies
    crowd = [threading.Thread(target=work, args=(side, f"w{n}")) for n, side in enumerate([fleet, other])]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(60)
    assert broken == []
    assert fleet.sql("SELECT count(*) FROM runs WHERE state = 'succeeded'") == [(48,)]


@pytest.mark.case("jobs", 20)
def test_a_pool_that_shrinks_stops_nothing_and_one_that_grows_opens_at_once(fleet: Fleet) -> None:
    put(fleet, Scope.POOL, "gpu", Limit(4))
    fleet.submit(*[fleet.new(lane={"uses": (("gpu", 2),)}) for _ in range(4)])
    held = fleet.claim()
    assert len(held) == 2
    put(fleet, Scope.POOL, "gpu", Limit(2))
    fleet.lowered.add("gpu")
    fleet.finish(held[0])
    assert fleet.claim("w2") == []
    put(fleet, Scope.POOL, "gpu", Limit(6))
    fleet.lowered.clear()
    assert len(fleet.claim("w2")) == 2


@pytest.mark.case("jobs", 21)
def test_a_deploy_leaves_what_an_operator_changed_until_it_is_reset(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Limit(3, each_key=True)])
    put(fleet, Scope.EACH_KEY, "main", Limit(1))
    fleet.declare("main", limits=[Limit(3, each_key=True)])
    keyed(fleet, "k", 3)
    assert len(fleet.claim()) == 1
    reset = fleet.database.write(
        "limits.reset",
        lambda tx: limits.reset(tx, fleet.namespace, Scope.EACH_KEY, "main", measure=Measure.AT_ONCE, actor="user:operator"),
    )
    fleet.declare("main", limits=[Limit(3, each_key=True)])
    assert reset
    assert len(fleet.claim("w2")) == 2


# -- several units -----------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 26)
def test_a_run_that_needs_four_is_not_passed_for_ever_by_runs_that_need_one(fleet: Fleet) -> None:
    put(fleet, Scope.POOL, "gpu", Limit(4))
    fleet.submit(*[fleet.new(lane={"uses": (("gpu", 1),)}) for _ in range(4)])
    held = fleet.claim()
    wide = fleet.submit(fleet.new(lane={"uses": (("gpu", 4),)}))[0].run_id
    fleet.submit(*[fleet.new(lane={"uses": (("gpu", 1),)}) for _ in range(20)])
    fleet.finish(held.pop())
    passing = fleet.claim()
    assert len(passing) == 1, "before its minute is over it may be passed"
    held += passing
    fleet.pass_time(RESERVES_AFTER)
    begun: list[Claimed] = []
    while held:
        fleet.register("w1")
        fleet.finish(held.pop())
        begun = fleet.claim()
        assert [run.id for run in begun] == ([] if held else [wide])
    fleet.finish(begun)
    assert len(fleet.claim()) == 4


def test_a_reservation_ends_with_the_run_that_it_was_for(fleet: Fleet) -> None:
    put(fleet, Scope.POOL, "gpu", Limit(4))
    fleet.submit(*[fleet.new(lane={"uses": (("gpu", 1),)}) for _ in range(4)])
    held = fleet.claim()
    wide = fleet.submit(fleet.new(lane={"uses": (("gpu", 4),)}))[0].run_id
    fleet.pass_time(RESERVES_AFTER)
    fleet.submit(fleet.new(lane={"uses": (("gpu", 1),)}))
    fleet.finish(held.pop())
    assert fleet.claim() == []
    fleet.cancel(wide)
    fleet.sweep()
    assert len(fleet.claim()) == 1


# -- rates -------------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 27)
def test_a_rate_holds_across_workers_and_says_when_it_opens(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Rate(1, per="1h", burst=2)])
    fleet.enqueue_many(5)
    walks = {name: Walk() for name in ("w1", "w2")}
    first = claim_all(fleet, claimer(fleet, "w1"), walks["w1"], 100)
    refused = claim_all(fleet, claimer(fleet, "w2"), walks["w2"], 100)
    assert (len(first.runs), refused.runs) == (2, [])
    assert refused.opens_in is not None
    assert HOUR - MINUTE < refused.opens_in <= HOUR
    fleet.pass_time(refused.opens_in)
    assert len(claim_all(fleet, claimer(fleet, "w2"), walks["w2"], 100).runs) == 1


@pytest.mark.case("jobs", 27)
def test_each_key_has_a_rate_of_its_own(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Rate(1, per="1m", each_key=True)])
    for key in "abc":
        keyed(fleet, key, 3)
    assert keys_of(fleet, fleet.claim()) == ["a", "b", "c"]
    assert fleet.claim("w2") == []
    fleet.pass_time(MINUTE)
    fleet.register("w2")
    assert keys_of(fleet, fleet.claim("w2")) == ["a", "b", "c"]


def test_a_run_that_is_given_back_unstarted_spends_nothing_of_its_rate(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Rate(1, per="1h")])
    fleet.pass_time(1)
    fleet.enqueue()
    (held,) = fleet.claim()
    fleet.finish(held, Unstarted())
    assert len(fleet.claim("w2")) == 1


def test_a_run_that_was_claimed_before_a_rate_was_set_gives_nothing_back_to_it(fleet: Fleet) -> None:
    fleet.enqueue_many(3)
    before = fleet.claim("w1", most=2)
    fleet.pass_time(1)
    fleet.declare("main", limits=[Rate(1, per="1h")])
    fleet.pass_time(1)
    assert len(fleet.claim("w2")) == 1
    fleet.finish(before, Unstarted())
    assert fleet.claim("w3") == []


@pytest.mark.case("jobs", 27)
def test_no_window_of_a_strict_rate_holds_more_than_its_number(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Rate(4, per="100s", burst=4, strict=True)])
    fleet.enqueue_many(30)
    begun: list[int] = []
    for step in range(20):
        begun += [step] * len(fleet.claim("w1"))
        fleet.pass_time(10 * SECOND)
        fleet.sql("UPDATE workers SET expires_at = expires_at + 10000000")
    assert len(begun) >= 8
    assert all(begun.count(step) + sum(begun.count(step + more) for more in range(1, 10)) <= 4 for step in range(20)), begun


@pytest.mark.case("jobs", 28)
def test_a_closed_rate_slows_everybody_who_shares_it_and_never_opens_earlier(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Rate(1000, per="1s", burst=10)])
    fleet.enqueue_many(2)
    fleet.submit(fleet.new(task="other"))

    def close(until: int) -> None:
        def shut(tx: object) -> None:
            known = limits.load(tx, fleet.namespace)  # type: ignore[arg-type]
            limits.close(tx, known, next(iter(fleet._lanes.values())), until=tx.now + until)  # type: ignore[arg-type, attr-defined]

        fleet.database.write("limits.close", shut)

    close(5 * SECOND)
    close(1 * SECOND)
    assert fleet.claim() == []
    fleet.pass_time(4 * SECOND)
    fleet.register("w2")
    assert fleet.claim("w2") == []
    fleet.pass_time(SECOND)
    begun = len(fleet.claim("w2"))
    fleet.pass_time(SECOND)
    assert (begun > 0, begun + len(fleet.claim("w2"))) == (True, 3)


# -- fairness ----------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 23)
@pytest.mark.parametrize("limited", [False, True])
def test_a_noisy_key_delays_another_key_by_one_round_only(fleet: Fleet, limited: bool) -> None:
    if limited:
        fleet.declare("main", limits=[Limit(1_000)])
    keyed(fleet, "noisy", 500)
    (quiet,) = keyed(fleet, "quiet")
    who, walk = claimer(fleet), Walk()
    begun: list[str] = []
    for _ in range(3):
        begun += [run.id for run in claim_all(fleet, who, walk, 1).runs]
    assert quiet in begun[:2], "one round of two keys"


@pytest.mark.case("jobs", 23)
def test_a_full_key_with_many_runs_is_passed_over_whole(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Limit(1, each_key=True)])
    keyed(fleet, "full", 300)
    assert len(fleet.claim()) == 1
    (other,) = keyed(fleet, "other")
    assert [run.id for run in fleet.claim("w2", most=1)] == [other]


@pytest.mark.case("jobs", 24)
def test_a_key_that_slept_gets_no_credit_over_those_that_worked(fleet: Fleet) -> None:
    keyed(fleet, "sleeper", 1)
    fleet.finish(fleet.claim())
    who, walk = claimer(fleet), Walk()
    keyed(fleet, "busy", 40)
    for _ in range(20):
        fleet.finish(claim_all(fleet, who, walk, 1).runs)
    fleet.pass_time(DAY)
    fleet.sql("UPDATE workers SET expires_at = expires_at + 86400000000")
    keyed(fleet, "sleeper", 20)
    begun = [fleet.lane(run).concurrency_key for _ in range(20) for run in claim_all(fleet, who, walk, 1).runs]
    assert begun.count("sleeper") == 10


@pytest.mark.case("jobs", 25)
def test_low_priority_work_starts_within_its_bound_and_stays_low(fleet: Fleet) -> None:
    low = [made.run_id for made in fleet.submit(*[fleet.new(priority=-10) for _ in range(5)])]
    who, walk = claimer(fleet), Walk()
    fleet.enqueue_many(8)
    young = [run.id for _ in range(8) for run in claim_all(fleet, who, walk, 1).runs]
    assert not set(young) & set(low), "priority is a class"
    fleet.pass_time(STARVES_AFTER)
    fleet.sql(f"UPDATE workers SET expires_at = expires_at + {STARVES_AFTER}")
    fleet.submit(*[fleet.new() for _ in range(40)])
    old = [run.id for _ in range(16) for run in claim_all(fleet, who, walk, 1).runs]
    assert [run_id in low for run_id in old].count(True) in {4, 5}, "one in four"
    assert fleet.get(low[0]).lane_id != fleet.get(young[0]).lane_id, "and its class is what it was"


# -- who may claim what --------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 14)
def test_a_worker_with_older_code_leaves_newer_versions_to_others(fleet: Fleet) -> None:
    new = fleet.submit(fleet.new(lane={"version": 2}))[0].run_id
    old = fleet.submit(fleet.new())[0].run_id
    assert [run.id for run in claim_all(fleet, claimer(fleet), Walk(), 10).runs] == [old]
    assert [run.id for run in claim_all(fleet, claimer(fleet, "w2", tasks={"work": 2}), Walk(), 10).runs] == [new]


def test_a_worker_leaves_what_it_is_not_fit_for_to_others(fleet: Fleet) -> None:
    needs = fleet.submit(fleet.new(lane={"requires": (("gpu", "a100"),)}))[0].run_id
    assert claim_all(fleet, claimer(fleet, capabilities={"gpu": "t4"}), Walk(), 10).runs == []
    fit = claimer(fleet, "w2", capabilities={"gpu": "a100", "region": "eu"})
    assert [run.id for run in claim_all(fleet, fit, Walk(), 10).runs] == [needs]


def test_a_walk_past_many_lanes_of_others_finds_what_lies_behind_them(fleet: Fleet) -> None:
    fleet.submit(*[fleet.new(task="foreign", lane={"concurrency_key": f"k{n}"}) for n in range(3 * claims.STEPS)])
    mine = fleet.submit(fleet.new(lane={"concurrency_key": "mine"}))[0].run_id
    who, walk = claimer(fleet), Walk()
    found = [claim_all(fleet, who, walk, 10)]
    while not found[-1].runs and found[-1].more:
        found.append(claim_all(fleet, who, walk, 10))
    assert [run.id for run in found[-1].runs] == [mine]
    rest = [claim_all(fleet, who, walk, 10)]
    while rest[-1].more:
        rest.append(claim_all(fleet, who, walk, 10))
    assert len(rest) <= 6, "once around, and it rests"


def test_a_walk_that_ends_where_it_began_was_once_around_and_rests(fleet: Fleet) -> None:
    fleet.declare("main", limits=[Limit(0, each_key=True)])
    fleet.submit(*[fleet.new(lane={"concurrency_key": f"k{n}"}) for n in range(18)])
    places = sorted(lane.id % numbering.CLASS_SPAN for lane in fleet._lanes.values())
    who = claimer(fleet)
    for first in range(18):
        walk = Walk(place=(places[first] + 1) % numbering.CLASS_SPAN, is_long=True)
        looks = 1
        while claim_all(fleet, who, walk, 1).more:
            looks += 1
            assert looks < 40, "it goes round and round"


def test_two_lanes_whose_numbers_are_alike_are_told_apart(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ids.stable_id
    monkeypatch.setattr(numbering, "stable_id", lambda *parts: 7 if parts[0] == "lane" and parts[-1] == 0 else real(*parts))
    made = [numbering.Lane(namespace="test", queue="main", task=task) for task in ("work", "play")]
    assert made[0].id == made[1].id
    moved = fleet.database.write("runs.intern", lambda tx: drive(tx, interned(made, [])))
    again = fleet.database.write("runs.intern", lambda tx: drive(tx, interned(made[::-1], [])))
    assert set(moved) == {made[1]}
    assert moved[made[1]].id != made[0].id
    assert again[made[1]].id == moved[made[1]].id
    assert made[0] not in again


@pytest.mark.case("jobs", 22)
def test_taking_several_limits_at_once_never_deadlocks(fleet: Fleet, other: Fleet, database: AnyDatabase) -> None:
    for name in ("p", "q", "r"):
        put(fleet, Scope.POOL, name, Limit(3))
    fleet.declare("main", limits=[Limit(4), Limit(2, each_key=True)])
    orders = [(("p", 1), ("q", 1)), (("q", 1), ("r", 1)), (("p", 1), ("r", 1))]
    for n in range(30):
        fleet.submit(fleet.new(lane={"concurrency_key": f"k{n % 5}", "uses": orders[n % 3]}))
    other._lanes, other._policies = fleet._lanes, fleet._policies
    deadlocks = _deadlocks(database)

    def work(each: Fleet, name: str) -> None:
        who, walk = claimer(each, name), Walk()
        for _ in range(200):
            claim = claim_all(each, who, walk, 4)
            each.finish(claim.runs, worker=name)
            if not claim.runs and each.sql("SELECT count(*) FROM runs WHERE state = 'queued'") == [(0,)]:
                return

    crowd = [threading.Thread(target=work, args=(side, f"w{n}")) for n, side in enumerate([fleet, other])]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(60)
    assert fleet.sql("SELECT count(*) FROM runs WHERE state = 'succeeded'") == [(30,)]
    assert _deadlocks(database) == deadlocks


def _deadlocks(database: AnyDatabase) -> int:
    if not isinstance(database, PostgresDatabase):
        return 0
    import psycopg

    with psycopg.connect(database.conninfo) as session:
        row = session.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert row is not None
        return int(row[0])
