"""`python -m bench.shares [--only NAME] [--db sqlite|postgres] [--large]`: what keys, limits, backlogs and idle runs cost.

Here: ratios of the library to itself. Each work is measured beside its plain form in turn, on fresh databases, and what is printed
are medians and their ratio. A turn is what a worker does in one transaction (write what ended, claim a hundred), without user
code, so that the claim is seen and not the executor. `--large` has a million where jobs are promised beside a million; without it
they are 100,000, so that `make bench` has an end. Not here: other systems, and the bare SQL (`bench/__main__.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.settling import settle
from mainspring.client import Client, Request
from mainspring.core.attempts import Succeeded
from mainspring.core.durations import DAY
from mainspring.core.lanes import Lane
from mainspring.core.limits import Limit, Rate
from mainspring.core.policy import Policy
from mainspring.core.states import State
from mainspring.operations import attempts, claims
from mainspring.operations.attempts import Ended
from mainspring.operations.claims import Claimer, Walk
from mainspring.operations.enqueue import policy_row
from mainspring.runtime.maintenance import Maintenance
from mainspring.testing.postgres import fresh_database, postgres_server

POLICY = Policy()
BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many runs are worked off, and how many lie beside them."""

    count: int
    crowd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A work beside its plain form: `bar` is the least ratio of the two rates."""

    name: str
    title: str
    bar: float
    ours: Callable[[str, Size], float]
    plain: Callable[[str, Size], float]


def fill(url: str, count: int, *, keys: int = 0, delay: int = 0, limits: tuple[Limit | Rate, ...] = ()) -> Client:
    """A database with so many runs waiting, over so many concurrency keys."""
    client = Client(url)
    client.migrate()
    client.queues.declare("default", limits=limits)
    lanes = [Lane(namespace="default", queue="default", task="noop", concurrency_key=f"key {n}" if keys else None)
             for n in range(max(1, keys))]  # fmt: skip
    policy = policy_row(POLICY)
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        client.submit([Request(lane=lanes[(start + n) % len(lanes)], policy=policy, body=b"{}", delay=delay) for n in range(size)])
    return client


def turns(client: Client, count: int) -> float:
    """Work off up to `count` runs turn by turn; runs a second."""
    database: Any = client.database
    if hasattr(database, "conninfo"):
        settle(database.conninfo)
    who = Claimer(worker_id="w", namespace="default", queues={"default": None}, tasks={"noop": 1})
    register: dict[str, Any] = {"namespace": "default", "tasks": '["noop"]', "queues": '["default"]', "concurrency": 100}
    database.write("workers.register", lambda tx: attempts.register(tx, "w", **register, ttl=DAY))
    walk = Walk()
    ended: list[Ended] = []
    done = 0
    began = time.perf_counter()
    while done < count:
        runs: list[claims.Claimed] = database.write("worker.turn", partial(_turn, who=who, walk=walk, ended=ended))
        done += len(ended)
        if not runs and not ended:
            break
        ended = [Ended(run, Succeeded(b"null"), POLICY, 0.0) for run in runs]
    return done / (time.perf_counter() - began)


def _turn(tx: Any, *, who: Claimer, walk: Walk, ended: list[Ended]) -> list[claims.Claimed]:
    """Write what ended, and claim."""
    _, runs = attempts.finish_and(tx, ended, lambda: claims.claim(tx, who, walk, most=BATCH).runs, actor="worker:w", limits=True)
    return runs


def plain(url: str, size: Size) -> float:
    return _closing(fill(url, size.count), lambda client: turns(client, size.count))


def under_key_limits(url: str, size: Size) -> float:
    limits = (Limit(2_000), Limit(5, each_key=True))
    return _closing(fill(url, size.count, keys=1_000, limits=limits), lambda client: turns(client, size.count))


def under_everything(url: str, size: Size) -> float:
    limits = (Limit(2_000), Limit(5, each_key=True), Rate(1_000_000, per="1s", burst=1_000_000))
    return _closing(fill(url, size.count, keys=1_000, limits=limits), lambda client: turns(client, size.count))


def busy_lanes(url: str, size: Size) -> float:
    return _closing(fill(url, LANES, keys=LANES), lambda client: turns(client, size.count))


def one_lane(url: str, size: Size) -> float:
    return _closing(fill(url, LANES), lambda client: turns(client, size.count))


def beside_a_full_lane(url: str, size: Size) -> float:
    """The crowd waits for a key that is full; the others go on."""
    client = fill(url, size.crowd, keys=1, limits=FULL)
    return _closing(client, lambda client: _others(client, size.count))


def beside_no_lane(url: str, size: Size) -> float:
    return _closing(fill(url, 1, keys=1, limits=FULL), lambda client: _others(client, size.count))


def _others(client: Client, count: int) -> float:
    lane = Lane(namespace="default", queue="default", task="noop")
    for _ in range(0, count, 10_000):
        client.submit([Request(lane=lane, policy=policy_row(POLICY), body=b"{}") for _ in range(10_000)])
    return turns(client, count)


def shallow(url: str, size: Size) -> float:
    return _closing(fill(url, 10_000), lambda client: turns(client, 8_000))


def deep(url: str, size: Size) -> float:
    return _closing(fill(url, size.crowd), lambda client: turns(client, 8_000))


def ticks_of_nothing(url: str, size: Size) -> float:
    return _closing(fill(url, 0), _ticks)


def ticks_beside_idle(url: str, size: Size) -> float:
    return _closing(fill(url, size.crowd, delay=30 * DAY), _ticks)


def explanations(url: str, size: Size) -> float:
    """How many explanations of waiting runs, behind full limits and a crowd, a second has room for, by the 99th percentile."""
    client = fill(url, size.crowd, keys=1_000, limits=(Limit(100), Limit(5, each_key=True)))
    return _closing(client, _explained)


def _explained(client: Client) -> float:
    database: Any = client.database
    if hasattr(database, "conninfo"):
        settle(database.conninfo)
    turns(client, 200)  # the first hundred ended, the second is held: the queue is full
    waiting = [found.run.id for found in client.runs.find(state=[State.QUEUED], limit=EXPLAINED).data]
    spent = []
    for run_id in waiting:
        began = time.perf_counter()
        client.runs.explain(run_id)
        spent.append(time.perf_counter() - began)
    return 1 / statistics.quantiles(spent, n=100)[-1]


def twenty_milliseconds(url: str, size: Size) -> float:
    """What is promised of an explanation, as a rate."""
    return 50.0


def _ticks(client: Client) -> float:
    """Looks of the maintenance service, a second."""
    database: Any = client.database
    if hasattr(database, "conninfo"):
        settle(database.conninfo)
    service = Maintenance(database, system=client.system, ttl_us=30_000_000, actor="leader", on_due=lambda: None)
    service.step()
    began = time.perf_counter()
    for _ in range(100):
        service.step()
    return 100 / (time.perf_counter() - began)


def _closing(client: Client, measure: Callable[[Client], float]) -> float:
    try:
        return measure(client)
    finally:
        client.close()


LARGE = 1_000_000
CROWD = 100_000
LANES = 100_000
EXPLAINED = 400
FULL = (Limit(0, each_key=True),)

SHARES = (
    Share(name="keys", title="1,000 keys, each limited, and the queue", bar=0.7, ours=under_key_limits, plain=plain),
    Share(name="everything", title="the same, and a rate", bar=0.4, ours=under_everything, plain=plain),
    Share(name="lanes", title="100,000 busy keys beside one lane", bar=0.7, ours=busy_lanes, plain=one_lane),
    Share(name="full", title="beside a crowd behind a full key", bar=0.95, ours=beside_a_full_lane, plain=beside_no_lane),
    Share(name="deep", title="a crowd queued beside 10,000", bar=0.9, ours=deep, plain=shallow),
    Share(name="idle", title="upkeep beside a crowd of future runs", bar=1 / 1.1, ours=ticks_beside_idle, plain=ticks_of_nothing),
    Share(name="explain", title="explain p99 in a crowd beside 20 ms", bar=1.0, ours=explanations, plain=twenty_milliseconds),
)


@contextlib.contextmanager
def databases(kind: str) -> Iterator[Callable[[], contextlib.AbstractContextManager[str]]]:
    """Makes fresh databases of one kind."""
    if kind == "postgres":
        with postgres_server() as server:
            yield lambda: fresh_database(server)
        return

    @contextlib.contextmanager
    def fresh() -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield f"sqlite:///{Path(folder) / 'runs.db'}"

    yield fresh


def main() -> int:
    """Measure and print; 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[share.name for share in SHARES])
    parser.add_argument("--db", choices=["sqlite", "postgres"], action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--large", action="store_true", help=f"a crowd is {LARGE:,}, not {CROWD:,}")
    asked = parser.parse_args()
    size = Size(count=asked.count, crowd=LARGE if asked.large else CROWD)
    for kind in asked.db or ["postgres", "sqlite"]:
        with databases(kind) as fresh:
            for share in SHARES:
                if asked.only in {None, share.name}:
                    _print(kind, share, _measure(share, fresh, asked.rounds, size))
    return 0


def _measure(share: Share, fresh: Callable[[], Any], rounds: int, size: Size) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        for rates, work in ((beside, share.plain), (ours, share.ours)):
            with fresh() as url:
                rates.append(work(url, size))
    return ours, beside


def _print(kind: str, share: Share, found: tuple[list[float], list[float]]) -> None:
    ours, beside = map(statistics.median, found)
    ratio = ours / beside
    verdict = "" if ratio >= share.bar else "  BELOW"
    rates = f"{ours:10,.0f} /s beside {beside:10,.0f} /s"
    print(f"{kind:9} {share.title:40} {rates}: {ratio:.2f} (bar {share.bar:.2f}){verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
