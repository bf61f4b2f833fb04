"""The simulator: the production services over SQLite in memory, in virtual time, under every fault a seed can think of.

``simulate(seed)`` plays one story and says what does not hold; the same seed is the same story in any process. ``python -m
mainspring.testing.simulator --seeds 1000`` plays many. What it cannot show, other tests do: threads that race, and
PostgreSQL's isolation.
"""

from mainspring.testing.simulator.scenario import Scenario, Settings, Step
from mainspring.testing.simulator.shapes import Shape
from mainspring.testing.simulator.simulation import SHAPES, Report, simulate
from mainspring.testing.simulator.world import Stage

__all__ = ["SHAPES", "Report", "Scenario", "Settings", "Shape", "Stage", "Step", "simulate"]
