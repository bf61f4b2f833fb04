"""``mainspring hold …``: what is held back since the database was restored, and deciding about it."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected

app = typer.Typer(
    help="Look at schedules that a restored database holds back, and decide about them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_holds(
    context: typer.Context,
    after: Annotated[str, typer.Option("--after", help="Begin behind this name.")] = "",
    json: output.Json = False,
) -> None:
    """Schedules that were due between the backup and its restore, by name, a page of them."""
    with connected(context) as client:
        found = client.holds.list(after=after)
    if json:
        output.show_json({"data": found})
    else:
        output.show_table(
            ["SCHEDULE", "AFTER", "UP TO"], [[each.name, output.at(each.after), output.at(each.upto)] for each in found]
        )


@app.command("decide")
def decide(
    context: typer.Context,
    policy: Annotated[str, typer.Option("--policy", help="policy: settle it as late; suppress: run none of it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with who decided.")],
    name: Annotated[str | None, typer.Argument(metavar="[SCHEDULE]", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every schedule that is held in this namespace.")] = False,
) -> None:
    """Decide what becomes of what a schedule holds back, or all of them."""
    from mainspring.errors import InvalidOption

    if (name is None) is not everything:
        raise InvalidOption("name a schedule, or write --all", option="name")
    with connected(context) as client:
        number = client.holds.decide(name, policy=policy, reason=reason)
    print(f"decided: {number}")
