"""What befalls a transaction in the simulator is what it says: each strike, a cut line, an outage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from mainspring.core.durations import SECOND
from mainspring.errors import CommitUnknown, StorageConflict, StorageUnavailable
from mainspring.store.database import Transaction
from mainspring.testing.simulator.scheduled import Scheduled
from mainspring.testing.simulator.simulation import simulate
from mainspring.testing.simulator.world import STRIKES, Crash, Line, Stage, Strike, Trace, World


@pytest.fixture
def world() -> Iterator[World]:
    with closing(Stage()) as stage:
        yield World(Trace(), stage, slow_us=3 * SECOND)


def declare(tx: Transaction) -> str:
    tx.execute("queues.declare", namespace="default", queue="q")
    return "answered"


def queues(world: World) -> int:
    return len(world.look("SELECT name FROM queues"))


@pytest.mark.parametrize(
    ("strike", "error", "committed"),
    [
        ("crash before", Crash, 0),
        ("crash after", Crash, 1),
        ("lost before", CommitUnknown, 0),
        ("lost after", CommitUnknown, 1),
        ("gone", StorageUnavailable, 0),
        ("conflict", StorageConflict, 0),
    ],
)
def test_a_strike_raises_what_the_process_would_see_and_commits_or_not(
    world: World, strike: Strike, error: type[BaseException], committed: int
) -> None:
    line = Line(world, "w1")
    line.plan(strike, after=0)
    with pytest.raises(error):
        line.write("queues.declare", declare)
    assert queues(world) == committed


def test_a_transaction_may_run_twice_and_commit_once(world: World) -> None:
    line, runs = Line(world, "w1"), []
    line.plan("twice", after=0)
    assert line.write("queues.declare", lambda tx: runs.append(declare(tx)) or "done") == "done"  # type: ignore[func-returns-value]
    assert (len(runs), queues(world)) == (2, 1)


def test_a_slow_transaction_takes_longer_than_a_lease_and_is_answered(world: World) -> None:
    line = Line(world, "w1")
    before = world.elapsed
    line.plan("slow", after=0)
    assert line.write("queues.declare", declare) == "answered"
    assert world.elapsed - before == 3 * SECOND


def test_a_strike_waits_for_its_transaction_and_befalls_it_once(world: World) -> None:
    line = Line(world, "w1")
    line.plan("gone", after=1)
    assert line.write("queues.declare", declare) == "answered"
    with pytest.raises(StorageUnavailable):
        line.write("queues.declare", declare)
    assert line.write("queues.declare", declare) == "answered"


def test_a_cut_line_reaches_nothing_until_its_time_is_over_and_others_do(world: World) -> None:
    cut, other = Line(world, "w1"), Line(world, "w2")
    cut.cut_until = world.elapsed + SECOND
    with pytest.raises(StorageUnavailable):
        cut.write("queues.declare", declare)
    with pytest.raises(StorageUnavailable):
        cut.read("queues.list", lambda tx: None)
    assert other.write("queues.declare", declare) == "answered"
    world.clock.advance_us(SECOND)
    assert cut.write("queues.declare", declare) == "answered"


def test_an_outage_is_everybodys(world: World) -> None:
    world.outage_until = world.elapsed + SECOND
    for name in ("w1", "c1"):
        with pytest.raises(StorageUnavailable):
            Line(world, name).write("queues.declare", declare)


def test_the_databases_clock_is_that_of_whoever_writes(world: World) -> None:
    early, late = Line(world, "w1"), Line(world, "w2")
    early.skew_us, late.skew_us = -SECOND, SECOND
    assert late.write("clock.now", lambda tx: tx.now) - early.write("clock.now", lambda tx: tx.now) == 2 * SECOND


def test_every_strike_has_a_test_here() -> None:
    assert set(STRIKES) == {"crash before", "crash after", "lost before", "lost after", "gone", "conflict", "twice", "slow"}


def test_what_a_story_raises_is_told_and_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Stage()) as stage, monkeypatch.context() as broken:
        broken.setattr(Scheduled, "_put", lambda *_: 1 // 0)
        reports = [simulate(seed, stage=stage) for seed in range(3, 23, 4)]
        told = [each.violations[0] for each in reports if each.violations]
        assert {(each.invariant, each.subject) for each in told} == {("nothing_else_is_raised", "ZeroDivisionError")}
        broken.undo()
        assert simulate(3, stage=stage).violations == ()
