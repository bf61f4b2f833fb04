"""``python -m tests.differential --examples 20000 --steps 50 --seed 1``: a long campaign, with its progress and figures.

Exit code 1 if databases answered differently or broke a promise; the line before says how to see it again.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.differential.campaign import PART, run_part
from tests.differential.lockstep import Tally
from tests.differential.sides import open_sides
from tests.support.services import postgres


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    options.add_argument("--examples", type=int, default=20_000)
    options.add_argument("--steps", type=int, default=50, help="of each example")
    options.add_argument("--seed", type=int, default=1, help="of the first part; each part of 50 examples has the next one")
    options.add_argument("--seconds", type=float, default=float("inf"), help="begin no part later than this")
    given = options.parse_args()
    with postgres() as url:
        return _run(url, given)


def _run(url: str, given: argparse.Namespace) -> int:
    total, began = Tally(), time.monotonic()
    with open_sides(url) as sides:
        print(f"on {', '.join(side.name for side in sides.all)}", flush=True)
        parts = -(-given.examples // PART)
        for part in range(parts):
            if time.monotonic() - began > given.seconds:
                break
            number, examples = given.seed + part, min(PART, given.examples - part * PART)
            try:
                total += run_part(sides, number=number, examples=examples, steps=given.steps)
            except Exception:
                traceback.print_exc()
                print(f"again: python -m tests.differential --examples {examples} --steps {given.steps} --seed {number}")
                return 1
            _report(total, time.monotonic() - began)
    print(total.table())
    return 0


def _report(total: Tally, seconds: float) -> None:
    print(f"{total.examples:,} examples, {total.steps:,} acts, {total.steps / seconds:,.0f} acts a second", flush=True)


if __name__ == "__main__":
    sys.exit(main())
