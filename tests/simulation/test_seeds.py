"""The simulator over seeds: a sample in every run of the suite, every story that once failed, and the promise that a seed is a
story. Long campaigns: ``make sim SEEDS=100000``.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.testing.simulator import Scenario, simulate
from mainspring.testing.simulator.campaign import play_all

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))
BLOCK = 40


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of lost leases are what this is about."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("start", range(0, 600, BLOCK))
def test_every_promise_holds_in_the_stories_of_these_seeds(start: int) -> None:
    failed = [report for report in play_all(range(start, start + BLOCK), jobs=1) if report.violations]
    assert not failed, "\n".join(f"make sim SEED={report.seed}: {report.violations[0]}" for report in failed)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_story_that_once_failed_holds_now(path: Path) -> None:
    assert simulate(Scenario.from_json(path.read_text())).violations == ()


@pytest.mark.parametrize("seed", [3, 14, 59])
def test_a_seed_is_the_same_story_in_every_process(seed: int) -> None:
    told = {
        subprocess.run(
            [sys.executable, "-m", "mainspring.testing.simulator", "--seed", str(seed)],
            env=os.environ | {"PYTHONHASHSEED": chance},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for chance in ("0", "1", "4711")
    }
    assert told == {simulate(seed).line}


def test_a_seed_is_the_same_story_on_a_stage_that_has_seen_others() -> None:
    played = list(play_all(range(20), jobs=1))
    assert [report.line for report in played[-3:]] == [simulate(seed).line for seed in range(17, 20)]


def test_different_seeds_are_different_stories() -> None:
    assert len({simulate(seed).hash for seed in range(20)}) == 20


def test_looking_after_every_step_changes_nothing_in_a_story() -> None:
    for seed in range(5):
        assert simulate(seed, check_each_step=True) == simulate(seed)


def test_a_story_can_be_written_down_and_played_again() -> None:
    from mainspring.testing.simulator.simulation import scenario_of

    scenario = scenario_of(7)
    assert Scenario.from_json(scenario.as_json()) == scenario
    assert simulate(Scenario.from_json(scenario.as_json())) == simulate(7)


def test_every_kind_of_step_comes_within_a_few_seeds() -> None:
    from mainspring.testing.simulator.simulation import all_kinds

    kinds = all_kinds()
    seen = {step.kind for seed in range(60) for step in Scenario.draw(seed, kinds).steps}
    assert seen == set(kinds)
