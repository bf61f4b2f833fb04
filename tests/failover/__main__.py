"""``python -m tests.failover --n 20``: so many failovers, each on a pair of servers of its own; a line a round, and the totals."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.failover.rounds import Round, plan, run

_SHOWN = 10


def main() -> int:
    """Run the rounds asked for; 1 if anything does not hold in one of them."""
    asked = _arguments()
    print(f"failover: {asked.n} rounds, seed {asked.seed}", flush=True)
    rounds = [_try(number, asked.seed + number, (0.0, asked.away)) for number in range(asked.n)]
    seconds = [each.seconds for each in rounds if each.seconds is not None]
    print(
        f"failover: {len(rounds)} rounds, {sum(each.acknowledged for each in rounds)} acknowledged, "
        f"{sum(each.lost for each in rounds)} lost, {sum(len(each.violations) for each in rounds)} violations; "
        f"work goes on after {median(seconds or [0.0]):.2f} s (median), {max(seconds, default=0.0):.2f} s (max)"
    )
    return int(any(each.violations or each.seconds is None for each in rounds))


def _try(number: int, seed: int, away_seconds: tuple[float, float]) -> Round:
    folder = Path(tempfile.mkdtemp(prefix="mainspring-failover-"))
    done = run(folder, plan(seed, away_seconds=away_seconds), say=lambda _: None)
    print(f"  round {number + 1}, seed {seed}: {done}", flush=True)
    for violation in done.violations[:_SHOWN]:
        print(f"    VIOLATION {violation}")
    if done.violations or done.seconds is None:
        print(f"    what is left of it: {folder}", flush=True)
    else:
        shutil.rmtree(folder)
    return done


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.failover", description=__doc__)
    parser.add_argument("--n", type=int, default=20, help="how many failovers (20)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the first round; then one more each"
    )
    parser.add_argument("--away", type=float, default=2.0, help="at most so many seconds between death and promotion (2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
