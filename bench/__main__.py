"""`python -m bench [--quick] [--only NAME]`: the table of speeds, and the same as JSON in `bench/results/`.

In every round the bare SQL limit, the library and each installed peer are measured one after the other on fresh
databases, so a disturbance of the machine falls on all of them; what is printed are medians and their ratios.  What the
works are and what a measurement gives is written in `bench/limit.py`; `bench/ours.py` has functions of the same names.
No measuring in this module.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import importlib.util
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import limit, machine, peers
from mainspring.testing.postgres import fresh_database, postgres_server

RESULTS = Path(__file__).parent / "results"
Value = float | tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One line of the table for each database.  `bar` is the least share of the limit, or the most ms (p50, p99)."""

    name: str
    title: str
    count: int
    quick_count: int
    databases: tuple[str, ...] = ("postgres", "sqlite")
    bar: dict[str, Value] = field(default_factory=dict)


WORKS = (
    Work(name="drain", title="drain, one process, runs/s", count=30_000, quick_count=10_000,
         bar={"postgres": 0.6, "sqlite": 0.4}),
    Work(name="drain_two", title="drain, two processes, runs/s", count=40_000, quick_count=15_000),
    Work(name="drain_without_ledger", title="drain, no ledger, runs/s", count=30_000, quick_count=10_000),
    Work(name="enqueue_bulk", title="enqueue, bulk, runs/s", count=50_000, quick_count=20_000,
         bar={"postgres": 0.6, "sqlite": 0.6}),
    Work(name="enqueue_single", title="enqueue, one caller, runs/s", count=4_000, quick_count=1_500,
         bar={"postgres": 0.7, "sqlite": 0.7}),
    Work(name="start_latency", title="enqueue to start, idle, ms p50/p99", count=400, quick_count=200,
         bar={"postgres": (1.5, 4.0), "sqlite": (1.0, 3.0)}),
)  # fmt: skip
PEER_COUNTS = {"procrastinate": 3_000, "huey": 5_000, "huey, fsync off": 10_000}
PEER_LATENCIES = {"huey": 40, "huey, fsync off": 40}


@dataclass(slots=True, kw_only=True)
class Line:
    """What was measured of one work on one database: every value of every contender, in the order measured."""

    work: Work
    database: str
    values: dict[str, list[Value]] = field(default_factory=dict)

    def median(self, name: str) -> Value | None:
        values = self.values.get(name, [])
        if not values:
            return None
        if isinstance(values[0], tuple):
            return tuple(statistics.median(column) for column in zip(*values, strict=True))
        return statistics.median(values)  # type: ignore[type-var]

    def best_peer(self) -> Value | None:
        found = [value for name in self.values if name not in ("limit", "us") and (value := self.median(name))]
        if not found:
            return None
        return min(found) if isinstance(found[0], tuple) else max(found)


@contextlib.contextmanager
def fresh(database: str, server: str | None) -> Iterator[str]:
    """The URL of an empty database, gone at the end."""
    if database == "postgres":
        assert server is not None
        with fresh_database(server) as url:
            yield url
    else:
        with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as folder:
            yield f"sqlite:///{folder}/bench.db"


def ours() -> ModuleType | None:
    return importlib.import_module("bench.ours") if importlib.util.find_spec("bench.ours") else None


def contenders(work: Work, database: str, count: int, *, with_peers: bool) -> dict[str, Callable[[str], Value | None]]:
    """Who is measured for this line: name to a function of a database URL."""
    found: dict[str, Callable[[str], Value | None]] = {}
    for name, module in (("limit", limit), ("us", ours())):
        if measure := getattr(module, work.name, None):
            found[name] = lambda url, measure=measure: measure(url, count)  # type: ignore[misc]
    for peer in peers.PEERS if with_peers else ():
        if peer.installed and peer.database == database and work.name in peer.works:
            found[peer.name] = lambda url, peer=peer: peers.measure(peer, work.name, url, peer_count(peer, work, count))  # type: ignore[misc]
    return found


def peer_count(peer: peers.Peer, work: Work, count: int) -> int:
    """Slow peers get fewer jobs, so that a table takes minutes and not hours."""
    if work.name == "start_latency":
        return min(count, PEER_LATENCIES.get(peer.name, count))
    return min(count, PEER_COUNTS.get(peer.name, count))


