"""``make crash KILLS=300 DB=both``: kill real workers and producers with -9, and check what they left.

With ``--pg-kills 100`` it is PostgreSQL that is killed so often, beside them.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainspring.testing.postgres import PostgresServer, fresh_database
from tests.crash.outages import Restarted, Server
from tests.crash.trial import Plan, Report, Trial
from tests.support.services import postgres

_SHOWN = 20


def main() -> int:
    """Run the trials asked for; 1 if anything does not hold."""
    asked = _arguments()
    failed = False
    for name in ("sqlite", "postgres") if asked.db == "both" else (asked.db,):
        kills = f"{asked.pg_kills} kills of the server" if asked.pg_kills else f"{asked.kills} kills"
        print(f"crash on {name}: {kills}, seed {asked.seed}", flush=True)
        failed |= not _try(name, _plan(asked))
    return int(failed)


def _plan(asked: argparse.Namespace) -> Plan:
    """Where the server is killed so many times, others die on the side, and nobody counts them."""
    if not asked.pg_kills:
        return Plan(
            kills=asked.kills,
            seed=asked.seed,
            every_seconds=asked.every or 0.3,
            most_seconds=asked.seconds or 600.0,
            schedules=asked.schedules,
        )
    seconds = asked.seconds or 60.0 + 15.0 * asked.pg_kills
    return Plan(kills=0, outages=asked.pg_kills, seed=asked.seed, every_seconds=asked.every or 1.0, most_seconds=seconds)


def _try(name: str, plan: Plan) -> bool:
    folder = Path(tempfile.mkdtemp(prefix=f"mainspring-crash-{name}-"))
    with _database(name, folder, plan) as (url, server):
        report = Trial(url, folder, plan, say=lambda line: print(line, flush=True), server=server).run()
    _tell(name, report, plan)
    if report.violations or not report.is_complete(plan):
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
    if not report.is_complete(plan):
        print(f"{name}: that is less than was asked for, in {plan.most_seconds:.0f} s")


@contextmanager
def _database(name: str, folder: Path, plan: Plan) -> Iterator[tuple[str, Server | None]]:
    if name == "sqlite":
        yield f"sqlite:///{folder}/crash.db", None
    elif plan.outages:
        with PostgresServer() as server:  # one of our own, whatever there is: nobody else's may be killed
            yield server.url, Restarted(server)
    else:
        with postgres() as given, fresh_database(given) as url:
            yield url, None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="how many processes must die of SIGKILL (300)")
    parser.add_argument("--pg-kills", type=int, default=0, help="kill PostgreSQL so often instead; needs --db postgres")
    parser.add_argument("--db", choices=("sqlite", "postgres", "both"), default="sqlite")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="whom to kill, and roughly when")
    parser.add_argument("--seconds", type=float, help="give up killing after so long (600)")
    parser.add_argument("--every", type=float, help="mean seconds between kills at random (0.3; with --pg-kills 1)")
    parser.add_argument("--schedules", type=int, default=0, help="keep so many schedules due every second meanwhile (0)")
    asked = parser.parse_args()
    if asked.pg_kills and asked.db != "postgres":
        parser.error("--pg-kills needs --db postgres")
    return asked


if __name__ == "__main__":
    sys.exit(main())
