"""``mainspring task …``: whether an App's code can read what waits for it."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import AppName, load_app

app = typer.Typer(help="Check an App's tasks against what waits.", no_args_is_help=True, rich_markup_mode=None)

Most = Annotated[int, typer.Option("--limit", min=1, help="Stop after so many runs that cannot be read.")]


@app.command("check")
def check(context: typer.Context, name: AppName, limit: Most = 100, json: output.Json = False) -> None:
    """Decode the payload of every run that waits with the code at hand, upcasters included. A gate for a deploy.

    Exits with 1, and names the runs, if there are some it cannot read. Runs of tasks that the App has not, or of newer versions,
    are only counted: this code would leave them to other workers. Nothing is changed.
    """
    from mainspring.runtime.checking import check_waiting

    shop = load_app(context, name)
    shop.registry.check()
    try:
        found = check_waiting(shop.client, shop.registry, most=limit)
    finally:
        shop.close()
    if json:
        output.show_json({"read": found.read, "unreadable": found.unreadable, "of_others": found.of_others, "newer": found.newer})
    elif found.unreadable:
        rows = [[run.run_id, run.task, run.version, run.problem] for run in found.unreadable]
        output.show_table(["ID", "TASK", "VERSION", "PROBLEM"], rows)
    _tell(found.read, len(found.unreadable), limit)
    for told, counts in (("not of this App", found.of_others), ("of a newer version than this code knows", found.newer)):
        if counts:
            output.tell(f"{sum(counts.values())} {told}: {', '.join(sorted(counts))}")
    if found.unreadable:
        raise typer.Exit(1)


def _tell(read: int, unreadable: int, limit: int) -> None:
    more = ", and maybe more" if unreadable >= limit else ""
    output.tell(f"{read} waiting runs can be read" + (f", {unreadable} cannot{more}" if unreadable else ""))
