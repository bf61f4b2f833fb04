"""Making a failing story short: steps are taken away for as long as it still fails in the same way.

Here: the search. Not here: playing a story (``simulation``).
"""

from collections.abc import Callable

from mainspring.testing.simulator.scenario import Scenario
from mainspring.testing.simulator.simulation import Report, simulate

_MOST_TRIES = 400


def shrink(scenario: Scenario, play: Callable[[Scenario], Report] = simulate) -> Scenario:
    """The shortest story found, in at most 400 tries, that breaks the invariant which ``scenario`` breaks first."""
    broken = _first_broken(play(scenario))
    tries = 0
    size = max(1, len(scenario.steps) // 2)
    while size >= 1 and tries < _MOST_TRIES:
        start = 0
        while start < len(scenario.steps) and tries < _MOST_TRIES:
            shorter = scenario.with_steps([*scenario.steps[:start], *scenario.steps[start + size :]])
            tries += 1
            if broken is not None and _first_broken(play(shorter)) == broken:
                scenario = shorter
            else:
                start += size
        size //= 2
    return scenario


def _first_broken(report: Report) -> str | None:
    return report.violations[0].invariant if report.violations else None
