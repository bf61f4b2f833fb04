"""`python -m bench.shares [--only NAME] [--db sqlite|postgres] [--large N]`: what keys, limits, backlogs and idle runs cost.

Here: ratios of the library to itself. Each work is measured beside its plain form in turn, on fresh databases, and what is printed
are medians and their ratio. A turn is what a worker does in one transaction (write what ended, claim a hundred), without user
code, so that the claim is seen and not the executor. Not here: other systems, and the bare SQL (`bench/__main__.py`).
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

from mainspring.client import Client, Request
from mainspring.core.attempts import Succeeded
from mainspring.core.durations import DAY
from mainspring.core.lanes import Lane
from mainspring.core.limits import Limit, Rate
from mainspring.core.policy import Policy
from mainspring.operations import attempts, claims
from mainspring.operations.attempts import Ended
from mainspring.operations.claims import Claimer, Walk
from mainspring.operations.enqueue import policy_row
from mainspring.runtime.maintenance import Maintenance
from mainspring.testing.postgres import fresh_database, postgres_server

POLICY = Policy()
BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A work beside its plain form: `bar` is the least ratio of the two rates. Counts are of runs."""

    name: str
    title: str
    bar: float
    ours: Callable[[str, int], float]
    plain: Callable[[str, int], float]


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
        _settle(database.conninfo)
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


def _settle(conninfo: str) -> None:
    """Have the server look at what was just filled in, as it would in its own time."""
    import psycopg

    with psycopg.connect(conninfo, autocommit=True) as session:
        session.execute("VACUUM ANALYZE")


def plain(url: str, count: int) -> float:
    return _closing(fill(url, count), lambda client: turns(client, count))


def under_key_limits(url: str, count: int) -> float:
    limits = (Limit(2_000), Limit(5, each_key=True))
    return _closing(fill(url, count, keys=1_000, limits=limits), lambda client: turns(client, count))


def under_everything(url: str, count: int) -> float:
    limits = (Limit(2_000), Limit(5, each_key=True), Rate(1_000_000, per="1s", burst=1_000_000))
    return _closing(fill(url, count, keys=1_000, limits=limits), lambda client: turns(client, count))


def busy_lanes(url: str, count: int) -> float:
    return _closing(fill(url, 100_000, keys=100_000), lambda client: turns(client, count))


def beside_a_full_lane(url: str, count: int) -> float:
    """A lane with a hundred times the runs is full; the others go on."""
    client = fill(url, 10 * count, keys=1, limits=(Limit(1, each_key=True),))
    client.submit([Request(lane=Lane(namespace="default", queue="default", task="noop"), policy=policy_row(POLICY), body=b"{}")
                   for _ in range(min(count, 10_000))])  # fmt: skip
    return _closing(client, lambda client: turns(client, min(count, 10_000)))


def shallow(url: str, count: int) -> float:
    return _closing(fill(url, 10_000), lambda client: turns(client, 8_000))


def deep(url: str, count: int) -> float:
    return _closing(fill(url, LARGE), lambda client: turns(client, 8_000))


def ticks_of_nothing(url: str, count: int) -> float:
    return _closing(fill(url, 0), _ticks)


def ticks_beside_idle(url: str, count: int) -> float:
    return _closing(fill(url, LARGE, delay=30 * DAY), _ticks)


def _ticks(client: Client) -> float:
    """Looks of the maintenance service, a second."""
    database: Any = client.database
    if hasattr(database, "conninfo"):
        _settle(database.conninfo)
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

SHARES = (
    Share(name="keys", title="1,000 keys, each limited, and the queue", bar=0.7, ours=under_key_limits, plain=plain),
    Share(name="everything", title="the same, and a rate", bar=0.4, ours=under_everything, plain=plain),
    Share(name="lanes", title="100,000 keys in turn", bar=0.7, ours=busy_lanes, plain=plain),
    Share(name="full", title="beside a full key with many more runs", bar=0.95, ours=beside_a_full_lane, plain=shallow),
    Share(name="deep", title="1,000,000 queued beside 10,000", bar=0.9, ours=deep, plain=shallow),
    Share(name="idle", title="upkeep beside 1,000,000 future runs", bar=0.9, ours=ticks_beside_idle, plain=ticks_of_nothing),
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
    asked = parser.parse_args()
    for kind in asked.db or ["postgres", "sqlite"]:
        with databases(kind) as fresh:
            for share in SHARES:
                if asked.only in {None, share.name}:
                    _print(kind, share, _measure(share, fresh, asked.rounds, asked.count))
    return 0


def _measure(share: Share, fresh: Callable[[], Any], rounds: int, count: int) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        for rates, work in ((beside, share.plain), (ours, share.ours)):
            with fresh() as url:
                rates.append(work(url, count))
    return ours, beside


def _print(kind: str, share: Share, found: tuple[list[float], list[float]]) -> None:
    ours, beside = map(statistics.median, found)
    ratio = ours / beside
    verdict = "" if ratio >= share.bar else "  BELOW"
    rates = f"{ours:10,.0f} /s beside {beside:10,.0f} /s"
    print(f"{kind:9} {share.title:40} {rates}: {ratio:.2f} (bar {share.bar}){verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
