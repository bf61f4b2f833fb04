"""What a seed stands for: the settings of a small fleet, and the steps that are done to it.

Here: drawing both from a number, and writing them down so that they can be done again, whole or in part. Not here: what a step
does (``fleet`` and the shapes). Each step carries dice of its own: take a step away, and the others still do what they did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

import msgspec

from mainspring.core.durations import SECOND

Clocks = Literal["one", "own"]

_MOST_DICE = 2**32
_KEPT = {"user": 0.75, "fault": 0.5}
_CALM_SHARE = 0.1


class Step(NamedTuple):
    """One thing that happens, and the number from which its own choices are drawn."""

    kind: str
    dice: int


class Kind(NamedTuple):
    """A kind of step: how often it comes beside the others, and whose doing it is."""

    weight: int
    by: Literal["time", "user", "fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The fleet of one scenario. ``clocks``: whether the database and all processes share one clock or each has its own, wrong
    by some seconds. ``hints`` is the share of wake-ups that arrive at once; the others are late, doubled or lost."""

    workers: int
    concurrency: int
    ttl_us: int
    poll_us: int
    clocks: Clocks
    hints: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A story for the simulator."""

    seed: int
    settings: Settings
    steps: tuple[Step, ...]

    @staticmethod
    def draw(seed: int, kinds: Mapping[str, Kind]) -> "Scenario":
        """The scenario of a seed. Every seed leaves some kinds of steps out, so that the others come in longer rows."""
        dice = Random(seed)
        calm = dice.random() < _CALM_SHARE
        settings = _draw_settings(dice, calm)
        kept = {name: kind for name, kind in kinds.items() if _is_kept(kind, dice, calm)}
        names, weights = list(kept), [kind.weight for kind in kept.values()]
        count = dice.choice((15, 30, 60, 100))
        chosen = dice.choices(names, weights, k=count)
        return Scenario(seed=seed, settings=settings, steps=tuple(Step(name, dice.randrange(_MOST_DICE)) for name in chosen))

    def with_steps(self, steps: Sequence[Step]) -> "Scenario":
        """The same fleet with other steps."""
        return Scenario(seed=self.seed, settings=self.settings, steps=tuple(steps))

    def as_json(self) -> str:
        """The scenario as a corpus keeps it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n"

    @staticmethod
    def from_json(text: str) -> "Scenario":
        """Undo ``as_json``."""
        return msgspec.json.decode(text, type=Scenario)


def _is_kept(kind: Kind, dice: Random, calm: bool) -> bool:
    if kind.by == "time":
        return True
    return dice.random() < _KEPT[kind.by] and not (calm and kind.by == "fault")


def _draw_settings(dice: Random, calm: bool) -> Settings:
    return Settings(
        workers=dice.choice((1, 2, 2, 3, 3, 4)),
        concurrency=dice.choice((1, 2, 4)),
        ttl_us=dice.choice((3, 5, 6)) * SECOND,
        poll_us=dice.choice((SECOND, 3 * SECOND)),
        clocks="one" if calm or dice.random() < 0.7 else "own",
        hints=dice.choice((1.0, 0.5, 0.0)),
    )
