"""Schedules under blackouts in the simulator: whatever windows come and go while the fleet fails, each instant has one fate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, ClassVar

import pytest

from mainspring.core.durations import SECOND, format_instant
from mainspring.core.events import Event
from mainspring.core.planning import Visit, shut_down
from mainspring.errors import MainspringError
from mainspring.operations import planning
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator import SHAPES, simulate
from mainspring.testing.simulator.nodes import ClientNode
from mainspring.testing.simulator.scenario import Kind
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import World

_NAMES = ("b1", "b2")


class Blackouts:
    """Windows that people put over schedules, and lift."""

    kinds: ClassVar[Mapping[str, Kind]] = {"blackout": Kind(3, "user"), "lift blackout": Kind(1, "user")}

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world

    def calls(self) -> Mapping[str, Callable[[ClientNode, Random], None]]:
        return {"blackout": self._put, "lift blackout": lambda client, dice: self._lift(client, dice.choice(_NAMES))}

    def begin(self, client: ClientNode) -> None:
        return

    def heal(self, client: ClientNode) -> None:
        for name in _NAMES:
            self._lift(client, name)

    def verify(self, ledgers: Mapping[str, Sequence[Event]]) -> Iterable[Violation]:
        return ()

    def excuses(self, violation: Violation) -> bool:
        return False

    def _put(self, client: ClientNode, dice: Random) -> None:
        first = client.system.now() + dice.randint(-10, 5) * SECOND
        said = {"from": format_instant(first), "to": format_instant(first + dice.randint(1, 20) * SECOND)}
        said["policy"] = dice.choice(("skip", "defer"))
        over = {"schedules": [dice.choice(("s1", "s2", "s*"))]} if dice.random() < 0.5 else {}
        try:
            client.client.blackouts.put_data(dice.choice(_NAMES), said | over)
        except MainspringError:
            return

    @staticmethod
    def _lift(client: ClientNode, name: str) -> None:
        try:
            client.client.blackouts.delete(name)
        except MainspringError:
            return


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _failed(seeds: Iterable[int]) -> list[str]:
    told = []
    for seed in seeds:
        report = simulate(seed, shapes=(*SHAPES, Blackouts))
        told += [f"seed {seed}: {report.violations[0]}"] if report.violations else []
    return told


def test_every_promise_holds_in_stories_with_blackouts() -> None:
    assert _failed(range(3, 303, 4)) == []


def test_a_planner_that_forgets_where_a_window_lay_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deferred is passed by: the cursor goes on, and the instants behind it have no fate."""

    def forgetful(*given: Any, now: int, **options: Any) -> Visit:
        made = shut_down(*given, now=now, **options)
        return replace(made, cursor=made.cursor._replace(cursor_at=max(made.cursor.cursor_at, now)))

    monkeypatch.setattr(planning, "shut_down", forgetful)
    assert any("every_instant_has_one_fate" in each for each in _failed(range(3, 163, 4)))
