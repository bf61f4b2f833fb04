"""The hot path costs no more than it may: statements, waits, steps of SQLite's machine, bytes of PostgreSQL's log.

Nothing is timed here, so a busy machine changes nothing. How fast all this is: ``bench``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainspring.errors import StorageUnavailable
from tests.budgets.bills import (
    HOW_TO,
    UNITS,
    Bill,
    Bills,
    Line,
    complaints,
    counted_on_postgres,
    counted_on_sqlite,
    load,
    server,
)
from tests.budgets.scenes import SCENES
from tests.support.services import miss

every_scene = pytest.mark.parametrize("scene", SCENES)


@pytest.fixture(scope="module")
def sqlite_bills() -> Bills:
    return counted_on_sqlite()


@pytest.fixture(scope="module")
def postgres_bills() -> Iterator[Bills]:
    """A server of our own, for nobody else may write into its log meanwhile."""
    own = server()
    try:
        url = own.__enter__()
    except StorageUnavailable as missing:
        miss("postgres", missing.message)
    try:
        yield counted_on_postgres(url)
    finally:
        own.__exit__(None, None, None)


def hold(kind: str, scene: str, found: Bills) -> None:
    budget = load()[kind].scenes[scene]
    wrong = complaints(scene, UNITS[kind], budget, found.scenes[scene])
    assert not wrong, "\n".join([*wrong, HOW_TO])


@every_scene
def test_a_scene_keeps_its_budget_on_sqlite(scene: str, sqlite_bills: Bills) -> None:
    known = load()["sqlite"].version
    assert known == sqlite_bills.version, f"the budgets are of SQLite {known}: python -m tests.budgets --write"
    hold("sqlite", scene, sqlite_bills)


@every_scene
def test_a_scene_keeps_its_budget_on_postgres(scene: str, postgres_bills: Bills) -> None:
    known = load()["postgres"].version
    if known != postgres_bills.version:
        miss("postgres", f"budgets of what it writes are for version {known}, and this is {postgres_bills.version}")
    hold("postgres", scene, postgres_bills)


# -- the comparison ----------------------------------------------------------------------------------------------------

BUDGET = Bill(waits=2, lines={"a.look": Line(times=1, amount=100), "a.write": Line(times=1, amount=1_000)})


def told(**changes: Line) -> str:
    lines = BUDGET.lines | {name.replace("_", "."): line for name, line in changes.items()}
    return "\n".join(complaints("turn", "bytes", BUDGET, Bill(waits=2, lines=lines)))


def test_what_costs_as_much_as_before_or_less_is_well() -> None:
    assert not told()
    assert not told(a_write=Line(times=1, amount=900))
    assert not told(a_write=Line(times=1, amount=1_049))


def test_a_statement_that_grew_is_named_with_both_numbers() -> None:
    assert "a.write costs 1,200 bytes, and 1,000 are in the budget" in told(a_write=Line(times=1, amount=1_200))


def test_a_statement_that_grew_is_named_although_another_shrank() -> None:
    assert "a.look costs 200 bytes" in told(a_look=Line(times=1, amount=200), a_write=Line(times=1, amount=500))


def test_one_more_statement_is_named_although_it_costs_nothing() -> None:
    assert "a.new runs 1 times, and 0 are in the budget" in told(a_new=Line(times=1, amount=0))
    assert "a.look runs 1.5 times, and 1 are in the budget" in told(a_look=Line(times=1.5, amount=100))


def test_one_more_wait_is_told() -> None:
    waiting = Bill(waits=3, lines=BUDGET.lines)
    assert complaints("turn", "bytes", BUDGET, waiting) == ["turn: somebody waits 3 times for an answer, and 2 are in the budget"]
