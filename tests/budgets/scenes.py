"""What is counted: the few things that happen for every run, and what happens when nothing does.

Each scene does one thing many times on a warm database and gives what it cost on average. Time stands still but where a scene moves
it, ids count up and the dice lie, so a scene gives the same numbers each time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import apsw
import psycopg

from bench.instant import BATCH, instant_worker
from mainspring.client import Client, Request
from mainspring.core.durations import SECOND
from mainspring.core.lanes import Lane
from mainspring.core.lease import DEFAULT_TTL
from mainspring.core.policy import Policy
from mainspring.operations.enqueue import policy_row
from mainspring.runtime.maintenance import Maintenance
from mainspring.runtime.worker import Worker
from mainspring.store.migrate import migrate
from mainspring.store.postgres import PostgresDatabase
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.budgets.meter import Metered, VmSteps, WalBytes

BODY = b'{"to":"somebody@example.org","subject":"hello","n":12345}'
LANE = Lane(namespace="default", queue="default", task="send")
REQUEST = Request(lane=LANE, policy=policy_row(Policy()), body=BODY)

ONES, BULKS, BULK, WARM_TURNS, TURNS = 300, 5, 1_000, 5, 15
WARM_TICKS, TICKS = 35, 60  # a fleet that is new reaps nobody for a lease


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A database of one kind, metered, with a client on it. ``pass_time`` lets a second go by for everybody."""

    kind: str
    version: str
    database: Metered
    client: Client
    system: SimulatedSystem
    pass_time: Callable[[], None]


def enqueue_one(house: House) -> int:
    """A run by itself, as a web request creates it."""
    house.client.submit([REQUEST])
    house.database.meter.reset()
    for _ in range(ONES):
        house.client.submit([REQUEST])
    return ONES


def enqueue_thousand(house: House) -> int:
    """A thousand runs in one call."""
    wanted = [REQUEST] * BULK
    house.client.submit(wanted)
    house.database.meter.reset()
    for _ in range(BULKS):
        house.client.submit(wanted)
    return BULKS


def turn_of_hundred(house: House) -> int:
    """A busy worker's turn: a hundred outcomes are written and a hundred runs claimed."""
    for _ in range(WARM_TURNS + TURNS + 2):
        house.client.submit([REQUEST] * BATCH)
    worker = worker_of(house)
    for _ in range(WARM_TURNS):
        worker.step()
    house.database.meter.reset()
    before = worker.finished
    for _ in range(TURNS):
        worker.step()
    assert worker.finished - before == TURNS * BATCH, "not a turn of a hundred any more: adapt the scene"
    return TURNS


def idle_second(house: House) -> int:
    """What a worker process does in a second in which there is nothing to do: the worker's look, and a pass of maintenance."""
    worker = worker_of(house)
    maintenance = Maintenance(
        house.database, system=house.system, ttl_us=DEFAULT_TTL, actor="maintenance", on_due=lambda: None
    )  # fmt: skip
    for _ in range(WARM_TICKS):
        house.pass_time()
        worker.step()
        maintenance.step()
    house.database.meter.reset()
    for _ in range(TICKS):
        house.pass_time()
        worker.step()
        maintenance.step()
    return TICKS


#: By name: what it is, how many runs one unit of it is about (0: none), and the scene, which gives how many units were counted.
SCENES: dict[str, tuple[str, int, Callable[[House], int]]] = {
    "enqueue one": ("a run", 1, enqueue_one),
    "enqueue 1,000": ("a call", BULK, enqueue_thousand),
    "turn of 100": ("a turn", BATCH, turn_of_hundred),
    "idle": ("a second", 0, idle_second),
}


def worker_of(house: House) -> Worker:
    """A worker whose attempts succeed at once."""
    return instant_worker(house.database, house.system, queues=["default"], task="send", ttl_us=DEFAULT_TTL)


@contextmanager
def sqlite_house() -> Iterator[House]:
    """A database in a file."""
    clock = SimulatedClock()
    with tempfile.TemporaryDirectory(prefix="mainspring-budgets-") as folder:
        database = SqliteDatabase(f"{folder}/runs.db", clock=clock)
        migrate(database, dialect_name="sqlite")
        try:
            yield _house("sqlite", apsw.sqlite_lib_version(), Metered(database, VmSteps()), clock, lambda: clock.advance_us(SECOND))
        finally:
            database.close()


@contextmanager
def postgres_house(url: str) -> Iterator[House]:
    """An empty database of a server that serves nobody else and has ``WalBytes.SETTINGS``."""
    clock = SimulatedClock()
    database, gauge = PostgresDatabase(url), WalBytes(url)
    migrate(database, dialect_name="postgres")
    side = psycopg.connect(url, autocommit=True)
    version = str(side.info.server_version // 10_000)

    def pass_time() -> None:
        """The server's own clock goes on as it likes; what was done is a second ago."""
        clock.advance_us(SECOND)
        side.execute("UPDATE fleet SET last_tick_at = last_tick_at - 1000000, reap_hold_until = reap_hold_until - 1000000")

    try:
        yield _house("postgres", version, Metered(database, gauge), clock, pass_time)
    finally:
        side.close()
        gauge.close()
        database.close()


def _house(kind: str, version: str, metered: Metered, clock: SimulatedClock, pass_time: Callable[[], None]) -> House:
    system = SimulatedSystem(clock)
    client = Client(metered, system=system)
    return House(kind=kind, version=version, database=metered, client=client, system=system, pass_time=pass_time)
