"""A campaign: so many examples of so many steps, in parts that a seed names, with figures of what was met.

Here: running the state machine under given seeds and sizes. Not here: the command line (``__main__.py``).
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.differential.lockstep import Tally
from tests.differential.machine import Differential
from tests.differential.sides import Sides

PART = 50


def run_part(sides: Sides, *, number: int, examples: int, steps: int, is_thorough: bool = True, shrink: bool = True) -> Tally:
    """Run examples under one seed; the same seed and sizes give the same examples. What was met, if all answered alike.

    Each example ends with a look for broken promises on every database; on one after another where not ``is_thorough``, which
    is a third of the work and, their rows being the same by then, the same answer.
    """
    tally = Tally(is_thorough=is_thorough)
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=phases,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )

    @seed(number)
    def machine() -> Differential:
        return Differential(sides, tally)

    sides.vacuum()
    run_state_machine_as_test(machine, settings=how)  # type: ignore[arg-type]
    return tally
