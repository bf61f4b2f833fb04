"""``python -m tests.disk --most 1000 --seed 1``: see ``campaign.py``. Exit code 1 if anything was lost, made up or broken."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.disk.campaign import Case, Verdict, cases, run_all


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.disk", description=__doc__)
    options.add_argument("--most", type=int, default=1000, help="most cases of each sort; every n if there are no more")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--only", metavar="CASE", type=Case.parse, action="append", help="such as life:sync:7:1, as printed")
    given = options.parse_args()
    began = time.monotonic()
    verdicts: dict[str, Verdict] = {}
    for case, verdict in run_all(given.only or cases(most=given.most, seed=given.seed), processes=given.processes):
        verdicts.setdefault(f"{case.where} {case.what}", Verdict()).add(verdict)
        for line in verdict.broken:
            print(f"BROKEN {line}", flush=True)
    _show(verdicts)
    broken = sum(len(verdict.broken) for verdict in verdicts.values())
    total = sum(verdict.cases for verdict in verdicts.values())
    print(f"{total} cases, {broken} broken, seed {given.seed}, {time.monotonic() - began:.0f} s")
    return 1 if broken else 0


def _show(verdicts: dict[str, Verdict]) -> None:
    print(f"{'sort':<20} {'cases':>6} {'struck':>6} {'done':>7} {'refused':>7} {'unknown':>7} {'broken':>6}")
    errors: Counter[str] = Counter()
    for sort, verdict in verdicts.items():
        told = [verdict.told[name] for name in ("done", "refused", "unknown")]
        print(f"{sort:<20} {verdict.cases:>6} {verdict.struck:>6}", *(f"{count:>7}" for count in told), f"{len(verdict.broken):>6}")
        errors += verdict.errors
    for text, count in errors.most_common():
        print(f"{count:>7} x {text}")


if __name__ == "__main__":
    sys.exit(main())
