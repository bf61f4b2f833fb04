"""``python -m tests.network --episodes 500 --seed 1``: episodes of trouble with the network, and some with the server itself."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from mainspring.testing.postgres import PostgresServer
from tests.network.episode import Episode, Ground, Report

_KILLS = 3


def main() -> int:
    """Run the episodes asked for; 1 if anything does not hold."""
    asked = _arguments()
    began, broken, totals = time.monotonic(), [], Counter[str]()
    longest_call = longest_drain = 0.0
    with PostgresServer() as server:
        ground = Ground(server)
        for seed in range(asked.seed, asked.seed + asked.episodes):
            kills = _KILLS if asked.kill_every and seed % asked.kill_every == 0 else 0
            report = Episode(ground, seed, kills=kills).run()
            _tell(report)
            broken += [seed] if report.violations else []
            totals.update(runs=report.runs, attempts=report.attempts, troubles=len(report.troubles), **report.refusals)
            longest_call = max(longest_call, report.longest_call)
            longest_drain = max(longest_drain, report.drain_seconds)
    print(
        f"{asked.episodes} episodes from seed {asked.seed}, {time.monotonic() - began:.0f} s: {dict(totals)}, "
        f"longest call {longest_call:.1f} s, longest drain {longest_drain:.1f} s, broken seeds {broken}"
    )
    return int(bool(broken))


def _tell(report: Report) -> None:
    print(
        f"seed {report.seed}: {len(report.troubles)} troubles, {report.runs} runs, {report.attempts} attempts, "
        f"refused {report.refusals}, longest call {report.longest_call:.1f} s, drained in {report.drain_seconds:.1f} s, "
        f"violations {len(report.violations)}",
        flush=True,
    )
    for violation in report.violations[:10]:
        print(f"  VIOLATION {violation}", flush=True)
    if report.violations:
        print("  troubles: " + "; ".join(report.troubles), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.network", description=__doc__)
    parser.add_argument("--episodes", type=int, default=50, help="how many (50)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="the first seed; each has the next"
    )
    parser.add_argument("--kill-every", type=int, default=10, help="in every so many-th episode the server is killed instead (10)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
