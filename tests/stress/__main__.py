"""``python -m tests.stress --seconds 60``: see ``crowd.py``. Exit code 1 if anything was lost, done twice, or refused."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.stress.crowd import Crowd, crowd


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="how long everybody enqueues")
    options.add_argument("--processes", type=int, default=4)
    options.add_argument("--threads", type=int, default=32, help="of each process: half enqueue, half are places of its worker")
    options.add_argument("--url", help="database; default: a SQLite file in a temporary folder")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mainspring-stress-") as folder:
        plan = Crowd(
            url=given.url or f"sqlite:///{folder}/runs.db",
            folder=Path(folder),
            seconds=given.seconds,
            processes=given.processes,
            threads=given.threads,
        )
        verdict = crowd(plan)
    print(verdict.table())
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
