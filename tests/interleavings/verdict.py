"""What must be true after two operations met: every promise holds, and all is as if one had come after the other.

Here: running the orders of one pair, and judging each. Not here: which third results are right too (``allowed.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from mainspring.store.database import Transaction
from tests.interleavings.allowed import DEADLOCKS, Result, allowance
from tests.interleavings.catalogue import Operation
from tests.interleavings.orders import SERIAL, Choices, Orders
from tests.interleavings.players import Act, Duel, HangError, Outcome
from tests.interleavings.stage import PLAYERS, TABLES, set_stage

_VACUUM_AFTER = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How the two connections are set."""

    name: str
    isolation: str
    portable: bool = False


STOCK = Profile(name="stock", isolation="read committed")
SERIALIZABLE = Profile(name="serializable", isolation="serializable")
PORTABLE = Profile(name="portable", isolation="read committed", portable=True)
PORTABLE_SERIALIZABLE = Profile(name="portable, serializable", isolation="serializable", portable=True)
PROFILES = (STOCK, SERIALIZABLE, PORTABLE, PORTABLE_SERIALIZABLE)

#: How many orders of a pair to run on a profile beside the two serial ones; None: all.
Plan = Mapping[str, int | None]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was run, and what was found."""

    orders: Counter[str] = field(default_factory=Counter)  # by profile, as are the next three
    pairs: Counter[str] = field(default_factory=Counter)
    complete: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    deadlocks: Counter[str] = field(default_factory=Counter)  # by pair
    allowed: Counter[str] = field(default_factory=Counter)  # by reason
    wrong: list[str] = field(default_factory=list)


class Arena:
    """A stage with a pair of players for each profile. Give it an empty database."""

    def __init__(self, url: str, tally: Tally) -> None:
        self.tally = tally
        self._url = url
        self._resources = ExitStack()
        self.stage = self._resources.enter_context(closing(set_stage(url)))
        self._duels: dict[str, Duel] = {}
        self._since_vacuum = 0

    def close(self) -> None:
        """End every session."""
        self._resources.close()

    def meet(self, first: Operation, second: Operation, plan: Plan, *, seed: int, if_it_matters: Plan | None = None) -> None:
        """Run orders of a pair: the serial ones, whose results are the reference of all profiles, then those of the plan; or of
        another plan, where it matters who comes first."""
        encounter = _Encounter(arena=self, pair=(first, second))
        serial = [encounter.run(STOCK, prefix).choices for prefix in SERIAL]
        if if_it_matters is not None and encounter.serial[0] != encounter.serial[-1]:
            plan = if_it_matters
        for profile in PROFILES:
            if profile.name in plan:
                encounter.explore(profile, serial, most=plan[profile.name], seed=seed)

    def replay(self, first: Operation, second: Operation, profile: Profile, order: Choices) -> list[str]:
        """Run one order; its steps."""
        encounter = _Encounter(arena=self, pair=(first, second))
        for prefix in SERIAL:
            encounter.run(STOCK, prefix)
        return encounter.run(profile, order).story

    def duel(self, profile: Profile) -> Duel:
        """The players of a profile, who come when they are first needed."""
        if profile.name not in self._duels:
            duel = Duel(self._url, portable=profile.portable, isolation=profile.isolation)
            self._duels[profile.name] = self._resources.enter_context(closing(duel))
        return self._duels[profile.name]

    def sweep_the_floor(self) -> None:
        """Remove dead rows now and then."""
        self._since_vacuum += 1
        if self._since_vacuum >= _VACUUM_AFTER:
            self.stage.clean()
            self._since_vacuum = 0


@dataclass(slots=True, kw_only=True)
class _Encounter:
    """One pair, and what it leaves when one comes after the other."""

    arena: Arena
    pair: tuple[Operation, Operation]
    serial: list[Result] = field(default_factory=list)

    def explore(self, profile: Profile, serial: Sequence[Choices], *, most: int | None, seed: int) -> None:
        """Run up to ``most`` orders. A sample starts from what the serial runs on stock showed; who wants all starts anew."""
        tally = self.arena.tally
        tally.pairs[profile.name] += 1
        orders = Orders(most=most, seed=f"{seed} {profile.name} {self.pair[0].name} {self.pair[1].name}")
        for prefix, choices in zip(SERIAL, serial, strict=True):
            known = choices if most is not None or profile is STOCK else self.run(profile, prefix).choices
            orders.ran(prefix, known)
        for prefix in orders:
            orders.ran(prefix, self.run(profile, prefix).choices)
        tally.complete[profile.name] += orders.is_complete

    def run(self, profile: Profile, prefix: Choices) -> Outcome:
        """Run one order and judge it."""
        arena = self.arena
        arena.tally.orders[profile.name] += 1
        arena.sweep_the_floor()
        try:
            outcome = arena.duel(profile).fight([self._act(operation) for operation in self.pair], prefix)
        except HangError as hang:
            arena.stage.judge({}, TABLES, frozenset())
            arena.tally.wrong.append(self._told(profile, Outcome(choices=list(prefix)), [str(hang)]))
            return Outcome()
        lowered = frozenset(each.lowers for each in self.pair if each.lowers)
        state, broken = arena.stage.judge(outcome.clocks, outcome.written, lowered)
        first, second = (repr(outcome.answers.get(player)) for player in PLAYERS)
        self._judge(profile, outcome, Result(first, second, state, tuple(broken)))
        return outcome

    def _act(self, operation: Operation) -> Act:
        def act(tx: Transaction, player: str) -> Any:
            return operation.deed(self.arena.stage, tx, player)

        return act

    def _judge(self, profile: Profile, outcome: Outcome, result: Result) -> None:
        tally = self.arena.tally
        if len(self.serial) < len(SERIAL):
            self.serial.append(result)
        tally.conflicts[profile.name] += outcome.again > 0
        names = (self.pair[0].name, self.pair[1].name)
        if outcome.deadlocks:
            tally.deadlocks[" | ".join(names)] += 1
            if frozenset(names) not in DEADLOCKS:
                outcome.broken.append("a deadlock: these two take their locks in different orders")
        if not outcome.broken and not result.broken and result in self.serial:
            return
        why = None if outcome.broken else allowance(names, profile.name, result, self.serial)
        if why:
            tally.allowed[why] += 1
        else:
            told = [*outcome.broken, *result.broken, *self._differences(result)]
            tally.wrong.append(self._told(profile, outcome, told))

    def _told(self, profile: Profile, outcome: Outcome, wrong: Sequence[str]) -> str:
        first, second = (operation.name for operation in self.pair)
        order = ",".join(map(str, outcome.choices))
        lines = [
            f"A = {first}, B = {second} ({profile.name})",
            *(f"    {step}" for step in outcome.story),
            *(f"  ! {self.arena.stage.named(each)}" for each in wrong),
            f'  python -m tests.interleavings --pair "{first}" "{second}" --profile "{profile.name}" --order {order}',
        ]
        return "\n".join(lines)

    def _differences(self, result: Result) -> Iterator[str]:
        """What sets a result apart from each of the serial ones."""
        if result in self.serial:
            return
        for name, expected in zip(("A;B", "B;A"), self.serial, strict=False):
            for player, mine, theirs in zip(PLAYERS, result[:2], expected[:2], strict=True):
                if mine != theirs:
                    yield f"{player} answers {mine}, after {name} {theirs}"
            here, there = result.state.splitlines(), expected.state.splitlines()
            yield from (f"here, not after {name}: {row}" for row in here if row not in there)
            yield from (f"after {name}, not here: {row}" for row in there if row not in here)
