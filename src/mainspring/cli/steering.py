"""``mainspring run explain``, ``rerun``, ``reschedule``, ``soon``, ``priority``, ``release``: act on one run."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected, load_app
from mainspring.cli.run import Reason, RunId, app, arguments_of


@app.command("explain")
def explain(context: typer.Context, run_id: RunId, json: output.Json = False) -> None:
    """Why a run is where it is, everything that holds it, and when it can start."""
    with connected(context) as client:
        found = client.runs.explain(run_id)
    if json:
        output.show_json(found)
    else:
        print(found)


@app.command("rerun")
def rerun(
    context: typer.Context,
    run_id: RunId,
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="JSON", help="Other arguments, as a JSON object; - reads standard input.")
    ] = None,
    code: Annotated[
        str | None, typer.Option("--app", metavar="MODULE:APP", help="Check the arguments by the task's code, such as shop:app.")
    ] = None,
) -> None:
    """Run again what has ended, as a new run; prints the new id. Without --app its worker checks the arguments."""
    arguments = None if payload is None else arguments_of(payload)
    if code is not None:
        loaded = load_app(context, code)
        try:
            print(loaded.runs.rerun(run_id, arguments).id)
        finally:
            loaded.close()
        return
    with connected(context) as client:
        print(client.runs.rerun(run_id, arguments).id)


@app.command("reschedule")
def reschedule(
    context: typer.Context,
    run_id: RunId,
    at: Annotated[str | None, typer.Option("--at", help="The instant, such as 2031-05-01T09:00:00Z.")] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="So long from now, such as 10m.")] = None,
) -> None:
    """Make a waiting run due at another instant; prints the state it is in then."""
    with connected(context) as client:
        print(client.runs.reschedule(run_id, at=at, delay=delay))


@app.command("soon")
def soon(context: typer.Context, run_id: RunId) -> None:
    """Make a waiting run due now; prints the state it is in then."""
    with connected(context) as client:
        print(client.runs.run_soon(run_id))


@app.command("priority")
def priority(
    context: typer.Context,
    run_id: RunId,
    value: Annotated[int, typer.Argument(metavar="N", help="-1000 to 1000, higher first", show_default=False)],
) -> None:
    """Give a waiting run another priority. (A negative one after `--`: run priority ID -- -5.)"""
    with connected(context) as client:
        changed = client.runs.set_priority(run_id, value)
    print(f"its priority is {value}" if changed else f"its priority was {value} already")


@app.command("release")
def release(context: typer.Context, run_id: RunId, reason: Reason) -> None:
    """Queue a run that needs attention again."""
    with connected(context) as client:
        client.runs.release(run_id, reason)
    print("queued")
