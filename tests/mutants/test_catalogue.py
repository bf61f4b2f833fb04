"""The planted bugs: each fits the code as it is, and each is caught by the seed that caught it last time.

Here: what every run of the suite can afford. The whole search is ``make mutants``, which writes ``caught.json`` anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.__main__ import CAUGHT, catch, plant, read_caught
from tests.mutants.catalogue import MUTANTS, Mutant

every_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


def test_there_are_enough_planted_bugs_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 25
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@every_mutant
def test_a_planted_bug_fits_the_code(mutant: Mutant, tmp_path: Path) -> None:
    plant(mutant, tmp_path)


@every_mutant
def test_a_planted_bug_is_caught(mutant: Mutant) -> None:
    known = read_caught().get(mutant.name)
    assert known is not None, f"nobody has looked for it yet: run python -m tests.mutants {mutant.name}"
    caught = catch(mutant, start=known, seeds=1)
    if caught.seed is None:  # the stories have changed since: look a little further
        caught = catch(mutant, start=0, seeds=200)
    assert caught.seed is not None, f"seed {known} no longer catches it: run make mutants, and commit {CAUGHT.name}"
