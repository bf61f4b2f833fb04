"""``make crash KILLS=300 DB=both``: kill real workers and producers with -9, and check what they left."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainspring.testing.postgres import fresh_database
from tests.crash.trial import Plan, Report, Trial
from tests.support.services import postgres

_SHOWN = 20


def main() -> int:
    """Run the trials asked for; 1 if anything does not hold."""
    asked = _arguments()
    failed = False
    for name in ("sqlite", "postgres") if asked.db == "both" else (asked.db,):
        print(f"crash on {name}: {asked.kills} kills, seed {asked.seed}", flush=True)
        plan = Plan(kills=asked.kills, seed=asked.seed, every_seconds=asked.every, most_seconds=asked.seconds)
        failed |= not _try(name, plan)
    return int(failed)


def _try(name: str, plan: Plan) -> bool:
    folder = Path(tempfile.mkdtemp(prefix=f"mainspring-crash-{name}-"))
    with _database(name, folder) as url:
        report = Trial(url, folder, plan, say=lambda line: print(line, flush=True)).run()
    _tell(name, report, plan)
    if report.violations or report.evidence.record.killed < plan.kills:
        print(f"  what is left of it: {folder}")
        return False
    shutil.rmtree(folder)
    return True


def _tell(name: str, report: Report, plan: Plan) -> None:
    for violation in report.violations[:_SHOWN]:
        print(f"  VIOLATION {violation}")
    if len(report.violations) > _SHOWN:
        print(f"  ... and {len(report.violations) - _SHOWN} more")
    first, second = report.lines()
    print(f"  {first}")
    print(f"{name}: {second}", flush=True)
    if report.evidence.record.killed < plan.kills:
        print(f"{name}: only {report.evidence.record.killed} of {plan.kills} kills in {plan.most_seconds:.0f} s")


@contextmanager
def _database(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder}/crash.db"
    else:
        with postgres() as server, fresh_database(server) as url:
            yield url


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="how many processes must die of SIGKILL (300)")
    parser.add_argument("--db", choices=("sqlite", "postgres", "both"), default="sqlite")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="whom to kill, and roughly when")
    parser.add_argument("--seconds", type=float, default=600.0, help="give up killing after so long (600)")
    parser.add_argument("--every", type=float, default=0.3, help="mean seconds between kills at random (0.3)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
