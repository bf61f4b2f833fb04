"""A worker process of a crash trial: ``python -m tests.crash.worker NAME``. What it works on comes by environment (``fleet``)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from mainspring import App
from mainspring.errors import StorageUnavailable
from tests.crash.jobs import Jobs, build
from tests.crash.ledger import Ledger
from tests.support.faults import Fault, Faulty

_PR_SET_PDEATHSIG = 1
_AGAIN_SECONDS = 0.1


def open_jobs(name: str) -> tuple[Jobs, Ledger]:
    """The App of this process, its database wrapped in the fault it was started with, if any."""
    _die_with_the_trial()
    ledger = Ledger(Path(os.environ["CRASH_LEDGER"]), name)
    jobs = build(os.environ["CRASH_DATABASE"], ledger)
    _open(jobs.app)
    if planned := os.environ.get("CRASH_FAULT"):
        client = jobs.app.client
        client._database = Faulty(client.database, [Fault.parse(planned)])
    return jobs, ledger


def main() -> None:
    """Work until told to stop."""
    (app, _), _ = open_jobs(sys.argv[1])
    lease = f"{os.environ['CRASH_LEASE_US']}us"
    app.worker(name=sys.argv[1], concurrency=8, lease=lease, poll="200ms", grace="5s").run()
    app.close()


def _open(app: App) -> None:
    """Try until the database is there, as a supervisor would that starts us again."""
    while True:
        try:
            app.client.database  # noqa: B018  (the first look opens it)
            return
        except StorageUnavailable:
            time.sleep(_AGAIN_SECONDS)


def _die_with_the_trial() -> None:
    """Whoever kills the trial kills its processes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
