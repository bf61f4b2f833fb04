"""The fleet of a simulation: its processes, the time that passes for them, and everything that befalls them.

Here: who is alive, who is due, and the faults. Not here: what users do (shapes), and what must hold (``witness``,
``testing/invariants.py``).
"""

import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from random import Random

from mainspring.core.durations import DAY, HOUR, MILLISECOND, SECOND
from mainspring.errors import BrokenInvariant
from mainspring.testing.simulator.ghosts import Ghosts
from mainspring.testing.simulator.nodes import ClientNode, WorkerNode
from mainspring.testing.simulator.scenario import Kind, Settings
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import STRIKES, Crash, Line, World

_CLIENTS = 2
_MOST_AT_ONCE = 400
_MOST_WORKERS = 6
_WORST_SKEW_US = 10 * SECOND
_PATIENT = 3


class Fleet:
    """Workers and clients on one database."""

    kinds: Mapping[str, Kind] = {
        "pass": Kind(22, "time"),
        "work": Kind(22, "time"),
        "upkeep": Kind(6, "time"),
        "code": Kind(12, "time"),
        "long pass": Kind(1, "fault"),
        "kill": Kind(3, "fault"),
        "pause": Kind(6, "fault"),
        "stop": Kind(2, "user"),
        "start": Kind(2, "user"),
        "strike": Kind(12, "fault"),
        "ghost": Kind(6, "fault"),
        "cut": Kind(3, "fault"),
        "outage": Kind(2, "fault"),
        "clock step": Kind(1, "fault"),
    }

    def __init__(self, world: World, witness: Witness, settings: Settings, queues: tuple[str, ...]) -> None:
        self._world = world
        self._witness = witness
        self._settings = settings
        self._queues = queues
        self._made = 0
        self.healthy = False
        self.workers: dict[str, WorkerNode] = {}
        self.clients: list[ClientNode] = []
        self._ghosts = Ghosts(world, witness)
        witness.is_trusted = self._is_trusted
        world.meanwhile = self._meanwhile
        for _ in range(settings.workers):
            self._start_worker()
        for _ in range(_CLIENTS):
            self.clients.append(ClientNode(world, self._number()))

    def steps(self) -> Mapping[str, Callable[[Random], None]]:
        """What each kind of step does."""
        return {
            "pass": self._pass,
            "long pass": self._long_pass,
            "work": partial(self._nudge, what="work"),
            "upkeep": partial(self._nudge, what="upkeep"),
            "code": partial(self._nudge, what="code"),
            "kill": self._kill,
            "pause": self._pause,
            "stop": self._stop,
            "start": self._start,
            "strike": self._strike,
            "ghost": self._ghosts.speak,
            "cut": self._cut,
            "outage": self._outage,
            "clock step": self._step_clock,
        }

    # -- time -------------------------------------------------------------------------------------------------------

    def run_until(self, instant: int) -> None:
        """Let everybody do what is due, in order, until an instant of the monotonic clock."""
        at_once = 0
        while self.workers:
            now = self._world.elapsed
            due_at, name = min((node.next_at(now), name) for name, node in self.workers.items())
            if due_at > instant:
                break
            node = self.workers[name]
            at_once = at_once + 1 if due_at == now else 0
            if at_once > _MOST_AT_ONCE:
                self._witness.accuse("services_come_to_rest", node.name, f"{at_once} things done in one instant")
                break
            self._advance_to(due_at)
            self._act(node, partial(node.do_next, due_at))
        self._advance_to(instant)

    def _meanwhile(self, name: str, us: int) -> None:
        """One process waits for an answer, and the others go on."""
        node = self.workers.get(name)
        if node is not None:
            node.waits = True
        self.run_until(self._world.elapsed + us)
        if node is not None:
            node.waits = False

    def _advance_to(self, instant: int) -> None:
        self._world.clock.advance_us(max(0, instant - self._world.elapsed))

    def _pass(self, dice: Random) -> None:
        us = int(MILLISECOND * 10 ** dice.uniform(0.0, 4.0))
        self.run_until(self._world.elapsed + us)

    def _long_pass(self, dice: Random) -> None:
        """Long enough for keys to expire and for dead workers to be forgotten."""
        us = dice.choice((HOUR, DAY + HOUR))
        self.run_until(self._world.elapsed + 2 * SECOND)
        self._advance_to(self._world.elapsed + us)
        self._witness.troubled.update(self.workers)

    def _nudge(self, dice: Random, *, what: str) -> None:
        """Step a service before it asked for it, as hints of any kind do; or let user code go on."""
        node = self._any(dice)
        if node is None or node.is_paused(self._world.elapsed):
            return
        now = self._world.elapsed
        match what:
            case "work":
                self._act(node, partial(node.work.step, now))
            case "upkeep":
                self._act(node, partial(node.upkeep.step, now))
            case _:
                if (due_at := node.executor.next_at(now)) is not None and due_at <= now:
                    self._act(node, partial(node.executor.advance, now))

    def hint(self, dice: Random) -> None:
        """There is new work: tell workers at once, late, twice, or not at all."""
        for node in self.workers.values():
            if dice.random() < self._settings.hints:
                node.work.ring(self._world.elapsed)
            elif dice.random() < 0.3:
                node.work.ring(self._world.elapsed + dice.randrange(SECOND))

    # -- processes --------------------------------------------------------------------------------------------------

    def _act(self, node: WorkerNode, act: Callable[[], None]) -> None:
        """Let a process do something. It may die of it; anything else that gets out is a bug of ours."""
        try:
            act()
        except Crash:
            self._bury(node)
        except (BrokenInvariant, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._witness.accuse("services_do_not_break", node.name, f"{error!r} at {place.name}:{place.lineno}")
            self._bury(node)
        if node.is_done and node.name in self.workers:
            self._say_goodbye(node)

    def _say_goodbye(self, node: WorkerNode) -> None:
        with suppress(Crash):
            if not node.leave():
                self._witness.troubled.add(node.name)
        del self.workers[node.name]
        self._replace()

    def call(self, number: int, call: Callable[[ClientNode], None]) -> None:
        """Let a client do something. It may die of it, and another takes its place."""
        place = number % len(self.clients)
        try:
            call(self.clients[place])
        except Crash:
            self.clients[place] = ClientNode(self._world, self._number())

    def _bury(self, node: WorkerNode) -> None:
        self._witness.troubled.add(node.name)
        self._world.trace.note(f"{self._world.elapsed} {node.name} is dead")
        self.workers.pop(node.name, None)
        self._replace()

    def _replace(self) -> None:
        if not self.workers:
            self._start_worker()

    def _start_worker(self) -> None:
        number = self._number()
        dice = Random(number * 7919)
        queues = self._queues if self.healthy or number == 1 or dice.random() < 0.7 else (dice.choice(self._queues),)
        node = WorkerNode(self._world, self._witness, self._settings, number, queues=queues)
        node.serves_all = queues == self._queues
        node.hears = self._settings.hints > 0.2
        if self._settings.clocks == "own" and not self.healthy:
            node.set_skew(dice.randrange(-_WORST_SKEW_US, _WORST_SKEW_US))
        self.workers[node.name] = node

    def _number(self) -> int:
        self._made += 1
        return self._made

    def _is_trusted(self, name: str) -> bool:
        node = self.workers.get(name)
        return node is not None and not node.is_paused(self._world.elapsed) and node.worker.is_trusted

    def _any(self, dice: Random) -> WorkerNode | None:
        return dice.choice(list(self.workers.values())) if self.workers else None

    # -- faults -----------------------------------------------------------------------------------------------------

    def _kill(self, dice: Random) -> None:
        if (node := self._any(dice)) is not None:
            self._bury(node)

    def _pause(self, dice: Random) -> None:
        """A worker stands still, preferably one that is at work."""
        at_work = [node for node in self.workers.values() if node.executor.running]
        if (node := dice.choice(at_work) if at_work else self._any(dice)) is not None:
            self._witness.troubled.add(node.name)
            us = int(self._settings.ttl_us * dice.uniform(0.5, 3.0))
            node.paused_until = self._world.elapsed + us
            self._perhaps_pass(dice, us)

    def _perhaps_pass(self, dice: Random, us: int) -> None:
        """Half of the time, let a trouble last to its end at once: what follows from it is otherwise rare."""
        if dice.random() < 0.5:
            self.run_until(self._world.elapsed + us)

    def _stop(self, dice: Random) -> None:
        if (node := self._any(dice)) is not None and not node.is_leaving:
            node.begin_to_stop(self._world.elapsed, dice.choice((0, SECOND, 30 * SECOND)))

    def _start(self, dice: Random) -> None:
        del dice
        if len(self.workers) < _MOST_WORKERS:
            self._start_worker()

    def _strike(self, dice: Random) -> None:
        """Trouble for a process at one of its next transactions, and now and then more of it at once."""
        line, after = self._victim(dice), dice.choice((0, 0, 1, 2, 5))
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            line.plan(dice.choice(STRIKES), after=after)

    def _cut(self, dice: Random) -> None:
        line = self._victim(dice)
        us = int(self._settings.ttl_us * dice.uniform(0.05, 2.5))
        line.cut_until = self._world.elapsed + us
        self._perhaps_pass(dice, us)

    def _victim(self, dice: Random) -> Line:
        """Whose line it befalls: workers twice as often as clients."""
        working = [node.line for node in self.workers.values()]
        line = dice.choice([*working, *working, *(client.line for client in self.clients)])
        self._witness.troubled.add(line.name)
        return line

    def _outage(self, dice: Random) -> None:
        us = int(self._settings.ttl_us * dice.uniform(0.05, 3.0))
        self._world.outage_until = self._world.elapsed + us
        self._perhaps_pass(dice, us)

    def _step_clock(self, dice: Random) -> None:
        if self._settings.clocks == "own" and (node := self._any(dice)) is not None:
            node.set_skew(dice.randrange(-_WORST_SKEW_US, _WORST_SKEW_US))

    # -- the end of all faults --------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Nothing goes wrong from now on: clocks are right, lines are up, everybody is awake, and there is a worker for all.
        Hints stay lost: work must go on by looking alone."""
        self.healthy = True
        now = self._world.elapsed
        self._world.outage_until = now
        self._world.skew_us = 0
        for client in self.clients:
            client.line.heal()
        for number, worker in enumerate(self.workers.values()):
            worker.line.heal()
            worker.set_skew(0)
            worker.paused_until = min(worker.paused_until, now)
            worker.upkeep.slack = _PATIENT
            worker.hears = False
            if number > 0 and not worker.is_leaving:  # one who saw it all goes on; the others go, for a story must end some time
                worker.begin_to_stop(now, SECOND)
        if not any(worker.serves_all and not worker.is_leaving for worker in self.workers.values()):
            self._start_worker()
