"""The sample of the differential campaign that every run of the checks takes; the whole is ``python -m tests.differential``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.differential.campaign import PART, run_part
from tests.differential.lockstep import DifferenceError
from tests.differential.sides import Sides, StoppedPostgres, open_sides

PARTS = 6
STEPS = 50
USUAL = {"created", "claimed", "due", "succeeded", "failed"}


@pytest.fixture(scope="session")
def sides(postgres_url: str) -> Iterator[Sides]:
    """The databases, for all tests of this process."""
    with open_sides(postgres_url) as opened:
        yield opened


@pytest.mark.parametrize("number", range(1, PARTS + 1))
def test_sqlite_postgres_and_its_portable_profile_answer_alike(sides: Sides, number: int) -> None:
    met = run_part(sides, number=number, examples=PART, steps=STEPS, is_thorough=False)
    assert met.examples >= PART
    assert met.steps > PART * STEPS // 2
    assert set(met.events) >= USUAL, "a part that meets too little shows too little"


@pytest.mark.parametrize(
    ("side", "statement", "right", "wrong"),
    [
        ("portable", "runs.due", "due_at <=", "due_at <"),
        ("postgres", "attempts.claim", "ORDER BY turn, (nth - 1) / weight, place, due_at, id", "ORDER BY id DESC"),
        ("portable", "workers.lapsed", "expires_at <=", "expires_at <"),
    ],
)
def test_a_database_that_differs_in_one_comparison_is_found_out(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, side: str, statement: str, right: str, wrong: str
) -> None:
    database = next(each.database for each in sides.all if each.name == side)
    assert isinstance(database, StoppedPostgres)
    compiled = database.compiled(statement)
    commands = tuple(command.replace(right, wrong) for command in compiled.commands)
    assert commands != compiled.commands
    monkeypatch.setitem(database._statements, statement, replace(compiled, commands=commands))
    with pytest.raises(DifferenceError):
        run_part(sides, number=1, examples=4 * PART, steps=STEPS, is_thorough=False, shrink=False)
