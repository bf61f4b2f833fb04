"""A sample for every run of the checks; ``python -m tests.interleavings --orders 100`` is the campaign.

Of every pair, the two serial orders and one in which somebody is paused before its commit; where it matters who comes first, four
on stock, two on the portable profile and one under SERIALIZABLE. Here too: that the orders are all there are, and that the oracle
sees what it is there for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from mainspring.operations import moves, queues
from mainspring.store.database import Transaction
from mainspring.testing.postgres import fresh_database
from tests.interleavings import players
from tests.interleavings.catalogue import OPERATIONS, Operation, pairs
from tests.interleavings.stage import NAMESPACE, Stage
from tests.interleavings.verdict import PORTABLE, SERIALIZABLE, STOCK, Arena, Tally

SEED = 1
_PLACES = {operation.name: place for place, operation in enumerate(OPERATIONS)}


@pytest.fixture(scope="module")
def stage_of_this_process(postgres_url: str) -> Iterator[Arena]:
    """One furnished database for all tests of a process."""
    with fresh_database(postgres_url) as url, closing(Arena(url, Tally())) as arena:
        yield arena


@pytest.fixture
def arena(stage_of_this_process: Arena) -> Arena:
    """The stage, with nothing counted yet."""
    stage_of_this_process.tally = Tally()
    return stage_of_this_process


def pairs_of(operation: Operation) -> list[tuple[Operation, Operation]]:
    """The pairs that are this operation's to test: about half of those it is in, so that all tests take about as long."""
    mine = []
    for first, second in pairs():
        places = sorted((_PLACES[first.name], _PLACES[second.name]))
        owner = first if sum(places) % 2 or first is second else second
        if owner is operation:
            mine.append((first, second))
    return mine


def test_every_pair_is_somebodys_to_test() -> None:
    tested = [pair for operation in OPERATIONS for pair in pairs_of(operation)]
    assert len(tested) == len(pairs())
    assert set(tested) == set(pairs())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_whatever_meets_it_is_as_if_one_had_come_after_the_other(arena: Arena, operation: Operation) -> None:
    for first, second in pairs_of(operation):
        arena.meet(first, second, {STOCK.name: 1}, seed=SEED, if_it_matters={STOCK.name: 4, SERIALIZABLE.name: 1, PORTABLE.name: 2})
    assert not arena.tally.wrong, "\n\n".join(arena.tally.wrong[:5])


# -- the instrument itself -----------------------------------------------------------------------------------------------


def look_three_times(stage: Stage, tx: Transaction, player: str) -> Any:
    for _ in range(3):
        tx.one("fleet.tick")


def add_one_without_a_guard(stage: Stage, tx: Transaction, player: str) -> Any:
    _, held_until = tx.one("fleet.tick") or (0, 0)
    tx.execute("fleet.ticked", hold_until=held_until + 1)


def lock(*names: str) -> Any:
    def deed(stage: Stage, tx: Transaction, player: str) -> Any:
        for name in names:
            moves.lock_runs(tx, [stage.ids[name]])

    return deed


def lower_a_limit_and_tell_nobody(stage: Stage, tx: Transaction, player: str) -> Any:
    queues.set_limit(tx, NAMESPACE, "main", 1, actor="user:operator")


def make_a_mistake(stage: Stage, tx: Transaction, player: str) -> Any:
    tx.one("no.such.statement")


def test_two_transactions_of_four_steps_have_seventy_orders(arena: Arena) -> None:
    reader = Operation(name="reader", deed=look_three_times)
    arena.meet(reader, reader, {STOCK.name: None}, seed=SEED)
    assert (arena.tally.orders["stock"], arena.tally.complete["stock"], arena.tally.wrong) == (70, 1, [])


def test_a_lost_update_is_seen_and_serializable_has_none(arena: Arena) -> None:
    counter = Operation(name="counter", deed=add_one_without_a_guard)
    arena.meet(counter, counter, {SERIALIZABLE.name: None}, seed=SEED)
    assert (arena.tally.wrong, arena.tally.conflicts["serializable"] > 0) == ([], True)
    arena.meet(counter, counter, {STOCK.name: None}, seed=SEED)
    assert len(arena.tally.wrong) > 0
    assert '"reap_hold_until": 1' in arena.tally.wrong[0]


def test_a_deadlock_is_ended_by_the_server_and_seen_and_the_transaction_run_again(arena: Arena) -> None:
    forth = Operation(name="forth", deed=lock("held", "waiting"))
    back = Operation(name="back", deed=lock("waiting", "held"))
    arena.meet(forth, back, {STOCK.name: None}, seed=SEED)
    assert arena.tally.deadlocks["forth | back"] == arena.tally.conflicts["stock"] == len(arena.tally.wrong) > 0
    assert all(wrong.count("!") == 1 and "! a deadlock" in wrong for wrong in arena.tally.wrong)


def test_a_broken_promise_is_seen(arena: Arena) -> None:
    thief = Operation(name="thief", deed=lower_a_limit_and_tell_nobody)
    reader = Operation(name="reader", deed=look_three_times)
    arena.meet(thief, reader, {STOCK.name: 0}, seed=SEED)
    assert len(arena.tally.wrong) == 2
    assert "limits_are_kept: main" in arena.tally.wrong[0]


def test_an_error_that_no_caller_may_see_is_seen(arena: Arena) -> None:
    broken = Operation(name="broken", deed=make_a_mistake)
    arena.meet(broken, broken, {STOCK.name: 0}, seed=SEED)
    assert "KeyError" in arena.tally.wrong[0]


def test_a_player_whom_neither_the_other_nor_its_end_sets_free_is_a_failure(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(players, "_PATIENCE_SECONDS", 0.2)
    waiter, reader = Operation(name="waiter", deed=lock("held")), Operation(name="reader", deed=look_three_times)
    with psycopg.connect(arena.stage.database.conninfo) as stranger:
        stranger.execute("SELECT 1 FROM runs FOR UPDATE")
        arena.meet(reader, waiter, {STOCK.name: 0}, seed=SEED)
    assert ["no end after 0.2 s" in wrong for wrong in arena.tally.wrong] == [True, True]
    monkeypatch.undo()
    arena.tally = Tally()
    arena.meet(reader, waiter, {STOCK.name: 1}, seed=SEED)
    assert arena.tally.wrong == []
