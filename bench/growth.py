"""`python -m bench.growth [--large] [--only NAME] [--db KIND] [--minutes N]`: does it stay as fast when there is more of something?

Two databases of one kind, with little and with much of it, take turns at the same work in this process: runs are enqueued one by
one and many at once, and a worker's turns are made (a hundred outcomes, a hundred claims) without user code. What counts is the
ratio of the two rates; 0.9 or more is flat.  `snapshot` (a transaction held open under load) and `soak` (hours at half load)
are in `bench/soak.py`; they run where `--only` names them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import psycopg

from bench import soak
from bench.instant import instant_worker
from bench.settling import settle
from mainspring.client import Client, Request
from mainspring.core.durations import MINUTE
from mainspring.core.lanes import Lane
from mainspring.core.policy import Policy
from mainspring.operations.enqueue import policy_row
from mainspring.testing.postgres import fresh_database, postgres_server

LEAST_RATIO = 0.9
SINGLES, BULKS, BULK = 300, 10, 500
BODY = b'{"x":1}'
STEP = 100_000

# One row of a history that ends a day before the measurement: the n-th of ``:total`` runs, a second apart.
ENDED = "(:now - 86400000000 - (:total - n) * 1000000)"
RUNS = """
    INSERT INTO runs (id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases,
                      payload_seq, worker_id, created_at, ended_at)
    SELECT {id}, {lane}, {policy}, 'succeeded', NULL, {ended} - 5000, 1, 3, 0, 0, 0, 1, NULL, {ended} - 5000, {ended}
    FROM {numbers}"""
EVENTS = """
    INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
    SELECT {id}, e.seq, e.type, e.state, {ended}, 'worker:of-old', NULL, {body}
    FROM {numbers} CROSS JOIN (
        SELECT 1 AS seq, 'created' AS type, 'queued' AS state
        UNION ALL SELECT 2, 'claimed', 'running' UNION ALL SELECT 3, 'succeeded', 'succeeded') e"""


class Side:
    """One of the two databases, with a client and a worker on it, and the lanes over which its runs are spread."""

    def __init__(self, url: str, *, queues: int = 1, keys: int = 0) -> None:
        self.url = url
        self.client = Client(url)
        self.client.migrate()
        names = [f"queue-{n}" for n in range(queues)]
        lanes = [
            Lane(namespace="default", queue=queue, task="touch", concurrency_key=f"key-{n}" if keys else None)
            for queue in names
            for n in range(max(1, keys))
        ]
        policy = policy_row(Policy())
        self._requests = cycle([Request(lane=lane, policy=policy, body=BODY) for lane in lanes])
        self.worker = instant_worker(self.client.database, self.client.system, queues=names, task="touch", ttl_us=10 * MINUTE)

    def fill(self, runs: int) -> None:
        """So many runs wait, spread over the lanes."""
        for start in range(0, runs, 5_000):
            self.client.submit([next(self._requests) for _ in range(min(5_000, runs - start))])

    def enqueue_singly(self) -> float:
        """Runs a second, each in a commit of its own."""
        began = time.perf_counter()
        for _ in range(SINGLES):
            self.client.submit([next(self._requests)])
        return SINGLES / (time.perf_counter() - began)

    def enqueue_at_once(self) -> float:
        """Runs a second, some hundred of one lane in a call."""
        began = time.perf_counter()
        for _ in range(BULKS):
            self.client.submit([next(self._requests)] * BULK)
        return BULKS * BULK / (time.perf_counter() - began)

    def work(self) -> float:
        """Claim and finish as many as the two others enqueue: runs a second."""
        wanted = self.worker.finished + SINGLES + BULKS * BULK
        before, began = self.worker.finished, time.perf_counter()
        while self.worker.finished < wanted:
            self.worker.step()
            if self.worker.found_nothing and self.worker.has_nothing:
                break
        return (self.worker.finished - before) / (time.perf_counter() - began)

    def remember(self, runs: int) -> None:
        """Make a history of finished runs, in plain SQL, for it would take hours otherwise."""
        self.fill(1)
        self.work()
        for start in range(0, runs, STEP):
            self._remember(start + 1, min(start + STEP, runs), runs)

    def _remember(self, first: int, last: int, total: int) -> None:
        if self._is_sqlite:
            known = {
                "id": "printf('00%06x-%04x-7000-8000-%012x', n / 65536, n % 65536, n)",
                "numbers": f"(WITH RECURSIVE c(n) AS"
                f" (SELECT {first} UNION ALL SELECT n + 1 FROM c WHERE n < {last}) SELECT n FROM c)",
                "body": "CAST('{\"x\":1}' AS BLOB)",
            }
        else:
            known = {
                "id": "(lpad(to_hex(n / 65536), 8, '0') || '-' || lpad(to_hex(n % 65536), 4, '0') || '-7000-8000-'"
                " || lpad(to_hex(n), 12, '0'))::uuid",
                "numbers": f"generate_series({first}::bigint, {last}::bigint) AS n",
                "body": "'{\"x\":1}'::bytea",
            }
        known |= {"lane": "(SELECT min(id) FROM lanes)", "policy": "(SELECT min(id) FROM policies)"}
        ended = ENDED.replace(":now", str(time.time_ns() // 1000)).replace(":total", str(total))
        for statement in (RUNS, EVENTS):
            self._execute(statement.format(ended=ended, **known))

    @property
    def _is_sqlite(self) -> bool:
        return hasattr(self.client.database, "exclusive")

    def _execute(self, sql: str) -> None:
        if self._is_sqlite:
            with self.client.database.exclusive() as connection:
                connection.execute(sql).fetchall()
        else:
            with psycopg.connect(self.client.database.conninfo, autocommit=True) as session:
                session.execute(sql.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Something there may be much of: how a side with `n` of it is made, from how many to how many."""

    what: str
    little: int
    much: int
    large: int
    make: Callable[[str, int], Side]


