"""``mainspring scheduler``: everything that happens by time, in this process until told to stop. It imports no code of yours."""

from __future__ import annotations

import signal
import threading

import typer

from mainspring.cli import output
from mainspring.cli.connecting import flags_of, log_to_stderr, quiet_drivers
from mainspring.config import without_password


def scheduler(context: typer.Context) -> None:
    """Plan schedules and make passes of maintenance until SIGTERM or Ctrl-C, beside workers that may all be down.

    Any number may run: they share the work, and whatever comes due is decided once. Workers and servers do the same by themselves,
    so this is for where none of them runs all the time. A SQLite file is made if it is not there.
    """
    quiet_drivers()
    log_to_stderr(context)
    from mainspring.node import Node

    settings = flags_of(context).settings()
    url, namespace = settings["database"].text, settings["namespace"].text
    told_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_end.set())
    with Node(url, namespace=namespace, transport=settings["transport"].text, metrics=False):
        output.tell(f"scheduler of {without_password(url)}")
        told_to_end.wait()
    output.tell("scheduler stopped")
