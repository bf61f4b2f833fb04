"""``python -m tests.stress.history --runs 1000000 --db both``: what a long history in the tables costs those who work beside it.

Two databases of one kind, one empty and one with that many finished runs, take turns at the same work; the ratio of their
rates is what counts, and must be 0.9 or more. Here: making the history (plain SQL, for it would take hours otherwise),
measuring, the table. Not here: how fast either is by itself (``bench``).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg

from mainspring import App
from mainspring.testing.postgres import fresh_database
from tests.support.services import postgres

LEAST_RATIO = 0.9
_STEP = 100_000

# One row of a history that ends a day before the measurement: the n-th of ``:total`` runs, a second apart.
_ENDED = "(:now - 86400000000 - (:total - n) * 1000000)"
_RUNS = """
    INSERT INTO runs (id, lane_id, policy_id, state, reason, due_at, token, seq, failures, interruptions, releases,
                      payload_seq, worker_id, created_at, ended_at)
    SELECT {id}, {lane}, {policy}, 'succeeded', NULL, {ended} - 5000, 1, 3, 0, 0, 0, 1, NULL, {ended} - 5000, {ended}
    FROM {numbers}"""
_EVENTS = """
    INSERT INTO events (run_id, seq, type, state, at, actor, data, body)
    SELECT {id}, e.seq, e.type, e.state, {ended}, 'worker:of-old', NULL, {body}
    FROM {numbers} CROSS JOIN (
        SELECT 1 AS seq, 'created' AS type, 'queued' AS state
        UNION ALL SELECT 2, 'claimed', 'running' UNION ALL SELECT 3, 'succeeded', 'succeeded') e"""


class Side:
    """One of the two databases, with an app on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app = App("history", database=url)
        self.app.migrate()
        self._touched: list[float] = []

        @self.app.task(name="history.touch")
        async def touch(x: int) -> int:
            self._touched.append(time.perf_counter())
            return x

        self.touch = touch
        touch.enqueue(0)
        self.drain()

    def enqueue_singly(self, count: int) -> float:
        """Runs a second, each in a commit of its own."""
        began = time.perf_counter()
        for x in range(count):
            self.touch.enqueue(x)
        return count / (time.perf_counter() - began)

    def enqueue_at_once(self, count: int) -> float:
        """Runs a second, all in one transaction."""
        began = time.perf_counter()
        self.touch.enqueue_many([(x,) for x in range(count)])
        return count / (time.perf_counter() - began)

    def drain(self, _: int = 0) -> float:
        """Claim, run and finish all there is: runs a second from the first start to the last, each claim but the first with
        the outcomes of the one before."""
        self._touched.clear()
        self.app.worker(concurrency=100).run(until="drained")
        return len(self._touched) / max(1e-9, self._touched[-1] - self._touched[0])

    def remember(self, runs: int) -> None:
        """Make the history."""
        for start in range(0, runs, _STEP):
            self._remember(start + 1, min(start + _STEP, runs), runs)
        self._analyse()

    def _remember(self, first: int, last: int, total: int) -> None:
        now = time.time_ns() // 1000
        if self.url.startswith("sqlite"):
            known = {
                "id": "printf('00%06x-%04x-7000-8000-%012x', n / 65536, n % 65536, n)",
                "numbers": "(WITH RECURSIVE c(n) AS"
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
        ended = _ENDED.replace(":now", str(now)).replace(":total", str(total))
        for statement in (_RUNS, _EVENTS):
            self._execute(statement.format(ended=ended, **known))

    def _analyse(self) -> None:
        """What the database's own upkeep would have done over the weeks in which such a history grows."""
        if self.url.startswith("sqlite"):
            self._execute("ANALYZE")
        else:
            with psycopg.connect(self.url, autocommit=True) as session:
                session.execute("VACUUM ANALYZE")

    def _execute(self, sql: str) -> None:
        if self.url.startswith("sqlite"):
            with self.app.connection() as connection:
                connection.execute(sql).fetchall()
        else:
            with psycopg.connect(self.url) as session:
                session.execute(sql.encode())


def compare(empty: Side, full: Side, *, rounds: int) -> dict[str, tuple[float, float, float]]:
    """For each kind of work: the median rate beside nothing, the median rate beside the history, the median ratio."""
    seen: dict[str, list[tuple[float, float]]] = {"enqueue one by one": [], "enqueue 5,000 at once": [], "claim, run, finish": []}
    for turn in range(rounds):
        order = (empty, full) if turn % 2 == 0 else (full, empty)
        for name, count, act in (
            ("enqueue one by one", 500, Side.enqueue_singly),
            ("enqueue 5,000 at once", 5_000, Side.enqueue_at_once),
            ("claim, run, finish", 5_500, Side.drain),
        ):
            rates = {side.url: act(side, count) for side in order}
            seen[name].append((rates[empty.url], rates[full.url]))
    return {
        name: (
            statistics.median(a for a, _ in pairs),
            statistics.median(b for _, b in pairs),
            statistics.median(b / a for a, b in pairs),
        )
        for name, pairs in seen.items()
    }


@contextmanager
def two_urls(kind: str) -> Iterator[tuple[str, str]]:
    """Two empty databases."""
    with ExitStack() as held:
        if kind == "sqlite":
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="mainspring-history-"))
            yield f"sqlite:///{folder}/empty.db", f"sqlite:///{folder}/full.db"
        else:
            server = held.enter_context(postgres())
            yield held.enter_context(fresh_database(server)), held.enter_context(fresh_database(server))


def show(kind: str, runs: int, rounds: int) -> bool:
    """Measure one kind of database and print the ratios; whether all are good."""
    with two_urls(kind) as (empty_url, full_url):
        empty, full = Side(empty_url), Side(full_url)
        began = time.perf_counter()
        full.remember(runs)
        print(f"{kind}: {runs:,} finished runs made in {time.perf_counter() - began:.0f} s", flush=True)
        found: dict[str, Any] = compare(empty, full, rounds=rounds)
        empty.app.close()
        full.app.close()
    print(f"  {'per second':24}{'empty':>12}{'history':>12}{'ratio':>8}")
    for name, (alone, beside, ratio) in found.items():
        print(f"  {name:24}{alone:12,.0f}{beside:12,.0f}{ratio:8.2f}{'' if ratio >= LEAST_RATIO else '   below 0.9'}")
    return all(ratio >= LEAST_RATIO for _, _, ratio in found.values())


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.stress.history", description=__doc__)
    options.add_argument("--runs", type=int, default=1_000_000, help="finished runs in the tables")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--db", choices=["sqlite", "postgres", "both"], default="both")
    given = options.parse_args()
    kinds = ["sqlite", "postgres"] if given.db == "both" else [given.db]
    verdicts = [show(kind, given.runs, given.rounds) for kind in kinds]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
