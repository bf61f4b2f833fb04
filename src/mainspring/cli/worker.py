"""``mainspring worker``: run an App's tasks in this process until told to stop."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated, Any, NoReturn

import typer

from mainspring.cli import output
from mainspring.cli.connecting import AppName, app_database, load_app, log_to_stderr
from mainspring.config import without_password

#: EX_TEMPFAIL of sysexits.h: nothing is wrong with the work, and a fresh process should go on with it.
WORN_OUT = 75

Queues = Annotated[list[str] | None, typer.Option("--queue", "-q", help="Serve this queue only; may be repeated.")]
Concurrency = Annotated[int, typer.Option("--concurrency", "-c", help="Attempts that run at once.")]


def worker(
    context: typer.Context,
    name: AppName,
    queue: Queues = None,
    concurrency: Concurrency = 16,
    lease: Annotated[str, typer.Option("--lease", help="How long runs stay ours without a sign of life.")] = "30s",
    poll: Annotated[str, typer.Option("--poll", help="How often to look for work that nobody told of.")] = "1s",
    grace: Annotated[str, typer.Option("--grace", help="How long running attempts may take to end at a stop.")] = "30s",
    worker_name: Annotated[str | None, typer.Option("--name", help="The worker's name; host and process without it.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Serve Prometheus metrics on this port of the loopback address.")
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Stop when nothing is due.")] = False,
) -> None:
    """Run tasks until SIGTERM or Ctrl-C: then nothing new is begun and what runs may end. A second signal stops at once.

    Exits with 75 when threads that do not end have worn it out: start it again.
    """
    log_to_stderr(context)
    app = load_app(context, name)
    options: dict[str, Any] = {"poll": poll, "lease": lease, "grace": grace, "name": worker_name, "metrics_port": metrics_port}
    process = app.worker(queues=queue, concurrency=concurrency, **options)
    _ = app.client  # opened here, so that a database that cannot be used is said at once
    serves = ", ".join(queue or app.registry.queues)
    output.tell(
        f"worker of {app.name}: tasks {', '.join(app.registry.names()) or 'none'}; queues {serves};"
        f" {concurrency} at once; {without_password(app_database(app))}"
    )
    report = process.run(until="drained" if drain else "stopped")
    app.close()
    lost = f", {report.lost_leases} leases lost" if report.lost_leases else ""
    output.tell(f"worker stopped: {report.finished} attempts finished{lost}" + ("; worn out" if report.worn_out else ""))
    _leave(WORN_OUT if report.worn_out else 0)


def _leave(code: int) -> NoReturn:
    """Exit; without waiting for threads of tasks that do not end, which Python would wait for for ever."""
    strays = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if strays:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)
