"""One story from its first step to its verdict: faults and work first, then healing, then everything must come to an end.

Here: the order of things. Not here: what a step does (``fleet``, the shapes), and how stories are chosen (``scenario``).
"""

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from mainspring.core.durations import HOUR, SECOND
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption
from mainspring.testing import invariants
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator.dependants import Dependants
from mainspring.testing.simulator.fleet import Fleet
from mainspring.testing.simulator.jobs import QUEUES, TASKS, Jobs
from mainspring.testing.simulator.limited import Limited
from mainspring.testing.simulator.scenario import Kind, Scenario
from mainspring.testing.simulator.scheduled import Scheduled
from mainspring.testing.simulator.shapes import Shape, ShapeMaker
from mainspring.testing.simulator.singletons import Singletons
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import Stage, Trace, World

_WAITS = "(o.disposition = 'waiting' OR o.slot = 2)"
_HOLDERS = f"FROM occurrences o JOIN occurrences h ON {_WAITS} AND h.schedule_id = o.schedule_id AND h.slot = 1"
SHAPES: tuple[ShapeMaker, ...] = (Jobs, Limited, Singletons, Dependants, Scheduled)

_LOOK_US = 2 * SECOND
_AFTERMATH_US = 4 * SECOND  # for whatever upkeep still has to put away
_PATIENCE_US = 2 * HOUR
_ASKED_TO_WAIT = frozenset({*TERMINAL, State.NEEDS_ATTENTION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a story went. ``hash`` is equal for equal stories; ``simulated_us`` is how long it took those in it."""

    seed: int
    hash: str
    violations: tuple[Violation, ...]
    transactions: int
    runs: int
    attempts: int
    simulated_us: int

    @property
    def line(self) -> str:
        """The report in one line."""
        return (
            f"seed {self.seed}: hash {self.hash}, {self.transactions} transactions, {self.runs} runs, {self.attempts} attempts, "
            f"{self.simulated_us / SECOND:,.0f} simulated seconds, {len(self.violations)} violations"
        )


def all_kinds(shapes: Sequence[ShapeMaker] = SHAPES) -> dict[str, Kind]:
    """Every kind of step there is. Two shapes cannot have one name for different things."""
    kinds = dict(Fleet.kinds)
    for shape in shapes:
        if doubled := shape.kinds.keys() & kinds.keys():
            raise InvalidOption(f"two kinds of steps are called {', '.join(sorted(doubled))}; rename one", option="shapes")
        kinds |= shape.kinds
    return kinds


def scenario_of(seed: int, shapes: Sequence[ShapeMaker] = SHAPES) -> Scenario:
    """The story of a seed. One in four has schedules, for more of them would make all else rare."""
    told = shapes if seed % 4 == 3 else [shape for shape in shapes if shape is not Scheduled]
    return Scenario.draw(seed, all_kinds(told))


def simulate(
    scenario: Scenario | int,
    *,
    stage: Stage | None = None,
    shapes: Sequence[ShapeMaker] = SHAPES,
    say: Callable[[str], None] | None = None,
    check_each_step: bool = False,
) -> Report:
    """Play a scenario, or that of a seed, to its end. The same story every time, in any process and on any stage; whoever plays
    many keeps one, which saves a third of the time.

    ``check_each_step`` looks at every invariant after every step, which is slow, and says which step broke one.
    """
    if stage is None:
        with contextlib.closing(Stage()) as own:
            return simulate(scenario, stage=own, shapes=shapes, say=say, check_each_step=check_each_step)
    if isinstance(scenario, int):
        scenario = scenario_of(scenario, shapes)
    return Simulation(scenario, stage, shapes, Trace(say), check_each_step=check_each_step).play()


class Simulation:
    """A scenario under way."""

    def __init__(
        self, scenario: Scenario, stage: Stage, shapes: Sequence[ShapeMaker], trace: Trace, *, check_each_step: bool = False
    ) -> None:
        settings = scenario.settings
        self._scenario = scenario
        self._check_each_step = check_each_step
        self._trace = trace
        self._world = World(trace, stage, slow_us=int(1.2 * settings.ttl_us))
        self._witness = Witness(self._world, tasks=TASKS, clock_is_true=settings.clocks == "one")
        self._fleet = Fleet(self._world, self._witness, settings, QUEUES)
        self._shapes: list[Shape] = [make(self._world, self._witness) for make in shapes]
        self._calls = {kind: call for shape in self._shapes for kind, call in shape.calls().items()}
        self._steps = self._fleet.steps()
        self._began_at = self._world.elapsed

    def play(self) -> Report:
        """The whole story. What it raises breaks a promise too: whatever happens, a call gives an answer or an error of ours."""
        try:
            return self._play()
        except Exception as error:  # noqa: BLE001  (a story among many, which must not end the others)
            return self._report([Violation("nothing_else_is_raised", type(error).__name__, traceback.format_exc(limit=-3))])

    def _play(self) -> Report:
        for shape in self._shapes:
            self._fleet.call(0, shape.begin)
        for number, step in enumerate(self._scenario.steps):
            self._do(step.kind, Random(step.dice))
            if self._check_each_step and (found := self._look()):
                self._trace.note(f"after step {number} ({step.kind}): {found[0]}")
                return self._report(found)
        found = self._look()
        if not found:
            self._come_to_an_end()
            found = self._look(ended=True)
        return self._report(found)

    def _do(self, kind: str, dice: Random) -> None:
        self._trace.note(f"{self._world.elapsed} -- {kind}")
        call = self._calls.get(kind)
        if call is None:
            self._steps[kind](dice)
            return
        number = dice.randrange(2)
        self._fleet.call(number, lambda client: call(client, dice))
        self._fleet.hint(dice)

    def _come_to_an_end(self) -> None:
        """Heal, and let time pass until nothing is left to do, or nothing moves any more."""
        self._fleet.heal()
        for shape in self._shapes:
            self._fleet.call(0, shape.heal)
        give_up_at = self._world.elapsed + _PATIENCE_US
        while True:
            while self._unfinished() and self._world.elapsed < give_up_at and not self._witness.broken:
                self._fleet.run_until(self._world.elapsed + _LOOK_US)
            self._fleet.run_until(self._world.elapsed + _AFTERMATH_US)
            if not self._unfinished() or self._world.elapsed >= give_up_at or self._witness.broken:
                break  # else upkeep let in what no run told of: the next of a schedule's backlog
        self._trace.note(f"{self._world.elapsed} the end")

    def _unfinished(self) -> list[tuple[str, str]]:
        ended = ", ".join(f"'{state}'" for state in sorted(_ASKED_TO_WAIT))
        return self._world.look(
            f"SELECT r.id, r.state FROM runs r WHERE r.state NOT IN ({ended}) AND NOT (r.state = 'blocked' AND EXISTS ("
            "WITH RECURSIVE behind (id) AS (SELECT d.upstream_id FROM dependencies d WHERE d.run_id = r.id AND d.open = 1"
            f" UNION SELECT h.run_id {_HOLDERS} WHERE o.run_id = r.id"
            f" UNION SELECT h.run_id {_HOLDERS} JOIN behind ON o.run_id = behind.id"
            " UNION SELECT d.upstream_id FROM dependencies d JOIN behind ON d.run_id = behind.id WHERE d.open = 1"
            " UNION SELECT m.id FROM runs m JOIN behind ON m.batch_id = behind.id WHERE m.ended_at IS NULL)"
            " SELECT 1 FROM behind JOIN runs u ON u.id = behind.id WHERE u.state = 'needs_attention'))"
        )

    def _look(self, *, ended: bool = False) -> list[Violation]:
        """Everything that does not hold now; at the end of the story, everything that ever did not."""
        found = [*self._witness.broken]
        rows = invariants.violations(self._world.database, lowered=self._witness.lowered)
        found += rows
        if ended:
            found += self._look_back()
        return [each for each in found if not any(shape.excuses(each) for shape in self._shapes)]

    def _look_back(self) -> Iterator[Violation]:
        with invariants.snapshot(self._world.database) as select:
            ledgers = invariants.ledgers(select)
        yield from self._witness.verify(ledgers)
        for shape in self._shapes:
            yield from shape.verify(ledgers)
        for run_id, state in self._unfinished():
            yield Violation("work_comes_to_an_end", run_id, f"is still {state}")

    def _report(self, found: Sequence[Violation]) -> Report:
        rows = self._world.look("SELECT id, state, token, seq, ended_at FROM runs ORDER BY id")
        for row in rows:
            self._trace.note(str(row))
        return Report(
            seed=self._scenario.seed,
            hash=self._trace.hash,
            violations=tuple(found),
            transactions=self._trace.transactions,
            runs=len(rows),
            attempts=self._witness.attempts,
            simulated_us=self._world.elapsed - self._began_at,
        )
