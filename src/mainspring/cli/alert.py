"""``mainspring alert …``: what is wrong with schedules, and what was."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected

app = typer.Typer(help="Look at what is wrong with schedules.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def alert() -> None:
    """Look at what is wrong with schedules."""


@app.command("list")
def list_alerts(
    context: typer.Context,
    schedule: Annotated[str | None, typer.Option("--schedule", help="Of this schedule only.", show_default=False)] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that have not recovered.")] = False,
    before: Annotated[str | None, typer.Option("--before", help="Begin behind this id.", show_default=False)] = None,
    json: output.Json = False,
) -> None:
    """Alerts, the newest first, a page of them."""
    with connected(context) as client:
        found = client.alerts.list(schedule=schedule, only_open=only_open, before=before)
    if json:
        output.show_json({"data": found})
    else:
        output.show_table(
            ["SCHEDULE", "KIND", "OPENED", "RECOVERED", "WHY"],
            [[each.schedule, each.kind, output.at(each.opened_at), output.at(each.recovered_at), each.why] for each in found],
        )
