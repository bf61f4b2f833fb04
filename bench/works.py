"""What is measured: the works, who does each, and rounds in which everybody takes turns.

What a work is and what a measurement gives is written in `bench/limit.py`; `bench/ours.py` has functions of the same names, and so
have the peers' drivers.  No printing of results in this module, and no choice of what is measured when.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench import limit, ours, peers
from mainspring.testing.postgres import fresh_database

Value = float | tuple[float, float]
Bar = float | tuple[float, float]
DATABASES = ("postgres", "sqlite")
LIMIT, NO_LEDGER, US = "bare SQL", "bare SQL, no ledger", "Mainspring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One work on both databases. `bar` is the least share of the limit, or the most ms (p50, p99)."""

    name: str
    title: str
    count: int
    quick_count: int
    bar: dict[str, Bar] = field(default_factory=dict)


WORKS = (
    Work(name="drain", title="drain, one process, runs/s", count=30_000, quick_count=10_000,
         bar={"postgres": 0.6, "sqlite": 0.4}),
    Work(name="drain_two", title="drain, two processes, runs/s", count=40_000, quick_count=15_000),
    Work(name="enqueue_bulk", title="enqueue in bulk, runs/s", count=50_000, quick_count=20_000,
         bar={"postgres": 0.6, "sqlite": 0.6}),
    Work(name="enqueue_single", title="enqueue one by one, runs/s", count=4_000, quick_count=1_000,
         bar={"postgres": 0.7, "sqlite": 0.7}),
    Work(name="start_latency", title="enqueue to start, idle, ms p50 / p99", count=400, quick_count=200,
         bar={"postgres": (1.5, 4.0), "sqlite": (1.0, 3.0)}),
)  # fmt: skip


def chosen(only: str | None) -> list[tuple[str, Work]]:
    """Databases and works that a word names: one of the two, or both as `postgres.drain`; None: all."""
    return [
        (database, work)
        for database in DATABASES
        for work in WORKS
        if only in (None, work.name, database, f"{database}.{work.name}")
    ]


def measured(
    database: str,
    work: Work,
    server: str | None,
    *,
    quick: bool,
    rounds: int,
    with_peers: bool,
    keep: Callable[[dict[str, list[Value]]], None] = lambda values: None,
) -> dict[str, list[Value]]:
    """Every value of every contender, in the order measured; `keep` is told after each.

    In each round everybody is measured once, each on a fresh database, so that a disturbance of the machine falls on all; whoever
    fails is left out of the rounds that follow."""
    count = work.quick_count if quick else work.count
    who = contenders(database, work, count, server, with_peers=with_peers)
    values: dict[str, list[Value]] = {}
    for turn in range(rounds):
        for name, measure in list(who.items()):
            tell(f"{database}, {work.title}: round {turn + 1} of {rounds}, {name}")
            value = measure()
            if value is None:
                del who[name]
            else:
                values.setdefault(name, []).append(value)
                keep(values)
    tell("")
    return values


def tell(text: str) -> None:
    """What is going on, on one line of a terminal."""
    print(f"\r\033[K{text}" if sys.stderr.isatty() else text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def contenders(
    database: str, work: Work, count: int, server: str | None, *, with_peers: bool
) -> dict[str, Callable[[], Value | None]]:
    """Who is measured: name to one measurement."""
    known: list[tuple[str, Any]] = [(LIMIT, getattr(limit, work.name)), (US, getattr(ours, work.name))]
    if work.name == "drain":
        known.insert(1, (NO_LEDGER, limit.drain_without_ledger))
    found: dict[str, Callable[[], Value | None]] = {}
    for name, measure in known:
        found[name] = lambda measure=measure: on_fresh(database, server, lambda url: measure(url, count))  # type: ignore[misc]
    for peer in peers.PEERS if with_peers else ():
        if peer.missing is None and peer.beside == database and work.name in peer.works:
            found[peer.name] = lambda peer=peer: of_peer(peer, work.name, count, server)  # type: ignore[misc]
    return found


def of_peer(peer: peers.Peer, work: str, count: int, server: str | None) -> Value | None:
    """One measurement of a peer; None where it failed."""
    try:
        return on_fresh(peer.database, server, lambda url: peers.measure(peer, work, url, peer.jobs(work, count)))
    except Exception as error:
        print(f"\n{peer.name} {work}: {error}", file=sys.stderr)
        return None


def on_fresh(database: str, server: str | None, measure: Callable[[str], Value | None]) -> Value | None:
    """Measure on an empty database of that kind."""
    with fresh(database, server) as url:
        return measure(url)


@contextlib.contextmanager
def fresh(database: str, server: str | None) -> Iterator[str]:
    """The URL of an empty database, gone at the end."""
    match database:
        case "postgres":
            assert server is not None
            with fresh_database(server) as url:
                yield url
        case "redis":
            with peers.fresh_redis() as url:
                yield url
        case _:
            with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as folder:
                yield f"sqlite:///{folder}/bench.db"
