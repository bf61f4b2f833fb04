"""``python -m mainspring.testing.simulator``: play the stories of many seeds, or one of them again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from mainspring.core.durations import DAY
from mainspring.testing.simulator.campaign import play_all, settle_in
from mainspring.testing.simulator.scenario import Scenario
from mainspring.testing.simulator.shrinking import shrink
from mainspring.testing.simulator.simulation import Report, scenario_of, simulate

_PROGRESS_SECONDS = 10.0
_YEAR_US = 365.25 * DAY
_SHOWN = 5


def main() -> int:
    """Do what is asked; 1 if a promise was broken."""
    settle_in()
    asked = _arguments()
    if asked.replay is not None:
        return _play_one(Scenario.from_json(Path(asked.replay).read_text()), asked)
    if asked.seed is not None:
        return _play_one(scenario_of(asked.seed), asked)
    return _play_many(asked)


def _play_one(scenario: Scenario, asked: argparse.Namespace) -> int:
    """One story, told aloud if asked; made shorter and kept if it fails."""
    report = simulate(scenario, say=print if asked.trace else None)
    print(report.line)
    for violation in report.violations:
        print(f"  VIOLATION {violation}")
    if report.violations and asked.keep is not None:
        print(f"  kept as {_keep(scenario, Path(asked.keep))}")
    return int(bool(report.violations))


def _play_many(asked: argparse.Namespace) -> int:
    began_at = said_at = time.monotonic()
    totals = {"seeds": 0, "transactions": 0, "runs": 0, "attempts": 0, "us": 0, "failed": 0}
    for report in play_all(range(asked.start, asked.start + asked.seeds), asked.jobs):
        for name in ("transactions", "runs", "attempts"):
            totals[name] += getattr(report, name)
        totals["seeds"] += 1
        totals["us"] += report.simulated_us
        if report.violations:
            totals["failed"] += 1
            _tell_failure(report, asked)
        if time.monotonic() - said_at > _PROGRESS_SECONDS:
            said_at = time.monotonic()
            print(f"  {totals['seeds']} of {asked.seeds} seeds, {totals['failed']} failed", flush=True)
        if (asked.first and totals["failed"]) or (asked.seconds and time.monotonic() - began_at > asked.seconds):
            break
    _tell_totals(totals, time.monotonic() - began_at)
    return int(totals["failed"] > 0)


def _tell_failure(report: Report, asked: argparse.Namespace) -> None:
    print(f"FAILED {report.line}")
    for violation in report.violations[:_SHOWN]:
        print(f"  VIOLATION {violation}")
    print(f"  again: python -m mainspring.testing.simulator --seed {report.seed} --trace", flush=True)
    if asked.keep is not None:
        print(f"  kept as {_keep(scenario_of(report.seed), Path(asked.keep))}", flush=True)


def _keep(scenario: Scenario, folder: Path) -> Path:
    """Make a failing story short and write it down where the tests will play it from now on."""
    short = shrink(scenario)
    invariant = simulate(short).violations[0].invariant
    path = folder / f"{invariant}-{scenario.seed}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(short.as_json())
    return path


def _tell_totals(totals: dict[str, int], seconds: float) -> None:
    print(
        f"simulated {totals['seeds']} seeds in {seconds:.0f} s ({totals['seeds'] / seconds:.1f} a second): "
        f"{totals['us'] / _YEAR_US:.2f} years, {totals['transactions']} transactions, {totals['runs']} runs, "
        f"{totals['attempts']} attempts; {totals['failed']} seeds failed",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mainspring.testing.simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many stories to play (500)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long (0: never)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes share the work (all processors)")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--seed", type=int, help="play this one seed only")
    parser.add_argument("--replay", metavar="FILE", help="play a kept story")
    parser.add_argument("--trace", action="store_true", help="with --seed or --replay: tell everything that happens")
    parser.add_argument("--keep", metavar="FOLDER", help="make failing stories short and write them there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