def measure_line(line: Line, server: str | None, chosen: argparse.Namespace) -> None:
    count = line.work.quick_count if chosen.quick else line.work.count
    who = contenders(line.work, line.database, count, with_peers=not chosen.no_peers)
    for turn in range(3 if chosen.quick else 5):
        for name, measure in who.items():
            print(f"\r\033[K{line.database} {line.work.title}: {name}, round {turn + 1}", end="", file=sys.stderr)
            with fresh(line.database, server) as url:
                value = measure(url)
            if value is not None:
                line.values.setdefault(name, []).append(value)
    print("\r\033[K", end="", file=sys.stderr)


def shown(value: Value | None) -> str:
    match value:
        case None:
            return "-"
        case (p50, p99):
            return f"{p50:.2f} / {p99:.2f}"
        case _:
            return f"{value:,.0f}"


def ratio(part: Value | None, whole: Value | None) -> str:
    """For rates how many times as fast; for latencies how many times as long (p50 / p99)."""
    if part is None or whole is None:
        return "-"
    if isinstance(part, tuple) and isinstance(whole, tuple):
        return " / ".join(f"{one / other:.2f}" for one, other in zip(part, whole, strict=True))
    assert not isinstance(part, tuple)
    assert not isinstance(whole, tuple)
    return f"{part / whole:.2f}"


def bar(line: Line) -> str:
    """The bar and whether we are over it."""
    wanted, us, bare = line.work.bar.get(line.database), line.median("us"), line.median("limit")
    match wanted, us, bare:
        case None, _, _:
            return ""
        case (float(p50), float(p99)), us, _:
            met = isinstance(us, tuple) and us[0] <= p50 and us[1] <= p99
            return f"<= {p50:g} / {p99:g}" + verdict(us, met=met)
        case float(share), us, float(whole):
            return f">= {share:g} x limit" + verdict(us, met=isinstance(us, float) and us >= share * whole)
        case _:
            return "?"


def verdict(us: Value | None, *, met: bool) -> str:
    return "" if us is None else " met" if met else " MISSED"


def table(lines: list[Line]) -> str:
    rows = [["database", "work", "limit", "us", "us/limit", "bar", "us/best peer", "peers"]]
    for line in lines:
        others = [f"{name} {shown(line.median(name))}" for name in line.values if name not in ("limit", "us")]
        bare, us, peer = line.median("limit"), line.median("us"), line.best_peer()
        rows.append([line.database, line.work.title, shown(bare), shown(us), ratio(us, bare), bar(line), ratio(us, peer),
                     "; ".join(others) or "-"])  # fmt: skip
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def save(lines: list[Line], about: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H%M")
    path = RESULTS / f"{stamp}-{about['commit'].replace('+', '-changed')}.json"
    measured = [{"database": line.database, "work": line.work.name, "values": line.values} for line in lines]
    path.write_text(json.dumps({**about, "measured": measured}, indent=1) + "\n")
    return path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What we do beside what bare SQL could do.")
    parser.add_argument("--quick", action="store_true", help="fewer runs, medians of 3 instead of 5")
    parser.add_argument("--only", metavar="NAME", help=f"one work ({', '.join(work.name for work in WORKS)}), "
                        "one database (postgres, sqlite), or both as postgres.drain")  # fmt: skip
    parser.add_argument("--no-peers", action="store_true", help="measure the limit and us only")
    parser.add_argument("--no-save", action="store_true", help="print the table, write no file")
    chosen = parser.parse_args()
    if chosen.only and not lines_for(chosen.only):
        parser.error(f"--only {chosen.only}: no such work; see --help")
    return chosen


def lines_for(only: str | None) -> list[Line]:
    return [
        Line(work=work, database=database)
        for database in ("postgres", "sqlite")
        for work in WORKS
        if only in (None, work.name, database, f"{database}.{work.name}")
    ]


def main() -> None:
    chosen = arguments()
    lines = lines_for(chosen.only)
    about: dict[str, Any] = {"commit": machine.commit(), "machine": machine.describe(), "quick": chosen.quick,
                             "peers": {p.name: peers.version(p) for p in peers.PEERS if p.installed}}  # fmt: skip
    with contextlib.ExitStack() as stack:
        server = None
        if any(line.database == "postgres" for line in lines):
            server = stack.enter_context(postgres_server())
            about["postgres"] = machine.server_settings(server)
        for line in lines:
            measure_line(line, server, chosen)
    print(table(lines))
    where = {**about["machine"], **about.get("postgres", {}), "commit": about["commit"]}
    print(f"\nmedians of {3 if chosen.quick else 5}; " + "; ".join(f"{name} {value}" for name, value in where.items()))
    if not chosen.no_save:
        print(f"written to {save(lines, about)}")


if __name__ == "__main__":
    main()
