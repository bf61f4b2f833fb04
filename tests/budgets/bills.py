"""Budgets: what a scene cost, what it may cost, and what to say when it costs more.

Here: counting the scenes into bills, the file of budgets, the comparison. Not here: the scenes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mainspring.testing.postgres import fresh_database, postgres_server
from tests.budgets.meter import WalBytes
from tests.budgets.scenes import SCENES, House, postgres_house, sqlite_house

FILE = Path(__file__).with_name("budgets.json")
UNITS = {"sqlite": "VM steps", "postgres": "WAL bytes"}
HOW_TO = "If the change is worth it, make it the budget: python -m tests.budgets --write (and say why in the commit)"
SLACK = 0.05
_HARDLY_ANYTHING = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One statement of a scene: how often it runs for a unit of the scene, and what that costs."""

    times: float
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one unit of a scene costs: waits for an answer inside its transactions, and each statement."""

    waits: float
    lines: dict[str, Line]

    @property
    def amount(self) -> float:
        """The whole."""
        return sum(line.amount for line in self.lines.values())

    @property
    def times(self) -> float:
        """Statements, with a commit as one."""
        return sum(line.times for line in self.lines.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """All scenes on one database, and the version of it that was asked: another one counts otherwise."""

    version: str
    scenes: dict[str, Bill]


def counted(house: House, scene: str) -> Bill:
    """Play a scene and count."""
    units = SCENES[scene][2](house)
    meter = house.database.meter
    lines = {
        name: Line(times=round(count.times / units, 3), amount=round(count.amount / units, 1))
        for name, count in sorted(meter.counts.items())
    }
    return Bill(waits=round(meter.waits / units, 3), lines=lines)


@contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL whose log only we write."""
    with postgres_server(settings=WalBytes.SETTINGS) as url:
        yield url


def counted_on_sqlite() -> Bills:
    """Every scene, each on a database of its own."""
    scenes, version = {}, ""
    for scene in SCENES:
        with sqlite_house() as house:
            scenes[scene], version = counted(house, scene), house.version
    return Bills(version=version, scenes=scenes)


def counted_on_postgres(url: str) -> Bills:
    """Every scene, each in a database of its own on the server at ``url``."""
    scenes, version = {}, ""
    for scene in SCENES:
        with fresh_database(url) as fresh, postgres_house(fresh) as house:
            scenes[scene], version = counted(house, scene), house.version
    return Bills(version=version, scenes=scenes)


def complaints(scene: str, unit: str, budget: Bill, found: Bill) -> list[str]:
    """What costs more than it may; nothing when all is well. Less is always well."""
    wrong = []
    for name, line in found.lines.items():
        allowed = budget.lines.get(name, Line(times=0, amount=0))
        if line.times > allowed.times:
            wrong.append(f"{scene}: {name} runs {line.times:g} times, and {allowed.times:g} are in the budget")
        if line.amount > allowed.amount * (1 + SLACK) and line.amount - allowed.amount > budget.amount * _HARDLY_ANYTHING:
            wrong.append(f"{scene}: {name} costs {line.amount:,.0f} {unit}, and {allowed.amount:,.0f} are in the budget")
    if found.waits > budget.waits:
        wrong.append(f"{scene}: somebody waits {found.waits:g} times for an answer, and {budget.waits:g} are in the budget")
    if found.amount > budget.amount * (1 + SLACK):
        wrong.append(f"{scene}: costs {found.amount:,.0f} {unit} in all, and {budget.amount:,.0f} are in the budget")
    return wrong


def load() -> dict[str, Bills]:
    """The budgets, by database."""
    return {kind: _bills(given) for kind, given in json.loads(FILE.read_text()).items()}


def save(bills: dict[str, Bills]) -> None:
    """Make these the budgets."""
    FILE.write_text(json.dumps({kind: asdict(each) for kind, each in bills.items()}, indent=1) + "\n")


def _bills(given: dict[str, Any]) -> Bills:
    scenes = {
        name: Bill(waits=bill["waits"], lines={name: Line(**line) for name, line in bill["lines"].items()})
        for name, bill in given["scenes"].items()
    }
    return Bills(version=given["version"], scenes=scenes)
