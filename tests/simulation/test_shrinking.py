"""A failing story is made short: what it does not need is taken away, and what it needs stays."""

from __future__ import annotations

from dataclasses import replace

from mainspring.testing.invariants import Violation
from mainspring.testing.simulator import Report, Scenario, simulate
from mainspring.testing.simulator.shrinking import shrink
from mainspring.testing.simulator.simulation import all_kinds

CALM = simulate(Scenario.draw(0, all_kinds()).with_steps([]))


def fails_after_a_kill_and_a_later_cancel(scenario: Scenario) -> Report:
    kinds = [step.kind for step in scenario.steps]
    broken = "kill" in kinds and "cancel" in kinds[kinds.index("kill") :]
    return replace(CALM, violations=(Violation("some_promise", "run", "broken"),) if broken else ())


def test_only_the_steps_that_a_failure_needs_are_left() -> None:
    kinds = all_kinds()
    story = next(
        scenario for seed in range(200) if fails_after_a_kill_and_a_later_cancel(scenario := Scenario.draw(seed, kinds)).violations
    )
    short = shrink(story, fails_after_a_kill_and_a_later_cancel)
    assert [step.kind for step in short.steps] == ["kill", "cancel"]
    assert set(short.steps) <= set(story.steps)


def test_a_story_that_holds_is_left_as_it_is() -> None:
    story = Scenario.draw(1, all_kinds())
    assert shrink(story, lambda scenario: replace(CALM, violations=())) == story
