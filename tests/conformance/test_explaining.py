"""Why a run is where it is: every kind of hold, alone and with others, named truly, and the run starts once it is gone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mainspring.core.attempts import Failed
from mainspring.core.durations import HOUR, MINUTE, SECOND
from mainspring.core.explaining import Explanation, HoldKind
from mainspring.core.lanes import labels
from mainspring.core.limits import Limit, Rate, Scope
from mainspring.core.states import State
from mainspring.operations import attempts, claims, explaining, limits, queues
from mainspring.operations.claims import Claimed, Claimer, Walk
from tests.conformance.test_dependencies import behind
from tests.support.builders import TTL, Fleet

GPU = {"gpu": "a100"}
LANE: dict[str, Any] = {"concurrency_key": "acme", "uses": (("gpus", 1),), "requires": labels(GPU), "version": 2}
SKILLS = json.dumps({"versions": {"work": 2}, "capabilities": GPU})


def explain(fleet: Fleet, run_id: str) -> Explanation:
    return fleet.database.read("runs.explain", lambda tx: explaining.explain(tx, fleet.namespace, run_id))


def kinds(fleet: Fleet, run_id: str) -> list[HoldKind]:
    return [hold.kind for hold in explain(fleet, run_id).holds]


def register(
    fleet: Fleet,
    worker: str,
    *,
    tasks: str = '["work"]',
    queues: str = '["main"]',
    skills: str | None = SKILLS,
    concurrency: int = 1,
) -> None:
    fleet._workers.add(worker)
    told: dict[str, Any] = {"namespace": fleet.namespace, "tasks": tasks, "queues": queues, "ttl": TTL}
    fleet.database.write(
        "workers.register", lambda tx: attempts.register(tx, worker, concurrency=concurrency, skills=skills, **told)
    )


def claim(fleet: Fleet, worker: str, *, queue: str = "main", task: str = "work", most: int = 1) -> list[Claimed]:
    who = Claimer(worker_id=worker, namespace=fleet.namespace, queues={queue: None}, tasks={task: 2}, capabilities=GPU)
    return fleet.database.write("attempts.claim", lambda tx: claims.claim(tx, who, Walk(), most=most).runs)


def declare(fleet: Fleet, scope: Scope, name: str, limit: Limit | Rate) -> None:
    fleet.database.write("limits.declare", lambda tx: limits.declare(tx, fleet.namespace, scope, name, limit))


# -- every kind of hold, and any of them together ----------------------------------------------------------------------


@dataclass
class Story:
    """A run and the holds that were put on it, each with what takes it away."""

    fleet: Fleet
    run_id: str = ""
    imposed: dict[HoldKind, Callable[[], object]] = field(default_factory=dict)

    def expected(self) -> list[HoldKind]:
        """The holds there are, as far as a run in its state has them."""
        seen = set(self.imposed)
        if self.fleet.get(self.run_id).state is not State.QUEUED:
            seen -= {HoldKind.LIMIT, HoldKind.RATE, HoldKind.AHEAD, HoldKind.BUSY}
        if self.fleet.get(self.run_id).state is State.NEEDS_ATTENTION:
            seen &= {HoldKind.STATE}
        return [kind for kind in HoldKind if kind in seen]

    def pass_time(self, us: int) -> None:
        """Time goes by, workers stay alive, and what is due becomes queued."""
        self.fleet.pass_time(us)
        self.fleet.sql(f"UPDATE workers SET expires_at = {self.fleet.now + TTL} WHERE state = 'live'")
        self.fleet.make_due()


def impose(fleet: Fleet, rng: random.Random, wanted: set[HoldKind]) -> Story:
    """A run under these holds."""
    story = Story(fleet)
    register(fleet, "other", tasks='["fill"]', queues='["side"]', skills=None, concurrency=50)
    declare(fleet, Scope.QUEUE, "main", Limit(100))
    if {HoldKind.LIMIT, HoldKind.RATE} & wanted:
        _use_up(story, rng, wanted)
    if HoldKind.AHEAD in wanted:
        before = fleet.enqueue(lane=LANE)
        story.imposed[HoldKind.AHEAD] = lambda: fleet.cancel(before)
    _enqueue(story, wanted)
    if HoldKind.PAUSE in wanted:
        fleet.database.write("queues.pause", lambda tx: queues.pause(tx, fleet.namespace, "main", actor="user:ann"))
        story.imposed[HoldKind.PAUSE] = lambda: fleet.database.write(
            "queues.resume", lambda tx: queues.resume(tx, fleet.namespace, "main", actor="user:operator")
        )
    if HoldKind.NO_WORKER in wanted:
        story.imposed[HoldKind.NO_WORKER] = lambda: register(fleet, "fit")
        return story
    register(fleet, "fit")
    if HoldKind.BUSY in wanted:
        fleet.enqueue(task="fill", queue="side")
        (held,) = claim(fleet, "fit", queue="side", task="fill")
        story.imposed[HoldKind.BUSY] = lambda: fleet.finish(held, worker="fit")
    return story


def _use_up(story: Story, rng: random.Random, wanted: set[HoldKind]) -> None:
    """A limit and a rate of one, both taken by a run of the same lane."""
    fleet = story.fleet
    if HoldKind.LIMIT in wanted:
        over = [
            (Scope.QUEUE, "main", False),
            (Scope.EACH_KEY, "main", True),
            (Scope.TASK, "work", False),
            (Scope.POOL, "gpus", False),
        ]
        if not wanted & {HoldKind.BUSY, HoldKind.DEPENDENCY}:  # which need a run of another kind at work
            over.append((Scope.NAMESPACE, "", False))
        scope, name, each = rng.choice(over)
        declare(fleet, scope, name, Limit(1, each_key=each))
    if HoldKind.RATE in wanted:
        declare(fleet, Scope.QUEUE, "main", Rate(1, per="10h", strict=rng.random() < 0.5))
        story.imposed[HoldKind.RATE] = lambda: story.pass_time(11 * HOUR)
    fleet.enqueue(lane=LANE)
    (holder,) = claim(fleet, "other")
    if HoldKind.LIMIT in wanted:
        story.imposed[HoldKind.LIMIT] = lambda: fleet.finish(holder, worker="other")
    else:
        fleet.finish(holder, worker="other")


def _enqueue(story: Story, wanted: set[HoldKind]) -> None:
    """The run itself, in the state that one of the holds asks for."""
    fleet = story.fleet
    if HoldKind.DUE in wanted:
        story.run_id = fleet.enqueue(lane=LANE, delay=10 * SECOND)
        story.imposed[HoldKind.DUE] = lambda: story.pass_time(11 * SECOND)
    elif HoldKind.DEPENDENCY in wanted:
        fleet.enqueue(task="fill", queue="side")
        (upstream,) = claim(fleet, "other", queue="side", task="fill")
        (created,) = fleet.submit(behind(fleet, upstream.id)._replace(lane_id=fleet.new(lane=LANE).lane_id))
        story.run_id = created.run_id
        story.imposed[HoldKind.DEPENDENCY] = lambda: fleet.finish(upstream, worker="other")
    else:
        story.run_id = fleet.enqueue(lane=LANE)
    if HoldKind.STATE in wanted:
        fleet.park(story.run_id, "dispatch_lost")
        story.imposed[HoldKind.STATE] = lambda: fleet.resume(story.run_id)


STARTS = [HoldKind.DUE, HoldKind.DEPENDENCY, HoldKind.STATE, None]
ENDS = [HoldKind.NO_WORKER, HoldKind.BUSY, None]
OTHERS = [HoldKind.PAUSE, HoldKind.LIMIT, HoldKind.RATE, HoldKind.AHEAD]


def choose(rng: random.Random) -> set[HoldKind]:
    chosen = {rng.choice(STARTS), rng.choice(ENDS), *(kind for kind in OTHERS if rng.random() < 0.5)}
    return {kind for kind in chosen if kind is not None}


@pytest.mark.case("jobs", 53)
@pytest.mark.parametrize("kind", [kind for kind in (*STARTS, *ENDS, *OTHERS) if kind is not None])
def test_each_hold_alone_is_named_is_true_and_its_removal_starts_the_run(fleet: Fleet, kind: HoldKind) -> None:
    follow(impose(fleet, random.Random(1), {kind}))


@pytest.mark.case("jobs", 53)
@pytest.mark.parametrize("seed", range(12))
def test_holds_together_are_all_named_in_order_and_the_last_removal_starts_the_run(fleet: Fleet, seed: int) -> None:
    rng = random.Random(seed)
    follow(impose(fleet, rng, choose(rng)))


def follow(story: Story) -> None:
    """Take the holds away one by one, as the explanation names them; in between it is exact, and in the end the run starts."""
    fleet = story.fleet
    for _ in range(12):
        found = explain(fleet, story.run_id)
        assert [hold.kind for hold in found.holds] == story.expected(), str(found)
        kind = found.holds[0].kind if found.holds else None
        others = set(story.imposed) - {kind}
        if len(found.holds) == 1 and kind not in {HoldKind.NO_WORKER, HoldKind.BUSY} and HoldKind.AHEAD not in others:
            assert story.run_id not in [claimed.id for claimed in claim(fleet, "fit")], str(found)
            if kind is HoldKind.AHEAD:
                return  # the claim has just taken what was before it
        if kind is None:
            break
        story.imposed.pop(kind)()
    assert story.run_id in [claimed.id for claimed in claim(fleet, "fit")]


# -- what each hold says -----------------------------------------------------------------------------------------------


def test_a_full_limit_says_how_much_of_it_is_held_by_whom_and_for_how_long(fleet: Fleet) -> None:
    declare(fleet, Scope.EACH_KEY, "main", Limit(2, each_key=True))
    first = fleet.running(lane={"concurrency_key": "acme"})
    fleet.pass_time(40 * SECOND)
    second = fleet.running(lane={"concurrency_key": "acme"})
    found = explain(fleet, fleet.enqueue(lane={"concurrency_key": "acme"}))
    (hold,) = [hold for hold in found.holds if hold.kind is HoldKind.LIMIT]
    assert hold.text.startswith(f"main/acme is full (2/2, oldest {first.id}, 40s")
    assert {holder.run_id for holder in hold.holders} == {first.id, second.id}
    assert hold.likely is not None
    assert hold.likely >= fleet.now
    assert str(found).startswith("queued: main/acme is full (2/2, oldest ")


def test_a_run_that_needs_more_than_a_limit_has_is_told_that_it_will_not_begin_so(fleet: Fleet) -> None:
    declare(fleet, Scope.POOL, "gpu", Limit(4))
    found = explain(fleet, fleet.enqueue(lane={"uses": (("gpu", 9),)}))
    (hold,) = [hold for hold in found.holds if hold.kind is HoldKind.LIMIT]
    assert hold.text == "pool gpu has 4 in all and this run needs 9: it begins only if that limit is raised"
    assert hold.likely is None
    assert found.unknown == "a person ends this hold"


def test_at_most_ten_holders_are_named(fleet: Fleet) -> None:
    declare(fleet, Scope.QUEUE, "main", Limit(12))
    fleet.enqueue_many(12)
    fleet.claim()
    (hold,) = [hold for hold in explain(fleet, fleet.enqueue()).holds if hold.kind is HoldKind.LIMIT]
    assert len(hold.holders) == 10


def test_a_rate_names_its_next_instant_and_no_run_begins_before(fleet: Fleet) -> None:
    declare(fleet, Scope.QUEUE, "main", Rate(1, per="1m"))
    fleet.finish(fleet.running())
    run_id = fleet.enqueue()
    register(fleet, "fit")
    found = explain(fleet, run_id)
    (hold,) = found.holds
    assert (hold.kind, hold.until, found.earliest_at, found.likely_at) == (HoldKind.RATE, hold.until, hold.until, hold.until)
    assert hold.until is not None
    fleet.pass_time(hold.until - fleet.now - SECOND)
    assert fleet.claim() == []
    fleet.pass_time(2 * SECOND)
    assert [claimed.id for claimed in fleet.claim()] == [run_id]


@pytest.mark.case("jobs", 53)
def test_a_reservation_for_a_run_that_needs_several_units_is_named_and_its_end_starts_the_run(fleet: Fleet) -> None:
    declare(fleet, Scope.POOL, "gpus", Limit(2))
    holder = fleet.running(lane={"uses": (("gpus", 1),)})
    big = fleet.enqueue(lane={"uses": (("gpus", 2),)})
    fleet.pass_time(2 * MINUTE)
    fleet.sql(f"UPDATE workers SET expires_at = {fleet.now + TTL}")
    small = fleet.enqueue(lane={"uses": (("gpus", 1),)})
    assert fleet.claim() == []  # the claim that finds the big one starving reserves for it
    register(fleet, "fit", concurrency=9)
    assert HoldKind.RESERVATION in kinds(fleet, small)
    assert HoldKind.RESERVATION not in kinds(fleet, big)
    fleet.finish(holder)
    (claimed,) = fleet.claim()
    assert claimed.id == big
    fleet.finish(claimed)
    assert HoldKind.RESERVATION not in kinds(fleet, small)
    assert [run.id for run in fleet.claim()] == [small]


MISSES = [
    ({"queues": '["side"]'}, "does not serve queue main"),
    ({"tasks": '["fill"]'}, "does not have the task work"),
    ({"skills": json.dumps({"versions": {"work": 1}, "capabilities": GPU})}, "knows work up to version 1 and not 2"),
    ({"skills": json.dumps({"versions": {"work": 2}, "capabilities": {"gpu": "t4"}})}, "is not gpu=a100 but t4"),
    ({"skills": json.dumps({"versions": {"work": 2}})}, "is not gpu=a100"),
]


@pytest.mark.case("jobs", 53)
@pytest.mark.parametrize(("told", "miss"), MISSES, ids=[miss for _, miss in MISSES])
def test_where_no_worker_can_take_it_the_nearest_miss_is_named(fleet: Fleet, told: dict[str, str], miss: str) -> None:
    run_id = fleet.enqueue(lane=LANE)
    register(fleet, "far", tasks="[]", queues="[]", skills=None)
    register(fleet, "near", **told)  # type: ignore[arg-type]
    (hold,) = explain(fleet, run_id).holds
    assert hold.text == f"no live worker takes work from queue main: nearest is near, which {miss}"
    register(fleet, "fit")
    assert explain(fleet, run_id).holds == ()


def test_a_place_in_line_is_counted_to_a_bound(fleet: Fleet) -> None:
    fleet.enqueue_many(1_005)
    run_id = fleet.enqueue()
    fleet.enqueue(priority=5)
    fleet.enqueue(lane={"concurrency_key": "b"})
    place = explain(fleet, run_id).place
    assert place is not None
    assert (place.runs_ahead, place.lanes_ahead, place.lanes_beside) == (1_000, 1, 2)


def test_a_run_past_its_expiry_or_deadline_says_that_it_will_not_start(fleet: Fleet) -> None:
    register(fleet, "fit")
    expired, overdue = fleet.enqueue(expires_in=SECOND), fleet.enqueue(deadline_in=SECOND)
    fleet.pass_time(10 * SECOND)
    assert [hold.subject for hold in explain(fleet, expired).holds if hold.kind is HoldKind.OVER] == ["expired"]
    assert [hold.subject for hold in explain(fleet, overdue).holds if hold.kind is HoldKind.OVER] == ["deadline"]
    assert fleet.claim() == []


def test_when_nothing_holds_a_run_for_a_minute_that_is_said_to_be_a_bug(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.pass_time(2 * MINUTE)
    register(fleet, "fit")
    found = explain(fleet, run_id)
    assert (found.holds, found.is_unexplained) == ((), True)


def test_a_person_s_hold_has_no_instant_and_says_why(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    register(fleet, "fit")
    fleet.database.write("queues.pause", lambda tx: queues.pause(tx, fleet.namespace, "main", actor="user:ann"))
    found = explain(fleet, run_id)
    assert (found.earliest_at, found.likely_at, found.unknown) == (None, None, "a person ends this hold")


def test_a_run_at_work_says_where_and_one_whose_worker_is_silent_says_that(fleet: Fleet) -> None:
    held = fleet.running()
    assert explain(fleet, held.id).summary.startswith("attempt 1 is at work on w1 since ")
    fleet.lapse("w1")
    assert "its worker is silent" in explain(fleet, held.id).summary
    fleet.cancel(held.id, "enough")
    assert explain(fleet, held.id).summary.startswith("asked to stop at ")


def test_a_run_that_has_ended_says_why_it_ended_so(fleet: Fleet) -> None:
    failed, done = fleet.running(), fleet.running()
    fleet.finish(failed, Failed(code="smtp_down", message="no answer", final=True))
    fleet.finish(done)
    cancelled = fleet.enqueue()
    fleet.cancel(cancelled, "not wanted")
    assert "by worker:w1 with smtp_down (no answer), in attempt 1" in explain(fleet, failed.id).summary
    assert explain(fleet, done.id).summary.endswith("by worker:w1, in attempt 1")
    assert explain(fleet, cancelled).summary.endswith("by user:operator with not wanted, without an attempt")
