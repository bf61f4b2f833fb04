"""``mainspring tick``: one pass of maintenance, for cron and for those who run no worker all the time."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected


def tick(
    context: typer.Context,
    every: Annotated[
        str, typer.Option("--every", metavar="SPAN", help="How often you call it: a longer silence is taken for an outage.")
    ] = "10s",
    json: output.Json = False,
) -> None:
    """Make one pass of maintenance: queue what is due, enforce deadlines, take lapsed leases, forget old keys.

    Every worker does this all the time; any number may. Exits with 1 if a stage failed; the others went on.
    """
    with connected(context) as client:
        made = client.tick(every=every)
    next_due_at = None if made.next_due_at is None else made.next_due_at.isoformat().replace("+00:00", "Z")
    stages = {
        name: {"done": report.done, "more": report.more, "error": None if report.error is None else str(report.error)}
        for name, report in made.stages.items()
    }
    if json:
        output.show_json({"stages": stages, "next_due_at": next_due_at})
    else:
        rows = [[name, report["done"], "yes" if report["more"] else "no", report["error"] or ""] for name, report in stages.items()]
        output.show_table(["STAGE", "DONE", "MORE", "ERROR"], rows)
        output.tell(f"next due at {next_due_at}" if next_due_at else "nothing is due later")
    if made.errors:
        raise typer.Exit(1)
