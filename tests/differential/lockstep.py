"""Doing one act on every database and requiring one answer; and, at the end, the same rows everywhere and every promise kept.

Here: what an answer is, when two are the same, and the count of what was met. Not here: what is done (``acts.py``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mainspring.errors import CallerMistake, QueueFull
from mainspring.testing import invariants
from tests.differential.acts import Act
from tests.differential.sides import Rows, Sides
from tests.support.builders import Fleet

_SHOWN = 3_000


class DifferenceError(AssertionError):
    """Databases that answered differently, or hold different rows."""


class Answer(NamedTuple):
    """What an act came to: a value, or a refusal with all that it says."""

    refused: str | None
    value: Any


@dataclass(slots=True)
class Tally:
    """What a campaign met, so that it can be seen not to have been empty: acts with how they ended, and events by type."""

    is_thorough: bool = True
    examples: int = 0
    acts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    @property
    def steps(self) -> int:
        """How many acts there were."""
        return self.acts.total()

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            examples=self.examples + other.examples,
            acts=self.acts + other.acts,
            refusals=self.refusals + other.refusals,
            events=self.events + other.events,
        )

    def table(self) -> str:
        """The figures, for people."""
        kinds = [("acts", self.acts), ("refusals", self.refusals), ("events at the end", self.events)]
        lines = [f"{self.examples:,} examples, {self.steps:,} acts, all answered alike"]
        for name, counted in kinds:
            lines += [name, *(f"  {what:34} {count:>9,}" for what, count in counted.most_common())]
        return "\n".join(lines)


class Lockstep:
    """One example: all databases, empty at first, go through the same acts."""

    def __init__(self, sides: Sides, tally: Tally) -> None:
        self.sides = sides
        self.clock = sides.clock
        self.tally = tally
        self.is_broken = False
        self._fleets = [(side.name, side.fleets(sides.clock)) for side in sides.all]
        for side in sides.all:
            side.empty()

    def do(self, name: str, act: Act, namespace: str = "test") -> Answer:
        """Do ``act`` everywhere; the one answer that all of them gave."""
        answers = {side: self._answer(side, name, act, fleets[namespace]) for side, fleets in self._fleets}
        first, *others = answers.values()
        if any(other != first for other in others):
            self.is_broken = True
            told = "\n".join(f"  {side}: {_shown(answer)}" for side, answer in answers.items())
            raise DifferenceError(f"{name} in namespace {namespace!r} was answered differently:\n{told}")
        self.tally.acts[name] += 1
        if first.refused:
            self.tally.refusals[f"{name}: {first.refused}"] += 1
        return first

    def _answer(self, side: str, name: str, act: Act, fleet: Fleet) -> Answer:
        try:
            return Answer(None, act(fleet))
        except (CallerMistake, QueueFull) as refusal:
            return Answer(refusal.code, (type(refusal).__name__, refusal.message, refusal.details))
        except Exception as error:
            self.is_broken = True
            raise DifferenceError(f"{name} broke on {side}: {type(error).__name__}: {error}") from error

    def script(self, text: str) -> None:
        """Run plain SQL everywhere: what happens to a fleet from outside."""
        for side in self.sides.all:
            side.plain.script(text)

    def forget_workers(self) -> None:
        """Whoever claims next says hello first."""
        for _, fleets in self._fleets:
            for fleet in fleets.values():
                fleet._workers.clear()

    def compare_rows(self, lowered: set[str], *, unkept: set[str]) -> None:
        """The end: the same rows in every table of every database, and every invariant on each. ``unkept`` are runs whose key is
        past its retention: a call that took such a key and gave it up again leaves nobody with it, though the run may live."""
        first, *others = [(side.name, side.plain.tables()) for side in self.sides.all]
        for name, rows in others:
            if rows != first[1]:
                raise DifferenceError(f"rows differ:\n{_difference(first[0], first[1], name, rows)}")
        turn = self.tally.examples % len(self.sides.all)
        for side in self.sides.all if self.tally.is_thorough else self.sides.all[turn : turn + 1]:
            found = [each for each in invariants.violations(side.database, lowered=lowered) if not _is_excused(each, unkept)]
            if found:
                raise AssertionError("\n".join([f"invariants broken on {side.name}:", *map(str, found[:20])]))
        self.tally.examples += 1
        self.tally.events.update(str(row[2]) for row in first[1]["events"])


def _is_excused(violation: invariants.Violation, unkept: set[str]) -> bool:
    return violation.invariant == invariants.a_live_keyed_run_finds_its_key.__name__ and violation.subject in unkept


def _difference(one: str, ours: Rows, other: str, theirs: Rows) -> str:
    lines = []
    for table in ours:
        lines += [f"  {table}: only {one}: {row}" for row in ours[table] if row not in theirs[table]]
        lines += [f"  {table}: only {other}: {row}" for row in theirs[table] if row not in ours[table]]
    return "\n".join(lines)[:_SHOWN]


def _shown(answer: Answer) -> str:
    return (f"refused {answer.refused}: {answer.value}" if answer.refused else repr(answer.value))[:_SHOWN]
