"""``python -m tests.oracle --examples 20000 --seed 1``: a long campaign against the brute-force oracle, with its progress.

Exit code 1 if we were wrong about a story; the line before says how to see it again.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.oracle.campaign import PART, Tally, run_part


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    options.add_argument("--examples", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1, help=f"of the first part; each part of {PART} examples has the next one")
    given = options.parse_args()
    total, began = Tally(), time.monotonic()
    for part in range(-(-given.examples // PART)):
        number, examples = given.seed + part, min(PART, given.examples - part * PART)
        try:
            met = run_part(number=number, examples=examples)
        except Exception:
            traceback.print_exc()
            print(f"again: python -m tests.oracle --examples {examples} --seed {number}")
            return 1
        total.stories += met.stories
        total.instants += met.instants
        if part % 10 == 9 or total.stories >= given.examples:
            print(f"{total.stories:,} stories, {total.instants:,} instants, {time.monotonic() - began:,.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