def with_history(url: str, n: int) -> Side:
    side = Side(url)
    side.remember(n)
    return side


def with_backlog(url: str, n: int) -> Side:
    side = Side(url)
    side.fill(n)
    return side


def with_queues(url: str, n: int) -> Side:
    """The same backlog over so many queues, all served by one worker."""
    side = Side(url, queues=n)
    side.fill(20_000)
    return side


def with_keys(url: str, n: int) -> Side:
    """The same backlog over so many concurrency keys."""
    side = Side(url, keys=n)
    side.fill(100_000)
    return side


GROWTHS = {
    "history": Growth(what="finished runs", little=10_000, much=1_000_000, large=10_000_000, make=with_history),
    "backlog": Growth(what="queued runs", little=10_000, much=1_000_000, large=1_000_000, make=with_backlog),
    "queues": Growth(what="queues", little=1, much=1_000, large=1_000, make=with_queues),
    "keys": Growth(what="concurrency keys", little=1, much=100_000, large=100_000, make=with_keys),
}
ACTS: tuple[tuple[str, Callable[[Side], float]], ...] = (
    ("enqueue one by one", Side.enqueue_singly),
    (f"enqueue {BULK} at once", Side.enqueue_at_once),
    ("claim and finish", Side.work),
)


def compare(little: Side, much: Side, *, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """For each act the pairs of rates, the sides taking turns at who is first; the first round warms up and is not counted."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in ACTS}
    for turn in range(rounds + 1):
        for name, act in ACTS:
            order = (little, much) if turn % 2 == 0 else (much, little)
            rates = {id(side): act(side) for side in order}
            if turn:
                seen[name].append((rates[id(little)], rates[id(much)]))
    return seen


def show(kind: str, growth: Growth, much: int, rounds: int) -> bool:
    """Measure one growth on one kind of database and print the ratios; whether all are flat."""
    with ExitStack() as held, two_urls(kind) as urls:
        began = time.perf_counter()
        sides = [growth.make(url, n) for url, n in zip(urls, (growth.little, much), strict=True)]
        for side in sides:
            held.callback(side.client.close)
            settle(side.url)  # over the weeks in which so much comes together, the database's own upkeep does it
        made = time.perf_counter() - began
        found = compare(sides[0], sides[1], rounds=rounds)
    print(f"{kind}: {growth.little:,} -> {much:,} {growth.what} (made in {made:.0f} s)")
    print(f"  {'a second, median of ' + str(rounds):28}{'with few':>12}{'with many':>12}{'ratio':>8}{'from - to':>16}")
    flat = True
    for name, pairs in found.items():
        few, many = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = [b / a for a, b in pairs]
        ratio = statistics.median(ratios)
        flat &= ratio >= LEAST_RATIO
        spread = f"{min(ratios):.2f} - {max(ratios):.2f}"
        print(
            f"  {name:28}{few:12,.0f}{many:12,.0f}{ratio:8.2f}{spread:>16}{'' if ratio >= LEAST_RATIO else '   below 0.9'}",
            flush=True,
        )
    return flat


@contextmanager
def two_urls(kind: str) -> Iterator[tuple[str, str]]:
    """Two empty databases."""
    with ExitStack() as held:
        if kind == "sqlite":
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="mainspring-growth-"))
            yield f"sqlite:///{folder}/little.db", f"sqlite:///{folder}/much.db"
        else:
            server = held.enter_context(postgres_server())
            yield held.enter_context(fresh_database(server)), held.enter_context(fresh_database(server))


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__.partition("\n")[0])
    options.add_argument("--only", choices=[*GROWTHS, "snapshot", "soak"])
    options.add_argument("--db", choices=["sqlite", "postgres"], action="append", help="default: both")
    options.add_argument("--large", action="store_true", help="ten million finished runs")
    options.add_argument("--much", type=int, help="so many, whatever the table says")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--minutes", type=float, default=2.0, help="how long a snapshot is held, or a soak lasts")
    given = options.parse_args()
    kinds: list[Any] = given.db or ["sqlite", "postgres"]
    match given.only:
        case "snapshot":
            return int(not soak.hold_a_snapshot(Side, minutes=given.minutes))
        case "soak":
            return sum(not soak.soak(kind, minutes=given.minutes) for kind in kinds)
    growths = {name: growth for name, growth in GROWTHS.items() if given.only in (None, name)}
    verdicts = [
        show(kind, growth, given.much or (growth.large if given.large else growth.much), given.rounds)
        for kind in kinds
        for growth in growths.values()
    ]
    print("flat within a tenth" if all(verdicts) else "not all is flat within a tenth")
    return int(not all(verdicts))


if __name__ == "__main__":
    sys.exit(main())
