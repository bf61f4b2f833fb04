"""The processes of a simulation: a worker process with its services, and a client.

Here: the production services, stepped when their own answer, a hint or chance says so, with what a process loses when it dies.
Not here: what happens to them (``fleet``), and what user code does (``code``).
"""

from collections.abc import Callable
from functools import partial
from random import Random

from mainspring.client import Client
from mainspring.core.durations import SECOND
from mainspring.core.ids import uuid7
from mainspring.core.lease import longest_backoff_us
from mainspring.errors import WorldTrouble
from mainspring.operations import attempts
from mainspring.runtime.driver import FIRST_BACKOFF_SECONDS
from mainspring.runtime.maintenance import Maintenance
from mainspring.runtime.service import Service
from mainspring.runtime.worker import Worker, WorkerPlan
from mainspring.testing.simulator.code import ScriptedExecutor
from mainspring.testing.simulator.scenario import Settings
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import Line, World

_NEVER = 2**62
_FIRST_BACKOFF_US = int(FIRST_BACKOFF_SECONDS * SECOND)


class NodeSystem:
    """The ``System`` of one process: its clock may be wrong, its ids are its own."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._dice = Random(number)
        self.number = number
        self._made = 0
        self.skew_us = 0
        self.made: list[str] = []

    def now(self) -> int:
        """UTC microseconds, as this process believes."""
        return self._world.clock.now + self.skew_us

    def monotonic(self) -> int:
        """A clock that never steps."""
        return self._world.elapsed

    def boottime(self) -> int:
        """The same: a frozen process does not stop it."""
        return self._world.elapsed

    def new_id(self) -> str:
        """The next id of this process."""
        self._made += 1
        made = uuid7(self.now() // 1000, self._made << 32 | self.number)
        self.made.append(made)
        return made

    def draw(self) -> float:
        """A number in [0, 1)."""
        return self._dice.random()


class Duty:
    """One service of a process: when it is due, by its own last answer or by a hint; ``slack`` times later than it asked where
    its thread gets little of the processor."""

    def __init__(self, service: Service, due_at: int, *, ttl_us: int, slack: int = 1) -> None:
        self.service = service
        self.slack = slack
        self._longest_backoff_us = longest_backoff_us(ttl_us)
        self.due_at = due_at
        self._backoff_us = _FIRST_BACKOFF_US

    def step(self, now: int) -> None:
        """Step it as the driver does: after trouble again, later and later."""
        try:
            wake = self.service.step()
        except WorldTrouble:
            self.due_at = now + self._backoff_us
            self._backoff_us = min(2 * self._backoff_us, self._longest_backoff_us)
            return
        self._backoff_us = _FIRST_BACKOFF_US
        self.due_at = now + int(wake.after_seconds * SECOND) * self.slack

    def ring(self, at: int) -> None:
        """A hint: step no later than that."""
        self.due_at = min(self.due_at, at)


class WorkerNode:
    """A worker process."""

    def __init__(self, world: World, witness: Witness, settings: Settings, number: int, *, queues: tuple[str, ...]) -> None:
        self.name = f"w{number}"
        self.line = Line(world, self.name)
        self.system = NodeSystem(world, number)
        self.paused_until = 0
        self.waits = False  # for an answer of the database
        self.is_leaving = False
        self._ttl_us = settings.ttl_us
        self._guard_at = world.elapsed
        self._cuts_off_at = _NEVER
        self.hears = True
        self.serves_all = True
        self._world = world
        self._serves(settings, witness, queues)

    def _serves(self, settings: Settings, witness: Witness, queues: tuple[str, ...]) -> None:
        self.executor = ScriptedExecutor(self.name, settings.concurrency, witness, self._hint)
        plan = WorkerPlan(
            id=self.name,
            namespace="default",
            queues=dict.fromkeys(queues),
            tasks=dict.fromkeys(witness.tasks, 1),
            concurrency=settings.concurrency,
            ttl_us=settings.ttl_us,
            poll_seconds=settings.poll_us / SECOND,
        )
        self.worker = Worker(self.line, self.executor, plan, system=self.system)
        self.executor.worker = self.worker
        upkeep = Maintenance(self.line, system=self.system, ttl_us=settings.ttl_us, actor=f"worker:{self.name}", on_due=self._hint)
        now = self._world.elapsed
        self.work = Duty(self.worker, now, ttl_us=settings.ttl_us)
        self.upkeep = Duty(upkeep, now, ttl_us=settings.ttl_us, slack=1 if self.system.number % 2 else 3)

    def set_skew(self, us: int) -> None:
        """Let this process's clock be wrong, and with it the database's while this process uses it."""
        self.system.skew_us = self.line.skew_us = us

    def is_paused(self, now: int) -> bool:
        """Whether the process stands still."""
        return self.waits or now < self.paused_until

    def next_at(self, now: int) -> int:
        """When it wants to do something next."""
        if self.waits:
            return _NEVER
        due = min(self.work.due_at, self.upkeep.due_at, self._guard_at, self._cuts_off_at)
        code_at = self.executor.next_at(now)
        return max(due if code_at is None else min(due, code_at), self.paused_until, now)

    def do_next(self, now: int) -> None:
        """Do one of the things that are due: any, for they are done by threads of their own."""
        code_at = self.executor.next_at(now)
        due: list[tuple[bool, Callable[[], None]]] = [
            (self.work.due_at <= now, partial(self.work.step, now)),
            (self.upkeep.due_at <= now, partial(self.upkeep.step, now)),
            (self._guard_at <= now, partial(self._guard, now)),
            (self._cuts_off_at <= now, self._cut_off),
            (code_at is not None and code_at <= now, partial(self.executor.advance, now)),
        ]
        acts = [act for is_due, act in due if is_due]
        acts[int(self.system.draw() * len(acts))]()

    def _guard(self, now: int) -> None:
        """Stop trusting the lease in time."""
        self._guard_at = now + self._ttl_us // 20
        if not self.worker.is_trusted:
            self.worker.distrust()

    def _cut_off(self) -> None:
        self._cuts_off_at = _NEVER
        self.executor.interrupt()

    def begin_to_stop(self, now: int, grace_us: int) -> None:
        """A shutdown in good order begins."""
        self.worker.stop()
        self.executor.give_back()
        self.is_leaving, self._cuts_off_at = True, now + grace_us

    @property
    def is_done(self) -> bool:
        """Whether a process that stops has told everything."""
        return self.is_leaving and self.executor.is_idle and self.worker.is_done

    def leave(self) -> bool:
        """Say goodbye. If that fails the lease runs out."""
        try:
            self.line.write("workers.leave", lambda tx: attempts.leave(tx, self.worker.id))
        except WorldTrouble:
            return False
        return True

    def _hint(self) -> None:
        if self.hears:
            self.work.ring(self._world.elapsed)


class ClientNode:
    """A caller: an application, or an operator."""

    def __init__(self, world: World, number: int) -> None:
        self.name = f"c{number}"
        self.line = Line(world, self.name)
        self.system = NodeSystem(world, number)
        self.client = Client(self.line, system=self.system, actor=f"client:{self.name}")
