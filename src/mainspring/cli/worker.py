"""``mainspring worker``: run an App's tasks in this process until told to stop."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mainspring.cli import output
from mainspring.cli.connecting import AppName, app_database, load_app, log_to_stderr
from mainspring.config import without_password

if TYPE_CHECKING:
    from mainspring.operations.remaining import Remaining

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
    processes: Annotated[int, typer.Option("--processes", help="Worker processes, each with so many attempts at once.")] = 1,
    drain: Annotated[bool, typer.Option("--drain", help="Stop when nothing is due, and say what is left and why.")] = False,
    json: Annotated[bool, typer.Option("--json", help="At the end print what was done as one JSON document.")] = False,
) -> None:
    """Run tasks until SIGTERM or Ctrl-C: then nothing new is begun and what runs may end. A second signal stops at once.

    With --processes those that die are replaced. Exits with 75 when threads that do not end have worn one out: start it again.
    """
    log_to_stderr(context)
    app = load_app(context, name)
    options: dict[str, Any] = {"poll": poll, "lease": lease, "grace": grace, "name": worker_name, "metrics_port": metrics_port}
    process = app.worker(queues=queue, concurrency=concurrency, processes=processes, **options)
    _ = app.client  # opened here, so that a database that cannot be used is said at once
    if processes > 1:
        app.close()  # each process opens its own
    serves = ", ".join(queue or app.registry.queues)
    output.tell(
        f"worker of {app.name}: tasks {', '.join(app.registry.names()) or 'none'}; queues {serves};"
        f" {concurrency} at once{f' in each of {processes} processes' if processes > 1 else ''};"
        f" {without_password(app_database(app))}"
    )
    report = process.run(until="drained" if drain else "stopped")
    app.close()
    lost = f", {report.lost_leases} leases lost" if report.lost_leases else ""
    output.tell(f"worker stopped: {report.finished} attempts finished{lost}" + ("; worn out" if report.worn_out else ""))
    if report.remaining is not None:
        output.tell(f"left: {'; '.join(_told(report.remaining)) or 'nothing'}")
    if json:
        output.show_json(dataclasses.asdict(report))
    _leave(WORN_OUT if report.worn_out else 0)


def _told(left: Remaining) -> Iterator[str]:
    """What is left, by what holds it."""
    if left.delayed:
        when = "" if left.next_due_at is None else f", the first at {output.at(left.next_due_at)}"
        yield f"{left.delayed} wait for their time{when}"
    if left.blocked:
        yield f"{left.blocked} wait for other runs"
    yield from (f"{runs} of the paused queue {queue}" for queue, runs in sorted(left.paused.items()))
    yield from (f"{runs} behind the limit of {limit}" for limit, runs in sorted(left.full.items()))
    yield from (f"{runs} of task {task}, which this worker cannot run" for task, runs in sorted(left.other_task.items()))
    yield from (f"{runs} held by worker {worker_id}" for worker_id, runs in sorted(left.held.items()))
    if left.parked:
        yield f"{left.parked} need attention"
    if left.ready:
        yield f"{left.ready} came meanwhile"
    if left.at_least:
        yield "and more"


def _leave(code: int) -> NoReturn:
    """Exit; without waiting for threads of tasks that do not end, which Python would wait for for ever."""
    strays = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if strays:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)
